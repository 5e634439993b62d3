/* SPDX-License-Identifier: MIT */
/* What the AMX kernels of softmax attention have in common. */
#ifndef LILAC_KERNELS_X86_TILE_ATTENTION_AMX_H
#define LILAC_KERNELS_X86_TILE_ATTENTION_AMX_H

#include "kernels/tile_attention.h"
#include "kernels/x86/tiles_amx.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    ROWS = LILAC_TILE_ROWS,
    DEPTH = LILAC_TILE_DEPTH,
    FLOATS = LILAC_TILE_BYTES / sizeof(float), /* in a tile */
    HALVES = LILAC_TILE_BYTES / sizeof(uint16_t)
};

/* 16 numbers of a row; 0 beyond its size. */
static inline __m512 load_floats(const lilac_tile_source *source, size_t row, size_t column) {
    const __mmask16 mask = lanes_below(source->size, column);
    const size_t place = row * source->ld + column;
    if (mask == 0) {
        return _mm512_setzero_ps(); /* without waiting for memory that nothing is wanted of */
    }
    if (!source->bf16) {
        return _mm512_maskz_loadu_ps(mask, (const float *)source->data + place);
    }
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, (const uint16_t *)source->data + place);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* Fetches row number `row` of those that are read next. Rows are often a page apart, which no processor foresees. */
static inline void fetch_row(const lilac_tile_source *source, size_t row) {
    const size_t element = source->bf16 ? sizeof(uint16_t) : sizeof(float);
    const char *start = (const char *)source->ahead + row * source->ld * element;
    for (size_t byte = 0; byte < source->size * element; byte += ROW_BYTES) {
        __builtin_prefetch(start + byte);
    }
}

/* Fills in the kernels of the backward pass. */
void lilac_tile_attention_backward_kernels_amx(lilac_tile_attention_kernels *kernels);

#endif
