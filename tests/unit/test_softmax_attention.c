/* SPDX-License-Identifier: MIT */
/* Softmax attention over whole sequences: against the definition in double precision, and properties it must have. */
#include "core/random.h"
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
#include <stdlib.h>
#include <string.h>

/* Bounds of the relative 2-norm of errors, for each kind of inputs. */
typedef struct bounds {
    double output, gradient, log_sum_exp;
} bounds;

static const bounds BOUNDS[SOFTMAX_INPUTS] = {
    /* Sums of up to a few thousand products, each rounded to 6e-8. */
    [SOFTMAX_UNIFORM] = {1e-6, 5e-6, 1e-6},
    /* The rounding of scores of a few hundred, which exp turns into a relative error. */
    [SOFTMAX_STEEP] = {5e-4, 5e-4, 1e-4},
    /* Adding the same number again and again rounds the same way each time. */
    [SOFTMAX_EQUAL] = {1e-5, 1e-5, 1e-5},
    /* Values that count as zero: outputs do too. */
    [SOFTMAX_DENORMAL] = {1e-6, 1e-6, 1e-6},
};

/* Where a probability is rounded to 8 bits. */
static const double BF16_BOUND = 1e-2;

/* Each level with f32 and with bf16 inputs. */
static size_t combinations(void) {
    return 2 * (size_t)lilac_test_attention_levels();
}

static int level_of(size_t combination) {
    return (int)(combination / 2);
}

static lilac_attention_dtype dtype_of(size_t combination) {
    return combination % 2 == 0 ? LILAC_ATTENTION_F32 : LILAC_ATTENTION_BF16;
}

static void assert_close(const char *what, double error, double bound, const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    if (!(error <= bound)) {
        fail_msg("%s is %g off, more than %g: %zu queries, %zu keys, D %zu, M %zu, causal %d, inputs %d, level %d",
                 what, error, bound, shape->queries, shape->keys, shape->key_size, shape->value_size,
                 problem->config.causal, problem->kind, problem->level);
    }
}

/* The bound on a problem of uniform inputs, given that of floats. */
static double uniform_bound(const softmax_problem *problem, double bound) {
    return problem->rounded ? BF16_BOUND : bound;
}

static double log_sum_exp_error(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    double largest = 0.0;
    for (size_t i = 0; i < shape->batch * shape->heads * shape->queries; i++) {
        const double exact = problem->exact.log_sum_exp[i], value = problem->log_sum_exp[i];
        const double error = value == exact ? 0.0 : fabs(value - exact) / (1.0 + fabs(exact));
        largest = isnan(error) ? INFINITY : fmax(largest, error);
    }
    return largest;
}

static void check(const lilac_attention_shape *shape, bool causal, const size_t *lengths, softmax_inputs inputs,
                  int level, uint64_t seed) {
    softmax_problem *problem = softmax_problem_create(shape, causal, lengths, LILAC_ATTENTION_F32, inputs, seed);
    softmax_problem_run(problem, level, 2, true);
    softmax_problem_solve(problem, true);
    assert_close("output", softmax_problem_output_error(problem), BOUNDS[inputs].output, problem);
    assert_close("gradient", softmax_problem_gradient_error(problem), BOUNDS[inputs].gradient, problem);
    assert_close("log-sum-exp", log_sum_exp_error(problem), BOUNDS[inputs].log_sum_exp, problem);
    softmax_problem_destroy(problem);
}

static void check_levels(const lilac_attention_shape *shape, bool causal, const size_t *lengths) {
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (softmax_inputs inputs = 0; inputs < SOFTMAX_INPUTS; inputs++) {
            check(shape, causal, lengths, inputs, level, 1000 * (uint64_t)level + inputs);
        }
    }
}

/* Sizes around those of register tiles, panels and blocks. */
static void test_lengths_match_the_definition(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 5, 6, 7, 16, 63, 64, 65, 95, 97, 191, 193, 211};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const lilac_attention_shape shape = {1, 2, lengths[i], lengths[i], 16, 16};
        check_levels(&shape, false, NULL);
        check_levels(&shape, true, NULL);
    }
}

static void test_head_sizes_match_the_definition(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1},   {1, 40},  {7, 3},   {15, 17}, {16, 33},   {31, 16}, {32, 32},  {48, 48},
                                      {64, 64}, {64, 80}, {33, 65}, {96, 97}, {128, 128}, {130, 5}, {200, 257}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const lilac_attention_shape shape = {2, 1, 70, 70, sizes[i][0], sizes[i][1]};
        check_levels(&shape, i % 2 == 0, NULL);
    }
}

