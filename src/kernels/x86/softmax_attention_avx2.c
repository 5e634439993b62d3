/* SPDX-License-Identifier: MIT */
/* Softmax attention kernels in AVX2: register tiles of 6 rows x 2 vectors, 12 accumulators of the 16 registers. */
#include "kernels/softmax_attention.h"
#include "kernels/x86/exp_avx2.h"

#include <immintrin.h>
#include <math.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    ROWS = LILAC_SOFTMAX_ROWS,
    PANEL = LILAC_SOFTMAX_PANEL,
    STRIDE = LILAC_SOFTMAX_SCORE_STRIDE,
    SUMS = LILAC_SOFTMAX_LANES,
    LANES = 8,
    VECTORS = 2,
    COLUMNS = VECTORS * LANES /* of a register tile */
};

/* Scores may exceed a row's subtracted maximum by this much (in log2) before the row is rescaled. */
static const float SLACK = 8.0f;

/* All bits set in the lanes of the vector that starts at `first` whose index is below `count`. */
ALWAYS_INLINE __m256 lanes_below(size_t count, size_t first) {
    const int lanes = count <= first ? 0 : count - first >= LANES ? LANES : (int)(count - first);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}

ALWAYS_INLINE void zero_tile(__m256 sum[ROWS][VECTORS]) {
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = _mm256_setzero_ps();
        }
    }
}

