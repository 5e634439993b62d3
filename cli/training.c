/* SPDX-License-Identifier: MIT */
#include "training.h"

#include "files.h"

#include "runtime/context.h"

#include <math.h>
#include <stdlib.h>

const char *const lilac_variant_choices[LILAC_VARIANT_COUNT + 1] = {
    [LILAC_VARIANT_ORIGINAL] = "mnist",    [LILAC_VARIANT_QUANTIZED] = "quantized", [LILAC_VARIANT_ROTATED] = "rotated",
    [LILAC_VARIANT_INVERTED] = "inverted", [LILAC_VARIANT_PLAIN] = "plain",
};

static lilac_status split_data(lilac_session *session, lilac_variant variant, lilac_training_data *data) {
    const size_t count = lilac_dataset_get_shape(data->training_images).count;
    const size_t validation = (size_t)session->common.training.validation;
    if (validation >= count) {
        return lilac_session_usage_error(session, "--validation: there are only %zu training images, got %zu", count,
                                         validation);
    }
    data->split = malloc(count * sizeof *data->split);
    if (data->split == NULL) {
        return lilac_fail_memory(session->context, "the split into training and validation images",
                                 count * sizeof *data->split);
    }
    lilac_split(session->common.seed, count, data->split);
    data->training = (lilac_data_view){
        .dataset = data->training_images, .indices = data->split, .count = count - validation, .variant = variant};
    data->validation = (lilac_data_view){.dataset = data->training_images,
                                         .indices = data->split + count - validation,
                                         .count = validation,
                                         .variant = variant};
    data->test = lilac_data_view_all(data->test_images, variant);
    return LILAC_OK;
}

lilac_status lilac_training_data_load(lilac_session *session, lilac_variant variant, lilac_training_data *out) {
    lilac_training_data data = {0};
    lilac_status status = lilac_session_load_mnist(session, LILAC_MNIST_TRAIN, &data.training_images);
    if (status == LILAC_OK) {
        status = lilac_session_load_mnist(session, LILAC_MNIST_TEST, &data.test_images);
    }
    if (status == LILAC_OK) {
        status = split_data(session, variant, &data);
    }
    if (status != LILAC_OK) {
        lilac_training_data_free(&data);
        return status;
    }
    *out = data;
    return LILAC_OK;
}

void lilac_training_data_free(lilac_training_data *data) {
    free(data->split);
    lilac_dataset_destroy(data->test_images);
    lilac_dataset_destroy(data->training_images);
}

static lilac_status print_epochs(lilac_session *session, const lilac_epoch_metrics *metrics, size_t count) {
    lilac_table *table = lilac_table_create("rrrr");
    lilac_table_cell(table, "epoch");
    lilac_table_cell(table, "training loss");
    lilac_table_cell(table, "validation loss");
    lilac_table_cell(table, "validation accuracy");
    for (size_t i = 0; i < count; i++) {
        lilac_table_cell(table, "%zu", i + 1);
        lilac_table_cell(table, "%.4f", metrics[i].training_loss);
        if (isnan(metrics[i].validation_loss)) {
            lilac_table_cell(table, "-");
            lilac_table_cell(table, "-");
        } else {
            lilac_table_cell(table, "%.4f", metrics[i].validation_loss);
            lilac_table_cell(table, "%.2f %%", 100 * metrics[i].validation_accuracy);
        }
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

lilac_status lilac_train_and_print(lilac_session *session, const lilac_training_data *data, lilac_mlp *mlp,
                                   lilac_adapter *adapter) {
    const lilac_training_settings *settings = &session->common.training;
    lilac_training_config config;
    lilac_training_config_default(&config);
    config.batch = (size_t)settings->batch;
    config.epochs = (size_t)settings->epochs;
    config.patience = (size_t)settings->patience;
    config.learning_rate = settings->learning_rate;
    config.weight_decay = settings->weight_decay;
    config.seed = session->common.seed;
    lilac_epoch_metrics *metrics = calloc(config.epochs, sizeof *metrics);
    if (metrics == NULL) {
        return lilac_fail_memory(session->context, "the figures of the epochs", config.epochs * sizeof *metrics);
    }
    size_t epochs = 0;
    lilac_status status = lilac_train_mlp(session->context, &config, mlp, adapter, &data->training,
                                          data->validation.count > 0 ? &data->validation : NULL, metrics, &epochs);
    if (status == LILAC_OK) {
        status = print_epochs(session, metrics, epochs);
    }
    free(metrics);
    LILAC_TRY(status);
    lilac_evaluation test;
    LILAC_TRY(lilac_evaluate_mlp(session->context, mlp, adapter, &data->test, &test));
    printf("On the test images: accuracy %.2f %%, loss %.4f\n", 100 * test.accuracy, test.loss);
    return LILAC_OK;
}