static void test_cross_attention_matches_the_definition(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 300}, {300, 1}, {97, 31}, {31, 97}, {5, 64}, {13, 0}, {0, 13}, {0, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const lilac_attention_shape shape = {2, 3, sizes[i][0], sizes[i][1], 24, 20};
        check_levels(&shape, false, NULL);
    }
}

static void test_key_lengths_match_the_definition(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 64, 100, 199, 200};
    const lilac_attention_shape shape = {6, 2, 200, 200, 16, 24};
    check_levels(&shape, false, lengths);
    check_levels(&shape, true, lengths);
}

/* More heads than are packed at a time. */
static void test_many_heads_match_the_definition(void **state) {
    (void)state;
    const lilac_attention_shape shape = {7, 5, 20, 20, 8, 8};
    check_levels(&shape, true, NULL);
}

static void test_long_sequences_match_the_definition(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 1, 4096, 4096, 16, 16}, prime = {1, 1, 1201, 1201, 64, 64};
    const lilac_attention_shape small = {1, 1, 4096, 4096, 4, 4}, small_prime = {1, 1, 1201, 1201, 8, 8};
    check(&shape, true, NULL, SOFTMAX_UNIFORM, LILAC_CPU_AVX512, 1);
    check(&small, true, NULL, SOFTMAX_UNIFORM, LILAC_CPU_AVX2, 5);
    check(&small_prime, true, NULL, SOFTMAX_UNIFORM, LILAC_CPU_SCALAR, 6);
    check(&small_prime, false, NULL, SOFTMAX_UNIFORM, LILAC_CPU_SCALAR, 7);
    check(&prime, false, NULL, SOFTMAX_UNIFORM, LILAC_CPU_AVX512, 2);
    check(&prime, true, NULL, SOFTMAX_UNIFORM, LILAC_CPU_AVX2, 3);
    check(&prime, false, NULL, SOFTMAX_STEEP, LILAC_CPU_AVX512, 4);
}

/* A hundred thousand keys: all blocks of a few queries. */
static void test_many_keys_match_the_definition(void **state) {
    (void)state;
    static const size_t sizes[] = {8, 32, 64};
    for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++) {
        const lilac_attention_shape shape = {1, 1, 3, 100000, sizes[size], sizes[size]};
        for (size_t i = 0; i < combinations(); i++) {
            /* So many values nearly cancel, by chance: 1e-6 was seen. */
            const double output = (dtype_of(i) == LILAC_ATTENTION_F32 ? 1.0 : 2.0) * BOUNDS[SOFTMAX_UNIFORM].output;
            softmax_problem *problem = softmax_problem_create(&shape, false, NULL, dtype_of(i), SOFTMAX_UNIFORM, i);
            softmax_problem_run(problem, level_of(i), 2, true);
            softmax_problem_solve(problem, true);
            assert_close("output", softmax_problem_output_error(problem), uniform_bound(problem, output), problem);
            assert_close("gradient", softmax_problem_gradient_error(problem),
                         uniform_bound(problem, BOUNDS[SOFTMAX_UNIFORM].gradient), problem);
            assert_close("log-sum-exp", log_sum_exp_error(problem),
                         uniform_bound(problem, BOUNDS[SOFTMAX_UNIFORM].log_sum_exp), problem);
            softmax_problem_destroy(problem);
        }
    }
}

static void test_bf16_matches_the_definition(void **state) {
    (void)state;
    static const size_t sizes[][3] = {{1, 1, 1},      {100, 64, 64}, {193, 33, 47},
                                      {300, 32, 128}, {700, 64, 64}, {97, 7, 16}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int level = 0; level < lilac_test_attention_levels(); level++) {
            const lilac_attention_shape shape = {2, 2, sizes[i][0], sizes[i][0], sizes[i][1], sizes[i][2]};
            const size_t lengths[] = {sizes[i][0], (sizes[i][0] + 1) / 2};
            softmax_problem *problem =
                softmax_problem_create(&shape, i % 2 == 1, lengths, LILAC_ATTENTION_BF16, SOFTMAX_UNIFORM, i);
            softmax_problem_run(problem, level, 2, true);
            softmax_problem_solve(problem, true);
            assert_close("output", softmax_problem_output_error(problem),
                         uniform_bound(problem, BOUNDS[SOFTMAX_UNIFORM].output), problem);
            assert_close("gradient", softmax_problem_gradient_error(problem),
                         uniform_bound(problem, BOUNDS[SOFTMAX_UNIFORM].gradient), problem);
            softmax_problem_destroy(problem);
        }
    }
}

