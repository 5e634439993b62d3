/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention over whole sequences, backward. A task takes one block of keys through all blocks of queries and so
 * has the gradients of its keys and values to itself; those of a block of queries are a sum over tasks, added up in the
 * order of the keys.
 */
#include "attention/softmax.h"
#include "attention/softmax_tiles.h"
#include "core/bf16.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    QUERY_BLOCK = 96, /* a multiple of LILAC_SOFTMAX_ROWS */
    KEY_BLOCK = LILAC_SOFTMAX_KEY_BLOCK
};

/* What one thread needs: a block of keys and values, and its work on a block of queries. What is void is floats, or in
 * bf16: panels then, and keys as pairs, have D and M rounded up to whole pairs. */
typedef struct scratch {
    void *keys;                     /* [KEY_BLOCK][key_stride], as pairs if bf16 */
    void *key_panels;               /* [KEY_BLOCK][D], as panels */
    void *value_panels;             /* [KEY_BLOCK][M], as panels */
    float *key_gradients;           /* [KEY_BLOCK][key_stride], before the scale */
    float *value_gradients;         /* [KEY_BLOCK][value_stride] */
    float *probabilities;           /* [QUERY_BLOCK][LILAC_SOFTMAX_SCORE_STRIDE] */
    void *score_gradients;          /* [QUERY_BLOCK][LILAC_SOFTMAX_SCORE_STRIDE] */
    uint16_t *probability_pairs;    /* if bf16: as many */
    uint16_t *score_gradient_pairs; /* if bf16: as many */
} scratch;

typedef struct backward_pass {
    const lilac_softmax_attention_kernels *kernels;
    const lilac_elementwise_kernels *rounding;
    const lilac_softmax_attention_config *config;
    const lilac_softmax_attention_backward_tensors *tensors;
    lilac_softmax_plan plan;
    bool bf16;                           /* operands of products are rounded */
    size_t query_blocks, padded_queries; /* of a head; queries rounded up to whole blocks */
    float *queries;                      /* [group][padded_queries][key_stride]: see query_rows */
    float *output_gradients;             /* [group][padded_queries][value_stride] */
    float *query_gradients;              /* [group][padded_queries][key_stride], before the scale */
    float *offsets;       /* [group][padded_queries]: log-sum-exp in log2; INFINITY for a row without keys */
    float *deltas;        /* [group][padded_queries]: output . its gradient */
    atomic_size_t *added; /* [group][query_blocks]: blocks of keys that are in query_gradients */
    lilac_softmax_scratch scratch;
    size_t first_head;       /* of the group being worked on */
    size_t group;            /* its number of heads */
    atomic_size_t next_task; /* of the group */
} backward_pass;

static scratch take_scratch(const backward_pass *pass, lilac_workspace *workspace) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t bytes = KEY_BLOCK * sizeof(float);
    scratch own;
    own.keys = lilac_workspace_take(workspace, bytes, pass->plan.key_stride);
    own.key_panels = lilac_workspace_take(workspace, bytes, shape->key_size);
    own.value_panels = lilac_workspace_take(workspace, bytes, shape->value_size);
    own.key_gradients = lilac_workspace_take(workspace, bytes, pass->plan.key_stride);
    own.value_gradients = lilac_workspace_take(workspace, bytes, pass->plan.value_stride);
    own.probabilities = lilac_workspace_take(workspace, QUERY_BLOCK * LILAC_SOFTMAX_SCORE_STRIDE, sizeof(float));
    own.score_gradients = lilac_workspace_take(workspace, QUERY_BLOCK * LILAC_SOFTMAX_SCORE_STRIDE, sizeof(float));
    const size_t pairs = pass->bf16 ? QUERY_BLOCK * LILAC_SOFTMAX_SCORE_STRIDE : 0;
    own.probability_pairs = lilac_workspace_take(workspace, pairs, sizeof(uint16_t));
    own.score_gradient_pairs = lilac_workspace_take(workspace, pairs, sizeof(uint16_t));
    return own;
}

