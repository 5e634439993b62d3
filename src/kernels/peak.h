/* SPDX-License-Identifier: MIT */
/*
 * Loops that do nothing but multiply and add, or nothing but read memory, as fast as a level's instructions allow. They
 * are what a machine's peak is measured with; each level's registers and results are such that no compiler can leave
 * work out.
 */
#ifndef LILAC_KERNELS_PEAK_H
#define LILAC_KERNELS_PEAK_H

#include <stddef.h>

/* What one round of a loop does. */
enum {
    LILAC_PEAK_ACCUMULATORS = 12, /* vectors that are updated in turn: enough to hide the latency of an update */
    LILAC_PEAK_READ_BLOCK = 1024  /* bytes */
};

typedef struct lilac_peak_loop {
    void (*run)(size_t rounds);
    size_t operations; /* multiplications and additions in a round */
} lilac_peak_loop;

typedef struct lilac_peak_loops {
    lilac_peak_loop f32;
    lilac_peak_loop bf16; /* sums in f32: dot products of pairs, or AMX's; run is NULL where the level has none */
    lilac_peak_loop f16;  /* sums in f16, too; run is NULL where the level has none */

    /* Reads memory, which is aligned to 64 bytes, from start to end; bytes is a multiple of LILAC_PEAK_READ_BLOCK. */
    void (*read)(const void *memory, size_t bytes);
} lilac_peak_loops;

/* Fill in the loops of one level. Those of AVX-512 for bf16 and f16 must not be run on a cpu without bf16 dot products
 * or without AVX512-FP16. That of AMX takes the place of its level's where the cpu has it. */
void lilac_peak_loops_reference(lilac_peak_loops *loops);
void lilac_peak_loops_avx2(lilac_peak_loops *loops);
void lilac_peak_loops_avx512(lilac_peak_loops *loops);
void lilac_peak_loops_amx(lilac_peak_loops *loops);

#endif
