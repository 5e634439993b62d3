/* SPDX-License-Identifier: MIT */
#include "support/softmax_problem.h"

#include "core/bf16.h"
#include "core/random.h"
#include "kernels/kernel_table.h"
#include "runtime/context.h"
#include "support/levels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four headers above it. */
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 3, GUARD = 64 };

/* Gradients that would be 0 in exact arithmetic are compared with the size of the terms they are sums of. */
static double gradient_floor(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    if (problem->kind == SOFTMAX_EQUAL) {
        return 0.5 * (double)shape->value_size;
    }
    return 0.1 * fmax(1.0, sqrt((double)shape->queries) / fmax(1.0, (double)shape->keys));
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count == 0 ? 1 : count, size);
    assert_non_null(memory);
    return memory;
}

static float *allocate_nans(size_t count) {
    float *x = allocate(count, sizeof *x);
    for (size_t i = 0; i < count; i++) {
        x[i] = NAN;
    }
    return x;
}

static float draw(softmax_inputs inputs, uint32_t word, bool is_value) {
    const float x = (float)((double)word / 0x1p31 - 1.0) * 1.7f;
    switch (inputs) {
    case SOFTMAX_STEEP:
        return is_value ? x : x * 12.0f;
    case SOFTMAX_EQUAL:
        return 0.7f;
    case SOFTMAX_DENORMAL:
        return is_value ? x * 0x1p-128f : x;
    default:
        return x;
    }
}

static void fill(void *data, lilac_attention_dtype dtype, size_t row, size_t used, size_t values_from, size_t rows,
                 softmax_inputs inputs, uint64_t seed) {
    lilac_random random = lilac_random_stream(seed, LILAC_RANDOM_TEST, 0);
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t i = 0; i < rows * row; i++) {
        if (i % LILAC_RANDOM_GROUP == 0) {
            lilac_random_group(&random, words);
            random.group++;
        }
        const float x =
            i % row < used ? draw(inputs, words[i % LILAC_RANDOM_GROUP], i % row >= values_from) : (float)NAN;
        if (dtype == LILAC_ATTENTION_F32) {
            ((float *)data)[i] = x;
        } else {
            ((uint16_t *)data)[i] = lilac_bf16_from_float(x);
        }
    }
}

/* Points the tensors at the parts of the fused rows. */
static void connect(softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const size_t D = shape->key_size, M = shape->value_size, H = shape->heads, row = problem->row;
    const size_t out_row = H * M + GAP, item = problem->dtype == LILAC_ATTENTION_F32 ? sizeof(float) : sizeof(uint16_t);
    char *inputs = problem->inputs;
    const lilac_attention_input query = {inputs, problem->dtype, problem->tokens * row, row, D};
    lilac_attention_input key = query, value = query;
    key.data = inputs + H * D * item;
    value.data = inputs + 2 * H * D * item;
    value.head_stride = M;
    const lilac_attention_output output = {problem->output_data, shape->queries * out_row, out_row, M};
    const lilac_attention_output query_gradient = {problem->gradient_data, problem->tokens * row, row, D};
    lilac_attention_output key_gradient = query_gradient, value_gradient = query_gradient;
    key_gradient.data += H * D;
    value_gradient.data += 2 * H * D;
    value_gradient.head_stride = M;
    problem->forward = (lilac_softmax_attention_forward_tensors){query, key, value, output, problem->log_sum_exp};
    problem->backward = (lilac_softmax_attention_backward_tensors){
        .query = query,
        .key = key,
        .value = value,
        .output = {output.data, LILAC_ATTENTION_F32, output.batch_stride, output.token_stride, M},
        .log_sum_exp = problem->log_sum_exp,
        .output_gradient = {problem->output_gradient_data, problem->dtype, output.batch_stride, output.token_stride, M},
        .query_gradient = query_gradient,
        .key_gradient = key_gradient,
        .value_gradient = value_gradient,
    };
}

