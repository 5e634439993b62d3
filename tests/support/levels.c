/* SPDX-License-Identifier: MIT */
#include "support/levels.h"

#include "kernels/kernel_table.h"
#include "runtime/context.h"
#include "support/contexts.h"

static lilac_context *contexts[LILAC_TEST_LEVELS][LILAC_TEST_MAX_THREADS];

int lilac_test_levels(void) {
    return (int)lilac_cpu_level_detect() + 1;
}

lilac_context *lilac_test_context(int level, int threads) {
    return contexts[level][threads - 1];
}

/* The machine's highest level with the other way; NULL where there is but one. */
static const lilac_kernel_table *other_table(void) {
    const lilac_cpu_level level = lilac_cpu_level_detect();
    return lilac_kernel_table_with(level, true) == NULL
               ? NULL
               : lilac_kernel_table_with(level, !lilac_kernel_table_for(level)->bf16_dot_products);
}

int lilac_test_attention_levels(void) {
    return lilac_test_levels() + (other_table() != NULL);
}

const char *lilac_test_attention_level_name(int level) {
    if (level < lilac_test_levels()) {
        return lilac_cpu_level_name((lilac_cpu_level)level);
    }
    return other_table()->bf16_dot_products ? "avx512 with bf16 dot products" : "avx512 without bf16 dot products";
}

lilac_context *lilac_test_context_create(int level, int threads) {
    const lilac_cpu_level highest = lilac_cpu_level_detect();
    lilac_context *context = context_create_at(level < (int)highest ? (lilac_cpu_level)level : highest, threads);
    if (level == lilac_test_levels() && other_table() != NULL) {
        context->kernels = other_table();
    }
    return context;
}

int lilac_test_levels_set_up(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            contexts[level][threads - 1] = lilac_test_context_create(level, threads);
        }
    }
    return 0;
}

int lilac_test_levels_tear_down(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            lilac_context_destroy(contexts[level][threads - 1]);
        }
    }
    return 0;
}
