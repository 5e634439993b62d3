/* SPDX-License-Identifier: MIT */
/*
 * Tests of training and evaluating a transformer: what is learnt, what is reported, what does not matter (threads, the
 * size of a pass), and what is refused.
 */
#include <lilac/train_transformer.h>

#include "model/transformer_pass.h"
#include "nn/optimiser.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/toy_images.h"
#include "support/transformer_training.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { IMAGES = 12, MOST_REPORTS = 400 };

static lilac_dataset *images;
static lilac_data_view view;
static lilac_token_source source;
static lilac_transformer_metrics reports[MOST_REPORTS];
static size_t report_count;

static int set_up(void **state) {
    (void)state;
    threads_set_up(NULL);
    images = toy_images_create(context, 0, IMAGES, TINY_SIDE, 3);
    view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    source = (lilac_token_source){.images = &view};
    return 0;
}

static int tear_down(void **state) {
    lilac_dataset_destroy(images);
    return context_tear_down(state);
}

static lilac_status note_report(void *user, const lilac_transformer_metrics *metrics) {
    (void)user;
    assert_in_range(report_count, 0, MOST_REPORTS - 1);
    reports[report_count++] = *metrics;
    return LILAC_OK;
}

static lilac_transformer_training reporting_training(void) {
    lilac_transformer_training config = tiny_training();
    config.report = note_report;
    config.report_interval = 1;
    report_count = 0;
    return config;
}

static double evaluate(const lilac_transformer *model, const lilac_token_source *tokens) {
    lilac_token_evaluation evaluation;
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, tokens, LILAC_PRECISION_F32, &evaluation),
                     LILAC_OK);
    assert_true(fabs(evaluation.bits - evaluation.loss / log(2.0)) < 1e-12);
    return evaluation.loss;
}

static lilac_transformer *create_categorical(void) {
    lilac_transformer_config config = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0);
    config.output = LILAC_TRANSFORMER_CATEGORICAL;
    config.value_width = config.position_width = 16;
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

static void learn(lilac_transformer *model, lilac_training_optimiser optimiser, size_t count, double share) {
    const lilac_data_view few = {.dataset = images, .count = count};
    const lilac_token_source tokens = {.images = &few};
    lilac_transformer_training config = reporting_training();
    config.optimiser = optimiser;
    config.steps = 200;
    config.warm_up = 10;
    const double before = evaluate(model, &tokens);
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &tokens, &tokens, &outcome), LILAC_OK);
    const double after = evaluate(model, &tokens);
    assert_true(after < share * before);
    assert_true(outcome.finished && outcome.metrics.step == 200);
    assert_true(outcome.metrics.validation == after);
    assert_true(reports[report_count - 1].validation == after && isnan(reports[0].validation));
    lilac_transformer_destroy(model);
}

static void test_learns_its_training_set(void **state) {
    (void)state;
    learn(create_categorical(), LILAC_TRAINING_ADAMW, 2, 0.1);
    learn(create_categorical(), LILAC_TRAINING_RADAM, 2, 0.1);
    learn(create_categorical(), LILAC_TRAINING_MUON, 2, 0.1);
    learn(tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0), LILAC_TRAINING_ADAMW, 4, 0.9);
    learn(tiny_transformer_create(context, LILAC_TRANSFORMER_SOFTMAX, 0), LILAC_TRAINING_ADAMW, 4, 0.9);
}

/* With a learning rate of 0, training measures the model as it is: an epoch's mean loss is that of an evaluation. */
static void test_loss_of_an_epoch(void **state) {
    (void)state;
    lilac_transformer_training config = reporting_training();
    config.learning_rate = 0;
    config.batch = 4;
    config.steps = config.report_interval = IMAGES / 4;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    float *before = tiny_transformer_weights(model);
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL), LILAC_OK);
    assert_int_equal(report_count, 1);
    assert_true(fabs(reports[0].loss - evaluate(model, &source)) < 1e-6);
    expect_transformer_weights(model, before);
    free(before);
    lilac_transformer_destroy(model);
}

