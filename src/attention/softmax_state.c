/* SPDX-License-Identifier: MIT */
/* Softmax attention token by token: the keys and values so far, and the step. */
#include "attention/softmax.h"
#include "core/little_endian.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

enum {
    PANEL = LILAC_SOFTMAX_PANEL,
    KEY_BLOCK = LILAC_SOFTMAX_KEY_BLOCK,
    QUERY_BLOCK = 96,            /* queries that go through the keys together; a multiple of LILAC_SOFTMAX_ROWS */
    STEP_GRAIN = 32768,          /* numbers to go through that are worth a thread */
    STEP_WHOLE = 10 * KEY_BLOCK, /* keys that a step goes through in one go; with more, threads share out a head's */
    STEP_KEYS = 6 * KEY_BLOCK    /* keys of each part of such a step */
};

/* Saved bytes: 8 of magic, the version (4), 4 zeros, B, H, D, M (8 each), the length of each sequence (8 each), then
 * for each head its keys and its values as floats, token after token. Numbers are little endian. */
enum { SAVED_MAGIC = 8, SAVED_SIZES = 16, SAVED_HEADER = 48, SAVED_LENGTH = 8, VERSION = 1 };

static const char magic[SAVED_MAGIC] = {'l', 'i', 'l', 'a', 'c', 's', 'a', 's'};

/* Room for some queries of a head. */
typedef struct query_pieces {
    float *rows;   /* [queries][key_stride]: queries, or a key */
    float *scores; /* [queries][LILAC_SOFTMAX_SCORE_STRIDE] */
    lilac_softmax_state sums;
} query_pieces;

/* The pieces of one head: what it has seen, and room for a step. */
typedef struct head_pieces {
    float *keys;        /* [padded_keys][D], as panels */
    float *values;      /* [capacity][value_stride] */
    query_pieces step;  /* of the first part of a step */
    char *more;         /* those of the further parts in turn */
    size_t piece_bytes; /* of each */
} head_pieces;

struct lilac_softmax_attention_state {
    lilac_softmax_attention_config config; /* keys: the capacity; lengths: none */
    size_t key_stride, value_stride, padded_keys;
    size_t *lengths; /* (B) */
    char *heads;     /* the pieces of each head in turn */
    size_t head_bytes;
};

static query_pieces take_queries(const lilac_softmax_attention_state *state, size_t queries,
                                 lilac_workspace *workspace) {
    query_pieces pieces;
    pieces.rows = lilac_workspace_take(workspace, queries * sizeof(float), state->key_stride);
    pieces.scores = lilac_workspace_take(workspace, queries * LILAC_SOFTMAX_SCORE_STRIDE, sizeof(float));
    pieces.sums.maximum = lilac_workspace_take(workspace, queries, sizeof(float));
    pieces.sums.sums = lilac_workspace_take(workspace, queries * LILAC_SOFTMAX_LANES, sizeof(float));
    pieces.sums.out = lilac_workspace_take(workspace, queries * sizeof(float), state->value_stride);
    pieces.sums.ld = state->value_stride;
    return pieces;
}

/* The parts of a step through that many keys: it depends on nothing else, so that results do not either. */
static size_t parts_of(size_t keys) {
    return keys <= STEP_WHOLE ? 1 : (keys + STEP_KEYS - 1) / STEP_KEYS;
}

static head_pieces take_pieces(const lilac_softmax_attention_state *state, lilac_workspace *workspace) {
    const lilac_attention_shape *shape = &state->config.shape;
    head_pieces pieces;
    pieces.keys = lilac_workspace_take(workspace, state->padded_keys * sizeof(float), shape->key_size);
    pieces.values = lilac_workspace_take(workspace, shape->keys * sizeof(float), state->value_stride);
    pieces.step = take_queries(state, 1, workspace);
    lilac_workspace one = lilac_workspace_over(NULL);
    take_queries(state, 1, &one);
    pieces.piece_bytes = one.used;
    pieces.more = lilac_workspace_take(workspace, parts_of(state->padded_keys) - 1, one.used);
    return pieces;
}

