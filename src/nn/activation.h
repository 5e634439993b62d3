/* SPDX-License-Identifier: MIT */
/* Bias, ReLU or GELU, and inverted dropout in one pass, forward and backward. Matrices are contiguous. Same bytes at
 * any thread count. */
#ifndef LILAC_NN_ACTIVATION_H
#define LILAC_NN_ACTIVATION_H

#include "kernels/elementwise.h"
#include "runtime/context.h"

/* Dropout of that probability (0 <= p < 1) with the numbers of `random`. */
lilac_dropout lilac_dropout_create(double probability, lilac_random random);

/* y = dropout(relu(y + b)) in place; dropout NULL means none. */
void lilac_bias_relu_dropout_forward(lilac_context *context, size_t B, size_t out, const float *b,
                                     const lilac_dropout *dropout, float *y);

/* dy becomes the gradient before the activation; y is the forward's output and scale its dropout's scale (1 without).
 */
void lilac_relu_dropout_backward(lilac_context *context, size_t B, size_t out, const float *y, float scale, float *dy);

/* dx = dropout(dy), with the mask of the forward drawn again; T x F. dx may be dy; dropout NULL means none. */
void lilac_dropout_backward(lilac_context *context, size_t T, size_t F, const lilac_dropout *dropout, const float *dy,
                            float *dx);

/*
 * pre += b, kept for the backward; y = dropout(gelu(pre)), where gelu(x) = x (1 + tanh(sqrt(2 / pi) (x + 0.044715
 * x^3))) / 2 (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016). T x out; dropout NULL means none.
 */
void lilac_bias_gelu_dropout_forward(lilac_context *context, size_t T, size_t out, const float *b,
                                     const lilac_dropout *dropout, float *pre, float *y);

/* dy becomes the gradient by pre, with the pre and the dropout of the forward. */
void lilac_gelu_dropout_backward(lilac_context *context, size_t T, size_t out, const float *pre,
                                 const lilac_dropout *dropout, float *dy);

#endif
