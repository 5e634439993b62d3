/* SPDX-License-Identifier: MIT */
/*
 * What the linear attention kernels have in common whether they multiply floats or bf16 numbers: the size of a chunk,
 * loading rows, and fetching those of the next chunk. Written over the vector type that the including file has included
 * before.
 */
#ifndef LILAC_KERNELS_X86_LINEAR_ATTENTION_COMMON_H
#define LILAC_KERNELS_X86_LINEAR_ATTENTION_COMMON_H

#include "kernels/linear_attention.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/*
 * Tokens of a chunk: more make larger products and fewer states, but cost more within the chunk. The forward pass goes
 * through it in halves, the state after the first half being made in passing.
 */
enum { CHUNK = 32, HALF = CHUNK / 2 };

/* `lanes` of a row's numbers from column c on, 0 in the other lanes. */
ALWAYS_INLINE vector row_vector(const lilac_linear_attention_rows *rows, size_t row, size_t c, const size_t lanes,
                                const bool bf16) {
    const size_t index = row * rows->stride + c;
    return bf16 ? vector_load_bf16((const uint16_t *)rows->data + index, lanes)
                : vector_load((const float *)rows->data + index, lanes);
}

/* to = from + 0 for n numbers, whole vectors: what a chunk without keys makes of a state, to the byte of -0 and
 * subnormal numbers, wherever its sum of nothing is added by itself. to may be from. */
static inline void add_nothing(size_t n, const float *from, float *to) {
    for (size_t i = 0; i < n; i += VECTOR_LANES) {
        vector_store(to + i, VECTOR_LANES, vector_add(vector_load(from + i, VECTOR_LANES), vector_zero()));
    }
}

enum { FETCH_BYTES = 128, FETCH_STREAMS = 32, FETCH_EVERY = 16, FETCH_PIECES = 4 };

/*
 * Fetches the rows the next chunk is made of into the second-level cache, a few lines every FETCH_EVERY steps of a
 * product: many at once would keep the product's own operands waiting. Rows are cut into pieces of FETCH_BYTES; a
 * stream is one piece of each row.
 */
typedef struct fetcher {
    struct {
        const char *next;
        size_t stride;
    } streams[FETCH_STREAMS];
    size_t count, stream; /* of streams, and which is next */
    size_t pieces;        /* still to fetch */
    size_t rounds;        /* of FETCH_PIECES pieces at a time */
} fetcher;

/* `chances`: about how often fetch_some will be called. */
static inline void fetch_rows(fetcher *f, const lilac_linear_attention_chunk *chunk, size_t chances) {
    f->count = f->stream = 0;
    for (size_t i = 0; chunk->ahead_rows > 0 && chunk->ahead[i].bytes > 0; i++) {
        const lilac_linear_attention_ahead *rows = &chunk->ahead[i];
        for (size_t byte = 0; byte < rows->bytes && f->count < FETCH_STREAMS; byte += FETCH_BYTES) {
            f->streams[f->count].next = (const char *)rows->data + byte;
            f->streams[f->count++].stride = rows->stride;
        }
    }
    f->pieces = f->count * chunk->ahead_rows;
    const size_t each = FETCH_PIECES * lilac_size_max(chances, 1);
    f->rounds = (f->pieces + each - 1) / each;
}

/* The loop is unrolled, without counting lines: each branch mispredicted here would fetch what is not needed. */
ALWAYS_INLINE void fetch_some(fetcher *f) {
    size_t rounds = f->rounds;
    do {
#pragma GCC unroll 4
        for (int i = 0; i < FETCH_PIECES; i++) {
            if (f->pieces > 0) {
                const char *piece = f->streams[f->stream].next;
                __builtin_prefetch(piece, 0, 2);
                __builtin_prefetch(piece + LILAC_ALIGNMENT, 0, 2);
                f->streams[f->stream].next = piece + f->streams[f->stream].stride;
                f->stream = f->stream + 1 == f->count ? 0 : f->stream + 1;
                f->pieces--;
            }
        }
    } while (rounds-- > 1);
}

#endif
