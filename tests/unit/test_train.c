/* SPDX-License-Identifier: MIT */
/*
 * Tests of training and evaluation: what is learnt, what a step does, early stopping, stopping on request, divergence,
 * and the same bytes at any number of threads.
 */
#include <lilac/train.h>

#include "data/batches.h"
#include "model/mlp.h"
#include "nn/optimiser.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/mlp_reference.h"
#include "support/numbers.h"
#include "support/toy_images.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 5, TRAINING = 1300, TEST = 2300 };

static lilac_dataset *training_images, *test_images;
static uint64_t stop_after; /* steps until the callback asks to stop; 0: never */
static uint64_t steps_reported, steps_announced;

static int count_steps(void *user, const lilac_progress *progress) {
    (void)user;
    assert_string_equal(progress->stage, "training");
    steps_reported++;
    assert_int_equal(progress->done, steps_reported);
    steps_announced = progress->total;
    return steps_reported == stop_after;
}

static int set_up(void **state) {
    (void)state;
    threads_set_up(count_steps);
    training_images = toy_images_create(context, 0, TRAINING, SIDE, CLASSES);
    test_images = toy_images_create(context, 1, TEST, SIDE, CLASSES);
    return 0;
}

static int tear_down(void **state) {
    lilac_dataset_destroy(training_images);
    lilac_dataset_destroy(test_images);
    return context_tear_down(state);
}

static int reset_progress(void **state) {
    (void)state;
    stop_after = steps_reported = steps_announced = 0;
    return 0;
}

static lilac_mlp *create_mlp(double dropout) {
    const lilac_mlp_config config = {
        .layer_count = 3, .sizes = {PIXELS, 24, 16, CLASSES}, .dropout = dropout, .seed = 3};
    lilac_mlp *mlp = NULL;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), LILAC_OK);
    return mlp;
}

static lilac_adapter *create_adapter(const lilac_mlp *mlp) {
    const lilac_lora_config config = {.rank = 4, .alpha = 2};
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    return adapter;
}

static lilac_training_config quick_config(void) {
    lilac_training_config config;
    lilac_training_config_default(&config);
    config.learning_rate = 0.01;
    config.epochs = 3;
    return config;
}

static lilac_data_view training_view(void) {
    return lilac_data_view_all(training_images, LILAC_VARIANT_PLAIN);
}

static lilac_data_view test_view(void) {
    return lilac_data_view_all(test_images, LILAC_VARIANT_PLAIN);
}

static float *copy_floats(size_t count, const float *values) {
    float *copy = malloc(count * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, values, count * sizeof *copy);
    return copy;
}

static float *copy_weights(lilac_mlp *mlp) {
    return copy_floats(lilac_mlp_parameter_count(mlp), lilac_mlp_parameters(mlp));
}

static void expect_weights(lilac_mlp *mlp, const float *expected) {
    assert_memory_equal(lilac_mlp_parameters(mlp), expected, lilac_mlp_parameter_count(mlp) * sizeof(float));
}

/* The weights after training a new model (and adapter) on the view; the caller frees them. */
static float *train_weights(lilac_context *with, const lilac_training_config *config, bool adapt,
                            const lilac_data_view *view) {
    lilac_mlp *mlp = create_mlp(0.2);
    lilac_adapter *adapter = adapt ? create_adapter(mlp) : NULL;
    reset_progress(NULL);
    assert_int_equal(lilac_train_mlp(with, config, mlp, adapter, view, NULL, NULL, NULL), LILAC_OK);
    float *weights = adapt ? copy_floats(lilac_adapter_parameter_count(adapter), lilac_adapter_parameters(adapter))
                           : copy_weights(mlp);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
    return weights;
}

static size_t trained_bytes(bool adapt) {
    const size_t model = PIXELS * 24 + 24 + 24 * 16 + 16 + 16 * CLASSES + CLASSES;
    return sizeof(float) * (adapt ? 4 * (PIXELS + 24 + 24 + 16 + 16 + CLASSES) : model);
}

static void test_default_config(void **state) {
    (void)state;
    lilac_training_config config;
    lilac_training_config_default(&config);
    assert_int_equal(config.batch, 1024);
    assert_int_equal(config.epochs, 10);
    assert_int_equal(config.patience, 10);
    assert_true(config.learning_rate == 2e-4 && config.weight_decay == 0.01);
    assert_true(config.beta1 == 0.9 && config.beta2 == 0.999 && config.epsilon == 1e-8);
    assert_int_equal(config.seed, 0);
}

