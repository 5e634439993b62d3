/* SPDX-License-Identifier: MIT */
#include "runtime/workspace.h"

#include "core/memory.h"

lilac_workspace lilac_workspace_over(void *memory) {
    const size_t misaligned = (uintptr_t)memory % LILAC_ALIGNMENT;
    char *aligned = memory;
    if (misaligned != 0) {
        aligned += LILAC_ALIGNMENT - misaligned;
    }
    return (lilac_workspace){.memory = aligned, .used = 0};
}

void *lilac_workspace_take(lilac_workspace *workspace, size_t count, size_t size) {
    const size_t start = workspace->used;
    size_t bytes, end;
    /* Sizes near SIZE_MAX must not wrap when they are rounded up. */
    if (!lilac_size_multiply(count, size, &bytes) || !lilac_size_add(start, bytes, &end) || end > PTRDIFF_MAX) {
        workspace->used = SIZE_MAX;
        return NULL;
    }
    workspace->used = lilac_round_up(end, LILAC_ALIGNMENT);
    return workspace->memory == NULL ? NULL : workspace->memory + start;
}

lilac_status lilac_workspace_measured(lilac_context *context, const lilac_workspace *workspace, size_t *bytes) {
    if (!lilac_workspace_fits(workspace)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "workspace: more bytes than can be addressed");
    }
    *bytes = workspace->used == 0 ? 0 : workspace->used + LILAC_ALIGNMENT;
    return LILAC_OK;
}

lilac_status lilac_workspace_check(lilac_context *context, const void *memory, size_t bytes, size_t needed) {
    if (memory == NULL && needed > 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "workspace: is NULL, %zu bytes are needed", needed);
    }
    if (bytes < needed) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "workspace: expected at least %zu bytes, got %zu", needed, bytes);
    }
    return LILAC_OK;
}
