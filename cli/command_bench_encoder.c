/* SPDX-License-Identifier: MIT */
/* lilac bench encoder: the report's two experiments with transformer layers on random sequences. */
#include "encoder_tables.h"
#include "files.h"
#include "gnuplot.h"

#include "report/plots.h"

#include <stdio.h>
#include <string.h>

typedef struct bench_settings {
    lilac_sizes tokens;
    int experiment, batch, runs;
    const char *json, *plot;
} bench_settings;

static const lilac_option options[] = {
    {.name = "experiment",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(bench_settings, experiment),
     .choices = lilac_encoder_experiment_names,
     .help = "what is timed",
     .initial = "layer"},
    {.name = "tokens",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, tokens),
     .value = "N,...",
     .help = "lengths of the sequences",
     .initial_note = "the experiment's",
     .minimum = 1,
     .maximum = 1 << 24},
    {.name = "batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, batch),
     .value = "N",
     .help = "sequences at a time",
     .initial_note = "the experiment's",
     .minimum = 1,
     .maximum = 4096},
    {.name = "runs",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, runs),
     .value = "N",
     .help = "runs that are timed, after one that is not",
     .initial = "5",
     .minimum = 1,
     .maximum = 1000},
    {.name = "json",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(bench_settings, json),
     .value = "FILE",
     .help = "save the figures as JSON"},
    {.name = "plot",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(bench_settings, plot),
     .value = "FILE.svg",
     .help = "draw time against length, with gnuplot"},
};

static lilac_status save(lilac_session *session, const bench_settings *settings, const lilac_json *json) {
    if (settings->json != NULL) {
        LILAC_TRY(lilac_json_write(session->context, json, settings->json));
        printf("Saved %s\n", settings->json);
    }
    if (settings->plot != NULL) {
        const lilac_plot plot = {.results = json->root};
        LILAC_TRY(lilac_gnuplot_save(session->context, lilac_plot_encoder, &plot, settings->plot));
        printf("Saved %s\n", settings->plot);
    }
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const bench_settings *settings = values;
    lilac_sizes tokens = settings->tokens;
    lilac_sizes_sort(&tokens);
    lilac_encoder_sweep_config config = {.experiment = (lilac_encoder_experiment)settings->experiment,
                                         .length_count = tokens.count,
                                         .batch = (size_t)settings->batch,
                                         .runs = (size_t)settings->runs};
    memcpy(config.lengths, tokens.item, sizeof tokens.item);
    lilac_encoder_sweep sweep;
    LILAC_TRY(lilac_session_check_figures(session, settings->json, settings->plot));
    LILAC_TRY(lilac_encoder_sweep_run(session->context, &config, &sweep));
    LILAC_TRY(lilac_encoder_tables_print(session, &sweep));
    lilac_json json = lilac_json_begin();
    lilac_encoder_sweep_add(&json, json.root, session->context, &sweep);
    const lilac_status status = save(session, settings, &json);
    lilac_json_end(&json);
    return status;
}

const lilac_command lilac_command_bench_encoder = {
    .name = "bench encoder",
    .summary = "time transformer layers with linear and softmax attention, as the report did",
    .description =
        "Times transformer layers with full attention on random sequences. 'layer' is one layer of 12 heads x 64 with "
        "a feed-forward network of 768, forward and backward, N = 128 to 4096, by default with as many sequences at a "
        "time as have 4096 tokens together; 'inference' is the forward pass of 8 layers of 8 heads x 64 with 1024, "
        "N = 1000 to 3000, 10 sequences at a time. 'ms a sequence' is the time of the fastest run over the number of "
        "sequences, 'mean ms' that of all runs. GFLOP/s count the products of matrices and what the attention asks "
        "for; their share is of the peak that the same threads reach with nothing but multiplications and additions "
        "in registers. MB (10^6 bytes) are activations and gradients. Then follow the power of N that the time of a "
        "sequence grows with, fitted over N >= 1000, and the length from which on linear attention is faster.",
    .example = "lilac bench encoder --plot layer.svg\n"
               "lilac bench encoder --experiment inference --plot inference.svg \\\n"
               "    --json inference.json\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(bench_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
