/* SPDX-License-Identifier: MIT */
/* Tests of the recurrent form and of sampling: the parallel form's numbers, independence of the batch, refusals. */
#include "adapt/adapter.h"
#include "core/bf16.h"
#include "model/transformer_state.h"
#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { B = 11, N = 24, KINDS = 12, ADAPTERS = 3, MAX_O = 256 };

static uint8_t tokens[B][N];

static int set_up(void **state) {
    float values[B * N];
    lilac_test_uniform(1, B * N, 0.0f, 255.99f, values);
    for (size_t i = 0; i < B * N; i++) {
        tokens[i / N][i % N] = (uint8_t)values[i];
    }
    return lilac_test_levels_set_up(state);
}

static lilac_context *best(void) {
    return lilac_test_context(lilac_test_levels() - 1, 2);
}

/* Small models that between them have every choice. */
static lilac_transformer *create_model(int number) {
    lilac_transformer_config config = {.length = N,
                                       .layers = 2,
                                       .heads = 3,
                                       .head_size = 5,
                                       .feed_forward = 41,
                                       .value_width = 9,
                                       .position_width = 8,
                                       .mixtures = 4,
                                       .seed = 3 + (uint64_t)number};
    config.attention = number % 2 == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX;
    config.norm = number / 2 % 2 == 0 ? LILAC_TRANSFORMER_POST_NORM : LILAC_TRANSFORMER_PRE_NORM;
    config.activation = number / 4 % 2 == 0 ? LILAC_TRANSFORMER_RELU : LILAC_TRANSFORMER_GELU;
    config.output = number % 3 == 1 ? LILAC_TRANSFORMER_CATEGORICAL : LILAC_TRANSFORMER_LOGISTIC_MIXTURE;
    config.features = (lilac_transformer_features)(number / 2 % (LILAC_TRANSFORMER_POSITIVE_FEATURES + 1));
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(best(), &config, &model), LILAC_OK);
    for (size_t i = 0; i < lilac_transformer_tensor_count(model); i++) {
        const lilac_transformer_tensor tensor = lilac_transformer_get_tensor(model, i);
        if (tensor.cols == 0) { /* so that no bias is 0 and no gain 1 */
            float *values = lilac_transformer_parameters(model) + tensor.offset;
            lilac_test_uniform(100 + i, tensor.rows, values[0] - 0.3f, values[0] + 0.3f, values);
        }
    }
    return model;
}

static lilac_adapter *create_adapter(const lilac_transformer *model, const char *patterns, size_t rank) {
    lilac_linear_layer layers[32];
    lilac_lora_base base = {.layers = layers};
    lilac_lora_config config;
    lilac_adapter *adapter = NULL;
    lilac_lora_config_default(&config);
    config.rank = rank;
    assert_int_equal(lilac_transformer_linear_layers(best(), model, patterns, 32, layers, &base.layer_count), LILAC_OK);
    assert_int_equal(lilac_adapter_create(best(), &config, &base, &adapter), LILAC_OK);
    lilac_test_uniform(500 + rank / 2, lilac_adapter_parameter_count(adapter), -0.3f, 0.3f,
                       lilac_adapter_parameters(adapter));
    return adapter;
}

/* Three adapters of different layers and ranks. */
static void create_adapters(const lilac_transformer *model, lilac_adapter *adapters[ADAPTERS]) {
    static const char *const patterns[ADAPTERS] = {"*.query,*.value", "*", "layers.1.feed_forward.*,output"};
    for (size_t i = 0; i < ADAPTERS; i++) {
        adapters[i] = create_adapter(model, patterns[i], 1 + 2 * i);
    }
}

static void destroy_adapters(lilac_adapter *adapters[ADAPTERS]) {
    for (int i = 0; i < ADAPTERS; i++) {
        lilac_adapter_destroy(adapters[i]);
    }
}

