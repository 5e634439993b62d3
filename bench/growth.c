/* SPDX-License-Identifier: MIT */
#include "growth.h"

#include <math.h>

double lilac_bench_growth_exponent(size_t count, const int *lengths, const double *times, int shortest) {
    double n = 0.0, sum_x = 0.0, sum_y = 0.0, sum_xx = 0.0, sum_xy = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (lengths[i] >= shortest && !isnan(times[i])) {
            /* Counted from the shortest length, so that equal lengths give exactly 0. */
            const double x = log((double)lengths[i] / shortest), y = log(times[i]);
            n += 1.0;
            sum_x += x;
            sum_y += y;
            sum_xx += x * x;
            sum_xy += x * y;
        }
    }
    const double spread = n * sum_xx - sum_x * sum_x;
    return spread > 1e-9 * n * sum_xx ? (n * sum_xy - sum_x * sum_y) / spread : NAN;
}

int lilac_bench_faster_from(size_t count, const int *lengths, const double *times, const double *others) {
    int from = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(times[i]) || isnan(others[i])) {
            continue;
        }
        if (times[i] >= others[i]) {
            from = 0;
        } else if (from == 0) {
            from = lengths[i];
        }
    }
    return from;
}
