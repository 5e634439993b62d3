/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention with bf16_products, by products of tiles and by dot products: against the definition in double
 * precision, and properties it must have. On any cpu by the reference of the kernels, and by the fast ones where it has
 * them.
 */
#include "kernels/kernel_table.h"
#include "runtime/context.h"
#include "support/levels.h"
#include "support/softmax_problem.h"

#include <lilac/attention.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four headers above it. */
#include <cmocka.h>
#include <math.h>
#include <string.h>

/*
 * Bounds of the relative 2-norm of errors. Rounding to bf16 moves a number by 2^-8 of it at most, by 1.6e-3 on average
 * (root mean square). An output has four such errors to it, of query and key (times a score of about 1), probability
 * and value, which partly cancel in sums; a gradient has two more.
 */
static const double BOUND = 1e-2;
/* Of a gradient where scores are steep: of most rows one probability is nearly 1, and what is multiplied by keys of up
 * to 20 is a difference of which little is left. */
static const double STEEP_GRADIENT_BOUND = 5e-2;
/* Of a log-sum-exp: absolute. That of a single key's score, of up to 3, is off by 2^-7 of it at most. */
static const double LOG_SUM_EXP_BOUND = 2e-2;

/* The reference's kernels, the machine's. */
enum { TILES_REFERENCE, DOT_PRODUCTS_REFERENCE, TILES, DOT_PRODUCTS, WAYS };

static lilac_kernel_table tables[WAYS];

/* NULL where the machine has no such kernels. */
static const lilac_kernel_table *table_of(int way) {
    const bool reference = way == TILES_REFERENCE || way == DOT_PRODUCTS_REFERENCE;
    const lilac_cpu_level level = reference ? LILAC_CPU_SCALAR : lilac_cpu_level_detect();
    const lilac_kernel_table *from = lilac_kernel_table_with(level, way == DOT_PRODUCTS);
    if (from == NULL || (way == TILES && !from->fast_tile_products)) {
        return NULL;
    }
    tables[way] = *from;
    tables[way].fast_tile_products = way == TILES_REFERENCE || way == TILES;
    tables[way].bf16_dot_products = way == DOT_PRODUCTS_REFERENCE || way == DOT_PRODUCTS;
    return &tables[way];
}

/* NULL where the machine has no such kernels. */
static lilac_context *make_context(int way, int threads) {
    const lilac_kernel_table *table = table_of(way);
    if (table == NULL) {
        return NULL;
    }
    lilac_context *context = lilac_test_context_create(0, threads);
    context->kernels = table;
    return context;
}

static softmax_problem *make_problem(const lilac_attention_shape *shape, bool causal, const size_t *lengths,
                                     lilac_attention_dtype dtype, softmax_inputs inputs, uint64_t seed) {
    softmax_problem *problem = softmax_problem_create(shape, causal, lengths, dtype, inputs, seed);
    problem->config.bf16_products = true;
    return problem;
}

static void assert_close(const char *what, double error, double bound, const softmax_problem *problem, int way) {
    const lilac_attention_shape *shape = &problem->config.shape;
    if (!(error <= bound)) {
        fail_msg("%s is %g off, more than %g: %zu queries, %zu keys, D %zu, M %zu, causal %d, inputs %d, way %d", what,
                 error, bound, shape->queries, shape->keys, shape->key_size, shape->value_size, problem->config.causal,
                 problem->kind, way);
    }
}

static double log_sum_exp_error(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    double largest = 0.0;
    for (size_t i = 0; i < shape->batch * shape->heads * shape->queries; i++) {
        const double exact = problem->exact.log_sum_exp[i], value = problem->log_sum_exp[i];
        const double error = value == exact ? 0.0 : fabs(value - exact);
        largest = isnan(error) ? INFINITY : fmax(largest, error);
    }
    return largest;
}

/* Where a gradient is 0 by cancellation its error is compared with what cancels: sums of products of the sizes of
 * uniform inputs. */
