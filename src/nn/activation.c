/* SPDX-License-Identifier: MIT */
#include "nn/activation.h"

#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

enum { ROW_BLOCK = 64 };

lilac_dropout lilac_dropout_create(double probability, lilac_random random) {
    /* A probability just below 1 rounds to 2^32, which would wrap to a threshold of 0. */
    return (lilac_dropout){.threshold = (uint32_t)fmin(rint(probability * 0x1p32), UINT32_MAX),
                           .scale = (float)(1.0 / (1.0 - probability)),
                           .random = random};
}

typedef struct {
    const lilac_context *context;
    size_t cols;
    const float *bias, *dy;
    const float *kept; /* of the forward, for the backward */
    const lilac_dropout *dropout;
    float scale;
    float *values, *pre;
} activation_loop;

/* The dropout of the rows from begin on, put in *space; NULL if there is none. */
static const lilac_dropout *dropout_from(const activation_loop *loop, size_t begin, lilac_dropout *space) {
    if (loop->dropout == NULL) {
        return NULL;
    }
    *space = lilac_dropout_from_row(loop->dropout, loop->cols, begin);
    return space;
}

static void forward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    lilac_dropout space;
    loop->context->kernels->elementwise.bias_relu_dropout_forward(end - begin, loop->cols, loop->bias,
                                                                  dropout_from(loop, begin, &space),
                                                                  loop->values + begin * loop->cols, loop->cols);
}

void lilac_bias_relu_dropout_forward(lilac_context *context, size_t B, size_t out, const float *b,
                                     const lilac_dropout *dropout, float *y) {
    activation_loop loop = {.context = context, .cols = out, .bias = b, .dropout = dropout, .values = y};
    lilac_parallel_for(context, B, ROW_BLOCK, forward_rows, &loop);
}

static void backward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    float *gradient = loop->values + begin * loop->cols;
    loop->context->kernels->elementwise.relu_dropout_backward(
        (end - begin) * loop->cols, loop->kept + begin * loop->cols, loop->scale, gradient, gradient);
}

void lilac_relu_dropout_backward(lilac_context *context, size_t B, size_t out, const float *y, float scale, float *dy) {
    activation_loop loop = {.context = context, .cols = out, .kept = y, .scale = scale, .values = dy};
    lilac_parallel_for(context, B, ROW_BLOCK, backward_rows, &loop);
}

static void dropout_backward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    const size_t offset = begin * loop->cols;
    lilac_dropout space;
    const lilac_dropout *dropout = dropout_from(loop, begin, &space);
    if (dropout != NULL) {
        loop->context->kernels->elementwise.dropout_backward(end - begin, loop->cols, dropout, loop->dy + offset,
                                                             loop->values + offset);
    } else if (loop->dy != loop->values) {
        memcpy(loop->values + offset, loop->dy + offset, (end - begin) * loop->cols * sizeof(float));
    }
}

void lilac_dropout_backward(lilac_context *context, size_t T, size_t F, const lilac_dropout *dropout, const float *dy,
                            float *dx) {
    activation_loop loop = {.context = context, .cols = F, .dropout = dropout, .dy = dy, .values = dx};
    lilac_parallel_for(context, T, ROW_BLOCK, dropout_backward_rows, &loop);
}

static void gelu_forward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    const size_t offset = begin * loop->cols;
    lilac_dropout space;
    loop->context->kernels->elementwise.bias_gelu_dropout_forward(end - begin, loop->cols, loop->bias,
                                                                  dropout_from(loop, begin, &space), loop->pre + offset,
                                                                  loop->values + offset);
}

void lilac_bias_gelu_dropout_forward(lilac_context *context, size_t T, size_t out, const float *b,
                                     const lilac_dropout *dropout, float *pre, float *y) {
    activation_loop loop = {.context = context, .cols = out, .bias = b, .dropout = dropout, .pre = pre, .values = y};
    lilac_parallel_for(context, T, ROW_BLOCK, gelu_forward_rows, &loop);
}

static void gelu_backward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    const size_t offset = begin * loop->cols;
    lilac_dropout space;
    loop->context->kernels->elementwise.gelu_dropout_backward(end - begin, loop->cols, loop->kept + offset,
                                                              dropout_from(loop, begin, &space), loop->values + offset);
}

void lilac_gelu_dropout_backward(lilac_context *context, size_t T, size_t out, const float *pre,
                                 const lilac_dropout *dropout, float *dy) {
    activation_loop loop = {.context = context, .cols = out, .kept = pre, .dropout = dropout, .values = dy};
    lilac_parallel_for(context, T, ROW_BLOCK, gelu_backward_rows, &loop);
}
