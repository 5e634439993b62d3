/* SPDX-License-Identifier: MIT */
/* Softmax attention token by token: taking in tokens, one or many, and their outputs. */
#include "attention/softmax_state.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

enum {
    KEY_BLOCK = LILAC_SOFTMAX_KEY_BLOCK,
    QUERY_BLOCK = LILAC_SOFTMAX_QUERY_BLOCK,
    STEP_GRAIN = 32768 /* numbers to go through that are worth a thread */
};

/* What a step, an append or an extension is given. Heads are numbered from the first sequence's on. */
typedef struct tokens_call {
    const lilac_kernel_table *kernels;
    lilac_softmax_attention_state *state;
    size_t first, count; /* sequences of the state */
    size_t tokens;
    const size_t *lengths; /* NULL: all tokens */
    const lilac_attention_input *query, *key, *value;
    const lilac_attention_output *output;
    lilac_softmax_scratch scratch; /* of an extension */
    size_t parts;                  /* of a step: most of any head */
} tokens_call;

static size_t tokens_of(const tokens_call *call, size_t b) {
    return call->lengths == NULL ? call->tokens : call->lengths[b];
}

/* The tokens that a head of the call has had before it. */
static size_t length_of(const tokens_call *call, size_t head) {
    return call->state->lengths[call->first + head / call->state->config.shape.heads];
}

static lilac_softmax_head_pieces call_pieces(const tokens_call *call, size_t head) {
    return lilac_softmax_pieces_of(call->state, call->first * call->state->config.shape.heads + head);
}

/* Keys and values go through *own. */
static void append_tokens(const tokens_call *call, size_t head, const lilac_softmax_query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const lilac_softmax_head_pieces pieces = call_pieces(call, head);
    const size_t length = length_of(call, head), count = tokens_of(call, head / shape->heads);
    for (size_t n = 0; n < count; n++) {
        lilac_softmax_load_rows(&state->config, call->key, head, n, 1, 1, shape->key_size, own->rows,
                                state->key_stride);
        lilac_softmax_store_key(state, &pieces, length + n, own->rows);
    }
    for (size_t n = 0; state->bf16 && n < count; n++) {
        lilac_softmax_load_rows(&state->config, call->value, head, n, 1, 1, shape->value_size, own->sums.out,
                                state->value_stride);
        lilac_softmax_store_value(state, &pieces, length + n, own->sums.out);
    }
    if (!state->bf16) {
        lilac_softmax_load_rows(&state->config, call->value, head, 0, count, count, shape->value_size,
                                (float *)pieces.values + length * state->value_stride, state->value_stride);
    }
}

static void append_heads(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    for (size_t head = begin; head < end; head++) {
        const lilac_softmax_head_pieces pieces = call_pieces(call, head);
        append_tokens(call, head, &pieces.step);
    }
}

/* What a step reads next, for the kernels to fetch meanwhile. */
static void look_ahead(lilac_softmax_block *block, const void *data, size_t bytes) {
    block->ahead = data;
    block->ahead_bytes = bytes;
}

/* Takes a block of keys and values that are kept as floats into the sums of own->rows. */
static void attend_floats(const tokens_call *call, const lilac_softmax_query_pieces *own, lilac_softmax_block *block,
                          const float *keys, const float *values) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const lilac_softmax_attention_kernels *kernels = &call->kernels->softmax_attention;
    look_ahead(block, values, block->keys * state->value_stride * sizeof *values);
    kernels->scores(block, shape->key_size, own->rows, state->key_stride, keys, own->scores);
    look_ahead(block, keys + KEY_BLOCK * shape->key_size, KEY_BLOCK * shape->key_size * sizeof *keys);
    kernels->accumulate(block, own->scores, shape->value_size, values, state->value_stride, &own->sums);
}

/* The same for those that are kept in bf16: read as they are for one query, else turned into floats once for all. */
static void attend_bf16(const tokens_call *call, const lilac_softmax_query_pieces *own, lilac_softmax_block *block,
                        const uint16_t *keys, const uint16_t *values) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const lilac_softmax_attention_kernels *kernels = &call->kernels->softmax_attention;
    if (block->rows == 1) {
        look_ahead(block, values, block->keys * state->value_stride * sizeof *values);
        kernels->kept_scores_bf16(block, shape->key_size, own->rows, keys, own->scores);
        look_ahead(block, keys + KEY_BLOCK * shape->key_size, KEY_BLOCK * shape->key_size * sizeof *keys);
        kernels->kept_accumulate_bf16(block, own->scores, shape->value_size, values, state->value_stride, &own->sums);
        return;
    }
    const size_t key_numbers = lilac_round_up(block->keys, LILAC_SOFTMAX_PANEL) * shape->key_size;
    const size_t value_numbers = block->keys * state->value_stride;
    call->kernels->elementwise.bf16_to_float(1, key_numbers, keys, key_numbers, own->keys, key_numbers);
    call->kernels->elementwise.bf16_to_float(1, value_numbers, values, value_numbers, own->values, value_numbers);
    attend_floats(call, own, block, own->keys, own->values);
}