static lilac_status lay_out(lilac_context *context, const lilac_softmax_attention_config *config,
                            lilac_workspace *workspace, backward_pass *pass) {
    *pass = (backward_pass){
        .kernels = &context->kernels->softmax_attention, .rounding = &context->kernels->elementwise, .config = config};
    LILAC_TRY(lilac_softmax_plan_make(context, config, &pass->plan));
    pass->bf16 = lilac_softmax_uses_dot_products(context, config);
    const lilac_softmax_plan *plan = &pass->plan;
    pass->padded_queries = lilac_round_up(config->shape.queries, QUERY_BLOCK);
    pass->query_blocks = pass->padded_queries / QUERY_BLOCK;
    pass->queries = lilac_softmax_take_heads(workspace, plan, pass->padded_queries, plan->key_stride);
    pass->output_gradients = lilac_softmax_take_heads(workspace, plan, pass->padded_queries, plan->value_stride);
    pass->query_gradients = lilac_softmax_take_heads(workspace, plan, pass->padded_queries, plan->key_stride);
    pass->offsets = lilac_softmax_take_heads(workspace, plan, pass->padded_queries, 1);
    pass->deltas = lilac_softmax_take_heads(workspace, plan, pass->padded_queries, 1);
    pass->added = lilac_workspace_take(workspace, plan->group * sizeof(atomic_size_t), pass->query_blocks);
    lilac_workspace own = lilac_workspace_over(NULL);
    take_scratch(pass, &own);
    pass->scratch = lilac_softmax_scratch_cut(workspace, plan->threads, own.used);
    return LILAC_OK;
}

/* What is packed of a block of queries, queries or output gradients: rows of floats; or rows in bf16, and in the other
 * half of their place the same in pairs of rows. */
typedef struct query_rows {
    void *rows;
    uint16_t *pairs;
} query_rows;

/* Those that start at row `row` of the group's, a whole block, in `packed`. */
static query_rows rows_at(const backward_pass *pass, float *packed, size_t row, size_t stride) {
    float *rows = packed + row * stride;
    return (query_rows){.rows = rows, .pairs = pass->bf16 ? (uint16_t *)rows + QUERY_BLOCK * stride : NULL};
}

static float dot(const float *x, const void *y, lilac_attention_dtype y_dtype, size_t n) {
    enum { PARTS = 16 };
    float sums[PARTS] = {0.0f}, sum = 0.0f;
    for (size_t i = 0; i < n; i += PARTS) {
        const size_t parts = lilac_size_min(PARTS, n - i);
        float part[PARTS];
        for (size_t j = 0; j < parts; j++) {
            part[j] = y_dtype == LILAC_ATTENTION_F32 ? ((const float *)y)[i + j]
                                                     : lilac_float_from_bf16(((const uint16_t *)y)[i + j]);
        }
        for (size_t j = 0; j < parts; j++) {
            sums[j] += x[i + j] * part[j];
        }
    }
    for (size_t j = 0; j < PARTS; j++) {
        sum += sums[j];
    }
    return sum;
}

/* Offsets and deltas of queries n .. n+count-1 of a head; a row beyond them sees nothing. */
static void pack_row_numbers(const backward_pass *pass, size_t slot, size_t n, size_t count) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const lilac_attention_input *gradient = &pass->tensors->output_gradient;
    const size_t head = pass->first_head + slot, row = slot * pass->padded_queries + n;
    for (size_t r = 0; r < QUERY_BLOCK; r++) {
        pass->offsets[row + r] = INFINITY;
        pass->deltas[row + r] = 0.0f;
    }
    for (size_t r = 0; r < count; r++) {
        const float log_sum_exp = pass->tensors->log_sum_exp[head * shape->queries + n + r];
        const size_t b = head / shape->heads, h = head % shape->heads;
        const float *output = lilac_attention_input_row(&pass->tensors->output, b, n + r, h);
        if (log_sum_exp != -INFINITY) {
            pass->offsets[row + r] = (float)(log_sum_exp * LILAC_SOFTMAX_LOG2_E);
        }
        pass->deltas[row + r] =
            dot(output, lilac_attention_input_row(gradient, b, n + r, h), gradient->dtype, shape->value_size);
    }
}

/* Packs `count` rows of x from n on, a whole block with zeros for those that it lacks, at row `row` of `packed`. */
static void pack_query_rows(const backward_pass *pass, const lilac_attention_input *x, size_t head, size_t n,
                            size_t count, size_t size, float *packed, size_t row, size_t stride) {
    const query_rows to = rows_at(pass, packed, row, stride);
    if (pass->bf16) {
        lilac_softmax_round_rows(pass->rounding, pass->config, x, head, n, count, QUERY_BLOCK, size, to.rows, stride);
        pass->kernels->pack_pairs_bf16(QUERY_BLOCK, size, to.rows, stride, to.pairs, stride);
    } else {
        lilac_softmax_load_rows(pass->config, x, head, n, count, QUERY_BLOCK, size, to.rows, stride);
    }
}

