/* SPDX-License-Identifier: MIT */
/* What the AVX-512 kernels of softmax attention for f32 and for bf16 have in common: rows of scores, transposing. */
#ifndef LILAC_KERNELS_X86_SOFTMAX_ATTENTION_AVX512_H
#define LILAC_KERNELS_X86_SOFTMAX_ATTENTION_AVX512_H

#include "kernels/softmax_attention.h"
#include "kernels/x86/vector_avx512.h"

#include <immintrin.h>
#include <math.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    ROWS = LILAC_SOFTMAX_ROWS,
    PANEL = LILAC_SOFTMAX_PANEL,
    STRIDE = LILAC_SOFTMAX_SCORE_STRIDE,
    LANES = 16,
    VECTORS = PANEL / LANES
};

/* Scores may exceed a row's subtracted maximum by this much (in log2) before the row is rescaled. */
static const float SLACK = 8.0f;

ALWAYS_INLINE void zero_tile(__m512 sum[ROWS][VECTORS]) {
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = _mm512_setzero_ps();
        }
    }
}

/* Raises the row's maximum to that of `largest` and scales its sum and output down to it. */
static void raise_maximum(const lilac_softmax_state *state, size_t row, size_t value_size, __m512 largest) {
    const float maximum = _mm512_reduce_max_ps(largest);
    const __m512 factor = lilac_exp2_avx512(_mm512_set1_ps(state->maximum[row] - maximum));
    float *sums = state->sums + row * LANES;
    _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), factor));
    for (size_t column = 0; column < value_size; column += LANES) {
        float *out = state->out + row * state->ld + column;
        _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), factor));
    }
    state->maximum[row] = maximum;
}

/* Stores p as the probabilities k, k+1, ... of a row in the place of its scores. */
typedef void probability_store(float *s, size_t k, __m512 p);

/* Turns a row's scores into 2^(score - maximum), zeros from `count` to `end`, and adds them to its sum. */
ALWAYS_INLINE void exponentiate_row(float *s, size_t count, size_t end, const lilac_softmax_state *state, size_t row,
                                    size_t value_size, probability_store *store) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    const size_t whole = count / LANES * LANES;
    const __mmask16 rest = lanes_below(count, whole);
    const __m512 last = _mm512_mask_load_ps(lowest, rest, s + whole);
    __m512 largest = last;
    for (size_t k = 0; k < whole; k += LANES) {
        largest = _mm512_max_ps(largest, _mm512_load_ps(s + k));
    }
    if (_mm512_cmp_ps_mask(largest, _mm512_set1_ps(state->maximum[row] + SLACK), _CMP_GT_OQ) != 0) {
        raise_maximum(state, row, value_size, largest);
    }
    const __m512 maximum = _mm512_set1_ps(state->maximum[row] == -INFINITY ? 0.0f : state->maximum[row]);
    __m512 sum = _mm512_load_ps(state->sums + row * LANES);
    for (size_t k = 0; k < whole; k += LANES) {
        const __m512 p = lilac_exp2_avx512(_mm512_sub_ps(_mm512_load_ps(s + k), maximum));
        sum = _mm512_add_ps(sum, p);
        store(s, k, p);
    }
    if (whole < end) {
        const __m512 p = lilac_exp2_avx512(_mm512_sub_ps(last, maximum));
        sum = _mm512_add_ps(sum, p);
        store(s, whole, p);
    }
    for (size_t k = whole + LANES; k < end; k += LANES) {
        store(s, k, _mm512_setzero_ps());
    }
    _mm512_store_ps(state->sums + row * LANES, sum);
}

/* Transposes a 16 x 16 matrix held in 16 registers. */
ALWAYS_INLINE void transpose_lanes(__m512 x[LANES]) {
    __m512 y[LANES];
    for (int i = 0; i < LANES; i += 4) {
        const __m512 a = _mm512_unpacklo_ps(x[i], x[i + 1]), b = _mm512_unpackhi_ps(x[i], x[i + 1]);
        const __m512 c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        y[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        y[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        y[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
        y[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    }
    /* y[4 i + j] now holds, for each quarter q, column 4 q + j of rows 4 i .. 4 i + 3. */
    for (int j = 0; j < 4; j++) {
        const __m512 a = _mm512_shuffle_f32x4(y[j], y[4 + j], 0x88), b = _mm512_shuffle_f32x4(y[j], y[4 + j], 0xDD);
        const __m512 c = _mm512_shuffle_f32x4(y[8 + j], y[12 + j], 0x88);
        const __m512 d = _mm512_shuffle_f32x4(y[8 + j], y[12 + j], 0xDD);
        x[j] = _mm512_shuffle_f32x4(a, c, 0x88);
        x[8 + j] = _mm512_shuffle_f32x4(a, c, 0xDD);
        x[4 + j] = _mm512_shuffle_f32x4(b, d, 0x88);
        x[12 + j] = _mm512_shuffle_f32x4(b, d, 0xDD);
    }
}

#endif
