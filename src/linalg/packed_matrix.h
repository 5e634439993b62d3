/* SPDX-License-Identifier: MIT */
/*
 * Products with a matrix that is packed once and multiplied often, such as the weights of a model that generates.
 *
 * Unlike those of matmul.h, which leave the order of summation to a library, these sum each number in one fixed order:
 * a row's result is the same bytes whatever other rows it is computed with, and at any number of threads.
 */
#ifndef LILAC_LINALG_PACKED_MATRIX_H
#define LILAC_LINALG_PACKED_MATRIX_H

#include "runtime/context.h"

#include <stdbool.h>
#include <stddef.h>

/* The weights W (out x in) of y = x W^T. */
typedef struct lilac_packed_matrix {
    size_t out, in;
    bool bf16;
    void *panels;
    /* A hint: the matrix that is usually multiplied by after this one. Set it after packing; NULL: not known. */
    const struct lilac_packed_matrix *next;
} lilac_packed_matrix;

/* Element (j, k) of W is scale * data[j * row_step + k * column_step]. */
typedef struct lilac_unpacked_matrix {
    const float *data;
    size_t row_step, column_step;
    float scale;
} lilac_unpacked_matrix;

/* Packs out x in weights, rounded to nearest with bf16. Free them with lilac_packed_matrix_free. Errors: MEMORY. */
lilac_status lilac_packed_matrix_pack(lilac_context *context, size_t out, size_t in, lilac_unpacked_matrix W, bool bf16,
                                      lilac_packed_matrix *packed);
void lilac_packed_matrix_free(lilac_packed_matrix *packed);

/* The memory that its weights take up. */
size_t lilac_packed_matrix_bytes(const lilac_packed_matrix *packed);

/* y = x W^T, or with add y += x W^T. x is rows x in, contiguous, y is rows x out in rows of ldy. */
void lilac_packed_matrix_multiply(const lilac_context *context, const lilac_packed_matrix *packed, size_t rows,
                                  const float *x, bool add, float *y, size_t ldy);

/* The same while `bytes` bytes of `ahead`, which will be used soon, come into the calling thread's cache. */
void lilac_packed_matrix_multiply_ahead(const lilac_context *context, const lilac_packed_matrix *packed, size_t rows,
                                        const float *x, float *y, const void *ahead, size_t bytes);

#endif
