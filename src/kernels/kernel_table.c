/* SPDX-License-Identifier: MIT */
#include "kernels/kernel_table.h"

#include "core/cpu_features.h"

#include <pthread.h>
#include <string.h>

enum { LEVELS = 3 };

static lilac_kernel_table tables[LEVELS];
static lilac_kernel_table dot_product_table; /* that of AVX-512 with bf16 dot products */
static pthread_once_t tables_filled = PTHREAD_ONCE_INIT;

const lilac_kernel_family lilac_kernel_families[LILAC_KERNEL_FAMILIES] = {
    {"elementwise", offsetof(lilac_kernel_table, elementwise), sizeof(lilac_elementwise_kernels)},
    {"half_product", offsetof(lilac_kernel_table, half_product), sizeof(lilac_rounded_product_kernels)},
    {"layer_norm", offsetof(lilac_kernel_table, layer_norm), sizeof(lilac_layer_norm_kernels)},
    {"linear_attention", offsetof(lilac_kernel_table, linear_attention), sizeof(lilac_linear_attention_kernels)},
    {"packed_product", offsetof(lilac_kernel_table, packed_product), sizeof(lilac_packed_product_kernels)},
    {"softmax_attention", offsetof(lilac_kernel_table, softmax_attention), sizeof(lilac_softmax_attention_kernels)},
    {"tile_attention", offsetof(lilac_kernel_table, tile_attention), sizeof(lilac_tile_attention_kernels)},
    {"tile_product", offsetof(lilac_kernel_table, tile_product), sizeof(lilac_rounded_product_kernels)},
};

static void fill_table(lilac_kernel_table *table, lilac_cpu_level level) {
    lilac_elementwise_kernels_reference(&table->elementwise);
    lilac_half_product_kernels_reference(&table->half_product);
    lilac_layer_norm_kernels_reference(&table->layer_norm);
    lilac_linear_attention_kernels_reference(&table->linear_attention);
    lilac_packed_product_kernels_reference(&table->packed_product);
    lilac_softmax_attention_kernels_reference(&table->softmax_attention);
    lilac_tile_attention_kernels_reference(&table->tile_attention);
    lilac_tile_product_kernels_reference(&table->tile_product);
#if defined(__x86_64__)
    if (level < LILAC_CPU_AVX2) {
        return;
    }
    lilac_elementwise_kernels_avx2(&table->elementwise);
    lilac_layer_norm_kernels_avx2(&table->layer_norm);
    lilac_linear_attention_kernels_avx2(&table->linear_attention);
    lilac_packed_product_kernels_avx2(&table->packed_product);
    lilac_softmax_attention_kernels_avx2(&table->softmax_attention);
    if (level < LILAC_CPU_AVX512) {
        return;
    }
    lilac_elementwise_kernels_avx512(&table->elementwise);
    lilac_layer_norm_kernels_avx512(&table->layer_norm);
    lilac_linear_attention_kernels_avx512(&table->linear_attention);
    lilac_packed_product_kernels_avx512(&table->packed_product);
    lilac_softmax_attention_kernels_avx512(&table->softmax_attention);
#if defined(LILAC_AVX512_FP16)
    if (lilac_cpu_has_avx512_fp16()) {
        lilac_half_product_kernels_avx512_fp16(&table->half_product);
        table->fast_half_products = true;
    }
#endif
#if defined(LILAC_AMX)
    if (lilac_cpu_has_amx_bf16()) {
        lilac_tile_attention_kernels_amx(&table->tile_attention);
        lilac_tile_product_kernels_amx(&table->tile_product);
        table->fast_tile_products = true;
    }
#endif
#else
    (void)level;
#endif
}

static void fill_dot_product_table(void) {
#if defined(__x86_64__)
    dot_product_table = tables[LILAC_CPU_AVX512];
    dot_product_table.bf16_dot_products = true;
    lilac_linear_attention_kernels_avx512_bf16(&dot_product_table.linear_attention);
    lilac_softmax_attention_kernels_avx512_bf16(&dot_product_table.softmax_attention);
#endif
}

static void fill_tables(void) {
    /* Also the functions that fill a table in are compiled for its level: none above the machine's may be called. */
    for (int level = 0; level <= (int)lilac_cpu_level_detect(); level++) {
        fill_table(&tables[level], (lilac_cpu_level)level);
    }
    if (lilac_cpu_has_bf16_dot_product()) {
        fill_dot_product_table();
    }
}

const lilac_kernel_table *lilac_kernel_table_with(lilac_cpu_level level, bool bf16_dot_products) {
    pthread_once(&tables_filled, fill_tables);
    if (!bf16_dot_products) {
        return &tables[level];
    }
    return level == LILAC_CPU_AVX512 && lilac_cpu_has_bf16_dot_product() ? &dot_product_table : NULL;
}

const lilac_kernel_table *lilac_kernel_table_for(lilac_cpu_level level) {
    return lilac_kernel_table_with(level, level == LILAC_CPU_AVX512 && lilac_cpu_has_fast_bf16_dot_product());
}

lilac_cpu_level lilac_kernel_family_level(const lilac_kernel_family *family, lilac_cpu_level level) {
    /* A level that does not override a family has the same pointers as the level below it. */
    while (level > LILAC_CPU_SCALAR) {
        const char *here = (const char *)lilac_kernel_table_for(level) + family->offset;
        const char *below = (const char *)lilac_kernel_table_for(level - 1) + family->offset;
        if (memcmp(here, below, family->size) != 0) {
            break;
        }
        level--;
    }
    return level;
}
