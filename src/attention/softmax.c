/* SPDX-License-Identifier: MIT */
#include "attention/softmax.h"

#include "core/bf16.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"

#include <math.h>
#include <sched.h>
#include <string.h>

/* Heads packed at a time for each thread. */
enum { HEADS_PER_THREAD = 4, AHEAD = 12 };

void lilac_softmax_attention_config_default(const lilac_attention_shape *shape,
                                            lilac_softmax_attention_config *config) {
    const size_t size = lilac_size_max(shape->key_size, 1);
    *config = (lilac_softmax_attention_config){.shape = *shape, .scale = (float)(1.0 / sqrt((double)size))};
}

/* The sizes below that are rounded up must not wrap; nothing that large can be addressed anyway. */
static lilac_status check_sizes(lilac_context *context, const lilac_attention_shape *shape) {
    const size_t largest =
        lilac_size_max(lilac_size_max(shape->queries, shape->keys), lilac_size_max(shape->key_size, shape->value_size));
    size_t heads;
    if (largest > PTRDIFF_MAX / 2 || !lilac_size_multiply(shape->batch, shape->heads, &heads)) {
        return lilac_fail(
            context, LILAC_ERROR_OVERFLOW,
            "softmax attention: batch %zu, heads %zu, queries %zu, keys %zu, key size %zu, value size %zu "
            "cannot be addressed",
            shape->batch, shape->heads, shape->queries, shape->keys, shape->key_size, shape->value_size);
    }
    return LILAC_OK;
}

lilac_status lilac_softmax_plan_make(lilac_context *context, const lilac_softmax_attention_config *config,
                                     lilac_softmax_plan *plan) {
    if (context == NULL || config == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention: context or config is NULL");
    }
    if (!isfinite(config->scale)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention scale: expected a finite number, got %g",
                          (double)config->scale);
    }
    const lilac_attention_shape *shape = &config->shape;
    LILAC_TRY(lilac_attention_check_shape(context, shape, config->causal, config->key_lengths));
    LILAC_TRY(check_sizes(context, shape));
    plan->threads = (size_t)context->config.threads;
    plan->heads = shape->batch * shape->heads;
    plan->group = lilac_size_min(plan->heads, HEADS_PER_THREAD * plan->threads);
    plan->padded_keys = lilac_round_up(shape->keys, LILAC_SOFTMAX_PANEL);
    plan->key_blocks = lilac_round_up(shape->keys, LILAC_SOFTMAX_KEY_BLOCK) / LILAC_SOFTMAX_KEY_BLOCK;
    plan->key_stride = lilac_round_up(shape->key_size, LILAC_SOFTMAX_LANES);
    plan->value_stride = lilac_round_up(shape->value_size, LILAC_SOFTMAX_LANES);
    return LILAC_OK;
}

bool lilac_softmax_uses_tiles(const lilac_context *context, const lilac_softmax_attention_config *config) {
    return config->bf16_products && context->kernels->fast_tile_products;
}

bool lilac_softmax_uses_dot_products(const lilac_context *context, const lilac_softmax_attention_config *config) {
    return config->bf16_products && context->kernels->bf16_dot_products && !lilac_softmax_uses_tiles(context, config);
}

float *lilac_softmax_take_heads(lilac_workspace *workspace, const lilac_softmax_plan *plan, size_t rows, size_t size) {
    size_t bytes;
    if (!lilac_size_multiply(plan->group * sizeof(float), size, &bytes)) {
        bytes = SIZE_MAX; /* more than can be taken: the workspace will say so */
    }
    return lilac_workspace_take(workspace, rows, bytes);
}

lilac_softmax_scratch lilac_softmax_scratch_cut(lilac_workspace *workspace, size_t threads, size_t bytes) {
    return (lilac_softmax_scratch){
        .memory = lilac_workspace_take(workspace, threads, bytes),
        .bytes = bytes,
        .taken = lilac_workspace_take(workspace, threads, sizeof(atomic_flag)),
    };
}

void lilac_softmax_scratch_reset(const lilac_softmax_scratch *scratch, size_t threads) {
    for (size_t i = 0; i < threads; i++) {
        atomic_flag_clear(&scratch->taken[i]);
    }
}

lilac_workspace lilac_softmax_scratch_take(const lilac_softmax_scratch *scratch, size_t *index) {
    /* There are as many as threads that may be here, so one is free. */
    size_t free = 0;
    while (atomic_flag_test_and_set(&scratch->taken[free])) {
        free++;
    }
    *index = free;
    return (lilac_workspace){.memory = scratch->memory + free * scratch->bytes};
}

void lilac_softmax_scratch_give(const lilac_softmax_scratch *scratch, size_t index) {
    atomic_flag_clear(&scratch->taken[index]);
}

