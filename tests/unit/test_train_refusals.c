/* SPDX-License-Identifier: MIT */
/* Tests of what training and evaluation refuse, before anything is changed. */
#include <lilac/train.h>

#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/toy_images.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 5, TRAINING = 1300 };

static lilac_context *context;
static lilac_dataset *training_images;
static bool step_made;

static int note_step(void *user, const lilac_progress *progress) {
    (void)user;
    (void)progress;
    step_made = true;
    return 0;
}

static int set_up(void **state) {
    (void)state;
    context = context_create(0, note_step);
    training_images = toy_images_create(context, 0, TRAINING, SIDE, CLASSES);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    lilac_dataset_destroy(training_images);
    lilac_context_destroy(context);
    return 0;
}

static lilac_mlp *create_mlp(void) {
    const lilac_mlp_config config = {.layer_count = 3, .sizes = {PIXELS, 24, 16, CLASSES}};
    lilac_mlp *mlp = NULL;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), LILAC_OK);
    return mlp;
}

static lilac_adapter *create_adapter(const lilac_mlp *mlp) {
    lilac_lora_config config;
    lilac_lora_config_default(&config);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    return adapter;
}

/* A few steps, which would succeed. */
static lilac_training_config good_config(void) {
    lilac_training_config config;
    lilac_training_config_default(&config);
    config.learning_rate = 0.01;
    config.epochs = 3;
    return config;
}

static lilac_data_view training_view(void) {
    return lilac_data_view_all(training_images, LILAC_VARIANT_PLAIN);
}

/* Expects a refusal before the first step. */
static void expect_refused(const lilac_training_config *config, lilac_mlp *mlp, lilac_adapter *adapter,
                           const lilac_data_view *training, const lilac_data_view *validation, lilac_status status,
                           const char *message) {
    const size_t bytes = lilac_mlp_parameter_count(mlp) * sizeof(float);
    float *before = malloc(bytes);
    assert_non_null(before);
    memcpy(before, lilac_mlp_parameters(mlp), bytes);
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_train_mlp(context, config, mlp, adapter, training, validation, NULL, NULL), status);
    assert_string_equal(lilac_context_message(context), message);
    assert_int_equal(lilac_test_live_allocations(), live);
    assert_false(step_made);
    assert_memory_equal(lilac_mlp_parameters(mlp), before, bytes);
    free(before);
}

/* Expects that a view is refused for training, for validation and for evaluation. */
static void expect_view_refused(lilac_data_view view, lilac_status status, const char *message) {
    const lilac_training_config config = good_config();
    const lilac_data_view good = training_view();
    lilac_mlp *mlp = create_mlp();
    lilac_evaluation evaluation = {.loss = -1};
    expect_refused(&config, mlp, NULL, &view, NULL, status, message);
    expect_refused(&config, mlp, NULL, &good, &view, status, message);
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, &view, &evaluation), status);
    assert_string_equal(lilac_context_message(context), message);
    assert_true(evaluation.loss == -1);
    lilac_mlp_destroy(mlp);
}

static void test_refuses_other_shapes(void **state) {
    (void)state;
    lilac_dataset *larger = toy_images_create(context, 0, 10, 9, CLASSES);
    lilac_dataset *more = toy_images_create(context, 0, 10, SIDE, 6);
    expect_view_refused(lilac_data_view_all(larger, LILAC_VARIANT_PLAIN), LILAC_ERROR_SHAPE,
                        "the data set has 9 x 9 pixels and 5 classes, the model 64 inputs and 5 classes");
    expect_view_refused(lilac_data_view_all(more, LILAC_VARIANT_PLAIN), LILAC_ERROR_SHAPE,
                        "the data set has 8 x 8 pixels and 6 classes, the model 64 inputs and 5 classes");
    lilac_dataset_destroy(larger);
    lilac_dataset_destroy(more);
}

static void test_refuses_impossible_views(void **state) {
    (void)state;
    const lilac_data_view good = training_view();
    uint32_t indices[TRAINING] = {0};
    lilac_data_view view = good;
    view.dataset = NULL;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "the data set is missing or empty");
    view = good;
    view.count = 0;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "the data set is missing or empty");
    view = good;
    view.variant = (lilac_variant)LILAC_VARIANT_COUNT;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "the view of the data set has no variant 5");
    view = good;
    view.first = 1;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "the view ends at image 1300 of a data set of 1300");
    view.count = 1;
    view.first = (size_t)1 << 32;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "the view ends at image 4294967296 of a data set of 1300");
    view = good;
    view.indices = indices;
    view.count = (size_t)1 << 32;
    expect_view_refused(view, LILAC_ERROR_OVERFLOW, "the view has 4294967296 items, expected less than 2^32");
    /* In the last of several batches: nothing may have been trained by then. */
    indices[TRAINING - 1] = TRAINING;
    view = good;
    view.indices = indices;
    expect_view_refused(view, LILAC_ERROR_ARGUMENT, "item 1299 of the view is image 1300 of a data set of 1300");
}

