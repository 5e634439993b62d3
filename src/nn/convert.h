/* SPDX-License-Identifier: MIT */
/* Matrices of floats to and from bf16 (core/bf16.h). rows x cols with row strides in elements. */
#ifndef LILAC_NN_CONVERT_H
#define LILAC_NN_CONVERT_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

/* y = x, rounded to nearest, ties to even; a NaN stays one. The same bytes at all levels. */
void lilac_float_to_bf16(lilac_context *context, size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y,
                         size_t ldy);
void lilac_bf16_to_float(lilac_context *context, size_t rows, size_t cols, const uint16_t *x, size_t ldx, float *y,
                         size_t ldy);

#endif
