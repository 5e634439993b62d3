/* SPDX-License-Identifier: MIT */
/* Linear attention over whole sequences: what must not change the results, and extreme inputs. */
#include <lilac/attention.h>

#include "core/memory.h"
#include "core/random.h"
#include "support/levels.h"
#include "support/linear_attention_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* A forward and backward pass at some number of threads; the same problem each time. */
static attention_case *run_with_threads(const case_options *options, int level, int threads) {
    lilac_context *context = lilac_test_context_create(level, threads);
    attention_case *problem = attention_case_create(context, options);
    attention_case_forward(context, problem);
    attention_case_backward(context, problem);
    lilac_context_destroy(context);
    return problem;
}

static void same_bytes_at_any_thread_count(const case_options *options, int level) {
    attention_case *one = run_with_threads(options, level, 1);
    for (int threads = 2; threads <= 5; threads++) {
        attention_case *many = run_with_threads(options, level, threads);
        assert_true(attention_case_same_bytes(one, many));
        attention_case_destroy(many);
    }
    attention_case_destroy(one);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    static const size_t key_lengths[] = {300, 17, 0, 255, 64};
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (size_t heads = 1; heads <= 5; heads++) {
            for (int causal = 0; causal < 2; causal++) {
                case_options options = {
                    .shape = case_shape(1, heads, 300, 20), .causal = causal, .states = true, .seed = 4};
                same_bytes_at_any_thread_count(&options, level);
                options.shape = case_shape(heads, 1, 300, 20);
                options.lengths = key_lengths;
                options.bf16 = heads % 2;
                options.map = heads == 3 ? lilac_feature_map_relu() : NULL;
                same_bytes_at_any_thread_count(&options, level);
            }
        }
        /* Longer than the windows that chunks are shared out in. */
        const case_options options = {.shape = case_shape(1, 1, 9000, 8), .causal = true, .states = true, .seed = 4};
        same_bytes_at_any_thread_count(&options, level);
    }
}

/* The problem's tensors as those of its tokens first .. first + count - 1. */
static lilac_attention_input input_segment(lilac_attention_input input, size_t first) {
    const size_t item_size = input.dtype == LILAC_ATTENTION_BF16 ? sizeof(uint16_t) : sizeof(float);
    input.data = (const char *)input.data + first * input.token_stride * item_size;
    return input;
}

static lilac_attention_output output_segment(lilac_attention_output output, size_t first) {
    output.data += first * output.token_stride;
    return output;
}

/* Splits a causal sequence into segments at the given places: each is a problem of its own but for the states. */
typedef struct segments {
    size_t count;
    size_t ends[8];
} segments;

static void run_in_segments(lilac_context *context, attention_case *problem, const segments *split) {
    const lilac_linear_attention_forward_tensors whole_forward = problem->forward;
    const lilac_linear_attention_backward_tensors whole_backward = problem->backward;
    const lilac_linear_attention_config config = problem->config;
    float *states[9], *saved[8];
    states[0] = problem->initial_state;
    for (size_t s = 0; s < split->count; s++) {
        const size_t first = s == 0 ? 0 : split->ends[s - 1];
        problem->config.shape.queries = problem->config.shape.keys = split->ends[s] - first;
        states[s + 1] = calloc(problem->state_size, sizeof(float));
        size_t saved_size;
        assert_int_equal(lilac_linear_attention_saved_size(context, &problem->config, &saved_size), LILAC_OK);
        saved[s] = calloc(saved_size + 1, sizeof(float));
        assert_true(states[s + 1] != NULL && saved[s] != NULL);
        problem->forward.query = input_segment(whole_forward.query, first);
        problem->forward.key = input_segment(whole_forward.key, first);
        problem->forward.value = input_segment(whole_forward.value, first);
        problem->forward.output = output_segment(whole_forward.output, first);
        problem->forward.initial_state = states[s];
        problem->forward.final_state = states[s + 1];
        problem->forward.saved = saved[s];
        attention_case_forward(context, problem);
    }
    memcpy(problem->final_state, states[split->count], problem->state_size * sizeof(float));
    for (size_t s = split->count; s-- > 0;) {
        const size_t first = s == 0 ? 0 : split->ends[s - 1];
        problem->config.shape.queries = problem->config.shape.keys = split->ends[s] - first;
        problem->backward.query = input_segment(whole_backward.query, first);
        problem->backward.key = input_segment(whole_backward.key, first);
        problem->backward.value = input_segment(whole_backward.value, first);
        problem->backward.output = input_segment(whole_backward.output, first);
        problem->backward.output_gradient = input_segment(whole_backward.output_gradient, first);
        problem->backward.query_gradient = output_segment(whole_backward.query_gradient, first);
        problem->backward.key_gradient = output_segment(whole_backward.key_gradient, first);
        problem->backward.value_gradient = output_segment(whole_backward.value_gradient, first);
        problem->backward.saved = saved[s];
        /* One array from the second segment on: the gradient may be written over the one it starts from. */
        problem->backward.final_state_gradient =
            s + 1 == split->count ? problem->final_state_gradient : problem->initial_state_gradient;
        attention_case_backward(context, problem);
        free(states[s + 1]);
        free(saved[s]);
    }
    problem->forward = whole_forward;
    problem->backward = whole_backward;
    problem->config = config;
}

