/* SPDX-License-Identifier: MIT */
/* IEEE half precision (1 sign, 5 exponent, 10 fraction bits), kept as its bits in a uint16_t. */
#ifndef LILAC_CORE_F16_H
#define LILAC_CORE_F16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float lilac_float_from_f16(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    const uint32_t exponent = bits >> 10 & 0x1fu;
    const uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0) {
        /* Zero or subnormal: fraction * 2^-24, which a float holds exactly. */
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    /* Infinity and NaN keep all exponent bits set; others move from bias 15 to 127. */
    const uint32_t wide = sign | (exponent == 31 ? 0xffu : exponent + 112u) << 23 | fraction << 13;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* The half nearest to a number, ties to even; from 65520 on that is infinity. */
static inline uint16_t lilac_f16_from_double(double value) {
    const uint16_t sign = signbit(value) ? 0x8000u : 0;
    const double magnitude = fabs(value);
    if (isnan(value)) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (magnitude >= 65520.0) {
        return (uint16_t)(sign | 0x7c00u);
    }
    /* In units of the last place: 2^-24 for subnormals and the smallest normals, else 2^-10 of the power of two. */
    int exponent = -14;
    if (magnitude >= 0x1p-14) {
        frexp(magnitude, &exponent);
        exponent--;
    }
    const double units = nearbyint(ldexp(magnitude, 10 - exponent));
    /* Of normals the leading bit, 2^10 units, adds one to the exponent's field, and a carry another. */
    return (uint16_t)(sign | (((uint32_t)(exponent + 14) << 10) + (uint32_t)units));
}

#endif
