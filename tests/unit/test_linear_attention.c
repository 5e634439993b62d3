/* SPDX-License-Identifier: MIT */
/* Linear attention over whole sequences: accuracy and gradients, at every cpu level. */
#include <lilac/attention.h>

#include "core/memory.h"
#include "core/random.h"
#include "support/double_linear_attention.h"
#include "support/linear_attention_case.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static case_errors check_errors(const attention_case *problem) {
    const case_errors errors = attention_case_errors(problem);
    attention_case_expect_errors(problem, &errors);
    attention_case_check_guards(problem);
    return errors;
}

static void run_and_check(lilac_context *context, const case_options *options) {
    attention_case *problem = attention_case_create(context, options);
    attention_case_forward(context, problem);
    attention_case_backward(context, problem);
    check_errors(problem);
    attention_case_destroy(problem);
}

static void head_sizes(lilac_context *context) {
    static const size_t sizes[] = {1, 2, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 65, 80, 96, 128};
    for (size_t d = 0; d < sizeof sizes / sizeof sizes[0]; d++) {
        for (int causal = 0; causal < 2; causal++) {
            case_options options = {.shape = case_shape(1, 2, 150, sizes[d]), .causal = causal, .seed = d};
            run_and_check(context, &options);
            options.shape.value_size = sizes[(d * 7 + 3) % (sizeof sizes / sizeof sizes[0])];
            options.states = true;
            options.layout = LAYOUT_PADDED;
            run_and_check(context, &options);
        }
    }
}

static void test_head_sizes(void **state) {
    (void)state;
    case_at_every_level(head_sizes);
}

static void sequence_lengths(lilac_context *context) {
    for (size_t N = 0; N <= 140; N++) {
        const case_options options = {
            .shape = case_shape(1, 1, N, 16), .causal = N % 3 != 0, .seed = N, .states = N % 2};
        run_and_check(context, &options);
    }
    for (int causal = 0; causal < 2; causal++) {
        const case_options options = {.shape = case_shape(1, 1, 1021, 16), .causal = causal, .seed = 1};
        run_and_check(context, &options);
    }
    const case_options options = {.shape = case_shape(1, 1, 4096, 8), .causal = true, .seed = 2};
    run_and_check(context, &options);
}

static void test_sequence_lengths(void **state) {
    (void)state;
    case_at_every_level(sequence_lengths);
}

static void layouts(lilac_context *context) {
    for (int layout = LAYOUT_TOKENS; layout <= LAYOUT_PADDED; layout++) {
        for (int causal = 0; causal < 2; causal++) {
            for (int bf16 = 0; bf16 < 2; bf16++) {
                const case_options options = {.shape = case_shape(2, 3, 101, 32),
                                              .causal = causal,
                                              .bf16 = bf16,
                                              .layout = (case_layout)layout,
                                              .states = true,
                                              .seed = 5};
                run_and_check(context, &options);
            }
        }
    }
}

static void test_layouts(void **state) {
    (void)state;
    case_at_every_level(layouts);
}

static void cross_attention(lilac_context *context) {
    static const size_t counts[] = {0, 1, 31, 64, 130, 257};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
            case_options options = {.shape = case_shape(2, 1, counts[i], 24), .states = true, .seed = i};
            options.shape.keys = counts[j];
            run_and_check(context, &options);
        }
    }
}

static void test_cross_attention(void **state) {
    (void)state;
    case_at_every_level(cross_attention);
}

/* What must be 0: gradients of masked keys, and all that belongs to a sequence without keys and states. */
static void check_masked(const attention_case *problem) {
    const case_options *options = &problem->options;
    for (size_t b = 0; b < options->shape.batch; b++) {
        for (size_t n = 0; n < options->shape.keys; n++) {
            for (size_t i = 0; i < 16; i++) {
                if (n >= options->lengths[b]) {
                    assert_true(case_element(problem, CASE_KEY_GRADIENT, b, n, 1, i) == 0.0);
                    assert_true(case_element(problem, CASE_VALUE_GRADIENT, b, n, 1, i) == 0.0);
                }
                if (options->lengths[b] == 0 && !options->states) {
                    assert_true(case_element(problem, CASE_OUTPUT, b, n, 1, i) == 0.0);
                    assert_true(case_element(problem, CASE_QUERY_GRADIENT, b, n, 1, i) == 0.0);
                }
            }
        }
    }
}

