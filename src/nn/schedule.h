/* SPDX-License-Identifier: MIT */
/* Learning rates: linear warm-up, then half a cosine (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with
 * Warm Restarts", 2017, without restarts). */
#ifndef LILAC_NN_SCHEDULE_H
#define LILAC_NN_SCHEDULE_H

#include <stdint.h>

typedef struct lilac_schedule {
    uint64_t warmup, steps; /* the warm-up is the first part of the steps */
    double peak, final;     /* rates; equal: constant after the warm-up */
} lilac_schedule;

/* The rate of a step, counted from 0: it grows by peak / warmup a step to peak at step warmup - 1, falls from peak at
 * step warmup to final at step `steps`, and stays there. */
double lilac_schedule_rate(const lilac_schedule *schedule, uint64_t step);

#endif
