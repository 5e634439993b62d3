/* SPDX-License-Identifier: MIT */
#include "kernels/elementwise.h"

void lilac_elementwise_kernels_avx512(lilac_elementwise_kernels *kernels) {
    (void)kernels;
}
