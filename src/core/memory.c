/* SPDX-License-Identifier: MIT */
#include "core/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool lilac_size_multiply(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *out = product;
    return true;
}

bool lilac_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *out = sum;
    return true;
}

void *lilac_memory_allocate(size_t count, size_t size) {
    size_t bytes;
    if (!lilac_size_multiply(count, size, &bytes) || bytes > PTRDIFF_MAX - LILAC_ALIGNMENT) {
        return NULL;
    }
    /* aligned_alloc wants a multiple of the alignment; an empty request still gives a pointer that can be freed. */
    bytes = lilac_round_up(bytes == 0 ? 1 : bytes, LILAC_ALIGNMENT);
    void *memory = aligned_alloc(LILAC_ALIGNMENT, bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

void lilac_memory_free(void *memory) {
    free(memory);
}
