/* SPDX-License-Identifier: MIT */
/* The linear attention kernels in AVX-512. */
#include "kernels/x86/vector_avx512.h"

enum { TILE_ROWS = 8 /* of a register tile: 8 x 2 sums leave half of the 32 registers for factors */ };

#include "kernels/x86/linear_attention_chunk_backward.h"

void lilac_linear_attention_kernels_avx512(lilac_linear_attention_kernels *kernels) {
    *kernels = (lilac_linear_attention_kernels){
        .chunk_size = chunk_size,
        .scratch_size = scratch_size,
        .state = state,
        .forward = forward,
        .state_bf16 = state,
        .forward_bf16 = forward,
        .state_gradient = state_gradient,
        .backward = backward,
        .step = step,
    };
}