static int ascending(const void *a, const void *b) {
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Up to 7 segments, some of them empty, that end at random places. A failure prints the seed. */
static segments random_split(uint64_t seed, size_t N) {
    const lilac_random random = lilac_random_stream(seed, LILAC_RANDOM_TEST, 1);
    uint32_t words[LILAC_RANDOM_GROUP];
    lilac_random_group(&random, words);
    segments split = {.count = 2 + words[0] % 6};
    for (size_t s = 0; s + 1 < split.count; s++) {
        split.ends[s] = words[1 + s] % (N + 1);
    }
    split.ends[split.count - 1] = N;
    qsort(split.ends, split.count, sizeof *split.ends, ascending);
    return split;
}

static void check_split(lilac_context *context, const case_options *options, const segments *split) {
    attention_case *problem = attention_case_create(context, options);
    run_in_segments(context, problem, split);
    const case_errors errors = attention_case_errors(problem);
    attention_case_expect_errors(problem, &errors);
    attention_case_check_guards(problem);
    attention_case_destroy(problem);
}

static void segments_equal_the_whole(lilac_context *context) {
    enum { N = 300, RANDOM_SPLITS = 6 };
    static const segments splits[] = {{2, {0, N}}, {2, {N, N}}, {4, {64, 128, 192, N}}};
    for (uint64_t i = 0; i < sizeof splits / sizeof splits[0] + RANDOM_SPLITS; i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            const uint64_t seed = lilac_context_cpu_level(context) * 100 + 2 * i + (uint64_t)bf16;
            const case_options options = {
                .shape = case_shape(2, 2, N, 24), .causal = true, .bf16 = bf16, .states = true, .seed = seed};
            const segments split = i < RANDOM_SPLITS ? random_split(seed, N) : splits[i - RANDOM_SPLITS];
            check_split(context, &options, &split);
        }
    }
}

static void test_segments_equal_the_whole(void **state) {
    (void)state;
    case_at_every_level(segments_equal_the_whole);
}

