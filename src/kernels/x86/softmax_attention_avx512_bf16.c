/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention kernels for bf16 inputs on AVX-512 with bf16 dot products. An instruction adds two products to each
 * sum, so the register tiles are those of f32 over pairs of numbers, one pair in each 32-bit lane.
 */
#include "kernels/x86/softmax_attention_avx512.h"

#include <stdint.h>
#include <string.h>

ALWAYS_INLINE __m512bh load_pairs(const uint16_t *x) {
    return (__m512bh)_mm512_load_si512(x);
}

ALWAYS_INLINE __m512bh broadcast_pair(const uint16_t *x) {
    int pair;
    memcpy(&pair, x, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* sum[r][v] += sum over k < pairs of a[r * row_step + 2 k .. +1] . b[k * ldb + pairs of v]; r < rows, v < vectors. */
ALWAYS_INLINE void multiply_tile(size_t pairs, const uint16_t *a, size_t row_step, const uint16_t *b, size_t ldb,
                                 const int rows, const int vectors, __m512 sum[ROWS][VECTORS]) {
    /* Two pointers reach six rows with the address forms p, p + step, p + 2 step. */
    const uint16_t *a3 = a + 3 * row_step;
    for (size_t k = 0; k < pairs; k++) {
        __m512bh lanes[VECTORS];
        for (int v = 0; v < vectors; v++) {
            lanes[v] = load_pairs(b + 2 * LANES * v);
        }
        for (int r = 0; r < rows; r++) {
            const __m512bh factor = broadcast_pair(r < 3 ? a + r * row_step : a3 + (r - 3) * row_step);
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = _mm512_dpbf16_ps(sum[r][v], factor, lanes[v]);
            }
        }
        a += 2;
        a3 += 2;
        b += ldb;
    }
}

ALWAYS_INLINE void score_tiles(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                               const uint16_t *panels, float scale, float *s, const int rows) {
    const size_t pairs = (size + 1) / 2;
    const __m512 factor = _mm512_set1_ps(scale);
    for (size_t first = 0; first < block->keys; first += PANEL) {
        for (size_t row = 0; row < block->rows; row += (size_t)rows) {
            if (lilac_softmax_visible(block, row + (size_t)rows - 1) <= first) {
                continue;
            }
            __m512 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(pairs, q + row * ldq, ldq, panels + first * 2 * pairs, 2 * PANEL, rows, VECTORS, sum);
            for (int r = 0; r < rows; r++) {
                for (int v = 0; v < VECTORS; v++) {
                    _mm512_store_ps(s + (row + (size_t)r) * STRIDE + first + (size_t)(LANES * v),
                                    _mm512_mul_ps(sum[r][v], factor));
                }
            }
        }
    }
}

static void scores(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq, const uint16_t *panels,
                   float scale, float *s) {
    if (block->rows == 1) {
        score_tiles(block, size, q, ldq, panels, scale, s, 1);
    } else {
        score_tiles(block, size, q, ldq, panels, scale, s, ROWS);
    }
}

/* The probabilities take the first half of the scores' place. What is overwritten has been read. */
ALWAYS_INLINE void store_probabilities(float *s, size_t k, __m512 p) {
    _mm256_store_si256((__m256i *)((uint16_t *)s + k), (__m256i)_mm512_cvtneps_pbh(p));
}

/* c += p v for the columns of `vectors` vectors, p being `rows` rows of probabilities. */
ALWAYS_INLINE void add_product(size_t pairs, const uint16_t *p, const uint16_t *v, size_t ldv, float *c, size_t ldc,
                               const int rows, const int vectors) {
    __m512 sum[ROWS][VECTORS];
    zero_tile(sum);
    multiply_tile(pairs, p, 2 * STRIDE, v, ldv, rows, vectors, sum);
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < vectors; i++) {
            float *lanes = c + r * ldc + LANES * i;
            _mm512_store_ps(lanes, _mm512_add_ps(_mm512_load_ps(lanes), sum[r][i]));
        }
    }
}

