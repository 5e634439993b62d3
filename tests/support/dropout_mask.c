/* SPDX-License-Identifier: MIT */
#include "support/dropout_mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
/* cmocka needs the headers above it. */
#include <cmocka.h>

double *lilac_test_dropout_mask(size_t B, size_t out, double probability, lilac_random random) {
    double *mask = malloc(B * out * sizeof *mask);
    assert_non_null(mask);
    const size_t groups = (out + LILAC_RANDOM_GROUP - 1) / LILAC_RANDOM_GROUP;
    for (size_t i = 0; i < B * out; i++) {
        uint32_t words[LILAC_RANDOM_GROUP];
        lilac_random place = random;
        place.group += i / out * groups + i % out / LILAC_RANDOM_GROUP;
        lilac_random_group(&place, words);
        const bool dropped = (double)words[i % out % LILAC_RANDOM_GROUP] < probability * 0x1p32;
        mask[i] = dropped ? 0 : 1 / (1 - probability);
    }
    return mask;
}
