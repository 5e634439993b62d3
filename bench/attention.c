/* SPDX-License-Identifier: MIT */
#include "attention.h"

#include "core/bf16.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "runtime/context.h"
#include "runtime/parallel.h"

#include <lilac/attention.h>

enum { FILL_GRAIN = 256 };

static const double time_to_spend = 0.3; /* seconds */

/* All that the timed runs work on. */
typedef struct {
    lilac_context *context;
    const lilac_bench_attention_config *config;
    lilac_linear_attention_config linear;
    lilac_softmax_attention_config softmax;
    void *query, *key, *value;
    float *output, *saved, *output_gradient, *query_gradient, *key_gradient, *value_gradient;
    void *workspace;
    size_t saved_count, workspace_bytes;
} attention_bench;

static void end_bench(attention_bench *bench) {
    lilac_memory_free(bench->query);
    lilac_memory_free(bench->key);
    lilac_memory_free(bench->value);
    lilac_memory_free(bench->output);
    lilac_memory_free(bench->saved);
    lilac_memory_free(bench->output_gradient);
    lilac_memory_free(bench->query_gradient);
    lilac_memory_free(bench->key_gradient);
    lilac_memory_free(bench->value_gradient);
    lilac_memory_free(bench->workspace);
}

static lilac_status allocate(lilac_context *context, size_t count, size_t size, void **out) {
    *out = lilac_memory_allocate(lilac_size_max(count, 1), size);
    return *out == NULL ? lilac_fail_memory(context, "timing attention", count * size) : LILAC_OK;
}

static lilac_status allocate_floats(lilac_context *context, size_t count, float **out) {
    void *memory;
    LILAC_TRY(allocate(context, count, sizeof(float), &memory));
    *out = memory;
    return LILAC_OK;
}

/* A tensor to be filled with random numbers. */
typedef struct {
    lilac_random random;
    size_t count;
    float *floats;
    uint16_t *halves; /* or bf16 */
} filling;

static void fill_groups(void *argument, size_t begin, size_t end) {
    const filling *tensor = argument;
    lilac_random random = tensor->random;
    uint32_t words[LILAC_RANDOM_GROUP];
    for (random.group = begin; random.group < end; random.group++) {
        lilac_random_group(&random, words);
        const size_t first = (size_t)random.group * LILAC_RANDOM_GROUP;
        for (size_t i = 0; i < LILAC_RANDOM_GROUP && first + i < tensor->count; i++) {
            const float number = (float)(words[i] >> 8) * 0x1p-23f - 1.0f;
            if (tensor->halves != NULL) {
                tensor->halves[first + i] = lilac_bf16_from_float(number);
            } else {
                tensor->floats[first + i] = number;
            }
        }
    }
}

/* A new tensor of numbers from -1 to 1, which depend on the stream alone. */
static lilac_status create_random(lilac_context *context, uint64_t stream, size_t count, bool bf16, void **out) {
    LILAC_TRY(allocate(context, count, bf16 ? sizeof(uint16_t) : sizeof(float), out));
    filling tensor = {.random = lilac_random_stream(0, LILAC_RANDOM_TEST, stream), .count = count};
    if (bf16) {
        tensor.halves = *out;
    } else {
        tensor.floats = *out;
    }
    lilac_parallel_for(context, (count + LILAC_RANDOM_GROUP - 1) / LILAC_RANDOM_GROUP, FILL_GRAIN, fill_groups,
                       &tensor);
    return LILAC_OK;
}