static void check_gradients(const softmax_problem *problem, int way) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const lilac_attention_output *dq = &problem->backward.query_gradient, *dk = &problem->backward.key_gradient;
    const lilac_attention_output *dv = &problem->backward.value_gradient;
    const double queries = (double)shape->queries, keys = fmax(1.0, (double)shape->keys);
    const double product = (double)problem->config.scale * sqrt((double)shape->value_size);
    assert_close("query gradient",
                 softmax_problem_error(problem, dq->data, dq->batch_stride, dq->token_stride, dq->head_stride,
                                       shape->queries, shape->key_size, problem->exact.query_gradient,
                                       product / sqrt(keys)),
                 BOUND, problem, way);
    assert_close("key gradient",
                 softmax_problem_error(problem, dk->data, dk->batch_stride, dk->token_stride, dk->head_stride,
                                       shape->keys, shape->key_size, problem->exact.key_gradient,
                                       product * sqrt(queries) / keys),
                 BOUND, problem, way);
    assert_close("value gradient",
                 softmax_problem_error(problem, dv->data, dv->batch_stride, dv->token_stride, dv->head_stride,
                                       shape->keys, shape->value_size, problem->exact.value_gradient,
                                       sqrt(queries) / keys),
                 BOUND, problem, way);
}

static void check(const lilac_attention_shape *shape, bool causal, const size_t *lengths, lilac_attention_dtype dtype,
                  uint64_t seed) {
    softmax_problem *problem = make_problem(shape, causal, lengths, dtype, SOFTMAX_UNIFORM, seed);
    softmax_problem_solve(problem, true);
    for (int way = 0; way < WAYS; way++) {
        lilac_context *context = make_context(way, 2);
        if (context == NULL) {
            continue;
        }
        softmax_problem_run_on(problem, context, true);
        assert_close("output", softmax_problem_output_error(problem), BOUND, problem, way);
        assert_close("log-sum-exp", log_sum_exp_error(problem), LOG_SUM_EXP_BOUND, problem, way);
        check_gradients(problem, way);
        lilac_context_destroy(context);
    }
    softmax_problem_destroy(problem);
}

static const size_t sizes[] = {1, 5, 16, 32, 33, 64, 80};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Sizes around those of tiles, and of blocks of keys and queries. */
static void test_lengths_match_the_definition(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 15, 16, 17, 31, 32, 33, 63, 65, 100, 128, 129, 255, 257, 300, 783};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const lilac_attention_shape shape = {1, 2, lengths[i], lengths[i], 32, 32};
        check(&shape, false, NULL, LILAC_ATTENTION_F32, i);
        check(&shape, true, NULL, LILAC_ATTENTION_F32, i);
    }
}

static void test_head_sizes_match_the_definition(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES * SIZES; i++) {
        const lilac_attention_shape shape = {2, 1, 70, 70, sizes[i / SIZES], sizes[i % SIZES]};
        check(&shape, i % 2 == 0, NULL, i % 3 == 0 ? LILAC_ATTENTION_BF16 : LILAC_ATTENTION_F32, i);
    }
    const lilac_attention_shape wide = {1, 1, 40, 40, 200, 257};
    check(&wide, true, NULL, LILAC_ATTENTION_F32, 1);
}

static void test_cross_attention_matches_the_definition(void **state) {
    (void)state;
    static const size_t lengths[][2] = {{1, 300}, {300, 1}, {97, 31}, {31, 97}, {5, 64}, {13, 0}, {0, 13}, {260, 70}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const lilac_attention_shape shape = {2, 3, lengths[i][0], lengths[i][1], 24, 20};
        check(&shape, false, NULL, LILAC_ATTENTION_F32, i);
    }
}

static void test_key_lengths_match_the_definition(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 64, 100, 299, 300};
    const lilac_attention_shape shape = {6, 2, 300, 300, 16, 24};
    check(&shape, false, lengths, LILAC_ATTENTION_F32, 1);
    check(&shape, true, lengths, LILAC_ATTENTION_F32, 2);
    check(&shape, true, lengths, LILAC_ATTENTION_BF16, 3);
}

/* More heads than are packed at a time. */
static void test_many_heads_match_the_definition(void **state) {
    (void)state;
    const lilac_attention_shape shape = {7, 5, 20, 20, 8, 8};
    check(&shape, true, NULL, LILAC_ATTENTION_F32, 1);
}

/*
 * Scores up to a few hundred, from inputs that need no rounding: bf16 numbers, and a scale that is a power of two in
 * units of log2. The offset that is subtracted from them must be raised again and again.
 */
