/* SPDX-License-Identifier: MIT */
/* Softmax attention over whole sequences, forward: blocks of queries against the packed keys and values of their head.
 */
#include "attention/softmax.h"
#include "attention/softmax_tiles.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

enum {
    SCORE_ROWS = 96, /* queries whose scores are held at a time; a multiple of LILAC_SOFTMAX_ROWS */
    /* Queries that go through the keys together: the keys, which may be far away, are fetched once for all of them. */
    QUERY_BLOCK = 4 * SCORE_ROWS,
    TASKS_PER_THREAD = 8, /* with fewer blocks than that, they are made smaller */
    KEY_BLOCK = LILAC_SOFTMAX_KEY_BLOCK,
    PANEL = LILAC_SOFTMAX_PANEL
};

/* What one thread needs. */
typedef struct scratch {
    void *rows;    /* [QUERY_BLOCK][key_stride]: queries, or keys on their way into panels */
    float *scores; /* [SCORE_ROWS][LILAC_SOFTMAX_SCORE_STRIDE] */
    lilac_softmax_state state;
} scratch;

typedef struct forward_pass {
    const lilac_softmax_attention_kernels *kernels;
    const lilac_elementwise_kernels *rounding;
    const lilac_softmax_attention_config *config;
    const lilac_softmax_attention_forward_tensors *tensors;
    lilac_softmax_plan plan;
    bool bf16;    /* all of it; else everything packed is floats */
    void *keys;   /* [group][padded_keys][D], as panels; D rounded up to a whole pair if bf16 */
    void *values; /* [group][padded_keys][value_stride], as pairs if bf16 */
    lilac_softmax_scratch scratch;
    size_t first_head;               /* of the group being worked on */
    size_t group;                    /* its number of heads */
    size_t block_rows, query_blocks; /* queries of a block: QUERY_BLOCK or less; blocks of a head */
} forward_pass;

static scratch take_scratch(const lilac_softmax_plan *plan, lilac_workspace *workspace) {
    scratch own;
    own.rows = lilac_workspace_take(workspace, QUERY_BLOCK * sizeof(float), plan->key_stride);
    own.scores = lilac_workspace_take(workspace, SCORE_ROWS * LILAC_SOFTMAX_SCORE_STRIDE, sizeof(float));
    own.state.maximum = lilac_workspace_take(workspace, QUERY_BLOCK, sizeof(float));
    own.state.sums = lilac_workspace_take(workspace, QUERY_BLOCK * LILAC_SOFTMAX_LANES, sizeof(float));
    own.state.out = lilac_workspace_take(workspace, QUERY_BLOCK * sizeof(float), plan->value_stride);
    own.state.ld = plan->value_stride;
    return own;
}

static lilac_status lay_out(lilac_context *context, const lilac_softmax_attention_config *config,
                            lilac_workspace *workspace, forward_pass *pass) {
    *pass = (forward_pass){
        .kernels = &context->kernels->softmax_attention, .rounding = &context->kernels->elementwise, .config = config};
    LILAC_TRY(lilac_softmax_plan_make(context, config, &pass->plan));
    const lilac_softmax_plan *plan = &pass->plan;
    pass->keys = lilac_softmax_take_heads(workspace, plan, plan->padded_keys, config->shape.key_size);
    pass->values = lilac_softmax_take_heads(workspace, plan, plan->padded_keys, plan->value_stride);
    lilac_workspace own = lilac_workspace_over(NULL);
    take_scratch(plan, &own);
    pass->scratch = lilac_softmax_scratch_cut(workspace, plan->threads, own.used);
    return LILAC_OK;
}

