/* SPDX-License-Identifier: MIT */
/* exp and 2^x of eight floats, as in exp_avx512.h. */
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

/* 2^x within 1.3 ulp for x <= 127, +0 in place of denormals: the method of lilac_exp2_avx512 with eighths. */
static inline __m256 lilac_exp2_avx2(__m256 x) {
    /* The bits of 2^(j / 8) less j << 20: adding 8 n << 20 gives those of 2^n, j being the last three bits of 8 n. */
    const __m256i powers = _mm256_set_epi32(0x3f7ac0c7, 0x3f7744fd, 0x3f75672a, 0x3f7504f3, 0x3f75fed7, 0x3f7837f0,
                                            0x3f7b95c2, 0x3f800000);
    const __m256 shift = _mm256_set1_ps(0x1.8p20f), lowest = _mm256_set1_ps(-126.0f);
    const __m256 in_range = _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ);
    x = _mm256_max_ps(lowest, x);
    const __m256 shifted = _mm256_add_ps(x, shift);
    const __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(shifted, shift));
    const __m256i bits = _mm256_castps_si256(shifted);
    const __m256i table = _mm256_permutevar8x32_epi32(powers, bits);
    const __m256 power = _mm256_castsi256_ps(_mm256_add_epi32(table, _mm256_slli_epi32(bits, 20)));
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(0x1.c6b8bep-5f), r, _mm256_set1_ps(0x1.ec0aa6p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e430p-1f));
    return _mm256_and_ps(in_range, _mm256_fmadd_ps(_mm256_mul_ps(p, r), power, power));
}

#endif
