/* SPDX-License-Identifier: MIT */
/* What a matmul library provides: one block of a product, on the calling thread. One source file a library. */
#ifndef LILAC_LINALG_MATMUL_BLOCK_H
#define LILAC_LINALG_MATMUL_BLOCK_H

#include "linalg/matmul.h"

/* Sizes are at least 1 and, like the strides, at most INT_MAX. Errors: MEMORY, UNSUPPORTED. */
typedef lilac_status lilac_matmul_block(const lilac_matmul_shape *shape, const void *a, const void *b, float *c);

lilac_matmul_block lilac_matmul_block_f32;
lilac_matmul_block lilac_matmul_block_bf16;

#endif