static void expect_config_refused(lilac_training_config config, const char *message) {
    const lilac_data_view training = training_view();
    lilac_mlp *mlp = create_mlp();
    expect_refused(&config, mlp, NULL, &training, NULL, LILAC_ERROR_ARGUMENT, message);
    lilac_mlp_destroy(mlp);
}

#define NUMBERS "; expected finite numbers, and an epsilon of at least 1e-37"

static void test_refuses_impossible_configs(void **state) {
    (void)state;
    const lilac_training_config good = good_config();
    lilac_training_config config = good;
    config.batch = 0;
    expect_config_refused(config, "training: batch 0, 3 epochs; both must be at least 1");
    config = good;
    config.epochs = 0;
    expect_config_refused(config, "training: batch 1024, 0 epochs; both must be at least 1");
    config = good;
    config.beta1 = 1;
    expect_config_refused(config, "training: beta1 is 1, expected at least 0 and, as a float, below 1");
    config = good;
    config.beta1 = 0.99999999;
    expect_config_refused(config, "training: beta1 is 0.99999999, expected at least 0 and, as a float, below 1");
    config = good;
    config.beta2 = -0.5;
    expect_config_refused(config, "training: beta2 is -0.5, expected at least 0 and, as a float, below 1");
    config = good;
    config.learning_rate = NAN;
    expect_config_refused(config, "training: learning rate nan, weight decay 0.01, epsilon 1e-08" NUMBERS);
    config = good;
    config.weight_decay = INFINITY;
    expect_config_refused(config, "training: learning rate 0.01, weight decay inf, epsilon 1e-08" NUMBERS);
    /* Also what is 0 or subnormal as a float. */
    static const double epsilons[] = {0, 1e-60, 1e-40, -1, NAN, INFINITY};
    static const char *const texts[] = {"0", "1e-60", "1e-40", "-1", "nan", "inf"};
    for (int i = 0; i < 6; i++) {
        char message[160];
        config = good;
        config.epsilon = epsilons[i];
        snprintf(message, sizeof message, "training: learning rate 0.01, weight decay 0.01, epsilon %s" NUMBERS,
                 texts[i]);
        expect_config_refused(config, message);
    }
}

static void test_refuses_other_adapters_and_merged_models(void **state) {
    (void)state;
    const lilac_training_config config = good_config();
    const lilac_data_view training = training_view();
    const lilac_mlp_config other_config = {.layer_count = 2, .sizes = {PIXELS, 24, CLASSES}};
    lilac_mlp *mlp = create_mlp(), *other = NULL;
    assert_int_equal(lilac_mlp_create(context, &other_config, &other), LILAC_OK);
    lilac_adapter *wrong = create_adapter(other), *adapter = create_adapter(mlp);
    lilac_evaluation evaluation;
    expect_refused(&config, mlp, wrong, &training, NULL, LILAC_ERROR_BASE_MISMATCH,
                   "the adapter has 2 layers, this base has 3");
    assert_int_equal(lilac_evaluate_mlp(context, mlp, wrong, &training, &evaluation), LILAC_ERROR_BASE_MISMATCH);
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    static const char message[] = "training: unmerge the adapter that is merged into the model first";
    expect_refused(&config, mlp, NULL, &training, NULL, LILAC_ERROR_ARGUMENT, message);
    expect_refused(&config, mlp, adapter, &training, NULL, LILAC_ERROR_ARGUMENT, message);
    lilac_adapter_destroy(wrong);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(other);
    lilac_mlp_destroy(mlp);
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    const lilac_training_config config = good_config();
    const lilac_data_view view = training_view();
    lilac_mlp *mlp = create_mlp();
    lilac_evaluation evaluation;
    assert_int_equal(lilac_train_mlp(NULL, &config, mlp, NULL, &view, NULL, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_train_mlp(context, NULL, mlp, NULL, &view, NULL, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_train_mlp(context, &config, NULL, NULL, &view, NULL, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, NULL, NULL, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_evaluate_mlp(NULL, mlp, NULL, &view, &evaluation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_evaluate_mlp(context, NULL, NULL, &view, &evaluation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, NULL, &evaluation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, &view, NULL), LILAC_ERROR_ARGUMENT);
    lilac_mlp_destroy(mlp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_other_shapes),
        cmocka_unit_test(test_refuses_impossible_views),
        cmocka_unit_test(test_refuses_impossible_configs),
        cmocka_unit_test(test_refuses_other_adapters_and_merged_models),
        cmocka_unit_test(test_refuses_null_pointers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
