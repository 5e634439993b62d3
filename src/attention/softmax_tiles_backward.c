/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention over whole sequences in tiles, backward. As in softmax_backward.c, a task takes one block of keys
 * through all blocks of queries, and the gradients of a block of queries are added up in the order of the keys.
 */
#include "attention/softmax_tiles.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <stdatomic.h>
#include <string.h>

enum { QUERY_BLOCK = LILAC_TILE_QUERY_BLOCK, KEY_BLOCK = LILAC_TILE_KEY_BLOCK };

/* What one thread needs: a block of keys and values. */
typedef struct scratch {
    uint16_t *key;             /* [KEY_BLOCK][key_columns], left */
    uint16_t *key_transposed;  /* left_transposed */
    uint16_t *value;           /* [KEY_BLOCK][value_columns], left */
    float *key_gradient;       /* [KEY_BLOCK][key_columns], before the scale */
    float *value_gradient;     /* [KEY_BLOCK][value_columns] */
    uint16_t *score_gradients; /* [QUERY_BLOCK][KEY_BLOCK] */
} scratch;

typedef struct backward_pass {
    const lilac_tile_attention_kernels *kernels;
    const lilac_softmax_attention_config *config;
    const lilac_softmax_attention_backward_tensors *tensors;
    lilac_softmax_plan plan;
    size_t key_columns, value_columns;                      /* of the packed matrices */
    size_t padded_queries;                                  /* queries rounded up to whole tiles */
    size_t query_blocks, key_blocks;                        /* of a head */
    uint16_t *query, *query_transposed;                     /* [group][padded_queries][key_columns]: right and so on */
    uint16_t *output_gradient, *output_gradient_transposed; /* [group][padded_queries][value_columns] */
    float *query_gradient; /* [group][padded_queries][key_columns], before the scale and log2(e) are taken out */
    float *offsets;        /* [group][padded_queries] */
    float *deltas;         /* [group][padded_queries] */
    atomic_size_t *added;  /* [group][query_blocks]: blocks of keys that are in query_gradient */
    lilac_softmax_scratch scratch;
    size_t first_head;       /* of the group being worked on */
    size_t group;            /* its number of heads */
    atomic_size_t next_task; /* of the group */
} backward_pass;

static scratch take_scratch(const backward_pass *pass, lilac_workspace *workspace) {
    scratch own;
    own.key = lilac_workspace_take(workspace, KEY_BLOCK * sizeof(uint16_t), pass->key_columns);
    own.key_transposed = lilac_workspace_take(workspace, KEY_BLOCK * sizeof(uint16_t), pass->key_columns);
    own.value = lilac_workspace_take(workspace, KEY_BLOCK * sizeof(uint16_t), pass->value_columns);
    own.key_gradient = lilac_workspace_take(workspace, KEY_BLOCK * sizeof(float), pass->key_columns);
    own.value_gradient = lilac_workspace_take(workspace, KEY_BLOCK * sizeof(float), pass->value_columns);
    own.score_gradients = lilac_workspace_take(workspace, QUERY_BLOCK * KEY_BLOCK, sizeof(uint16_t));
    return own;
}

