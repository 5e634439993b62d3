/* SPDX-License-Identifier: MIT */
/* The inside of a context, and how code reports a failure through it. */
#ifndef LILAC_RUNTIME_CONTEXT_H
#define LILAC_RUNTIME_CONTEXT_H

#include <lilac/context.h>

#include <stdbool.h>
#include <stddef.h>

struct lilac_kernel_table;

struct lilac_context {
    lilac_context_config config;              /* threads and level as resolved, never 0 or above the machine's */
    const struct lilac_kernel_table *kernels; /* for that level; no entry is NULL */
    /* What the matrix product keeps between calls, owned by the context; NULL, and without a destroy, until it is used.
     */
    void *matmul_cache;
    void (*destroy_matmul_cache)(void *cache);
    char message[512];
};

/*
 * A copy for one thread of a parallel loop: what it is handed to runs on that thread alone and leaves its message
 * there. It is not to be destroyed, and not for products of matmul.h, which would keep something on it.
 */
lilac_context lilac_context_for_one_thread(const lilac_context *context);

/* The bytes of the control character, as UTF-8, that the text begins with; 0 where it begins with something else. */
size_t lilac_control_character(const char *text);

/* Records the formatted reason on the context and returns status, so that a caller can write `return lilac_fail(...)`.
 */
lilac_status lilac_fail(lilac_context *context, lilac_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The usual message for a failed allocation of that many bytes. */
lilac_status lilac_fail_memory(lilac_context *context, const char *what, size_t bytes);

/* Calls the progress callback if there is one: LILAC_OK to go on, LILAC_CANCELLED to stop. */
lilac_status lilac_report_progress(lilac_context *context, const char *stage, uint64_t done, uint64_t total);

/* Returns from the enclosing function with the status of `call` unless that is LILAC_OK. */
#define LILAC_TRY(call)                                                                                                \
    do {                                                                                                               \
        const lilac_status lilac_try_status = (call);                                                                  \
        if (lilac_try_status != LILAC_OK) {                                                                            \
            return lilac_try_status;                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
