/* SPDX-License-Identifier: MIT */
/* Softmax attention token by token: the keys and values so far, which can be copied and saved. */
#include "attention/softmax_state.h"

#include "core/bf16.h"
#include "core/little_endian.h"
#include "core/memory.h"

#include <string.h>

enum { PANEL = LILAC_SOFTMAX_PANEL };

/* Saved bytes: 8 of magic, the version (4), 4 zeros, B, H, D, M (8 each), the length of each sequence (8 each), then
 * for each head its keys and its values as floats, token after token. Numbers are little endian. */
enum { SAVED_MAGIC = 8, SAVED_SIZES = 16, SAVED_HEADER = 48, SAVED_LENGTH = 8, VERSION = 1 };

static const char magic[SAVED_MAGIC] = {'l', 'i', 'l', 'a', 'c', 's', 'a', 's'};

lilac_softmax_query_pieces lilac_softmax_take_queries(const lilac_softmax_attention_state *state, size_t queries,
                                                      lilac_workspace *workspace) {
    lilac_softmax_query_pieces pieces = {.keys = NULL};
    pieces.rows = lilac_workspace_take(workspace, queries * sizeof(float), state->key_stride);
    pieces.scores = lilac_workspace_take(workspace, queries * LILAC_SOFTMAX_SCORE_STRIDE, sizeof(float));
    pieces.sums.maximum = lilac_workspace_take(workspace, queries, sizeof(float));
    pieces.sums.sums = lilac_workspace_take(workspace, queries * LILAC_SOFTMAX_LANES, sizeof(float));
    pieces.sums.out = lilac_workspace_take(workspace, queries * sizeof(float), state->value_stride);
    pieces.sums.ld = state->value_stride;
    if (state->bf16 && queries > 1) {
        pieces.keys = lilac_workspace_take(workspace, LILAC_SOFTMAX_KEYS * sizeof(float), state->config.shape.key_size);
        pieces.values = lilac_workspace_take(workspace, LILAC_SOFTMAX_KEYS * sizeof(float), state->value_stride);
    }
    return pieces;
}

size_t lilac_softmax_step_parts(size_t keys) {
    return keys <= LILAC_SOFTMAX_STEP_WHOLE ? 1 : (keys + LILAC_SOFTMAX_STEP_KEYS - 1) / LILAC_SOFTMAX_STEP_KEYS;
}

lilac_softmax_query_pieces lilac_softmax_part_pieces(const lilac_softmax_attention_state *state,
                                                     const lilac_softmax_head_pieces *pieces, size_t part) {
    if (part == 0) {
        return pieces->step;
    }
    lilac_workspace memory = {.memory = pieces->more + (part - 1) * pieces->piece_bytes};
    return lilac_softmax_take_queries(state, 1, &memory);
}

static lilac_softmax_head_pieces take_pieces(const lilac_softmax_attention_state *state, lilac_workspace *workspace) {
    const lilac_attention_shape *shape = &state->config.shape;
    lilac_softmax_head_pieces pieces;
    pieces.keys = lilac_workspace_take(workspace, state->padded_keys * state->element, shape->key_size);
    pieces.values = lilac_workspace_take(workspace, shape->keys * state->element, state->value_stride);
    pieces.step = lilac_softmax_take_queries(state, 1, workspace);
    lilac_workspace one = lilac_workspace_over(NULL);
    lilac_softmax_take_queries(state, 1, &one);
    pieces.piece_bytes = one.used;
    pieces.more = lilac_workspace_take(workspace, lilac_softmax_step_parts(state->padded_keys) - 1, one.used);
    return pieces;
}

lilac_softmax_head_pieces lilac_softmax_pieces_of(const lilac_softmax_attention_state *state, size_t head) {
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
    if (config->cache != LILAC_ATTENTION_F32 && config->cache != LILAC_ATTENTION_BF16) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "softmax attention state: no dtype number %d for the cache",
                          (int)config->cache);
    }
    made.bf16 = config->cache == LILAC_ATTENTION_BF16;
    made.element = made.bf16 ? sizeof(uint16_t) : sizeof(float);
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
    if (from->bf16 != to->bf16) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "softmax attention state copy: one keeps floats, the other bf16");
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
        const lilac_softmax_head_pieces source = lilac_softmax_pieces_of(from, head);
        const lilac_softmax_head_pieces target = lilac_softmax_pieces_of(to, head);
        memmove(target.keys, source.keys, lilac_round_up(length, PANEL) * shape->key_size * from->element);
        memmove(target.values, source.values, length * from->value_stride * from->element);
    }
    memmove(to->lengths, from->lengths, shape->batch * sizeof *to->lengths);
    return LILAC_OK;
}

static float number_at(const lilac_softmax_attention_state *state, const void *numbers, size_t index) {
    return state->bf16 ? lilac_float_from_bf16(((const uint16_t *)numbers)[index]) : ((const float *)numbers)[index];
}

static void set_number(const lilac_softmax_attention_state *state, void *numbers, size_t index, float value) {
    if (state->bf16) {
        ((uint16_t *)numbers)[index] = lilac_bf16_from_float(value);
    } else {
        ((float *)numbers)[index] = value;
    }
}

/* The place of number 0 of a key; the next ones follow PANEL numbers apart. */
static size_t key_column(const lilac_softmax_attention_state *state, size_t token) {
    return token / PANEL * PANEL * state->config.shape.key_size + token % PANEL;
}

void lilac_softmax_store_key(const lilac_softmax_attention_state *state, const lilac_softmax_head_pieces *pieces,
                             size_t token, const float *key) {
    const size_t column = key_column(state, token);
    for (size_t i = 0; i < state->config.shape.key_size; i++) {
        set_number(state, pieces->keys, column + i * PANEL, key[i]);
    }
}

void lilac_softmax_store_value(const lilac_softmax_attention_state *state, const lilac_softmax_head_pieces *pieces,
                               size_t token, const float *value) {
    for (size_t i = 0; i < state->config.shape.value_size; i++) {
        set_number(state, pieces->values, token * state->value_stride + i, value[i]);
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
        const lilac_softmax_head_pieces pieces = lilac_softmax_pieces_of(state, head);
        const size_t length = state->lengths[head / shape->heads];
        for (size_t token = 0; token < length; token++) {
            const size_t column = key_column(state, token);
            for (size_t i = 0; i < shape->key_size; i++, to += sizeof(float)) {
                const float number = number_at(state, pieces.keys, column + i * PANEL);
                lilac_little_endian_store_floats(1, &number, to);
            }
        }
        for (size_t token = 0; token < length; token++) {
            for (size_t i = 0; i < shape->value_size; i++, to += sizeof(float)) {
                const float number = number_at(state, pieces.values, token * state->value_stride + i);
                lilac_little_endian_store_floats(1, &number, to);
            }
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
        const lilac_softmax_head_pieces pieces = lilac_softmax_pieces_of(state, head);
        const size_t length = state->lengths[head / shape->heads];
        for (size_t token = 0; token < length; token++, from += shape->key_size * sizeof(float)) {
            lilac_little_endian_load_floats(shape->key_size, from, pieces.step.rows);
            lilac_softmax_store_key(state, &pieces, token, pieces.step.rows);
        }
        for (size_t token = 0; token < length; token++, from += shape->value_size * sizeof(float)) {
            lilac_little_endian_load_floats(shape->value_size, from, pieces.step.sums.out);
            lilac_softmax_store_value(state, &pieces, token, pieces.step.sums.out);
        }
    }
    return LILAC_OK;
}
