/* SPDX-License-Identifier: MIT */
#include "support/levels.h"

static lilac_context *contexts[LILAC_TEST_LEVELS][LILAC_TEST_MAX_THREADS];

int lilac_test_levels(void) {
    return (int)lilac_cpu_level_detect() + 1;
}

lilac_context *lilac_test_context(int level, int threads) {
    return contexts[level][threads - 1];
}

int lilac_test_levels_set_up(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            const lilac_context_config config = {.threads = threads, .max_cpu_level = (lilac_cpu_level)level};
            if (lilac_context_create(&config, &contexts[level][threads - 1]) != LILAC_OK) {
                return 1;
            }
        }
    }
    return 0;
}

int lilac_test_levels_tear_down(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            lilac_context_destroy(contexts[level][threads - 1]);
        }
    }
    return 0;
}