/* The sum of the outputs times their gradients, in double precision. */
static double loss(softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    double sum = 0.0;
    softmax_problem_solve(problem, false);
    for (size_t i = 0; i < shape->batch * shape->queries * shape->heads * shape->value_size; i++) {
        sum += problem->exact.output[i] * problem->exact.output_gradient[i];
    }
    return sum;
}

/* The double precision gradients that all others are compared with, against central differences of that loss. */
static void test_gradients_are_those_of_the_output(void **state) {
    (void)state;
    const lilac_attention_shape shape = {2, 2, 7, 7, 5, 3};
    const size_t lengths[] = {7, 4}, D = shape.heads * shape.key_size, M = shape.heads * shape.value_size;
    softmax_problem *problem = softmax_problem_create(&shape, true, lengths, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 9);
    /* The step is exact: all inputs are multiples of it. */
    const float step = 0x1p-12f;
    for (size_t i = 0; i < shape.batch * problem->tokens * problem->row; i++) {
        softmax_problem_set_input(problem, i, roundf(softmax_problem_input(problem, i) / step) * step);
    }
    softmax_problem_solve(problem, true);
    softmax_doubles exact = problem->exact;
    problem->exact = (softmax_doubles){0};
    for (size_t i = 0; i < shape.batch * problem->tokens * problem->row; i++) {
        const size_t token = i / problem->row, column = i % problem->row;
        if (column >= 2 * D + M) {
            continue;
        }
        const float x = softmax_problem_input(problem, i);
        softmax_problem_set_input(problem, i, x + step);
        const double above = loss(problem);
        softmax_problem_set_input(problem, i, x - step);
        const double below = loss(problem);
        softmax_problem_set_input(problem, i, x);
        const double gradient = column < D       ? exact.query_gradient[token * D + column]
                                : column < 2 * D ? exact.key_gradient[token * D + column - D]
                                                 : exact.value_gradient[token * M + column - 2 * D];
        assert_true(fabs((above - below) / (2.0 * (double)step) - gradient) <= 1e-6);
    }
    softmax_doubles_release(&exact);
    softmax_problem_destroy(problem);
}

/* The outputs of the first `tokens` tokens are the same bytes. */
static void assert_same_outputs(const softmax_problem *a, const softmax_problem *b, size_t tokens) {
    const lilac_attention_shape *shape = &a->config.shape;
    for (size_t i = 0; i < shape->batch; i++) {
        for (size_t n = 0; n < tokens; n++) {
            for (size_t h = 0; h < shape->heads; h++) {
                const lilac_attention_output *x = &a->forward.output, *y = &b->forward.output;
                assert_memory_equal(x->data + i * x->batch_stride + n * x->token_stride + h * x->head_stride,
                                    y->data + i * y->batch_stride + n * y->token_stride + h * y->head_stride,
                                    shape->value_size * sizeof(float));
            }
        }
    }
}

static void test_causal_output_does_not_depend_on_later_tokens(void **state) {
    (void)state;
    const lilac_attention_shape shape = {1, 2, 230, 230, 20, 20};
    static const size_t tokens[] = {1, 6, 63, 64, 100, 192, 229};
    for (size_t i = 0; i < combinations(); i++) {
        softmax_problem *problem = softmax_problem_create(&shape, true, NULL, dtype_of(i), SOFTMAX_STEEP, 4);
        softmax_problem_run(problem, level_of(i), 2, false);
        for (size_t j = 0; j < sizeof tokens / sizeof *tokens; j++) {
            softmax_problem *changed = softmax_problem_create(&shape, true, NULL, dtype_of(i), SOFTMAX_STEEP, 4);
            for (size_t k = tokens[j] * changed->row; k < shape.queries * changed->row; k++) {
                softmax_problem_set_input(changed, k, 50.0f);
            }
            softmax_problem_run(changed, level_of(i), 2, false);
            assert_same_outputs(problem, changed, tokens[j]);
            softmax_problem_destroy(changed);
        }
        softmax_problem_destroy(problem);
    }
}

/* What a masked key or value holds does not matter, not even a NaN; nor does it whether there are masked keys at all.
 */
