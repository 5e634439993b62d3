/* SPDX-License-Identifier: MIT */
#include "support/failing_allocator.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

/* The names that the linker's --wrap option gives to the real functions and looks for instead of them. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

static atomic_bool armed;
static atomic_bool failed;
static atomic_bool only_once;
static atomic_size_t remaining; /* allocations that still succeed while armed */
static atomic_size_t live, live_bytes;
static atomic_size_t largest;

static bool must_fail(size_t bytes) {
    size_t most = atomic_load(&largest);
    while (bytes > most && !atomic_compare_exchange_weak(&largest, &most, bytes)) {
    }
    if (!atomic_load(&armed)) {
        return false;
    }
    size_t left = atomic_load(&remaining);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&remaining, &left, left - 1)) {
            return false;
        }
    }
    if (atomic_exchange(&failed, true) && atomic_load(&only_once)) {
        return false;
    }
    errno = ENOMEM;
    return true;
}

static void *count_live(void *memory) {
    if (memory != NULL) {
        atomic_fetch_add(&live, 1);
        atomic_fetch_add(&live_bytes, malloc_usable_size(memory));
    }
    return memory;
}

void *__wrap_malloc(size_t size) {
    return must_fail(size) ? NULL : count_live(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return must_fail(count * size) ? NULL : count_live(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size) {
    if (must_fail(size)) {
        return NULL;
    }
    if (memory == NULL) {
        return count_live(__real_realloc(NULL, size));
    }
    const size_t before = malloc_usable_size(memory);
    void *resized = __real_realloc(memory, size);
    if (resized != NULL) {
        atomic_fetch_add(&live_bytes, malloc_usable_size(resized) - before);
    }
    return resized;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return must_fail(size) ? NULL : count_live(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *memory) {
    if (memory != NULL) {
        atomic_fetch_sub(&live, 1);
        atomic_fetch_sub(&live_bytes, malloc_usable_size(memory));
    }
    __real_free(memory);
}

void lilac_test_fail_allocation(size_t n) {
    atomic_store(&remaining, n);
    atomic_store(&failed, false);
    atomic_store(&only_once, false);
    atomic_store(&armed, true);
}

void lilac_test_fail_one_allocation(size_t n) {
    lilac_test_fail_allocation(n);
    atomic_store(&only_once, true);
}

bool lilac_test_allocation_failed(void) {
    atomic_store(&armed, false);
    return atomic_load(&failed);
}

size_t lilac_test_live_allocations(void) {
    return atomic_load(&live);
}

size_t lilac_test_live_bytes(void) {
    return atomic_load(&live_bytes);
}

void lilac_test_watch_allocations(void) {
    atomic_store(&largest, 0);
}

size_t lilac_test_largest_allocation(void) {
    return atomic_load(&largest);
}