softmax_problem *softmax_problem_create(const lilac_attention_shape *shape, bool causal, const size_t *key_lengths,
                                        lilac_attention_dtype dtype, softmax_inputs inputs, uint64_t seed) {
    softmax_problem *problem = allocate(1, sizeof *problem);
    lilac_softmax_attention_config_default(shape, &problem->config);
    problem->config.causal = causal;
    problem->dtype = dtype;
    problem->kind = inputs;
    if (key_lengths != NULL) {
        problem->lengths = allocate(shape->batch, sizeof *problem->lengths);
        memcpy(problem->lengths, key_lengths, shape->batch * sizeof *problem->lengths);
        problem->config.key_lengths = problem->lengths;
    }
    const size_t item = dtype == LILAC_ATTENTION_F32 ? sizeof(float) : sizeof(uint16_t);
    const size_t D = shape->key_size, M = shape->value_size, H = shape->heads;
    problem->tokens = shape->queries > shape->keys ? shape->queries : shape->keys;
    problem->row = H * (2 * D + M) + GAP;
    const size_t out_row = H * M + GAP, rows = shape->batch * problem->tokens, out_rows = shape->batch * shape->queries;
    problem->inputs = allocate(rows * problem->row, item);
    problem->output_gradient_data = allocate(out_rows * out_row, item);
    fill(problem->inputs, dtype, problem->row, problem->row - GAP, 2 * H * D, rows, inputs, seed);
    fill(problem->output_gradient_data, dtype, out_row, out_row - GAP, 0, out_rows,
         inputs == SOFTMAX_STEEP ? SOFTMAX_UNIFORM : inputs, seed + 1);
    problem->output_data = allocate_nans(out_rows * out_row);
    /* Guards before and after it: NaNs, too. */
    problem->log_sum_exp = allocate_nans(out_rows * H + 2 * GUARD) + GUARD;
    problem->gradient_data = allocate_nans(rows * problem->row);
    connect(problem);
    return problem;
}

void softmax_doubles_release(softmax_doubles *doubles) {
    double *all[] = {doubles->query,           doubles->key,          doubles->value,
                     doubles->output_gradient, doubles->output,       doubles->log_sum_exp,
                     doubles->query_gradient,  doubles->key_gradient, doubles->value_gradient};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
    *doubles = (softmax_doubles){0};
}

void softmax_problem_destroy(softmax_problem *problem) {
    softmax_doubles_release(&problem->exact);
    free(problem->lengths);
    free(problem->inputs);
    free(problem->output_gradient_data);
    free(problem->output_data);
    free(problem->log_sum_exp - GUARD);
    free(problem->gradient_data);
    free(problem);
}

static void assert_gaps(const float *data, size_t rows, size_t row) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = row - GAP; i < row; i++) {
            assert_true(isnan(data[r * row + i]));
        }
    }
}

/* A workspace at an odd address with bytes behind it that must stay. */
static char *make_workspace(size_t bytes, char **base) {
    *base = allocate(bytes + 1 + GUARD, 1);
    memset(*base, 0xC3, bytes + 1 + GUARD);
    return *base + 1;
}

static void check_workspace(char *base, size_t bytes) {
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal((unsigned char)base[1 + bytes + i], 0xC3);
    }
    free(base);
}

static void check_log_sum_exp(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const float *end = problem->log_sum_exp + shape->batch * shape->heads * shape->queries;
    for (size_t i = 0; i < GUARD; i++) {
        assert_true(isnan(problem->log_sum_exp[(ptrdiff_t)i - GUARD]) && isnan(end[i]));
    }
}

void softmax_problem_run_on(softmax_problem *problem, lilac_context *context, bool backward) {
    const lilac_attention_shape *shape = &problem->config.shape;
    size_t bytes;
    char *base;
    problem->rounded = problem->forward.query.dtype == LILAC_ATTENTION_BF16 && context->kernels->bf16_dot_products;
    assert_int_equal(lilac_softmax_attention_forward_workspace_size(context, &problem->config, &bytes), LILAC_OK);
    void *workspace = make_workspace(bytes, &base);
    assert_int_equal(lilac_softmax_attention_forward(context, &problem->config, &problem->forward, workspace, bytes),
                     LILAC_OK);
    check_workspace(base, bytes);
    check_log_sum_exp(problem);
    assert_gaps(problem->output_data, shape->batch * shape->queries, shape->heads * shape->value_size + GAP);
    if (backward) {
        assert_int_equal(lilac_softmax_attention_backward_workspace_size(context, &problem->config, &bytes), LILAC_OK);
        workspace = make_workspace(bytes, &base);
        assert_int_equal(
            lilac_softmax_attention_backward(context, &problem->config, &problem->backward, workspace, bytes),
            LILAC_OK);
        check_workspace(base, bytes);
        assert_gaps(problem->gradient_data, shape->batch * problem->tokens, problem->row);
    }
}

void softmax_problem_run(softmax_problem *problem, int level, int threads, bool backward) {
    lilac_context *context = lilac_test_context_create(level, threads);
    problem->level = level;
    softmax_problem_run_on(problem, context, backward);
    lilac_context_destroy(context);
}

