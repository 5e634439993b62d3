/* SPDX-License-Identifier: MIT */
/* exp of eight floats: within 0.9 ulp of the true value; 0 in place of denormals. */
#ifndef LILAC_KERNELS_X86_EXP_AVX2_H
#define LILAC_KERNELS_X86_EXP_AVX2_H

#include <immintrin.h>
#include <math.h>

/* The method and the edges of lilac_exp_avx512, with the same bytes as result; explained there. */
static inline __m256 lilac_exp_avx2(__m256 x) {
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

    /* n goes straight into p's exponent: for n = 128, p is below 1 unless the result overflows. */
    const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
    const __m256 normal = _mm256_cmp_ps(x, _mm256_set1_ps(-87.33654f), _CMP_NLT_UQ);
    const __m256 overflow = _mm256_cmp_ps(x, _mm256_set1_ps(88.72283f), _CMP_GT_OQ);
    return _mm256_blendv_ps(_mm256_and_ps(scaled, normal), _mm256_set1_ps(INFINITY), overflow);
}

#endif
