/* SPDX-License-Identifier: MIT */
/* lilac bench encoder: the report's two experiments with transformer layers on random sequences. */
#include "files.h"
#include "gnuplot.h"
#include "session.h"

#include "bench/encoder.h"
#include "bench/growth.h"
#include "bench/peak.h"
#include "report/json.h"
#include "runtime/context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct bench_settings {
    lilac_sizes tokens;
    int experiment, batch, runs;
    const char *json, *plot;
} bench_settings;

static const char *const experiment_names[] = {"layer", "inference", NULL};

static const lilac_option options[] = {
    {.name = "experiment",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(bench_settings, experiment),
     .choices = experiment_names,
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

enum { KINDS = 2, SHORTEST_FITTED = 1000, TOKENS_AT_A_TIME = 4096 };

static const char *const kind_names[] = {"linear", "softmax"};

/* What the report timed. */
typedef struct experiment {
    lilac_bench_encoder_config shape;
    size_t batch; /* 0: as many sequences as have TOKENS_AT_A_TIME tokens together, at least one */
    const char *title;
    lilac_sizes tokens;
} experiment;

static const experiment experiments[] = {
    {.shape = {.layers = 1, .heads = 12, .head_size = 64, .feed_forward = 768, .backward = true},
     .title = "One layer, 12 heads x 64, feed-forward 768: forward and backward",
     .tokens = {.count = 6, .item = {128, 256, 512, 1024, 2048, 4096}}},
    {.shape = {.layers = 8, .heads = 8, .head_size = 64, .feed_forward = 1024},
     .batch = 10,
     .title = "8 layers, 8 heads x 64, feed-forward 1024: forward",
     .tokens = {.count = 5, .item = {1000, 1500, 2000, 2500, 3000}}},
};

/* All figures, in the order of the lengths, which are ascending. */
typedef struct results {
    const experiment *experiment;
    lilac_sizes tokens;
    int runs;
    double peak; /* GFLOP/s */
    size_t batches[LILAC_SIZES_MAX];
    lilac_bench_encoder_figures figures[KINDS][LILAC_SIZES_MAX];
    double per_sequence[KINDS][LILAC_SIZES_MAX]; /* seconds */
} results;

/* ---- Measuring ---- */

static size_t choose_batch(const bench_settings *settings, const experiment *e, size_t tokens) {
    if (settings->batch > 0) {
        return (size_t)settings->batch;
    }
    return e->batch > 0 ? e->batch : tokens < TOKENS_AT_A_TIME ? TOKENS_AT_A_TIME / tokens : 1;
}

static lilac_status measure(lilac_session *session, const bench_settings *settings, results *r) {
    const double peak = lilac_bench_peak_f32(session->context).all;
    for (size_t t = 0; t < r->tokens.count; t++) {
        const size_t tokens = (size_t)r->tokens.item[t];
        r->batches[t] = choose_batch(settings, r->experiment, tokens);
        for (size_t kind = 0; kind < KINDS; kind++) {
            LILAC_TRY(
                lilac_report_progress(session->context, "timing encoders", KINDS * t + kind, KINDS * r->tokens.count));
            lilac_bench_encoder_config config = r->experiment->shape;
            config.attention = kind == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX;
            config.tokens = tokens;
            config.batch = r->batches[t];
            config.runs = (size_t)r->runs;
            lilac_bench_encoder_figures *figures = &r->figures[kind][t];
            LILAC_TRY(lilac_bench_encoder(session->context, &config, figures));
            r->per_sequence[kind][t] = figures->seconds / (double)r->batches[t];
        }
    }
    /* What slowed one of the two down must not make the shares look better. */
    r->peak = fmax(peak, lilac_bench_peak_f32(session->context).all);
    return LILAC_OK;
}

static double rate(const lilac_bench_encoder_figures *figures) {
    return 1e-9 * figures->operations / figures->seconds;
}

static double exponent(const results *r, size_t kind) {
    return lilac_bench_growth_exponent(r->tokens.count, r->tokens.item, r->per_sequence[kind], SHORTEST_FITTED);
}

static int overtaking(const results *r) {
    return lilac_bench_faster_from(r->tokens.count, r->tokens.item, r->per_sequence[0], r->per_sequence[1]);
}

/* ---- Printing ---- */

static lilac_status print_points(lilac_session *session, const results *r) {
    static const char *const head[] = {"attention", "N",       "batch",   "ms a sequence",
                                       "mean ms",   "GFLOP/s", "of peak", "memory MB"};
    lilac_table *table = lilac_table_create("lrrrrrrr");
    for (size_t i = 0; i < LILAC_COUNT(head); i++) {
        lilac_table_cell(table, "%s", head[i]);
    }
    for (size_t kind = 0; kind < KINDS; kind++) {
        lilac_table_rule(table);
        for (size_t t = 0; t < r->tokens.count; t++) {
            const lilac_bench_encoder_figures *figures = &r->figures[kind][t];
            lilac_table_cell(table, "%s", kind_names[kind]);
            lilac_table_cell(table, "%d", r->tokens.item[t]);
            lilac_table_cell(table, "%zu", r->batches[t]);
            lilac_table_cell(table, "%.3f", 1e3 * r->per_sequence[kind][t]);
            lilac_table_cell(table, "%.3f", 1e3 * figures->mean_seconds / (double)r->batches[t]);
            lilac_table_cell(table, "%.1f", rate(figures));
            lilac_table_cell(table, "%.0f %%", 100.0 * rate(figures) / r->peak);
            lilac_table_cell(table, "%.0f", 1e-6 * (double)figures->bytes);
        }
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

static void print_growth(const results *r) {
    putchar('\n');
    for (size_t kind = 0; kind < KINDS; kind++) {
        const double power = exponent(r, kind);
        if (!isnan(power)) {
            printf("Time of %s ~ N^%.2f for N >= %d\n", kind_names[kind], power, SHORTEST_FITTED);
        }
    }
    const int from = overtaking(r);
    if (from == 0) {
        puts("Linear faster beyond these lengths, if at all");
    } else {
        printf("Linear faster from N = %d\n", from);
    }
}

/* ---- Files ---- */

static void add_json_points(lilac_json *json, cJSON *array, const results *r, size_t kind) {
    for (size_t t = 0; t < r->tokens.count; t++) {
        const lilac_bench_encoder_figures *figures = &r->figures[kind][t];
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_string(json, object, "kind", kind_names[kind]);
        lilac_json_whole(json, object, "tokens", (uint64_t)r->tokens.item[t]);
        lilac_json_whole(json, object, "batch", r->batches[t]);
        lilac_json_number(json, object, "milliseconds_per_sequence", 1e3 * r->per_sequence[kind][t]);
        lilac_json_number(json, object, "mean_milliseconds_per_sequence",
                          1e3 * figures->mean_seconds / (double)r->batches[t]);
        lilac_json_number(json, object, "gflops", rate(figures));
        lilac_json_number(json, object, "share_of_peak", rate(figures) / r->peak);
        lilac_json_whole(json, object, "bytes", figures->bytes);
    }
}

static lilac_status write_json(lilac_session *session, const bench_settings *settings, const results *r) {
    const int from = overtaking(r);
    lilac_json json = lilac_json_begin();
    lilac_json_string(&json, json.root, "experiment", experiment_names[settings->experiment]);
    lilac_json_string(&json, json.root, "cpu", lilac_cpu_level_name(lilac_context_cpu_level(session->context)));
    lilac_json_whole(&json, json.root, "threads", (uint64_t)lilac_context_threads(session->context));
    lilac_json_number(&json, json.root, "peak_gflops", r->peak);
    lilac_json_whole(&json, json.root, "runs", (uint64_t)r->runs);
    cJSON *points = lilac_json_array(&json, json.root, "points");
    for (size_t kind = 0; kind < KINDS; kind++) {
        add_json_points(&json, points, r, kind);
    }
    lilac_json_number(&json, json.root, "linear_exponent", exponent(r, 0));
    lilac_json_number(&json, json.root, "softmax_exponent", exponent(r, 1));
    lilac_json_number(&json, json.root, "linear_faster_from", from == 0 ? NAN : from);
    const lilac_status status = lilac_json_write(session->context, &json, settings->json);
    lilac_json_end(&json);
    return status;
}

static void write_script(FILE *script, const void *argument) {
    const results *r = argument;
    fprintf(script,
            "set terminal svg size 700,600 background rgb 'white'\n"
            "set title '%s'\n"
            "set logscale xy\n"
            "set key left top\n"
            "set xlabel 'N'\n"
            "set ylabel 'milliseconds a sequence'\n",
            r->experiment->title);
    for (size_t kind = 0; kind < KINDS; kind++) {
        fprintf(script, "$%s << END\n", kind_names[kind]);
        for (size_t t = 0; t < r->tokens.count; t++) {
            fprintf(script, "%d %.4g\n", r->tokens.item[t], 1e3 * r->per_sequence[kind][t]);
        }
        fputs("END\n", script);
    }
    fprintf(script, "plot $%s with linespoints title '%s', $%s with linespoints title '%s'\n", kind_names[0],
            kind_names[0], kind_names[1], kind_names[1]);
}

static lilac_status report(lilac_session *session, const bench_settings *settings, const results *r) {
    printf("%s\n\n", r->experiment->title);
    LILAC_TRY(print_points(session, r));
    print_growth(r);
    lilac_session_print_peak(session, r->peak, 0.0);
    if (settings->json != NULL) {
        LILAC_TRY(write_json(session, settings, r));
        printf("Saved %s\n", settings->json);
    }
    if (settings->plot != NULL) {
        LILAC_TRY(lilac_gnuplot_save(session->context, write_script, r, settings->plot));
        printf("Saved %s\n", settings->plot);
    }
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const bench_settings *settings = values;
    LILAC_TRY(lilac_session_check_figures(session, settings->json, settings->plot));
    const experiment *e = &experiments[settings->experiment];
    results r = {
        .experiment = e, .tokens = settings->tokens.count > 0 ? settings->tokens : e->tokens, .runs = settings->runs};
    lilac_sizes_sort(&r.tokens);
    LILAC_TRY(measure(session, settings, &r));
    return report(session, settings, &r);
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
