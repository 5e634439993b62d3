/* SPDX-License-Identifier: MIT */
/*
 * What AMX kernels have in common. The tiles' shapes are set before the first of a thread's instructions for tiles and
 * dropped after the last: other libraries set theirs on the same threads. GCC makes text of a tile's number, which must
 * therefore be written as a number; the comment of each function says what its tiles hold.
 */
#ifndef LILAC_KERNELS_X86_TILES_AMX_H
#define LILAC_KERNELS_X86_TILES_AMX_H

#include "kernels/x86/vector_avx512.h"

enum { ROW_BYTES = 64 /* of a tile: the stride of all that are packed */ };

/* What ldtilecfg reads. */
typedef struct tile_shapes {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

/* All eight are as large as can be. */
static inline void set_tile_shapes(void) {
    static const tile_shapes shapes = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {16, 16, 16, 16, 16, 16, 16, 16},
    };
    _tile_loadconfig(&shapes);
}

/* To GCC a tile's load reads no memory: vectors that are stored before must not be moved behind it. */
static inline void finish_stores(void) {
    __asm__ volatile("" ::: "memory");
}

/* The numbers of `low`, then those of `high`, rounded to bf16; subnormal ones become 0. */
static inline __m512i round_to_bf16(__m512 low, __m512 high) {
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* A tile whose rows are these. */
static inline void store_tile(void *tile, const __m512i rows[VECTOR_LANES]) {
    for (size_t r = 0; r < VECTOR_LANES; r++) {
        _mm512_store_si512((char *)tile + r * ROW_BYTES, rows[r]);
    }
}

/* A tile whose rows hold the 32-bit words of these columns. */
static inline void store_transposed(void *tile, const __m512i columns[VECTOR_LANES]) {
    __m512 words[VECTOR_LANES];
    for (size_t i = 0; i < VECTOR_LANES; i++) {
        words[i] = _mm512_castsi512_ps(columns[i]);
    }
    vector_transpose(words);
    for (size_t i = 0; i < VECTOR_LANES; i++) {
        _mm512_store_ps((char *)tile + i * ROW_BYTES, words[i]);
    }
}

#endif