static void lengths(lilac_context *context) {
    static const size_t key_lengths[] = {0, 1, 63, 64, 65, 150, 100};
    for (int i = 0; i < 8; i++) {
        const case_options options = {.shape = case_shape(7, 2, 150, 16),
                                      .causal = i & 1,
                                      .states = i & 2,
                                      .bf16 = i & 4,
                                      .lengths = key_lengths,
                                      .seed = 9};
        attention_case *problem = attention_case_create(context, &options);
        attention_case_forward(context, problem);
        attention_case_backward(context, problem);
        if (options.states) {
            /* Without a state the gradient of sequence 0, which has no keys, is divided by epsilon. */
            check_errors(problem);
        }
        check_masked(problem);
        attention_case_destroy(problem);
    }
}

static void test_lengths(void **state) {
    (void)state;
    case_at_every_level(lengths);
}

/* With the smallest epsilon, too, rows without keys are 0: what they are divided by has a reciprocal. */
static void rows_without_keys(lilac_context *context) {
    static const size_t none[] = {0, 0};
    for (int i = 0; i < 8; i++) {
        const case_options options = {.shape = case_shape(2, 2, 70, 16),
                                      .causal = i & 1,
                                      .bf16 = i & 2,
                                      .map = i & 4 ? lilac_feature_map_relu() : NULL,
                                      .lengths = none,
                                      .seed = 10};
        attention_case *problem = attention_case_create(context, &options);
        problem->config.epsilon = FLT_MIN;
        attention_case_forward(context, problem);
        for (size_t n = 0; n < 2 * 70 * 2 * 16; n++) {
            assert_true(case_element(problem, CASE_OUTPUT, n / (70 * 2 * 16), n / 32 % 70, n / 16 % 2, n % 16) == 0.0);
        }
        attention_case_check_guards(problem);
        attention_case_destroy(problem);
    }
}

static void test_rows_without_keys(void **state) {
    (void)state;
    case_at_every_level(rows_without_keys);
}

static void bf16_inputs(lilac_context *context) {
    static const size_t sizes[] = {1, 16, 24, 31, 32, 33, 64, 72, 128};
    for (size_t d = 0; d < sizeof sizes / sizeof sizes[0]; d++) {
        for (int causal = 0; causal < 2; causal++) {
            case_options options = {
                .shape = case_shape(1, 2, 203, sizes[d]), .causal = causal, .bf16 = true, .seed = d};
            run_and_check(context, &options);
            options.shape.value_size = sizes[(d + 4) % (sizeof sizes / sizeof sizes[0])];
            options.states = true;
            run_and_check(context, &options);
        }
    }
}

static void test_bf16_inputs(void **state) {
    (void)state;
    case_at_every_level(bf16_inputs);
}

static void feature_maps(lilac_context *context) {
    lilac_feature_map *fourier, *positive;
    assert_int_equal(lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_FOURIER, 24, 64, 0.1f, 1, &fourier),
                     LILAC_OK);
    assert_int_equal(
        lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_POSITIVE, 24, 40, 0.3f, 2, &positive), LILAC_OK);
    const lilac_feature_map *maps[] = {lilac_feature_map_relu(),
                                       lilac_feature_map_squared_relu(),
                                       lilac_feature_map_exp(),
                                       lilac_feature_map_elu_plus_one(),
                                       fourier,
                                       positive};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        for (int causal = 0; causal < 2; causal++) {
            for (int bf16 = 0; bf16 < 2; bf16++) {
                const case_options options = {.shape = case_shape(1, 3, 100, 24),
                                              .causal = causal,
                                              .bf16 = bf16,
                                              .layout = LAYOUT_FUSED,
                                              .map = maps[i],
                                              .states = true,
                                              .seed = i};
                run_and_check(context, &options);
            }
        }
    }
    lilac_feature_map_destroy(fourier);
    lilac_feature_map_destroy(positive);
}

static void test_feature_maps(void **state) {
    (void)state;
    case_at_every_level(feature_maps);
}

/* The identity map with queries and keys that were mapped before: nothing about them is known but that they are
 * numbers. */
static void identity_map(lilac_context *context) {
    for (int causal = 0; causal < 2; causal++) {
        const case_options options = {
            .shape = case_shape(1, 1, 100, 40), .causal = causal, .map = lilac_feature_map_identity(), .seed = 3};
        attention_case *problem = attention_case_create(context, &options);
        for (size_t n = 0; n < 100; n++) {
            for (size_t i = 0; i < 40; i++) {
                const float q = (float)case_element(problem, CASE_QUERY, 0, n, 0, i);
                const float k = (float)case_element(problem, CASE_KEY, 0, n, 0, i);
                case_set_element(problem, CASE_QUERY, 0, n, 0, i, fabsf(q));
                case_set_element(problem, CASE_KEY, 0, n, 0, i, fabsf(k));
            }
        }
        attention_case_forward(context, problem);
        attention_case_backward(context, problem);
        check_errors(problem);
        attention_case_destroy(problem);
    }
}

