/* SPDX-License-Identifier: MIT */
/* Softmax attention kernels in AVX-512: register tiles of 6 rows x up to 4 vectors, 24 accumulators of the 32
 * registers. */
#include "kernels/x86/softmax_attention_avx512.h"

#include <stdbool.h>

/* sum[r][v] += sum over k < depth of a[r * row_step + k * depth_step] * b[k * ldb + lanes of v]; r < rows, v < vectors.
 */
ALWAYS_INLINE void multiply_tile(size_t depth, const float *a, size_t row_step, size_t depth_step, const float *b,
                                 size_t ldb, const int rows, const int vectors, __m512 sum[ROWS][VECTORS]) {
    /* Two pointers reach six rows with the address forms p, p + step, p + 2 step. */
    const float *a3 = a + 3 * row_step;
    for (size_t k = 0; k < depth; k++) {
        __m512 lanes[VECTORS];
        for (int v = 0; v < vectors; v++) {
            lanes[v] = _mm512_load_ps(b + LANES * v);
        }
        for (int r = 0; r < rows; r++) {
            const __m512 factor = _mm512_set1_ps(r < 3 ? a[r * row_step] : a3[(r - 3) * row_step]);
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = _mm512_fmadd_ps(factor, lanes[v], sum[r][v]);
            }
        }
        a += depth_step;
        a3 += depth_step;
        b += ldb;
    }
}

/*
 * c += a b for `rows` rows of c and the columns of `vectors` vectors. The product is summed up by itself before it is
 * added: rounding errors then grow with the size of a block instead of the length of the sequence.
 */
ALWAYS_INLINE void add_product(size_t depth, const float *a, size_t row_step, size_t depth_step, const float *b,
                               size_t ldb, float *c, size_t ldc, const int rows, const int vectors) {
    __m512 sum[ROWS][VECTORS];
    zero_tile(sum);
    multiply_tile(depth, a, row_step, depth_step, b, ldb, rows, vectors, sum);
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < vectors; v++) {
            float *lanes = c + r * ldc + LANES * v;
            _mm512_store_ps(lanes, _mm512_add_ps(_mm512_load_ps(lanes), sum[r][v]));
        }
    }
}

/* The same for any number of columns, `size` rounded up to LANES. */
ALWAYS_INLINE void add_product_columns(size_t depth, const float *a, size_t row_step, size_t depth_step, size_t size,
                                       const float *b, size_t ldb, float *c, size_t ldc, const int rows) {
    size_t column = 0;
    for (; column + (VECTORS - 1) * LANES < size; column += VECTORS * LANES) {
        add_product(depth, a, row_step, depth_step, b + column, ldb, c + column, ldc, rows, VECTORS);
    }
    if (column + 2 * LANES < size) {
        add_product(depth, a, row_step, depth_step, b + column, ldb, c + column, ldc, rows, 3);
    } else if (column + LANES < size) {
        add_product(depth, a, row_step, depth_step, b + column, ldb, c + column, ldc, rows, 2);
    } else if (column < size) {
        add_product(depth, a, row_step, depth_step, b + column, ldb, c + column, ldc, rows, 1);
    }
}

ALWAYS_INLINE void score_tiles(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                               const float *panels, float *s, const int rows) {
    for (size_t first = 0; first < block->keys; first += PANEL) {
        const float *panel = panels + first * size;
        for (size_t row = 0; row < block->rows; row += (size_t)rows) {
            if (lilac_softmax_visible(block, row + (size_t)rows - 1) <= first) {
                continue;
            }
            __m512 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, q + row * ldq, ldq, 1, panel, PANEL, rows, VECTORS, sum);
            for (int r = 0; r < rows; r++) {
                for (int v = 0; v < VECTORS; v++) {
                    _mm512_store_ps(s + (row + (size_t)r) * STRIDE + first + (size_t)(LANES * v), sum[r][v]);
                }
            }
        }
    }
}

/* ---- One row, which waits for the memory: what is read next is fetched line by line beside it ---- */

typedef struct fetcher {
    const char *next, *end;
} fetcher;

static inline fetcher fetcher_of(const lilac_softmax_block *block) {
    return (fetcher){.next = block->ahead, .end = (const char *)block->ahead + block->ahead_bytes};
}

ALWAYS_INLINE void fetch_lines(fetcher *ahead, const int lines) {
    if (ahead->next < ahead->end) {
        for (int i = 0; i < lines; i++) {
            __builtin_prefetch(ahead->next + 64 * i, 0, 2);
        }
        ahead->next += 64 * lines;
    }
}

