/* SPDX-License-Identifier: MIT */
#ifndef LILAC_LINALG_SINGULAR_VALUES_H
#define LILAC_LINALG_SINGULAR_VALUES_H

#include "runtime/context.h"

/*
 * Writes the min(rows, cols) singular values of the row-major rows x cols matrix, largest first, computed in double
 * (LAPACK's divide-and-conquer SVD). Errors: SHAPE (a size of 0), OVERFLOW, MEMORY, NOT_FINITE (an element is not
 * finite).
 */
lilac_status lilac_singular_values(lilac_context *context, size_t rows, size_t cols, const float *matrix,
                                   double *values);

#endif