static void test_masked_keys_change_nothing(void **state) {
    (void)state;
    const size_t lengths[] = {70, 200};
    const lilac_attention_shape shape = {2, 2, 90, 300, 20, 24}, shorter = {1, 2, 90, 70, 20, 24};
    for (size_t i = 0; i < combinations(); i++) {
        softmax_problem *problem = softmax_problem_create(&shape, false, lengths, dtype_of(i), SOFTMAX_UNIFORM, 5);
        softmax_problem *short_problem = softmax_problem_create(&shorter, false, NULL, dtype_of(i), SOFTMAX_UNIFORM, 5);
        const size_t masked_columns = shape.heads * shape.key_size; /* the first are the queries */
        for (size_t b = 0; b < 2; b++) {
            for (size_t n = lengths[b]; n < shape.keys; n++) {
                for (size_t c = masked_columns; c < problem->row; c++) {
                    softmax_problem_set_input(problem, (b * problem->tokens + n) * problem->row + c, NAN);
                }
            }
        }
        softmax_problem_run(problem, level_of(i), 2, true);
        memcpy(short_problem->output_gradient_data, problem->output_gradient_data,
               shape.queries * problem->forward.output.token_stride *
                   (dtype_of(i) == LILAC_ATTENTION_F32 ? sizeof(float) : sizeof(uint16_t)));
        softmax_problem_run(short_problem, level_of(i), 2, true);
        const size_t out = shape.queries * problem->forward.output.token_stride * sizeof(float);
        assert_memory_equal(problem->output_data, short_problem->output_data, out);
        for (size_t n = 0; n < shape.keys; n++) {
            const float *key = problem->backward.key_gradient.data + n * problem->row;
            const float *value = problem->backward.value_gradient.data + n * problem->row;
            for (size_t c = 0; c < masked_columns; c++) {
                const size_t at = n * problem->row + c;
                assert_true(n < 70 ? key[c] == short_problem->backward.key_gradient.data[at] : key[c] == 0.0f);
            }
            for (size_t c = 0; c < shape.heads * shape.value_size; c++) {
                const size_t at = n * problem->row + c;
                assert_true(n < 70 ? value[c] == short_problem->backward.value_gradient.data[at] : value[c] == 0.0f);
            }
        }
        softmax_problem_destroy(short_problem);
        softmax_problem_destroy(problem);
    }
}

static void test_rows_without_keys_are_zero(void **state) {
    (void)state;
    const size_t lengths[] = {0, 0};
    const lilac_attention_shape shape = {2, 2, 100, 100, 16, 16};
    for (size_t i = 0; i < 2 * combinations(); i++) {
        softmax_problem *problem =
            softmax_problem_create(&shape, i % 2 == 0, lengths, dtype_of(i / 2), SOFTMAX_UNIFORM, 6);
        softmax_problem_run(problem, level_of(i / 2), 2, true);
        softmax_problem_expect_no_keys(problem);
        softmax_problem_destroy(problem);
    }
}

static void test_order_of_keys_does_not_matter(void **state) {
    (void)state;
    enum { KEYS = 211 };
    const lilac_attention_shape shape = {1, 3, 50, KEYS, 32, 32};
    uint32_t order[KEYS];
    lilac_random_permutation(lilac_random_stream(1, LILAC_RANDOM_TEST, 0), KEYS, order);
    for (size_t i = 0; i < combinations(); i++) {
        softmax_problem *problem = softmax_problem_create(&shape, false, NULL, dtype_of(i), SOFTMAX_UNIFORM, 7);
        softmax_problem *mixed = softmax_problem_create(&shape, false, NULL, dtype_of(i), SOFTMAX_UNIFORM, 7);
        for (size_t n = 0; n < KEYS; n++) {
            for (size_t c = shape.heads * shape.key_size; c < problem->row; c++) {
                softmax_problem_set_input(mixed, order[n] * problem->row + c,
                                          softmax_problem_input(problem, n * problem->row + c));
            }
        }
        softmax_problem_solve(problem, false);
        softmax_problem_run(mixed, level_of(i), 2, false);
        memcpy(problem->output_data, mixed->output_data,
               shape.queries * problem->forward.output.token_stride * sizeof(float));
        problem->level = level_of(i);
        assert_close("output", softmax_problem_output_error(problem),
                     uniform_bound(mixed, BOUNDS[SOFTMAX_UNIFORM].output), problem);
        softmax_problem_destroy(mixed);
        softmax_problem_destroy(problem);
    }
}

