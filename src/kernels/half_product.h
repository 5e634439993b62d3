/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the kernels that multiply matrices in half precision (core/f16.h), for cpus that multiply and add twice
 * as many f16 as f32 in the same time. Common rules: as in elementwise.h.
 *
 * Both operands are packed before. A panel holds up to 16 rows of op(A), or up to 48 columns of op(B), for all of the
 * depth. Its elements are scaled, rounded to nearest and lie in pairs, two neighbours in depth in one 32-bit word, the
 * even one in the lower half: word p * width + i is elements 2p and 2p + 1 of row, or column, i. What does not exist
 * is 0. A panel is aligned to LILAC_ALIGNMENT.
 *
 * The depth is cut into blocks. Within one, products are summed in f16, those of even and of odd elements apart; these
 * chains of at most 128 lose about as much as rounding the operands to 8 bits, as bf16 does, would. The sums of blocks
 * are scaled back and added up in f32. Each block has a scale, shared by the panels that are packed together: a power
 * of two that brings its largest number to below 2^4, so that no chain overflows.
 */
#ifndef LILAC_KERNELS_HALF_PRODUCT_H
#define LILAC_KERNELS_HALF_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_HALF_LANES = 16,                    /* widths of panels are multiples of this; A's have this width */
    LILAC_HALF_WIDEST = 3 * LILAC_HALF_LANES, /* of B's */
    LILAC_HALF_BLOCK = 128                    /* pairs in a block */
};

/* Rows or columns first .. first + count - 1 of an operand, and where one block of theirs is packed. */
typedef struct lilac_half_panel {
    size_t first, count, width;
    uint32_t *words;
} lilac_half_panel;

/* A block of an operand: the element of depth k < depth and of row or column i is x[i * ld + k] or, if the depth is
 * strided, x[k * ld + i]. */
typedef struct lilac_half_block {
    size_t depth, ld; /* at most 2 * LILAC_HALF_BLOCK */
    bool strided;
    const float *x;
} lilac_half_block;

typedef struct lilac_half_product {
    size_t rows, cols, depth; /* at most 16 rows; at most `width` columns, that of B's panel */
    size_t width, ldc;
    float alpha;
    const float *a_scales, *b_scales; /* for each block what undoes its scale */
    bool add;
} lilac_half_product;

typedef struct lilac_half_product_kernels {
    /* Packs one block of `count` neighbouring panels with one scale, and returns what undoes it. Where a number is not
     * finite none is scaled, and what does not fit f16 becomes infinite. */
    float (*pack)(const lilac_half_block *block, size_t count, const lilac_half_panel *panels);

    /* c[i][j] = alpha * the sum over k of a[i][k] b[k][j], or with add c[i][j] += that; c is rows x cols. The order of
     * summation depends on the depth alone. Levels differ by rounding. */
    void (*multiply)(const lilac_half_product *product, const uint32_t *a, const uint32_t *b, float *c);
} lilac_half_product_kernels;

/* The exponent of a block's scale, from the bits of its largest magnitude: at most 120, so that the inverse is a normal
 * number, too; 0 where that magnitude is infinite or NaN. */
static inline int lilac_half_exponent(uint32_t largest) {
    const int exponent = 4 + 126 - (int)(largest >> 23);
    return largest >> 23 == 255 ? 0 : exponent < 120 ? exponent : 120;
}

/* Fill in the kernels of one level; the SIMD level overrides what the reference filled in. */
void lilac_half_product_kernels_reference(lilac_half_product_kernels *kernels);
void lilac_half_product_kernels_avx512_fp16(lilac_half_product_kernels *kernels);

#endif