/* The outputs of all tokens (B x N x O) by the parallel form, row b with adapters[b]. */
static double *parallel_outputs(const lilac_transformer *model, const lilac_adapter *const *adapters) {
    const size_t O = lilac_transformer_output_size(lilac_transformer_get_config(model));
    float *outputs = malloc(sizeof(float[N][MAX_O]));
    double *all = malloc(sizeof(double[B][N][MAX_O]));
    assert_true(outputs != NULL && all != NULL);
    for (size_t b = 0; b < B; b++) {
        const lilac_adapter *adapter = adapters == NULL ? NULL : adapters[b];
        size_t bytes;
        assert_int_equal(lilac_transformer_workspace_size(best(), model, adapter, 1, N, &bytes), LILAC_OK);
        void *workspace = malloc(bytes);
        assert_non_null(workspace);
        assert_int_equal(lilac_transformer_forward(best(), model, adapter, 1, N, tokens[b], outputs, workspace, bytes),
                         LILAC_OK);
        for (size_t i = 0; i < N * O; i++) {
            all[b * N * O + i] = (double)outputs[i];
        }
        free(workspace);
    }
    free(outputs);
    return all;
}

static lilac_transformer_state *create_state(lilac_context *context, const lilac_transformer *model, size_t batch,
                                             lilac_precision precision, const lilac_adapter *const *adapters) {
    const lilac_transformer_state_config config = {.batch = batch, .precision = precision, .adapters = adapters};
    lilac_transformer_state *state = NULL;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &state), LILAC_OK);
    return state;
}

static void expect_outputs(size_t O, size_t position, const float *outputs, const double *expected) {
    for (size_t b = 0; b < B; b++) {
        char what[64];
        snprintf(what, sizeof what, "outputs of sequence %zu after token %zu", b, position);
        lilac_test_expect_close(what, O, outputs + b * O, expected + (b * N + position) * O, 1e-4, 1e-4);
    }
}

/* A prompt of n tokens, then steps, give what the parallel form gives. */
static void expect_recurrent(lilac_context *context, const lilac_transformer *model, size_t prompt,
                             lilac_precision precision, const lilac_adapter *const *adapters, const double *expected) {
    const size_t O = lilac_transformer_output_size(lilac_transformer_get_config(model));
    float outputs[B * MAX_O];
    lilac_transformer_state *state = create_state(context, model, B, precision, adapters);
    for (int repeat = 0; repeat < 2; repeat++) {
        assert_int_equal(lilac_transformer_state_prompt(context, state, prompt, tokens[0], N, outputs), LILAC_OK);
        if (prompt > 0) {
            expect_outputs(O, prompt - 1, outputs, expected);
        }
        for (size_t position = prompt; position < N; position++) {
            uint8_t column[B];
            for (size_t b = 0; b < B; b++) {
                column[b] = tokens[b][position];
            }
            assert_int_equal(lilac_transformer_state_position(state), position);
            assert_int_equal(lilac_transformer_state_step(context, state, column, outputs), LILAC_OK);
            expect_outputs(O, position, outputs, expected);
        }
        assert_int_equal(lilac_transformer_state_step(context, state, tokens[0], outputs), LILAC_ERROR_SHAPE);
        lilac_transformer_state_reset(state);
    }
    lilac_transformer_state_destroy(state);
}

static void test_recurrent_is_parallel(void **state) {
    (void)state;
    static const size_t prompts[] = {0, 1, 2, 13, N};
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        double *expected = parallel_outputs(model, NULL);
        for (size_t p = 0; p < sizeof prompts / sizeof *prompts; p++) {
            expect_recurrent(lilac_test_context((number + (int)p) % lilac_test_levels(), 1 + (int)p % 3), model,
                             prompts[p], LILAC_PRECISION_F32, NULL, expected);
        }
        free(expected);
        lilac_transformer_destroy(model);
    }
}