static void test_reports(void **state) {
    (void)state;
    lilac_transformer_training config = reporting_training();
    config.report_interval = 2;
    config.validation_interval = 3;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.1);
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    const uint64_t steps[] = {2, 3, 4, 6, 7};
    const bool validated[] = {false, true, false, true, true};
    assert_int_equal(report_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(reports[i].step, steps[i]);
        assert_int_equal(reports[i].tokens, steps[i] * 5 * TINY_LENGTH);
        assert_int_equal(isfinite(reports[i].validation), validated[i]);
        assert_true(isfinite(reports[i].loss) && reports[i].gradient_norm > 0);
        assert_true(reports[i].tokens_per_second > 0 && reports[i].operations_per_second > 0);
        assert_true(i == 0 || reports[i].seconds > reports[i - 1].seconds);
        const lilac_training_times *times = &reports[i].times;
        assert_true(times->forward > 0 && times->loss > 0 && times->backward > 0 && times->optimiser > 0);
        assert_true(times->forward + times->loss + times->backward + times->optimiser <= times->steps);
        const double tokens = (double)(reports[i].tokens - (i == 0 ? 0 : reports[i - 1].tokens));
        assert_true(fabs(times->steps * reports[i].tokens_per_second - tokens) < 1e-6 * tokens);
    }
    assert_true(reports[0].learning_rate == 0.01);
    assert_true(reports[4].learning_rate > 0.001 && reports[4].learning_rate < 0.003);
    assert_true(outcome.metrics.step == reports[4].step && outcome.metrics.tokens == reports[4].tokens);
    assert_true(outcome.metrics.seconds == reports[4].seconds && outcome.metrics.loss == reports[4].loss);
    assert_true(outcome.metrics.validation == reports[4].validation);
    assert_true(outcome.metrics.gradient_norm == reports[4].gradient_norm);
    lilac_transformer_destroy(model);

    /* They are the same where nothing takes them in. */
    config.report = NULL;
    model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.1);
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    assert_true(outcome.metrics.loss == reports[4].loss && outcome.metrics.validation == reports[4].validation);
    lilac_transformer_destroy(model);
}

static void expect_same_at_any_thread_count(lilac_transformer_attention attention) {
    const lilac_transformer_training config = tiny_training();
    lilac_transformer *model = tiny_transformer_create(context, attention, 0.2);
    lilac_transformer *other = tiny_transformer_create(context, attention, 0.2);
    lilac_transformer_outcome outcome, other_outcome;
    float *before = tiny_transformer_weights(model);
    const size_t bytes = lilac_transformer_parameter_count(model) * sizeof(float);
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    assert_int_equal(lilac_train_transformer(one_thread, &config, other, NULL, &source, &source, &other_outcome),
                     LILAC_OK);
    assert_memory_equal(lilac_transformer_parameters(model), lilac_transformer_parameters(other), bytes);
    assert_memory_not_equal(lilac_transformer_parameters(model), before, bytes);
    assert_true(outcome.metrics.validation == other_outcome.metrics.validation);
    free(before);
    lilac_transformer_destroy(model);
    lilac_transformer_destroy(other);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    expect_same_at_any_thread_count(LILAC_TRANSFORMER_LINEAR);
    expect_same_at_any_thread_count(LILAC_TRANSFORMER_SOFTMAX);
}

/* How many sequences a pass holds changes loss and gradient by rounding alone. */
static void test_size_of_a_pass(void **state) {
    (void)state;
    double loss = 0, norm = 0;
    for (size_t micro_batch = 1; micro_batch <= 6; micro_batch++) {
        lilac_transformer_training config = reporting_training();
        config.steps = 1;
        config.micro_batch = micro_batch;
        lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
        assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL), LILAC_OK);
        if (micro_batch == 1) {
            loss = reports[0].loss;
            norm = reports[0].gradient_norm;
        }
        assert_true(fabs(reports[0].loss - loss) < 1e-6 * loss);
        assert_true(fabs(reports[0].gradient_norm - norm) < 1e-5 * norm);
        lilac_transformer_destroy(model);
    }
}

