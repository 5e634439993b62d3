/* SPDX-License-Identifier: MIT */
/* Softmax attention over whole sequences in tiles, forward: blocks of queries against the packed keys and values of
 * their head. */
#include "attention/softmax_tiles.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

enum { QUERY_BLOCK = 128 /* queries of a task */ };

typedef struct forward_pass {
    const lilac_tile_attention_kernels *kernels;
    const lilac_softmax_attention_config *config;
    const lilac_softmax_attention_forward_tensors *tensors;
    lilac_softmax_plan plan;
    size_t key_columns, value_columns;  /* of the packed matrices */
    size_t padded_queries, padded_keys; /* rounded up to whole tiles */
    size_t query_blocks;                /* of a head */
    uint16_t *queries;                  /* [group][padded_queries][key_columns], left */
    uint16_t *keys;                     /* [group][padded_keys][key_columns], right_transposed */
    uint16_t *values;                   /* [group][padded_keys][value_columns], right, with a column of ones */
    lilac_softmax_scratch scratch;
    size_t first_head; /* of the group being worked on */
    size_t group;      /* its number of heads */
} forward_pass;

static float *take_scratch(const forward_pass *pass, lilac_workspace *workspace) {
    return lilac_workspace_take(workspace, LILAC_TILE_ROWS * sizeof(float), pass->value_columns);
}

static lilac_status lay_out(lilac_context *context, const lilac_softmax_attention_config *config,
                            lilac_workspace *workspace, forward_pass *pass) {
    *pass = (forward_pass){.kernels = &context->kernels->tile_attention, .config = config};
    LILAC_TRY(lilac_softmax_plan_make(context, config, &pass->plan));
    const lilac_attention_shape *shape = &config->shape;
    pass->padded_queries = lilac_round_up(shape->queries, LILAC_TILE_DEPTH);
    pass->padded_keys = lilac_round_up(shape->keys, LILAC_TILE_DEPTH);
    pass->key_columns = lilac_round_up(shape->key_size, LILAC_TILE_DEPTH);
    pass->value_columns = lilac_round_up(shape->value_size + 1, LILAC_TILE_ROWS);
    pass->query_blocks = lilac_round_up(shape->queries, QUERY_BLOCK) / QUERY_BLOCK;
    pass->queries = lilac_softmax_take_forms(workspace, &pass->plan, pass->padded_queries, pass->key_columns);
    pass->keys = lilac_softmax_take_forms(workspace, &pass->plan, pass->padded_keys, pass->key_columns);
    pass->values = lilac_softmax_take_forms(workspace, &pass->plan, pass->padded_keys, pass->value_columns);
    lilac_workspace own = lilac_workspace_over(NULL);
    take_scratch(pass, &own);
    pass->scratch = lilac_softmax_scratch_cut(workspace, pass->plan.threads, own.used);
    return LILAC_OK;
}

static void pack_queries(void *argument, size_t begin, size_t end) {
    const forward_pass *pass = argument;
    const lilac_attention_shape *shape = &pass->config->shape;
    for (size_t item = begin; item < end; item++) {
        const lilac_softmax_rows rows = lilac_softmax_rows_of(item, pass->first_head, pass->group, shape->queries);
        const size_t row = rows.slot * pass->padded_queries + rows.n;
        const lilac_tile_source query =
            lilac_softmax_tile_source(pass->config, &pass->tensors->query, &rows, shape->key_size);
        pass->kernels->pack(
            &query, &(lilac_tile_forms){.columns = pass->key_columns, .left = pass->queries + row * pass->key_columns});
    }
}