/* Attends with the queries in own->rows: `rows` of them with those of zeros, the first of which sees `seen` keys and
 * each further one a key more, to keys begin .. end - 1. */
static void attend(const tokens_call *call, const lilac_softmax_head_pieces *pieces,
                   const lilac_softmax_query_pieces *own, size_t rows, size_t seen, size_t begin, size_t end) {
    const lilac_softmax_attention_state *state = call->state;
    const size_t key_size = state->config.shape.key_size;
    for (size_t r = 0; r < rows; r++) {
        own->sums.maximum[r] = -INFINITY;
    }
    memset(own->sums.sums, 0, rows * LILAC_SOFTMAX_LANES * sizeof(float));
    memset(own->sums.out, 0, rows * state->value_stride * sizeof(float));
    for (size_t first = begin; first < end; first += KEY_BLOCK) {
        lilac_softmax_block block = {.rows = rows,
                                     .keys = lilac_size_min(KEY_BLOCK, end - first),
                                     .diagonal = (ptrdiff_t)seen - (ptrdiff_t)first};
        const size_t key = first * key_size, value = first * state->value_stride;
        if (state->bf16) {
            attend_bf16(call, own, &block, (const uint16_t *)pieces->keys + key,
                        (const uint16_t *)pieces->values + value);
        } else {
            attend_floats(call, own, &block, (const float *)pieces->keys + key, (const float *)pieces->values + value);
        }
    }
}

/* own->rows = `count` of the call's queries from number n on, scaled, and zeros up to `rows`. */
static void load_queries(const tokens_call *call, size_t head, size_t n, size_t count, size_t rows,
                         const lilac_softmax_query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const float scale = (float)(state->config.scale * LILAC_SOFTMAX_LOG2_E);
    lilac_softmax_load_rows(&state->config, call->query, head, n, count, rows, state->config.shape.key_size, own->rows,
                            state->key_stride);
    for (size_t i = 0; i < count * state->key_stride; i++) {
        own->rows[i] *= scale;
    }
}

/* The outputs of `count` of the call's tokens from number n on, whose keys and values are there already. */
static void attend_tokens(const tokens_call *call, size_t head, size_t n, size_t count,
                          const lilac_softmax_query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const lilac_softmax_head_pieces pieces = call_pieces(call, head);
    const size_t rows = count == 1 ? 1 : lilac_round_up(count, LILAC_SOFTMAX_ROWS);
    const size_t before = length_of(call, head) + n;
    load_queries(call, head, n, count, rows, own);
    attend(call, &pieces, own, rows, before + 1, 0, before + count);
    for (size_t r = 0; r < count; r++) {
        lilac_softmax_store_rows(&state->config, own->sums.out + r * state->value_stride, state->value_stride,
                                 1.0f / lilac_softmax_row_sum(own->sums.sums + r * LILAC_SOFTMAX_LANES), call->output,
                                 head, n + r, 1, shape->value_size);
    }
}

static void step_heads(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    for (size_t head = begin; head < end; head++) {
        const lilac_softmax_head_pieces pieces = call_pieces(call, head);
        append_tokens(call, head, &pieces.step);
        attend_tokens(call, head, 0, 1, &pieces.step);
    }
}

/* Parts of steps: part `item % parts` of head `item / parts`, where its sequence is long enough for one. */
static void step_parts(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    for (size_t item = begin; item < end; item++) {
        const size_t head = item / call->parts, part = item % call->parts;
        const size_t keys = length_of(call, head) + 1, parts = lilac_softmax_step_parts(keys);
        if (part >= parts) {
            continue;
        }
        const size_t first = part * LILAC_SOFTMAX_STEP_KEYS;
        const size_t last = part + 1 == parts ? keys : first + LILAC_SOFTMAX_STEP_KEYS;
        const lilac_softmax_head_pieces pieces = call_pieces(call, head);
        const lilac_softmax_query_pieces own = lilac_softmax_part_pieces(call->state, &pieces, part);
        if (part + 1 == parts) {
            append_tokens(call, head, &own);
        }
        load_queries(call, head, 0, 1, 1, &own);
        attend(call, &pieces, &own, 1, keys, first, last);
    }
}