/* Packs block `item % query_blocks` of the queries of head `item / query_blocks` of the group and what goes with them.
 */
static void pack_queries(void *argument, size_t begin, size_t end) {
    const backward_pass *pass = argument;
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    for (size_t item = begin; item < end; item++) {
        const size_t slot = item / pass->query_blocks, head = pass->first_head + slot;
        const size_t n = item % pass->query_blocks * QUERY_BLOCK, row = slot * pass->padded_queries + n;
        const size_t count = lilac_size_min(QUERY_BLOCK, shape->queries - n);
        pack_query_rows(pass, &pass->tensors->query, head, n, count, shape->key_size, pass->queries, row,
                        plan->key_stride);
        pack_query_rows(pass, &pass->tensors->output_gradient, head, n, count, shape->value_size,
                        pass->output_gradients, row, plan->value_stride);
        pack_row_numbers(pass, slot, n, count);
        memset(pass->query_gradients + row * plan->key_stride, 0, QUERY_BLOCK * plan->key_stride * sizeof(float));
        atomic_init(&pass->added[item], 0);
    }
}

static void pack_keys(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range) {
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    const float scale = (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E);
    /* The values' gradients are not in use yet: their place serves for the values as rows. */
    lilac_softmax_load_rows(pass->config, &pass->tensors->value, range->head, range->first, range->keys, range->keys,
                            shape->value_size, own->value_gradients, plan->value_stride);
    pass->kernels->pack_panels(range->keys, shape->value_size, own->value_gradients, plan->value_stride, 1.0f,
                               own->value_panels);
    lilac_softmax_load_rows(pass->config, &pass->tensors->key, range->head, range->first, range->keys, range->keys,
                            shape->key_size, own->keys, plan->key_stride);
    pass->kernels->pack_panels(range->keys, shape->key_size, own->keys, plan->key_stride, scale, own->key_panels);
}

static void pack_keys_bf16(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range) {
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    /* As above, and for the keys as well. */
    uint16_t *keys = (void *)own->key_gradients, *values = (void *)own->value_gradients;
    lilac_softmax_round_rows(pass->rounding, pass->config, &pass->tensors->value, range->head, range->first,
                             range->keys, range->keys, shape->value_size, values, plan->value_stride);
    pass->kernels->pack_panels_bf16(range->keys, shape->value_size, values, plan->value_stride, own->value_panels);
    lilac_softmax_round_rows(pass->rounding, pass->config, &pass->tensors->key, range->head, range->first, range->keys,
                             range->keys, shape->key_size, keys, plan->key_stride);
    pass->kernels->pack_panels_bf16(range->keys, shape->key_size, keys, plan->key_stride, own->key_panels);
    pass->kernels->pack_pairs_bf16(range->keys, shape->key_size, keys, plan->key_stride, own->keys, plan->key_stride);
}

/* What a block of keys does with the block of queries from row `row` of the group's on: probabilities, the gradients of
 * the scores, and what follows from them for keys and values. */
static void differentiate_block(const backward_pass *pass, const scratch *own, const lilac_softmax_block *block,
                                size_t row) {
    const lilac_softmax_attention_kernels *kernels = pass->kernels;
    const size_t D = pass->config->shape.key_size, M = pass->config->shape.value_size;
    const size_t key_stride = pass->plan.key_stride, value_stride = pass->plan.value_stride;
    const query_rows q = rows_at(pass, pass->queries, row, key_stride);
    const query_rows g = rows_at(pass, pass->output_gradients, row, value_stride);
    if (pass->bf16) {
        const float scale = (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E);
        kernels->probabilities_bf16(block, D, q.rows, key_stride, own->key_panels, scale, pass->offsets + row,
                                    own->probabilities, own->probability_pairs);
        kernels->score_gradients_bf16(block, M, g.rows, value_stride, own->value_panels, pass->deltas + row,
                                      own->probabilities, own->score_gradients, own->score_gradient_pairs);
        kernels->multiply_transposed_bf16(block, own->probability_pairs, M, g.pairs, value_stride, own->value_gradients,
                                          value_stride);
        kernels->multiply_transposed_bf16(block, own->score_gradient_pairs, D, q.pairs, key_stride, own->key_gradients,
                                          key_stride);
    } else {
        kernels->probabilities(block, D, q.rows, key_stride, own->key_panels, pass->offsets + row, own->probabilities);
        kernels->score_gradients(block, M, g.rows, value_stride, own->value_panels, pass->deltas + row,
                                 own->probabilities, own->score_gradients);
        kernels->multiply_transposed(block, own->probabilities, M, g.rows, value_stride, own->value_gradients,
                                     value_stride);
        kernels->multiply_transposed(block, own->score_gradients, D, q.rows, key_stride, own->key_gradients,
                                     key_stride);
    }
}

