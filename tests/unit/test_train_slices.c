/* SPDX-License-Identifier: MIT */
/*
 * Tests of training in slices: wherever it is stopped, a training that goes on from its checkpoint ends with the same
 * bytes as one that was not stopped; checkpoints of other trainings are refused; an old one stays whole.
 */
#include <lilac/train_transformer.h>

#include "support/default_context.h"
#include "support/full_disk.h"
#include "support/temporary_file.h"
#include "support/toy_images.h"
#include "support/transformer_training.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { IMAGES = 12, STEPS = 7, PASSES = 3 /* a step */ };

static lilac_dataset *images;
static lilac_data_view view;
static lilac_token_source source;
static temporary_file file;
static int calls_left; /* of the progress callback until it asks to stop; negative: it never does */

static int stop_in_time(void *user, const lilac_progress *progress) {
    (void)user;
    (void)progress;
    return calls_left >= 0 && calls_left-- == 0;
}

static int set_up(void **state) {
    (void)state;
    threads_set_up(stop_in_time);
    calls_left = -1;
    images = toy_images_create(context, 0, IMAGES, TINY_SIDE, 3);
    view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    source = (lilac_token_source){.images = &view};
    temporary_file_create(&file);
    return 0;
}

static int tear_down(void **state) {
    remove(file.path);
    temporary_file_destroy(&file);
    lilac_dataset_destroy(images);
    return context_tear_down(state);
}

static lilac_transformer_training sliced_training(void) {
    lilac_transformer_training config = tiny_training();
    config.checkpoint = file.path;
    config.resume = true;
    return config;
}

static bool file_exists(void) {
    return access(file.path, F_OK) == 0;
}

/* One slice with a new model, whose weights are returned if all steps are made, else NULL. */
static float *train_slice(lilac_context *with, const lilac_transformer_training *config, lilac_status wanted) {
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
    lilac_transformer_outcome outcome = {.finished = false};
    assert_int_equal(lilac_train_transformer(with, config, model, NULL, &source, NULL, &outcome), wanted);
    float *weights = outcome.finished ? tiny_transformer_weights(model) : NULL;
    lilac_transformer_destroy(model);
    return weights;
}

static float *train_at_once(lilac_training_optimiser optimiser) {
    lilac_transformer_training config = sliced_training();
    config.optimiser = optimiser;
    config.checkpoint = NULL;
    config.resume = false;
    float *weights = train_slice(context, &config, LILAC_OK);
    assert_non_null(weights);
    return weights;
}

static size_t weight_bytes(void) {
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
    const size_t bytes = lilac_transformer_parameter_count(model) * sizeof(float);
    lilac_transformer_destroy(model);
    return bytes;
}

static void expect_weights(float *weights, const float *expected) {
    assert_non_null(weights);
    assert_memory_equal(weights, expected, weight_bytes());
    free(weights);
}

/* Stopped at every possible moment, within steps and between them, and continued by one or by two threads. */
static void test_goes_on_from_any_stop(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    const lilac_transformer_training config = sliced_training();
    for (int stop = 0; stop < STEPS * PASSES; stop++) {
        calls_left = stop;
        assert_null(train_slice(context, &config, LILAC_CANCELLED));
        assert_true(file_exists());
        calls_left = -1;
        expect_weights(train_slice(stop % 2 ? one_thread : context, &config, LILAC_OK), expected);
        remove(file.path);
    }
    free(expected);
}

static void go_on_from_many_stops(lilac_training_optimiser optimiser) {
    float *expected = train_at_once(optimiser), *weights = NULL;
    lilac_transformer_training config = sliced_training();
    config.optimiser = optimiser;
    int slices = 0;
    for (; weights == NULL; slices++) {
        config.seconds = 1e-9; /* a step a slice */
        config.checkpoint_interval = slices % 3;
        weights = train_slice(slices % 2 ? one_thread : context, &config, LILAC_OK);
    }
    assert_int_equal(slices, STEPS);
    expect_weights(weights, expected);
    free(expected);
}

