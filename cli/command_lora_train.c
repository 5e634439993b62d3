/* SPDX-License-Identifier: MIT */
/* lilac lora train: trains a low-rank adapter for a saved classifier. */
#include "files.h"
#include "training.h"

#include "runtime/context.h"

#include <stdio.h>

typedef struct train_settings {
    const char *model, *output;
    int variant;
} train_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(train_settings, model),
     .value = "FILE",
     .help = "the base model, which stays as it is",
     .required = true},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(train_settings, output),
     .value = "FILE",
     .help = "where to save the adapter (safetensors)",
     .required = true},
    {.name = "variant",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(train_settings, variant),
     .help = "the form of the images to adapt to: pixels are 0 to 1, of mnist brought to mean 0 and deviation 1",
     .initial = "rotated",
     .choices = lilac_variant_choices},
};

static lilac_status train(lilac_session *session, const train_settings *settings, lilac_mlp *mlp) {
    const lilac_lora_config config = lilac_session_lora_config(session);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_training_data data;
    LILAC_TRY(lilac_training_data_load(session, (lilac_variant)settings->variant, &data));
    lilac_adapter *adapter = NULL;
    lilac_status status = lilac_adapter_create(session->context, &config, &base, &adapter);
    if (status == LILAC_OK) {
        status = lilac_train_and_print(session, &data, mlp, adapter);
    }
    if (status == LILAC_OK) {
        status = lilac_adapter_save(session->context, adapter, settings->output);
    }
    if (status == LILAC_OK) {
        printf("Saved %s: %zu weights beside the base's %zu\n", settings->output,
               lilac_adapter_parameter_count(adapter), lilac_mlp_parameter_count(mlp));
    }
    lilac_adapter_destroy(adapter);
    lilac_training_data_free(&data);
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const train_settings *settings = values;
    LILAC_TRY(lilac_session_check_output(session, settings->output));
    LILAC_TRY(lilac_session_check_keeps(session, settings->output, settings->model));
    lilac_model model;
    LILAC_TRY(lilac_session_load_model(session, settings->model, &model));
    const lilac_status status =
        model.mlp != NULL
            ? train(session, settings, model.mlp)
            : lilac_fail(session->context, LILAC_ERROR_UNSUPPORTED,
                         "%s is a transformer, not a classifier: 'lilac train --base %s' trains an adapter of it",
                         settings->model, settings->model);
    lilac_model_free(&model);
    return status;
}

const lilac_command lilac_command_lora_train = {
    .name = "lora train",
    .heading = "Low-rank adapters",
    .summary = "train a low-rank adapter of a saved classifier",
    .description =
        "Trains a low-rank adapter on all layers of a model: W x + b becomes W x + b + scale * B A x, with "
        "W and b frozen and only A and B trained. Prints what each epoch gave and how the adapted model does "
        "on the test images, and saves the adapter, which remembers the base it was made for. For adapters of "
        "transformers there is 'lilac train --base'.",
    .example = "lilac lora train --model base.safetensors --variant rotated --rank 16 \\\n"
               "    --output rotated.safetensors\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(train_settings),
    .takes = LILAC_TAKES_LORA | LILAC_TAKES_TRAINING | LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
