/* SPDX-License-Identifier: MIT */
/* lilac lora train: trains a low-rank adapter for a saved classifier. */
#include "files.h"
#include "training.h"

#include "runtime/context.h"

#include <stdio.h>

typedef struct train_settings {
    const char *model, *output;
    int rank;
    double alpha;
    int scale_rule, initialisation;
    int variant;
} train_settings;

static const char *const scale_rules[] = {[LILAC_LORA_SCALE_FIXED] = "fixed",
                                          [LILAC_LORA_SCALE_ALPHA_OVER_RANK] = "alpha/r",
                                          [LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK] = "alpha/sqrt(r)",
                                          NULL};
static const char *const initialisations[] = {
    [LILAC_LORA_INITIALISE_STANDARD] = "standard", [LILAC_LORA_INITIALISE_REPORT] = "report", NULL};

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
     .help = "the form of the images to adapt to",
     .initial = "rotated",
     .choices = lilac_variant_choices},
    {.name = "rank",
     .letter = 'r',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(train_settings, rank),
     .value = "N",
     .help = "rank of the change of each layer",
     .initial = "8",
     .minimum = 1,
     .maximum = 65536},
    {.name = "alpha",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(train_settings, alpha),
     .value = "X",
     .help = "alpha, from which the scale of the change follows",
     .initial = "8",
     .minimum = -1e6,
     .maximum = 1e6},
    {.name = "scale",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(train_settings, scale_rule),
     .help = "the scale: alpha itself, or alpha divided by the rank or its root",
     .initial = "alpha/r",
     .choices = scale_rules},
    {.name = "init",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(train_settings, initialisation),
     .help = "how A starts: uniform up to 1/sqrt(inputs), or up to 1/sqrt(rank) as in the report",
     .initial = "standard",
     .choices = initialisations},
};

static lilac_status train(lilac_session *session, const train_settings *settings, lilac_mlp *mlp) {
    lilac_lora_config config;
    lilac_lora_config_default(&config);
    config.rank = (size_t)settings->rank;
    config.alpha = settings->alpha;
    config.scale_rule = (lilac_lora_scale_rule)settings->scale_rule;
    config.initialisation = (lilac_lora_initialisation)settings->initialisation;
    config.seed = session->common.seed;
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
    lilac_mlp *mlp;
    LILAC_TRY(lilac_mlp_load(session->context, settings->model, &mlp));
    const lilac_status status = train(session, settings, mlp);
    lilac_mlp_destroy(mlp);
    return status;
}

const lilac_command lilac_command_lora_train = {
    .name = "lora train",
    .summary = "train a low-rank adapter of a saved classifier",
    .description =
        "Trains a low-rank adapter on all layers of a model: W x + b becomes W x + b + scale * B A x, with "
        "W and b frozen and only A and B trained. Prints what each epoch gave and how the adapted model does "
        "on the test images, and saves the adapter, which remembers the base it was made for.",
    .example = "lilac lora train --model base.safetensors --variant rotated --rank 16 \\\n"
               "    --output rotated.safetensors\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(train_settings),
    .takes = LILAC_TAKES_TRAINING | LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
