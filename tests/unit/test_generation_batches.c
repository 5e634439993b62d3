/* SPDX-License-Identifier: MIT */
/* Many sequences at a time, which threads take through the layers by themselves, and a cache in bf16. */
#include "adapt/adapter.h"
#include "model/transformer_state.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* So many that several threads get some blocks each, of uneven sizes; a prompt that takes several segments. */
enum { B = 203, N = 340, PROMPT = 331, MANY = 60, O = 12 };

static uint8_t tokens[B][N + 1];

static int set_up(void **state) {
    static float values[B * (N + 1)];
    lilac_test_uniform(1, B * (N + 1), 0.0f, 255.99f, values);
    for (size_t i = 0; i < B * (N + 1); i++) {
        tokens[i / (N + 1)][i % (N + 1)] = (uint8_t)values[i];
    }
    return lilac_test_levels_set_up(state);
}

static lilac_context *best(int threads) {
    return lilac_test_context(lilac_test_levels() - 1, threads);
}

static lilac_transformer *create_model(lilac_transformer_attention attention, lilac_transformer_norm norm) {
    lilac_transformer_config config = {.length = N,
                                       .layers = 2,
                                       .heads = 2,
                                       .head_size = 5,
                                       .feed_forward = 37,
                                       .value_width = 9,
                                       .position_width = 6,
                                       .mixtures = 4,
                                       .seed = 5};
    config.attention = attention;
    config.norm = norm;
    config.output = LILAC_TRANSFORMER_LOGISTIC_MIXTURE;
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(best(1), &config, &model), LILAC_OK);
    assert_int_equal(lilac_transformer_output_size(lilac_transformer_get_config(model)), O);
    return model;
}

static lilac_adapter *create_adapter(const lilac_transformer *model) {
    lilac_linear_layer layers[32];
    lilac_lora_base base = {.layers = layers};
    lilac_lora_config config;
    lilac_adapter *adapter = NULL;
    lilac_lora_config_default(&config);
    config.rank = 3;
    assert_int_equal(lilac_transformer_linear_layers(best(1), model, "*", 32, layers, &base.layer_count), LILAC_OK);
    assert_int_equal(lilac_adapter_create(best(1), &config, &base, &adapter), LILAC_OK);
    lilac_test_uniform(500, lilac_adapter_parameter_count(adapter), -0.3f, 0.3f, lilac_adapter_parameters(adapter));
    return adapter;
}

/* The outputs behind a prompt of n tokens and after each of three steps (4 x count x O) of `count` sequences. */
static float *outputs_of(lilac_context *context, const lilac_transformer *model,
                         const lilac_transformer_state_config *config, size_t first, size_t n) {
    const size_t count = config->batch;
    float *outputs = malloc(4 * count * O * sizeof *outputs);
    lilac_transformer_state *state = NULL;
    assert_non_null(outputs);
    assert_int_equal(lilac_transformer_state_create(context, model, config, &state), LILAC_OK);
    assert_int_equal(lilac_transformer_state_prompt(context, state, n, tokens[first], N + 1, outputs), LILAC_OK);
    for (size_t step = 0; step < 3; step++) {
        uint8_t column[B];
        for (size_t b = 0; b < count; b++) {
            column[b] = tokens[first + b][n + step];
        }
        assert_int_equal(lilac_transformer_state_step(context, state, column, outputs + (step + 1) * count * O),
                         LILAC_OK);
    }
    lilac_transformer_state_destroy(state);
    return outputs;
}

/* What a sequence gives is the same bytes with any others, alone, and at any number of threads. */
static void expect_same_alone(const lilac_transformer *model, lilac_precision cache, size_t count, size_t n) {
    lilac_adapter *adapter = create_adapter(model);
    const lilac_adapter *rows[B];
    for (size_t b = 0; b < B; b++) {
        rows[b] = b % 3 == 1 ? adapter : NULL;
    }
    for (int threads = 1; threads <= 3; threads++) {
        const lilac_transformer_state_config all = {.batch = count, .cache = cache, .adapters = rows};
        float *together = outputs_of(best(threads), model, &all, 0, n);
        for (size_t b = 0; b < count; b += 1 + count / 5) {
            const lilac_transformer_state_config one = {.batch = 1, .cache = cache, .adapters = rows + b};
            float *alone = outputs_of(best(1 + (int)b % 2), model, &one, b, n);
            for (size_t step = 0; step < 4; step++) {
                assert_memory_equal(alone + step * O, together + (step * count + b) * O, O * sizeof(float));
            }
            free(alone);
        }
        free(together);
    }
    lilac_adapter_destroy(adapter);
}

