/* SPDX-License-Identifier: MIT */
/* bfloat16: the upper half of a float (1 sign, 8 exponent, 7 fraction bits), kept as its bits in a uint16_t. */
#ifndef LILAC_CORE_BF16_H
#define LILAC_CORE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float lilac_float_from_bf16(uint16_t bits) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Rounds to nearest, ties to even; beyond the largest bfloat16 that gives infinity. */
static inline uint16_t lilac_bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        /* A NaN whose payload lies in the lower half would turn into infinity: set the quiet bit. */
        return (uint16_t)(bits >> 16 | 0x0040u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
