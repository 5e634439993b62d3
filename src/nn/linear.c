/* SPDX-License-Identifier: MIT */
#include "nn/linear.h"

#include "kernels/kernel_table.h"
#include "linalg/matmul.h"
#include "runtime/parallel.h"

/* Rows, or columns of a sum, that one thread takes at a time. */
enum { ROW_BLOCK = 64, COLUMN_BLOCK = 128 };

static lilac_status multiply(lilac_context *context, const lilac_matmul_shape *shape, lilac_operand a, lilac_operand b,
                             float *c) {
    return a.rounded != NULL && b.rounded != NULL ? lilac_matmul_bf16(context, shape, a.rounded, b.rounded, c)
                                                  : lilac_matmul_f32(context, shape, a.values, b.values, c);
}

lilac_status lilac_linear_forward(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand x,
                                  lilac_operand W, float *y) {
    const lilac_matmul_shape shape = {
        .m = B, .n = out, .k = in, .transpose_b = true, .lda = in, .ldb = in, .ldc = out, .alpha = 1.0f};
    return multiply(context, &shape, x, W, y);
}

lilac_status lilac_linear_backward_input(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand W,
                                         lilac_operand dy, bool add, float *dx) {
    const lilac_matmul_shape shape = {
        .m = B, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in, .alpha = 1.0f, .beta = add ? 1.0f : 0.0f};
    return multiply(context, &shape, dy, W, dx);
}

lilac_status lilac_linear_backward_weight(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand x,
                                          lilac_operand dy, bool add, float *dW) {
    const lilac_matmul_shape shape = {.m = out,
                                      .n = in,
                                      .k = B,
                                      .transpose_a = true,
                                      .lda = out,
                                      .ldb = in,
                                      .ldc = in,
                                      .alpha = 1.0f,
                                      .beta = add ? 1.0f : 0.0f};
    return multiply(context, &shape, dy, x, dW);
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

static void add_column_sums(void *argument, size_t begin, size_t end) {
    const matrix_loop *loop = argument;
    float sums[COLUMN_BLOCK];
    const size_t count = end - begin;
    loop->context->kernels->elementwise.column_sum(loop->rows, count, loop->input + begin, loop->cols, sums);
    for (size_t c = 0; c < count; c++) {
        loop->output[begin + c] += sums[c];
    }
}

void lilac_linear_backward_bias(lilac_context *context, size_t B, size_t out, const float *dy, bool add, float *db) {
    matrix_loop loop = {.context = context, .rows = B, .cols = out, .input = dy, .output = db};
    lilac_parallel_for(context, out, COLUMN_BLOCK, add ? add_column_sums : sum_columns, &loop);
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
