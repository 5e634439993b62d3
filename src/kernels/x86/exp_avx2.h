/* SPDX-License-Identifier: MIT */
/* exp of eight floats: within 0.9 ulp of the true value, denormal results included. */
#ifndef LILAC_KERNELS_X86_EXP_AVX2_H
#define LILAC_KERNELS_X86_EXP_AVX2_H

#include <immintrin.h>

/* The method and the edges of lilac_exp_avx512, with the same bytes as result; explained there. */
static inline __m256 lilac_exp_avx2(__m256 x) {
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), _mm256_min_ps(_mm256_set1_ps(89.0f), x));

    const __m256 shift = _mm256_set1_ps(0x1.8p23f);
    const __m256 n = _mm256_sub_ps(_mm256_fmadd_ps(x, _mm256_set1_ps(0x1.715476p0f), shift), shift);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.63p-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-0x1.bd0106p-13f), r);

    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(0x1.6ac74ep-10f), r, _mm256_set1_ps(0x1.123de0p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555858p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.55548cp-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));

    /* 2^n itself can be out of range (n is -150 .. 128). One half of n goes straight into p's exponent, which is exact;
     * the multiplication by 2^(other half) is the only one that rounds. */
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    const __m256i rest = _mm256_add_epi32(_mm256_sub_epi32(whole, half), _mm256_set1_epi32(127));
    const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(half, 23)));
    return _mm256_mul_ps(scaled, _mm256_castsi256_ps(_mm256_slli_epi32(rest, 23)));
}

#endif