static lilac_status lay_out(lilac_context *context, const lilac_softmax_attention_config *config,
                            lilac_workspace *workspace, backward_pass *pass) {
    *pass = (backward_pass){.kernels = &context->kernels->tile_attention, .config = config};
    LILAC_TRY(lilac_softmax_plan_make(context, config, &pass->plan));
    const lilac_softmax_plan *plan = &pass->plan;
    const lilac_attention_shape *shape = &config->shape;
    pass->key_columns = lilac_round_up(shape->key_size, LILAC_TILE_DEPTH);
    pass->value_columns = lilac_round_up(shape->value_size, LILAC_TILE_DEPTH);
    pass->padded_queries = lilac_round_up(shape->queries, LILAC_TILE_DEPTH);
    pass->query_blocks = lilac_round_up(shape->queries, QUERY_BLOCK) / QUERY_BLOCK;
    pass->key_blocks = lilac_round_up(shape->keys, KEY_BLOCK) / KEY_BLOCK;
    const size_t rows = pass->padded_queries;
    pass->query = lilac_softmax_take_forms(workspace, plan, rows, pass->key_columns);
    pass->query_transposed = lilac_softmax_take_forms(workspace, plan, rows, pass->key_columns);
    pass->output_gradient = lilac_softmax_take_forms(workspace, plan, rows, pass->value_columns);
    pass->output_gradient_transposed = lilac_softmax_take_forms(workspace, plan, rows, pass->value_columns);
    pass->query_gradient = lilac_softmax_take_heads(workspace, plan, rows, pass->key_columns);
    pass->offsets = lilac_softmax_take_heads(workspace, plan, rows, 1);
    pass->deltas = lilac_softmax_take_heads(workspace, plan, rows, 1);
    pass->added = lilac_workspace_take(workspace, plan->group * sizeof(atomic_size_t), pass->query_blocks);
    lilac_workspace own = lilac_workspace_over(NULL);
    take_scratch(pass, &own);
    pass->scratch = lilac_softmax_scratch_cut(workspace, plan->threads, own.used);
    return LILAC_OK;
}

/* Packs queries of a head and what goes with them. */
static void pack_query_rows(const backward_pass *pass, const lilac_softmax_rows *rows) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const lilac_softmax_attention_backward_tensors *tensors = pass->tensors;
    const size_t row = rows->slot * pass->padded_queries + rows->n;
    const size_t keys = row * pass->key_columns, values = row * pass->value_columns;
    const lilac_tile_source query = lilac_softmax_tile_source(pass->config, &tensors->query, rows, shape->key_size);
    const lilac_tile_source gradient =
        lilac_softmax_tile_source(pass->config, &tensors->output_gradient, rows, shape->value_size);
    pass->kernels->pack(&query, &(lilac_tile_forms){.columns = pass->key_columns,
                                                    .right = pass->query + keys,
                                                    .right_transposed = pass->query_transposed + keys});
    pass->kernels->pack(&gradient, &(lilac_tile_forms){.columns = pass->value_columns,
                                                       .right = pass->output_gradient + values,
                                                       .right_transposed = pass->output_gradient_transposed + values});
    pass->kernels->row_numbers(&(lilac_tile_row_numbers){
        .log_sum_exp = tensors->log_sum_exp + rows->head * shape->queries + rows->n,
        .output = lilac_softmax_tile_source(pass->config, &tensors->output, rows, shape->value_size),
        .output_gradient = gradient,
        .offsets = pass->offsets + row,
        .deltas = pass->deltas + row,
    });
}

static void pack_queries(void *argument, size_t begin, size_t end) {
    const backward_pass *pass = argument;
    for (size_t item = begin; item < end; item++) {
        const lilac_softmax_rows rows =
            lilac_softmax_rows_of(item, pass->first_head, pass->group, pass->config->shape.queries);
        const size_t padded = lilac_round_up(rows.count, LILAC_TILE_DEPTH);
        pack_query_rows(pass, &rows);
        memset(pass->query_gradient + (rows.slot * pass->padded_queries + rows.n) * pass->key_columns, 0,
               padded * pass->key_columns * sizeof(float));
    }
}

static void pack_keys(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const size_t next = range->first + range->keys;
    const lilac_softmax_rows rows = {.head = range->head,
                                     .n = range->first,
                                     .count = range->keys,
                                     .next_head = range->head,
                                     .next_n = next + range->keys <= shape->keys ? next : SIZE_MAX};
    lilac_tile_source key = lilac_softmax_tile_source(pass->config, &pass->tensors->key, &rows, shape->key_size);
    const lilac_tile_source value =
        lilac_softmax_tile_source(pass->config, &pass->tensors->value, &rows, shape->value_size);
    key.scale = (float)(pass->config->scale * LILAC_SOFTMAX_LOG2_E);
    pass->kernels->pack(
        &key,
        &(lilac_tile_forms){.columns = pass->key_columns, .left = own->key, .left_transposed = own->key_transposed});
    pass->kernels->pack(&value, &(lilac_tile_forms){.columns = pass->value_columns, .left = own->value});
}

