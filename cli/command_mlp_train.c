/* SPDX-License-Identifier: MIT */
/* lilac mlp train: trains a classifier. */
#include "files.h"
#include "training.h"

#include "runtime/context.h"

#include <stdio.h>

typedef struct train_settings {
    const char *output;
    lilac_sizes hidden;
    double dropout;
    int variant;
} train_settings;

static const lilac_option options[] = {
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(train_settings, output),
     .value = "FILE",
     .help = "where to save the model (safetensors)",
     .required = true},
    {.name = "hidden",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(train_settings, hidden),
     .value = "N,...",
     .help = "widths of the hidden layers",
     .initial = "64,64",
     .minimum = 1,
     .maximum = 65536},
    {.name = "dropout",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(train_settings, dropout),
     .value = "P",
     .help = "dropout after each hidden layer",
     .initial = "0.1",
     .minimum = 0,
     .maximum = 0.99},
    {.name = "variant",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(train_settings, variant),
     .help =
         "the form in which the model sees the images: pixels are 0 to 1, of mnist brought to mean 0 and deviation 1",
     .initial = "mnist",
     .choices = lilac_variant_choices},
};

static lilac_status create_model(lilac_session *session, const train_settings *settings, const lilac_dataset *images,
                                 lilac_mlp **out) {
    lilac_mlp_config config;
    lilac_mlp_config_default(&config);
    const lilac_dataset_shape shape = lilac_dataset_get_shape(images);
    config.layer_count = settings->hidden.count + 1;
    if (config.layer_count > LILAC_MLP_MAX_LAYERS) {
        return lilac_session_usage_error(session, "--hidden: expected at most %d layers, got %zu",
                                         LILAC_MLP_MAX_LAYERS - 1, settings->hidden.count);
    }
    config.sizes[0] = shape.rows * shape.cols;
    for (size_t i = 0; i < settings->hidden.count; i++) {
        config.sizes[i + 1] = (size_t)settings->hidden.item[i];
    }
    config.sizes[config.layer_count] = shape.classes;
    config.dropout = settings->dropout;
    config.seed = session->common.seed;
    return lilac_mlp_create(session->context, &config, out);
}

static lilac_status run(lilac_session *session, const void *values) {
    const train_settings *settings = values;
    LILAC_TRY(lilac_session_check_output(session, settings->output));
    lilac_training_data data;
    LILAC_TRY(lilac_training_data_load(session, (lilac_variant)settings->variant, &data));
    lilac_mlp *mlp = NULL;
    lilac_status status = create_model(session, settings, data.training_images, &mlp);
    if (status == LILAC_OK) {
        status = lilac_train_and_print(session, &data, mlp, NULL);
    }
    if (status == LILAC_OK) {
        status = lilac_mlp_save(session->context, mlp, settings->output);
    }
    if (status == LILAC_OK) {
        printf("Saved %s: %zu weights\n", settings->output, lilac_mlp_parameter_count(mlp));
    }
    lilac_mlp_destroy(mlp);
    lilac_training_data_free(&data);
    return status;
}

const lilac_command lilac_command_mlp_train = {
    .name = "mlp train",
    .heading = "Classifiers of MNIST",
    .summary = "train a classifier (a multilayer perceptron) on MNIST",
    .description =
        "Trains a multilayer perceptron with ReLU and dropout by AdamW on the mean cross-entropy, prints what "
        "each epoch gave and how the model does on the test images, and saves it. The defaults are the "
        "reproduced report's base model. Any data set with MNIST's file names and image size can be used.",
    .example = "lilac mlp train --output base.safetensors\n"
               "lilac mlp train --hidden 512,512 --epochs 20 --output wide.safetensors\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(train_settings),
    .takes = LILAC_TAKES_TRAINING | LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
