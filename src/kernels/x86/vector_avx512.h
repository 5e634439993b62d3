/* SPDX-License-Identifier: MIT */
/*
 * The vector operations that the kernels' shared bodies are written in, for AVX-512. `lanes` says how many of a
 * vector's elements exist in memory: with the constant VECTOR_LANES loads and stores are plain ones, with less they are
 * masked.
 */
#ifndef LILAC_KERNELS_X86_VECTOR_AVX512_H
#define LILAC_KERNELS_X86_VECTOR_AVX512_H

#include "kernels/x86/exp_avx512.h"

#include <stddef.h>
#include <stdint.h>

typedef __m512 vector;        /* floats */
typedef __m512i vector_words; /* as many 32-bit words, or half as many 64-bit ones */

enum { VECTOR_LANES = 16 };

static inline __mmask16 vector_mask(size_t lanes) {
    return (__mmask16)((1u << lanes) - 1);
}

/* Of 16 lanes from number `first` on those below `count`. */
static inline __mmask16 lanes_below(size_t count, size_t first) {
    const size_t left = count > first ? count - first : 0;
    return vector_mask(left < VECTOR_LANES ? left : VECTOR_LANES);
}

static inline vector vector_set(float value) {
    return _mm512_set1_ps(value);
}

/* Lanes that are not loaded hold fill. */
static inline vector vector_load_or(const float *p, size_t lanes, float fill) {
    return _mm512_mask_loadu_ps(vector_set(fill), vector_mask(lanes), p);
}

static inline vector vector_load(const float *p, size_t lanes) {
    return _mm512_maskz_loadu_ps(vector_mask(lanes), p);
}

static inline void vector_store(float *p, size_t lanes, vector v) {
    _mm512_mask_storeu_ps(p, vector_mask(lanes), v);
}

static inline vector vector_load_bytes(const uint8_t *p, size_t lanes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(vector_mask(lanes), p)));
}

static inline vector vector_add(vector a, vector b) {
    return _mm512_add_ps(a, b);
}

static inline vector vector_subtract(vector a, vector b) {
    return _mm512_sub_ps(a, b);
}

static inline vector vector_multiply(vector a, vector b) {
    return _mm512_mul_ps(a, b);
}

/* a * b + c, rounded once. */
static inline vector vector_multiply_add(vector a, vector b, vector c) {
    return _mm512_fmadd_ps(a, b, c);
}

static inline vector vector_divide(vector a, vector b) {
    return _mm512_div_ps(a, b);
}

static inline vector vector_square_root(vector a) {
    return _mm512_sqrt_ps(a);
}

static inline vector vector_exp(vector a) {
    return lilac_exp_avx512(a);
}

/* a > b ? a : b, so b where a is NaN. */
static inline vector vector_max(vector a, vector b) {
    return _mm512_max_ps(a, b);
}

static inline float vector_reduce_max(vector a) {
    return _mm512_reduce_max_ps(a);
}

static inline float vector_reduce_add(vector a) {
    return _mm512_reduce_add_ps(a);
}

/* v where a > 0, else +0. */
static inline vector vector_where_positive(vector a, vector v) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), v);
}

/* v where the word is not below the threshold, else +0. */
static inline vector vector_where_not_below(vector_words words, uint32_t threshold, vector v) {
    return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(words, _mm512_set1_epi32((int)threshold)), v);
}

/* value in that lane, +0 in the others; the lane need not exist. */
static inline vector vector_at_lane(int lane, float value) {
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(lanes, _mm512_set1_epi32(lane)), vector_set(value));
}

/* The upper 24 bits of each word as a float. */
static inline vector vector_from_upper_24(vector_words words) {
    return _mm512_cvtepi32_ps(_mm512_srli_epi32(words, 8));
}

static inline vector_words vector_set_64(uint64_t value) {
    return _mm512_set1_epi64((long long)value);
}

static inline vector_words vector_add_64(vector_words a, vector_words b) {
    return _mm512_add_epi64(a, b);
}

/* first, first + 2, first + 4 .. as 64-bit words. */
static inline vector_words vector_count_by_two_64(uint64_t first) {
    return _mm512_add_epi64(vector_set_64(first), _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0));
}

/* The products of the lower halves of the 64-bit words. */
static inline vector_words vector_multiply_low_halves(vector_words a, vector_words b) {
    return _mm512_mul_epu32(a, b);
}

static inline vector_words vector_high_halves(vector_words a) {
    return _mm512_srli_epi64(a, 32);
}

static inline vector_words vector_xor(vector_words a, vector_words b, vector_words c) {
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* The lower halves of a's and b's 64-bit words in turn. */
static inline vector_words vector_interleave_low_halves(vector_words a, vector_words b) {
    return _mm512_mask_shuffle_epi32(a, 0xaaaa, b, _MM_PERM_CCAA);
}

static inline vector vector_zero(void) {
    return _mm512_setzero_ps();
}

/* bf16 numbers as floats; lanes that are not loaded hold 0. */
static inline vector vector_load_bf16(const uint16_t *p, size_t lanes) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(vector_mask(lanes), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* Rounds to bf16: to nearest, ties to even; a NaN gets its quiet bit. */
static inline void vector_store_bf16(uint16_t *p, size_t lanes, vector v) {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m256i words = _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x0040)));
    _mm256_mask_storeu_epi16(p, vector_mask(lanes), words);
}

