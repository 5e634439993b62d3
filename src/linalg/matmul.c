/* SPDX-License-Identifier: MIT */
/* What all matmul libraries share: checks, and the cut into blocks that the threads take. */
#include "linalg/matmul.h"

#include "core/memory.h"
#include "linalg/matmul_block.h"
#include "runtime/parallel.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

enum {
    /* A product of fewer multiplications than this is one block: threads would cost more than they save. */
    SMALL_PRODUCT = 1 << 18,
    /* Rows, or columns of a wide C, in a block. The library packs the other operand again for each block, so fewer,
     * larger blocks are faster on one thread: at 512 a batch of 1024 still occupies two. */
    BLOCK = 512
};

typedef struct {
    lilac_matmul_shape shape;
    lilac_matmul_block *multiply;
    const char *a, *b;
    size_t element; /* bytes of an element of A and B */
    float *c;
    size_t row_step, column_step, column_blocks;
    atomic_int status;
} product;

static void multiply_blocks(void *argument, size_t begin, size_t end) {
    product *p = argument;
    for (size_t block = begin; block < end; block++) {
        const size_t row = block / p->column_blocks * p->row_step;
        const size_t column = block % p->column_blocks * p->column_step;
        lilac_matmul_shape shape = p->shape;
        shape.m = lilac_size_min(p->row_step, p->shape.m - row);
        shape.n = lilac_size_min(p->column_step, p->shape.n - column);
        const size_t a_offset = shape.transpose_a ? row : row * shape.lda;
        const size_t b_offset = shape.transpose_b ? column * shape.ldb : column;
        const lilac_status status = p->multiply(&shape, p->a + a_offset * p->element, p->b + b_offset * p->element,
                                                p->c + row * shape.ldc + column);
        if (status != LILAC_OK) {
            atomic_store(&p->status, (int)status);
        }
    }
}

static lilac_status check_shape(lilac_context *context, const lilac_matmul_shape *s) {
    const size_t a_columns = s->transpose_a ? s->m : s->k;
    const size_t b_columns = s->transpose_b ? s->k : s->n;
    if (s->lda < a_columns || s->ldb < b_columns || s->ldc < s->n) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "matrix product %zu x %zu x %zu: row strides %zu, %zu, %zu are below %zu, %zu, %zu columns",
                          s->m, s->n, s->k, s->lda, s->ldb, s->ldc, a_columns, b_columns, s->n);
    }
    const size_t largest = lilac_size_max(lilac_size_max(s->lda, s->ldb), lilac_size_max(s->ldc, s->k));
    if (lilac_size_max(largest, lilac_size_max(s->m, s->n)) > INT_MAX) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW,
                          "matrix product %zu x %zu x %zu: a size or stride above %d cannot be indexed", s->m, s->n,
                          s->k, INT_MAX);
    }
    return LILAC_OK;
}

static void scale_by_beta(const lilac_matmul_shape *s, float *c) {
    for (size_t i = 0; s->beta == 0.0f && s->n > 0 && i < s->m; i++) {
        memset(c + i * s->ldc, 0, s->n * sizeof *c);
    }
}

static lilac_status multiply(lilac_context *context, const lilac_matmul_shape *shape, lilac_matmul_block *block,
                             size_t element, const void *a, const void *b, float *c) {
    LILAC_TRY(check_shape(context, shape));
    if (shape->m == 0 || shape->n == 0 || shape->k == 0) {
        scale_by_beta(shape, c);
        return LILAC_OK;
    }
    product p = {.shape = *shape, .multiply = block, .a = a, .b = b, .element = element, .c = c};
    const bool small = (double)shape->m * (double)shape->n * (double)shape->k < SMALL_PRODUCT;
    /* The longer side of C is cut, so that a weight gradient (few rows, many columns) is shared out too. */
    const bool cut_columns = shape->n > shape->m;
    p.row_step = small || cut_columns ? shape->m : BLOCK;
    p.column_step = small || !cut_columns ? shape->n : BLOCK;
    p.column_blocks = (shape->n + p.column_step - 1) / p.column_step;
    const size_t blocks = (shape->m + p.row_step - 1) / p.row_step * p.column_blocks;
    lilac_parallel_for(context, blocks, 1, multiply_blocks, &p);
    const lilac_status status = (lilac_status)atomic_load(&p.status);
    if (status != LILAC_OK) {
        return lilac_fail(context, status, "%s could not multiply %zu x %zu x %zu", lilac_matmul_library(), shape->m,
                          shape->n, shape->k);
    }
    return LILAC_OK;
}

lilac_status lilac_matmul_f32(lilac_context *context, const lilac_matmul_shape *shape, const float *a, const float *b,
                              float *c) {
    return multiply(context, shape, lilac_matmul_block_f32, sizeof(float), a, b, c);
}

lilac_status lilac_matmul_bf16(lilac_context *context, const lilac_matmul_shape *shape, const uint16_t *a,
                               const uint16_t *b, float *c) {
    return multiply(context, shape, lilac_matmul_block_bf16, sizeof(uint16_t), a, b, c);
}
