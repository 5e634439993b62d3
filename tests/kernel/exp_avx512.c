/* SPDX-License-Identifier: MIT */
/* Calls the inline exponential functions of one level over an array: built with that level's flags, which the tests
 * themselves do without. */
#include "kernels/x86/vector_avx512.h"

#include "test_exp.h"

static inline __attribute__((always_inline)) void map(size_t n, const float *x, float *y, vector function(vector)) {
    for (size_t i = 0; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        vector_store(y + i, VECTOR_LANES, function(vector_load(x + i, VECTOR_LANES)));
    }
}

void exp_array_avx512(size_t n, const float *x, float *y) {
    map(n, x, y, lilac_exp_avx512);
}

void exp2_array_avx512(size_t n, const float *x, float *y) {
    map(n, x, y, lilac_exp2_avx512);
}

void elu_plus_one_array_avx512(size_t n, const float *x, float *y) {
    map(n, x, y, vector_elu_plus_one);
}

void rough_elu_plus_one_array_avx512(size_t n, const float *x, float *y) {
    map(n, x, y, vector_rough_elu_plus_one);
}