static void test_learns(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    config.epochs = 20;
    config.batch = 100;
    config.learning_rate = 0.002;
    lilac_epoch_metrics metrics[20];
    lilac_mlp *mlp = create_mlp(0.1);
    const lilac_data_view training = training_view(), test = test_view();
    size_t epochs = 0;
    assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, &training, &test, metrics, &epochs), LILAC_OK);
    assert_int_equal(epochs, 20);
    assert_int_equal(steps_reported, 20 * 13);
    assert_int_equal(steps_announced, 20 * 13);
    assert_true(metrics[0].validation_accuracy < 0.9 && metrics[19].validation_accuracy > 0.98);
    assert_true(metrics[19].training_loss < 0.2 * metrics[0].training_loss);
    assert_true(metrics[19].validation_loss < 0.2 * metrics[0].validation_loss);
    lilac_evaluation evaluation;
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, &test, &evaluation), LILAC_OK);
    assert_true(evaluation.loss == metrics[19].validation_loss);
    assert_true(evaluation.accuracy == metrics[19].validation_accuracy);
    lilac_mlp_destroy(mlp);
}

static void test_adapter_learns_and_base_stays(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    config.epochs = 20;
    config.batch = 100;
    lilac_epoch_metrics metrics[20];
    lilac_mlp *mlp = create_mlp(0.1);
    lilac_adapter *adapter = create_adapter(mlp);
    float *before = copy_weights(mlp);
    const lilac_data_view training = training_view(), test = test_view();
    assert_int_equal(lilac_train_mlp(context, &config, mlp, adapter, &training, &test, metrics, NULL), LILAC_OK);
    assert_true(metrics[0].validation_accuracy < 0.9 && metrics[19].validation_accuracy > 0.95);
    expect_weights(mlp, before);
    lilac_evaluation with, without;
    assert_int_equal(lilac_evaluate_mlp(context, mlp, adapter, &test, &with), LILAC_OK);
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, &test, &without), LILAC_OK);
    assert_true(with.accuracy == metrics[19].validation_accuracy && without.accuracy < 0.5);
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

/* With a learning rate of 0 and no dropout, training measures the model as it is, last smaller batch included. */
static void test_training_loss(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    config.learning_rate = 0;
    config.epochs = 1;
    lilac_mlp *mlp = create_mlp(0);
    float *before = copy_weights(mlp);
    const lilac_data_view training = training_view();
    lilac_epoch_metrics metrics;
    lilac_evaluation evaluation;
    assert_int_equal(lilac_evaluate_mlp(context, mlp, NULL, &training, &evaluation), LILAC_OK);
    assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, &training, NULL, &metrics, NULL), LILAC_OK);
    assert_true(fabs(metrics.training_loss - evaluation.loss) < 1e-6);
    assert_true(isnan(metrics.validation_loss) && isnan(metrics.validation_accuracy));
    expect_weights(mlp, before);
    free(before);
    lilac_mlp_destroy(mlp);
}

/* Two epochs of two steps each, put together from their parts, of a model and of an adapter. The latter's first layer
 * is multiplied in each step here, and once for all epochs there. */