/* Room for part number `part` of a step. */
static query_pieces part_pieces(const lilac_softmax_attention_state *state, const head_pieces *pieces, size_t part) {
    return part == 0
               ? pieces->step
               : take_queries(state, 1, &(lilac_workspace){.memory = pieces->more + (part - 1) * pieces->piece_bytes});
}

static head_pieces pieces_of(const lilac_softmax_attention_state *state, size_t head) {
    return take_pieces(state, &(lilac_workspace){.memory = state->heads + head * state->head_bytes});
}

lilac_status lilac_softmax_attention_state_create(lilac_context *context, const lilac_softmax_attention_config *config,
                                                  lilac_softmax_attention_state **out) {
    lilac_softmax_attention_state made = {0};
    lilac_softmax_plan plan;
    if (config != NULL) {
        made.config = *config;
        made.config.causal = false;
        made.config.key_lengths = NULL;
        made.config.shape.queries = 1;
    }
    LILAC_TRY(lilac_softmax_plan_make(context, config == NULL ? NULL : &made.config, &plan));
    if (out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention state: out is NULL");
    }
    made.key_stride = plan.key_stride;
    made.value_stride = plan.value_stride;
    made.padded_keys = plan.padded_keys;
    lilac_workspace head = lilac_workspace_over(NULL), all = lilac_workspace_over(NULL);
    take_pieces(&made, &head);
    made.head_bytes = head.used;
    lilac_workspace_take(&all, 1, sizeof made);
    lilac_workspace_take(&all, made.config.shape.batch, sizeof *made.lengths);
    lilac_workspace_take(&all, plan.heads, made.head_bytes);
    size_t bytes;
    LILAC_TRY(lilac_workspace_measured(context, &all, &bytes));
    lilac_workspace memory = lilac_workspace_over(lilac_memory_allocate(bytes, 1));
    if (memory.memory == NULL) {
        return lilac_fail_memory(context, "a softmax attention state", bytes);
    }
    lilac_softmax_attention_state *state = lilac_workspace_take(&memory, 1, sizeof made);
    made.lengths = lilac_workspace_take(&memory, made.config.shape.batch, sizeof *made.lengths);
    made.heads = lilac_workspace_take(&memory, plan.heads, made.head_bytes);
    *state = made;
    *out = state;
    return LILAC_OK;
}

void lilac_softmax_attention_state_destroy(lilac_softmax_attention_state *state) {
    lilac_memory_free(state);
}

void lilac_softmax_attention_state_reset(lilac_softmax_attention_state *state) {
    memset(state->lengths, 0, state->config.shape.batch * sizeof *state->lengths);
}

static bool same_sizes(const lilac_attention_shape *a, const lilac_attention_shape *b) {
    return a->batch == b->batch && a->heads == b->heads && a->key_size == b->key_size && a->value_size == b->value_size;
}

lilac_status lilac_softmax_attention_state_copy(lilac_context *context, const lilac_softmax_attention_state *from,
                                                lilac_softmax_attention_state *to) {
    if (from == NULL || to == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention state copy: a state is NULL");
    }
    const lilac_attention_shape *shape = &from->config.shape, *other = &to->config.shape;
    if (!same_sizes(shape, other)) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "softmax attention state copy: from (%zu, %zu, %zu, %zu) to (%zu, %zu, %zu, %zu)",
                          shape->batch, shape->heads, shape->key_size, shape->value_size, other->batch, other->heads,
                          other->key_size, other->value_size);
    }
    for (size_t b = 0; b < shape->batch; b++) {
        if (from->lengths[b] > other->keys) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "softmax attention state copy: expected at most %zu tokens, got %zu", other->keys,
                              from->lengths[b]);
        }
    }
    for (size_t head = 0; head < shape->batch * shape->heads; head++) {
        const size_t length = from->lengths[head / shape->heads];
        const head_pieces source = pieces_of(from, head), target = pieces_of(to, head);
        memmove(target.keys, source.keys, lilac_round_up(length, PANEL) * shape->key_size * sizeof(float));
        memmove(target.values, source.values, length * from->value_stride * sizeof(float));
    }
    memmove(to->lengths, from->lengths, shape->batch * sizeof *to->lengths);
    return LILAC_OK;
}