/* What the passes need beside their tensors. */
static lilac_status find_sizes(attention_bench *bench) {
    lilac_context *context = bench->context;
    const lilac_bench_attention_config *config = bench->config;
    size_t backward_bytes = 0;
    if (config->kind == LILAC_BENCH_LINEAR) {
        LILAC_TRY(lilac_linear_attention_forward_workspace_size(context, &bench->linear, &bench->workspace_bytes));
        if (config->backward) {
            LILAC_TRY(lilac_linear_attention_backward_workspace_size(context, &bench->linear, &backward_bytes));
            LILAC_TRY(lilac_linear_attention_saved_size(context, &bench->linear, &bench->saved_count));
        }
    } else {
        LILAC_TRY(lilac_softmax_attention_forward_workspace_size(context, &bench->softmax, &bench->workspace_bytes));
        if (config->backward) {
            LILAC_TRY(lilac_softmax_attention_backward_workspace_size(context, &bench->softmax, &backward_bytes));
            bench->saved_count = config->batch * config->heads * config->tokens;
        }
    }
    bench->workspace_bytes = lilac_size_max(bench->workspace_bytes, backward_bytes);
    return LILAC_OK;
}

static lilac_status begin_bench(attention_bench *bench) {
    lilac_context *context = bench->context;
    const lilac_bench_attention_config *config = bench->config;
    const lilac_attention_shape shape = {.batch = config->batch,
                                         .heads = config->heads,
                                         .queries = config->tokens,
                                         .keys = config->tokens,
                                         .key_size = config->key_size,
                                         .value_size = config->value_size};
    lilac_linear_attention_config_default(&shape, &bench->linear);
    lilac_softmax_attention_config_default(&shape, &bench->softmax);
    bench->linear.causal = bench->softmax.causal = config->causal;
    size_t rows, keys, values;
    if (!lilac_size_multiply(config->batch, config->heads, &rows) ||
        !lilac_size_multiply(rows, config->tokens, &rows) || !lilac_size_multiply(rows, config->key_size, &keys) ||
        !lilac_size_multiply(rows, config->value_size, &values)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "timing attention: tensors too large to address");
    }
    LILAC_TRY(find_sizes(bench));
    LILAC_TRY(create_random(context, 0, keys, config->bf16, &bench->query));
    LILAC_TRY(create_random(context, 1, keys, config->bf16, &bench->key));
    LILAC_TRY(create_random(context, 2, values, config->bf16, &bench->value));
    LILAC_TRY(allocate_floats(context, values, &bench->output));
    if (config->backward) {
        void *gradient;
        LILAC_TRY(create_random(context, 3, values, false, &gradient));
        bench->output_gradient = gradient;
        LILAC_TRY(allocate_floats(context, bench->saved_count, &bench->saved));
        LILAC_TRY(allocate_floats(context, keys, &bench->query_gradient));
        LILAC_TRY(allocate_floats(context, keys, &bench->key_gradient));
        LILAC_TRY(allocate_floats(context, values, &bench->value_gradient));
    }
    return allocate(context, bench->workspace_bytes, 1, &bench->workspace);
}

/* Tensors (B, N, H, size) without gaps. */
static lilac_attention_input input(const attention_bench *bench, const void *data, bool bf16, size_t size) {
    const size_t row = bench->config->heads * size;
    return (lilac_attention_input){.data = data,
                                   .dtype = bf16 ? LILAC_ATTENTION_BF16 : LILAC_ATTENTION_F32,
                                   .batch_stride = bench->config->tokens * row,
                                   .token_stride = row,
                                   .head_stride = size};
}

static lilac_attention_output output(const attention_bench *bench, float *data, size_t size) {
    const size_t row = bench->config->heads * size;
    return (lilac_attention_output){
        .data = data, .batch_stride = bench->config->tokens * row, .token_stride = row, .head_stride = size};
}

static lilac_status run_linear(const attention_bench *bench) {
    const lilac_bench_attention_config *config = bench->config;
    const size_t D = config->key_size, M = config->value_size;
    const lilac_linear_attention_forward_tensors forward = {.query = input(bench, bench->query, config->bf16, D),
                                                            .key = input(bench, bench->key, config->bf16, D),
                                                            .value = input(bench, bench->value, config->bf16, M),
                                                            .output = output(bench, bench->output, M),
                                                            .saved = bench->saved};
    LILAC_TRY(lilac_linear_attention_forward(bench->context, &bench->linear, &forward, bench->workspace,
                                             bench->workspace_bytes));
    if (!config->backward) {
        return LILAC_OK;
    }
    const lilac_linear_attention_backward_tensors backward = {
        .query = forward.query,
        .key = forward.key,
        .value = forward.value,
        .output = input(bench, bench->output, false, M),
        .saved = bench->saved,
        .output_gradient = input(bench, bench->output_gradient, false, M),
        .query_gradient = output(bench, bench->query_gradient, D),
        .key_gradient = output(bench, bench->key_gradient, D),
        .value_gradient = output(bench, bench->value_gradient, M)};
    return lilac_linear_attention_backward(bench->context, &bench->linear, &backward, bench->workspace,
                                           bench->workspace_bytes);
}