/* A border of 1 leaves 2 x 2 of 4 x 4 pixels, all of them before the last; validation sees whole images. */
static void test_border(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        lilac_transformer_training config = reporting_training();
        config.border = 1;
        lilac_transformer *model = tiny_transformer_create(context, (lilac_transformer_attention)attention, 0);
        lilac_transformer *other = tiny_transformer_create(context, (lilac_transformer_attention)attention, 0);
        const size_t bytes = lilac_transformer_parameter_count(model) * sizeof(float);
        lilac_transformer_outcome outcome;
        assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
        assert_int_equal(reports[0].tokens, 5 * 4);
        assert_int_equal(outcome.metrics.tokens, config.steps * 5 * 4);
        assert_true(outcome.metrics.validation == evaluate(model, &source));
        assert_int_equal(lilac_train_transformer(one_thread, &config, other, NULL, &source, NULL, NULL), LILAC_OK);
        assert_memory_equal(lilac_transformer_parameters(model), lilac_transformer_parameters(other), bytes);
        lilac_transformer_destroy(other);
        lilac_transformer_destroy(model);
    }
}

/* Pixels of the border are not looked at: neither those that are seen nor those that are predicted. */
static void test_border_is_not_seen(void **state) {
    (void)state;
    double losses[2];
    for (int changed = 0; changed < 2; changed++) {
        uint8_t pixels[TINY_PIXELS], label = 0;
        for (size_t i = 0; i < TINY_PIXELS; i++) {
            const size_t row = i / TINY_SIDE, column = i % TINY_SIDE;
            /* Column 3 of rows 1 and 2 is what column 2 predicts. */
            const bool counts = (row == 1 || row == 2) && column >= 1;
            pixels[i] = (uint8_t)(counts || !changed ? 7 * i : 200);
        }
        const lilac_dataset_shape shape = {.count = 1, .rows = TINY_SIDE, .cols = TINY_SIDE, .classes = 1};
        lilac_dataset *one = NULL;
        assert_int_equal(lilac_dataset_create(context, &shape, pixels, &label, &one), LILAC_OK);
        const lilac_data_view one_view = lilac_data_view_all(one, LILAC_VARIANT_ORIGINAL);
        const lilac_token_source tokens = {.images = &one_view};
        lilac_transformer_training config = reporting_training();
        config.border = 1;
        config.steps = 2;
        lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
        assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &tokens, NULL, NULL), LILAC_OK);
        losses[changed] = reports[1].loss;
        lilac_transformer_destroy(model);
        lilac_dataset_destroy(one);
    }
    assert_true(losses[0] == losses[1]);
}

/* Each setting alone changes what is learnt. */
static void test_settings_that_matter(void **state) {
    (void)state;
    const lilac_transformer_training usual = tiny_training();
    lilac_transformer_training configs[] = {usual, usual, usual, usual, usual, usual,
                                            usual, usual, usual, usual, usual};
    configs[1].seed = 5;
    configs[2].clip_norm = 0.01;
    configs[3].weight_decay = 0.5;
    configs[4].learning_rate = 0.02;
    configs[5].optimiser = LILAC_TRAINING_RADAM;
    configs[6].batch = 6;
    configs[7].clip_outputs = 0.1;
    configs[8].optimiser = LILAC_TRAINING_MUON;
    configs[9].output_rate = 0.1;
    configs[10].border = 1;
    float *weights[11];
    size_t bytes = 0;
    for (int i = 0; i < 11; i++) {
        lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.1);
        bytes = lilac_transformer_parameter_count(model) * sizeof(float);
        assert_int_equal(lilac_train_transformer(context, &configs[i], model, NULL, &source, NULL, NULL), LILAC_OK);
        weights[i] = tiny_transformer_weights(model);
        lilac_transformer_destroy(model);
        for (int j = 0; j < i; j++) {
            assert_memory_not_equal(weights[i], weights[j], bytes);
        }
    }
    for (int i = 0; i < 11; i++) {
        free(weights[i]);
    }
}

