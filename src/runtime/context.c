/* SPDX-License-Identifier: MIT */
#include "runtime/context.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024 };

void lilac_context_config_default(lilac_context_config *config) {
    lilac_cpu_level level = LILAC_CPU_AVX512;
    const char *name = getenv("LILAC_CPU");
    if (name != NULL && lilac_cpu_level_parse(name, &level) != LILAC_OK) {
        level = LILAC_CPU_AVX512;
    }
    *config = (lilac_context_config){.threads = 0, .max_cpu_level = level};
}

lilac_status lilac_context_create(const lilac_context_config *config, lilac_context **out) {
    lilac_context_config resolved;
    lilac_context_config_default(&resolved);
    if (config != NULL) {
        resolved = *config;
    }
    if (out == NULL || resolved.threads < 0 || resolved.threads > MAX_THREADS ||
        resolved.max_cpu_level < LILAC_CPU_SCALAR || resolved.max_cpu_level > LILAC_CPU_AVX512) {
        return LILAC_ERROR_ARGUMENT;
    }
    if (resolved.threads == 0) {
        resolved.threads = lilac_parallel_processors();
    }
    const lilac_cpu_level machine = lilac_cpu_level_detect();
    if (resolved.max_cpu_level > machine) {
        resolved.max_cpu_level = machine;
    }
    lilac_context *context = lilac_memory_allocate(1, sizeof *context);
    if (context == NULL) {
        return LILAC_ERROR_MEMORY;
    }
    context->config = resolved;
    context->kernels = lilac_kernel_table_for(resolved.max_cpu_level);
    *out = context;
    return LILAC_OK;
}

void lilac_context_destroy(lilac_context *context) {
    if (context != NULL && context->matmul_cache != NULL) {
        context->destroy_matmul_cache(context->matmul_cache);
    }
    lilac_memory_free(context);
}

const char *lilac_context_message(const lilac_context *context) {
    return context == NULL ? "" : context->message;
}

int lilac_context_threads(const lilac_context *context) {
    return context->config.threads;
}

lilac_cpu_level lilac_context_cpu_level(const lilac_context *context) {
    return context->config.max_cpu_level;
}

lilac_context lilac_context_for_one_thread(const lilac_context *context) {
    lilac_context copy = {.config = context->config, .kernels = context->kernels};
    copy.config.threads = 1;
    copy.config.progress = NULL;
    return copy;
}

size_t lilac_control_character(const char *text) {
    const unsigned char first = (unsigned char)text[0], second = first == 0xc2 ? (unsigned char)text[1] : 0;
    return (first > 0 && first < 0x20) || first == 0x7f ? 1 : second >= 0x80 && second < 0xa0 ? 2 : 0;
}

lilac_status lilac_fail(lilac_context *context, lilac_status status, const char *format, ...) {
    if (context != NULL) {
        /* Formatted aside first: an argument may be the old message itself. */
        char message[sizeof context->message];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        /* Names from files may hold anything: no line breaks, and nothing that steers a terminal. */
        for (char *byte = message; *byte != '\0'; byte++) {
            memset(byte, '?', lilac_control_character(byte));
        }
        memcpy(context->message, message, sizeof message);
    }
    return status;
}

lilac_status lilac_fail_memory(lilac_context *context, const char *what, size_t bytes) {
    return lilac_fail(context, LILAC_ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

lilac_status lilac_report_progress(lilac_context *context, const char *stage, uint64_t done, uint64_t total) {
    if (context->config.progress == NULL) {
        return LILAC_OK;
    }
    const lilac_progress progress = {.stage = stage, .done = done, .total = total};
    if (context->config.progress(context->config.progress_user, &progress) != 0) {
        return lilac_fail(context, LILAC_CANCELLED, "stopped on request during: %s", stage);
    }
    return LILAC_OK;
}