static void test_threads_give_the_same_bytes(void **state) {
    (void)state;
    static const lilac_attention_shape shapes[] = {{1, 1, 900, 900, 32, 32}, {3, 5, 200, 200, 16, 20}};
    static const int threads[] = {2, 3, 7};
    static const lilac_attention_dtype dtypes[] = {LILAC_ATTENTION_F32, LILAC_ATTENTION_BF16};
    for (size_t i = 0; i < 2 * combinations(); i++) {
        const int level = level_of(i / 2);
        const lilac_attention_shape *shape = &shapes[i / 2 % 2];
        const bool causal = i / 2 % 3 == 0;
        const size_t rows = shape->batch * shape->heads * shape->queries;
        softmax_problem *one = softmax_problem_create(shape, causal, NULL, dtypes[i % 2], SOFTMAX_UNIFORM, 8);
        softmax_problem_run(one, level, 1, true);
        for (size_t j = 0; j < sizeof threads / sizeof *threads; j++) {
            softmax_problem *many = softmax_problem_create(shape, causal, NULL, dtypes[i % 2], SOFTMAX_UNIFORM, 8);
            softmax_problem_run(many, level, threads[j], true);
            assert_memory_equal(one->output_data, many->output_data,
                                shape->batch * one->forward.output.batch_stride * sizeof(float));
            assert_memory_equal(one->gradient_data, many->gradient_data,
                                shape->batch * one->tokens * one->row * sizeof(float));
            assert_memory_equal(one->log_sum_exp, many->log_sum_exp, rows * sizeof *one->log_sum_exp);
            softmax_problem_destroy(many);
        }
        softmax_problem_destroy(one);
    }
}

/* Threads of a caller's own, each with a context and a problem. */
static void test_callers_may_be_parallel(void **state) {
    (void)state;
    enum { CALLERS = 4 };
    const lilac_attention_shape shape = {1, 2, 150, 150, 16, 16};
    softmax_problem *problems[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        problems[i] = softmax_problem_create(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 11);
    }
#pragma omp parallel for num_threads(CALLERS) schedule(static, 1)
    for (int i = 0; i < CALLERS; i++) {
        softmax_problem_run(problems[i], LILAC_CPU_AVX512, 1, true);
    }
    for (int i = 1; i < CALLERS; i++) {
        assert_memory_equal(problems[0]->gradient_data, problems[i]->gradient_data,
                            shape.queries * problems[0]->row * sizeof(float));
    }
    for (int i = 0; i < CALLERS; i++) {
        softmax_problem_destroy(problems[i]);
    }
}

/* Everything a call is given, so that a test can spoil one part of it. */
typedef struct call {
    lilac_context *context;
    softmax_problem *problem;
    lilac_softmax_attention_config config;
    lilac_softmax_attention_forward_tensors forward;
    lilac_softmax_attention_backward_tensors backward;
    size_t bytes;
    void *workspace;
} call;

static int set_up_call(void **state) {
    static call made;
    const lilac_attention_shape shape = {2, 2, 5, 5, 4, 4};
    made = (call){.problem = softmax_problem_create(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 10)};
    made.config = made.problem->config;
    made.forward = made.problem->forward;
    made.backward = made.problem->backward;
    made.bytes = 1 << 24;
    made.workspace = malloc(made.bytes);
    *state = &made;
    return made.workspace == NULL || lilac_context_create(NULL, &made.context) != LILAC_OK;
}

static int tear_down_call(void **state) {
    call *made = *state;
    softmax_problem_destroy(made->problem);
    lilac_context_destroy(made->context);
    free(made->workspace);
    return 0;
}

/* Both passes must fail so, say why, and leave their outputs (NaNs) alone. */
static void assert_refused(call *made, lilac_status status) {
    assert_int_equal(
        lilac_softmax_attention_forward(made->context, &made->config, &made->forward, made->workspace, made->bytes),
        status);
    assert_true(strlen(lilac_context_message(made->context)) > 0);
    assert_int_equal(
        lilac_softmax_attention_backward(made->context, &made->config, &made->backward, made->workspace, made->bytes),
        status);
    const softmax_problem *problem = made->problem;
    for (size_t i = 0; i < 2 * 5 * problem->row; i++) {
        assert_true(isnan(problem->gradient_data[i]));
    }
    for (size_t i = 0; i < 2 * 5 * problem->forward.output.token_stride; i++) {
        assert_true(isnan(problem->output_data[i]));
    }
    made->config = problem->config;
    made->forward = problem->forward;
    made->backward = problem->backward;
}

