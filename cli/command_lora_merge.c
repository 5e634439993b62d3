/* SPDX-License-Identifier: MIT */
/* lilac lora merge: writes a model with an adapter added to its weights. */
#include "files.h"

#include "runtime/context.h"

#include <stdio.h>

typedef struct merge_settings {
    const char *model, *adapter, *output;
} merge_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(merge_settings, model),
     .value = "FILE",
     .help = "the base model, a classifier or a transformer",
     .required = true},
    {.name = "adapter",
     .letter = 'a',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(merge_settings, adapter),
     .value = "FILE",
     .help = "the adapter, which must have been made for that model",
     .required = true},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(merge_settings, output),
     .value = "FILE",
     .help = "where to save the merged model",
     .required = true},
};

static lilac_status merge(lilac_session *session, const merge_settings *settings, const lilac_model *model,
                          lilac_adapter *adapter) {
    lilac_context *context = session->context;
    LILAC_TRY(lilac_adapter_set_strength(adapter, session->common.strength));
    if (model->transformer != NULL) {
        LILAC_TRY(lilac_transformer_merge(context, model->transformer, adapter));
        /* As f32 also where the base is stored as bf16, whose rounding would swallow small changes. */
        LILAC_TRY(lilac_transformer_save(context, model->transformer, LILAC_PRECISION_F32, settings->output));
    } else {
        LILAC_TRY(lilac_mlp_merge(context, model->mlp, adapter));
        LILAC_TRY(lilac_mlp_save(context, model->mlp, settings->output));
    }
    printf("Saved %s\n", settings->output);
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const merge_settings *settings = values;
    LILAC_TRY(lilac_session_check_output(session, settings->output));
    LILAC_TRY(lilac_session_check_keeps(session, settings->output, settings->model));
    LILAC_TRY(lilac_session_check_keeps(session, settings->output, settings->adapter));
    lilac_model model;
    lilac_adapter *adapter = NULL;
    LILAC_TRY(lilac_session_load_model(session, settings->model, &model));
    lilac_status status = lilac_session_load_adapter(session, &model, settings->adapter, &adapter);
    if (status == LILAC_OK) {
        status = merge(session, settings, &model, adapter);
    }
    lilac_adapter_destroy(adapter);
    lilac_model_free(&model);
    return status;
}

const lilac_command lilac_command_lora_merge = {
    .name = "lora merge",
    .summary = "add an adapter to its base's weights and save the result",
    .description =
        "Adds scale * strength * B A to the weights of each adapted layer and saves the model. It then works without "
        "the adapter and at the base's speed. The base's file is not changed: it is the way back.",
    .example = "lilac lora merge --model base.safetensors --adapter rotated.safetensors \\\n"
               "    --output merged.safetensors\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(merge_settings),
    .takes = LILAC_TAKES_STRENGTH | LILAC_TAKES_COMPUTE,
    .run = run,
};
