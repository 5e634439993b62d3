/* SPDX-License-Identifier: MIT */
#include "kernels/x86/vector_avx2.h"

#include "kernels/x86/layer_norm_body.h"

void lilac_layer_norm_kernels_avx2(lilac_layer_norm_kernels *kernels) {
    fill_in(kernels);
}