static void test_goes_on_from_many_stops(void **state) {
    (void)state;
    go_on_from_many_stops(LILAC_TRAINING_ADAMW);
    remove(file.path);
    go_on_from_many_stops(LILAC_TRAINING_MUON);
}

static lilac_status fail_third(void *user, const lilac_transformer_metrics *metrics) {
    (void)user;
    return metrics->step == 3 ? LILAC_ERROR_IO : LILAC_OK;
}

static void test_goes_on_after_a_failed_report(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    lilac_transformer_training config = sliced_training();
    config.report = fail_third;
    config.report_interval = 1;
    assert_null(train_slice(context, &config, LILAC_ERROR_IO));
    config.report = NULL;
    expect_weights(train_slice(context, &config, LILAC_OK), expected);
    free(expected);
}

/* Between checkpoints a crash loses only the steps since the last one: here it is undone by a copy of the file. */
static void test_goes_on_from_an_older_checkpoint(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    lilac_transformer_training config = sliced_training();
    config.checkpoint_interval = 2;
    config.seconds = 1e-9;
    assert_null(train_slice(context, &config, LILAC_OK));
    static char older[1 << 20];
    FILE *stream = fopen(file.path, "rb");
    assert_non_null(stream);
    const size_t size = fread(older, 1, sizeof older, stream);
    fclose(stream);
    config.seconds = 0;
    free(train_slice(context, &config, LILAC_OK));
    stream = fopen(file.path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(older, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
    expect_weights(train_slice(context, &config, LILAC_OK), expected);
    free(expected);
}

static int steps_reported, validations;

static lilac_status count_reports(void *user, const lilac_transformer_metrics *metrics) {
    (void)user;
    steps_reported++;
    validations += isfinite(metrics->validation);
    return LILAC_OK;
}

/* Seconds add up over slices; a finished training has nothing to do but give its figures again. */
static void test_figures_go_on(void **state) {
    (void)state;
    lilac_transformer_training config = sliced_training();
    config.seconds = 1e-9;
    config.report = count_reports;
    double seconds = 0;
    lilac_transformer_outcome outcome = {.finished = false};
    lilac_transformer *model = NULL;
    steps_reported = validations = 0;
    while (!outcome.finished) {
        lilac_transformer_destroy(model);
        model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
        assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
        assert_true(outcome.metrics.seconds > seconds);
        seconds = outcome.metrics.seconds;
    }
    assert_int_equal(steps_reported, STEPS);
    assert_int_equal(validations, 1);
    float *weights = tiny_transformer_weights(model);
    const double validation = outcome.metrics.validation;
    lilac_transformer_destroy(model);
    model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    assert_memory_equal(lilac_transformer_parameters(model), weights, weight_bytes());
    assert_true(outcome.finished && outcome.metrics.validation == validation && isnan(outcome.metrics.loss));
    assert_int_equal(steps_reported, STEPS);
    free(weights);
    lilac_transformer_destroy(model);
}

static void test_begins_anew_unless_told_to_go_on(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    lilac_transformer_training config = sliced_training();
    config.seconds = 1e-9;
    assert_null(train_slice(context, &config, LILAC_OK));
    config.resume = false;
    config.seconds = 0;
    expect_weights(train_slice(context, &config, LILAC_OK), expected);
    free(expected);
}

static void test_adapter_goes_on(void **state) {
    (void)state;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
    const lilac_lora_config lora = {.rank = 2, .alpha = 4};
    float *expected = NULL;
    size_t bytes = 0;
    for (int sliced = 0; sliced < 2; sliced++) {
        lilac_transformer_training config = sliced_training();
        config.resume = sliced;
        config.seconds = sliced ? 1e-9 : 0;
        lilac_transformer_outcome outcome = {.finished = false};
        lilac_adapter *adapter = NULL;
        while (!outcome.finished) {
            lilac_adapter_destroy(adapter);
            assert_int_equal(lilac_transformer_adapter_create(context, model, "*.query,*.up", &lora, &adapter),
                             LILAC_OK);
            assert_int_equal(lilac_train_transformer(context, &config, model, adapter, &source, NULL, &outcome),
                             LILAC_OK);
        }
        bytes = lilac_adapter_parameter_count(adapter) * sizeof(float);
        if (sliced) {
            assert_memory_equal(lilac_adapter_parameters(adapter), expected, bytes);
        } else {
            expected = malloc(bytes);
            assert_non_null(expected);
            memcpy(expected, lilac_adapter_parameters(adapter), bytes);
            remove(file.path);
        }
        lilac_adapter_destroy(adapter);
    }
    /* The adapter's checkpoint is not the model's. */
    const lilac_transformer_training config = sliced_training();
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(context), "another trained: adapter, here it is model"));
    free(expected);
    lilac_transformer_destroy(model);
}