/* The place of number 0 of a key; the next ones follow PANEL floats apart. */
static float *key_column(const head_pieces *pieces, size_t token, size_t key_size) {
    return pieces->keys + token / PANEL * PANEL * key_size + token % PANEL;
}

static void store_key(const head_pieces *pieces, size_t token, size_t key_size, const float *key) {
    float *column = key_column(pieces, token, key_size);
    for (size_t i = 0; i < key_size; i++) {
        column[i * PANEL] = key[i];
    }
}

size_t lilac_softmax_attention_state_saved_size(const lilac_softmax_attention_state *state) {
    const lilac_attention_shape *shape = &state->config.shape;
    size_t size = SAVED_HEADER + shape->batch * SAVED_LENGTH;
    for (size_t b = 0; b < shape->batch; b++) {
        size += state->lengths[b] * shape->heads * (shape->key_size + shape->value_size) * sizeof(float);
    }
    return size;
}

static void saved_header(const lilac_softmax_attention_state *state, unsigned char header[SAVED_HEADER]) {
    const lilac_attention_shape *shape = &state->config.shape;
    const size_t sizes[] = {shape->batch, shape->heads, shape->key_size, shape->value_size};
    memset(header, 0, SAVED_HEADER);
    memcpy(header, magic, SAVED_MAGIC);
    lilac_little_endian_store(VERSION, 4, header + SAVED_MAGIC);
    for (size_t i = 0; i < 4; i++) {
        lilac_little_endian_store(sizes[i], 8, header + SAVED_SIZES + 8 * i);
    }
}

lilac_status lilac_softmax_attention_state_save(lilac_context *context, const lilac_softmax_attention_state *state,
                                                void *bytes, size_t size) {
    if (state == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention state save: state or bytes is NULL");
    }
    const size_t expected = lilac_softmax_attention_state_saved_size(state);
    if (size != expected) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "softmax attention state save: expected %zu bytes, got %zu",
                          expected, size);
    }
    const lilac_attention_shape *shape = &state->config.shape;
    unsigned char *to = bytes;
    saved_header(state, to);
    to += SAVED_HEADER;
    for (size_t b = 0; b < shape->batch; b++, to += SAVED_LENGTH) {
        lilac_little_endian_store(state->lengths[b], SAVED_LENGTH, to);
    }
    for (size_t head = 0; head < shape->batch * shape->heads; head++) {
        const head_pieces pieces = pieces_of(state, head);
        const size_t length = state->lengths[head / shape->heads];
        for (size_t token = 0; token < length; token++) {
            const float *column = key_column(&pieces, token, shape->key_size);
            for (size_t i = 0; i < shape->key_size; i++, to += sizeof(float)) {
                lilac_little_endian_store_floats(1, column + i * PANEL, to);
            }
        }
        for (size_t token = 0; token < length; token++, to += shape->value_size * sizeof(float)) {
            lilac_little_endian_store_floats(shape->value_size, pieces.values + token * state->value_stride, to);
        }
    }
    return LILAC_OK;
}

