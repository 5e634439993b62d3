/* SPDX-License-Identifier: MIT */
/* lilac bench attention: how fast attention is, and how its time grows with the sequence. */
#include "files.h"
#include "gnuplot.h"
#include "machine.h"
#include "session.h"

#include "bench/attention.h"
#include "bench/growth.h"
#include "bench/peak.h"
#include "report/json.h"
#include "runtime/context.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct bench_settings {
    lilac_sizes tokens, sizes;
    int heads, batch;
    bool full;
    const char *json, *plot;
} bench_settings;

static const lilac_option options[] = {
    {.name = "tokens",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, tokens),
     .value = "N,...",
     .help = "lengths of the sequences",
     .initial = "128,256,512,1024,2048,4096,8192,16384,32768,65536",
     .minimum = 1,
     .maximum = 1 << 24},
    {.name = "size",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, sizes),
     .value = "D,...",
     .help = "sizes of a head: of its queries, keys and values",
     .initial = "32,64,128",
     .minimum = 1,
     .maximum = 4096},
    {.name = "heads",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, heads),
     .value = "N",
     .help = "heads",
     .initial = "8",
     .minimum = 1,
     .maximum = 4096},
    {.name = "batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, batch),
     .value = "N",
     .help = "sequences at a time",
     .initial = "1",
     .minimum = 1,
     .maximum = 4096},
    {.name = "full",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(bench_settings, full),
     .help = "time also what takes two seconds a run or half of the memory"},
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

/* What is timed of each kind of attention. */
enum { FORWARD, FORWARD_BACKWARD, FORWARD_BF16, PASSES };

static const char *const pass_names[] = {"forward", "forward and backward", "bf16 forward"};
static const char *const pass_keys[] = {"forward", "forward_backward", "forward_bf16"};
static const char *const kind_names[] = {"linear", "softmax"};

enum { KINDS = 2, SHORTEST_FITTED = 1024 };

static const double longest_run = 2.0; /* seconds */

typedef struct point {
    lilac_bench_attention_figures passes[PASSES]; /* seconds is NAN where a pass was not timed */
} point;

/* All figures. A curve is a size, causal or not, and a kind, its points in the order of the lengths. */
typedef struct results {
    lilac_sizes tokens, sizes; /* tokens in ascending order */
    double peak;               /* GFLOP/s */
    point *points;
} results;

static point *curve(const results *r, size_t size, size_t causal, size_t kind) {
    return r->points + ((size * 2 + causal) * KINDS + kind) * r->tokens.count;
}

/* ---- Measuring ---- */

/* Whether inputs, outputs and gradients take more than half of the machine's memory. */
static bool is_too_large(const lilac_bench_attention_config *config) {
    const double numbers = 2.0 * (double)(config->key_size + config->value_size) * (double)config->tokens;
    const double tensors = numbers * (double)config->batch * (double)config->heads * (config->backward ? 2.0 : 1.0);
    const double memory = (double)lilac_machine_memory();
    return memory > 0.0 && tensors * sizeof(float) > memory / 2.0;
}

/*
 * Whether a run is left out for its memory or its time: judged by the length before, which is `previous`, or by a short
 * sequence where there is none.
 */
static lilac_status judge(lilac_session *session, const lilac_bench_attention_config *config, int previous_tokens,
                          const lilac_bench_attention_figures *previous, bool *left_out) {
    lilac_bench_attention_figures probe;
    *left_out = false;
    if (is_too_large(config)) {
        *left_out = true;
        return LILAC_OK;
    }
    if (config->tokens <= SHORTEST_FITTED) {
        return LILAC_OK;
    }
    double shorter = previous_tokens;
    if (previous == NULL) {
        lilac_bench_attention_config shorter_config = *config;
        shorter_config.tokens = SHORTEST_FITTED;
        LILAC_TRY(lilac_bench_attention(session->context, &shorter_config, &probe));
        previous = &probe;
        shorter = SHORTEST_FITTED;
    }
    const double ratio = (double)config->tokens / shorter;
    const double growth = config->kind == LILAC_BENCH_SOFTMAX ? ratio * ratio : ratio;
    *left_out = isnan(previous->seconds) || previous->seconds * growth > longest_run;
    return LILAC_OK;
}

