/* SPDX-License-Identifier: MIT */
/* Aligned memory and size arithmetic that cannot wrap. */
#ifndef LILAC_CORE_MEMORY_H
#define LILAC_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* One cache line, and one AVX-512 register. */
enum { LILAC_ALIGNMENT = 64 };

/* Zeroed memory for count items of size bytes, aligned to LILAC_ALIGNMENT; NULL on overflow or when memory is short. */
void *lilac_memory_allocate(size_t count, size_t size);

/* Frees such memory; NULL is allowed. */
void lilac_memory_free(void *memory);

/* *out = a * b (or a + b); false, with *out untouched, if that does not fit. */
bool lilac_size_multiply(size_t a, size_t b, size_t *out);
bool lilac_size_add(size_t a, size_t b, size_t *out);

/* The smallest multiple of step that is >= value. The caller makes sure it fits. */
static inline size_t lilac_round_up(size_t value, size_t step) {
    return (value + step - 1) / step * step;
}

static inline size_t lilac_size_min(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t lilac_size_max(size_t a, size_t b) {
    return a > b ? a : b;
}

#endif
