/* SPDX-License-Identifier: MIT */
/* Bias, ReLU and inverted dropout in one pass, forward and backward. y is B x out, contiguous. */
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

#endif