static lilac_status check_saved(lilac_context *context, const lilac_softmax_attention_state *state,
                                const unsigned char *from, size_t size) {
    const char *what = "softmax attention state load";
    const lilac_attention_shape *shape = &state->config.shape;
    const size_t start = SAVED_HEADER + shape->batch * SAVED_LENGTH;
    unsigned char header[SAVED_HEADER];
    saved_header(state, header);
    if (size < SAVED_HEADER) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED, "%s: %zu bytes are less than the header's %d", what, size,
                          (int)SAVED_HEADER);
    }
    if (memcmp(from, magic, SAVED_MAGIC) != 0) {
        return lilac_fail(context, LILAC_ERROR_MAGIC, "%s: the bytes are not a saved state", what);
    }
    if (memcmp(from + SAVED_MAGIC, header + SAVED_MAGIC, SAVED_SIZES - SAVED_MAGIC) != 0) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: expected version %d, got %llu", what, (int)VERSION,
                          (unsigned long long)lilac_little_endian_load(4, from + SAVED_MAGIC));
    }
    if (memcmp(from + SAVED_SIZES, header + SAVED_SIZES, SAVED_HEADER - SAVED_SIZES) != 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: saved from a state with other sizes", what);
    }
    if (size < start) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED, "%s: %zu bytes are less than the lengths' %zu", what, size,
                          start);
    }
    size_t expected = start;
    for (size_t b = 0; b < shape->batch; b++) {
        const uint64_t length = lilac_little_endian_load(SAVED_LENGTH, from + SAVED_HEADER + b * SAVED_LENGTH);
        if (length > shape->keys) {
            return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: expected at most %zu tokens, got %llu", what,
                              shape->keys, (unsigned long long)length);
        }
        expected += (size_t)length * shape->heads * (shape->key_size + shape->value_size) * sizeof(float);
    }
    if (size != expected) {
        return lilac_fail(context, size < expected ? LILAC_ERROR_TRUNCATED : LILAC_ERROR_TRAILING,
                          "%s: expected %zu bytes, got %zu", what, expected, size);
    }
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_state_load(lilac_context *context, lilac_softmax_attention_state *state,
                                                const void *bytes, size_t size) {
    if (state == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention state load: state or bytes is NULL");
    }
    LILAC_TRY(check_saved(context, state, bytes, size));
    const lilac_attention_shape *shape = &state->config.shape;
    const unsigned char *from = (const unsigned char *)bytes + SAVED_HEADER;
    for (size_t b = 0; b < shape->batch; b++, from += SAVED_LENGTH) {
        state->lengths[b] = (size_t)lilac_little_endian_load(SAVED_LENGTH, from);
    }
    for (size_t head = 0; head < shape->batch * shape->heads; head++) {
        const head_pieces pieces = pieces_of(state, head);
        const size_t length = state->lengths[head / shape->heads];
        for (size_t token = 0; token < length; token++, from += shape->key_size * sizeof(float)) {
            lilac_little_endian_load_floats(shape->key_size, from, pieces.step.rows);
            store_key(&pieces, token, shape->key_size, pieces.step.rows);
        }
        for (size_t token = 0; token < length; token++, from += shape->value_size * sizeof(float)) {
            lilac_little_endian_load_floats(shape->value_size, from, pieces.values + token * state->value_stride);
        }
    }
    return LILAC_OK;
}

/* What a step, an append or an extension is given. */
typedef struct tokens_call {
    const lilac_softmax_attention_kernels *kernels;
    lilac_softmax_attention_state *state;
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

/* Keys go through own->rows. */
static void append_tokens(const tokens_call *call, size_t head, const query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const head_pieces pieces = pieces_of(state, head);
    const size_t length = state->lengths[head / shape->heads], count = tokens_of(call, head / shape->heads);
    for (size_t n = 0; n < count; n++) {
        lilac_softmax_load_rows(&state->config, call->key, head, n, 1, 1, shape->key_size, own->rows,
                                state->key_stride);
        store_key(&pieces, length + n, shape->key_size, own->rows);
    }
    lilac_softmax_load_rows(&state->config, call->value, head, 0, count, count, shape->value_size,
                            pieces.values + length * state->value_stride, state->value_stride);
}

static void append_heads(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    for (size_t head = begin; head < end; head++) {
        const head_pieces pieces = pieces_of(call->state, head);
        append_tokens(call, head, &pieces.step);
    }
}

/* Attends with the queries in own->rows: `rows` of them with those of zeros, the first of which sees `seen` keys and
 * each further one a key more, to keys begin .. end - 1. */
static void attend(const tokens_call *call, const head_pieces *pieces, const query_pieces *own, size_t rows,
                   size_t seen, size_t begin, size_t end) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    for (size_t r = 0; r < rows; r++) {
        own->sums.maximum[r] = -INFINITY;
    }
    memset(own->sums.sums, 0, rows * LILAC_SOFTMAX_LANES * sizeof(float));
    memset(own->sums.out, 0, rows * state->value_stride * sizeof(float));
    for (size_t first = begin; first < end; first += KEY_BLOCK) {
        const lilac_softmax_block block = {.rows = rows,
                                           .keys = lilac_size_min(KEY_BLOCK, end - first),
                                           .diagonal = (ptrdiff_t)seen - (ptrdiff_t)first};
        call->kernels->scores(&block, shape->key_size, own->rows, state->key_stride,
                              pieces->keys + first * shape->key_size, own->scores);
        call->kernels->accumulate(&block, own->scores, shape->value_size, pieces->values + first * state->value_stride,
                                  state->value_stride, &own->sums);
    }
}

