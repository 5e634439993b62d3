/* SPDX-License-Identifier: MIT */
/* lilac bench lora: how fast a training step of the LoRA experiment is. */
#include "session.h"

#include "bench/lora.h"
#include "bench/peak.h"
#include "runtime/context.h"

#include <stdio.h>

typedef struct bench_settings {
    lilac_sizes hidden, ranks;
    int batch;
} bench_settings;

static const lilac_option options[] = {
    {.name = "hidden",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, hidden),
     .value = "N,...",
     .help = "widths of the two hidden layers",
     .initial = "64,512",
     .minimum = 1,
     .maximum = 8192},
    {.name = "rank",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, ranks),
     .value = "N,...",
     .help = "ranks of the adapter; 0: no adapter, all weights are trained",
     .initial = "0,16",
     .minimum = 0,
     .maximum = 8192},
    {.name = "batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, batch),
     .value = "N",
     .help = "images a step",
     .initial = "1024",
     .minimum = 1,
     .maximum = 1000000},
};

static lilac_status add_rows(lilac_session *session, const bench_settings *settings, double peak, lilac_table *table) {
    uint64_t done = 0;
    const uint64_t total = settings->hidden.count * settings->ranks.count;
    for (size_t h = 0; h < settings->hidden.count; h++) {
        for (size_t r = 0; r < settings->ranks.count; r++) {
            LILAC_TRY(lilac_report_progress(session->context, "timing training steps", done++, total));
            const lilac_lora_step_config config = {.hidden = (size_t)settings->hidden.item[h],
                                                   .rank = (size_t)settings->ranks.item[r],
                                                   .batch = (size_t)settings->batch};
            lilac_lora_step_figures step;
            LILAC_TRY(lilac_bench_lora_step(session->context, &config, &step));
            lilac_table_cell(table, "%zu", config.hidden);
            lilac_table_cell(table, config.rank == 0 ? "-" : "%zu", config.rank);
            lilac_table_cell(table, "%.3f", 1e3 * step.step_seconds);
            lilac_table_cell(table, "%.3f", 1e3 * step.median_seconds);
            lilac_table_cell(table, "%.3f", 1e3 * step.forward_seconds);
            lilac_table_cell(table, "%.3f", 1e3 * step.backward_seconds);
            lilac_table_cell(table, "%.3f", 1e3 * step.optimiser_seconds);
            const double rate = 1e-9 * step.operations / step.step_seconds;
            lilac_table_cell(table, "%.1f", rate);
            lilac_table_cell(table, "%.0f %%", 100.0 * rate / peak);
        }
    }
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    static const char *const head[] = {"hidden",   "r",         "step ms", "median ms", "forward",
                                       "backward", "optimiser", "GFLOP/s", "of peak"};
    const double peak = lilac_bench_peak_f32(session->context).all;
    lilac_table *table = lilac_table_create_headed("rrrrrrrrr", LILAC_COUNT(head), head);
    const lilac_status status = add_rows(session, values, peak, table);
    LILAC_TRY(lilac_session_print_table(session, status, table));
    lilac_session_print_peak(session, (lilac_peaks){.f32 = peak});
    return LILAC_OK;
}

const lilac_command lilac_command_bench_lora = {
    .name = "bench lora",
    .summary = "time training steps of the LoRA experiment",
    .description =
        "Times training steps of the classifier 784-N-N-10 on random images: forward pass, loss and backward "
        "pass, update of the trained weights. Times are those of the fastest step and, for the whole step, "
        "also the median. GFLOP/s count the matrix products alone; their share is of the peak that the same threads "
        "reach with nothing but multiplications and additions in registers.",
    .example = "lilac bench lora\n"
               "lilac bench lora --hidden 512 --rank 16 --threads 1\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(bench_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