static void expect_refused(const lilac_transformer_training *config, const lilac_transformer_config *model_config,
                           const lilac_token_source *training, const char *text) {
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, model_config, &model), LILAC_OK);
    float *before = tiny_transformer_weights(model);
    assert_int_equal(lilac_train_transformer(context, config, model, NULL, training, NULL, NULL), LILAC_ERROR_ARGUMENT);
    if (strstr(lilac_context_message(context), text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lilac_context_message(context), text);
    }
    expect_transformer_weights(model, before);
    free(before);
    lilac_transformer_destroy(model);
}

static void test_refuses_other_settings(void **state) {
    (void)state;
    const lilac_transformer_training good = sliced_training();
    const lilac_transformer_config model = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0.2);
    lilac_transformer_training slice = good;
    slice.seconds = 1e-9;
    assert_null(train_slice(context, &slice, LILAC_OK));

    lilac_transformer_training other[9];
    for (size_t i = 0; i < 9; i++) {
        other[i] = good;
    }
    other[0].learning_rate = 0.02;
    other[1].steps = 8;
    other[2].batch = 6;
    other[3].micro_batch = 1;
    other[4].optimiser = LILAC_TRAINING_RADAM;
    other[5].seed = 5;
    other[6].clip_norm = 0;
    other[7].precision = LILAC_PRECISION_BF16;
    other[8].warm_up = 3;
    const char *const texts[] = {"another learning rate: 0.01, here it is 0.02",
                                 "another number of steps: 7, here it is 8",
                                 "another batch: 5, here it is 6",
                                 "another micro-batch: 2, here it is 1",
                                 "another optimiser: adamw, here it is radam",
                                 "another seed: 4, here it is 5",
                                 "another clip norm: 1, here it is 0",
                                 "another precision: f32, here it is bf16",
                                 "another warm-up: 2, here it is 3"};
    for (size_t i = 0; i < 9; i++) {
        expect_refused(&other[i], &model, &source, texts[i]);
    }
    lilac_transformer_config other_model = model;
    other_model.attention = LILAC_TRANSFORMER_SOFTMAX;
    expect_refused(&good, &other_model, &source, "another attention: linear, here it is softmax");
    other_model = model;
    other_model.dropout = 0.1;
    expect_refused(&good, &other_model, &source, "another dropout: 0.2, here it is 0.1");
    other_model = model;
    other_model.layers = 3;
    expect_refused(&good, &other_model, &source, "another layers: 2, here it is 3");
    const lilac_data_view fewer = {.dataset = images, .count = IMAGES - 1};
    const lilac_token_source other_images = {.images = &fewer};
    expect_refused(&good, &model, &other_images, "another training set: 12 images");

    lilac_transformer *begun = NULL;
    assert_int_equal(lilac_transformer_create(context, &model, &begun), LILAC_OK);
    lilac_transformer_parameters(begun)[100] += 1.0f;
    assert_int_equal(lilac_train_transformer(context, &good, begun, NULL, &source, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(context), "another checksum of the first weights"));
    lilac_transformer_destroy(begun);

    /* What only says when to stop or to report may differ. */
    slice = good;
    slice.checkpoint_interval = 1;
    slice.validation_interval = 2;
    slice.report_interval = 3;
    free(train_slice(context, &slice, LILAC_OK));
}