static void test_steep_scores_match_the_definition(void **state) {
    (void)state;
    for (size_t size = 0; size < SIZES; size++) {
        const lilac_attention_shape shape = {1, 2, 200, 200, sizes[size], sizes[SIZES - 1 - size]};
        softmax_problem *problem = make_problem(&shape, size % 2 == 0, NULL, LILAC_ATTENTION_BF16, SOFTMAX_STEEP, size);
        problem->config.scale = (float)(log(2.0) / 4.0);
        softmax_problem_solve(problem, true);
        for (int way = 0; way < WAYS; way++) {
            lilac_context *context = make_context(way, 1);
            if (context == NULL) {
                continue;
            }
            softmax_problem_run_on(problem, context, true);
            assert_close("output", softmax_problem_output_error(problem), BOUND, problem, way);
            assert_close("gradient", softmax_problem_gradient_error(problem), STEEP_GRADIENT_BOUND, problem, way);
            assert_close("log-sum-exp", log_sum_exp_error(problem), LOG_SUM_EXP_BOUND, problem, way);
            lilac_context_destroy(context);
        }
        softmax_problem_destroy(problem);
    }
}

/* Scores that grow from key to key, or fall, by up to thousands: where all values are the same, so is each output. */
static void test_large_scores_do_not_overflow(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 1, 300, 300, 32, 32};
    static const float steps[] = {0.1f, 3.0f, 100.0f, -0.1f, -3.0f, -100.0f};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        softmax_problem *problem = make_problem(&shape, i % 2 == 0, NULL, LILAC_ATTENTION_F32, SOFTMAX_EQUAL, 1);
        for (size_t n = 0; n < shape.keys; n++) {
            for (size_t c = 0; c < 32; c++) {
                softmax_problem_set_input(problem, n * problem->row + 32 + c, (float)n * steps[i]);
            }
        }
        for (int way = 0; way < WAYS; way++) {
            lilac_context *context = make_context(way, 1);
            if (context == NULL) {
                continue;
            }
            softmax_problem_run_on(problem, context, true);
            for (size_t n = 0; n < shape.queries; n++) {
                for (size_t c = 0; c < 32; c++) {
                    const float y = problem->output_data[n * problem->forward.output.token_stride + c];
                    assert_true(fabsf(y - 0.7f) <= 0.002f);
                    assert_true(isfinite(problem->gradient_data[n * problem->row + c]));
                }
            }
            lilac_context_destroy(context);
        }
        softmax_problem_destroy(problem);
    }
}

/* The rows that a NaN or an infinity is part of become NaN, and no others. */
static void test_nan_stays_where_it_belongs(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 1, 200, 200, 32, 32};
    static const float numbers[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3 * 2; i++) {
        const float number = numbers[i / 2];
        for (int way = 0; way < WAYS; way++) {
            lilac_context *context = make_context(way, 1);
            if (context == NULL) {
                continue;
            }
            softmax_problem *problem = make_problem(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 3);
            /* A query; or a value, which all from the next block of 32 on see. */
            softmax_problem_set_input(problem, 100 * problem->row + (i % 2 == 0 ? 3 : 64 + 3), number);
            softmax_problem_run_on(problem, context, true);
            for (size_t n = 0; n < shape.queries; n++) {
                const float y = problem->output_data[n * problem->forward.output.token_stride + 3];
                if (n < 96) {
                    assert_true(isfinite(y));
                } else if (i % 2 == 0) {
                    assert_true(n == 100 ? isnan(y) : isfinite(y));
                } else {
                    assert_true(n < 128 || !isfinite(y));
                }
            }
            softmax_problem_destroy(problem);
            lilac_context_destroy(context);
        }
    }
}

