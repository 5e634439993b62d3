/* SPDX-License-Identifier: MIT */
#include "nn/schedule.h"

#include <math.h>

double lilac_schedule_rate(const lilac_schedule *schedule, uint64_t step) {
    const double pi = 3.14159265358979323846;
    if (step < schedule->warmup) {
        return schedule->peak * ((double)step + 1.0) / (double)schedule->warmup;
    }
    if (step >= schedule->steps) {
        return schedule->final;
    }
    const double done = (double)(step - schedule->warmup) / (double)(schedule->steps - schedule->warmup);
    return schedule->final + (schedule->peak - schedule->final) * 0.5 * (1.0 + cos(pi * done));
}
