/* SPDX-License-Identifier: MIT */
#include "kernels/x86/vector_avx2.h"

#include "kernels/x86/elementwise_body.h"

void lilac_elementwise_kernels_avx2(lilac_elementwise_kernels *kernels) {
    fill_in(kernels);
}