static void test_impossible_arguments_are_refused(void **state) {
    call *made = *state;
    made->config.scale = INFINITY;
    assert_refused(made, LILAC_ERROR_ARGUMENT);
    made->forward.query.data = made->backward.query.data = NULL;
    assert_refused(made, LILAC_ERROR_ARGUMENT);
    made->forward.key.dtype = made->backward.key.dtype = (lilac_attention_dtype)7;
    assert_refused(made, LILAC_ERROR_ARGUMENT);
    made->forward.output.data = made->backward.key_gradient.data = NULL;
    assert_refused(made, LILAC_ERROR_ARGUMENT);
    void *workspace = made->workspace;
    made->workspace = NULL;
    assert_refused(made, LILAC_ERROR_ARGUMENT);
    made->workspace = workspace;
    size_t bytes;
    assert_int_equal(lilac_softmax_attention_forward_workspace_size(made->context, NULL, &bytes), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_backward_workspace_size(made->context, NULL, &bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_forward_workspace_size(made->context, &made->config, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_backward_workspace_size(made->context, &made->config, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_forward(made->context, &made->config, NULL, made->workspace, made->bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_backward(made->context, &made->config, NULL, made->workspace, made->bytes),
                     LILAC_ERROR_ARGUMENT);
    made->backward.log_sum_exp = NULL;
    assert_int_equal(
        lilac_softmax_attention_backward(made->context, &made->config, &made->backward, made->workspace, made->bytes),
        LILAC_ERROR_ARGUMENT);
}

static void test_shapes_that_do_not_fit_are_refused(void **state) {
    call *made = *state;
    const size_t lengths[] = {5, 6};
    made->config.shape.keys = 4;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->config.shape.key_size = 0;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->config.shape.value_size = 0;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->config.key_lengths = lengths;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->forward.key.token_stride = made->backward.key.token_stride = 3;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->forward.output.token_stride = made->backward.query_gradient.token_stride = 4;
    assert_refused(made, LILAC_ERROR_SHAPE);
    const size_t bytes = made->bytes;
    made->bytes = 100;
    assert_refused(made, LILAC_ERROR_SHAPE);
    made->bytes = bytes;
}

static void test_sizes_beyond_memory_are_refused(void **state) {
    call *made = *state;
    made->config.shape.queries = made->config.shape.keys = SIZE_MAX;
    assert_refused(made, LILAC_ERROR_OVERFLOW);
    made->config.shape.queries = made->config.shape.keys = SIZE_MAX / 64;
    assert_refused(made, LILAC_ERROR_OVERFLOW);
    made->config.shape.key_size = SIZE_MAX - 3;
    assert_refused(made, LILAC_ERROR_OVERFLOW);
    made->config.shape.value_size = SIZE_MAX / 8;
    assert_refused(made, LILAC_ERROR_OVERFLOW);
    made->config.shape.batch = SIZE_MAX / 2;
    made->config.shape.heads = 4;
    assert_refused(made, LILAC_ERROR_OVERFLOW);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_match_the_definition),
        cmocka_unit_test(test_head_sizes_match_the_definition),
        cmocka_unit_test(test_cross_attention_matches_the_definition),
        cmocka_unit_test(test_key_lengths_match_the_definition),
        cmocka_unit_test(test_many_heads_match_the_definition),
        cmocka_unit_test(test_long_sequences_match_the_definition),
        cmocka_unit_test(test_many_keys_match_the_definition),
        cmocka_unit_test(test_bf16_matches_the_definition),
        cmocka_unit_test(test_gradients_are_those_of_the_output),
        cmocka_unit_test(test_causal_output_does_not_depend_on_later_tokens),
        cmocka_unit_test(test_masked_keys_change_nothing),
        cmocka_unit_test(test_rows_without_keys_are_zero),
        cmocka_unit_test(test_order_of_keys_does_not_matter),
        cmocka_unit_test(test_threads_give_the_same_bytes),
        cmocka_unit_test(test_callers_may_be_parallel),
        cmocka_unit_test_setup_teardown(test_impossible_arguments_are_refused, set_up_call, tear_down_call),
        cmocka_unit_test_setup_teardown(test_shapes_that_do_not_fit_are_refused, set_up_call, tear_down_call),
        cmocka_unit_test_setup_teardown(test_sizes_beyond_memory_are_refused, set_up_call, tear_down_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