static lilac_status measure_curve(lilac_session *session, const bench_settings *settings, const results *r,
                                  const lilac_bench_attention_config *shape, point *points, uint64_t *done) {
    const uint64_t total = (uint64_t)r->sizes.count * 2 * KINDS * r->tokens.count * PASSES;
    for (size_t t = 0; t < r->tokens.count; t++) {
        for (size_t pass = 0; pass < PASSES; pass++) {
            LILAC_TRY(lilac_report_progress(session->context, "timing attention", (*done)++, total));
            lilac_bench_attention_config config = *shape;
            config.tokens = (size_t)r->tokens.item[t];
            config.backward = pass == FORWARD_BACKWARD;
            config.bf16 = pass == FORWARD_BF16;
            bool left_out = false;
            if (!settings->full) {
                LILAC_TRY(judge(session, &config, t == 0 ? 0 : r->tokens.item[t - 1],
                                t == 0 ? NULL : &points[t - 1].passes[pass], &left_out));
            }
            points[t].passes[pass].seconds = NAN;
            if (!left_out) {
                LILAC_TRY(lilac_bench_attention(session->context, &config, &points[t].passes[pass]));
            }
        }
    }
    return LILAC_OK;
}

static lilac_status measure(lilac_session *session, const bench_settings *settings, results *r) {
    uint64_t done = 0;
    const double peak = lilac_bench_peak_f32(session->context).all;
    for (size_t s = 0; s < r->sizes.count; s++) {
        for (size_t c = 0; c < 2 * KINDS; c++) {
            const size_t size = (size_t)r->sizes.item[s];
            const lilac_bench_attention_config shape = {.kind = (lilac_bench_attention_kind)(c % KINDS),
                                                        .causal = c / KINDS == 1,
                                                        .batch = (size_t)settings->batch,
                                                        .heads = (size_t)settings->heads,
                                                        .key_size = size,
                                                        .value_size = size};
            LILAC_TRY(measure_curve(session, settings, r, &shape, curve(r, s, c / KINDS, c % KINDS), &done));
        }
    }
    /* What slowed one of the two down must not make the shares look better. */
    r->peak = fmax(peak, lilac_bench_peak_f32(session->context).all);
    return LILAC_OK;
}

/* ---- What follows from the figures ---- */

static double rate(const lilac_bench_attention_figures *figures) {
    return 1e-9 * figures->operations / figures->seconds;
}

/* The times of one pass of a curve, for each length. */
static void collect(const lilac_sizes *tokens, const point *points, size_t pass, double *times) {
    for (size_t t = 0; t < tokens->count; t++) {
        times[t] = points[t].passes[pass].seconds;
    }
}

static double fit_exponent(const lilac_sizes *tokens, const point *points, size_t pass) {
    double times[LILAC_SIZES_MAX];
    collect(tokens, points, pass, times);
    return lilac_bench_growth_exponent(tokens->count, tokens->item, times, SHORTEST_FITTED);
}

/* The length from which on linear attention was faster wherever both were timed; 0: never. */
static int find_overtaking(const results *r, size_t size, size_t causal, size_t pass) {
    double linear[LILAC_SIZES_MAX], softmax[LILAC_SIZES_MAX];
    collect(&r->tokens, curve(r, size, causal, LILAC_BENCH_LINEAR), pass, linear);
    collect(&r->tokens, curve(r, size, causal, LILAC_BENCH_SOFTMAX), pass, softmax);
    return lilac_bench_faster_from(r->tokens.count, r->tokens.item, linear, softmax);
}

/* ---- Printing ---- */

static void add_point(lilac_table *table, const point *p, double peak) {
    const lilac_bench_attention_figures *forward = &p->passes[FORWARD], *both = &p->passes[FORWARD_BACKWARD];
    lilac_table_number(table, 3, "", 1e3 * forward->seconds);
    lilac_table_number(table, 1, "", rate(forward));
    lilac_table_number(table, 0, " %", 100.0 * rate(forward) / peak);
    lilac_table_number(table, 3, "", 1e3 * both->seconds);
    lilac_table_number(table, 0, " %", 100.0 * rate(both) / peak);
    lilac_table_number(table, 3, "", 1e3 * p->passes[FORWARD_BF16].seconds);
    lilac_table_number(table, 0, "", isnan(forward->seconds) ? NAN : 1e-3 * (double)forward->extra_bytes);
    lilac_table_number(table, 0, "", isnan(both->seconds) ? NAN : 1e-3 * (double)both->extra_bytes);
}

