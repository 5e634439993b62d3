/* SPDX-License-Identifier: MIT */
/* Calls the inline exp of one level over an array: built with that level's flags, which the tests themselves do
 * without. */
#include "kernels/x86/exp_avx2.h"

#include "test_exp.h"

#include <string.h>

void exp_array_avx2(size_t n, const float *x, float *y) {
    enum { LANES = sizeof(__m256) / sizeof(float) };
    for (size_t i = 0; i + LANES <= n; i += LANES) {
        __m256 lanes;
        memcpy(&lanes, x + i, sizeof lanes);
        lanes = lilac_exp_avx2(lanes);
        memcpy(y + i, &lanes, sizeof lanes);
    }
}
