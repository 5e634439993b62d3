/* SPDX-License-Identifier: MIT */
/*
 * The linear layer y = x W^T + b, forward and backward. B rows, in and out features; x is B x in, W is out x in, b is
 * out, y is B x out, all contiguous. Parallel over rows; same bytes at any thread count.
 */
#ifndef LILAC_NN_LINEAR_H
#define LILAC_NN_LINEAR_H

#include "linalg/matmul.h"

#include <stddef.h>
#include <stdint.h>

/* The product alone: y = x W^T. The bias is added by what follows it (lilac_add_bias, lilac_bias_relu_dropout_forward).
 */
lilac_status lilac_linear_forward(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand x,
                                  lilac_operand W, float *y);

/* dx = dy W (B x in), or with `add` dx += dy W. */
lilac_status lilac_linear_backward_input(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand W,
                                         lilac_operand dy, bool add, float *dx);

/* dW = dy^T x (out x in), or with `add` dW += dy^T x. */
lilac_status lilac_linear_backward_weight(lilac_context *context, size_t B, size_t in, size_t out, lilac_operand x,
                                          lilac_operand dy, bool add, float *dW);

/* db = the column sums of dy (out), or with `add` db += them. */
void lilac_linear_backward_bias(lilac_context *context, size_t B, size_t out, const float *dy, bool add, float *db);

/* sums[c] += the sum of column c of x (T x cols, rows ldx floats apart). */
void lilac_column_sum(lilac_context *context, size_t T, size_t cols, const float *x, size_t ldx, float *sums);

/* y[i] += b for each of the B rows of y (B x out). */
void lilac_add_bias(lilac_context *context, size_t B, size_t out, const float *b, float *y);

#endif