/* The outputs from the parts, which are taken in their order. */
static void combine_parts(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    const lilac_softmax_attention_state *state = call->state;
    for (size_t head = begin; head < end; head++) {
        const lilac_softmax_head_pieces pieces = call_pieces(call, head);
        const size_t parts = lilac_softmax_step_parts(length_of(call, head) + 1);
        const lilac_softmax_state total = pieces.step.sums;
        float maximum = total.maximum[0], sum = 0.0f;
        for (size_t part = 1; part < parts; part++) {
            maximum = fmaxf(maximum, lilac_softmax_part_pieces(state, &pieces, part).sums.maximum[0]);
        }
        for (size_t part = 0; part < parts; part++) {
            const lilac_softmax_state sums = lilac_softmax_part_pieces(state, &pieces, part).sums;
            const float factor = exp2f(sums.maximum[0] - maximum);
            sum += factor * lilac_softmax_row_sum(sums.sums);
            for (size_t i = 0; i < state->value_stride; i++) {
                total.out[i] = (part == 0 ? 0.0f : total.out[i]) + factor * sums.out[i];
            }
        }
        lilac_softmax_store_rows(&state->config, total.out, state->value_stride, 1.0f / sum, call->output, head, 0, 1,
                                 state->config.shape.value_size);
    }
}

static size_t query_blocks(const tokens_call *call) {
    return lilac_round_up(call->tokens, QUERY_BLOCK) / QUERY_BLOCK;
}

/* The blocks of queries of each head, last first: those are the longest. */
static void extend_blocks(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    const size_t blocks = query_blocks(call);
    size_t index;
    lilac_workspace memory = lilac_softmax_scratch_take(&call->scratch, &index);
    const lilac_softmax_query_pieces own = lilac_softmax_take_queries(call->state, QUERY_BLOCK, &memory);
    for (size_t item = begin; item < end; item++) {
        const size_t n = (blocks - 1 - item % blocks) * QUERY_BLOCK;
        attend_tokens(call, item / blocks, n, lilac_size_min(QUERY_BLOCK, call->tokens - n), &own);
    }
    lilac_softmax_scratch_give(&call->scratch, index);
}

/* The shape of a call's tensors. */
static lilac_attention_shape call_shape(const tokens_call *call) {
    lilac_attention_shape shape = call->state->config.shape;
    shape.batch = call->count;
    return shape;
}

/* Also SHAPE where a sequence would outgrow the state. */
static lilac_status check_room(lilac_context *context, const tokens_call *call) {
    const lilac_attention_shape shape = call_shape(call);
    for (size_t b = 0; b < shape.batch; b++) {
        const size_t count = tokens_of(call, b), length = call->state->lengths[call->first + b];
        if (count > call->tokens) {
            return lilac_fail(context, LILAC_ERROR_SHAPE, "length of sequence %zu: expected at most %zu, got %zu", b,
                              call->tokens, count);
        }
        if (count > shape.keys - length) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "softmax attention state: sequence %zu has %zu tokens of %zu, no room for %zu more",
                              call->first + b, length, shape.keys, count);
        }
    }
    LILAC_TRY(lilac_attention_check_input(context, "key", call->key, &shape, call->tokens, shape.key_size));
    return lilac_attention_check_input(context, "value", call->value, &shape, call->tokens, shape.value_size);
}

/* The same with outputs. */
static lilac_status check_call(lilac_context *context, const tokens_call *call) {
    const lilac_attention_shape shape = call_shape(call);
    LILAC_TRY(lilac_attention_check_input(context, "query", call->query, &shape, call->tokens, shape.key_size));
    LILAC_TRY(lilac_attention_check_output(context, "output", call->output, &shape, call->tokens, shape.value_size));
    return check_room(context, call);
}

/* Counts the tokens that have been taken in. */
static void lengthen(const tokens_call *call) {
    for (size_t b = 0; b < call->count; b++) {
        call->state->lengths[call->first + b] += tokens_of(call, b);
    }
}