/* What a masked key or value holds does not matter, not even a NaN. */
static void test_masked_keys_change_nothing(void **state) {
    (void)state;
    const size_t lengths[] = {70};
    const lilac_attention_shape shape = {1, 2, 90, 300, 20, 24}, shorter = {1, 2, 90, 70, 20, 24};
    for (int way = 0; way < WAYS; way++) {
        lilac_context *context = make_context(way, 2);
        if (context == NULL) {
            continue;
        }
        softmax_problem *problem = make_problem(&shape, false, lengths, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 5);
        softmax_problem *same = make_problem(&shorter, false, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 5);
        for (size_t n = 70; n < shape.keys; n++) {
            for (size_t c = 40; c < problem->row; c++) {
                softmax_problem_set_input(problem, n * problem->row + c, NAN);
            }
        }
        softmax_problem_run_on(problem, context, true);
        softmax_problem_run_on(same, context, true);
        assert_memory_equal(problem->output_data, same->output_data,
                            shape.queries * problem->forward.output.token_stride * sizeof(float));
        for (size_t n = 0; n < shape.keys; n++) {
            const float *row = problem->gradient_data + n * problem->row;
            if (n < 70) {
                assert_memory_equal(row, same->gradient_data + n * problem->row, problem->row * sizeof(float));
            }
            for (size_t c = 40; n >= 70 && c < 2 * 40 + 2 * 24; c++) {
                assert_true(row[c] == 0.0f);
            }
        }
        softmax_problem_destroy(same);
        softmax_problem_destroy(problem);
        lilac_context_destroy(context);
    }
}

/* Nor do they get a gradient of anything but 0 where a query or an output gradient is infinite. */
static void test_masked_keys_have_no_gradient(void **state) {
    (void)state;
    enum { TOKENS = 40, KEYS = 20, SIZE = 32 };
    const size_t lengths[] = {KEYS};
    const lilac_attention_shape shape = {1, 1, TOKENS, TOKENS, SIZE, SIZE};
    for (int way = 0; way < WAYS; way++) {
        lilac_context *context = make_context(way, 2);
        if (context == NULL) {
            continue;
        }
        softmax_problem *problem = make_problem(&shape, false, lengths, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 5);
        softmax_problem_set_input(problem, 3 * problem->row, INFINITY);
        softmax_problem_run_on(problem, context, true);
        for (size_t n = KEYS; n < TOKENS; n++) {
            for (size_t c = SIZE; c < 3 * SIZE; c++) {
                assert_true(problem->gradient_data[n * problem->row + c] == 0.0f);
            }
        }
        softmax_problem_destroy(problem);
        lilac_context_destroy(context);
    }
}

static void test_causal_output_does_not_depend_on_later_tokens(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 2, 230, 230, 20, 20};
    static const size_t tokens[] = {1, 16, 63, 100, 129, 229};
    for (int way = 0; way < WAYS; way++) {
        lilac_context *context = make_context(way, 2);
        for (size_t i = 0; context != NULL && i < sizeof tokens / sizeof *tokens; i++) {
            softmax_problem *problem = make_problem(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_STEEP, 4);
            softmax_problem *changed = make_problem(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_STEEP, 4);
            for (size_t k = tokens[i] * changed->row; k < shape.queries * changed->row; k++) {
                softmax_problem_set_input(changed, k, 50.0f);
            }
            softmax_problem_run_on(problem, context, false);
            softmax_problem_run_on(changed, context, false);
            assert_memory_equal(problem->output_data, changed->output_data,
                                tokens[i] * problem->forward.output.token_stride * sizeof(float));
            softmax_problem_destroy(changed);
            softmax_problem_destroy(problem);
        }
        lilac_context_destroy(context);
    }
}

static void test_rows_without_keys_are_zero(void **state) {
    (void)state;
    const size_t lengths[] = {0, 0};
    const lilac_attention_shape shape = {2, 2, 100, 100, 16, 16};
    for (int i = 0; i < 2 * WAYS; i++) {
        lilac_context *context = make_context(i / 2, 2);
        if (context == NULL) {
            continue;
        }
        softmax_problem *problem = make_problem(&shape, i % 2 == 0, lengths, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 6);
        softmax_problem_run_on(problem, context, true);
        softmax_problem_expect_no_keys(problem);
        softmax_problem_destroy(problem);
        lilac_context_destroy(context);
    }
}

