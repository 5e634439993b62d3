/* SPDX-License-Identifier: MIT */
#include "peak.h"

#include "core/clock.h"
#include "core/cpu_features.h"
#include "core/memory.h"
#include "kernels/peak.h"
#include "runtime/context.h"
#include "runtime/parallel.h"

#include <math.h>

const size_t lilac_peak_read_mebibytes[LILAC_PEAK_READ_SIZES] = {1, 24, 512};

enum { MEBIBYTE = 1 << 20, ARITHMETICS = 3, MEASUREMENTS = ARITHMETICS + LILAC_PEAK_READ_SIZES };

/* Many short runs: one of them, at least, should not be disturbed by what else the machine does. */
static const double run_seconds = 0.001, total_seconds = 0.2;

/* What is measured: an arithmetic loop or, where that is NULL, reading. Every thread does all rounds, of reading on a
 * part of the memory that is its own. */
typedef struct peak_job {
    lilac_peak_loop loop;
    void (*read)(const void *memory, size_t bytes);
    const unsigned char *memory;
    size_t part;   /* bytes a thread */
    size_t rounds; /* grows until a run is long enough */
} peak_job;

static void run_threads(void *argument, size_t begin, size_t end) {
    const peak_job *job = argument;
    for (size_t thread = begin; thread < end; thread++) {
        if (job->loop.run != NULL) {
            job->loop.run(job->rounds);
            continue;
        }
        for (size_t round = 0; round < job->rounds; round++) {
            job->read(job->memory + thread * job->part, job->part);
        }
    }
}

/* Operations or bytes a second of the best run. */
static double best_rate(lilac_context *context, peak_job *job, size_t threads) {
    const double units = (double)threads * (double)(job->loop.run != NULL ? job->loop.operations : job->part);
    const double began = lilac_clock_seconds();
    double best = 0.0, end = began;
    while (best == 0.0 || end - began < total_seconds) {
        const double start = lilac_clock_seconds();
        lilac_parallel_for(context, threads, 1, run_threads, job);
        end = lilac_clock_seconds();
        if (end - start < run_seconds) {
            job->rounds *= 2;
        } else {
            best = fmax(best, units * (double)job->rounds / (end - start));
        }
    }
    return best;
}

static lilac_peak_rate measure_arithmetic(lilac_context *context, lilac_peak_loop loop) {
    if (loop.run == NULL) {
        return (lilac_peak_rate){0.0, 0.0};
    }
    peak_job job = {.loop = loop, .rounds = 1};
    const double one = best_rate(context, &job, 1);
    return (lilac_peak_rate){one * 1e-9, best_rate(context, &job, (size_t)lilac_context_threads(context)) * 1e-9};
}

static lilac_peak_rate measure_reading(lilac_context *context, const lilac_peak_loops *loops, const void *memory,
                                       size_t bytes) {
    const size_t threads = (size_t)lilac_context_threads(context);
    peak_job job = {.read = loops->read, .memory = memory, .part = bytes, .rounds = 1};
    const double one = best_rate(context, &job, 1);
    job.rounds *= threads;
    job.part = bytes / threads / LILAC_PEAK_READ_BLOCK * LILAC_PEAK_READ_BLOCK;
    return (lilac_peak_rate){one * 1e-9, best_rate(context, &job, threads) * 1e-9};
}

static lilac_peak_loops loops_for(lilac_cpu_level level) {
    lilac_peak_loops loops;
    lilac_peak_loops_reference(&loops);
#if defined(__x86_64__)
    if (level >= LILAC_CPU_AVX2) {
        lilac_peak_loops_avx2(&loops);
    }
    if (level >= LILAC_CPU_AVX512) {
        lilac_peak_loops_avx512(&loops);
    }
    if (!lilac_cpu_has_bf16_dot_product()) {
        loops.bf16 = (lilac_peak_loop){NULL, 0};
    }
    if (!lilac_cpu_has_avx512_fp16()) {
        loops.f16 = (lilac_peak_loop){NULL, 0};
    }
#if defined(LILAC_AMX)
    if (level >= LILAC_CPU_AVX512 && lilac_cpu_has_amx_bf16()) {
        lilac_peak_loops_amx(&loops);
    }
#endif
#else
    (void)level;
#endif
    return loops;
}

static lilac_status measure_all(lilac_context *context, const void *memory, lilac_peak_figures *figures) {
    const char *stage = "measuring the machine's peak";
    const lilac_peak_loops loops = loops_for(lilac_context_cpu_level(context));
    LILAC_TRY(lilac_report_progress(context, stage, 0, MEASUREMENTS));
    figures->f32 = measure_arithmetic(context, loops.f32);
    LILAC_TRY(lilac_report_progress(context, stage, 1, MEASUREMENTS));
    figures->bf16 = measure_arithmetic(context, loops.bf16);
    LILAC_TRY(lilac_report_progress(context, stage, 2, MEASUREMENTS));
    figures->f16 = measure_arithmetic(context, loops.f16);
    for (uint64_t i = 0; i < LILAC_PEAK_READ_SIZES; i++) {
        LILAC_TRY(lilac_report_progress(context, stage, ARITHMETICS + i, MEASUREMENTS));
        figures->read[i] = measure_reading(context, &loops, memory, lilac_peak_read_mebibytes[i] * MEBIBYTE);
    }
    return lilac_report_progress(context, stage, MEASUREMENTS, MEASUREMENTS);
}

static lilac_peak_rate best_arithmetic(lilac_context *context, lilac_peak_loop loop) {
    lilac_peak_rate best = {0.0, 0.0};
    /* A busy machine may not leave all processors free at once for a while; shares of too low a peak mean nothing. */
    for (int attempt = 0; attempt < 4; attempt++) {
        const lilac_peak_rate rate = measure_arithmetic(context, loop);
        best.one = fmax(best.one, rate.one);
        best.all = fmax(best.all, rate.all);
    }
    return best;
}

lilac_peak_rate lilac_bench_peak_f32(lilac_context *context) {
    return best_arithmetic(context, loops_for(lilac_context_cpu_level(context)).f32);
}

lilac_peak_rate lilac_bench_peak_bf16(lilac_context *context) {
    return best_arithmetic(context, loops_for(lilac_context_cpu_level(context)).bf16);
}

lilac_peak_rate lilac_bench_peak_f16(lilac_context *context) {
    return best_arithmetic(context, loops_for(lilac_context_cpu_level(context)).f16);
}

lilac_status lilac_bench_peak(lilac_context *context, lilac_peak_figures *out) {
    const size_t largest = lilac_peak_read_mebibytes[LILAC_PEAK_READ_SIZES - 1] * MEBIBYTE;
    void *memory = lilac_memory_allocate(largest, 1);
    if (memory == NULL) {
        return lilac_fail_memory(context, "measuring how fast memory is read", largest);
    }
    lilac_peak_figures figures;
    const lilac_status status = measure_all(context, memory, &figures);
    lilac_memory_free(memory);
    if (status == LILAC_OK) {
        *out = figures;
    }
    return status;
}