/* A state for fewer tokens than the model's length takes in as many, and needs less memory for softmax attention. */
static void test_length_of_a_state(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const lilac_transformer_config *sizes = lilac_transformer_get_config(model);
        lilac_transformer_state_config config = {.batch = 1, .length = sizes->length};
        lilac_transformer_state *whole = create_state(best(), model, 1, LILAC_PRECISION_F32, NULL), *same, *shorter;
        assert_int_equal(lilac_transformer_state_create(best(), model, &config, &same), LILAC_OK);
        assert_int_equal(lilac_transformer_state_bytes(same), lilac_transformer_state_bytes(whole));
        config.length = 3;
        assert_int_equal(lilac_transformer_state_create(best(), model, &config, &shorter), LILAC_OK);
        const size_t saved = sizes->attention == LILAC_TRANSFORMER_SOFTMAX
                                 ? sizes->layers * 2 * sizes->heads * sizes->head_size * (sizes->length - 3)
                                 : 0;
        assert_int_equal(lilac_transformer_state_bytes(whole) - lilac_transformer_state_bytes(shorter),
                         saved * sizeof(float));
        float outputs[MAX_O];
        assert_int_equal(lilac_transformer_state_prompt(best(), shorter, 4, tokens[0], N, outputs), LILAC_ERROR_SHAPE);
        assert_int_equal(lilac_transformer_state_prompt(best(), shorter, 2, tokens[0], N, outputs), LILAC_OK);
        assert_int_equal(lilac_transformer_state_step(best(), shorter, tokens[0] + 2, outputs), LILAC_OK);
        assert_int_equal(lilac_transformer_state_step(best(), shorter, tokens[0] + 3, outputs), LILAC_ERROR_SHAPE);
        config.length = sizes->length + 1;
        lilac_transformer_state *untouched = whole;
        assert_int_equal(lilac_transformer_state_create(best(), model, &config, &untouched), LILAC_ERROR_ARGUMENT);
        assert_ptr_equal(untouched, whole);
        lilac_transformer_state_destroy(shorter);
        lilac_transformer_state_destroy(same);
        lilac_transformer_state_destroy(whole);
        lilac_transformer_destroy(model);
    }
}

/* Rounds what a state holds in bf16: the matrices but for the embedding, which is the first tensor, and the output
 * layer's, the last two. */
static void round_matrices(lilac_transformer *model) {
    for (size_t i = 1; i + 2 < lilac_transformer_tensor_count(model); i++) {
        const lilac_transformer_tensor tensor = lilac_transformer_get_tensor(model, i);
        float *values = lilac_transformer_parameters(model) + tensor.offset;
        for (size_t j = 0; j < tensor.rows * tensor.cols; j++) {
            values[j] = lilac_float_from_bf16(lilac_bf16_from_float(values[j]));
        }
    }
}

/* Nor what adapts the output layer. */
static void test_bf16_rounds_the_weights_only(void **state) {
    (void)state;
    for (int number = 0; number < 2; number++) {
        lilac_transformer *model = create_model(number), *rounded = create_model(number);
        round_matrices(rounded);
        lilac_adapter *adapter = create_adapter(model, "output", 3);
        const lilac_adapter *rows[B];
        for (size_t b = 0; b < B; b++) {
            rows[b] = b % 2 == 0 ? adapter : NULL;
        }
        double *expected = parallel_outputs(rounded, rows);
        expect_recurrent(best(), model, 5, LILAC_PRECISION_BF16, rows, expected);
        free(expected);
        lilac_adapter_destroy(adapter);
        lilac_transformer_destroy(rounded);
        lilac_transformer_destroy(model);
    }
}

static void test_adapters_row_by_row(void **state) {
    (void)state;
    for (int number = 0; number < 4; number++) {
        lilac_transformer *model = create_model(number);
        lilac_adapter *adapters[ADAPTERS];
        create_adapters(model, adapters);
        assert_int_equal(lilac_adapter_set_strength(adapters[1], 0.5), LILAC_OK);
        const lilac_adapter *rows[B];
        for (size_t b = 0; b < B; b++) {
            rows[b] = b * 7 % 4 == 3 ? NULL : adapters[b * 7 % 4];
        }
        double *expected = parallel_outputs(model, rows);
        expect_recurrent(best(), model, 0, LILAC_PRECISION_F32, rows, expected);
        expect_recurrent(lilac_test_context(0, 3), model, 9, LILAC_PRECISION_F32, rows, expected);
        free(expected);
        destroy_adapters(adapters);
        lilac_transformer_destroy(model);
    }
}

/* ---- Sampling ---- */

