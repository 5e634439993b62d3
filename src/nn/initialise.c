/* SPDX-License-Identifier: MIT */
#include "nn/initialise.h"

#include "kernels/kernel_table.h"

#include <math.h>

void lilac_initialise_uniform(const lilac_context *context, size_t count, size_t fan, lilac_random random,
                              float *values) {
    const float bound = (float)(1.0 / sqrt((double)fan));
    context->kernels->elementwise.random_uniform(count, &random, -bound, bound, values);
}
