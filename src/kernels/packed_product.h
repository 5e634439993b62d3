/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the kernels that multiply a few or many rows by packed weights. Common rules: as in elementwise.h.
 *
 * A panel holds the weights of up to LILAC_PANEL outputs in the order in which they are read: weight of input k and
 * output j at k * LILAC_PANEL + j, those of outputs that do not exist 0. It is aligned to LILAC_ALIGNMENT.
 */
#ifndef LILAC_KERNELS_PACKED_PRODUCT_H
#define LILAC_KERNELS_PACKED_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LILAC_PANEL = 32 };

typedef struct lilac_packed_product_ahead {
    const void *data;
    size_t bytes; /* 0: nothing */
} lilac_packed_product_ahead;

typedef struct lilac_packed_product {
    size_t rows, depth, cols; /* of x; its columns; of y, at most LILAC_PANEL */
    size_t ldx, ldy;
    bool add;
    /* Hints: the weights and something else that will be read soon, which a kernel may have fetched into the
     * second-level cache while it works. */
    lilac_packed_product_ahead weights_ahead, ahead;
} lilac_packed_product;

typedef struct lilac_packed_product_kernels {
    /*
     * y[i][j] = sum over k of x[i][k] * panel[k][j], or with add y[i][j] += that sum. x is rows x depth, y rows x cols.
     * Each sum is one chain of multiplications and additions in the order of k, so that a row's result does not depend
     * on how many other rows there are. Levels differ by rounding.
     */
    void (*multiply)(const lilac_packed_product *product, const float *x, const float *panel, float *y);

    /* The same with weights in bf16; all else is f32. */
    void (*multiply_bf16)(const lilac_packed_product *product, const float *x, const uint16_t *panel, float *y);
} lilac_packed_product_kernels;

/* Fill in the kernels of one level; the SIMD levels override what a lower level filled in. */
void lilac_packed_product_kernels_reference(lilac_packed_product_kernels *kernels);
void lilac_packed_product_kernels_avx2(lilac_packed_product_kernels *kernels);
void lilac_packed_product_kernels_avx512(lilac_packed_product_kernels *kernels);

#endif
