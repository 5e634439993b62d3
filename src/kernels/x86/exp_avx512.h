/* SPDX-License-Identifier: MIT */
/* exp and 2^x of sixteen floats. An ulp is a unit in the last place of the true value. */
#ifndef LILAC_KERNELS_X86_EXP_AVX512_H
#define LILAC_KERNELS_X86_EXP_AVX512_H

#include <immintrin.h>

/*
 * exp(x) within 0.9 ulp, 0 in place of denormals: exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2, and a
 * minimax polynomial for exp(r). From 88.72284 on the result is infinity. Below -87.33654, where the true value is
 * under the smallest normal number, it is +0: calculating with denormals is slow on many cpus, and a softmax can do
 * without. NaN gives NaN.
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

/*
 * 2^x within 1.05 ulp for x <= 127; denormals are rounded once more, results below 2^-150 are +0 and NaN gives NaN.
 * x = n + r with n a multiple of 1/16 and |r| <= 1/32; the fraction of n picks a factor from a table, and a cubic
 * polynomial does for 2^r. It takes the time of a polynomial of degree 5 without a table, which was 3 ulp off.
 */
static inline __m512 lilac_exp2_avx512(__m512 x) {
    /* 2^(j / 16) */
    const __m512 powers =
        _mm512_set_ps(0x1.ea4afap0f, 0x1.d5818ep0f, 0x1.c199bep0f, 0x1.ae89fap0f, 0x1.9c4918p0f, 0x1.8ace54p0f,
                      0x1.7a1148p0f, 0x1.6a09e6p0f, 0x1.5ab07ep0f, 0x1.4bfdaep0f, 0x1.3dea64p0f, 0x1.306fe0p0f,
                      0x1.2387a6p0f, 0x1.172b84p0f, 0x1.0b5586p0f, 1.0f);
    /* Adding 1.5 * 2^19 leaves four bits for a fraction: the sum is rounded to sixteenths. max returns its second
     * operand for a NaN; the bound keeps that sum in range and maps -infinity to a result of 0. */
    const __m512 shift = _mm512_set1_ps(0x1.8p19f);
    x = _mm512_max_ps(_mm512_set1_ps(-200.0f), x);
    const __m512 shifted = _mm512_add_ps(x, shift);
    const __m512 n = _mm512_sub_ps(shifted, shift);
    const __m512 r = _mm512_sub_ps(x, n);
    /* Only the last four bits of an index count. */
    const __m512 power = _mm512_permutexvar_ps(_mm512_castps_si512(shifted), powers);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.c6b29ap-5f), r, _mm512_set1_ps(0x1.ebff92p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e430p-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), power, power);
    /* scalef takes the integer below n. */
    return _mm512_scalef_ps(p, n);
}

/*
 * 2^x to within 8e-5 of itself, a fiftieth of what rounding to bf16 may add: 2^x = 2^n p(f), n + f = x, 0 <= f < 1, p a
 * minimax polynomial. -infinity gives 0, NaN gives NaN.
 */
static inline __m512 lilac_rough_exp2_avx512(__m512 x) {
    const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.078024523f), _mm512_set1_ps(0.226067155f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.695833541f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999925219f));
    return _mm512_scalef_ps(p, x);
}

#endif
