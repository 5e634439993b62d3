/* SPDX-License-Identifier: MIT */
/* The inside of a softmax attention state: where each head's keys and values lie. */
#ifndef LILAC_ATTENTION_SOFTMAX_STATE_H
#define LILAC_ATTENTION_SOFTMAX_STATE_H

#include "attention/softmax.h"

enum {
    LILAC_SOFTMAX_QUERY_BLOCK = 96, /* queries that go through the keys together; a multiple of LILAC_SOFTMAX_ROWS */
    /* Keys that a step goes through in one go, and where there are more, those of each of its parts. */
    LILAC_SOFTMAX_STEP_WHOLE = 10 * LILAC_SOFTMAX_KEY_BLOCK,
    LILAC_SOFTMAX_STEP_KEYS = 6 * LILAC_SOFTMAX_KEY_BLOCK
};

/* Room for some queries of a head. */
typedef struct lilac_softmax_query_pieces {
    float *rows;   /* [queries][key_stride]: queries, or a key */
    float *scores; /* [queries][LILAC_SOFTMAX_SCORE_STRIDE] */
    lilac_softmax_state sums;
    /* Of more than one query: a block of keys, as panels, and values that are kept in bf16, as floats. */
    float *keys, *values;
} lilac_softmax_query_pieces;

/* The pieces of one head: what it has seen, floats or bf16 numbers, and room for a step. */
typedef struct lilac_softmax_head_pieces {
    void *keys;                      /* [padded_keys][D], as panels */
    void *values;                    /* [capacity][value_stride] */
    lilac_softmax_query_pieces step; /* of the first part of a step */
    char *more;                      /* those of the further parts in turn */
    size_t piece_bytes;              /* of each */
} lilac_softmax_head_pieces;

struct lilac_softmax_attention_state {
    lilac_softmax_attention_config config; /* keys: the capacity; lengths: none */
    size_t key_stride, value_stride, padded_keys;
    bool bf16;
    size_t element;  /* bytes of a number that is kept */
    size_t *lengths; /* (B) */
    char *heads;     /* the pieces of each head in turn */
    size_t head_bytes;
};

lilac_softmax_query_pieces lilac_softmax_take_queries(const lilac_softmax_attention_state *state, size_t queries,
                                                      lilac_workspace *workspace);
lilac_softmax_head_pieces lilac_softmax_pieces_of(const lilac_softmax_attention_state *state, size_t head);

/* The parts of a step through that many keys: it depends on nothing else, so that results do not either. */
size_t lilac_softmax_step_parts(size_t keys);
/* Room for part number `part` of a step. */
lilac_softmax_query_pieces lilac_softmax_part_pieces(const lilac_softmax_attention_state *state,
                                                     const lilac_softmax_head_pieces *pieces, size_t part);

/* Keeps a key or a value, given as floats, rounded where the state keeps bf16. */
void lilac_softmax_store_key(const lilac_softmax_attention_state *state, const lilac_softmax_head_pieces *pieces,
                             size_t token, const float *key);
void lilac_softmax_store_value(const lilac_softmax_attention_state *state, const lilac_softmax_head_pieces *pieces,
                               size_t token, const float *value);

#endif
