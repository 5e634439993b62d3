/* SPDX-License-Identifier: MIT */
#include "nn/linear.h"

#include "kernels/kernel_table.h"
#include "linalg/matmul.h"
#include "runtime/parallel.h"

/* Rows, or columns of a sum, that one thread takes at a time. */
enum { ROW_BLOCK = 64, COLUMN_BLOCK = 128 };

lilac_status lilac_linear_forward(lilac_context *context, size_t B, size_t in, size_t out, const float *x,
                                  const float *W, float *y) {
    const lilac_matmul_shape shape = {
        .m = B, .n = out, .k = in, .transpose_b = true, .lda = in, .ldb = in, .ldc = out, .alpha = 1.0f};
    return lilac_matmul_f32(context, &shape, x, W, y);
}

lilac_status lilac_linear_backward_input(lilac_context *context, size_t B, size_t in, size_t out, const float *W,
                                         const float *dy, float *dx) {
    const lilac_matmul_shape shape = {.m = B, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in, .alpha = 1.0f};
    return lilac_matmul_f32(context, &shape, dy, W, dx);
}

typedef struct {
    const lilac_context *context;
    size_t rows, cols;
    const float *input;
    float *output;
} matrix_loop;

static void sum_columns(void *argument, size_t begin, size_t end) {
    const matrix_loop *loop = argument;
    loop->context->kernels->elementwise.column_sum(loop->rows, end - begin, loop->input + begin, loop->cols,
                                                   loop->output + begin);
}

lilac_status lilac_linear_backward_weight(lilac_context *context, size_t B, size_t in, size_t out, const float *x,
                                          const float *dy, float *dW, float *db) {
    const lilac_matmul_shape shape = {
        .m = out, .n = in, .k = B, .transpose_a = true, .lda = out, .ldb = in, .ldc = in, .alpha = 1.0f};
    LILAC_TRY(lilac_matmul_f32(context, &shape, dy, x, dW));
    matrix_loop loop = {.context = context, .rows = B, .cols = out, .input = dy, .output = db};
    lilac_parallel_for(context, out, COLUMN_BLOCK, sum_columns, &loop);
    return LILAC_OK;
}

static void add_bias_rows(void *argument, size_t begin, size_t end) {
    const matrix_loop *loop = argument;
    loop->context->kernels->elementwise.add_bias(end - begin, loop->cols, loop->input,
                                                 loop->output + begin * loop->cols, loop->cols);
}

void lilac_add_bias(lilac_context *context, size_t B, size_t out, const float *b, float *y) {
    matrix_loop loop = {.context = context, .rows = B, .cols = out, .input = b, .output = y};
    lilac_parallel_for(context, B, ROW_BLOCK, add_bias_rows, &loop);
}