/* Tokens beyond a sequence's length change nothing about those before: not a byte. */
static void padding_changes_nothing(lilac_context *context) {
    enum { N = 90, MORE = 75, SIZE = 20 };
    static const size_t key_lengths[] = {N};
    for (int form = 0; form < 4; form++) {
        const bool causal = form % 2 == 1, bf16 = form / 2 == 1;
        const case_options plain = {.shape = case_shape(1, 1, N, SIZE), .causal = causal, .bf16 = bf16, .seed = 31};
        case_options padded = plain;
        padded.shape = case_shape(1, 1, N + MORE, SIZE);
        padded.seed = 32;
        padded.lengths = key_lengths;
        if (!causal) {
            padded.shape.queries = N;
        }
        attention_case *a = attention_case_create(context, &plain), *b = attention_case_create(context, &padded);
        for (size_t n = 0; n < N; n++) {
            for (size_t i = 0; i < SIZE; i++) {
                for (int tensor = CASE_QUERY; tensor <= CASE_VALUE; tensor++) {
                    case_set_element(b, tensor, 0, n, 0, i, (float)case_element(a, tensor, 0, n, 0, i));
                }
                const float g = (float)case_element(a, CASE_OUTPUT_GRADIENT, 0, n, 0, i);
                case_set_element(b, CASE_OUTPUT_GRADIENT, 0, n, 0, i, g);
            }
        }
        for (size_t n = N; n < N + MORE; n++) {
            for (size_t i = 0; i < SIZE; i++) {
                case_set_element(b, CASE_KEY, 0, n, 0, i, NAN);
                case_set_element(b, CASE_VALUE, 0, n, 0, i, NAN);
                if (causal) {
                    case_set_element(b, CASE_OUTPUT_GRADIENT, 0, n, 0, i, 0.0f);
                }
            }
        }
        attention_case_forward(context, a);
        attention_case_forward(context, b);
        attention_case_backward(context, a);
        attention_case_backward(context, b);
        for (size_t n = 0; n < N; n++) {
            for (size_t i = 0; i < SIZE; i++) {
                static const int results[] = {CASE_OUTPUT, CASE_QUERY_GRADIENT, CASE_KEY_GRADIENT, CASE_VALUE_GRADIENT};
                for (size_t r = 0; r < 4; r++) {
                    assert_true(case_element(a, results[r], 0, n, 0, i) == case_element(b, results[r], 0, n, 0, i));
                }
            }
        }
        assert_memory_equal(a->final_state, b->final_state, a->state_size * sizeof(float));
        attention_case_destroy(a);
        attention_case_destroy(b);
    }
}

static void test_padding_changes_nothing(void **state) {
    (void)state;
    case_at_every_level(padding_changes_nothing);
}

/* The numbers of a row of outputs that are the same in both cases. */
static size_t same_outputs(const attention_case *a, const attention_case *b, size_t n) {
    size_t same = 0;
    for (size_t h = 0; h < a->options.shape.heads; h++) {
        for (size_t i = 0; i < a->options.shape.value_size; i++) {
            same += case_element(a, CASE_OUTPUT, 0, n, h, i) == case_element(b, CASE_OUTPUT, 0, n, h, i);
        }
    }
    return same;
}

/* Causal outputs do not depend on what comes after them: not in a single byte. */
static void check_causality(lilac_context *context, bool bf16) {
    enum { N = 200, SIZE = 20, HEADS = 2 };
    const case_options options = {.shape = case_shape(1, HEADS, N, SIZE), .causal = true, .bf16 = bf16, .seed = 41};
    static const size_t places[] = {0, 1, 15, 16, 31, 32, 63, 64, 100, 198};
    attention_case *before = attention_case_create(context, &options);
    attention_case_forward(context, before);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        attention_case *after = attention_case_create(context, &options);
        for (size_t n = places[p] + 1; n < N; n++) {
            for (size_t i = 0; i < SIZE * HEADS; i++) {
                case_set_element(after, CASE_QUERY, 0, n, i / SIZE, i % SIZE, 1e3f);
                case_set_element(after, CASE_KEY, 0, n, i / SIZE, i % SIZE, 1e4f);
                case_set_element(after, CASE_VALUE, 0, n, i / SIZE, i % SIZE, -1e10f);
            }
        }
        attention_case_forward(context, after);
        for (size_t n = 0; n < N; n++) {
            assert_int_equal(same_outputs(before, after, n), n <= places[p] ? HEADS * SIZE : 0);
        }
        attention_case_destroy(after);
    }
    attention_case_destroy(before);
}

static void causal_outputs_ignore_the_future(lilac_context *context) {
    check_causality(context, false);
    check_causality(context, true);
}

static void test_causal_outputs_ignore_the_future(void **state) {
    (void)state;
    case_at_every_level(causal_outputs_ignore_the_future);
}

