/* SPDX-License-Identifier: MIT */
#ifndef LILAC_TESTS_DROPOUT_MASK_H
#define LILAC_TESTS_DROPOUT_MASK_H

#include "core/random.h"

#include <stddef.h>

/* What dropout of that probability multiplies each of B x out elements by; to be freed with free. */
double *lilac_test_dropout_mask(size_t B, size_t out, double probability, lilac_random random);

#endif