lilac_status lilac_softmax_attention_state_append(lilac_context *context, lilac_softmax_attention_state *state,
                                                  size_t tokens, const size_t *lengths,
                                                  const lilac_attention_input *key,
                                                  const lilac_attention_input *value) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention append: context or state is NULL");
    }
    const lilac_attention_shape *shape = &state->config.shape;
    tokens_call call = {
        .state = state, .count = shape->batch, .tokens = tokens, .lengths = lengths, .key = key, .value = value};
    LILAC_TRY(check_room(context, &call));
    lilac_parallel_for(context, shape->batch * shape->heads, 1, append_heads, &call);
    lengthen(&call);
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_step_some(lilac_context *context, lilac_softmax_attention_state *state,
                                               size_t first, size_t count, const lilac_attention_input *query,
                                               const lilac_attention_input *key, const lilac_attention_input *value,
                                               const lilac_attention_output *output) {
    tokens_call call = {.kernels = context->kernels,
                        .state = state,
                        .first = first,
                        .count = count,
                        .tokens = 1,
                        .query = query,
                        .key = key,
                        .value = value,
                        .output = output};
    const lilac_attention_shape *shape = &state->config.shape;
    LILAC_TRY(check_call(context, &call));
    size_t longest = 1;
    for (size_t b = first; b < first + count; b++) {
        longest = lilac_size_max(longest, state->lengths[b]);
    }
    const size_t grain = STEP_GRAIN / longest / (shape->key_size + shape->value_size) + 1;
    const size_t heads = count * shape->heads;
    call.parts = lilac_softmax_step_parts(longest + 1);
    if (call.parts == 1) {
        lilac_parallel_for(context, heads, grain, step_heads, &call);
    } else {
        lilac_parallel_for(context, heads * call.parts, 1, step_parts, &call);
        lilac_parallel_for(context, heads, heads, combine_parts, &call);
    }
    lengthen(&call);
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_step(lilac_context *context, lilac_softmax_attention_state *state,
                                          const lilac_attention_input *query, const lilac_attention_input *key,
                                          const lilac_attention_input *value, const lilac_attention_output *output) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention step: context or state is NULL");
    }
    return lilac_softmax_attention_step_some(context, state, 0, state->config.shape.batch, query, key, value, output);
}

static lilac_softmax_scratch cut_scratch(const lilac_context *context, const lilac_softmax_attention_state *state,
                                         lilac_workspace *workspace) {
    lilac_workspace own = lilac_workspace_over(NULL);
    lilac_softmax_take_queries(state, QUERY_BLOCK, &own);
    return lilac_softmax_scratch_cut(workspace, (size_t)context->config.threads, own.used);
}

lilac_status lilac_softmax_attention_extend_workspace_size(lilac_context *context,
                                                           const lilac_softmax_attention_state *state, size_t *bytes) {
    if (context == NULL || state == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention extend: a null pointer");
    }
    lilac_workspace workspace = lilac_workspace_over(NULL);
    cut_scratch(context, state, &workspace);
    return lilac_workspace_measured(context, &workspace, bytes);
}

lilac_status lilac_softmax_attention_extend_some(lilac_context *context, lilac_softmax_attention_state *state,
                                                 size_t first, size_t count, size_t tokens,
                                                 const lilac_attention_input *query, const lilac_attention_input *key,
                                                 const lilac_attention_input *value,
                                                 const lilac_attention_output *output, void *workspace,
                                                 size_t workspace_bytes) {
    size_t needed;
    LILAC_TRY(lilac_softmax_attention_extend_workspace_size(context, state, &needed));
    tokens_call call = {.kernels = context->kernels,
                        .state = state,
                        .first = first,
                        .count = count,
                        .tokens = tokens,
                        .query = query,
                        .key = key,
                        .value = value,
                        .output = output};
    LILAC_TRY(check_call(context, &call));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    lilac_workspace memory = lilac_workspace_over(workspace);
    call.scratch = cut_scratch(context, state, &memory);
    lilac_softmax_scratch_reset(&call.scratch, (size_t)context->config.threads);
    const size_t heads = count * state->config.shape.heads;
    lilac_parallel_for(context, heads, 1, append_heads, &call);
    lilac_parallel_tasks(context, heads * query_blocks(&call), extend_blocks, &call);
    lengthen(&call);
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_extend(lilac_context *context, lilac_softmax_attention_state *state, size_t tokens,
                                            const lilac_attention_input *query, const lilac_attention_input *key,
                                            const lilac_attention_input *value, const lilac_attention_output *output,
                                            void *workspace, size_t workspace_bytes) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention extend: a null pointer");
    }
    return lilac_softmax_attention_extend_some(context, state, 0, state->config.shape.batch, tokens, query, key, value,
                                               output, workspace, workspace_bytes);
}
