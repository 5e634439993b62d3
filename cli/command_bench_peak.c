/* SPDX-License-Identifier: MIT */
/* lilac bench peak: what the machine can do at best. */
#include "session.h"

#include "bench/peak.h"
#include "linalg/matmul.h"
#include "runtime/context.h"

#include <stdio.h>

static void add_row(lilac_table *table, const char *what, lilac_peak_rate rate, const char *unit) {
    lilac_table_cell(table, "%s", what);
    lilac_table_cell(table, "%.1f", rate.one);
    lilac_table_cell(table, "%.1f", rate.all);
    lilac_table_cell(table, "%s", unit);
}

static lilac_status run(lilac_session *session, const void *settings) {
    (void)settings;
    lilac_peak_figures peak;
    LILAC_TRY(lilac_bench_peak(session->context, &peak));
    const int threads = lilac_context_threads(session->context);
    lilac_table *table = lilac_table_create("lrrl");
    lilac_table_cell(table, "%s", "");
    lilac_table_cell(table, "1 thread");
    lilac_table_cell(table, "%d thread%s", threads, threads == 1 ? "" : "s");
    lilac_table_cell(table, "%s", "");
    lilac_table_rule(table);
    add_row(table, "f32 multiply and add", peak.f32, "GFLOP/s");
    if (peak.bf16.one > 0.0) {
        add_row(table,
                lilac_matmul_rounds(session->context, LILAC_MATMUL_TILES) ? "bf16 products of tiles"
                                                                          : "bf16 dot products",
                peak.bf16, "GFLOP/s");
    }
    if (peak.f16.one > 0.0) {
        add_row(table, "f16 multiply and add", peak.f16, "GFLOP/s");
    }
    for (size_t i = 0; i < LILAC_PEAK_READ_SIZES; i++) {
        char what[64];
        snprintf(what, sizeof what, "reading %zu MiB", lilac_peak_read_mebibytes[i]);
        add_row(table, what, peak.read[i], "GB/s");
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

const lilac_command lilac_command_bench_peak = {
    .name = "bench peak",
    .summary = "measure the machine's peak: arithmetic and reading of memory",
    .description = "Measures what the machine can do at best, at the instruction set in use: multiplications and "
                   "additions of f32 in registers, products in bf16 (of AMX's tiles, or dot products) and "
                   "multiplications and additions of f16 where the processor has them, and reading of 1, 24 and 512 "
                   "MiB again and again. The best of many short runs counts.",
    .example = "lilac bench peak\n"
               "lilac bench peak --threads 1\n",
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
