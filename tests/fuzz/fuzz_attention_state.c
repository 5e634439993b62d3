/* SPDX-License-Identifier: MIT */
/*
 * Saved attention states: refused bytes change nothing, accepted ones are saved the same (rounded once where keys and
 * values are kept in bf16), and a step can go on from them. The first byte of an input chooses the kind of attention.
 */
#include "fuzz.h"

#include <lilac/attention.h>

#include <string.h>

enum { B = 2, H = 2, D = 3, M = 5, CAPACITY = 3, MAX_SAVED = 2048 };

typedef struct saved_bytes {
    size_t size;
    uint8_t bytes[MAX_SAVED];
} saved_bytes;

static const lilac_attention_shape shape = {
    .batch = B, .heads = H, .queries = 1, .keys = CAPACITY, .key_size = D, .value_size = M};

/* One token of each sequence. */
typedef struct token {
    float key[B * H * D], value[B * H * M], out[B * H * M];
    lilac_attention_input keys, values;
    lilac_attention_output outputs;
} token;

static void token_fill(token *t) {
    for (size_t i = 0; i < B * H * M; i++) {
        t->value[i] = 0.25f * (float)i;
        t->key[i % (B * H * D)] = 0.5f - 0.125f * (float)(i % (B * H * D));
    }
    t->keys = (lilac_attention_input){.data = t->key, .batch_stride = H * D, .token_stride = H * D, .head_stride = D};
    t->values =
        (lilac_attention_input){.data = t->value, .batch_stride = H * M, .token_stride = H * M, .head_stride = M};
    t->outputs =
        (lilac_attention_output){.data = t->out, .batch_stride = H * M, .token_stride = H * M, .head_stride = M};
}

static void check_saved(const uint8_t *data, size_t size, bool loaded, const saved_bytes *before,
                        const saved_bytes *after) {
    if (loaded) {
        fuzz_require(after->size == size && memcmp(after->bytes, data, size) == 0, "a state is saved as loaded");
    } else {
        fuzz_require(after->size == before->size && memcmp(after->bytes, before->bytes, after->size) == 0,
                     "refused bytes change nothing");
    }
}

static saved_bytes save_linear(const lilac_linear_attention_state *state) {
    saved_bytes saved = {.size = lilac_linear_attention_state_saved_size(state)};
    fuzz_require(saved.size <= sizeof saved.bytes, "the state is small");
    fuzz_require(lilac_linear_attention_state_save(fuzz_context(), state, saved.bytes, saved.size) == LILAC_OK,
                 "a state can be saved");
    return saved;
}

static void check_linear(const uint8_t *data, size_t size, token *t) {
    lilac_linear_attention_config config;
    lilac_linear_attention_state *state;
    lilac_linear_attention_config_default(&shape, &config);
    config.causal = true;
    fuzz_require(lilac_linear_attention_state_create(fuzz_context(), &config, &state) == LILAC_OK, "a state");
    fuzz_require(lilac_linear_attention_step(fuzz_context(), state, &t->keys, &t->keys, &t->values, &t->outputs) ==
                     LILAC_OK,
                 "a step can be made");
    const saved_bytes before = save_linear(state);
    const bool loaded = fuzz_succeeded(lilac_linear_attention_state_load(fuzz_context(), state, data, size));
    const saved_bytes after = save_linear(state);
    check_saved(data, size, loaded, &before, &after);
    fuzz_require(lilac_linear_attention_step(fuzz_context(), state, &t->keys, &t->keys, &t->values, &t->outputs) ==
                     LILAC_OK,
                 "a step can be made");
    lilac_linear_attention_state_destroy(state);
}

static saved_bytes save_softmax(const lilac_softmax_attention_state *state) {
    saved_bytes saved = {.size = lilac_softmax_attention_state_saved_size(state)};
    fuzz_require(saved.size <= sizeof saved.bytes, "the state is small");
    fuzz_require(lilac_softmax_attention_state_save(fuzz_context(), state, saved.bytes, saved.size) == LILAC_OK,
                 "a state can be saved");
    return saved;
}

static void check_softmax(const uint8_t *data, size_t size, lilac_attention_dtype cache, token *t) {
    lilac_softmax_attention_config config;
    lilac_softmax_attention_state *state;
    lilac_softmax_attention_config_default(&shape, &config);
    config.cache = cache;
    fuzz_require(lilac_softmax_attention_state_create(fuzz_context(), &config, &state) == LILAC_OK, "a state");
    fuzz_require(lilac_softmax_attention_step(fuzz_context(), state, &t->keys, &t->keys, &t->values, &t->outputs) ==
                     LILAC_OK,
                 "a step can be made");
    const saved_bytes before = save_softmax(state);
    const bool loaded = fuzz_succeeded(lilac_softmax_attention_state_load(fuzz_context(), state, data, size));
    const saved_bytes after = save_softmax(state);
    if (loaded && cache == LILAC_ATTENTION_BF16) {
        fuzz_require(lilac_softmax_attention_state_load(fuzz_context(), state, after.bytes, after.size) == LILAC_OK,
                     "what was saved can be loaded");
        const saved_bytes again = save_softmax(state);
        check_saved(after.bytes, after.size, true, &before, &again);
    } else {
        check_saved(data, size, loaded, &before, &after);
    }
    /* A full state refuses it. */
    (void)fuzz_succeeded(
        lilac_softmax_attention_step(fuzz_context(), state, &t->keys, &t->keys, &t->values, &t->outputs));
    lilac_softmax_attention_state_destroy(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        token t;
        token_fill(&t);
        if (data[0] % 2 == 0) {
            check_linear(data + 1, size - 1, &t);
        } else {
            check_softmax(data + 1, size - 1, data[0] % 4 == 1 ? LILAC_ATTENTION_F32 : LILAC_ATTENTION_BF16, &t);
        }
    }
    return 0;
}