/* Packs `count` keys and values of a head from n on, a panel at most. */
static void pack_panel(const forward_pass *pass, const scratch *own, size_t slot, size_t n, size_t count) {
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t head = pass->first_head + slot, row = slot * plan->padded_keys + n;
    float *values = (float *)pass->values + row * plan->value_stride;
    lilac_softmax_load_rows(pass->config, &pass->tensors->value, head, n, count, count, shape->value_size, values,
                            plan->value_stride);
    lilac_softmax_load_rows(pass->config, &pass->tensors->key, head, n, count, count, shape->key_size, own->rows,
                            plan->key_stride);
    pass->kernels->pack_panels(count, shape->key_size, own->rows, plan->key_stride,
                               (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E),
                               (float *)pass->keys + row * shape->key_size);
}

static void pack_panel_bf16(const forward_pass *pass, const scratch *own, size_t slot, size_t n, size_t count) {
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t head = pass->first_head + slot, row = slot * plan->padded_keys + n;
    uint16_t *keys = own->rows, *values = (void *)own->state.out; /* neither is in use yet */
    lilac_softmax_round_rows(pass->rounding, pass->config, &pass->tensors->key, head, n, count, count, shape->key_size,
                             keys, plan->key_stride);
    lilac_softmax_round_rows(pass->rounding, pass->config, &pass->tensors->value, head, n, count, count,
                             shape->value_size, values, plan->value_stride);
    pass->kernels->pack_panels_bf16(count, shape->key_size, keys, plan->key_stride,
                                    (uint16_t *)pass->keys + row * lilac_round_up(shape->key_size, 2));
    pass->kernels->pack_pairs_bf16(count, shape->value_size, values, plan->value_stride,
                                   (uint16_t *)pass->values + row * plan->value_stride, plan->value_stride);
}

/* Packs block `item % key_blocks` of the keys and values of head `item / key_blocks` of the group. */
static void pack_blocks(void *argument, size_t begin, size_t end) {
    const forward_pass *pass = argument;
    const lilac_softmax_plan *plan = &pass->plan;
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&pass->scratch, &index);
    const scratch own = take_scratch(&pass->plan, &memory);
    for (size_t item = begin; item < end; item++) {
        const size_t slot = item / plan->key_blocks;
        const size_t visible = lilac_softmax_visible_keys(pass->config, pass->first_head + slot);
        const size_t first = item % plan->key_blocks * KEY_BLOCK, last = lilac_size_min(first + KEY_BLOCK, visible);
        for (size_t n = first; n < last; n += PANEL) {
            if (pass->bf16) {
                pack_panel_bf16(pass, &own, slot, n, lilac_size_min(PANEL, last - n));
            } else {
                pack_panel(pass, &own, slot, n, lilac_size_min(PANEL, last - n));
            }
        }
    }
    lilac_softmax_scratch_give(&pass->scratch, index);
}

/* Copies queries n .. n+count-1 of a head to own->rows, rows from count to `rows` as zeros. */
static void load_queries(const forward_pass *pass, const scratch *own, size_t head, size_t n, size_t count,
                         size_t rows) {
    const lilac_attention_input *query = &pass->tensors->query;
    const size_t size = pass->config->shape.key_size, ld = pass->plan.key_stride;
    if (pass->bf16) {
        lilac_softmax_round_rows(pass->rounding, pass->config, query, head, n, count, rows, size, own->rows, ld);
    } else {
        lilac_softmax_load_rows(pass->config, query, head, n, count, rows, size, own->rows, ld);
    }
}

/* Takes a block of keys, `key` being the place of its first among the packed ones, into the state of the queries from
 * row `row` of own->rows on. */
