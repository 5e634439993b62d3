/* SPDX-License-Identifier: MIT */
#include "support/contexts.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

static lilac_context *create(const lilac_context_config *config) {
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(config, &context), LILAC_OK);
    assert_non_null(context);
    return context;
}

lilac_context *context_create(int threads, lilac_progress_callback *progress) {
    lilac_context_config config;
    lilac_context_config_default(&config);
    config.threads = threads;
    config.progress = progress;
    return create(&config);
}

lilac_context *context_create_at(lilac_cpu_level level, int threads) {
    const lilac_context_config config = {.threads = threads, .max_cpu_level = level};
    return create(&config);
}

void contexts_create(int count, lilac_progress_callback *progress, lilac_context **contexts) {
    for (int i = 0; i < count; i++) {
        contexts[i] = context_create(i + 1, progress);
    }
}

void contexts_destroy(int count, lilac_context **contexts) {
    for (int i = 0; i < count; i++) {
        lilac_context_destroy(contexts[i]);
    }
}