ALWAYS_INLINE void accumulate_tiles(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                                    size_t ldv, const lilac_softmax_state *state, const int rows) {
    for (size_t row = 0; row < block->rows; row += (size_t)rows) {
        const size_t end = lilac_softmax_visible(block, row + (size_t)rows - 1), pairs = (end + 1) / 2;
        if (end == 0) {
            continue;
        }
        for (size_t r = row; r < row + (size_t)rows; r++) {
            exponentiate_row(s + r * STRIDE, lilac_softmax_visible(block, r), end, state, r, value_size,
                             store_probabilities);
        }
        const uint16_t *p = (const uint16_t *)(s + row * STRIDE);
        float *out = state->out + row * state->ld;
        size_t column = 0;
        for (; column + (VECTORS - 1) * LANES < value_size; column += VECTORS * LANES) {
            add_product(pairs, p, v + 2 * column, 2 * ldv, out + column, state->ld, rows, VECTORS);
        }
        if (column + LANES < value_size) {
            add_product(pairs, p, v + 2 * column, 2 * ldv, out + column, state->ld, rows, 2);
            column += 2 * LANES;
        }
        if (column < value_size) {
            add_product(pairs, p, v + 2 * column, 2 * ldv, out + column, state->ld, rows, 1);
        }
    }
}

static void accumulate(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v, size_t ldv,
                       const lilac_softmax_state *state) {
    if (block->rows == 1) {
        accumulate_tiles(block, s, value_size, v, ldv, state, 1);
    } else {
        accumulate_tiles(block, s, value_size, v, ldv, state, ROWS);
    }
}

/* The bf16 numbers `column` .. `column` + 2 * LANES - 1 of a row of that size, zeros beyond it. */
ALWAYS_INLINE __m512i load_halves(const uint16_t *row, size_t size, size_t column) {
    const size_t count = size - column;
    const __mmask32 mask = count >= 2 * LANES ? 0xFFFFFFFFu : (1u << count) - 1;
    return _mm512_maskz_loadu_epi16(mask, row + column);
}

static void pack_panels(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *panels) {
    const size_t padded = (count + PANEL - 1) / PANEL * PANEL, pairs = (size + 1) / 2;
    for (size_t row = 0; row < padded; row += LANES) {
        uint16_t *panel = panels + 2 * (row / PANEL * PANEL * pairs + row % PANEL);
        for (size_t pair = 0; pair < pairs; pair += LANES) {
            __m512 square[LANES];
            for (size_t i = 0; i < LANES; i++) {
                square[i] =
                    row + i < count ? (__m512)load_halves(x + (row + i) * ldx, size, 2 * pair) : _mm512_setzero_ps();
            }
            transpose_lanes(square);
            for (size_t i = 0; i < LANES && pair + i < pairs; i++) {
                _mm512_store_si512(panel + 2 * PANEL * (pair + i), (__m512i)square[i]);
            }
        }
    }
}

static void pack_pairs(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *y, size_t ldy) {
    for (size_t row = 0; row < count; row += 2) {
        for (size_t column = 0; column < size; column += LANES) {
            const size_t width = size - column;
            const __mmask16 mask = width >= LANES ? (__mmask16)0xFFFF : (__mmask16)((1u << width) - 1);
            const __m256i even = _mm256_maskz_loadu_epi16(mask, x + row * ldx + column);
            const __m256i odd =
                row + 1 < count ? _mm256_maskz_loadu_epi16(mask, x + (row + 1) * ldx + column) : _mm256_setzero_si256();
            const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16);
            _mm512_store_si512(y + row * ldy + 2 * column, _mm512_or_si512(upper, _mm512_cvtepu16_epi32(even)));
        }
    }
}

void lilac_softmax_attention_kernels_avx512_bf16(lilac_softmax_attention_kernels *kernels) {
    kernels->pack_panels_bf16 = pack_panels;
    kernels->pack_pairs_bf16 = pack_pairs;
    kernels->scores_bf16 = scores;
    kernels->accumulate_bf16 = accumulate;
}