/* own->rows = `count` of the call's queries from number n on, scaled, and zeros up to `rows`. */
static void load_queries(const tokens_call *call, size_t head, size_t n, size_t count, size_t rows,
                         const query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const float scale = (float)(state->config.scale * LILAC_SOFTMAX_LOG2_E);
    lilac_softmax_load_rows(&state->config, call->query, head, n, count, rows, state->config.shape.key_size, own->rows,
                            state->key_stride);
    for (size_t i = 0; i < count * state->key_stride; i++) {
        own->rows[i] *= scale;
    }
}

/* The outputs of `count` of the call's tokens from number n on, whose keys and values are there already. */
static void attend_tokens(const tokens_call *call, size_t head, size_t n, size_t count, const query_pieces *own) {
    const lilac_softmax_attention_state *state = call->state;
    const lilac_attention_shape *shape = &state->config.shape;
    const head_pieces pieces = pieces_of(state, head);
    const size_t rows = count == 1 ? 1 : lilac_round_up(count, LILAC_SOFTMAX_ROWS);
    const size_t before = state->lengths[head / shape->heads] + n;
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
        const head_pieces pieces = pieces_of(call->state, head);
        append_tokens(call, head, &pieces.step);
        attend_tokens(call, head, 0, 1, &pieces.step);
    }
}

/* Parts of steps: part `item % parts` of head `item / parts`, where its sequence is long enough for one. */
static void step_parts(void *argument, size_t begin, size_t end) {
    const tokens_call *call = argument;
    const lilac_softmax_attention_state *state = call->state;
    for (size_t item = begin; item < end; item++) {
        const size_t head = item / call->parts, part = item % call->parts;
        const size_t keys = state->lengths[head / state->config.shape.heads] + 1, parts = parts_of(keys);
        if (part >= parts) {
            continue;
        }
        const size_t first = part * STEP_KEYS, last = part + 1 == parts ? keys : first + STEP_KEYS;
        const head_pieces pieces = pieces_of(state, head);
        const query_pieces own = part_pieces(state, &pieces, part);
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
        const head_pieces pieces = pieces_of(state, head);
        const size_t parts = parts_of(state->lengths[head / state->config.shape.heads] + 1);
        const lilac_softmax_state total = pieces.step.sums;
        float maximum = total.maximum[0], sum = 0.0f;
        for (size_t part = 1; part < parts; part++) {
            maximum = fmaxf(maximum, part_pieces(state, &pieces, part).sums.maximum[0]);
        }
        for (size_t part = 0; part < parts; part++) {
            const lilac_softmax_state sums = part_pieces(state, &pieces, part).sums;
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
    const query_pieces own = take_queries(call->state, QUERY_BLOCK, &memory);
    for (size_t item = begin; item < end; item++) {
        const size_t n = (blocks - 1 - item % blocks) * QUERY_BLOCK;
        attend_tokens(call, item / blocks, n, lilac_size_min(QUERY_BLOCK, call->tokens - n), &own);
    }
    lilac_softmax_scratch_give(&call->scratch, index);
}

/* Also SHAPE where a sequence would outgrow the state. */
static lilac_status check_room(lilac_context *context, const tokens_call *call) {
    const lilac_attention_shape *shape = &call->state->config.shape;
    for (size_t b = 0; b < shape->batch; b++) {
        const size_t count = tokens_of(call, b), length = call->state->lengths[b];
        if (count > call->tokens) {
            return lilac_fail(context, LILAC_ERROR_SHAPE, "length of sequence %zu: expected at most %zu, got %zu", b,
                              call->tokens, count);
        }
        if (count > shape->keys - length) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "softmax attention state: sequence %zu has %zu tokens of %zu, no room for %zu more", b,
                              length, shape->keys, count);
        }
    }
    LILAC_TRY(lilac_attention_check_input(context, "key", call->key, shape, call->tokens, shape->key_size));
    return lilac_attention_check_input(context, "value", call->value, shape, call->tokens, shape->value_size);
}