/* Takes the packed block of keys through one block of queries. */
static void differentiate(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range,
                          size_t query_block) {
    const size_t n = query_block * QUERY_BLOCK, row = range->slot * pass->padded_queries + n;
    const size_t keys = row * pass->key_columns, values = row * pass->value_columns;
    const lilac_tile_backward block = {
        .queries = lilac_size_min(QUERY_BLOCK, pass->config->shape.queries - n),
        .keys = range->keys,
        .diagonal = pass->config->causal ? (ptrdiff_t)(n + 1) - (ptrdiff_t)range->first : (ptrdiff_t)range->keys,
        .key_columns = pass->key_columns,
        .value_columns = pass->value_columns,
        .key = own->key,
        .key_transposed = own->key_transposed,
        .value = own->value,
        .query = pass->query + keys,
        .query_transposed = pass->query_transposed + keys,
        .output_gradient = pass->output_gradient + values,
        .output_gradient_transposed = pass->output_gradient_transposed + values,
        .offsets = pass->offsets + row,
        .deltas = pass->deltas + row,
        .query_gradient = pass->query_gradient + keys,
        .key_gradient = own->key_gradient,
        .value_gradient = own->value_gradient,
        .score_gradients = own->score_gradients,
    };
    pass->kernels->backward(&block);
    const size_t before = range->first / KEY_BLOCK;
    atomic_size_t *added = &pass->added[range->slot * pass->query_blocks + query_block];
    lilac_softmax_await(added, before);
    pass->kernels->query_gradients(&block);
    atomic_store_explicit(added, before + 1, memory_order_release);
}

/* The gradients of a block of keys and values, `count` of them of which the first range->keys are not masked. */
static void differentiate_keys(const backward_pass *pass, const scratch *own, const lilac_softmax_key_range *range,
                               size_t count) {
    const lilac_attention_shape *shape = &pass->config->shape;
    const lilac_attention_output *key = &pass->tensors->key_gradient, *value = &pass->tensors->value_gradient;
    const size_t b = range->head / shape->heads, h = range->head % shape->heads;
    if (range->keys > 0) {
        pack_keys(pass, own, range);
    }
    lilac_softmax_expect_rows(pass->config, key, range->head, range->first, count, shape->key_size);
    lilac_softmax_expect_rows(pass->config, value, range->head, range->first, count, shape->value_size);
    memset(own->key_gradient, 0, KEY_BLOCK * pass->key_columns * sizeof(float));
    memset(own->value_gradient, 0, KEY_BLOCK * pass->value_columns * sizeof(float));
    const size_t first_block = pass->config->causal ? range->first / QUERY_BLOCK : 0;
    for (size_t block = first_block; range->keys > 0 && block < pass->query_blocks; block++) {
        differentiate(pass, own, range, block);
    }
    pass->kernels->store_gradients(range->keys, shape->key_size, pass->key_columns, pass->config->scale,
                                   own->key_gradient, lilac_attention_output_row(key, b, range->first, h),
                                   key->token_stride);
    pass->kernels->store_gradients(range->keys, shape->value_size, pass->value_columns, 1.0f, own->value_gradient,
                                   lilac_attention_output_row(value, b, range->first, h), value->token_stride);
    for (size_t n = range->first + range->keys; n < range->first + count; n++) {
        memset(lilac_attention_output_row(key, b, n, h), 0, shape->key_size * sizeof(float));
        memset(lilac_attention_output_row(value, b, n, h), 0, shape->value_size * sizeof(float));
    }
}

/*
 * Task number `task` of a group. As many heads as there are threads are worked on at a time, so that what is packed of
 * them stays in the threads' caches; neighbours in the order belong to different heads, so that they seldom wait.
 */
