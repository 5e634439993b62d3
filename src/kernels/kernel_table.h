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
#include "kernels/softmax_attention.h"

typedef struct lilac_kernel_table {
    lilac_elementwise_kernels elementwise;
    lilac_layer_norm_kernels layer_norm;
    lilac_linear_attention_kernels linear_attention;
    lilac_packed_product_kernels packed_product;
    lilac_softmax_attention_kernels softmax_attention;
} lilac_kernel_table;

/* The kernels of a level, which must not be above lilac_cpu_level_detect(). Never NULL; lives as long as the program.
 */
const lilac_kernel_table *lilac_kernel_table_for(lilac_cpu_level level);

#endif
