/* SPDX-License-Identifier: MIT */
/* Tests that a training of a transformer takes the memory that it says it will. */
#include <lilac/train_transformer.h>

#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/toy_images.h"

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* Small things that are not counted must be much smaller than any part of the memory. */
enum { LENGTH = 64, BYTES = 4 * LENGTH, UNCOUNTED = 8192 };

static uint8_t bytes[BYTES];
static const lilac_token_source source = {.bytes = bytes, .byte_count = BYTES};
static size_t before, during;

static int set_up(void **state) {
    for (size_t i = 0; i < BYTES; i++) {
        bytes[i] = (uint8_t)(i * i % 251);
    }
    return context_set_up(state);
}

static lilac_status note_bytes(void *user, const lilac_transformer_metrics *metrics) {
    (void)user;
    (void)metrics;
    during = lilac_test_live_bytes() - before;
    return LILAC_OK;
}

static lilac_transformer *create_model(lilac_transformer_attention attention) {
    const lilac_transformer_config config = {.length = LENGTH,
                                             .layers = 2,
                                             .heads = 4,
                                             .head_size = 8,
                                             .feed_forward = 96,
                                             .value_width = 16,
                                             .position_width = 16,
                                             .attention = attention,
                                             .output = LILAC_TRANSFORMER_CATEGORICAL};
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

static lilac_transformer_training short_training(void) {
    lilac_transformer_training config;
    lilac_transformer_training_default(&config);
    config.steps = config.report_interval = 1;
    config.batch = 3;
    config.report = note_bytes;
    return config;
}

/* Trains twice: what the context keeps for later products is there the second time. */
static lilac_training_memory expect_as_said_on(const lilac_token_source *training, const lilac_token_source *validation,
                                               const lilac_transformer_training *config, lilac_transformer *model,
                                               lilac_adapter *adapter) {
    lilac_training_memory memory;
    assert_int_equal(lilac_transformer_training_memory(context, config, model, adapter, training, &memory), LILAC_OK);
    for (int run = 0; run < 2; run++) {
        lilac_transformer_outcome outcome;
        before = lilac_test_live_bytes();
        assert_int_equal(lilac_train_transformer(context, config, model, adapter, training, validation, &outcome),
                         LILAC_OK);
        assert_int_equal(outcome.metrics.precision, memory.precision);
    }
    const size_t said = memory.activations + memory.gradient + memory.optimiser;
    assert_in_range(during, said, said + UNCOUNTED);
    assert_true(memory.activations > 4 * UNCOUNTED);
    return memory;
}

static lilac_training_memory expect_as_said(const lilac_transformer_training *config, lilac_transformer *model,
                                            lilac_adapter *adapter) {
    return expect_as_said_on(&source, NULL, config, model, adapter);
}

static void test_models(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        lilac_transformer *model = create_model((lilac_transformer_attention)attention);
        const size_t weights = lilac_transformer_parameter_count(model) * sizeof(float);
        lilac_transformer_training config = short_training();
        const lilac_training_memory adamw = expect_as_said(&config, model, NULL);
        assert_int_equal(adamw.gradient, weights);
        assert_int_equal(adamw.optimiser, 2 * weights);
        assert_true(weights > 4 * UNCOUNTED);
        config.micro_batch = 1;
        const lilac_training_memory one = expect_as_said(&config, model, NULL);
        assert_true(one.activations < adamw.activations && one.optimiser == adamw.optimiser);
        config.optimiser = LILAC_TRAINING_MUON;
        assert_true(expect_as_said(&config, model, NULL).optimiser > adamw.optimiser + UNCOUNTED);
        config.precision = LILAC_PRECISION_BF16;
        expect_as_said(&config, model, NULL);
        config.precision = LILAC_PRECISION_F16;
        expect_as_said(&config, model, NULL);
        lilac_transformer_destroy(model);
    }
}

/* Training sees 4 x 4 of 8 x 8 pixels, validation all of them. */
static void test_border(void **state) {
    (void)state;
    lilac_dataset *images = toy_images_create(context, 0, 4, 8, 2);
    const lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    const lilac_token_source sides = {.images = &view};
    for (int attention = 0; attention < 2; attention++) {
        lilac_transformer *model = create_model((lilac_transformer_attention)attention);
        lilac_transformer_training config = short_training();
        config.micro_batch = 1;
        expect_as_said_on(&sides, &sides, &config, model, NULL);
        config.border = 2;
        expect_as_said_on(&sides, &sides, &config, model, NULL);
        lilac_transformer_destroy(model);
    }
    lilac_dataset_destroy(images);
}

static void test_adapter(void **state) {
    (void)state;
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_LINEAR);
    const lilac_lora_config lora = {.rank = 2, .alpha = 1};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_create(context, model, "*", &lora, &adapter), LILAC_OK);
    const lilac_transformer_training config = short_training();
    const lilac_training_memory memory = expect_as_said(&config, model, adapter);
    assert_int_equal(memory.gradient, lilac_adapter_parameter_count(adapter) * sizeof(float));
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

static void test_refusals(void **state) {
    (void)state;
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_LINEAR);
    lilac_transformer_training config = short_training();
    const lilac_token_source few = {.bytes = bytes, .byte_count = LENGTH};
    lilac_training_memory memory = {.activations = 7};
    assert_int_equal(lilac_transformer_training_memory(context, &config, model, NULL, NULL, &memory),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_training_memory(context, &config, model, NULL, &source, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_training_memory(NULL, &config, model, NULL, &source, &memory),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_training_memory(context, &config, model, NULL, &few, &memory),
                     LILAC_ERROR_SHAPE);
    config.batch = 0;
    assert_int_equal(lilac_transformer_training_memory(context, &config, model, NULL, &source, &memory),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(memory.activations, 7);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_border),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, context_tear_down);
}
