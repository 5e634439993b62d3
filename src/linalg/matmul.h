/* SPDX-License-Identifier: MIT */
/*
 * Matrix products, through a library that is chosen when Lilac is built (oneDNN or a CBLAS).
 *
 * A product is cut into blocks of rows or of columns of C that depend on its shape alone, and each block is computed by
 * one thread, so the result is the same bytes at any number of threads.
 */
#ifndef LILAC_LINALG_MATMUL_H
#define LILAC_LINALG_MATMUL_H

#include "runtime/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* C = alpha op(A) op(B) + beta C; op(A) is m x k, op(B) is k x n, C is m x n, all row major with their row strides. */
typedef struct lilac_matmul_shape {
    size_t m, n, k;
    bool transpose_a, transpose_b; /* A is stored k x m, B is stored n x k */
    size_t lda, ldb, ldc;          /* at least the number of columns stored */
    float alpha;
    float beta; /* 0 (C is not read) or 1 */
} lilac_matmul_shape;

/* The numbers that a product multiplies: what A and B are rounded to. */
typedef enum lilac_matmul_type { LILAC_MATMUL_F32, LILAC_MATMUL_BF16, LILAC_MATMUL_F16 } lilac_matmul_type;

/*
 * The product of f32 matrices. C overlaps neither A nor B. k = 0 leaves beta C; where C is empty no pointer is looked
 * at. Errors: SHAPE (a stride below the columns), OVERFLOW (beyond what the library can index), MEMORY.
 */
lilac_status lilac_matmul_f32(lilac_context *context, const lilac_matmul_shape *shape, const float *a, const float *b,
                              float *c);

/* The same with A and B in bf16 and C in f32. Errors also: UNSUPPORTED (the library cannot, or not by instructions for
 * bf16, without which it would be slower than f32). */
lilac_status lilac_matmul_bf16(lilac_context *context, const lilac_matmul_shape *shape, const uint16_t *a,
                               const uint16_t *b, float *c);

/* Multiplies two numbers, to know whether bf16 products can be had. Errors: UNSUPPORTED, MEMORY. */
lilac_status lilac_matmul_check_bf16(lilac_context *context);

/*
 * The product of f32 matrices in half precision: blocks of the operands are scaled by powers of two, rounded to f16,
 * multiplied and summed in f16, up to 128 products in a sum; these sums are added up in f32. An element's error is some
 * 1e-3 of what its terms with random signs come to, about that of products of bf16 operands. Numbers below 2^-18 of the
 * largest of their block lose digits, and results below 1e-35 are 0. Errors: those of lilac_matmul_f32. It is slow
 * unless lilac_matmul_has_f16.
 */
lilac_status lilac_matmul_f16(lilac_context *context, const lilac_matmul_shape *shape, const float *a, const float *b,
                              float *c);

/* True where that is faster than f32: at the level of AVX-512, on cpus with AVX512-FP16. */
bool lilac_matmul_has_f16(const lilac_context *context);

/* "oneDNN 2.6.3", for `lilac info`. */
const char *lilac_matmul_library(void);

#endif