static void test_blocks_do_not_matter(void **state) {
    (void)state;
    for (int number = 0; number < 4; number++) {
        lilac_transformer *model = create_model(number % 2 == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX,
                                                number < 2 ? LILAC_TRANSFORMER_POST_NORM : LILAC_TRANSFORMER_PRE_NORM);
        expect_same_alone(model, LILAC_PRECISION_F32, B, 2);
        expect_same_alone(model, LILAC_PRECISION_BF16, MANY, 7);
        expect_same_alone(model, LILAC_PRECISION_F32, 7, PROMPT);
        lilac_transformer_destroy(model);
    }
}

static size_t attention_bytes(const lilac_transformer *model, lilac_precision cache) {
    const lilac_transformer_state_config config = {.batch = 3, .cache = cache};
    lilac_transformer_state *state = NULL;
    assert_int_equal(lilac_transformer_state_create(best(1), model, &config, &state), LILAC_OK);
    const size_t bytes = lilac_transformer_state_attention_bytes(state);
    lilac_transformer_state_destroy(state);
    return bytes;
}

/* Half of the memory and rounded results with softmax attention, nothing with linear attention. */
static void test_a_cache_in_bf16(void **state) {
    (void)state;
    for (int number = 0; number < 2; number++) {
        const bool softmax = number == 1;
        lilac_transformer *model =
            create_model(softmax ? LILAC_TRANSFORMER_SOFTMAX : LILAC_TRANSFORMER_LINEAR, LILAC_TRANSFORMER_PRE_NORM);
        lilac_transformer_state_config config;
        lilac_transformer_state_config_default(&config);
        assert_int_equal(config.cache, LILAC_PRECISION_F32);
        config.batch = MANY;
        float *floats = outputs_of(best(2), model, &config, 0, 50);
        config.cache = LILAC_PRECISION_BF16;
        float *halves = outputs_of(best(2), model, &config, 0, 50);
        double largest = 0.0;
        for (size_t i = 0; i < 4 * MANY * O; i++) {
            assert_true(isfinite(floats[i]) && isfinite(halves[i]));
            largest = fmax(largest, fabs((double)floats[i] - (double)halves[i]));
        }
        assert_true(softmax ? largest > 0.0 && largest < 0.05 : largest == 0.0);
        assert_int_equal(attention_bytes(model, LILAC_PRECISION_F32),
                         attention_bytes(model, LILAC_PRECISION_BF16) * (softmax ? 2 : 1));
        free(halves);
        free(floats);
        lilac_transformer_destroy(model);
    }
}

/* With such a cache, too, sequences are the same in any batch; and the setting is handed on. */
static void test_generation_with_a_cache_in_bf16(void **state) {
    (void)state;
    static uint8_t together[MANY][N + 1], apart[MANY][N + 1];
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_SOFTMAX, LILAC_TRANSFORMER_PRE_NORM);
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    assert_int_equal(config.cache, LILAC_PRECISION_F32);
    config.count = MANY;
    config.prompt = 320;
    config.length = N + 1;
    config.cache = LILAC_PRECISION_BF16;
    memcpy(together, tokens, sizeof together);
    memcpy(apart, tokens, sizeof apart);
    assert_int_equal(lilac_generate(best(2), model, &config, together[0], NULL), LILAC_OK);
    config.batch = 7;
    assert_int_equal(lilac_generate(best(1), model, &config, apart[0], NULL), LILAC_OK);
    assert_memory_equal(apart, together, sizeof apart);
    config.cache = (lilac_precision)9;
    assert_int_equal(lilac_generate(best(2), model, &config, apart[0], NULL), LILAC_ERROR_ARGUMENT);
    assert_memory_equal(apart, together, sizeof apart);
    lilac_transformer_destroy(model);
}

static void test_an_unknown_cache_is_refused(void **state) {
    (void)state;
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_LINEAR, LILAC_TRANSFORMER_PRE_NORM);
    const lilac_transformer_state_config config = {.batch = 1, .cache = (lilac_precision)9};
    lilac_transformer_state *made = NULL;
    assert_int_equal(lilac_transformer_state_create(best(1), model, &config, &made), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(best(1)), "9"));
    assert_null(made);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_do_not_matter),
        cmocka_unit_test(test_a_cache_in_bf16),
        cmocka_unit_test(test_generation_with_a_cache_in_bf16),
        cmocka_unit_test(test_an_unknown_cache_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, lilac_test_levels_tear_down);
}
