/* SPDX-License-Identifier: MIT */
#include "linalg/singular_values.h"

#include "core/memory.h"

#include <lapacke.h>
#include <limits.h>
#include <math.h>

lilac_status lilac_singular_values(lilac_context *context, size_t rows, size_t cols, const float *matrix,
                                   double *values) {
    size_t count;
    if (rows == 0 || cols == 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "singular values: the matrix is %zu x %zu, expected at least 1 x 1", rows, cols);
    }
    if (rows > INT_MAX || cols > INT_MAX || !lilac_size_multiply(rows, cols, &count)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "singular values: a %zu x %zu matrix is too large", rows,
                          cols);
    }
    double *copy = lilac_memory_allocate(count, sizeof *copy);
    double *result = lilac_memory_allocate(lilac_size_min(rows, cols), sizeof *result);
    lilac_status status = LILAC_OK;
    if (copy == NULL || result == NULL) {
        status = lilac_fail_memory(context, "singular values", count * sizeof *copy);
    }
    for (size_t i = 0; status == LILAC_OK && i < count; i++) {
        if (!isfinite(matrix[i])) {
            status = lilac_fail(context, LILAC_ERROR_NOT_FINITE, "singular values: element [%zu, %zu] is not finite",
                                i / cols, i % cols);
        }
        copy[i] = (double)matrix[i];
    }
    if (status == LILAC_OK) {
        /* Read as column major the matrix is its transpose, which has the same singular values: no copy is needed. */
        double unused;
        const lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', (lapack_int)cols, (lapack_int)rows, copy,
                                               (lapack_int)cols, result, &unused, 1, &unused, 1);
        if (info != 0) {
            status = lilac_fail(context, info < -1000 ? LILAC_ERROR_MEMORY : LILAC_ERROR_NOT_FINITE,
                                "singular values: LAPACK's dgesdd failed with %d on a %zu x %zu matrix", (int)info,
                                rows, cols);
        }
    }
    for (size_t i = 0; status == LILAC_OK && i < lilac_size_min(rows, cols); i++) {
        values[i] = result[i];
    }
    lilac_memory_free(result);
    lilac_memory_free(copy);
    return status;
}
