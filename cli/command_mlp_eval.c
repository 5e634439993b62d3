/* SPDX-License-Identifier: MIT */
/* lilac mlp eval: how a saved classifier does on the test images. */
#include "evaluation.h"

#include "runtime/context.h"

typedef struct eval_settings {
    const char *model;
    int variant;
} eval_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(eval_settings, model),
     .value = "FILE",
     .help = "the model",
     .required = true},
    {.name = "variant",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(eval_settings, variant),
     .help =
         "the form in which the model sees the images: pixels are 0 to 1, of mnist brought to mean 0 and deviation 1",
     .initial = "all",
     .choices = lilac_evaluation_choices},
};

static lilac_status evaluate(lilac_session *session, const eval_settings *settings, const lilac_model *model) {
    lilac_dataset *test_images;
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &test_images));
    lilac_table *table = lilac_evaluation_table(settings->variant, model);
    const lilac_status status =
        lilac_evaluation_row(session, table, settings->variant, settings->model, test_images, 0, model, NULL);
    lilac_dataset_destroy(test_images);
    return lilac_session_print_table(session, status, table);
}

static lilac_status run(lilac_session *session, const void *values) {
    const eval_settings *settings = values;
    lilac_model model = {NULL, NULL};
    LILAC_TRY(lilac_mlp_load(session->context, settings->model, &model.mlp));
    const lilac_status status = evaluate(session, settings, &model);
    lilac_model_free(&model);
    return status;
}

const lilac_command lilac_command_mlp_eval = {
    .name = "mlp eval",
    .summary = "measure a saved classifier on the test images and their variants",
    .description = "Loads a model and prints the share of MNIST's test images that it classifies correctly: of the "
                   "images as they are and of their variants (pixels rounded to black or white, turned by 180 degrees, "
                   "inverted).",
    .example = "lilac mlp eval --model base.safetensors\n"
               "lilac mlp eval --model base.safetensors --variant rotated\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(eval_settings),
    .takes = LILAC_TAKES_DATA | LILAC_TAKES_COMPUTE,
    .run = run,
};
