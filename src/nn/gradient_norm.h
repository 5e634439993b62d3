/* SPDX-License-Identifier: MIT */
#ifndef LILAC_NN_GRADIENT_NORM_H
#define LILAC_NN_GRADIENT_NORM_H

#include "runtime/context.h"

#include <stddef.h>

/* The Euclidean norm of count numbers, summed in double. Same bytes at any thread count. */
double lilac_gradient_norm(lilac_context *context, size_t count, const float *gradient);

#endif
