/* SPDX-License-Identifier: MIT */
/* How measured times grow with the length of a sequence. Times of NAN were not measured and are left out. */
#ifndef LILAC_BENCH_GROWTH_H
#define LILAC_BENCH_GROWTH_H

#include <stddef.h>

/*
 * The power of N that time grows with over the lengths of at least `shortest`: the slope of the straight line that fits
 * log time against log N best; NAN where fewer than two lengths differ.
 */
double lilac_bench_growth_exponent(size_t count, const int *lengths, const double *times, int shortest);

/* The length, of these in ascending order, from which on `times` lie below `others` wherever both are known; 0: none.
 */
int lilac_bench_faster_from(size_t count, const int *lengths, const double *times, const double *others);

#endif