ALWAYS_INLINE __m256 load_bf16(const uint16_t *x) {
    const __m128i halves = _mm_load_si128((const __m128i *)(const void *)x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/* sum[v] += sum over k < depth of a[k] * b[k * ldb + lanes of v]. */
ALWAYS_INLINE void multiply_row(size_t depth, const float *a, const uint16_t *b, size_t ldb, __m256 sum[VECTORS]) {
    for (int v = 0; v < VECTORS; v++) {
        sum[v] = _mm256_setzero_ps();
    }
    for (size_t k = 0; k < depth; k++) {
        const __m256 factor = _mm256_broadcast_ss(a + k);
        for (int v = 0; v < VECTORS; v++) {
            sum[v] = _mm256_fmadd_ps(factor, load_bf16(b + k * ldb + LANES * v), sum[v]);
        }
    }
}

/* sum[r][v] += sum over k < depth of a[r * row_step + k * depth_step] * b[k * ldb + lanes of v]. */
ALWAYS_INLINE void multiply_tile(size_t depth, const float *a, size_t row_step, size_t depth_step, const float *b,
                                 size_t ldb, const size_t rows, __m256 sum[ROWS][VECTORS]) {
    /* Two pointers reach six rows with the address forms p, p + step, p + 2 step. */
    const float *a3 = a + 3 * row_step;
    for (size_t k = 0; k < depth; k++) {
        __m256 lanes[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            lanes[v] = _mm256_load_ps(b + LANES * v);
        }
        for (size_t r = 0; r < rows; r++) {
            const __m256 factor = _mm256_broadcast_ss(r < 3 ? a + r * row_step : a3 + (r - 3) * row_step);
            for (int v = 0; v < VECTORS; v++) {
                sum[r][v] = _mm256_fmadd_ps(factor, lanes[v], sum[r][v]);
            }
        }
        a += depth_step;
        a3 += depth_step;
        b += ldb;
    }
}

/* c += a b for `rows` rows of c and `size` columns, rounded up to COLUMNS. The product is summed up by itself first. */
ALWAYS_INLINE void add_product(size_t depth, const float *a, size_t row_step, size_t depth_step, size_t size,
                               const float *b, size_t ldb, float *c, size_t ldc, const size_t rows) {
    for (size_t column = 0; column < size; column += COLUMNS) {
        __m256 sum[ROWS][VECTORS];
        zero_tile(sum);
        multiply_tile(depth, a, row_step, depth_step, b + column, ldb, rows, sum);
        for (size_t r = 0; r < rows; r++) {
            for (size_t v = 0; v < VECTORS; v++) {
                float *lanes = c + r * ldc + column + LANES * v;
                _mm256_store_ps(lanes, _mm256_add_ps(_mm256_load_ps(lanes), sum[r][v]));
            }
        }
    }
}

ALWAYS_INLINE void score_tiles(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                               const float *panels, float *s, const size_t rows) {
    for (size_t first = 0; first < block->keys; first += COLUMNS) {
        const float *panel = panels + first / PANEL * PANEL * size + first % PANEL;
        for (size_t row = 0; row < block->rows; row += rows) {
            if (lilac_softmax_visible(block, row + rows - 1) <= first) {
                continue;
            }
            __m256 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, q + row * ldq, ldq, 1, panel, PANEL, rows, sum);
            for (size_t r = 0; r < rows; r++) {
                for (size_t v = 0; v < VECTORS; v++) {
                    _mm256_store_ps(s + (row + r) * STRIDE + first + LANES * v, sum[r][v]);
                }
            }
        }
    }
}

static void scores(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq, const float *panels,
                   float *s) {
    if (block->rows == 1) {
        score_tiles(block, size, q, ldq, panels, s, 1);
    } else {
        score_tiles(block, size, q, ldq, panels, s, ROWS);
    }
}

static float largest_lane(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Raises what is subtracted from a row's scores and scales down what has been summed up with less subtracted. */
static void raise_maximum(const lilac_softmax_state *state, size_t row, size_t value_size, float maximum) {
    const __m256 factor = lilac_exp2_avx2(_mm256_set1_ps(state->maximum[row] - maximum));
    for (size_t i = 0; i < SUMS; i += LANES) {
        float *sums = state->sums + row * SUMS + i;
        _mm256_store_ps(sums, _mm256_mul_ps(_mm256_load_ps(sums), factor));
    }
    for (size_t column = 0; column < value_size; column += LANES) {
        float *out = state->out + row * state->ld + column;
        _mm256_store_ps(out, _mm256_mul_ps(_mm256_load_ps(out), factor));
    }
    state->maximum[row] = maximum;
}

/* Turns a row's scores into 2^(score - maximum), zeros from `count` to `end`, and adds them to its sum. */
ALWAYS_INLINE void exponentiate_row(float *s, size_t count, size_t end, const lilac_softmax_state *state, size_t row,
                                    size_t value_size) {
    const size_t whole = count / LANES * LANES;
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    const __m256 last =
        whole == count ? lowest : _mm256_blendv_ps(lowest, _mm256_load_ps(s + whole), lanes_below(count, whole));
    __m256 largest = last;
    for (size_t k = 0; k < whole; k += LANES) {
        largest = _mm256_max_ps(largest, _mm256_load_ps(s + k));
    }
    const __m256 limit = _mm256_set1_ps(state->maximum[row] + SLACK);
    if (_mm256_movemask_ps(_mm256_cmp_ps(largest, limit, _CMP_GT_OQ)) != 0) {
        raise_maximum(state, row, value_size, largest_lane(largest));
    }
    const __m256 maximum = _mm256_set1_ps(state->maximum[row] == -INFINITY ? 0.0f : state->maximum[row]);
    __m256 sum = _mm256_load_ps(state->sums + row * SUMS);
    for (size_t k = 0; k < whole; k += LANES) {
        const __m256 p = lilac_exp2_avx2(_mm256_sub_ps(_mm256_load_ps(s + k), maximum));
        sum = _mm256_add_ps(sum, p);
        _mm256_store_ps(s + k, p);
    }
    if (whole < end) {
        const __m256 p = lilac_exp2_avx2(_mm256_sub_ps(last, maximum));
        sum = _mm256_add_ps(sum, p);
        _mm256_store_ps(s + whole, p);
    }
    for (size_t k = whole + LANES; k < end; k += LANES) {
        _mm256_store_ps(s + k, _mm256_setzero_ps());
    }
    _mm256_store_ps(state->sums + row * SUMS, sum);
}

ALWAYS_INLINE void accumulate_tiles(const lilac_softmax_block *block, float *s, size_t value_size, const float *v,
                                    size_t ldv, const lilac_softmax_state *state, const size_t rows) {
    for (size_t row = 0; row < block->rows; row += rows) {
        const size_t end = lilac_softmax_visible(block, row + rows - 1);
        if (end == 0) {
            continue;
        }
        for (size_t r = row; r < row + rows; r++) {
            exponentiate_row(s + r * STRIDE, lilac_softmax_visible(block, r), end, state, r, value_size);
        }
        add_product(end, s + row * STRIDE, STRIDE, 1, value_size, v, ldv, state->out + row * state->ld, state->ld,
                    rows);
    }
}

static void accumulate(const lilac_softmax_block *block, float *s, size_t value_size, const float *v, size_t ldv,
                       const lilac_softmax_state *state) {
    if (block->rows == 1) {
        accumulate_tiles(block, s, value_size, v, ldv, state, 1);
    } else {
        accumulate_tiles(block, s, value_size, v, ldv, state, ROWS);
    }
}

static void zero_scores(float *s) {
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t v = 0; v < VECTORS; v++) {
            _mm256_store_ps(s + r * STRIDE + LANES * v, _mm256_setzero_ps());
        }
    }
}

