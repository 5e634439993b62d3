/* SPDX-License-Identifier: MIT */
/* Contracts of the layer norm kernels (Ba, Kiros and Hinton, "Layer Normalization", 2016); the common rules are those
 * of kernels/elementwise.h. Matrices are contiguous. */
#ifndef LILAC_KERNELS_LAYER_NORM_H
#define LILAC_KERNELS_LAYER_NORM_H

#include "kernels/elementwise.h"

typedef struct lilac_residual_norm {
    const float *x;               /* rows x cols; NULL: 0 */
    const float *branch_bias;     /* cols; NULL: 0 */
    const lilac_dropout *dropout; /* NULL: none */
    const float *gain, *bias;     /* cols */
    float epsilon;
    float *y;           /* rows x cols: the branch's output, which becomes s */
    float *mean, *rstd; /* rows */
    float *out;         /* rows x cols */
} lilac_residual_norm;

typedef struct lilac_layer_norm_gradient {
    const float *s;           /* rows x cols */
    const float *mean, *rstd; /* rows */
    const float *gain;        /* cols */
    const float *dout, *add;  /* rows x cols; add may be NULL: 0 */
    float *ds;                /* rows x cols */
    float *dgain, *dbias;     /* cols; both NULL: not wanted */
} lilac_layer_norm_gradient;

typedef struct lilac_layer_norm_kernels {
    /*
     * For each row:
     *   s = x + dropout(y + branch_bias)                     stored in y; the same bytes at all levels
     *   mean = sum(s) / cols,  rstd = 1 / sqrt(sum((s - mean)^2) / cols + epsilon)
     *   out = (s - mean) * rstd * gain + bias
     * Row i takes the words of dropout from group dropout->random.group + i * ceil(cols / 64) on. out may be x; it may
     * be y, and s is lost then. A sum of squares that is too large for a float may give rstd 0. Levels differ by
     * rounding.
     */
    void (*residual_norm_forward)(size_t rows, size_t cols, const lilac_residual_norm *arguments);

    /*
     * With n = (s - mean) * rstd and g = dout * gain, for each row:
     *   ds = rstd * (g - sum(g) / cols - n * sum(g * n) / cols) + add
     *   dgain += dout * n,  dbias += dout
     * ds may be dout or add. Levels differ by rounding.
     */
    void (*layer_norm_backward)(size_t rows, size_t cols, const lilac_layer_norm_gradient *arguments);
} lilac_layer_norm_kernels;

/* Fill in the kernels of one level; the SIMD levels override what a lower level filled in. */
void lilac_layer_norm_kernels_reference(lilac_layer_norm_kernels *kernels);
void lilac_layer_norm_kernels_avx2(lilac_layer_norm_kernels *kernels);
void lilac_layer_norm_kernels_avx512(lilac_layer_norm_kernels *kernels);

#endif
