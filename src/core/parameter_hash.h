/* SPDX-License-Identifier: MIT */
#ifndef LILAC_CORE_PARAMETER_HASH_H
#define LILAC_CORE_PARAMETER_HASH_H

#include <stddef.h>
#include <stdint.h>

/* The SHA-256 of count floats as little-endian bytes. */
void lilac_hash_floats(const float *values, size_t count, uint8_t hash[32]);

#endif
