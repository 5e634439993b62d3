/* SPDX-License-Identifier: MIT */
/* The SIMD exp of each level as a function over an array; n is a multiple of 16. */
#ifndef LILAC_TEST_EXP_H
#define LILAC_TEST_EXP_H

#include <stddef.h>

void exp_array_avx2(size_t n, const float *x, float *y);
void exp_array_avx512(size_t n, const float *x, float *y);

#endif
