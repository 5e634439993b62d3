/* SPDX-License-Identifier: MIT */
#include "core/random.h"

enum { ROUNDS = 10 };

void lilac_random_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void lilac_random_block(const lilac_random *random, uint32_t block, uint32_t words[4]) {
    const uint32_t key[2] = {(uint32_t)random->seed, (uint32_t)(random->seed >> 32)};
    const uint64_t number = random->group * LILAC_RANDOM_GROUP_BLOCKS + block;
    const uint32_t counter[4] = {(uint32_t)number, (uint32_t)(number >> 32), (uint32_t)random->stream,
                                 (uint32_t)(random->stream >> 32)};
    lilac_random_philox(counter, key, words);
}

void lilac_random_group(const lilac_random *random, uint32_t words[LILAC_RANDOM_GROUP]) {
    for (uint32_t b = 0; b < LILAC_RANDOM_GROUP_BLOCKS; b++) {
        uint32_t block[4];
        lilac_random_block(random, b, block);
        for (int w = 0; w < 4; w++) {
            words[LILAC_RANDOM_GROUP_BLOCKS * w + b] = block[w];
        }
    }
}

void lilac_random_permutation(lilac_random random, size_t count, uint32_t *permutation) {
    uint32_t words[LILAC_RANDOM_GROUP];
    size_t used = LILAC_RANDOM_GROUP;
    for (size_t i = 0; i < count; i++) {
        permutation[i] = (uint32_t)i;
    }
    /* Fisher-Yates; Lemire's multiply-and-reject draws below a bound without bias. */
    for (size_t i = count; i > 1; i--) {
        const uint32_t bound = (uint32_t)i;
        const uint32_t reject_below = (0u - bound) % bound;
        uint64_t product;
        do {
            if (used == LILAC_RANDOM_GROUP) {
                lilac_random_group(&random, words);
                random.group++;
                used = 0;
            }
            product = (uint64_t)words[used++] * bound;
        } while ((uint32_t)product < reject_below);
        const size_t j = (size_t)(product >> 32);
        const uint32_t swapped = permutation[i - 1];
        permutation[i - 1] = permutation[j];
        permutation[j] = swapped;
    }
}
