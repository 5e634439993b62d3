/* SPDX-License-Identifier: MIT */
/*
 * Random words in vectors, written once for any vector length: what includes this has included its level's vector
 * header.
 */
#ifndef LILAC_KERNELS_X86_RANDOM_BODY_H
#define LILAC_KERNELS_X86_RANDOM_BODY_H

#include "core/random.h"
#include "kernels/elementwise.h"

/* Random words are made by chains of operations that each wait for the one before: several side by side, as many as
 * there are registers for, hide that. Two chains make a vector's length of blocks; a batch is whole groups. */
enum {
    CHAINS = VECTOR_LANES / 4,
    BATCH_GROUPS = CHAINS / 2,
    BATCH = BATCH_GROUPS * LILAC_RANDOM_GROUP, /* words */
    BATCH_VECTORS = BATCH / VECTOR_LANES,
    GROUP_VECTORS = LILAC_RANDOM_GROUP / VECTOR_LANES,
    WORD_VECTORS = LILAC_RANDOM_GROUP_BLOCKS / VECTOR_LANES /* for one of the four words of a group's blocks */
};

/* Every other block, half a vector's length of them, each word in the lower half of 64 bits: what the 32 x 32 -> 64 bit
 * multiplication takes. What is in the upper halves does not matter. */
typedef struct philox_state {
    vector_words c0, c1, c2, c3;
} philox_state;

static inline philox_state philox_start(const lilac_random *place, uint64_t block) {
    const vector_words c0 = vector_count_by_two_64(block);
    return (philox_state){c0, vector_high_halves(c0), vector_set_64(place->stream), vector_set_64(place->stream >> 32)};
}

static inline philox_state philox_round(philox_state s, vector_words key0, vector_words key1) {
    const vector_words product0 = vector_multiply_low_halves(vector_set_64(0xD2511F53u), s.c0);
    const vector_words product1 = vector_multiply_low_halves(vector_set_64(0xCD9E8D57u), s.c2);
    return (philox_state){vector_xor(vector_high_halves(product1), s.c1, key0), product1,
                          vector_xor(vector_high_halves(product0), s.c3, key1), product0};
}

/* Puts all words of the blocks of even and odd in order. */
static inline void philox_words(philox_state even, philox_state odd, vector_words *words) {
    words[0] = vector_interleave_low_halves(even.c0, odd.c0);
    words[WORD_VECTORS] = vector_interleave_low_halves(even.c1, odd.c1);
    words[2 * WORD_VECTORS] = vector_interleave_low_halves(even.c2, odd.c2);
    words[3 * WORD_VECTORS] = vector_interleave_low_halves(even.c3, odd.c3);
}

static inline void random_blocks(const lilac_random *place, uint64_t block, vector_words *words) {
    enum { ROUNDS = 10 };
    philox_state chains[CHAINS];
    for (uint64_t k = 0; k < CHAINS; k++) {
        chains[k] = philox_start(place, block + k / 2 * VECTOR_LANES + k % 2);
    }
    vector_words key0 = vector_set_64(place->seed), key1 = vector_set_64(place->seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < CHAINS; k++) {
            chains[k] = philox_round(chains[k], key0, key1);
        }
        key0 = vector_add_64(key0, vector_set_64(0x9E3779B9u));
        key1 = vector_add_64(key1, vector_set_64(0xBB67AE85u));
    }
    for (size_t k = 0; k < CHAINS; k += 2) {
        philox_words(chains[k], chains[k + 1], words + k / 2 * GROUP_VECTORS);
    }
}

/* The words of the groups from `place` on, in order. */
static inline void random_batch(const lilac_random *place, vector_words words[BATCH_VECTORS]) {
    for (size_t part = 0; part < WORD_VECTORS; part++) {
        random_blocks(place, place->group * LILAC_RANDOM_GROUP_BLOCKS + part * VECTOR_LANES, words + part);
    }
}

/* The groups of a stream one after the other, made a batch at a time. */
typedef struct group_source {
    lilac_random place;
    size_t used; /* groups of the batch */
    vector_words words[BATCH_VECTORS];
} group_source;

/* Starts a source where that dropout does; without dropout there is nothing to start. */
static inline void start_groups(group_source *source, const lilac_dropout *dropout) {
    if (dropout != NULL) {
        source->place = dropout->random;
        source->used = BATCH_GROUPS;
    }
}

/* The words of the next group. A row's groups follow those of the row before it. */
static inline const vector_words *next_group(group_source *source) {
    if (source->used == BATCH_GROUPS) {
        random_batch(&source->place, source->words);
        source->place.group += BATCH_GROUPS;
        source->used = 0;
    }
    return source->words + source->used++ * GROUP_VECTORS;
}

static inline vector drop_out(const lilac_dropout *dropout, vector_words words, vector v) {
    return vector_where_not_below(words, dropout->threshold, vector_multiply(v, vector_set(dropout->scale)));
}

#endif