/* Each optimiser gets the settings, each in its place: steps of all images are updates by their mean gradient. */
static void test_steps_are_updates_by_the_gradient(void **state) {
    (void)state;
    enum { STEPS = 3 };
    static const lilac_optimiser_kind kinds[] = {LILAC_OPTIMISER_ADAMW, LILAC_OPTIMISER_RADAM};
    static const lilac_training_optimiser optimisers[] = {LILAC_TRAINING_ADAMW, LILAC_TRAINING_RADAM};
    for (int i = 0; i < 2; i++) {
        lilac_transformer_training config = tiny_training();
        config.optimiser = optimisers[i];
        config.batch = config.micro_batch = IMAGES;
        config.steps = STEPS;
        config.warm_up = 0;
        config.final_fraction = 1.0;
        config.clip_norm = config.clip_outputs = 0.0;
        config.weight_decay = 0.3;
        config.beta1 = 0.6;
        config.beta2 = 0.97;
        config.epsilon = 1e-3;
        config.output_rate = 0.5;
        lilac_transformer *trained = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
        assert_int_equal(lilac_train_transformer(context, &config, trained, NULL, &source, NULL, NULL), LILAC_OK);

        lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
        const lilac_transformer_config *sizes = lilac_transformer_get_config(model);
        const size_t count = lilac_transformer_parameter_count(model);
        const lilac_optimiser_config by_hand = {.kind = kinds[i],
                                                .weight_decay = config.weight_decay,
                                                .beta1 = config.beta1,
                                                .beta2 = config.beta2,
                                                .epsilon = config.epsilon,
                                                .tail_count = (lilac_transformer_width(sizes) + 1) *
                                                              lilac_transformer_output_size(sizes),
                                                .tail_rate = config.output_rate};
        const lilac_transformer_pass_config pass_config = {.B = IMAGES, .N = TINY_LENGTH, .backward = true};
        lilac_optimiser optimiser;
        lilac_transformer_pass *pass = NULL;
        float *gradient = calloc(count, sizeof *gradient), losses[IMAGES * TINY_LENGTH];
        assert_non_null(gradient);
        assert_int_equal(lilac_optimiser_create(context, &by_hand, count, &optimiser), LILAC_OK);
        assert_int_equal(lilac_transformer_pass_create(context, model, &pass_config, &pass), LILAC_OK);
        for (int step = 0; step < STEPS; step++) {
            const uint8_t *pixels = lilac_dataset_image(images, 0);
            const float *outputs;
            memset(gradient, 0, count * sizeof *gradient);
            assert_int_equal(lilac_transformer_pass_forward(context, pass, IMAGES, pixels, TINY_PIXELS, NULL, &outputs),
                             LILAC_OK);
            lilac_transformer_pass_loss(context, pass, pixels, TINY_PIXELS, 1.0f / (IMAGES * TINY_LENGTH), losses);
            assert_int_equal(lilac_transformer_pass_backward(context, pass, gradient), LILAC_OK);
            assert_int_equal(lilac_optimiser_update(context, &optimiser, config.learning_rate, 1.0, gradient,
                                                    lilac_transformer_parameters(model)),
                             LILAC_OK);
            lilac_transformer_pass_update(context, pass);
        }
        const float *found = lilac_transformer_parameters(trained), *expected = lilac_transformer_parameters(model);
        for (size_t k = 0; k < count; k++) {
            /* Sums are in another order, as the images are. */
            assert_true(fabsf(found[k] - expected[k]) <= 1e-5f);
        }
        lilac_transformer_pass_destroy(pass);
        lilac_optimiser_destroy(&optimiser);
        free(gradient);
        lilac_transformer_destroy(model);
        lilac_transformer_destroy(trained);
    }
}

static lilac_adapter *create_adapter(const lilac_transformer *model) {
    const lilac_lora_config config = {.rank = 2, .alpha = 4};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_create(context, model, "*.query,*.value", &config, &adapter), LILAC_OK);
    return adapter;
}

static void test_muon_refuses_adapters(void **state) {
    (void)state;
    lilac_transformer_training config = tiny_training();
    config.optimiser = LILAC_TRAINING_MUON;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_adapter *adapter = create_adapter(model);
    assert_int_equal(lilac_train_transformer(context, &config, model, adapter, &source, NULL, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(context), "Muon"));
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

static void test_adapter_learns_and_base_stays(void **state) {
    (void)state;
    lilac_transformer_training config = tiny_training();
    config.steps = 100;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_adapter *adapter = create_adapter(model);
    float *before = tiny_transformer_weights(model);
    lilac_token_evaluation first, last;
    assert_int_equal(lilac_evaluate_transformer(context, model, adapter, &source, LILAC_PRECISION_F32, &first),
                     LILAC_OK);
    assert_true(first.loss == evaluate(model, &source));
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, adapter, &source, &source, &outcome), LILAC_OK);
    assert_int_equal(lilac_evaluate_transformer(context, model, adapter, &source, LILAC_PRECISION_F32, &last),
                     LILAC_OK);
    assert_true(last.loss < first.loss - 0.01);
    assert_true(fabs(last.loss - outcome.metrics.validation) < 1e-6);
    expect_transformer_weights(model, before);
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

