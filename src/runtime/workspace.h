/* SPDX-License-Identifier: MIT */
#ifndef LILAC_RUNTIME_WORKSPACE_H
#define LILAC_RUNTIME_WORKSPACE_H

#include "runtime/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Cuts a workspace, or an object's only block of memory, into aligned pieces. One function that takes the pieces serves
 * twice: with memory NULL it measures, with the caller's memory it hands them out.
 */
typedef struct lilac_workspace {
    char *memory;
    size_t used; /* bytes; SIZE_MAX once a size did not fit */
} lilac_workspace;

/* A workspace over the caller's memory (any alignment), or one that measures if memory is NULL. */
lilac_workspace lilac_workspace_over(void *memory);

/* The next piece for count items of size bytes, aligned to LILAC_ALIGNMENT; NULL while measuring. */
void *lilac_workspace_take(lilac_workspace *workspace, size_t count, size_t size);

/* Whether all pieces so far can be addressed. */
static inline bool lilac_workspace_fits(const lilac_workspace *workspace) {
    return workspace->used != SIZE_MAX;
}

/* After measuring: *bytes = what the caller must provide. Errors: OVERFLOW. */
lilac_status lilac_workspace_measured(lilac_context *context, const lilac_workspace *workspace, size_t *bytes);

/* Errors: ARGUMENT (NULL but something is needed), SHAPE (fewer bytes than needed). */
lilac_status lilac_workspace_check(lilac_context *context, const void *memory, size_t bytes, size_t needed);

#endif