static lilac_generation_config generation(size_t count, size_t batch) {
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.count = count;
    config.batch = batch;
    config.prompt = 4;
    config.length = N + 1;
    config.seed = 17;
    config.first_index = 40;
    return config;
}

/* Sequences (count x N + 1) that begin with the first tokens. */
static void generate(lilac_context *context, const lilac_transformer *model, const lilac_generation_config *config,
                     uint8_t rows[][N + 1]) {
    lilac_generation_times times = {-1.0, -1.0, -1.0, -1.0};
    for (size_t i = 0; i < config->count; i++) {
        memset(rows[i], 0, N + 1);
        memcpy(rows[i], tokens[i], config->prompt);
    }
    assert_int_equal(lilac_generate(context, model, config, rows[0], &times), LILAC_OK);
    assert_true(times.prompt >= 0.0 && times.projections >= 0.0 && times.attention >= 0.0);
    assert_true(times.steps >= times.projections + times.attention);
    for (size_t i = 0; i < config->count; i++) {
        assert_memory_equal(rows[i], tokens[i], config->prompt);
    }
}

/* A sequence is the same bytes whatever batch it sits in, at any number of threads, with any other adapters around. */
static void test_batches_do_not_matter(void **state) {
    (void)state;
    static uint8_t together[B][N + 1], apart[B][N + 1];
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_adapter *adapters[ADAPTERS];
        create_adapters(model, adapters);
        const lilac_adapter *rows[B];
        for (size_t b = 0; b < B; b++) {
            rows[b] = b * 7 % 4 == 3 ? NULL : adapters[b * 7 % 4];
        }
        for (int level = 0; level < lilac_test_levels(); level++) {
            lilac_generation_config config = generation(B, 0);
            config.precision = number % 3 == 0 ? LILAC_PRECISION_BF16 : LILAC_PRECISION_F32;
            config.adapters = number % 2 == 0 ? rows : NULL;
            config.temperature = 1.1;
            generate(lilac_test_context(level, 1), model, &config, together);
            for (size_t batch = 1; batch < B; batch += 3) {
                config.batch = batch;
                generate(lilac_test_context(level, 3), model, &config, apart);
                assert_memory_equal(apart, together, sizeof apart);
            }
            lilac_generation_config alone = config;
            alone.count = 1;
            alone.first_index = config.first_index + 6;
            alone.adapters = config.adapters == NULL ? NULL : config.adapters + 6;
            memcpy(apart[0], together[6], alone.prompt);
            assert_int_equal(lilac_generate(lilac_test_context(level, 2), model, &alone, apart[0], NULL), LILAC_OK);
            assert_memory_equal(apart[0], together[6], N + 1);
        }
        destroy_adapters(adapters);
        lilac_transformer_destroy(model);
    }
}

/* How many allocations a call makes that continues `count` sequences, each with that adapter, two at a time. */
static size_t count_allocations(const lilac_transformer *model, const lilac_adapter *adapter, size_t count,
                                bool no_cache) {
    uint8_t rows[B][N + 1];
    const lilac_adapter *adapters[B];
    for (size_t b = 0; b < B; b++) {
        adapters[b] = adapter;
        memcpy(rows[b], tokens[b], N);
    }
    lilac_generation_config config = generation(count, 2);
    config.adapters = adapters;
    config.no_cache = no_cache;
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t allocations = 0;
    while (status != LILAC_OK) {
        lilac_test_fail_allocation(allocations);
        status = lilac_generate(best(), model, &config, rows[0], NULL);
        allocations += lilac_test_allocation_failed() ? 1 : 0;
    }
    return allocations;
}

/* Batches with the same adapters share a state: a further one allocates its prompt's activations alone. */
static void test_weights_are_packed_once(void **state) {
    (void)state;
    for (int number = 0; number < 2; number++) {
        lilac_transformer *model = create_model(number);
        lilac_adapter *adapters[ADAPTERS];
        create_adapters(model, adapters);
        const size_t one_batch = count_allocations(model, adapters[0], 2, false);
        /* Each of two more batches has a prompt, which allocates three blocks. */
        assert_int_equal(count_allocations(model, adapters[0], 6, false), one_batch + 2 * 3);
        /* Without cache so does each token that is read after the first draw. */
        assert_int_equal(count_allocations(model, adapters[0], 2, true), one_batch + (N - 4) * 3);
        destroy_adapters(adapters);
        lilac_transformer_destroy(model);
    }
}

