/* SPDX-License-Identifier: MIT */
#include "kernels/x86/vector_avx512.h"

#define TILE_VECTORS 2
#define TILE_ROWS 12
#define FEW_ROWS 12
#include "kernels/x86/packed_product_body.h"

void lilac_packed_product_kernels_avx512(lilac_packed_product_kernels *kernels) {
    *kernels = packed_product_kernels;
}
