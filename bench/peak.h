/* SPDX-License-Identifier: MIT */
/* What the machine can do at best, at a context's cpu level: the measure for the speed of everything else. */
#ifndef LILAC_BENCH_PEAK_H
#define LILAC_BENCH_PEAK_H

#include <lilac/context.h>

#include <stddef.h>

enum { LILAC_PEAK_READ_SIZES = 3 };

/* The size of each block of memory that is read, in MiB: 1, 24, 512. */
extern const size_t lilac_peak_read_mebibytes[LILAC_PEAK_READ_SIZES];

/* A rate reached by one thread, and by all threads of the context together. */
typedef struct lilac_peak_rate {
    double one, all;
} lilac_peak_rate;

typedef struct lilac_peak_figures {
    lilac_peak_rate f32;  /* GFLOP/s of multiplications and additions */
    lilac_peak_rate bf16; /* the same of products in bf16, of tiles where the cpu has AMX; 0: none */
    lilac_peak_rate f16;  /* the same of f16; 0 where the level has none */
    lilac_peak_rate read[LILAC_PEAK_READ_SIZES]; /* GB/s (10^9 bytes) of reading a block again and again; all threads
                                                    have a part each */
} lilac_peak_figures;

/* Measures f32 alone, in two seconds: what shares of the peak are taken of. */
lilac_peak_rate lilac_bench_peak_f32(lilac_context *context);

/* The same for products in bf16 and in f16; 0 where the level has none. */
lilac_peak_rate lilac_bench_peak_bf16(lilac_context *context);
lilac_peak_rate lilac_bench_peak_f16(lilac_context *context);

/* Measures for some seconds; the best of several runs counts. Errors: MEMORY (512 MiB are needed), CANCELLED. */
LILAC_MUST_USE lilac_status lilac_bench_peak(lilac_context *context, lilac_peak_figures *out);

#endif