/* Counts the tokens that have been taken in. */
static void lengthen(const tokens_call *call) {
    for (size_t b = 0; b < call->state->config.shape.batch; b++) {
        call->state->lengths[b] += tokens_of(call, b);
    }
}

lilac_status lilac_softmax_attention_state_append(lilac_context *context, lilac_softmax_attention_state *state,
                                                  size_t tokens, const size_t *lengths,
                                                  const lilac_attention_input *key,
                                                  const lilac_attention_input *value) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention append: context or state is NULL");
    }
    tokens_call call = {.state = state, .tokens = tokens, .lengths = lengths, .key = key, .value = value};
    LILAC_TRY(check_room(context, &call));
    const lilac_attention_shape *shape = &state->config.shape;
    lilac_parallel_for(context, shape->batch * shape->heads, 1, append_heads, &call);
    lengthen(&call);
    return LILAC_OK;
}

lilac_status lilac_softmax_attention_step(lilac_context *context, lilac_softmax_attention_state *state,
                                          const lilac_attention_input *query, const lilac_attention_input *key,
                                          const lilac_attention_input *value, const lilac_attention_output *output) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention step: context or state is NULL");
    }
    tokens_call call = {.kernels = &context->kernels->softmax_attention,
                        .state = state,
                        .tokens = 1,
                        .query = query,
                        .key = key,
                        .value = value,
                        .output = output};
    const lilac_attention_shape *shape = &state->config.shape;
    LILAC_TRY(lilac_attention_check_input(context, "query", query, shape, 1, shape->key_size));
    LILAC_TRY(lilac_attention_check_output(context, "output", output, shape, 1, shape->value_size));
    LILAC_TRY(check_room(context, &call));
    size_t longest = 1;
    for (size_t b = 0; b < shape->batch; b++) {
        longest = lilac_size_max(longest, state->lengths[b]);
    }
    const size_t heads = shape->batch * shape->heads;
    const size_t grain = STEP_GRAIN / longest / (shape->key_size + shape->value_size) + 1;
    call.parts = parts_of(longest + 1);
    if (call.parts == 1) {
        lilac_parallel_for(context, heads, grain, step_heads, &call);
    } else {
        lilac_parallel_for(context, heads * call.parts, 1, step_parts, &call);
        lilac_parallel_for(context, heads, heads, combine_parts, &call);
    }
    lengthen(&call);
    return LILAC_OK;
}

static lilac_softmax_scratch cut_scratch(const lilac_context *context, const lilac_softmax_attention_state *state,
                                         lilac_workspace *workspace) {
    lilac_workspace own = lilac_workspace_over(NULL);
    take_queries(state, QUERY_BLOCK, &own);
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

lilac_status lilac_softmax_attention_extend(lilac_context *context, lilac_softmax_attention_state *state, size_t tokens,
                                            const lilac_attention_input *query, const lilac_attention_input *key,
                                            const lilac_attention_input *value, const lilac_attention_output *output,
                                            void *workspace, size_t workspace_bytes) {
    size_t needed;
    LILAC_TRY(lilac_softmax_attention_extend_workspace_size(context, state, &needed));
    tokens_call call = {.kernels = &context->kernels->softmax_attention,
                        .state = state,
                        .tokens = tokens,
                        .query = query,
                        .key = key,
                        .value = value,
                        .output = output};
    const lilac_attention_shape *shape = &state->config.shape;
    LILAC_TRY(lilac_attention_check_input(context, "query", query, shape, tokens, shape->key_size));
    LILAC_TRY(lilac_attention_check_output(context, "output", output, shape, tokens, shape->value_size));
    LILAC_TRY(check_room(context, &call));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    lilac_workspace memory = lilac_workspace_over(workspace);
    call.scratch = cut_scratch(context, state, &memory);
    lilac_softmax_scratch_reset(&call.scratch, (size_t)context->config.threads);
    const size_t heads = shape->batch * shape->heads;
    lilac_parallel_for(context, heads, 1, append_heads, &call);
    lilac_parallel_tasks(context, heads * query_blocks(&call), extend_blocks, &call);
    lengthen(&call);
    return LILAC_OK;
}