float softmax_problem_input(const softmax_problem *problem, size_t i) {
    return problem->dtype == LILAC_ATTENTION_F32 ? ((float *)problem->inputs)[i]
                                                 : lilac_float_from_bf16(((uint16_t *)problem->inputs)[i]);
}

void softmax_problem_set_input(softmax_problem *problem, size_t i, float value) {
    if (problem->dtype == LILAC_ATTENTION_F32) {
        ((float *)problem->inputs)[i] = value;
    } else {
        ((uint16_t *)problem->inputs)[i] = lilac_bf16_from_float(value);
    }
}

/* A tensor as doubles without gaps. */
static double *to_doubles(const lilac_attention_input *x, const lilac_attention_shape *shape, size_t tokens,
                          size_t size) {
    double *y = allocate(shape->batch * tokens * shape->heads * size, sizeof *y), *next = y;
    for (size_t b = 0; b < shape->batch; b++) {
        for (size_t n = 0; n < tokens; n++) {
            for (size_t h = 0; h < shape->heads; h++) {
                const size_t at = b * x->batch_stride + n * x->token_stride + h * x->head_stride;
                for (size_t i = 0; i < size; i++) {
                    *next++ = x->dtype == LILAC_ATTENTION_F32
                                  ? ((const float *)x->data)[at + i]
                                  : lilac_float_from_bf16(((const uint16_t *)x->data)[at + i]);
                }
            }
        }
    }
    return y;
}

static double dot(const double *x, const double *y, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

static void add(double factor, const double *x, double *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] += factor * x[i];
    }
}

/* The row of query n of head (b, h): probabilities p of its `count` keys, output and log-sum-exp. */
static void solve_row(softmax_problem *problem, size_t b, size_t h, size_t n, size_t count, double *p) {
    const lilac_attention_shape *shape = &problem->config.shape;
    softmax_doubles *exact = &problem->exact;
    const size_t D = shape->key_size, M = shape->value_size, H = shape->heads;
    const double *q = exact->query + ((b * shape->queries + n) * H + h) * D;
    double *out = exact->output + ((b * shape->queries + n) * H + h) * M, maximum = -INFINITY, sum = 0.0;
    for (size_t k = 0; k < count; k++) {
        p[k] = problem->config.scale * dot(q, exact->key + ((b * shape->keys + k) * H + h) * D, D);
        maximum = fmax(maximum, p[k]);
    }
    for (size_t k = 0; k < count; k++) {
        p[k] = exp(p[k] - maximum);
        sum += p[k];
    }
    memset(out, 0, M * sizeof *out);
    for (size_t k = 0; k < count; k++) {
        p[k] /= sum;
        add(p[k], exact->value + ((b * shape->keys + k) * H + h) * M, out, M);
    }
    exact->log_sum_exp[(b * H + h) * shape->queries + n] = count == 0 ? -INFINITY : maximum + log(sum);
}

static void solve_row_gradients(softmax_problem *problem, size_t b, size_t h, size_t n, size_t count, const double *p) {
    const lilac_attention_shape *shape = &problem->config.shape;
    softmax_doubles *exact = &problem->exact;
    const size_t D = shape->key_size, M = shape->value_size, H = shape->heads;
    const size_t row = (b * shape->queries + n) * H + h;
    const double *g = exact->output_gradient + row * M, delta = dot(g, exact->output + row * M, M);
    for (size_t k = 0; k < count; k++) {
        const size_t key = (b * shape->keys + k) * H + h;
        const double ds = problem->config.scale * p[k] * (dot(g, exact->value + key * M, M) - delta);
        add(p[k], g, exact->value_gradient + key * M, M);
        add(ds, exact->key + key * D, exact->query_gradient + row * D, D);
        add(ds, exact->query + row * D, exact->key_gradient + key * D, D);
    }
}