static lilac_status run_softmax(const attention_bench *bench) {
    const lilac_bench_attention_config *config = bench->config;
    const size_t D = config->key_size, M = config->value_size;
    const lilac_softmax_attention_forward_tensors forward = {.query = input(bench, bench->query, config->bf16, D),
                                                             .key = input(bench, bench->key, config->bf16, D),
                                                             .value = input(bench, bench->value, config->bf16, M),
                                                             .output = output(bench, bench->output, M),
                                                             .log_sum_exp = bench->saved};
    LILAC_TRY(lilac_softmax_attention_forward(bench->context, &bench->softmax, &forward, bench->workspace,
                                              bench->workspace_bytes));
    if (!config->backward) {
        return LILAC_OK;
    }
    const lilac_softmax_attention_backward_tensors backward = {
        .query = forward.query,
        .key = forward.key,
        .value = forward.value,
        .output = input(bench, bench->output, false, M),
        .log_sum_exp = bench->saved,
        .output_gradient = input(bench, bench->output_gradient, false, M),
        .query_gradient = output(bench, bench->query_gradient, D),
        .key_gradient = output(bench, bench->key_gradient, D),
        .value_gradient = output(bench, bench->value_gradient, M)};
    return lilac_softmax_attention_backward(bench->context, &bench->softmax, &backward, bench->workspace,
                                            bench->workspace_bytes);
}

/* Linear: 2 products of D x M a token forward, 5 backward. Softmax: 2 products of size D or M a pair of tokens forward,
 * 5 backward; the causal form has half of the pairs. */
static double count_operations(const lilac_bench_attention_config *config) {
    const double N = (double)config->tokens, D = (double)config->key_size, M = (double)config->value_size;
    double operations;
    if (config->kind == LILAC_BENCH_LINEAR) {
        operations = N * D * M * (config->backward ? 14.0 : 4.0);
    } else {
        operations = N * N * (config->backward ? 8.0 * D + 6.0 * M : 2.0 * D + 2.0 * M) * (config->causal ? 0.5 : 1.0);
    }
    return (double)config->batch * (double)config->heads * operations;
}

static lilac_status time_runs(const attention_bench *bench, lilac_bench_attention_figures *out) {
    double fastest = 0.0, spent = 0.0;
    for (size_t count = 0; count < 2 || spent < time_to_spend; count++) {
        const double start = lilac_clock_seconds();
        LILAC_TRY(bench->config->kind == LILAC_BENCH_LINEAR ? run_linear(bench) : run_softmax(bench));
        const double seconds = lilac_clock_seconds() - start;
        fastest = count == 0 || seconds < fastest ? seconds : fastest;
        spent += seconds;
    }
    *out = (lilac_bench_attention_figures){.seconds = fastest,
                                           .operations = count_operations(bench->config),
                                           .extra_bytes = bench->workspace_bytes + bench->saved_count * sizeof(float)};
    return LILAC_OK;
}

lilac_status lilac_bench_attention(lilac_context *context, const lilac_bench_attention_config *config,
                                   lilac_bench_attention_figures *out) {
    if (context == NULL || config == NULL || out == NULL || config->batch == 0 || config->heads == 0 ||
        config->tokens == 0 || config->key_size == 0 || config->value_size == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "timing attention: a null pointer or a size of 0");
    }
    attention_bench bench = {.context = context, .config = config};
    lilac_status status = begin_bench(&bench);
    if (status == LILAC_OK) {
        status = time_runs(&bench, out);
    }
    end_bench(&bench);
    return status;
}
