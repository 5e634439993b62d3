/* SPDX-License-Identifier: MIT */
/* The exponential functions of each SIMD level that are inline in its kernels, over arrays; n is a multiple of 16. */
#ifndef LILAC_TEST_EXP_H
#define LILAC_TEST_EXP_H

#include <stddef.h>

typedef void exp_array(size_t n, const float *x, float *y);

exp_array exp_array_avx2, exp_array_avx512;
exp_array exp2_array_avx2, exp2_array_avx512;
exp_array elu_plus_one_array_avx2, elu_plus_one_array_avx512;
exp_array rough_elu_plus_one_array_avx512;

#endif
