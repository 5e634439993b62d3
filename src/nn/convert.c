/* SPDX-License-Identifier: MIT */
#include "nn/convert.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

enum { BLOCK = 16384 /* elements that one thread takes at a time */ };

typedef struct {
    const lilac_context *context;
    bool flat;                        /* without gaps: the items are elements, not rows */
    size_t cols;                      /* of a row; 0 if flat */
    size_t float_stride, bf16_stride; /* between items */
    const float *from_float;
    const uint16_t *from_bf16;
    float *to_float;
    uint16_t *to_bf16;
} convert_loop;

static void round_items(void *argument, size_t begin, size_t end) {
    const convert_loop *loop = argument;
    const size_t count = end - begin;
    loop->context->kernels->elementwise.float_to_bf16(loop->flat ? 1 : count, loop->flat ? count : loop->cols,
                                                      loop->from_float + begin * loop->float_stride, loop->float_stride,
                                                      loop->to_bf16 + begin * loop->bf16_stride, loop->bf16_stride);
}

static void widen_items(void *argument, size_t begin, size_t end) {
    const convert_loop *loop = argument;
    const size_t count = end - begin;
    loop->context->kernels->elementwise.bf16_to_float(loop->flat ? 1 : count, loop->flat ? count : loop->cols,
                                                      loop->from_bf16 + begin * loop->bf16_stride, loop->bf16_stride,
                                                      loop->to_float + begin * loop->float_stride, loop->float_stride);
}

static void convert(convert_loop *loop, size_t rows, size_t cols, lilac_parallel_body *body) {
    loop->flat = rows <= 1 || (loop->float_stride == cols && loop->bf16_stride == cols);
    if (loop->flat) {
        loop->float_stride = loop->bf16_stride = 1;
        lilac_parallel_for(loop->context, rows * cols, BLOCK, body, loop);
    } else {
        loop->cols = cols;
        lilac_parallel_for(loop->context, rows, BLOCK / lilac_size_max(cols, 1), body, loop);
    }
}

void lilac_float_to_bf16(lilac_context *context, size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y,
                         size_t ldy) {
    convert_loop loop = {.context = context, .float_stride = ldx, .bf16_stride = ldy, .from_float = x, .to_bf16 = y};
    convert(&loop, rows, cols, round_items);
}

void lilac_bf16_to_float(lilac_context *context, size_t rows, size_t cols, const uint16_t *x, size_t ldx, float *y,
                         size_t ldy) {
    convert_loop loop = {.context = context, .float_stride = ldy, .bf16_stride = ldx, .from_bf16 = x, .to_float = y};
    convert(&loop, rows, cols, widen_items);
}