static void probabilities(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                          const float *panels, const float *offset, float *p) {
    const size_t end = (block->keys + PANEL - 1) / PANEL * PANEL;
    for (size_t first = 0; first < end; first += COLUMNS) {
        const float *panel = panels + first / PANEL * PANEL * size + first % PANEL;
        for (size_t row = 0; row < block->rows; row += ROWS) {
            float *tile = p + row * STRIDE + first;
            if (lilac_softmax_visible(block, row + ROWS - 1) <= first) {
                zero_scores(tile);
                continue;
            }
            __m256 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, q + row * ldq, ldq, 1, panel, PANEL, ROWS, sum);
            for (size_t r = 0; r < ROWS; r++) {
                const __m256 shift = _mm256_set1_ps(offset[row + r]);
                const size_t visible = lilac_softmax_visible(block, row + r);
                for (size_t v = 0; v < VECTORS; v++) {
                    const __m256 x = lilac_exp2_avx2(_mm256_sub_ps(sum[r][v], shift));
                    const __m256 mask = lanes_below(visible, first + LANES * v);
                    _mm256_store_ps(tile + r * STRIDE + LANES * v, _mm256_and_ps(mask, x));
                }
            }
        }
    }
}

static void score_gradients(const lilac_softmax_block *block, size_t size, const float *g, size_t ldg,
                            const float *panels, const float *delta, const float *p, float *ds) {
    const size_t end = (block->keys + PANEL - 1) / PANEL * PANEL;
    for (size_t first = 0; first < end; first += COLUMNS) {
        const float *panel = panels + first / PANEL * PANEL * size + first % PANEL;
        for (size_t row = 0; row < block->rows; row += ROWS) {
            const size_t at = row * STRIDE + first;
            if (lilac_softmax_visible(block, row + ROWS - 1) <= first) {
                zero_scores(ds + at);
                continue;
            }
            __m256 sum[ROWS][VECTORS];
            zero_tile(sum);
            multiply_tile(size, g + row * ldg, ldg, 1, panel, PANEL, ROWS, sum);
            for (size_t r = 0; r < ROWS; r++) {
                const __m256 shift = _mm256_set1_ps(delta[row + r]);
                for (size_t v = 0; v < VECTORS; v++) {
                    const size_t i = at + r * STRIDE + LANES * v;
                    _mm256_store_ps(ds + i, _mm256_mul_ps(_mm256_load_ps(p + i), _mm256_sub_ps(sum[r][v], shift)));
                }
            }
        }
    }
}