static void test_seeds_and_indices_matter(void **state) {
    (void)state;
    static uint8_t first[B][N + 1], second[B][N + 1];
    lilac_transformer *model = create_model(0);
    lilac_generation_config config = generation(B, 0);
    generate(best(), model, &config, first);
    generate(best(), model, &config, second);
    assert_memory_equal(first, second, sizeof first);
    config.seed++;
    generate(best(), model, &config, second);
    assert_memory_not_equal(first, second, sizeof first);
    config.seed--;
    config.first_index++;
    generate(best(), model, &config, second);
    assert_memory_not_equal(first, second, sizeof first);
    lilac_transformer_destroy(model);
}

/* At temperature 0 the draws are those of the outputs' largest logit, or the mean of a mixture of one. */
static void test_temperature_zero(void **state) {
    (void)state;
    static uint8_t rows[B][N + 1];
    for (int number = 0; number < 4; number++) {
        lilac_transformer *usual = create_model(number), *model = NULL;
        lilac_transformer_config kind = *lilac_transformer_get_config(usual);
        lilac_transformer_destroy(usual);
        kind.mixtures = 1;
        assert_int_equal(lilac_transformer_create(best(), &kind, &model), LILAC_OK);
        lilac_generation_config config = generation(B, 4);
        config.temperature = 0.0;
        generate(best(), model, &config, rows);
        const size_t O = lilac_transformer_output_size(&kind);
        float outputs[B * MAX_O];
        lilac_transformer_state *recurrent = create_state(best(), model, B, LILAC_PRECISION_F32, NULL);
        assert_int_equal(lilac_transformer_state_prompt(best(), recurrent, config.prompt, rows[0], N + 1, outputs),
                         LILAC_OK);
        for (size_t position = config.prompt; position <= N; position++) {
            uint8_t column[B];
            for (size_t b = 0; b < B; b++) {
                const float *output = outputs + b * O;
                size_t likely = 0;
                for (size_t v = 1; v < O; v++) {
                    likely = output[v] > output[likely] ? v : likely;
                }
                const float mean = fminf(fmaxf((output[1] + 1.0f) * 127.5f, 0.0f), 255.0f);
                column[b] = rows[b][position];
                if (kind.output == LILAC_TRANSFORMER_CATEGORICAL) {
                    assert_int_equal(column[b], likely);
                } else {
                    assert_true(fabsf((float)column[b] - mean) <= 0.5f + 0.2f); /* the smallest scale is 0.0001 */
                }
            }
            if (position < N) {
                assert_int_equal(lilac_transformer_state_step(best(), recurrent, column, outputs), LILAC_OK);
            }
        }
        lilac_transformer_state_destroy(recurrent);
        lilac_transformer_destroy(model);
    }
}

/* Reading everything again gives the same outputs but for rounding, so at temperature 0 the same bytes. */
static void test_without_cache(void **state) {
    (void)state;
    static uint8_t cached[B][N + 1], again[B][N + 1];
    lilac_transformer *model = create_model(1);
    lilac_generation_config config = generation(B, 0);
    config.temperature = 0.0;
    generate(best(), model, &config, cached);
    config.no_cache = true;
    generate(best(), model, &config, again);
    assert_memory_equal(cached, again, sizeof cached);
    lilac_transformer_destroy(model);
}