/* The first lanes of a, 0 in the others. */
static inline vector vector_keep(size_t lanes, vector a) {
    return _mm512_maskz_mov_ps(vector_mask(lanes), a);
}

static inline vector vector_min(vector a, vector b) {
    return _mm512_min_ps(a, b);
}

/*
 * elu(a) + 1 within 1.1 ulp, below -80 within 1.4 ulp (a product on the way is denormal), and +0 below -87, where
 * exp(a) < 1.7e-38. With exp taken from a table it takes a fifth less time than with lilac_exp_avx512: a = n ln 2 / 16
 * + r, |r| <= ln 2 / 32, exp(a) = 2^(n / 16) exp(r), and a cubic polynomial does for exp(r).
 */
static inline vector vector_elu_plus_one(vector a) {
    /* The bits of 2^(j / 16) less j << 19: adding n << 19 gives those of 2^(n / 16), j being the last four bits of n.
     */
    const __m512i powers = _mm512_set_epi32(0x3f7d257d, 0x3f7ac0c7, 0x3f78ccdf, 0x3f7744fd, 0x3f76248c, 0x3f75672a,
                                            0x3f7508a4, 0x3f7504f3, 0x3f75583f, 0x3f75fed7, 0x3f76f532, 0x3f7837f0,
                                            0x3f79c3d3, 0x3f7b95c2, 0x3f7daac3, 0x3f800000);
    /* Where exp is used at all, and where it is not below the smallest normal number or next to it. */
    const __mmask16 negative = _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_LE_OQ);
    const __mmask16 normal = _mm512_cmp_ps_mask(a, _mm512_set1_ps(-87.0f), _CMP_GE_OQ);
    /* Adding 1.5 * 2^23 leaves no bits for a fraction: the sum holds n in its last bits. */
    const __m512 shift = _mm512_set1_ps(0x1.8p23f);
    const __m512 shifted = _mm512_fmadd_ps(a, _mm512_set1_ps(0x1.715476p4f), shift);
    const __m512i bits = _mm512_castps_si512(shifted);
    const __m512 n = _mm512_sub_ps(shifted, shift);
    /* ln 2 / 16 in two parts: n times the first is exact. */
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62ep-5f), a);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.0bfbe8p-19f), r);
    const __m512 power =
        _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(bits, powers), _mm512_slli_epi32(bits, 19)));
    __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(0x1.555556p-3f), _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    const __m512 e = _mm512_fmadd_ps(_mm512_mul_ps(power, r), p, power);
    const __m512 linear = _mm512_add_ps(a, _mm512_set1_ps(1.0f));
    return _mm512_mask_mov_ps(linear, negative, _mm512_maskz_mov_ps(normal, e));
}

/*
 * elu(a) + 1 to within 1.6e-4 of itself, which is enough before rounding to bf16: exp(a) = 2^n p(f), n + f = a / ln 2,
 * 0 <= f < 1, p a minimax polynomial. What is too small for a normal number may be anything down to 0: it becomes 0
 * when it is rounded to bf16.
 */
static inline vector vector_rough_elu_plus_one(vector a) {
    const __mmask16 positive = _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 exponent = _mm512_mul_ps(a, _mm512_set1_ps(0x1.715476p0f));
    const __m512 f = _mm512_reduce_ps(exponent, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.0794402384f), _mm512_set1_ps(0.2244943373f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.6960656422f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_mask_add_ps(_mm512_scalef_ps(p, exponent), positive, a, _mm512_set1_ps(1.0f));
}

/* Transposes the square matrix whose rows are the vectors. */
static inline void vector_transpose(vector x[VECTOR_LANES]) {
    __m512 pairs[VECTOR_LANES];
    for (int i = 0; i < VECTOR_LANES; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    /* quads[i + j], i a multiple of 4: in each 128-bit part p, column 4 p + j of rows i .. i + 3. */
    __m512 quads[VECTOR_LANES];
    for (int i = 0; i < VECTOR_LANES; i += 4) {
        const __m512d a = _mm512_castps_pd(pairs[i]), b = _mm512_castps_pd(pairs[i + 1]);
        const __m512d c = _mm512_castps_pd(pairs[i + 2]), d = _mm512_castps_pd(pairs[i + 3]);
        quads[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        quads[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        quads[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        quads[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    for (int j = 0; j < 4; j++) {
        const __m512 a = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0x88);      /* parts 0 and 2 of rows 0 .. 7 */
        const __m512 b = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0x88); /* and of rows 8 .. 15 */
        const __m512 c = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0xdd);      /* parts 1 and 3 of them */
        const __m512 d = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0xdd);
        x[j] = _mm512_shuffle_f32x4(a, b, 0x88);
        x[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
        x[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
        x[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

#endif