/* The loss on bytes is the mean of -log softmax of the outputs of all windows, each byte counted once. */
static void test_evaluates_bytes(void **state) {
    (void)state;
    enum { COUNT = 2 * TINY_LENGTH + 5 };
    uint8_t bytes[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        bytes[i] = (uint8_t)(i * i * 7);
    }
    const lilac_token_source text = {.bytes = bytes, .byte_count = COUNT};
    lilac_transformer *model = create_categorical();
    size_t workspace_bytes;
    static float outputs[TINY_LENGTH * 256];
    assert_int_equal(lilac_transformer_workspace_size(context, model, NULL, 1, TINY_LENGTH, &workspace_bytes),
                     LILAC_OK);
    void *workspace = malloc(workspace_bytes);
    double sum = 0;
    for (size_t predicted = 1; predicted < COUNT;) {
        const size_t start = predicted - 1 + TINY_LENGTH < COUNT ? predicted - 1 : COUNT - 1 - TINY_LENGTH;
        assert_int_equal(lilac_transformer_forward(context, model, NULL, 1, TINY_LENGTH, bytes + start, outputs,
                                                   workspace, workspace_bytes),
                         LILAC_OK);
        for (; predicted < COUNT && predicted - 1 - start < TINY_LENGTH; predicted++) {
            const float *logits = outputs + (predicted - 1 - start) * 256;
            double total = 0;
            for (int v = 0; v < 256; v++) {
                total += exp((double)logits[v]);
            }
            sum += log(total) - (double)logits[bytes[predicted]];
        }
    }
    lilac_token_evaluation evaluation;
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, &text, LILAC_PRECISION_F32, &evaluation),
                     LILAC_OK);
    assert_int_equal(evaluation.tokens, COUNT - 1);
    assert_true(fabs(evaluation.loss - sum / (COUNT - 1)) < 1e-5);
    free(workspace);
    lilac_transformer_destroy(model);
}

static void test_learns_bytes(void **state) {
    (void)state;
    uint8_t text[300];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (uint8_t) "attention "[i % 10];
    }
    const lilac_token_source training = {.bytes = text, .byte_count = 200};
    const lilac_token_source validation = {.bytes = text + 200, .byte_count = 100};
    lilac_transformer *model = create_categorical();
    lilac_transformer_training config = tiny_training();
    config.steps = 150;
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &training, &validation, &outcome),
                     LILAC_OK);
    assert_true(outcome.metrics.validation < 1.0);
    lilac_transformer_destroy(model);
}

/* Rounded products give nearly the same loss or, where the machine lacks them, the same. */
static void check_rounded_products(lilac_precision precision) {
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_token_evaluation evaluation;
    const double loss = evaluate(model, &source);
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, &source, precision, &evaluation), LILAC_OK);
    assert_true(fabs(evaluation.loss - loss) < 0.02 * loss);
    assert_true((evaluation.loss == loss) == (evaluation.precision == LILAC_PRECISION_F32));
    lilac_transformer_training config = tiny_training();
    config.precision = precision;
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    assert_true(outcome.metrics.validation < loss);
    assert_int_equal(outcome.metrics.precision, evaluation.precision);

    /* The scalar level has none. */
    lilac_context_config scalar;
    lilac_context_config_default(&scalar);
    scalar.max_cpu_level = LILAC_CPU_SCALAR;
    lilac_context *plain;
    assert_int_equal(lilac_context_create(&scalar, &plain), LILAC_OK);
    assert_int_equal(lilac_evaluate_transformer(plain, model, NULL, &source, precision, &evaluation), LILAC_OK);
    assert_true(fabs(evaluation.loss - outcome.metrics.validation) < 0.02 * loss);
    lilac_context_destroy(plain);
    lilac_transformer_destroy(model);
}