static void expect_steps(bool adapt) {
    lilac_training_config config = quick_config();
    config.batch = 800;
    config.epochs = 2;
    config.seed = 77;
    const lilac_optimiser_config adamw = {.kind = LILAC_OPTIMISER_ADAMW,
                                          .weight_decay = config.weight_decay,
                                          .beta1 = config.beta1,
                                          .beta2 = config.beta2,
                                          .epsilon = config.epsilon};
    const lilac_data_view training = training_view();
    lilac_mlp *mlp = create_mlp(0.2);
    lilac_adapter *adapter = adapt ? create_adapter(mlp) : NULL;
    float *weights = adapt ? lilac_adapter_parameters(adapter) : lilac_mlp_parameters(mlp);
    const size_t count = trained_bytes(adapt) / sizeof *weights;
    lilac_mlp_activations a;
    lilac_optimiser optimiser;
    uint32_t order[TRAINING];
    float *gradient = copy_floats(count, weights);
    assert_int_equal(lilac_mlp_activations_create(context, mlp, adapter, config.batch, &a), LILAC_OK);
    assert_int_equal(lilac_optimiser_create(context, &adamw, count, &optimiser), LILAC_OK);
    for (size_t step = 0; step < 4; step++) {
        const lilac_data_view shuffled = lilac_data_view_shuffle(&training, config.seed, step / 2, order);
        const size_t rows = step % 2 == 0 ? 800 : TRAINING - 800;
        const lilac_random dropout = lilac_random_stream(config.seed, LILAC_RANDOM_DROPOUT, step);
        assert_int_equal(lilac_batch_fill(context, &shuffled, step % 2 * 800, rows, a.inputs, a.labels), LILAC_OK);
        assert_int_equal(lilac_mlp_training_forward(context, mlp, adapter, rows, &dropout, &a), LILAC_OK);
        assert_int_equal(lilac_mlp_training_backward(context, mlp, adapter, rows, true, &a, gradient), LILAC_OK);
        assert_int_equal(lilac_optimiser_update(context, &optimiser, config.learning_rate, 1.0, gradient, weights),
                         LILAC_OK);
    }
    float *trained = train_weights(context, &config, adapt, &training);
    if (!adapt) {
        expect_weights(mlp, trained);
    }
    for (size_t i = 0; i < count; i++) {
        /* An adapter's: some libraries round a row of a product otherwise among others. */
        assert_true(fabsf(trained[i] - weights[i]) <= 1e-5f);
    }
    free(trained);
    free(gradient);
    lilac_optimiser_destroy(&optimiser);
    lilac_mlp_activations_destroy(&a);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

static void test_steps(void **state) {
    (void)state;
    expect_steps(false);
    expect_steps(true);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    const lilac_data_view training = training_view();
    for (int adapt = 0; adapt < 2; adapt++) {
        config.seed = 0;
        float *two = train_weights(context, &config, adapt, &training);
        float *again = train_weights(context, &config, adapt, &training);
        float *one = train_weights(one_thread, &config, adapt, &training);
        config.seed = 1;
        float *other = train_weights(context, &config, adapt, &training);
        assert_memory_equal(again, two, trained_bytes(adapt));
        assert_memory_equal(one, two, trained_bytes(adapt));
        assert_memory_not_equal(other, two, trained_bytes(adapt));
        free(two);
        free(again);
        free(one);
        free(other);
    }
}

/* A view by indices, and a view of a middle part, train as a data set of just those images does. */
static void test_views(void **state) {
    (void)state;
    enum { PART = 601, FIRST = 500 };
    static uint8_t images[PART * PIXELS], labels[PART];
    uint32_t indices[PART];
    lilac_training_config config = quick_config();
    config.batch = 200;
    for (int middle = 0; middle < 2; middle++) {
        for (size_t i = 0; i < PART; i++) {
            indices[i] = (uint32_t)(middle ? FIRST + i : i * 1231 % TRAINING);
            memcpy(images + i * PIXELS, lilac_dataset_image(training_images, indices[i]), PIXELS);
            labels[i] = lilac_dataset_labels(training_images)[indices[i]];
        }
        const lilac_dataset_shape shape = {.count = PART, .rows = SIDE, .cols = SIDE, .classes = CLASSES};
        lilac_dataset *copy = NULL;
        assert_int_equal(lilac_dataset_create(context, &shape, images, labels, &copy), LILAC_OK);
        const lilac_data_view whole = lilac_data_view_all(copy, LILAC_VARIANT_INVERTED);
        const lilac_data_view part = {.dataset = training_images,
                                      .indices = middle ? NULL : indices,
                                      .first = middle ? FIRST : 0,
                                      .count = PART,
                                      .variant = LILAC_VARIANT_INVERTED};
        for (int adapt = 0; adapt < 2; adapt++) {
            float *expected = train_weights(context, &config, adapt, &whole);
            float *found = train_weights(context, &config, adapt, &part);
            assert_memory_equal(found, expected, trained_bytes(adapt));
            free(found);
            free(expected);
        }
        lilac_dataset_destroy(copy);
    }
}

/* Validation on wrong labels: its loss only grows from the first epoch on. */
static void test_patience(void **state) {
    (void)state;
    static uint8_t labels[TEST];
    for (size_t i = 0; i < TEST; i++) {
        labels[i] = (uint8_t)((lilac_dataset_labels(test_images)[i] + 1) % CLASSES);
    }
    const lilac_dataset_shape shape = lilac_dataset_get_shape(test_images);
    lilac_dataset *wrong = NULL;
    assert_int_equal(lilac_dataset_create(context, &shape, lilac_dataset_image(test_images, 0), labels, &wrong),
                     LILAC_OK);
    const lilac_data_view training = training_view(), validation = lilac_data_view_all(wrong, LILAC_VARIANT_PLAIN);
    static const struct {
        size_t patience, epochs;
        bool validated;
    } cases[] = {{1, 2, true}, {3, 4, true}, {0, 8, true}, {3, 8, false}, {20, 8, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lilac_training_config config = quick_config();
        config.batch = 100;
        config.learning_rate = 1e-3; /* slow enough for the loss to grow by little */
        config.epochs = 8;
        config.patience = cases[i].patience;
        lilac_mlp *mlp = create_mlp(0);
        lilac_epoch_metrics metrics[8];
        metrics[7].training_loss = -1;
        size_t epochs = 0;
        reset_progress(NULL);
        assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, &training,
                                         cases[i].validated ? &validation : NULL, metrics, &epochs),
                         LILAC_OK);
        assert_int_equal(epochs, cases[i].epochs);
        assert_int_equal(steps_reported, 13 * epochs);
        assert_true((metrics[7].training_loss == -1) == (epochs < 8));
        for (size_t e = 1; cases[i].validated && e < epochs; e++) {
            assert_true(metrics[e].validation_loss > metrics[e - 1].validation_loss);
        }
        assert_true(!cases[i].validated || metrics[1].validation_loss < 1.5 * metrics[0].validation_loss);
        lilac_mlp_destroy(mlp);
    }
    lilac_dataset_destroy(wrong);
}