/* Takes the packed block of keys through one block of queries. */
static void differentiate(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range,
                          size_t query_block) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t n = query_block * QUERY_BLOCK, row = range->slot * pass->padded_queries + n;
    const size_t D = shape->key_size, stride = pass->plan.key_stride;
    const lilac_softmax_block block = {
        .rows = lilac_round_up(lilac_size_min(QUERY_BLOCK, shape->queries - n), LILAC_SOFTMAX_ROWS),
        .keys = range->keys,
        .diagonal = pass->config->causal ? (ptrdiff_t)(n + 1) - (ptrdiff_t)range->first : (ptrdiff_t)range->keys,
    };
    differentiate_block(pass, own, &block, row);
    const size_t before = range->first / KEY_BLOCK;
    atomic_size_t *added = &pass->added[range->slot * pass->query_blocks + query_block];
    float *gradients = pass->query_gradients + row * stride;
    lilac_softmax_await(added, before);
    if (pass->bf16) {
        pass->kernels->multiply_bf16(&block, own->score_gradients, D, own->keys, stride, gradients, stride);
    } else {
        pass->kernels->multiply(&block, own->score_gradients, D, own->keys, stride, gradients, stride);
    }
    atomic_store_explicit(added, before + 1, memory_order_release);
}

/* The gradients of a block of keys and values, `count` of them of which the first range->keys are not masked. */
static void differentiate_keys(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range,
                               size_t count) {
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_softmax_attention_config *config = pass->config;
    const lilac_attention_shape *shape = &config->shape;
    if (range->keys > 0 && pass->bf16) {
        pack_keys_bf16(pass, own, range);
    } else if (range->keys > 0) {
        pack_keys(pass, own, range);
    }
    memset(own->key_gradients, 0, KEY_BLOCK * plan->key_stride * sizeof(float));
    memset(own->value_gradients, 0, KEY_BLOCK * plan->value_stride * sizeof(float));
    const size_t first_block = config->causal ? range->first / QUERY_BLOCK : 0;
    for (size_t block = first_block; range->keys > 0 && block < pass->query_blocks; block++) {
        differentiate(pass, own, range, block);
    }
    /* The kernels leave anything in the rows up to the next whole tile. */
    const size_t masked = count - range->keys;
    memset(own->key_gradients + range->keys * plan->key_stride, 0, masked * plan->key_stride * sizeof(float));
    memset(own->value_gradients + range->keys * plan->value_stride, 0, masked * plan->value_stride * sizeof(float));
    lilac_softmax_store_rows(config, own->key_gradients, plan->key_stride, config->scale, &pass->tensors->key_gradient,
                             range->head, range->first, count, shape->key_size);
    lilac_softmax_store_rows(config, own->value_gradients, plan->value_stride, 1.0f, &pass->tensors->value_gradient,
                             range->head, range->first, count, shape->value_size);
}

/*
 * One block of keys for each item, but which one is counted here: a block waits for the one before it of the same head,
 * which must have been taken before by some thread. Neighbours in that order belong to different heads where there are
 * several, so that they seldom wait at all.
 */
static void differentiate_blocks(void *argument, size_t begin, size_t end) {
    backward_pass *pass = argument;
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&pass->scratch, &index);
    const scratch own = take_scratch(pass, &memory);
    for (size_t item = begin; item < end; item++) {
        const size_t task = atomic_fetch_add(&pass->next_task, 1);
        const lilac_softmax_key_range range = lilac_softmax_keys_from(
            pass->config, pass->first_head, task % pass->group, task / pass->group * KEY_BLOCK, KEY_BLOCK);
        differentiate_keys(pass, &own, &range, lilac_size_min(KEY_BLOCK, pass->config->shape.keys - range.first));
    }
    lilac_softmax_scratch_give(&pass->scratch, index);
}

