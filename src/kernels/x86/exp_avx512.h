/* SPDX-License-Identifier: MIT */
/* exp of sixteen floats: within 0.9 ulp of the true value; 0 in place of denormals. */
#ifndef LILAC_KERNELS_X86_EXP_AVX512_H
#define LILAC_KERNELS_X86_EXP_AVX512_H

#include <immintrin.h>

/*
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2, and a minimax polynomial for exp(r). From 88.72284 on
 * the result is infinity. Below -87.33654, where the true value is under the smallest normal number, it is +0:
 * calculating with denormals is slow on many cpus, and a softmax can do without. NaN gives NaN.
 */
static inline __m512 lilac_exp_avx512(__m512 x) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.33654f), _CMP_NLT_UQ);
    /* Keeps infinity out of r; overflows all the same. Of a NaN and a number, min returns the second. */
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), x);

    /* Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to an integer. */
    const __m512 shift = _mm512_set1_ps(0x1.8p23f);
    const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p0f), shift), shift);
    /* ln 2 in two parts: n times the first is exact. */
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.63p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.bd0106p-13f), r);

    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.6ac74ep-10f), r, _mm512_set1_ps(0x1.123de0p-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.555858p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.55548cp-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffcp-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(normal, p, n);
}

#endif