static lilac_status print_points(lilac_session *session, const results *r) {
    static const char *const head[] = {"attention", "D",       "N",       "forward ms", "GFLOP/s", "of peak",
                                       "both ms",   "of peak", "bf16 ms", "forward KB", "both KB"};
    lilac_table *table = lilac_table_create_headed("lrrrrrrrrrr", LILAC_COUNT(head), head);
    for (size_t c = 0; c < r->sizes.count * 2 * KINDS; c++) {
        const size_t s = c / (2 * KINDS), causal = c / KINDS % 2, kind = c % KINDS;
        lilac_table_rule(table);
        for (size_t t = 0; t < r->tokens.count; t++) {
            lilac_table_cell(table, "%s, %s", kind_names[kind], causal ? "causal" : "full");
            lilac_table_cell(table, "%d", r->sizes.item[s]);
            lilac_table_cell(table, "%d", r->tokens.item[t]);
            add_point(table, &curve(r, s, causal, kind)[t], r->peak);
        }
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

static lilac_status print_growth(lilac_session *session, const results *r) {
    static const char *const head[] = {"D", "form", "pass", "linear ~ N^", "softmax ~ N^", "linear faster from"};
    lilac_table *table = lilac_table_create_headed("rllrrr", LILAC_COUNT(head), head);
    lilac_table_rule(table);
    for (size_t c = 0; c < r->sizes.count * 2 * PASSES; c++) {
        const size_t s = c / (2 * PASSES), causal = c / PASSES % 2, pass = c % PASSES;
        const int from = find_overtaking(r, s, causal, pass);
        lilac_table_cell(table, "%d", r->sizes.item[s]);
        lilac_table_cell(table, causal ? "causal" : "full");
        lilac_table_cell(table, "%s", pass_names[pass]);
        lilac_table_number(table, 2, "", fit_exponent(&r->tokens, curve(r, s, causal, LILAC_BENCH_LINEAR), pass));
        lilac_table_number(table, 2, "", fit_exponent(&r->tokens, curve(r, s, causal, LILAC_BENCH_SOFTMAX), pass));
        lilac_table_cell(table, from == 0 ? "beyond" : "N = %d", from);
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

/* ---- Files ---- */

static void add_json_points(lilac_json *json, cJSON *array, const results *r, size_t s, size_t causal, size_t kind) {
    const point *points = curve(r, s, causal, kind);
    for (size_t t = 0; t < r->tokens.count; t++) {
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_string(json, object, "kind", kind_names[kind]);
        lilac_json_string(json, object, "form", causal ? "causal" : "full");
        lilac_json_whole(json, object, "size", (uint64_t)r->sizes.item[s]);
        lilac_json_whole(json, object, "tokens", (uint64_t)r->tokens.item[t]);
        for (size_t pass = 0; pass < PASSES; pass++) {
            const lilac_bench_attention_figures *figures = &points[t].passes[pass];
            if (!isnan(figures->seconds)) {
                cJSON *values = lilac_json_object(json, object, pass_keys[pass]);
                lilac_json_number(json, values, "milliseconds", 1e3 * figures->seconds);
                lilac_json_number(json, values, "gflops", rate(figures));
                lilac_json_number(json, values, "share_of_peak", rate(figures) / r->peak);
                lilac_json_whole(json, values, "extra_bytes", figures->extra_bytes);
            }
        }
    }
}

static void add_json_growth(lilac_json *json, cJSON *array, const results *r, size_t s, size_t causal) {
    for (size_t pass = 0; pass < PASSES; pass++) {
        const int from = find_overtaking(r, s, causal, pass);
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_whole(json, object, "size", (uint64_t)r->sizes.item[s]);
        lilac_json_string(json, object, "form", causal ? "causal" : "full");
        lilac_json_string(json, object, "pass", pass_keys[pass]);
        for (size_t kind = 0; kind < KINDS; kind++) {
            char name[32];
            snprintf(name, sizeof name, "%s_exponent", kind_names[kind]);
            lilac_json_number(json, object, name, fit_exponent(&r->tokens, curve(r, s, causal, kind), pass));
        }
        lilac_json_number(json, object, "linear_faster_from", from == 0 ? NAN : from);
    }
}

static lilac_status write_json(lilac_session *session, const bench_settings *settings, const results *r) {
    lilac_json json = lilac_json_begin();
    lilac_json_string(&json, json.root, "cpu", lilac_cpu_level_name(lilac_context_cpu_level(session->context)));
    lilac_json_whole(&json, json.root, "threads", (uint64_t)lilac_context_threads(session->context));
    lilac_json_number(&json, json.root, "peak_gflops", r->peak);
    lilac_json_whole(&json, json.root, "batch", (uint64_t)settings->batch);
    lilac_json_whole(&json, json.root, "heads", (uint64_t)settings->heads);
    cJSON *points = lilac_json_array(&json, json.root, "points");
    cJSON *growth = lilac_json_array(&json, json.root, "growth");
    for (size_t s = 0; s < r->sizes.count; s++) {
        for (size_t c = 0; c < 2 * KINDS; c++) {
            add_json_points(&json, points, r, s, c / KINDS, c % KINDS);
        }
        add_json_growth(&json, growth, r, s, 0);
        add_json_growth(&json, growth, r, s, 1);
    }
    const lilac_status status = lilac_json_write(session->context, &json, settings->json);
    lilac_json_end(&json);
    return status;
}

/* A pass at one size; a curve of which nothing was timed is left out. */
static void write_panel(FILE *script, const results *r, size_t size, size_t pass) {
    fprintf(script, "set title '%s, D = %d'\n", pass_names[pass], r->sizes.item[size]);
    for (size_t c = 0; c < 2 * KINDS; c++) {
        const point *points = curve(r, size, c / KINDS, c % KINDS);
        fprintf(script, "$curve%zu << END\n", c);
        for (size_t t = 0; t < r->tokens.count; t++) {
            const double seconds = points[t].passes[pass].seconds;
            if (!isnan(seconds)) {
                fprintf(script, "%d %.3g\n", r->tokens.item[t], 1e3 * seconds);
            }
        }
        fputs("END\n", script);
    }
    const char *separator = "plot ";
    bool empty = true;
    for (size_t c = 0; c < 2 * KINDS; c++) {
        /* What was timed of a curve begins at its first length. */
        if (!isnan(curve(r, size, c / KINDS, c % KINDS)->passes[pass].seconds)) {
            fprintf(script, "%s$curve%zu with linespoints title '%s, %s'", separator, c, kind_names[c % KINDS],
                    c / KINDS ? "causal" : "full");
            separator = ", ";
            empty = false;
        }
    }
    fputs(empty ? "set multiplot next\n" : "\n", script);
}

/* A row of panels for each size: of curves for all sizes in one panel, few could be told apart. */
static void write_script(FILE *script, const void *argument) {
    const results *r = argument;
    fprintf(script, "set terminal svg size 1500,%zu background rgb 'white'\n", 500 * r->sizes.count);
    fprintf(script, "set multiplot layout %zu,%d\n", r->sizes.count, PASSES);
    fputs("set logscale xy\n"
          "set key left top\n"
          "set xlabel 'N'\n"
          "set ylabel 'milliseconds'\n",
          script);
    for (size_t size = 0; size < r->sizes.count; size++) {
        for (size_t pass = 0; pass < PASSES; pass++) {
            write_panel(script, r, size, pass);
        }
    }
    fputs("unset multiplot\n", script);
}

static lilac_status report(lilac_session *session, const bench_settings *settings, const results *r) {
    LILAC_TRY(print_points(session, r));
    putchar('\n');
    LILAC_TRY(print_growth(session, r));
    putchar('\n');
    lilac_session_print_peak(session, (lilac_peaks){.f32 = r->peak});
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
    results r = {.tokens = settings->tokens, .sizes = settings->sizes};
    lilac_sizes_sort(&r.tokens);
    const size_t count = r.sizes.count * 2 * KINDS * r.tokens.count;
    r.points = calloc(count, sizeof *r.points);
    if (r.points == NULL) {
        return lilac_fail_memory(session->context, "the figures", count * sizeof *r.points);
    }
    lilac_status status = measure(session, settings, &r);
    if (status == LILAC_OK) {
        status = report(session, settings, &r);
    }
    free(r.points);
    return status;
}

const lilac_command lilac_command_bench_attention = {
    .name = "bench attention",
    .summary = "time linear and softmax attention over growing sequences",
    .description =
        "Times attention on random inputs: the forward pass, the forward and the backward pass together (both), and "
        "the forward pass of bf16 inputs; full and causal. Times are those of the fastest run. GFLOP/s count what the "
        "maths asks for, with half of the pairs in causal softmax; their share is of the peak that the same "
        "threads reach with nothing but multiplications and additions in registers. KB (1000 bytes) is all the memory "
        "that a call needs beside inputs, outputs and gradients, which its caller hands in: the workspace and what "
        "the forward pass saves, as their sizes say. What would take more than two seconds a run or, inputs, outputs "
        "and gradients together, more than half of the machine's memory is left out. Then follow the power of N that "
        "time grows with, fitted over N >= 1024, and "
        "the length from which on linear attention is faster, or 'beyond'.",
    .example = "lilac bench attention\n"
               "lilac bench attention --tokens 1024,4096 --size 64 --plot time.svg\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(bench_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