static void test_threads_give_the_same_bytes(void **state) {
    (void)state;
    static const lilac_attention_shape shapes[] = {
        {1, 1, 900, 900, 32, 32}, {3, 5, 200, 200, 16, 20}, {1, 3, 300, 300, 64, 64}};
    for (size_t i = 0; i < 2 * WAYS * 3; i++) {
        const lilac_attention_shape *shape = &shapes[i / (2 * WAYS)];
        const int way = i / 2 % WAYS;
        if (way == TILES_REFERENCE && shape->queries > 200) {
            continue; /* slow, and shared out as the others are */
        }
        softmax_problem *one = make_problem(shape, i % 2 == 0, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 8);
        lilac_context *context = make_context(way, 1);
        for (int threads = 2; context != NULL && threads <= 5; threads++) {
            softmax_problem *many = make_problem(shape, i % 2 == 0, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 8);
            lilac_context *other = make_context(way, threads);
            softmax_problem_run_on(one, context, true);
            softmax_problem_run_on(many, other, true);
            assert_memory_equal(one->output_data, many->output_data,
                                shape->batch * one->forward.output.batch_stride * sizeof(float));
            assert_memory_equal(one->gradient_data, many->gradient_data,
                                shape->batch * one->tokens * one->row * sizeof(float));
            lilac_context_destroy(other);
            softmax_problem_destroy(many);
        }
        lilac_context_destroy(context);
        softmax_problem_destroy(one);
    }
}

/* Where the cpu has neither tiles nor dot products, products are those of floats. */
static void test_changes_nothing_elsewhere(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 2, 100, 100, 32, 32};
    softmax_problem *exact = softmax_problem_create(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 1);
    softmax_problem *same = make_problem(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 1);
    lilac_context *context = lilac_test_context_create(lilac_test_levels() - 1, 1);
    lilac_kernel_table table = *context->kernels;
    table.fast_tile_products = table.bf16_dot_products = false;
    context->kernels = &table;
    softmax_problem_run_on(exact, context, true);
    softmax_problem_run_on(same, context, true);
    assert_memory_equal(exact->output_data, same->output_data,
                        shape.queries * exact->forward.output.token_stride * sizeof(float));
    assert_memory_equal(exact->gradient_data, same->gradient_data, shape.queries * exact->row * sizeof(float));
    lilac_context_destroy(context);
    softmax_problem_destroy(same);
    softmax_problem_destroy(exact);
}

/* A size that overflows must be seen in these ways, too. */
static void test_sizes_beyond_memory_are_refused(void **state) {
    (void)state;
    static const lilac_attention_shape shapes[] = {{1, 1, SIZE_MAX / 64, SIZE_MAX / 64, 4, 4},
                                                   {1, 1, 4, 4, SIZE_MAX - 3, 4},
                                                   {1, 1, 4, 4, SIZE_MAX / 2, 4},
                                                   {1, 1, 4, 4, 4, SIZE_MAX / 8},
                                                   {SIZE_MAX / 2, 4, 4, 4, 4, 4}};
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        lilac_context *context = make_context(i % 2 == 0 ? TILES_REFERENCE : DOT_PRODUCTS_REFERENCE, 1);
        lilac_softmax_attention_config config;
        lilac_softmax_attention_config_default(&shapes[i / 2], &config);
        config.bf16_products = true;
        size_t bytes = 7;
        assert_int_equal(lilac_softmax_attention_forward_workspace_size(context, &config, &bytes),
                         LILAC_ERROR_OVERFLOW);
        assert_int_equal(lilac_softmax_attention_backward_workspace_size(context, &config, &bytes),
                         LILAC_ERROR_OVERFLOW);
        assert_int_equal(bytes, 7);
        lilac_context_destroy(context);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_match_the_definition),
        cmocka_unit_test(test_head_sizes_match_the_definition),
        cmocka_unit_test(test_cross_attention_matches_the_definition),
        cmocka_unit_test(test_key_lengths_match_the_definition),
        cmocka_unit_test(test_many_heads_match_the_definition),
        cmocka_unit_test(test_steep_scores_match_the_definition),
        cmocka_unit_test(test_large_scores_do_not_overflow),
        cmocka_unit_test(test_nan_stays_where_it_belongs),
        cmocka_unit_test(test_masked_keys_change_nothing),
        cmocka_unit_test(test_masked_keys_have_no_gradient),
        cmocka_unit_test(test_causal_output_does_not_depend_on_later_tokens),
        cmocka_unit_test(test_rows_without_keys_are_zero),
        cmocka_unit_test(test_threads_give_the_same_bytes),
        cmocka_unit_test(test_changes_nothing_elsewhere),
        cmocka_unit_test(test_sizes_beyond_memory_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
