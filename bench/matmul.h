/* SPDX-License-Identifier: MIT */
/* Times matrix products of given shapes on random matrices. */
#ifndef LILAC_BENCH_MATMUL_H
#define LILAC_BENCH_MATMUL_H

#include "linalg/matmul.h"
#include "linalg/packed_matrix.h"

typedef enum lilac_bench_matmul_kind {
    LILAC_BENCH_MATMUL_F32,
    LILAC_BENCH_MATMUL_BF16,       /* as training has it: of matrices in bf16, or in f32 for tiles of bf16 */
    LILAC_BENCH_MATMUL_F16,        /* of matrices in f32, which the product itself rounds */
    LILAC_BENCH_MATMUL_PACKED,     /* B packed before; only products with alpha 1, beta 0, B transposed */
    LILAC_BENCH_MATMUL_PACKED_BF16 /* likewise, and rounded */
} lilac_bench_matmul_kind;

/*
 * Seconds of the fastest of many runs, the product's matrices being in the cache or not as their size has it; NaN where
 * products of the kind cannot be had, or not faster than in f32. Errors: those of the product, OVERFLOW.
 */
LILAC_MUST_USE lilac_status lilac_bench_matmul(lilac_context *context, const lilac_matmul_shape *shape,
                                               lilac_bench_matmul_kind kind, double *seconds);

#endif
