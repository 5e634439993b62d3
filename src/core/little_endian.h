/* SPDX-License-Identifier: MIT */
/* Numbers as little-endian bytes at any alignment, the same on any machine. */
#ifndef LILAC_CORE_LITTLE_ENDIAN_H
#define LILAC_CORE_LITTLE_ENDIAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The lowest `bytes` (1 .. 8) bytes of a number. */
static inline void lilac_little_endian_store(uint64_t number, size_t bytes, unsigned char *to) {
    for (size_t i = 0; i < bytes; i++) {
        to[i] = (unsigned char)(number >> 8 * i);
    }
}

static inline uint64_t lilac_little_endian_load(size_t bytes, const unsigned char *from) {
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; i++) {
        number |= (uint64_t)from[i] << 8 * i;
    }
    return number;
}

static inline void lilac_little_endian_store_floats(size_t count, const float *x, unsigned char *to) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        lilac_little_endian_store(bits, sizeof bits, to + i * sizeof bits);
    }
}

static inline void lilac_little_endian_load_floats(size_t count, const unsigned char *from, float *x) {
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)lilac_little_endian_load(sizeof bits, from + i * sizeof bits);
        memcpy(x + i, &bits, sizeof bits);
    }
}

#endif
