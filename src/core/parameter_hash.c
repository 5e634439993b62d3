/* SPDX-License-Identifier: MIT */
#include "core/parameter_hash.h"

#include "core/memory.h"

#include <nettle/sha2.h>
#include <string.h>

void lilac_hash_floats(const float *values, size_t count, uint8_t hash[32]) {
    enum { CHUNK = 1024 };
    uint8_t bytes[4 * CHUNK];
    struct sha256_ctx state;
    sha256_init(&state);
    for (size_t start = 0; start < count; start += CHUNK) {
        const size_t n = lilac_size_min(count - start, CHUNK);
        for (size_t i = 0; i < n; i++) {
            uint32_t word;
            memcpy(&word, &values[start + i], sizeof word);
            for (int b = 0; b < 4; b++) {
                bytes[4 * i + (size_t)b] = (uint8_t)(word >> (8 * b));
            }
        }
        sha256_update(&state, 4 * n, bytes);
    }
    sha256_digest(&state, SHA256_DIGEST_SIZE, hash);
}
