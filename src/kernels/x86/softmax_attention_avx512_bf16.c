/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention kernels for bf16 inputs on AVX-512 with bf16 dot products. An instruction adds two products to each
 * sum, so the register tiles are those of f32 over pairs of numbers, one pair in each 32-bit lane.
 */
#include "kernels/x86/softmax_attention_avx512.h"

#include <stdbool.h>
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

/* sum[r][v] += sum over k < pairs of the pair at a[r * row_step + k * pair_step] . b[k * ldb + pairs of v]; r < rows,
 * v < vectors. */
ALWAYS_INLINE void multiply_tile(size_t pairs, const uint16_t *a, size_t row_step, size_t pair_step, const uint16_t *b,
                                 size_t ldb, const int rows, const int vectors, __m512 sum[ROWS][VECTORS]) {
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
        a += pair_step;
        a3 += pair_step;
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
            multiply_tile(pairs, q + row * ldq, ldq, 2, panels + first * 2 * pairs, 2 * PANEL, rows, VECTORS, sum);
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

/* c += a b for `rows` rows of c and the columns of `vectors` vectors, a's pairs being where multiply_tile takes them.
 */
ALWAYS_INLINE void add_product(size_t pairs, const uint16_t *a, size_t row_step, size_t pair_step, const uint16_t *b,
                               size_t ldb, float *c, size_t ldc, const int rows, const int vectors) {
    __m512 sum[ROWS][VECTORS];
    zero_tile(sum);
    multiply_tile(pairs, a, row_step, pair_step, b, ldb, rows, vectors, sum);
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < vectors; i++) {
            float *lanes = c + r * ldc + LANES * i;
            _mm512_store_ps(lanes, _mm512_add_ps(_mm512_load_ps(lanes), sum[r][i]));
        }
    }
}

