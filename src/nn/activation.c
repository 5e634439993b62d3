/* SPDX-License-Identifier: MIT */
#include "nn/activation.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>

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
    const float *bias, *output;
    const lilac_dropout *dropout;
    float scale;
    float *values;
} activation_loop;

static void forward_rows(void *argument, size_t begin, size_t end) {
    const activation_loop *loop = argument;
    const lilac_elementwise_kernels *kernels = &loop->context->kernels->elementwise;
    float *rows = loop->values + begin * loop->cols;
    if (loop->dropout == NULL) {
        kernels->bias_relu_dropout_forward(end - begin, loop->cols, loop->bias, NULL, rows, loop->cols);
        return;
    }
    lilac_dropout dropout = *loop->dropout;
    dropout.random.group += begin * (lilac_round_up(loop->cols, LILAC_RANDOM_GROUP) / LILAC_RANDOM_GROUP);
    kernels->bias_relu_dropout_forward(end - begin, loop->cols, loop->bias, &dropout, rows, loop->cols);
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
        (end - begin) * loop->cols, loop->output + begin * loop->cols, loop->scale, gradient, gradient);
}

void lilac_relu_dropout_backward(lilac_context *context, size_t B, size_t out, const float *y, float scale, float *dy) {
    activation_loop loop = {.context = context, .cols = out, .output = y, .scale = scale, .values = dy};
    lilac_parallel_for(context, B, ROW_BLOCK, backward_rows, &loop);
}
