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

/* The numbers that a product multiplies: matrices of f32 or bf16; matrices of f32 that it rounds to f16 or, for tiles
 * of these, to bf16. */
typedef enum lilac_matmul_type {
    LILAC_MATMUL_F32,
    LILAC_MATMUL_BF16,
    LILAC_MATMUL_F16,
    LILAC_MATMUL_TILES
} lilac_matmul_type;

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
 * The product of f32 matrices that are rounded on the way, as `type` says. C overlaps neither A nor B.
 *
 * F16: blocks of the operands are scaled by powers of two, rounded to f16, multiplied and summed in f16, up to 128
 * products in a sum; these sums are added up in f32. An element's error is some 1e-3 of what its terms with random
 * signs come to, about that of products of bf16 operands. Numbers below 2^-18 of the largest of their block lose
 * digits. Where the largest numbers of a block of A and of one of B multiply to less than about 1e-34 what they come to
 * is 0, and above the largest float it is infinite or NaN.
 *
 * TILES: operands are rounded to bf16 and sums are f32, as lilac_matmul_bf16's are. Subnormal numbers count as 0.
 *
 * Errors: those of lilac_matmul_f32. It is slow unless lilac_matmul_rounds.
 */
lilac_status lilac_matmul_rounded(lilac_context *context, lilac_matmul_type type, const lilac_matmul_shape *shape,
                                  const float *a, const float *b, float *c);

/* True where that is faster than f32, at the context's level: F16 on cpus with AVX512-FP16, TILES on those with AMX.
 * False for F32 and BF16. */
bool lilac_matmul_rounds(const lilac_context *context, lilac_matmul_type type);

/*
 * A matrix for products of a type. It is given as floats or, where the type is BF16, as bf16. Where the types of two
 * operands differ their product is that of the floats.
 */
typedef struct lilac_operand {
    lilac_matmul_type type;
    const float *values;
    const uint16_t *rounded; /* BF16 */
} lilac_operand;

static inline lilac_operand lilac_operand_of(const float *values) {
    return (lilac_operand){.values = values};
}

/* The product of such operands. Errors: those of the function for their type. */
lilac_status lilac_matmul(lilac_context *context, const lilac_matmul_shape *shape, lilac_operand a, lilac_operand b,
                          float *c);

/* "oneDNN 2.6.3", for `lilac info`. */
const char *lilac_matmul_library(void);

#endif