/* With a border, and only then, the form of images matters: it says which pixels are left. */
static void test_refuses_images_of_another_form(void **state) {
    (void)state;
    enum { PIXELS = 15 };
    const uint8_t labels[IMAGES] = {0};
    uint8_t pixels[IMAGES * PIXELS];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * i % 251);
    }
    lilac_dataset *forms[2] = {NULL, NULL};
    for (size_t form = 0; form < 2; form++) {
        const lilac_dataset_shape shape = {
            .count = IMAGES, .rows = form == 0 ? 3 : 5, .cols = form == 0 ? 5 : 3, .classes = 1};
        assert_int_equal(lilac_dataset_create(context, &shape, pixels, labels, &forms[form]), LILAC_OK);
    }
    for (size_t border = 0; border < 2; border++) {
        lilac_transformer_training config = sliced_training();
        config.border = border;
        remove(file.path);
        for (size_t form = 0; form < 2; form++) {
            const lilac_data_view form_view = lilac_data_view_all(forms[form], LILAC_VARIANT_ORIGINAL);
            const lilac_token_source form_source = {.images = &form_view};
            lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
            config.seconds = form == 0 ? 1e-9 : 0.0;
            assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &form_source, NULL, NULL),
                             form == 1 && border == 1 ? LILAC_ERROR_ARGUMENT : LILAC_OK);
            lilac_transformer_destroy(model);
        }
    }
    assert_non_null(strstr(lilac_context_message(context), "another number of rows of an image: 3, here it is 5"));
    lilac_dataset_destroy(forms[0]);
    lilac_dataset_destroy(forms[1]);
}

static void test_full_disk_keeps_the_old_checkpoint(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    lilac_transformer_training config = sliced_training();
    config.seconds = 1e-9;
    assert_null(train_slice(context, &config, LILAC_OK));
    lilac_test_limit_file_size(100);
    assert_null(train_slice(context, &config, LILAC_ERROR_IO));
    lilac_test_limit_file_size(-1);
    config.seconds = 0;
    expect_weights(train_slice(context, &config, LILAC_OK), expected);
    free(expected);
}

static void test_divergence_keeps_the_old_checkpoint(void **state) {
    (void)state;
    float *expected = train_at_once(LILAC_TRAINING_ADAMW);
    const lilac_transformer_training good = sliced_training();
    lilac_transformer_training config = good;
    config.resume = false;
    config.checkpoint_interval = 1;
    config.learning_rate = 1e30;
    config.weight_decay = 1e30;
    assert_null(train_slice(context, &config, LILAC_ERROR_NOT_FINITE));
    assert_false(file_exists());
    lilac_transformer_training slice = good;
    slice.seconds = 1e-9;
    assert_null(train_slice(context, &slice, LILAC_OK));
    assert_null(train_slice(context, &config, LILAC_ERROR_NOT_FINITE));
    /* Weights that are finite, but no loss: only validation tells. */
    config.weight_decay = 0.0;
    config.learning_rate = 1e20;
    config.warm_up = 0;
    config.steps = 1;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.2);
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, NULL),
                     LILAC_ERROR_NOT_FINITE);
    lilac_transformer_destroy(model);
    expect_weights(train_slice(context, &good, LILAC_OK), expected);
    free(expected);
}

/* Before the training, not after it. */
static void test_refuses_a_checkpoint_that_cannot_be_written(void **state) {
    (void)state;
    lilac_transformer_training config = sliced_training();
    config.checkpoint = "no such folder/checkpoint";
    calls_left = 0; /* no pass is begun */
    assert_null(train_slice(context, &config, LILAC_ERROR_NOT_FOUND));
    assert_int_equal(calls_left, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on_from_any_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_goes_on_from_many_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_goes_on_after_a_failed_report, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_goes_on_from_an_older_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_figures_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_begins_anew_unless_told_to_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adapter_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_images_of_another_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_disk_keeps_the_old_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_divergence_keeps_the_old_checkpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_a_checkpoint_that_cannot_be_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
