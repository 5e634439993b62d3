/* SPDX-License-Identifier: MIT */
/*
 * Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1,
 * 2, 3", 2011). A number is a pure function of (seed, stream, position), so any part of a sequence can be made by any
 * thread.
 *
 * One application of Philox gives a block of four 32-bit words. The sequence of a stream is cut into groups of 64 words
 * made from 16 neighbouring blocks; word w of block b is element 16 * w + b of the group. That order lets a SIMD
 * register hold the same word of 16 (or 8) blocks without any shuffling.
 */
#ifndef LILAC_CORE_RANDOM_H
#define LILAC_CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_RANDOM_GROUP_BLOCKS = 16, /* blocks in a group */
    LILAC_RANDOM_GROUP = 64         /* words in a group */
};

/* A place in a stream. group counts groups of 64 words from the stream's start. */
typedef struct lilac_random {
    uint64_t seed;
    uint64_t stream;
    uint64_t group;
} lilac_random;

/* What a stream is for: keeps the streams of one seed apart. A number never gets another purpose. */
typedef enum lilac_random_purpose {
    LILAC_RANDOM_INITIALISE = 1, /* initial weights */
    LILAC_RANDOM_SPLIT = 2,      /* training and validation sets */
    LILAC_RANDOM_SHUFFLE = 3,    /* order of the training set in an epoch */
    LILAC_RANDOM_DROPOUT = 4,    /* dropout masks */
    LILAC_RANDOM_ADAPTER = 5,    /* initial adapter weights */
    LILAC_RANDOM_FEATURES = 6,   /* random feature maps */
    LILAC_RANDOM_TEST = 8,       /* test inputs */
    LILAC_RANDOM_GENERATE = 9    /* generated sequences */
} lilac_random_purpose;

/* The start of stream number index of that purpose. */
static inline lilac_random lilac_random_stream(uint64_t seed, lilac_random_purpose purpose, uint64_t index) {
    return (lilac_random){.seed = seed, .stream = ((uint64_t)purpose << 56) ^ index, .group = 0};
}

/* One Philox4x32-10 block: counter and key as in the paper, least significant word first. */
void lilac_random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The four words of block number `block` (0 .. 15) of the group that `random` stands at: elements 16 * w + block. */
void lilac_random_block(const lilac_random *random, uint32_t block, uint32_t words[4]);

/* A number strictly between 0 and 1 from a word. */
static inline double lilac_random_open_uniform(uint32_t word) {
    return (word + 0.5) * 0x1p-32;
}

/* The 64 words of the group that `random` stands at. */
void lilac_random_group(const lilac_random *random, uint32_t words[LILAC_RANDOM_GROUP]);

/* Writes a uniformly random permutation of 0 .. count-1; count < 2^32. */
void lilac_random_permutation(lilac_random random, size_t count, uint32_t *permutation);

#endif
