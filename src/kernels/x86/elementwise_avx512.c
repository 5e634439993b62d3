/* SPDX-License-Identifier: MIT */
#include "kernels/x86/vector_avx512.h"

#include "kernels/x86/elementwise_body.h"

void lilac_elementwise_kernels_avx512(lilac_elementwise_kernels *kernels) {
    fill_in(kernels);
}
