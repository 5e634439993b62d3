/* SPDX-License-Identifier: MIT */
#include "core/parameter_hash.h"

#include "core/little_endian.h"
#include "core/memory.h"

#include <nettle/sha2.h>

void lilac_hash_text(const uint8_t *hash, size_t bytes, char text[LILAC_HASH_TEXT_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
    text[2 * bytes] = '\0';
}

void lilac_hash_floats(const float *values, size_t count, uint8_t hash[32]) {
    enum { CHUNK = 1024 };
    uint8_t bytes[4 * CHUNK];
    struct sha256_ctx state;
    sha256_init(&state);
    for (size_t start = 0; start < count; start += CHUNK) {
        const size_t n = lilac_size_min(count - start, CHUNK);
        lilac_little_endian_store_floats(n, values + start, bytes);
        sha256_update(&state, 4 * n, bytes);
    }
    sha256_digest(&state, SHA256_DIGEST_SIZE, hash);
}
