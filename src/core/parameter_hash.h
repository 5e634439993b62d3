/* SPDX-License-Identifier: MIT */
#ifndef LILAC_CORE_PARAMETER_HASH_H
#define LILAC_CORE_PARAMETER_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { LILAC_HASH_TEXT_SIZE = 65 };

/* The SHA-256 of count floats as little-endian bytes. */
void lilac_hash_floats(const float *values, size_t count, uint8_t hash[32]);

/* The first bytes (1 .. 32) of a hash in hexadecimal, in lower case. */
void lilac_hash_text(const uint8_t *hash, size_t bytes, char text[LILAC_HASH_TEXT_SIZE]);

#endif