static void store_query_gradients(void *argument, size_t begin, size_t end) {
    const backward_pass *pass = argument;
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    for (size_t item = begin; item < end; item++) {
        const size_t slot = item / pass->query_blocks, n = item % pass->query_blocks * QUERY_BLOCK;
        lilac_softmax_store_rows(
            pass->config, pass->query_gradients + (slot * pass->padded_queries + n) * plan->key_stride,
            plan->key_stride, pass->config->scale, &pass->tensors->query_gradient, pass->first_head + slot, n,
            lilac_size_min(QUERY_BLOCK, shape->queries - n), shape->key_size);
    }
}

lilac_status lilac_softmax_attention_backward_workspace_size(lilac_context *context,
                                                             const lilac_softmax_attention_config *config,
                                                             size_t *bytes) {
    lilac_workspace workspace = lilac_workspace_over(NULL);
    backward_pass pass;
    LILAC_TRY(lay_out(context, config, &workspace, &pass));
    if (lilac_softmax_uses_tiles(context, config)) {
        workspace = lilac_workspace_over(NULL);
        LILAC_TRY(lilac_softmax_tiles_backward_measure(context, config, &workspace));
    }
    if (bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention backward: bytes is NULL");
    }
    return lilac_workspace_measured(context, &workspace, bytes);
}

static lilac_status check_tensors(lilac_context *context, const lilac_attention_shape *shape,
                                  const lilac_softmax_attention_backward_tensors *tensors) {
    if (tensors == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention backward: tensors is NULL");
    }
    const size_t N = shape->queries, keys = shape->keys, D = shape->key_size, M = shape->value_size;
    LILAC_TRY(lilac_attention_check_input(context, "query", &tensors->query, shape, N, D));
    LILAC_TRY(lilac_attention_check_input(context, "key", &tensors->key, shape, keys, D));
    LILAC_TRY(lilac_attention_check_input(context, "value", &tensors->value, shape, keys, M));
    LILAC_TRY(lilac_attention_check_input(context, "output", &tensors->output, shape, N, M));
    LILAC_TRY(lilac_attention_check_input(context, "output gradient", &tensors->output_gradient, shape, N, M));
    LILAC_TRY(lilac_attention_check_output(context, "query gradient", &tensors->query_gradient, shape, N, D));
    LILAC_TRY(lilac_attention_check_output(context, "key gradient", &tensors->key_gradient, shape, keys, D));
    LILAC_TRY(lilac_attention_check_output(context, "value gradient", &tensors->value_gradient, shape, keys, M));
    if (tensors->output.dtype != LILAC_ATTENTION_F32) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "output: expected F32 as the forward pass writes it, got BF16");
    }
    if (tensors->log_sum_exp == NULL && shape->batch * shape->heads * N > 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "log_sum_exp: is NULL");
    }
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_backward(lilac_context *context, const lilac_softmax_attention_config *config,
                                              const lilac_softmax_attention_backward_tensors *tensors, void *workspace,
                                              size_t workspace_bytes) {
    size_t needed;
    LILAC_TRY(lilac_softmax_attention_backward_workspace_size(context, config, &needed));
    LILAC_TRY(check_tensors(context, &config->shape, tensors));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    if (lilac_softmax_uses_tiles(context, config)) {
        return lilac_softmax_tiles_backward(context, config, tensors, workspace);
    }
    lilac_workspace pieces = lilac_workspace_over(workspace);
    backward_pass pass;
    LILAC_TRY(lay_out(context, config, &pieces, &pass));
    pass.tensors = tensors;
    const lilac_softmax_plan *plan = &pass.plan;
    lilac_softmax_scratch_reset(&pass.scratch, plan->threads);
    for (; pass.first_head < plan->heads; pass.first_head += plan->group) {
        pass.group = lilac_size_min(plan->group, plan->heads - pass.first_head);
        atomic_init(&pass.next_task, 0);
        lilac_parallel_for(context, pass.group * pass.query_blocks, 1, pack_queries, &pass);
        lilac_parallel_tasks(context, pass.group * plan->key_blocks, differentiate_blocks, &pass);
        lilac_parallel_for(context, pass.group * pass.query_blocks, 1, store_query_gradients, &pass);
    }
    return LILAC_OK;
}