static void attend_block(const forward_pass *pass, const scratch *own, const lilac_softmax_block *block, size_t row,
                         size_t key) {
    const lilac_softmax_attention_kernels *kernels = pass->kernels;
    const size_t D = pass->config->shape.key_size, M = pass->config->shape.value_size;
    const size_t query_stride = pass->plan.key_stride, value_stride = pass->plan.value_stride;
    const lilac_softmax_state state = {
        .maximum = own->state.maximum + row,
        .sums = own->state.sums + row * LILAC_SOFTMAX_LANES,
        .out = own->state.out + row * own->state.ld,
        .ld = own->state.ld,
    };
    if (pass->bf16) {
        const float scale = (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E);
        kernels->scores_bf16(block, D, (uint16_t *)own->rows + row * query_stride, query_stride,
                             (uint16_t *)pass->keys + key * lilac_round_up(D, 2), scale, own->scores);
        kernels->accumulate_bf16(block, own->scores, M, (uint16_t *)pass->values + key * value_stride, value_stride,
                                 &state);
    } else {
        kernels->scores(block, D, (float *)own->rows + row * query_stride, query_stride, (float *)pass->keys + key * D,
                        own->scores);
        kernels->accumulate(block, own->scores, M, (float *)pass->values + key * value_stride, value_stride, &state);
    }
}

static void start_rows(const lilac_softmax_state *state, size_t rows) {
    for (size_t r = 0; r < rows; r++) {
        state->maximum[r] = -INFINITY;
    }
    for (size_t i = 0; i < rows * LILAC_SOFTMAX_LANES; i++) {
        state->sums[i] = 0.0f;
    }
    for (size_t i = 0; i < rows * state->ld; i++) {
        state->out[i] = 0.0f;
    }
}

/* Writes the outputs and log-sum-exps of queries n .. n+count-1 of a head. */
static void finish_rows(const forward_pass *pass, const lilac_softmax_state *state, size_t head, size_t n,
                        size_t count) {
    const lilac_attention_shape *shape = &pass->config->shape;
    for (size_t r = 0; r < count; r++) {
        const float sum = lilac_softmax_row_sum(state->sums + r * LILAC_SOFTMAX_LANES);
        /* A row that saw no key has sums and outputs of 0. */
        const float factor = sum == 0.0f ? 0.0f : 1.0f / sum;
        lilac_softmax_store_rows(pass->config, state->out + r * state->ld, state->ld, factor, &pass->tensors->output,
                                 head, n + r, 1, shape->value_size);
        if (pass->tensors->log_sum_exp != NULL) {
            pass->tensors->log_sum_exp[head * shape->queries + n + r] =
                (float)(state->maximum[r] / LILAC_SOFTMAX_LOG2_E + log((double)sum));
        }
    }
}

/* Block of queries number `query_block` of a head against all keys it sees. */
static void attend(const forward_pass *pass, const scratch *own, size_t slot, size_t query_block) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t head = pass->first_head + slot, n = query_block * pass->block_rows;
    const size_t count = lilac_size_min(pass->block_rows, shape->queries - n);
    const size_t rows = count == 1 ? 1 : lilac_round_up(count, LILAC_SOFTMAX_ROWS);
    const size_t visible = lilac_softmax_visible_keys(pass->config, head);
    const size_t keys = pass->config->causal ? lilac_size_min(visible, n + count) : visible;
    load_queries(pass, own, head, n, count, rows);
    start_rows(&own->state, rows);
    for (size_t first = 0; first < keys; first += KEY_BLOCK) {
        const size_t block_keys = lilac_size_min(KEY_BLOCK, keys - first);
        for (size_t row = 0; row < rows; row += SCORE_ROWS) {
            const size_t token = n + row;
            const lilac_softmax_block block = {
                .rows = lilac_size_min(SCORE_ROWS, rows - row),
                .keys = block_keys,
                .diagonal = pass->config->causal ? (ptrdiff_t)(token + 1) - (ptrdiff_t)first : (ptrdiff_t)block_keys,
            };
            attend_block(pass, own, &block, row, slot * pass->plan.padded_keys + first);
        }
    }
    finish_rows(pass, &own->state, head, n, count);
}

/* Chooses blocks for the present group. The results do not depend on it: each row is worked out by itself. */
static void choose_blocks(forward_pass *pass) {
    const size_t queries = pass->config->shape.queries, tasks = TASKS_PER_THREAD * pass->plan.threads;
    pass->block_rows = QUERY_BLOCK;
    while (pass->block_rows > SCORE_ROWS && pass->group * (queries / pass->block_rows) < tasks) {
        pass->block_rows /= 2;
    }
    pass->query_blocks = lilac_round_up(queries, pass->block_rows) / pass->block_rows;
}