static void test_identity_map(void **state) {
    (void)state;
    case_at_every_level(identity_map);
}

/* The double-precision gradients that the others are measured by are checked with central differences. */
static double difference_quotient(double_head *head, double *x, double step, const double *gradient,
                                  const double *final_gradient) {
    const size_t outputs = head->queries * head->M, state_size = head->C * head->M + head->C;
    const double middle = *x;
    double values[2];
    for (int side = 0; side < 2; side++) {
        *x = side == 0 ? middle - step : middle + step;
        double_head_forward(head);
        values[side] = 0.0;
        for (size_t i = 0; i < outputs; i++) {
            values[side] += gradient[i] * head->out[i];
        }
        for (size_t i = 0; i < state_size; i++) {
            values[side] += final_gradient[i] * head->final_state[i];
        }
    }
    *x = middle;
    return (values[1] - values[0]) / (2.0 * step);
}

/* Output m of query i by the definition: a weighted mean of all values it sees, besides what the initial state adds. */
static double defined_output(const double_head *head, size_t i, size_t m) {
    const double *q = head->q + i * head->C, *z = head->state + head->C * head->M;
    double numerator = 0.0, denominator = head->epsilon;
    for (size_t c = 0; c < head->C; c++) {
        numerator += q[c] * head->state[c * head->M + m];
        denominator += q[c] * z[c];
    }
    for (size_t j = 0; j < head->keys && (!head->causal || j <= i); j++) {
        double similarity = 0.0;
        for (size_t c = 0; c < head->C; c++) {
            similarity += q[c] * head->k[j * head->C + c];
        }
        numerator += similarity * head->v[j * head->M + m];
        denominator += similarity;
    }
    return numerator / denominator;
}

static void test_double_reference(void **state) {
    (void)state;
    enum { N = 6, C = 4, M = 3, STATE = C * M + C, NUMBERS = N * C * 2 + N * M * 2 + STATE * 2 };
    for (int causal = 0; causal < 2; causal++) {
        double numbers[NUMBERS], results[NUMBERS];
        uint32_t words[LILAC_RANDOM_GROUP];
        for (size_t i = 0; i < NUMBERS; i++) {
            lilac_random random = lilac_random_stream(11, LILAC_RANDOM_TEST, i / LILAC_RANDOM_GROUP);
            lilac_random_group(&random, words);
            numbers[i] = 0.1 + words[i % LILAC_RANDOM_GROUP] * 0x1p-32;
        }
        memset(results, 0, sizeof results);
        double *q = numbers, *k = q + N * C, *v = k + N * C, *state0 = v + N * M;
        double *dq = results, *dk = dq + N * C, *dv = dk + N * C, *dstate = dv + N * M;
        double *gradient = state0 + STATE, *final_gradient = gradient + N * M;
        double out[N * M], denominator[N], final_state[STATE];
        double_head head = {.queries = N,
                            .keys = N - 1,
                            .C = C,
                            .M = M,
                            .causal = causal,
                            .epsilon = 1e-6,
                            .q = q,
                            .k = k,
                            .v = v,
                            .state = state0,
                            .out = out,
                            .denominator = denominator,
                            .final_state = final_state,
                            .gradient = gradient,
                            .final_state_gradient = final_gradient,
                            .dq = dq,
                            .dk = dk,
                            .dv = dv,
                            .dstate = dstate};
        double_head_forward(&head);
        for (size_t i = 0; i < N * M; i++) {
            assert_true(fabs(out[i] - defined_output(&head, i / M, i % M)) <= 1e-14);
        }
        double_head_backward(&head);
        for (size_t i = 0; i < N * C * 2 + N * M + STATE; i++) {
            const double expected = difference_quotient(&head, numbers + i, 1e-5, gradient, final_gradient);
            assert_true(fabs(results[i] - expected) <= 1e-8 * (1.0 + fabs(expected)));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_double_reference),  cmocka_unit_test(test_head_sizes),
        cmocka_unit_test(test_sequence_lengths),  cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_cross_attention),   cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_rows_without_keys), cmocka_unit_test(test_bf16_inputs),
        cmocka_unit_test(test_feature_maps),      cmocka_unit_test(test_identity_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