static void pack_keys(void *argument, size_t begin, size_t end) {
    const forward_pass *pass = argument;
    const lilac_attention_shape *shape = &pass->config->shape;
    for (size_t item = begin; item < end; item++) {
        lilac_softmax_rows rows = lilac_softmax_rows_of(item, pass->first_head, pass->group, shape->keys);
        const size_t visible = lilac_softmax_visible_keys(pass->config, rows.head);
        const size_t row = rows.slot * pass->padded_keys + rows.n;
        if (rows.n >= visible) {
            continue;
        }
        rows.count = lilac_size_min(rows.count, visible - rows.n);
        lilac_tile_source key = lilac_softmax_tile_source(pass->config, &pass->tensors->key, &rows, shape->key_size);
        lilac_tile_source value =
            lilac_softmax_tile_source(pass->config, &pass->tensors->value, &rows, shape->value_size);
        key.scale = (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E);
        value.ones = true;
        pass->kernels->pack(&key, &(lilac_tile_forms){.columns = pass->key_columns,
                                                      .right_transposed = pass->keys + row * pass->key_columns});
        pass->kernels->pack(&value, &(lilac_tile_forms){.columns = pass->value_columns,
                                                        .right = pass->values + row * pass->value_columns});
    }
}

/* Block of queries number `query_block` of a head against all keys it sees. */
static void attend(const forward_pass *pass, float *scratch, size_t slot, size_t query_block) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t head = pass->first_head + slot, n = query_block * QUERY_BLOCK;
    const size_t count = lilac_size_min(QUERY_BLOCK, shape->queries - n);
    const size_t visible = lilac_softmax_visible_keys(pass->config, head);
    const lilac_attention_output *output = &pass->tensors->output;
    lilac_softmax_expect_rows(pass->config, output, head, n, count, shape->value_size);
    float *log_sum_exp = pass->tensors->log_sum_exp;
    pass->kernels->forward(&(lilac_tile_forward){
        .queries = count,
        .keys = visible,
        .diagonal = pass->config->causal ? (ptrdiff_t)(n + 1) : (ptrdiff_t)visible,
        .key_columns = pass->key_columns,
        .value_columns = pass->value_columns,
        .value_size = shape->value_size,
        .query = pass->queries + (slot * pass->padded_queries + n) * pass->key_columns,
        .key = pass->keys + slot * pass->padded_keys * pass->key_columns,
        .value = pass->values + slot * pass->padded_keys * pass->value_columns,
        .output = lilac_attention_output_row(output, head / shape->heads, n, head % shape->heads),
        .output_stride = output->token_stride,
        .log_sum_exp = log_sum_exp == NULL ? NULL : log_sum_exp + head * shape->queries + n,
        .scratch = scratch,
    });
}

/* The blocks of queries of each head, last first: in the causal form those are the longest. */
static void attend_blocks(void *argument, size_t begin, size_t end) {
    const forward_pass *pass = argument;
    const size_t blocks = pass->query_blocks;
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&pass->scratch, &index);
    float *scratch = take_scratch(pass, &memory);
    for (size_t item = begin; item < end; item++) {
        attend(pass, scratch, item / blocks, blocks - 1 - item % blocks);
    }
    lilac_softmax_scratch_give(&pass->scratch, index);
}

lilac_status lilac_softmax_tiles_forward_measure(lilac_context *context, const lilac_softmax_attention_config *config,
                                                 lilac_workspace *workspace) {
    forward_pass pass;
    return lay_out(context, config, workspace, &pass);
}

lilac_status lilac_softmax_tiles_forward(lilac_context *context, const lilac_softmax_attention_config *config,
                                         const lilac_softmax_attention_forward_tensors *tensors, void *workspace) {
    lilac_workspace pieces = lilac_workspace_over(workspace);
    forward_pass pass;
    LILAC_TRY(lay_out(context, config, &pieces, &pass));
    pass.tensors = tensors;
    lilac_softmax_scratch_reset(&pass.scratch, pass.plan.threads);
    for (; pass.first_head < pass.plan.heads; pass.first_head += pass.plan.group) {
        pass.group = lilac_size_min(pass.plan.group, pass.plan.heads - pass.first_head);
        lilac_parallel_for(context, lilac_softmax_row_items(pass.group, config->shape.queries), 1, pack_queries, &pass);
        lilac_parallel_for(context, lilac_softmax_row_items(pass.group, config->shape.keys), 1, pack_keys, &pass);
        lilac_parallel_tasks(context, pass.group * pass.query_blocks, attend_blocks, &pass);
    }
    return LILAC_OK;
}
