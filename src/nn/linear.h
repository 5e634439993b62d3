/* SPDX-License-Identifier: MIT */
/*
 * The linear layer y = x W^T + b, forward and backward. B rows, in and out features; x is B x in, W is out x in, b is
 * out, y is B x out, all contiguous. Parallel over rows; same bytes at any thread count.
 */
#ifndef LILAC_NN_LINEAR_H
#define LILAC_NN_LINEAR_H

#include "runtime/context.h"

/* The product alone: y = x W^T. The bias is added by what follows it (lilac_add_bias, lilac_bias_relu_dropout_forward).
 */
lilac_status lilac_linear_forward(lilac_context *context, size_t B, size_t in, size_t out, const float *x,
                                  const float *W, float *y);

/* dx = dy W (B x in). */
lilac_status lilac_linear_backward_input(lilac_context *context, size_t B, size_t in, size_t out, const float *W,
                                         const float *dy, float *dx);

/* dW = dy^T x (out x in), db = column sums of dy (out). */
lilac_status lilac_linear_backward_weight(lilac_context *context, size_t B, size_t in, size_t out, const float *x,
                                          const float *dy, float *dW, float *db);

/* y[i] += b for each of the B rows of y (B x out). */
void lilac_add_bias(lilac_context *context, size_t B, size_t out, const float *b, float *y);

#endif
