/* SPDX-License-Identifier: MIT */
#include "completion_models.h"

#include "files.h"

#include "runtime/context.h"

const char *const lilac_completion_model_files[LILAC_COMPLETION_MODEL_COUNT] = {
    [LILAC_TRANSFORMER_LINEAR] = "models/linear.safetensors",
    [LILAC_TRANSFORMER_SOFTMAX] = "models/softmax.safetensors"};

lilac_status lilac_completion_models_load(lilac_session *session,
                                          lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT], size_t *count) {
    *count = 0;
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        char found[LILAC_PATH_SIZE];
        const char *path = session->common.models[model];
        if (path == NULL) {
            path = found;
            if (!lilac_session_find_file(lilac_completion_model_files[model], found, sizeof found)) {
                lilac_session_note(session, "%s is not there: its part is left out",
                                   lilac_completion_model_files[model]);
                continue;
            }
        }
        LILAC_TRY(lilac_transformer_load(session->context, path, &models[model]));
        *count += 1;
    }
    return LILAC_OK;
}

void lilac_completion_models_free(lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT]) {
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_transformer_destroy(models[model]);
    }
}