void lilac_softmax_await(atomic_size_t *counter, size_t value) {
    enum { SPINS = 1000 }; /* looks at it before the processor is given away */
    for (size_t spins = 0; atomic_load_explicit(counter, memory_order_acquire) != value; spins++) {
        if (spins >= SPINS) {
            sched_yield();
        }
    }
}

size_t lilac_softmax_visible_keys(const lilac_softmax_attention_config *config, size_t head) {
    return config->key_lengths == NULL ? config->shape.keys : config->key_lengths[head / config->shape.heads];
}

lilac_softmax_key_range lilac_softmax_keys_from(const lilac_softmax_attention_config *config, size_t first_head,
                                                size_t slot, size_t first, size_t most) {
    lilac_softmax_key_range range = {.slot = slot, .head = first_head + slot, .first = first};
    const size_t visible = lilac_softmax_visible_keys(config, range.head);
    range.keys = visible > first ? lilac_size_min(most, visible - first) : 0;
    return range;
}

float lilac_softmax_row_sum(const float *sums) {
    float sum = 0.0f;
    for (size_t i = 0; i < LILAC_SOFTMAX_LANES; i++) {
        sum += sums[i];
    }
    return sum;
}

/* Rows are often a page apart, which no processor foresees. */
static void prefetch_row(const char *row, lilac_attention_dtype dtype, size_t size) {
    const size_t bytes = size * (dtype == LILAC_ATTENTION_F32 ? sizeof(float) : sizeof(uint16_t));
    for (size_t i = 0; i < bytes; i += LILAC_ALIGNMENT) {
        __builtin_prefetch(row + i);
    }
}

static void load_row(const void *row, lilac_attention_dtype dtype, size_t size, float *y) {
    if (dtype == LILAC_ATTENTION_F32) {
        memcpy(y, row, size * sizeof(float));
        return;
    }
    const uint16_t *halves = row;
    for (size_t i = 0; i < size; i++) {
        y[i] = lilac_float_from_bf16(halves[i]);
    }
}

void lilac_softmax_load_rows(const lilac_softmax_attention_config *config, const lilac_attention_input *x, size_t head,
                             size_t n, size_t count, size_t padded, size_t size, float *y, size_t ldy) {
    const size_t b = head / config->shape.heads, h = head % config->shape.heads;
    for (size_t r = 0; r < count; r++) {
        if (r + AHEAD < count) {
            prefetch_row(lilac_attention_input_row(x, b, n + r + AHEAD, h), x->dtype, size);
        }
        load_row(lilac_attention_input_row(x, b, n + r, h), x->dtype, size, y + r * ldy);
        memset(y + r * ldy + size, 0, (ldy - size) * sizeof(float));
    }
    memset(y + count * ldy, 0, (padded - count) * ldy * sizeof(float));
}

void lilac_softmax_round_rows(const lilac_elementwise_kernels *kernels, const lilac_softmax_attention_config *config,
                              const lilac_attention_input *x, size_t head, size_t n, size_t count, size_t padded,
                              size_t size, uint16_t *y, size_t ldy) {
    const size_t b = head / config->shape.heads, h = head % config->shape.heads;
    const size_t whole = size == ldy ? count : 0; /* rows that will be written from end to end */
    memset(y + whole * ldy, 0, (padded - whole) * ldy * sizeof *y);
    for (size_t r = 0; r < count; r += AHEAD) {
        const size_t rows = lilac_size_min(AHEAD, count - r);
        const void *row = lilac_attention_input_row(x, b, n + r, h);
        for (size_t next = r + AHEAD; next < count && next < r + 2 * AHEAD; next++) {
            prefetch_row(lilac_attention_input_row(x, b, n + next, h), x->dtype, size);
        }
        if (x->dtype == LILAC_ATTENTION_F32) {
            kernels->float_to_bf16(rows, size, row, x->token_stride, y + r * ldy, ldy);
            continue;
        }
        for (size_t i = 0; i < rows; i++) {
            memcpy(y + (r + i) * ldy, (const uint16_t *)row + i * x->token_stride, size * sizeof *y);
        }
    }
}

void lilac_softmax_store_rows(const lilac_softmax_attention_config *config, const float *x, size_t ldx, float factor,
                              const lilac_attention_output *y, size_t head, size_t n, size_t count, size_t size) {
    const size_t b = head / config->shape.heads, h = head % config->shape.heads;
    for (size_t r = 0; r < count; r++) {
        float *row = lilac_attention_output_row(y, b, n + r, h);
        for (size_t i = 0; i < size; i++) {
            row[i] = x[r * ldx + i] * factor;
        }
    }
}