static void multiply(const lilac_softmax_block *block, const float *a, size_t size, const float *b, size_t ldb,
                     float *c, size_t ldc) {
    for (size_t row = 0; row < block->rows; row += ROWS) {
        const size_t end = lilac_softmax_visible(block, row + ROWS - 1);
        add_product(end, a + row * STRIDE, STRIDE, 1, size, b, ldb, c + row * ldc, ldc, ROWS);
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
        add_product(block->rows - row, a + row * STRIDE + key, 1, STRIDE, size, b + row * ldb, ldb, c + key * ldc, ldc,
                    ROWS);
    }
}

/* Transposes an 8 x 8 matrix held in 8 registers. */
ALWAYS_INLINE void transpose_lanes(__m256 x[LANES]) {
    __m256 y[LANES];
    for (int i = 0; i < LANES; i += 4) {
        const __m256 a = _mm256_unpacklo_ps(x[i], x[i + 1]), b = _mm256_unpackhi_ps(x[i], x[i + 1]);
        const __m256 c = _mm256_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm256_shuffle_ps(a, c, 0x44);
        y[i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
        y[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        y[i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
    }
    /* y[4 i + j] now holds, for each half h, column 4 h + j of rows 4 i .. 4 i + 3. */
    for (int j = 0; j < 4; j++) {
        x[j] = _mm256_permute2f128_ps(y[j], y[4 + j], 0x20);
        x[4 + j] = _mm256_permute2f128_ps(y[j], y[4 + j], 0x31);
    }
}

static void pack_panels(size_t count, size_t size, const float *x, size_t ldx, float scale, float *panels) {
    const __m256 factor = _mm256_set1_ps(scale);
    const size_t padded = (count + PANEL - 1) / PANEL * PANEL;
    for (size_t row = 0; row < padded; row += LANES) {
        float *panel = panels + row / PANEL * PANEL * size + row % PANEL;
        for (size_t column = 0; column < size; column += LANES) {
            const __m256i mask = _mm256_castps_si256(lanes_below(size, column));
            __m256 square[LANES];
            for (size_t i = 0; i < LANES; i++) {
                square[i] =
                    row + i < count ? _mm256_maskload_ps(x + (row + i) * ldx + column, mask) : _mm256_setzero_ps();
            }
            transpose_lanes(square);
            for (size_t i = 0; i < LANES && column + i < size; i++) {
                _mm256_store_ps(panel + (column + i) * PANEL, _mm256_mul_ps(square[i], factor));
            }
        }
    }
}

static void kept_scores_bf16(const lilac_softmax_block *block, size_t size, const float *q, const uint16_t *panels,
                             float *s) {
    for (size_t first = 0; first < lilac_softmax_visible(block, 0); first += COLUMNS) {
        __m256 sum[VECTORS];
        multiply_row(size, q, panels + first / PANEL * PANEL * size + first % PANEL, PANEL, sum);
        for (int v = 0; v < VECTORS; v++) {
            _mm256_store_ps(s + first + (size_t)(LANES * v), sum[v]);
        }
    }
}

static void kept_accumulate_bf16(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                                 size_t ldv, const lilac_softmax_state *state) {
    const size_t visible = lilac_softmax_visible(block, 0);
    if (visible == 0) {
        return;
    }
    exponentiate_row(s, visible, visible, state, 0, value_size);
    for (size_t column = 0; column < value_size; column += COLUMNS) {
        __m256 sum[VECTORS];
        multiply_row(visible, s, v + column, ldv, sum);
        for (int i = 0; i < VECTORS; i++) {
            float *lanes = state->out + column + LANES * i;
            _mm256_store_ps(lanes, _mm256_add_ps(_mm256_load_ps(lanes), sum[i]));
        }
    }
}

void lilac_softmax_attention_kernels_avx2(lilac_softmax_attention_kernels *kernels) {
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