/* Numbers i .. i + 15 of floats or of bf16 numbers. */
ALWAYS_INLINE __m512 load_lanes(const void *x, size_t i, const bool bf16) {
    if (!bf16) {
        return _mm512_load_ps((const float *)x + i);
    }
    const __m256i halves = _mm256_load_si256((const __m256i *)(const void *)((const uint16_t *)x + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/* As many lines as `vectors` vectors of numbers take up. */
ALWAYS_INLINE int lines_of(const int vectors, const bool bf16) {
    return bf16 ? (vectors + 1) / 2 : vectors;
}

/* sum[v] += sum over k < depth of a[k] * b[k * ldb + lanes of v]. */
ALWAYS_INLINE void multiply_row(size_t depth, const float *a, const void *b, size_t first, size_t ldb,
                                const int vectors, const bool bf16, fetcher *ahead, __m512 sum[VECTORS]) {
    for (int v = 0; v < vectors; v++) {
        sum[v] = _mm512_setzero_ps();
    }
    for (size_t k = 0; k < depth; k++) {
        fetch_lines(ahead, lines_of(vectors, bf16));
        const __m512 factor = _mm512_set1_ps(a[k]);
        for (int v = 0; v < vectors; v++) {
            sum[v] = _mm512_fmadd_ps(factor, load_lanes(b, first + k * ldb + (size_t)(LANES * v), bf16), sum[v]);
        }
    }
}

ALWAYS_INLINE void score_row(const lilac_softmax_block *block, size_t size, const float *q, const void *panels,
                             float *s, const bool bf16) {
    fetcher ahead = fetcher_of(block);
    for (size_t first = 0; first < lilac_softmax_visible(block, 0); first += PANEL) {
        __m512 sum[VECTORS];
        multiply_row(size, q, panels, first * size, PANEL, VECTORS, bf16, &ahead, sum);
        for (int v = 0; v < VECTORS; v++) {
            _mm512_store_ps(s + first + (size_t)(LANES * v), sum[v]);
        }
    }
}

static void scores(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq, const float *panels,
                   float *s) {
    if (block->rows == 1) {
        score_row(block, size, q, panels, s, false);
    } else {
        score_tiles(block, size, q, ldq, panels, s, ROWS);
    }
}

static void kept_scores_bf16(const lilac_softmax_block *block, size_t size, const float *q, const uint16_t *panels,
                             float *s) {
    score_row(block, size, q, panels, s, true);
}

ALWAYS_INLINE void store_probabilities(float *s, size_t k, __m512 p) {
    _mm512_store_ps(s + k, p);
}

ALWAYS_INLINE void accumulate_tiles(const lilac_softmax_block *block, float *s, size_t value_size, const float *v,
                                    size_t ldv, const lilac_softmax_state *state, const int rows) {
    for (size_t row = 0; row < block->rows; row += (size_t)rows) {
        const size_t end = lilac_softmax_visible(block, row + (size_t)rows - 1);
        if (end == 0) {
            continue;
        }
        for (size_t r = row; r < row + (size_t)rows; r++) {
            exponentiate_row(s + r * STRIDE, lilac_softmax_visible(block, r), end, state, r, value_size,
                             store_probabilities);
        }
        add_product_columns(end, s + row * STRIDE, STRIDE, 1, value_size, v, ldv, state->out + row * state->ld,
                            state->ld, rows);
    }
}

ALWAYS_INLINE void add_row(size_t depth, const float *p, const void *values, size_t column, size_t ldv, float *out,
                           const int vectors, const bool bf16, fetcher *ahead) {
    __m512 sum[VECTORS];
    multiply_row(depth, p, values, column, ldv, vectors, bf16, ahead, sum);
    for (int v = 0; v < vectors; v++) {
        float *lanes = out + column + LANES * v;
        _mm512_store_ps(lanes, _mm512_add_ps(_mm512_load_ps(lanes), sum[v]));
    }
}

ALWAYS_INLINE void accumulate_row(const lilac_softmax_block *block, float *s, size_t value_size, const void *v,
                                  size_t ldv, const lilac_softmax_state *state, const bool bf16) {
    const size_t visible = lilac_softmax_visible(block, 0);
    if (visible == 0) {
        return;
    }
    exponentiate_row(s, visible, visible, state, 0, value_size, store_probabilities);
    fetcher ahead = fetcher_of(block);
    size_t column = 0;
    for (; column + (VECTORS - 1) * LANES < value_size; column += VECTORS * LANES) {
        add_row(visible, s, v, column, ldv, state->out, VECTORS, bf16, &ahead);
    }
    for (; column + LANES < value_size; column += 2 * LANES) {
        add_row(visible, s, v, column, ldv, state->out, 2, bf16, &ahead);
    }
    if (column < value_size) {
        add_row(visible, s, v, column, ldv, state->out, 1, bf16, &ahead);
    }
}

static void kept_accumulate_bf16(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                                 size_t ldv, const lilac_softmax_state *state) {
    accumulate_row(block, s, value_size, v, ldv, state, true);
}

static void accumulate(const lilac_softmax_block *block, float *s, size_t value_size, const float *v, size_t ldv,
                       const lilac_softmax_state *state) {
    if (block->rows == 1) {
        accumulate_row(block, s, value_size, v, ldv, state, false);
    } else {
        accumulate_tiles(block, s, value_size, v, ldv, state, ROWS);
    }
}

static void zero_scores(float *s) {
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < VECTORS; v++) {
            _mm512_store_ps(s + r * STRIDE + LANES * v, _mm512_setzero_ps());
        }
    }
}

static void probabilities(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                          const float *panels, const float *offset, float *p) {
    for (size_t first = 0; first < block->keys; first += PANEL) {
        for (size_t row = 0; row < block->rows; row += ROWS) {
            float *tile = p + row * STRIDE + first;
            if (lilac_softmax_visible(block, row + ROWS - 1) <= first) {
                zero_scores(tile);
                continue;
            }
            __m512 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, q + row * ldq, ldq, 1, panels + first * size, PANEL, ROWS, VECTORS, sum);
            const bool whole = lilac_softmax_visible(block, row) >= first + PANEL;
            for (size_t r = 0; r < ROWS; r++) {
                const __m512 shift = _mm512_set1_ps(offset[row + r]);
                const size_t count = lilac_softmax_visible(block, row + r);
                for (size_t v = 0; v < VECTORS; v++) {
                    const __mmask16 mask = whole ? (__mmask16)0xFFFF : lanes_below(count, first + LANES * v);
                    const __m512 x = lilac_exp2_avx512(_mm512_sub_ps(sum[r][v], shift));
                    _mm512_store_ps(tile + r * STRIDE + LANES * v, _mm512_maskz_mov_ps(mask, x));
                }
            }
        }
    }
}

