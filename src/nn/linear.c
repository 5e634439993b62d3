/* SPDX-License-Identifier: MIT */
#include "nn/linear.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

/* Rows, or columns of a sum, that one thread takes at a time; columns of a sum in parts, and how many parts. */
enum { ROW_BLOCK = 64, COLUMN_BLOCK = 128, STRIP_COLUMNS = 512, STRIP_PARTS = 16 };

lilac_status lilac_linear_forward(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand x,
                                  lilac_operand W, float *y) {
    const lilac_matmul_shape shape = {
        .m = B, .n = out, .k = in, .transpose_b = true, .lda = in, .ldb = in, .ldc = out, .alpha = 1.0f};
    return lilac_matmul(context, &shape, x, W, y);
}

lilac_status lilac_linear_backward_input(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand W,
                                         lilac_operand dy, bool add, float *dx) {
    const lilac_matmul_shape shape = {
        .m = B, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in, .alpha = 1.0f, .beta = add ? 1.0f : 0.0f};
    return lilac_matmul(context, &shape, dy, W, dx);
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
    return lilac_matmul(context, &shape, dy, x, dW);
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

void lilac_linear_backward_bias(lilac_context *context, size_t B, size_t out, const float *dy, bool add, float *db) {
    if (add) {
        lilac_column_sum(context, B, out, dy, out, db);
        return;
    }
    matrix_loop loop = {.context = context, .rows = B, .cols = out, .input = dy, .output = db};
    lilac_parallel_for(context, out, COLUMN_BLOCK, sum_columns, &loop);
}

typedef struct {
    const lilac_context *context;
    size_t cols, stride, block; /* rows of a part */
    const float *x;
    float *sums; /* STRIP_COLUMNS for each part */
} strip_loop;

static void sum_strip_rows(void *argument, size_t begin, size_t end) {
    const strip_loop *loop = argument;
    loop->context->kernels->elementwise.column_sum(end - begin, loop->cols, loop->x + begin * loop->stride,
                                                   loop->stride, loop->sums + begin / loop->block * STRIP_COLUMNS);
}

/* Strips of columns in turn, each in parts of its rows side by side: there are often more threads than columns to give
 * them. */
void lilac_column_sum(lilac_context *context, size_t T, size_t cols, const float *x, size_t ldx, float *sums) {
    float part_sums[STRIP_PARTS * STRIP_COLUMNS];
    strip_loop loop = {.context = context, .stride = ldx, .sums = part_sums};
    loop.block = lilac_size_max(ROW_BLOCK, (T + STRIP_PARTS - 1) / STRIP_PARTS);
    const size_t parts = (T + loop.block - 1) / loop.block;
    for (size_t first = 0; first < cols; first += STRIP_COLUMNS) {
        loop.cols = lilac_size_min(STRIP_COLUMNS, cols - first);
        loop.x = x + first;
        lilac_parallel_for(context, T, loop.block, sum_strip_rows, &loop);
        for (size_t part = 0; part < parts; part++) {
            for (size_t c = 0; c < loop.cols; c++) {
                sums[first + c] += part_sums[part * STRIP_COLUMNS + c];
            }
        }
    }
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