static void test_stops_on_request(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    config.batch = 100;
    lilac_mlp *mlp = create_mlp(0);
    float *before = copy_weights(mlp);
    const lilac_data_view training = training_view();
    const size_t live = lilac_test_live_allocations();
    size_t epochs = 99;
    stop_after = 5;
    assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, &training, NULL, NULL, &epochs), LILAC_CANCELLED);
    assert_string_equal(lilac_context_message(context), "stopped on request during: training");
    assert_int_equal(steps_reported, 5);
    assert_int_equal(epochs, 99);
    assert_int_equal(lilac_test_live_allocations(), live);
    assert_memory_not_equal(lilac_mlp_parameters(mlp), before, trained_bytes(false));
    free(before);
    lilac_mlp_destroy(mlp);
}

static void expect_divergence(double learning_rate, size_t epochs, bool adapt, bool validated, const char *what) {
    char message[200];
    snprintf(message, sizeof message, "training: %s; a lower learning rate may help (it is %g)", what, learning_rate);
    lilac_training_config config = quick_config();
    config.learning_rate = learning_rate;
    config.epochs = epochs;
    config.batch = TRAINING;
    lilac_mlp *mlp = create_mlp(0);
    lilac_adapter *adapter = adapt ? create_adapter(mlp) : NULL;
    const lilac_data_view training = training_view(), test = test_view();
    reset_progress(NULL);
    assert_int_equal(lilac_train_mlp(context, &config, mlp, adapter, &training, validated ? &test : NULL, NULL, NULL),
                     LILAC_ERROR_NOT_FINITE);
    assert_string_equal(lilac_context_message(context), message);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

static void test_divergence(void **state) {
    (void)state;
    /* After one step with 1e30 the weights are finite still, but no logits computed from them are. */
    expect_divergence(1e30, 2, false, false, "the training loss is not finite in epoch 2");
    expect_divergence(1e30, 1, false, true, "the validation loss is not finite in epoch 1");
    /* Nothing but the weights shows what the only step did. */
    expect_divergence(1e60, 1, false, false, "a weight is not finite in epoch 1");
    expect_divergence(1e60, 1, true, false, "a weight is not finite in epoch 1");
}

/* A data set may have fewer classes than the model. */
static void test_fewer_classes(void **state) {
    (void)state;
    const lilac_training_config config = quick_config();
    lilac_dataset *fewer = toy_images_create(context, 0, 10, SIDE, 4);
    const lilac_data_view view = lilac_data_view_all(fewer, LILAC_VARIANT_PLAIN);
    lilac_mlp *mlp = create_mlp(0);
    assert_int_equal(lilac_train_mlp(context, &config, mlp, NULL, &view, NULL, NULL, NULL), LILAC_OK);
    lilac_mlp_destroy(mlp);
    lilac_dataset_destroy(fewer);
}

/* The same as in double, for a number of rows that leaves a rest, with and without adapter. */
static void test_evaluation(void **state) {
    (void)state;
    const lilac_data_view test = test_view();
    lilac_mlp *mlp = create_mlp(0.5);
    lilac_adapter *const adapters[] = {NULL, create_adapter(mlp)};
    lilac_test_uniform(0, lilac_adapter_parameter_count(adapters[1]), -1, 1, lilac_adapter_parameters(adapters[1]));
    float *inputs = malloc((size_t)TEST * PIXELS * sizeof *inputs);
    assert_non_null(inputs);
    const uint8_t *labels = lilac_dataset_labels(test_images);
    assert_int_equal(lilac_batch_fill(context, &test, 0, TEST, inputs, NULL), LILAC_OK);
    for (int i = 0; i < 2; i++) {
        mlp_reference reference = mlp_reference_create(mlp, adapters[i], TEST, inputs, labels);
        const double loss = mlp_reference_loss(&reference);
        double correct = 0;
        for (size_t row = 0; row < TEST; row++) {
            size_t best = 0;
            for (size_t c = 1; c < CLASSES; c++) {
                best = reference.logits[row * CLASSES + c] > reference.logits[row * CLASSES + best] ? c : best;
            }
            correct += best == labels[row];
        }
        lilac_evaluation found, one;
        assert_int_equal(lilac_evaluate_mlp(context, mlp, adapters[i], &test, &found), LILAC_OK);
        assert_int_equal(lilac_evaluate_mlp(one_thread, mlp, adapters[i], &test, &one), LILAC_OK);
        assert_true(fabs(found.loss - loss) < 1e-5 * loss);
        /* Two logits that are equal to float precision may be taken in the other order. */
        assert_true(fabs(found.accuracy * TEST - correct) < 1.5);
        assert_memory_equal(&one, &found, sizeof one);
        mlp_reference_destroy(&reference);
    }
    /* A weight that is no number, of the adapter's last layer: ReLU does not hide it. */
    lilac_adapter_parameters(adapters[1])[lilac_adapter_parameter_count(adapters[1]) - 1] = NAN;
    lilac_evaluation untouched = {.loss = -1};
    assert_int_equal(lilac_evaluate_mlp(context, mlp, adapters[1], &test, &untouched), LILAC_ERROR_NOT_FINITE);
    assert_true(untouched.loss == -1);
    free(inputs);
    lilac_adapter_destroy(adapters[1]);
    lilac_mlp_destroy(mlp);
}

/* Lets each allocation of training (with validation) and of evaluation fail. */
static void test_failed_allocations(void **state) {
    (void)state;
    lilac_training_config config = quick_config();
    config.epochs = 1;
    const lilac_data_view training = training_view(), test = test_view();
    lilac_mlp *mlp = create_mlp(0);
    lilac_adapter *adapter = create_adapter(mlp);
    float *before = copy_floats(lilac_adapter_parameter_count(adapter), lilac_adapter_parameters(adapter));
    for (int evaluating = 0; evaluating < 2; evaluating++) {
        lilac_status status = LILAC_ERROR_MEMORY;
        size_t n = 0;
        for (; status != LILAC_OK; n++) {
            lilac_evaluation evaluation = {.loss = -1};
            const size_t live = lilac_test_live_allocations();
            reset_progress(NULL);
            lilac_test_fail_allocation(n);
            status = evaluating ? lilac_evaluate_mlp(context, mlp, adapter, &test, &evaluation)
                                : lilac_train_mlp(context, &config, mlp, adapter, &training, &test, NULL, NULL);
            if (lilac_test_allocation_failed()) {
                assert_int_equal(status, LILAC_ERROR_MEMORY);
                assert_true(evaluation.loss == -1);
            }
            if (steps_reported == 0 && !evaluating) {
                assert_memory_equal(lilac_adapter_parameters(adapter), before, trained_bytes(true));
            }
            assert_int_equal(lilac_test_live_allocations(), live);
        }
        assert_true(n > 5);
    }
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_default_config, reset_progress),
        cmocka_unit_test_setup(test_learns, reset_progress),
        cmocka_unit_test_setup(test_adapter_learns_and_base_stays, reset_progress),
        cmocka_unit_test_setup(test_training_loss, reset_progress),
        cmocka_unit_test_setup(test_steps, reset_progress),
        cmocka_unit_test_setup(test_same_bytes_at_any_thread_count, reset_progress),
        cmocka_unit_test_setup(test_views, reset_progress),
        cmocka_unit_test_setup(test_patience, reset_progress),
        cmocka_unit_test_setup(test_stops_on_request, reset_progress),
        cmocka_unit_test_setup(test_divergence, reset_progress),
        cmocka_unit_test_setup(test_fewer_classes, reset_progress),
        cmocka_unit_test_setup(test_evaluation, reset_progress),
        cmocka_unit_test_setup(test_failed_allocations, reset_progress),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