static lilac_softmax_key_range range_of(const backward_pass *pass, size_t task) {
    const size_t set = task / (pass->plan.threads * pass->key_blocks), first_slot = set * pass->plan.threads;
    const size_t heads = lilac_size_min(pass->plan.threads, pass->group - first_slot);
    const size_t within = task - first_slot * pass->key_blocks;
    return lilac_softmax_keys_from(pass->config, pass->first_head, first_slot + within % heads,
                                   within / heads * KEY_BLOCK, KEY_BLOCK);
}

/* One block of keys for each item, but which one is counted here: a block waits for the one before it of the same head,
 * which must have been taken before by some thread. */
static void differentiate_blocks(void *argument, size_t begin, size_t end) {
    backward_pass *pass = argument;
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&pass->scratch, &index);
    const scratch own = take_scratch(pass, &memory);
    for (size_t item = begin; item < end; item++) {
        const lilac_softmax_key_range range = range_of(pass, atomic_fetch_add(&pass->next_task, 1));
        differentiate_keys(pass, &own, &range, lilac_size_min(KEY_BLOCK, pass->config->shape.keys - range.first));
    }
    lilac_softmax_scratch_give(&pass->scratch, index);
}

/* Packed keys hold the scale and log2(e): the latter is taken out of their products with the scores' gradients. */
static void store_query_gradients(void *argument, size_t begin, size_t end) {
    const backward_pass *pass = argument;
    const lilac_attention_shape *shape = &pass->config->shape;
    const lilac_attention_output *gradient = &pass->tensors->query_gradient;
    for (size_t item = begin; item < end; item++) {
        const lilac_softmax_rows rows = lilac_softmax_rows_of(item, pass->first_head, pass->group, shape->queries);
        if (rows.next_n != SIZE_MAX) {
            lilac_softmax_expect_rows(pass->config, gradient, rows.next_head, rows.next_n, rows.count, shape->key_size);
        }
        pass->kernels->store_query_gradients(
            rows.count, shape->key_size, pass->key_columns, (float)(1.0 / LILAC_SOFTMAX_LOG2_E),
            pass->query_gradient + (rows.slot * pass->padded_queries + rows.n) * pass->key_columns,
            lilac_attention_output_row(gradient, rows.head / shape->heads, rows.n, rows.head % shape->heads),
            gradient->token_stride);
    }
}

lilac_status lilac_softmax_tiles_backward_measure(lilac_context *context, const lilac_softmax_attention_config *config,
                                                  lilac_workspace *workspace) {
    backward_pass pass;
    return lay_out(context, config, workspace, &pass);
}

lilac_status lilac_softmax_tiles_backward(lilac_context *context, const lilac_softmax_attention_config *config,
                                          const lilac_softmax_attention_backward_tensors *tensors, void *workspace) {
    lilac_workspace pieces = lilac_workspace_over(workspace);
    backward_pass pass;
    LILAC_TRY(lay_out(context, config, &pieces, &pass));
    pass.tensors = tensors;
    const lilac_softmax_plan *plan = &pass.plan;
    lilac_softmax_scratch_reset(&pass.scratch, plan->threads);
    for (; pass.first_head < plan->heads; pass.first_head += plan->group) {
        pass.group = lilac_size_min(plan->group, plan->heads - pass.first_head);
        const size_t items = lilac_softmax_row_items(pass.group, config->shape.queries);
        atomic_init(&pass.next_task, 0);
        for (size_t i = 0; i < pass.group * pass.query_blocks; i++) {
            atomic_init(&pass.added[i], 0);
        }
        lilac_parallel_for(context, items, 1, pack_queries, &pass);
        lilac_parallel_tasks(context, pass.group * pass.key_blocks, differentiate_blocks, &pass);
        lilac_parallel_for(context, items, 1, store_query_gradients, &pass);
    }
    return LILAC_OK;
}
