/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the kernels that multiply matrices of floats whose elements are rounded on the way, for cpus that
 * multiply shorter numbers faster. There are two families of one shape: half_product rounds to f16 (core/f16.h), where
 * vectors of these are multiplied and added as fast as vectors of half as many f32; tile_product rounds to bf16
 * (core/bf16.h), where the cpu multiplies tiles of these. Common rules: as in elementwise.h.
 *
 * Both operands are packed before. A panel holds a number of rows of op(A), or of columns of op(B), for all of the
 * depth; its width is a multiple of LILAC_ROUNDED_LANES. Two neighbours in depth lie in one 32-bit word, the even one
 * in the lower half. What does not exist is 0. A panel is aligned to LILAC_ALIGNMENT. The depth is cut into blocks of
 * LILAC_ROUNDED_BLOCK pairs; a panel's words of one block follow those of the block before, as many as pairs, rounded
 * up to LILAC_ROUNDED_LANES, times width.
 *
 * half_product: word p * width + i of a block is elements 2p and 2p + 1 of row, or column, i. Within a block products
 * are summed in f16, those of even and of odd elements apart; these chains of at most 128 lose about as much as
 * rounding the operands to 8 bits, as bf16 does, would. The sums of blocks are scaled back and added up in f32. Each
 * block has a scale, shared by the panels that are packed together: a power of two that brings its largest number to
 * below 2^4, so that no chain overflows.
 *
 * tile_product: a block is cut into tiles of 16 pairs by 16 rows, or columns, in the order of the pairs and, where
 * these are the same, of the rows. A tile of A holds its rows one after the other, a word for each pair; a tile of B
 * its pairs, a word for each column. All sums are f32, there is no scale, and subnormal numbers count as 0.
 */
#ifndef LILAC_KERNELS_ROUNDED_PRODUCT_H
#define LILAC_KERNELS_ROUNDED_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_ROUNDED_LANES = 16,                          /* widths of panels are multiples of this */
    LILAC_ROUNDED_BLOCK = 128,                         /* pairs in a block */
    LILAC_HALF_ROWS = LILAC_ROUNDED_LANES,             /* of half_product's widest panels: rows of A */
    LILAC_HALF_COLUMNS = 3 * LILAC_ROUNDED_LANES,      /* and columns of B */
    LILAC_TILE_PRODUCT_ROWS = 2 * LILAC_ROUNDED_LANES, /* those of tile_product's */
    LILAC_TILE_PRODUCT_COLUMNS = 2 * LILAC_ROUNDED_LANES,
    LILAC_TILE_PRODUCT_WORDS = LILAC_ROUNDED_LANES * LILAC_ROUNDED_LANES
};

/* Rows or columns first .. first + count - 1 of an operand, and where one block of theirs is packed. */
typedef struct lilac_rounded_panel {
    size_t first, count, width;
    uint32_t *words;
} lilac_rounded_panel;

/* A block of an operand: the element of depth k < depth and of row or column i is x[i * ld + k] or, if the depth is
 * strided, x[k * ld + i]. */
typedef struct lilac_rounded_block {
    size_t depth, ld; /* at most 2 * LILAC_ROUNDED_BLOCK */
    bool columns;     /* of B; else rows of A */
    bool strided;
    const float *x;
} lilac_rounded_block;

typedef struct lilac_rounded_product {
    size_t rows, cols, depth;    /* at most as many rows and columns as the panels are wide */
    size_t row_width, col_width; /* of the panels of A and B */
    size_t ldc;
    float alpha;
    const float *a_scales, *b_scales; /* half_product: for each block what undoes its scale */
    bool add;
} lilac_rounded_product;

typedef struct lilac_rounded_product_kernels {
    /* Packs one block of `count` neighbouring panels with one scale, and returns what undoes it. Where a number is not
     * finite none is scaled, and what does not fit f16 becomes infinite. */
    float (*pack)(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels);

    /* Called on a thread before the first of its products and after the last, with nothing but products in between: the
     * cpu's tiles are set up and given back, which takes as long as a small product. */
    void (*begin)(void);
    void (*end)(void);

    /* c[i][j] = alpha * the sum over k of a[i][k] b[k][j], or with add c[i][j] += that; c is rows x cols. The order of
     * summation depends on the depth alone. Levels differ by rounding. */
    void (*multiply)(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, float *c);
} lilac_rounded_product_kernels;

/* The exponent of a block's scale, from the bits of its largest magnitude: at most 120, so that the inverse is a normal
 * number, too; 0 where that magnitude is infinite or NaN. */
static inline int lilac_half_exponent(uint32_t largest) {
    const int exponent = 4 + 126 - (int)(largest >> 23);
    return largest >> 23 == 255 ? 0 : exponent < 120 ? exponent : 120;
}

/* Where begin and end have nothing to do. */
static inline void lilac_rounded_product_nothing(void) {}

/* Fill in the kernels of one level; the SIMD level overrides what the reference filled in. */
void lilac_half_product_kernels_reference(lilac_rounded_product_kernels *kernels);
void lilac_half_product_kernels_avx512_fp16(lilac_rounded_product_kernels *kernels);
void lilac_tile_product_kernels_reference(lilac_rounded_product_kernels *kernels);
void lilac_tile_product_kernels_amx(lilac_rounded_product_kernels *kernels);

#endif
