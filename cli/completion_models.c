/* SPDX-License-Identifier: MIT */
#include "completion_models.h"

#include "runtime/context.h"

#include <unistd.h>

const char *const lilac_completion_model_files[LILAC_COMPLETION_MODEL_COUNT] = {
    [LILAC_TRANSFORMER_LINEAR] = "models/linear.safetensors",
    [LILAC_TRANSFORMER_SOFTMAX] = "models/softmax.safetensors"};

lilac_status lilac_completion_models_load(lilac_session *session, const char *const paths[LILAC_COMPLETION_MODEL_COUNT],
                                          lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT], size_t *count) {
    *count = 0;
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const char *usual = lilac_completion_model_files[model];
        if (paths[model] == NULL && access(usual, F_OK) != 0) {
            lilac_session_note(session, "%s is not there: its part is left out", usual);
            continue;
        }
        LILAC_TRY(
            lilac_transformer_load(session->context, paths[model] != NULL ? paths[model] : usual, &models[model]));
        *count += 1;
    }
    return LILAC_OK;
}

void lilac_completion_models_free(lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT]) {
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_transformer_destroy(models[model]);
    }
}