static void test_memory_is_constant_for_linear_attention(void **state) {
    (void)state;
    size_t bytes[2][2];
    for (int attention = 0; attention < 2; attention++) {
        for (int longer = 0; longer < 2; longer++) {
            lilac_transformer *small = create_model(0), *model = NULL;
            lilac_transformer_config config = *lilac_transformer_get_config(small);
            config.attention = (lilac_transformer_attention)attention;
            config.length = longer == 1 ? 10000 : 100;
            assert_int_equal(lilac_transformer_create(best(), &config, &model), LILAC_OK);
            lilac_transformer_state *recurrent = create_state(best(), model, 2, LILAC_PRECISION_F32, NULL);
            bytes[attention][longer] = lilac_transformer_state_bytes(recurrent);
            lilac_transformer_state_destroy(recurrent);
            lilac_transformer_destroy(model);
            lilac_transformer_destroy(small);
        }
    }
    assert_int_equal(bytes[0][0], bytes[0][1]);
    /* Keys and values of two sequences in two layers of three heads of 5 numbers. */
    assert_int_equal(bytes[1][1] - bytes[1][0], 9900 * 2 * 2 * 2 * 15 * sizeof(float));
}

/* ---- Refusals ---- */

static void test_refuses_impossible_arguments(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0);
    lilac_transformer_state *const untouched = (lilac_transformer_state *)(uintptr_t)0x5a, *made = untouched;
    lilac_transformer_state_config config;
    lilac_transformer_state_config_default(&config);
    assert_int_equal(lilac_transformer_state_create(NULL, model, &config, &made), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_create(best(), NULL, &config, &made), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_create(best(), model, NULL, &made), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_create(best(), model, &config, NULL), LILAC_ERROR_ARGUMENT);
    config.batch = 0;
    assert_int_equal(lilac_transformer_state_create(best(), model, &config, &made), LILAC_ERROR_ARGUMENT);
    config.batch = 1;
    config.precision = LILAC_PRECISION_F16;
    assert_int_equal(lilac_transformer_state_create(best(), model, &config, &made), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(made, untouched);

    lilac_transformer_state *recurrent = create_state(best(), model, 1, LILAC_PRECISION_F32, NULL);
    float outputs[MAX_O];
    assert_int_equal(lilac_transformer_state_step(best(), recurrent, NULL, outputs), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_step(best(), recurrent, tokens[0], NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_prompt(best(), recurrent, 1, NULL, 1, outputs), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_state_prompt(best(), recurrent, N + 1, tokens[0], N + 1, outputs),
                     LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(best()),
                        "transformer state: 0 tokens of at most 24 have been read, no room for 25 more");
    assert_int_equal(lilac_transformer_state_prompt(best(), recurrent, 0, NULL, 0, NULL), LILAC_OK);
    assert_int_equal(lilac_transformer_state_prompt(best(), recurrent, 3, tokens[0], N, NULL), LILAC_OK);
    assert_int_equal(lilac_transformer_state_position(recurrent), 3);
    lilac_transformer_state_destroy(recurrent);
    lilac_transformer_destroy(model);
}

static void expect_generation_refused(const lilac_transformer *model, const lilac_generation_config *config,
                                      lilac_status status, const char *message) {
    uint8_t rows[2 * (N + 2)] = {0};
    lilac_generation_times times = {-1.0, -1.0, -1.0, -1.0};
    assert_int_equal(lilac_generate(best(), model, config, rows, &times), status);
    assert_string_equal(lilac_context_message(best()), message);
    assert_true(times.prompt == -1.0);
}

static void test_refuses_impossible_generation(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0);
    lilac_generation_config config = generation(2, 0);
    assert_int_equal(lilac_generate(best(), model, &config, NULL, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_generate(best(), NULL, &config, tokens[0], NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_generate(best(), model, NULL, tokens[0], NULL), LILAC_ERROR_ARGUMENT);
    config.prompt = 0;
    expect_generation_refused(model, &config, LILAC_ERROR_ARGUMENT,
                              "generation: a prompt of 0 tokens for sequences of 25, expected 1 to 24");
    config.prompt = config.length;
    expect_generation_refused(model, &config, LILAC_ERROR_ARGUMENT,
                              "generation: a prompt of 25 tokens for sequences of 25, expected 1 to 24");
    config = generation(2, 0);
    config.length = N + 2;
    expect_generation_refused(model, &config, LILAC_ERROR_SHAPE,
                              "generation: sequences of 26 tokens, expected at most 25, one more than the model reads");
    config = generation(2, 0);
    config.temperature = -1.0;
    expect_generation_refused(model, &config, LILAC_ERROR_ARGUMENT, "generation: temperature -1, expected 0 or more");
    config.temperature = (double)INFINITY;
    expect_generation_refused(model, &config, LILAC_ERROR_ARGUMENT, "generation: temperature inf, expected 0 or more");
    config = generation(0, 0);
    assert_int_equal(lilac_generate(best(), model, &config, NULL, NULL), LILAC_OK);
    lilac_transformer_destroy(model);
}

static void test_refuses_outputs_that_are_no_numbers(void **state) {
    (void)state;
    for (int number = 0; number < 2; number++) { /* a mixture, and a categorical output */
        lilac_transformer *model = create_model(number);
        lilac_generation_config config = generation(2, 0);
        config.prompt = 3;
        lilac_transformer_parameters(model)[lilac_transformer_parameter_count(model) - 1] = NAN;
        expect_generation_refused(model, &config, LILAC_ERROR_NOT_FINITE,
                                  "generation: the model's output for token 3 of sequence 0 is not a finite number");
        lilac_transformer_destroy(model);
    }
}

static void test_refuses_adapters_of_other_models(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0), *other = NULL;
    lilac_transformer_config config = *lilac_transformer_get_config(model);
    config.feed_forward++;
    assert_int_equal(lilac_transformer_create(best(), &config, &other), LILAC_OK);
    lilac_adapter *adapters[ADAPTERS];
    create_adapters(other, adapters);
    const lilac_adapter *rows[2] = {NULL, adapters[1]};
    const lilac_transformer_state_config two = {.batch = 2, .adapters = rows};
    lilac_transformer_state *made = NULL;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_transformer_state_create(best(), model, &two, &made), LILAC_ERROR_BASE_MISMATCH);
    assert_null(made);
    assert_int_equal(lilac_test_live_allocations(), live);
    destroy_adapters(adapters);
    lilac_transformer_destroy(other);
    lilac_transformer_destroy(model);
}