/* The same for any number of columns, `size` rounded up to LANES. */
ALWAYS_INLINE void add_product_columns(size_t pairs, const uint16_t *a, size_t row_step, size_t pair_step, size_t size,
                                       const uint16_t *b, size_t ldb, float *c, size_t ldc, const int rows) {
    size_t column = 0;
    for (; column + (VECTORS - 1) * LANES < size; column += VECTORS * LANES) {
        add_product(pairs, a, row_step, pair_step, b + 2 * column, ldb, c + column, ldc, rows, VECTORS);
    }
    if (column + LANES < size) {
        add_product(pairs, a, row_step, pair_step, b + 2 * column, ldb, c + column, ldc, rows, 2);
        column += 2 * LANES;
    }
    if (column < size) {
        add_product(pairs, a, row_step, pair_step, b + 2 * column, ldb, c + column, ldc, rows, 1);
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
        add_product_columns(pairs, (const uint16_t *)(s + row * STRIDE), 2 * STRIDE, 2, value_size, v, 2 * ldv,
                            state->out + row * state->ld, state->ld, rows);
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

/* ---- Backward ---- */

/* The numbers of `even`, those of a row, and of `odd`, those of the next, rounded and interleaved. */
ALWAYS_INLINE __m512i round_to_pairs(__m512 even, __m512 odd) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* The products of rows `row` .. `row` + ROWS - 1 of x with the panel of keys from `first` on: zeros if the rows see
 * none of these. */
ALWAYS_INLINE bool multiply_seen(const lilac_softmax_block *block, size_t row, size_t first, size_t size,
                                 const uint16_t *x, size_t ldx, const uint16_t *panels, __m512 sum[ROWS][VECTORS]) {
    const size_t pairs = (size + 1) / 2;
    zero_tile(sum);
    if (lilac_softmax_visible(block, row + ROWS - 1) <= first) {
        return false;
    }
    multiply_tile(pairs, x + row * ldx, ldx, 2, panels + first * 2 * pairs, 2 * PANEL, ROWS, VECTORS, sum);
    return true;
}

/* Rounds a tile and stores it in pairs of rows. */
ALWAYS_INLINE void store_pairs(__m512 x[ROWS][VECTORS], uint16_t *pairs) {
    for (size_t r = 0; r < ROWS; r += 2) {
        for (size_t v = 0; v < VECTORS; v++) {
            _mm512_store_si512(pairs + r * STRIDE + 2 * LANES * v, round_to_pairs(x[r][v], x[r + 1][v]));
        }
    }
}

static void probabilities(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                          const uint16_t *panels, float scale, const float *offset, float *p, uint16_t *pairs) {
    const __m512 factor = _mm512_set1_ps(scale);
    for (size_t first = 0; first < block->keys; first += PANEL) {
        for (size_t row = 0; row < block->rows; row += ROWS) {
            __m512 tile[ROWS][VECTORS];
            const bool seen = multiply_seen(block, row, first, size, q, ldq, panels, tile);
            const bool whole = lilac_softmax_visible(block, row) >= first + PANEL;
            for (size_t r = 0; r < ROWS; r++) {
                const __m512 shift = _mm512_set1_ps(offset[row + r]);
                const size_t count = lilac_softmax_visible(block, row + r);
                for (size_t v = 0; v < VECTORS; v++) {
                    if (seen) {
                        const __mmask16 mask = whole ? (__mmask16)0xFFFF : lanes_below(count, first + LANES * v);
                        const __m512 x = lilac_rough_exp2_avx512(_mm512_fmsub_ps(tile[r][v], factor, shift));
                        tile[r][v] = _mm512_maskz_mov_ps(mask, x);
                    }
                    _mm512_store_ps(p + (row + r) * STRIDE + first + LANES * v, tile[r][v]);
                }
            }
            store_pairs(tile, pairs + row * STRIDE + 2 * first);
        }
    }
}

static void score_gradients(const lilac_softmax_block *block, size_t size, const uint16_t *g, size_t ldg,
                            const uint16_t *panels, const float *delta, const float *p, uint16_t *ds, uint16_t *pairs) {
    for (size_t first = 0; first < block->keys; first += PANEL) {
        for (size_t row = 0; row < block->rows; row += ROWS) {
            __m512 tile[ROWS][VECTORS];
            const bool seen = multiply_seen(block, row, first, size, g, ldg, panels, tile);
            for (size_t r = 0; r < ROWS; r++) {
                const __m512 shift = _mm512_set1_ps(delta[row + r]);
                for (size_t v = 0; v < VECTORS && seen; v++) {
                    const __m512 factor = _mm512_load_ps(p + (row + r) * STRIDE + first + LANES * v);
                    tile[r][v] = _mm512_mul_ps(factor, _mm512_sub_ps(tile[r][v], shift));
                }
                for (size_t v = 0; v < VECTORS; v += 2) {
                    uint16_t *to = ds + (row + r) * 2 * STRIDE + first + LANES * v;
                    _mm512_store_si512(to, (__m512i)_mm512_cvtne2ps_pbh(tile[r][v + 1], tile[r][v]));
                }
            }
            store_pairs(tile, pairs + row * STRIDE + 2 * first);
        }
    }
}

static void multiply(const lilac_softmax_block *block, const uint16_t *a, size_t size, const uint16_t *b, size_t ldb,
                     float *c, size_t ldc) {
    for (size_t row = 0; row < block->rows; row += ROWS) {
        const size_t end = lilac_softmax_visible(block, row + ROWS - 1);
        add_product_columns((end + 1) / 2, a + row * 2 * STRIDE, 2 * STRIDE, 2, size, b, 2 * ldb, c + row * ldc, ldc,
                            ROWS);
    }
}

static void multiply_transposed(const lilac_softmax_block *block, const uint16_t *a, size_t size, const uint16_t *b,
                                size_t ldb, float *c, size_t ldc) {
    for (size_t key = 0; key < block->keys; key += ROWS) {
        /* Rows before `row`, but for one at most, do not see this key or any after it: their entries are zeros. */
        const ptrdiff_t before = (ptrdiff_t)key + 1 - block->diagonal;
        const size_t row = before > 0 ? (size_t)before / 2 * 2 : 0;
        if (row >= block->rows) {
            break;
        }
        add_product_columns((block->rows - row) / 2, a + row * STRIDE + 2 * key, 2, 2 * STRIDE, size, b + row * ldb,
                            2 * ldb, c + key * ldc, ldc, ROWS);
    }
}

/* ---- Packing ---- */

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
    kernels->probabilities_bf16 = probabilities;
    kernels->score_gradients_bf16 = score_gradients;
    kernels->multiply_bf16 = multiply;
    kernels->multiply_transposed_bf16 = multiply_transposed;
}
