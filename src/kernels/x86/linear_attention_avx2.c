/* SPDX-License-Identifier: MIT */
/* The linear attention kernels in AVX2. */
#include "kernels/x86/vector_avx2.h"

enum { TILE_ROWS = 4 /* of a register tile: 4 x 2 sums just cover the latency of a multiply-add on two units */ };

#include "kernels/x86/linear_attention_chunk_backward.h"

void lilac_linear_attention_kernels_avx2(lilac_linear_attention_kernels *kernels) {
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