/* Stops at the call whose number `user` points to, and counts it down. */
static int stop_later(void *user, const lilac_progress *progress) {
    int *left = user;
    assert_string_equal(progress->stage, "generating");
    assert_int_equal(progress->total, 2 * (N + 1));
    assert_true(progress->done <= progress->total);
    return (*left)-- == 0;
}

static void test_progress_and_cancelling(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0);
    const lilac_generation_config config = generation(2, 1);
    int left = 0;
    lilac_context_config context_config;
    lilac_context_config_default(&context_config);
    context_config.progress = stop_later;
    context_config.progress_user = &left;
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(&context_config, &context), LILAC_OK);
    uint8_t rows[2 * (N + 1)] = {0};
    const size_t live = lilac_test_live_allocations();
    for (int calls = 0; calls < 30; calls += 7) {
        left = calls;
        assert_int_equal(lilac_generate(context, model, &config, rows, NULL), LILAC_CANCELLED);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    left = 1000;
    assert_int_equal(lilac_generate(context, model, &config, rows, NULL), LILAC_OK);
    lilac_context_destroy(context);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recurrent_is_parallel),
        cmocka_unit_test(test_length_of_a_state),
        cmocka_unit_test(test_bf16_rounds_the_weights_only),
        cmocka_unit_test(test_adapters_row_by_row),
        cmocka_unit_test(test_batches_do_not_matter),
        cmocka_unit_test(test_weights_are_packed_once),
        cmocka_unit_test(test_seeds_and_indices_matter),
        cmocka_unit_test(test_temperature_zero),
        cmocka_unit_test(test_without_cache),
        cmocka_unit_test(test_memory_is_constant_for_linear_attention),
        cmocka_unit_test(test_refuses_impossible_arguments),
        cmocka_unit_test(test_refuses_impossible_generation),
        cmocka_unit_test(test_refuses_outputs_that_are_no_numbers),
        cmocka_unit_test(test_refuses_adapters_of_other_models),
        cmocka_unit_test(test_progress_and_cancelling),
    };
    return cmocka_run_group_tests(tests, set_up, lilac_test_levels_tear_down);
}