/* The blocks of queries of each head, last first: in the causal form those are the longest. */
static void attend_blocks(void *argument, size_t begin, size_t end) {
    const forward_pass *pass = argument;
    const size_t blocks = pass->query_blocks;
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&pass->scratch, &index);
    const scratch own = take_scratch(&pass->plan, &memory);
    for (size_t item = begin; item < end; item++) {
        attend(pass, &own, item / blocks, blocks - 1 - item % blocks);
    }
    lilac_softmax_scratch_give(&pass->scratch, index);
}

lilac_status lilac_softmax_attention_forward_workspace_size(lilac_context *context,
                                                            const lilac_softmax_attention_config *config,
                                                            size_t *bytes) {
    lilac_workspace workspace = lilac_workspace_over(NULL);
    forward_pass pass;
    LILAC_TRY(lay_out(context, config, &workspace, &pass));
    if (lilac_softmax_uses_tiles(context, config)) {
        workspace = lilac_workspace_over(NULL);
        LILAC_TRY(lilac_softmax_tiles_forward_measure(context, config, &workspace));
    }
    if (bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention forward: bytes is NULL");
    }
    return lilac_workspace_measured(context, &workspace, bytes);
}

static lilac_status check_tensors(lilac_context *context, const lilac_attention_shape *shape,
                                  const lilac_softmax_attention_forward_tensors *tensors) {
    if (tensors == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention forward: tensors is NULL");
    }
    LILAC_TRY(lilac_attention_check_input(context, "query", &tensors->query, shape, shape->queries, shape->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "key", &tensors->key, shape, shape->keys, shape->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "value", &tensors->value, shape, shape->keys, shape->value_size));
    return lilac_attention_check_output(context, "output", &tensors->output, shape, shape->queries, shape->value_size);
}

/* Inputs in bf16 are multiplied as they are where that is fast, without being asked for. */
static bool has_bf16_inputs(const lilac_context *context, const lilac_softmax_attention_forward_tensors *tensors) {
    return context->kernels->bf16_dot_products && tensors->query.dtype == LILAC_ATTENTION_BF16 &&
           tensors->key.dtype == LILAC_ATTENTION_BF16 && tensors->value.dtype == LILAC_ATTENTION_BF16;
}

lilac_status lilac_softmax_attention_forward(lilac_context *context, const lilac_softmax_attention_config *config,
                                             const lilac_softmax_attention_forward_tensors *tensors, void *workspace,
                                             size_t workspace_bytes) {
    size_t needed;
    LILAC_TRY(lilac_softmax_attention_forward_workspace_size(context, config, &needed));
    LILAC_TRY(check_tensors(context, &config->shape, tensors));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    if (lilac_softmax_uses_tiles(context, config)) {
        return lilac_softmax_tiles_forward(context, config, tensors, workspace);
    }
    lilac_workspace pieces = lilac_workspace_over(workspace);
    forward_pass pass;
    LILAC_TRY(lay_out(context, config, &pieces, &pass));
    pass.tensors = tensors;
    pass.bf16 = lilac_softmax_uses_dot_products(context, config) || has_bf16_inputs(context, tensors);
    const lilac_softmax_plan *plan = &pass.plan;
    lilac_softmax_scratch_reset(&pass.scratch, plan->threads);
    for (; pass.first_head < plan->heads; pass.first_head += plan->group) {
        pass.group = lilac_size_min(plan->group, plan->heads - pass.first_head);
        choose_blocks(&pass);
        lilac_parallel_for(context, pass.group * plan->key_blocks, 1, pack_blocks, &pass);
        lilac_parallel_tasks(context, pass.group * pass.query_blocks, attend_blocks, &pass);
    }
    return LILAC_OK;
}