/* The order of keys does not matter in the full form. */
static void check_order(lilac_context *context, bool bf16) {
    enum { N = 333, SIZE = 33 };
    const case_options options = {.shape = case_shape(1, 1, N, SIZE), .bf16 = bf16, .seed = 51};
    attention_case *a = attention_case_create(context, &options), *b = attention_case_create(context, &options);
    uint32_t order[N];
    lilac_random_permutation(lilac_random_stream(1, LILAC_RANDOM_TEST, 0), N, order);
    for (size_t n = 0; n < N; n++) {
        for (size_t i = 0; i < SIZE; i++) {
            case_set_element(b, CASE_KEY, 0, n, 0, i, (float)case_element(a, CASE_KEY, 0, order[n], 0, i));
            case_set_element(b, CASE_VALUE, 0, n, 0, i, (float)case_element(a, CASE_VALUE, 0, order[n], 0, i));
        }
    }
    attention_case_forward(context, a);
    attention_case_forward(context, b);
    double difference = 0.0, size = 0.0;
    for (size_t n = 0; n < N; n++) {
        for (size_t i = 0; i < SIZE; i++) {
            const double x = case_element(a, CASE_OUTPUT, 0, n, 0, i), y = case_element(b, CASE_OUTPUT, 0, n, 0, i);
            difference += (x - y) * (x - y);
            size += x * x;
        }
    }
    assert_true(sqrt(difference / size) <= 2.0 * (a->rounded ? CASE_BF16_ERROR : CASE_FORWARD_ERROR));
    attention_case_destroy(a);
    attention_case_destroy(b);
}

static void full_outputs_ignore_the_order_of_keys(lilac_context *context) {
    check_order(context, false);
    check_order(context, true);
}

static void test_full_outputs_ignore_the_order_of_keys(void **state) {
    (void)state;
    case_at_every_level(full_outputs_ignore_the_order_of_keys);
}

static void check_finite(const attention_case *problem, bool with_backward) {
    const lilac_attention_shape *shape = &problem->options.shape;
    for (size_t n = 0; n < shape->queries; n++) {
        for (size_t i = 0; i < shape->value_size; i++) {
            assert_true(isfinite(case_element(problem, CASE_OUTPUT, 0, n, 0, i)));
            for (int tensor = CASE_QUERY_GRADIENT; with_backward && tensor <= CASE_VALUE_GRADIENT; tensor++) {
                assert_true(isfinite(case_element(problem, tensor, 0, n, 0, i)));
            }
        }
    }
    for (size_t i = 0; i < problem->state_size; i++) {
        assert_true(isfinite(problem->final_state[i]));
    }
}

static void tiny_inputs(lilac_context *context) {
    for (int causal = 0; causal < 2; causal++) {
        const case_options options = {.shape = case_shape(1, 1, 500, 8), .causal = causal, .range = 1e-30f, .seed = 2};
        attention_case *problem = attention_case_create(context, &options);
        attention_case_forward(context, problem);
        attention_case_backward(context, problem);
        check_finite(problem, true);
        attention_case_destroy(problem);
    }
}

static void test_tiny_inputs(void **state) {
    (void)state;
    case_at_every_level(tiny_inputs);
}

/* All features of keys below what a float can hold: the outputs are 0, not NaN. */
static void features_that_vanish(lilac_context *context) {
    const case_options options = {.shape = case_shape(1, 1, 100, 8), .causal = true, .seed = 1};
    attention_case *problem = attention_case_create(context, &options);
    for (size_t n = 0; n < 100; n++) {
        for (size_t i = 0; i < 8; i++) {
            case_set_element(problem, CASE_QUERY, 0, n, 0, i, -80.0f);
            case_set_element(problem, CASE_KEY, 0, n, 0, i, -200.0f);
        }
    }
    attention_case_forward(context, problem);
    check_finite(problem, false);
    assert_true(case_element(problem, CASE_OUTPUT, 0, 99, 0, 0) == 0.0);
    attention_case_destroy(problem);
}

static void test_features_that_vanish(void **state) {
    (void)state;
    case_at_every_level(features_that_vanish);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
        cmocka_unit_test(test_segments_equal_the_whole),
        cmocka_unit_test(test_padding_changes_nothing),
        cmocka_unit_test(test_causal_outputs_ignore_the_future),
        cmocka_unit_test(test_full_outputs_ignore_the_order_of_keys),
        cmocka_unit_test(test_tiny_inputs),
        cmocka_unit_test(test_features_that_vanish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
