/* SPDX-License-Identifier: MIT */
/* Layer norm (Ba, Kiros and Hinton, "Layer Normalization", 2016) after a residual connection, forward and backward,
 * over T rows of F features. Matrices are contiguous. Same bytes at any thread count. */
#ifndef LILAC_NN_LAYER_NORM_H
#define LILAC_NN_LAYER_NORM_H

#include "kernels/elementwise.h"
#include "runtime/context.h"

/*
 * s = x + dropout(y + b), kept in y (T x F); out = (s - mean) * rstd * gain + bias with the mean and rstd = 1 /
 * sqrt(variance + 1e-5) of each row of s (T each). x NULL: no residual; b NULL: no bias of the branch; dropout NULL:
 * none, else row i takes its words from group dropout->random.group + i * ceil(F / 64) on. out may be x; it may be y
 * where s is not needed.
 */
void lilac_residual_norm_forward(lilac_context *context, size_t T, size_t F, const float *x, const float *b,
                                 const lilac_dropout *dropout, float *y, const float *gain, const float *bias,
                                 float *mean, float *rstd, float *out);

/*
 * ds = the gradient by s, given the gradient dout by out, plus ds_extra (NULL: 0); ds may be dout or ds_extra. The
 * gradients dgain and dbias (F each) are added to; both NULL: not wanted. scratch: lilac_layer_norm_scratch_size
 * floats, or NULL where dgain is NULL.
 */
void lilac_layer_norm_backward(lilac_context *context, size_t T, size_t F, const float *s, const float *mean,
                               const float *rstd, const float *gain, const float *dout, const float *ds_extra,
                               float *ds, float *dgain, float *dbias, float *scratch);
size_t lilac_layer_norm_scratch_size(size_t T, size_t F);

#endif
