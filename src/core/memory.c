/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE /* madvise */
#include "core/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A huge page of x86-64. */
enum { HUGE_PAGE = 2 << 20 };

/*
 * Asks for huge pages, where the system has them for the asking. The rows of a head lie so far apart that of small
 * pages attention needs another one every row or two, and finding those takes a tenth of its time.
 */
static void prefer_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

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
    if (!lilac_size_multiply(count, size, &bytes) || bytes > PTRDIFF_MAX - HUGE_PAGE) {
        return NULL;
    }
    /* aligned_alloc wants a multiple of the alignment; an empty request still gives a pointer that can be freed. What
     * is added is never touched, and so takes no memory. */
    const size_t alignment = bytes < HUGE_PAGE ? LILAC_ALIGNMENT : HUGE_PAGE;
    void *memory = aligned_alloc(alignment, lilac_round_up(bytes == 0 ? 1 : bytes, alignment));
    if (memory == NULL) {
        return NULL;
    }
    if (alignment == HUGE_PAGE) {
        prefer_huge_pages(memory, bytes);
    }
    memset(memory, 0, bytes);
    return memory;
}

void lilac_memory_free(void *memory) {
    free(memory);
}
