/* SPDX-License-Identifier: MIT */
/* The operations of vector_avx512.h, explained there, for AVX2. */
#ifndef LILAC_KERNELS_X86_VECTOR_AVX2_H
#define LILAC_KERNELS_X86_VECTOR_AVX2_H

#include "kernels/x86/exp_avx2.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vector;
typedef __m256i vector_words;

enum { VECTOR_LANES = 8 };

static inline __m256i vector_mask(size_t lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)lanes), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}

static inline vector vector_set(float value) {
    return _mm256_set1_ps(value);
}

static inline vector vector_load(const float *p, size_t lanes) {
    return lanes == VECTOR_LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vector_mask(lanes));
}

static inline vector vector_load_or(const float *p, size_t lanes, float fill) {
    return _mm256_blendv_ps(vector_set(fill), vector_load(p, lanes), _mm256_castsi256_ps(vector_mask(lanes)));
}

static inline void vector_store(float *p, size_t lanes, vector v) {
    if (lanes == VECTOR_LANES) {
        _mm256_storeu_ps(p, v);
    } else {
        _mm256_maskstore_ps(p, vector_mask(lanes), v);
    }
}

static inline vector vector_load_bytes(const uint8_t *p, size_t lanes) {
    uint64_t bytes = 0;
    memcpy(&bytes, p, lanes);
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes)));
}

static inline vector vector_add(vector a, vector b) {
    return _mm256_add_ps(a, b);
}

static inline vector vector_subtract(vector a, vector b) {
    return _mm256_sub_ps(a, b);
}

static inline vector vector_multiply(vector a, vector b) {
    return _mm256_mul_ps(a, b);
}

static inline vector vector_multiply_add(vector a, vector b, vector c) {
    return _mm256_fmadd_ps(a, b, c);
}

static inline vector vector_divide(vector a, vector b) {
    return _mm256_div_ps(a, b);
}

static inline vector vector_square_root(vector a) {
    return _mm256_sqrt_ps(a);
}

static inline vector vector_exp(vector a) {
    return lilac_exp_avx2(a);
}

static inline vector vector_max(vector a, vector b) {
    return _mm256_max_ps(a, b);
}

static inline float vector_reduce_max(vector a) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline float vector_reduce_add(vector a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline vector vector_where_positive(vector a, vector v) {
    return _mm256_and_ps(v, _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ));
}

static inline vector vector_where_not_below(vector_words words, uint32_t threshold, vector v) {
    const __m256i above = _mm256_max_epu32(words, _mm256_set1_epi32((int)threshold));
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(above, words)));
}

static inline vector vector_at_lane(int lane, float value) {
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_and_ps(vector_set(value), _mm256_castsi256_ps(_mm256_cmpeq_epi32(lanes, _mm256_set1_epi32(lane))));
}

static inline vector vector_from_upper_24(vector_words words) {
    return _mm256_cvtepi32_ps(_mm256_srli_epi32(words, 8));
}

static inline vector_words vector_set_64(uint64_t value) {
    return _mm256_set1_epi64x((long long)value);
}

static inline vector_words vector_add_64(vector_words a, vector_words b) {
    return _mm256_add_epi64(a, b);
}

static inline vector_words vector_count_by_two_64(uint64_t first) {
    return _mm256_add_epi64(vector_set_64(first), _mm256_set_epi64x(6, 4, 2, 0));
}

static inline vector_words vector_multiply_low_halves(vector_words a, vector_words b) {
    return _mm256_mul_epu32(a, b);
}

static inline vector_words vector_high_halves(vector_words a) {
    return _mm256_srli_epi64(a, 32);
}

static inline vector_words vector_xor(vector_words a, vector_words b, vector_words c) {
    return _mm256_xor_si256(a, _mm256_xor_si256(b, c));
}

static inline vector_words vector_interleave_low_halves(vector_words a, vector_words b) {
    return _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa);
}

static inline vector vector_zero(void) {
    return _mm256_setzero_ps();
}

static inline vector vector_load_bf16(const uint16_t *p, size_t lanes) {
    /* There is no masked load of 16-bit words. */
    uint16_t words[VECTOR_LANES] = {0};
    memcpy(words, p, lanes * sizeof *words);
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)words));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline void vector_store_bf16(uint16_t *p, size_t lanes, vector v) {
    const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x0040));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i wide = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    if (lanes == VECTOR_LANES) {
        _mm_storeu_si128((__m128i *)(void *)p, words);
    } else {
        uint16_t copy[VECTOR_LANES];
        _mm_storeu_si128((__m128i *)(void *)copy, words);
        memcpy(p, copy, lanes * sizeof *copy);
    }
}

static inline vector vector_keep(size_t lanes, vector a) {
    return _mm256_and_ps(_mm256_castsi256_ps(vector_mask(lanes)), a);
}

static inline vector vector_min(vector a, vector b) {
    return _mm256_min_ps(a, b);
}

static inline vector vector_elu_plus_one(vector a) {
    const __m256 positive = _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_blendv_ps(lilac_exp_avx2(a), _mm256_add_ps(a, _mm256_set1_ps(1.0f)), positive);
}

static inline void vector_transpose(vector x[VECTOR_LANES]) {
    __m256 pairs[VECTOR_LANES], quads[VECTOR_LANES];
    for (int i = 0; i < VECTOR_LANES; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    /* quads[i + j], i a multiple of 4: in each half p, column 4 p + j of rows i .. i + 3. */
    for (int i = 0; i < VECTOR_LANES; i += 4) {
        quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int j = 0; j < 4; j++) {
        x[j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x20);
        x[4 + j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x31);
    }
}

#endif