static void score_gradients(const lilac_softmax_block *block, size_t size, const float *g, size_t ldg,
                            const float *panels, const float *delta, const float *p, float *ds) {
    for (size_t first = 0; first < block->keys; first += PANEL) {
        for (size_t row = 0; row < block->rows; row += ROWS) {
            const size_t at = row * STRIDE + first;
            if (lilac_softmax_visible(block, row + ROWS - 1) <= first) {
                zero_scores(ds + at);
                continue;
            }
            __m512 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, g + row * ldg, ldg, 1, panels + first * size, PANEL, ROWS, VECTORS, sum);
            for (size_t r = 0; r < ROWS; r++) {
                const __m512 shift = _mm512_set1_ps(delta[row + r]);
                for (size_t v = 0; v < VECTORS; v++) {
                    const size_t i = at + r * STRIDE + LANES * v;
                    _mm512_store_ps(ds + i, _mm512_mul_ps(_mm512_load_ps(p + i), _mm512_sub_ps(sum[r][v], shift)));
                }
            }
        }
    }
}

static void multiply(const lilac_softmax_block *block, const float *a, size_t size, const float *b, size_t ldb,
                     float *c, size_t ldc) {
    for (size_t row = 0; row < block->rows; row += ROWS) {
        const size_t end = lilac_softmax_visible(block, row + ROWS - 1);
        add_product_columns(end, a + row * STRIDE, STRIDE, 1, size, b, ldb, c + row * ldc, ldc, ROWS);
    }
}

static void multiply_transposed(const lilac_softmax_block *block, const float *a, size_t size, const float *b,
                                size_t ldb, float *c, size_t ldc) {
    for (size_t key = 0; key < block->keys; key += ROWS) {
        /* Rows before `row` do not see this key or any after it: their entries are zeros. */
        const ptrdiff_t before = (ptrdiff_t)key + 1 - block->diagonal;
        const size_t row = before > 0 ? (size_t)before : 0;
        if (row >= block->rows) {
            break;
        }
        add_product_columns(block->rows - row, a + row * STRIDE + key, 1, STRIDE, size, b + row * ldb, ldb,
                            c + key * ldc, ldc, ROWS);
    }
}

static void pack_panels(size_t count, size_t size, const float *x, size_t ldx, float scale, float *panels) {
    const __m512 factor = _mm512_set1_ps(scale);
    const size_t padded = (count + PANEL - 1) / PANEL * PANEL;
    for (size_t row = 0; row < padded; row += LANES) {
        float *panel = panels + row / PANEL * PANEL * size + row % PANEL;
        for (size_t column = 0; column < size; column += LANES) {
            const __mmask16 mask = lanes_below(size, column);
            __m512 square[LANES];
            for (size_t i = 0; i < LANES; i++) {
                square[i] =
                    row + i < count ? _mm512_maskz_loadu_ps(mask, x + (row + i) * ldx + column) : _mm512_setzero_ps();
            }
            transpose_lanes(square);
            for (size_t i = 0; i < LANES && column + i < size; i++) {
                _mm512_store_ps(panel + (column + i) * PANEL, _mm512_mul_ps(square[i], factor));
            }
        }
    }
}

void lilac_softmax_attention_kernels_avx512(lilac_softmax_attention_kernels *kernels) {
    kernels->pack_panels = pack_panels;
    kernels->scores = scores;
    kernels->accumulate = accumulate;
    kernels->kept_scores_bf16 = kept_scores_bf16;
    kernels->kept_accumulate_bf16 = kept_accumulate_bf16;
    kernels->probabilities = probabilities;
    kernels->score_gradients = score_gradients;
    kernels->multiply = multiply;
    kernels->multiply_transposed = multiply_transposed;
}