static void test_bf16(void **state) {
    (void)state;
    check_rounded_products(LILAC_PRECISION_BF16);
}

static void test_f16(void **state) {
    (void)state;
    check_rounded_products(LILAC_PRECISION_F16);
}

static void test_stops_when_the_time_is_over(void **state) {
    (void)state;
    lilac_transformer_training config = reporting_training();
    config.seconds = 1e-9;
    config.report_interval = 0;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_transformer_outcome outcome;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, &source, &outcome), LILAC_OK);
    assert_false(outcome.finished);
    assert_int_equal(outcome.metrics.step, 1);
    assert_int_equal(report_count, 1);
    lilac_transformer_destroy(model);
}

static void test_divergence_is_an_error(void **state) {
    (void)state;
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_transformer_training config = tiny_training();
    config.learning_rate = 1e30;
    config.weight_decay = 1e30;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL),
                     LILAC_ERROR_NOT_FINITE);
    assert_non_null(strstr(lilac_context_message(context), "is not finite after step"));
    lilac_transformer_destroy(model);

    /* Nothing but the weights shows what the last step did. */
    model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    config.steps = 1;
    config.warm_up = 0;
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL),
                     LILAC_ERROR_NOT_FINITE);
    lilac_transformer_destroy(model);

    /* A gradient that is not finite leaves the weights as they were. */
    model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_transformer_parameters(model)[lilac_transformer_parameter_count(model) - 1] = NAN;
    float *before = tiny_transformer_weights(model);
    config = tiny_training();
    assert_int_equal(lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL),
                     LILAC_ERROR_NOT_FINITE);
    expect_transformer_weights(model, before);
    free(before);
    lilac_transformer_destroy(model);
}

static void expect_refused(const lilac_transformer_training *config, const lilac_token_source *training,
                           const lilac_token_source *validation, lilac_status status) {
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    float *before = tiny_transformer_weights(model);
    assert_int_equal(lilac_train_transformer(context, config, model, NULL, training, validation, NULL), status);
    expect_transformer_weights(model, before);
    free(before);
    lilac_transformer_destroy(model);
}

