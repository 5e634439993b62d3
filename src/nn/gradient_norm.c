/* SPDX-License-Identifier: MIT */
#include "nn/gradient_norm.h"

#include "core/memory.h"
#include "runtime/parallel.h"

#include <math.h>

enum { BLOCK = 16384, MAX_SUMS = 256 };

typedef struct {
    const float *values;
    size_t block;
    double *sums; /* of the squares of each block */
} norm_loop;

static void sum_squares(void *argument, size_t begin, size_t end) {
    enum { LANES = 16 }; /* sums side by side: one alone would wait for each addition */
    const norm_loop *loop = argument;
    double sums[LANES] = {0.0};
    size_t i = begin;
    for (; i + LANES <= end; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            sums[k] += (double)loop->values[i + k] * (double)loop->values[i + k];
        }
    }
    for (; i < end; i++) {
        sums[0] += (double)loop->values[i] * (double)loop->values[i];
    }
    double sum = 0.0;
    for (size_t k = 0; k < LANES; k++) {
        sum += sums[k];
    }
    loop->sums[begin / loop->block] = sum;
}

double lilac_gradient_norm(lilac_context *context, size_t count, const float *gradient) {
    double sums[MAX_SUMS] = {0.0}, sum = 0.0;
    norm_loop loop = {.values = gradient, .sums = sums};
    loop.block = lilac_size_max(BLOCK, (count + MAX_SUMS - 1) / MAX_SUMS);
    lilac_parallel_for(context, count, loop.block, sum_squares, &loop);
    for (size_t i = 0; i < MAX_SUMS; i++) {
        sum += sums[i];
    }
    return sqrt(sum);
}