void softmax_problem_solve(softmax_problem *problem, bool backward) {
    const lilac_attention_shape *shape = &problem->config.shape;
    softmax_doubles *exact = &problem->exact;
    const size_t N = shape->queries, D = shape->key_size, M = shape->value_size, heads = shape->batch * shape->heads;
    softmax_doubles_release(exact);
    exact->query = to_doubles(&problem->forward.query, shape, N, D);
    exact->key = to_doubles(&problem->forward.key, shape, shape->keys, D);
    exact->value = to_doubles(&problem->forward.value, shape, shape->keys, M);
    exact->output_gradient = to_doubles(&problem->backward.output_gradient, shape, N, M);
    exact->output = allocate(heads * N * M, sizeof(double));
    exact->log_sum_exp = allocate(heads * N, sizeof(double));
    exact->query_gradient = allocate(heads * N * D, sizeof(double));
    exact->key_gradient = allocate(heads * shape->keys * D, sizeof(double));
    exact->value_gradient = allocate(heads * shape->keys * M, sizeof(double));
    double *p = allocate(shape->keys, sizeof *p);
    for (size_t b = 0; b < shape->batch; b++) {
        const size_t length = problem->lengths == NULL ? shape->keys : problem->lengths[b];
        for (size_t h = 0; h < shape->heads; h++) {
            for (size_t n = 0; n < N; n++) {
                const size_t count = problem->config.causal && n + 1 < length ? n + 1 : length;
                solve_row(problem, b, h, n, count, p);
                if (backward) {
                    solve_row_gradients(problem, b, h, n, count, p);
                }
            }
        }
    }
    free(p);
}

lilac_attention_input softmax_problem_input_from(const lilac_attention_input *input, size_t token) {
    lilac_attention_input from = *input;
    const size_t item = input->dtype == LILAC_ATTENTION_F32 ? sizeof(float) : sizeof(uint16_t);
    from.data = (const char *)input->data + token * input->token_stride * item;
    return from;
}

double softmax_problem_error(const softmax_problem *problem, const float *result, size_t batch_stride,
                             size_t token_stride, size_t head_stride, size_t tokens, size_t size, const double *exact,
                             double least) {
    const lilac_attention_shape *shape = &problem->config.shape;
    double error = 0.0, norm = 0.0;
    for (size_t b = 0; b < shape->batch; b++) {
        for (size_t n = 0; n < tokens; n++) {
            for (size_t h = 0; h < shape->heads; h++) {
                for (size_t i = 0; i < size; i++, exact++) {
                    const double difference =
                        result[b * batch_stride + n * token_stride + h * head_stride + i] - *exact;
                    /* Numbers below the smallest normal one may count as zero. */
                    error += fabs(difference) < (double)FLT_MIN ? 0.0 : difference * difference;
                    norm += *exact * *exact;
                }
            }
        }
    }
    const double count = (double)(shape->batch * tokens * shape->heads * size);
    const double scale = fmax(sqrt(norm), least * sqrt(count));
    return error == 0.0 ? 0.0 : sqrt(error) / scale;
}

double softmax_problem_output_error(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const lilac_attention_output *out = &problem->forward.output;
    return softmax_problem_error(problem, out->data, out->batch_stride, out->token_stride, out->head_stride,
                                 shape->queries, shape->value_size, problem->exact.output, 0.0);
}

double softmax_problem_gradient_error(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const lilac_attention_output *dq = &problem->backward.query_gradient, *dk = &problem->backward.key_gradient;
    const lilac_attention_output *dv = &problem->backward.value_gradient;
    const double least = gradient_floor(problem);
    const double query = softmax_problem_error(problem, dq->data, dq->batch_stride, dq->token_stride, dq->head_stride,
                                               shape->queries, shape->key_size, problem->exact.query_gradient, least);
    const double key = softmax_problem_error(problem, dk->data, dk->batch_stride, dk->token_stride, dk->head_stride,
                                             shape->keys, shape->key_size, problem->exact.key_gradient, least);
    const double value = softmax_problem_error(problem, dv->data, dv->batch_stride, dv->token_stride, dv->head_stride,
                                               shape->keys, shape->value_size, problem->exact.value_gradient, least);
    return isnan(query + key + value) ? NAN : fmax(query, fmax(key, value));
}

void softmax_problem_expect_no_keys(const softmax_problem *problem) {
    const lilac_attention_shape *shape = &problem->config.shape;
    const size_t H = shape->heads, queries = shape->batch * shape->queries, used = H * shape->value_size;
    const size_t out_row = problem->forward.output.token_stride;
    for (size_t i = 0; i < queries * out_row; i++) {
        assert_true(i % out_row >= used || problem->output_data[i] == 0.0f);
    }
    for (size_t i = 0; i < shape->batch * problem->tokens * problem->row; i++) {
        assert_true(i % problem->row >= problem->row - GAP || problem->gradient_data[i] == 0.0f);
    }
    for (size_t i = 0; i < queries * H; i++) {
        assert_true(problem->log_sum_exp[i] == -INFINITY);
    }
}