static void test_refuses_impossible_settings(void **state) {
    (void)state;
    const lilac_transformer_training good = tiny_training();
    lilac_transformer_training bad[25];
    for (size_t i = 0; i < 25; i++) {
        bad[i] = good;
    }
    bad[0].batch = 0;
    bad[1].micro_batch = 0;
    bad[2].steps = 0;
    bad[3].steps = (uint64_t)UINT32_MAX + 1;
    bad[4].batch = (1 << 20) + 1;
    bad[5].micro_batch = SIZE_MAX;
    bad[6].learning_rate = -1;
    bad[7].learning_rate = INFINITY;
    bad[8].final_fraction = 1.5;
    bad[9].clip_norm = NAN;
    bad[10].weight_decay = -0.1;
    bad[11].beta1 = 1;
    bad[12].beta2 = 1;
    bad[13].epsilon = 0;
    bad[14].seconds = -1;
    bad[15].optimiser = (lilac_training_optimiser)3;
    bad[16].precision = (lilac_precision)3;
    bad[17].resume = true;
    bad[18].beta2 = -0.5;
    bad[19].final_fraction = -0.5;
    bad[20].border = TINY_SIDE / 2;
    bad[21].border = TINY_LENGTH;
    bad[22].border = SIZE_MAX;
    bad[23].beta1 = 0.99999999; /* 1 as a float */
    bad[24].beta2 = 0.99999999;
    for (size_t i = 0; i < 25; i++) {
        expect_refused(&bad[i], &source, NULL, LILAC_ERROR_ARGUMENT);
    }
    expect_refused(NULL, &source, NULL, LILAC_ERROR_ARGUMENT);
    expect_refused(&good, NULL, NULL, LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_train_transformer(NULL, &good, NULL, NULL, &source, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_train_transformer(context, &good, NULL, NULL, &source, NULL, NULL), LILAC_ERROR_ARGUMENT);
}

static void test_refuses_impossible_data(void **state) {
    (void)state;
    const lilac_transformer_training config = tiny_training();
    const uint8_t bytes[TINY_LENGTH + 1] = {0};
    const lilac_token_source few = {.bytes = bytes, .byte_count = TINY_LENGTH};
    const lilac_token_source enough = {.bytes = bytes, .byte_count = TINY_LENGTH + 1};
    const lilac_token_source none = {0};
    lilac_transformer_training border = config;
    border.border = 1;
    expect_refused(&border, &enough, NULL, LILAC_ERROR_ARGUMENT);
    lilac_dataset *large = toy_images_create(context, 0, 2, TINY_SIDE + 1, 2);
    const lilac_data_view large_view = lilac_data_view_all(large, LILAC_VARIANT_ORIGINAL);
    const lilac_token_source large_images = {.images = &large_view};
    expect_refused(&config, &few, NULL, LILAC_ERROR_SHAPE);
    expect_refused(&config, &enough, &few, LILAC_ERROR_SHAPE);
    expect_refused(&config, &none, NULL, LILAC_ERROR_ARGUMENT);
    expect_refused(&config, &source, &none, LILAC_ERROR_ARGUMENT);
    expect_refused(&config, &large_images, NULL, LILAC_ERROR_SHAPE);
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    lilac_transformer *other = create_categorical();
    lilac_adapter *adapter = create_adapter(other);
    assert_int_equal(lilac_train_transformer(context, &config, model, adapter, &source, NULL, NULL),
                     LILAC_ERROR_BASE_MISMATCH);
    lilac_token_evaluation evaluation;
    assert_int_equal(lilac_evaluate_transformer(context, model, adapter, &source, LILAC_PRECISION_F32, &evaluation),
                     LILAC_ERROR_BASE_MISMATCH);
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, &large_images, LILAC_PRECISION_F32, &evaluation),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, &source, (lilac_precision)7, &evaluation),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_evaluate_transformer(context, NULL, NULL, &source, LILAC_PRECISION_F32, &evaluation),
                     LILAC_ERROR_ARGUMENT);
    evaluation.loss = -1;
    lilac_transformer_parameters(model)[lilac_transformer_parameter_count(model) - 1] = NAN;
    assert_int_equal(lilac_evaluate_transformer(context, model, NULL, &source, LILAC_PRECISION_F32, &evaluation),
                     LILAC_ERROR_NOT_FINITE);
    assert_true(evaluation.loss == -1);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(other);
    lilac_transformer_destroy(model);
    lilac_dataset_destroy(large);
}

/* A failure before the first step leaves the weights; none leaks. */
static void test_failed_allocations(void **state) {
    (void)state;
    lilac_transformer_training config = tiny_training();
    config.steps = 1;
    lilac_status status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.1);
        float *before = tiny_transformer_weights(model);
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_train_transformer(context, &config, model, NULL, &source, NULL, NULL);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_int_equal(lilac_test_live_allocations(), live);
            expect_transformer_weights(model, before);
        }
        free(before);
        lilac_transformer_destroy(model);
    }
    lilac_transformer *model = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        lilac_token_evaluation evaluation = {.loss = -1};
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_evaluate_transformer(context, model, NULL, &source, LILAC_PRECISION_F32, &evaluation);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_int_equal(lilac_test_live_allocations(), live);
            assert_true(evaluation.loss == -1);
        }
    }
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_its_training_set),
        cmocka_unit_test(test_loss_of_an_epoch),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
        cmocka_unit_test(test_size_of_a_pass),
        cmocka_unit_test(test_border),
        cmocka_unit_test(test_border_is_not_seen),
        cmocka_unit_test(test_settings_that_matter),
        cmocka_unit_test(test_steps_are_updates_by_the_gradient),
        cmocka_unit_test(test_muon_refuses_adapters),
        cmocka_unit_test(test_adapter_learns_and_base_stays),
        cmocka_unit_test(test_evaluates_bytes),
        cmocka_unit_test(test_learns_bytes),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_stops_when_the_time_is_over),
        cmocka_unit_test(test_divergence_is_an_error),
        cmocka_unit_test(test_refuses_impossible_settings),
        cmocka_unit_test(test_refuses_impossible_data),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
