/* SPDX-License-Identifier: MIT */
/*
 * The kernel table: one struct of function pointers for each cpu level. It is filled with the reference first and then
 * overridden level by level, so no entry is ever NULL. Each family's header holds its contracts.
 */
#ifndef LILAC_KERNELS_KERNEL_TABLE_H
#define LILAC_KERNELS_KERNEL_TABLE_H

#include <lilac/context.h>

#include "kernels/elementwise.h"
#include "kernels/layer_norm.h"
#include "kernels/linear_attention.h"
#include "kernels/packed_product.h"
#include "kernels/rounded_product.h"
#include "kernels/softmax_attention.h"
#include "kernels/tile_attention.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct lilac_kernel_table {
    lilac_elementwise_kernels elementwise;
    lilac_rounded_product_kernels half_product;
    lilac_layer_norm_kernels layer_norm;
    lilac_linear_attention_kernels linear_attention;
    lilac_packed_product_kernels packed_product;
    lilac_softmax_attention_kernels softmax_attention;
    lilac_tile_attention_kernels tile_attention;
    lilac_rounded_product_kernels tile_product;

    /* Attention multiplies queries, keys and values that are all bf16 by bf16 dot products; else it widens them. */
    bool bf16_dot_products;
    /* The kernels of half_product are faster than products of f32. */
    bool fast_half_products;
    /* Those of tile_product are. */
    bool fast_tile_products;
} lilac_kernel_table;

/* A family of kernels: its name and where its part of the table lies. */
typedef struct lilac_kernel_family {
    const char *name;
    size_t offset, size;
} lilac_kernel_family;

enum { LILAC_KERNEL_FAMILIES = 8 };

extern const lilac_kernel_family lilac_kernel_families[LILAC_KERNEL_FAMILIES];

/* The level that a family's kernels in the table of `level` were written for: it may be lower, never higher. */
lilac_cpu_level lilac_kernel_family_level(const lilac_kernel_family *family, lilac_cpu_level level);

/* The kernels of a level, which must not be above lilac_cpu_level_detect(). Never NULL; lives as long as the program.
 */
const lilac_kernel_table *lilac_kernel_table_for(lilac_cpu_level level);

/*
 * The same, whichever way of multiplying bf16 inputs is the faster one on this cpu: what lilac_kernel_table_for gives
 * is one of these. NULL where the level has, or the cpu can, no bf16 dot products.
 */
const lilac_kernel_table *lilac_kernel_table_with(lilac_cpu_level level, bool bf16_dot_products);

#endif
