/* SPDX-License-Identifier: MIT */
/* lilac bench matmul: how fast the matrix products of a transformer are. */
#include "session.h"

#include "bench/matmul.h"
#include "bench/peak.h"
#include "runtime/context.h"

#include <math.h>
#include <stdio.h>

typedef struct bench_settings {
    lilac_sizes tokens, rows;
    int width, feed_forward;
} bench_settings;

static const lilac_option options[] = {
    {.name = "tokens",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, tokens),
     .value = "N,...",
     .help = "tokens of a training pass",
     .initial = "783,1566",
     .minimum = 1,
     .maximum = 1 << 24},
    {.name = "rows",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, rows),
     .value = "N,...",
     .help = "sequences that are generated at a time",
     .initial = "1,8,300",
     .minimum = 1,
     .maximum = 1 << 24},
    {.name = "width",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, width),
     .value = "F",
     .help = "width of the model",
     .initial = "256",
     .minimum = 1,
     .maximum = 65536},
    {.name = "feed-forward",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, feed_forward),
     .value = "N",
     .help = "width of its feed-forward layers",
     .initial = "1024",
     .minimum = 1,
     .maximum = 65536},
};

/* The linear layers of a transformer: query, key and value at once, output, the feed-forward's two, logits. */
enum { LAYERS = 5, LOGITS = 30 };

static const char *const layer_names[LAYERS] = {"query, key, value", "output", "up", "down", "logits"};

/* What is timed of each. */
typedef enum timed_pass { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, GENERATION } timed_pass;

static const char *const pass_names[] = {"forward", "input gradient", "weight gradient", "generation"};

/* The product of a pass through a linear layer y = x W^T of `rows` rows, W being out x in. */
static lilac_matmul_shape shape_of(timed_pass pass, size_t rows, size_t in, size_t out) {
    switch (pass) {
    case INPUT_GRADIENT:
        return (lilac_matmul_shape){.m = rows, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in, .alpha = 1.0f};
    case WEIGHT_GRADIENT:
        return (lilac_matmul_shape){.m = out,
                                    .n = in,
                                    .k = rows,
                                    .transpose_a = true,
                                    .lda = out,
                                    .ldb = in,
                                    .ldc = in,
                                    .alpha = 1.0f,
                                    .beta = 1.0f};
    default:
        return (lilac_matmul_shape){
            .m = rows, .n = out, .k = in, .transpose_b = true, .lda = in, .ldb = in, .ldc = out, .alpha = 1.0f};
    }
}

/* Milliseconds, GFLOP/s and the share of the peak; "-" where nothing was timed. */
static void add_figures(lilac_table *table, const lilac_matmul_shape *shape, double seconds, double peak) {
    const double rate = 2e-9 * (double)shape->m * (double)shape->n * (double)shape->k / seconds;
    lilac_table_number(table, 4, "", 1e3 * seconds);
    lilac_table_number(table, 1, "", rate);
    lilac_table_number(table, 0, " %", 100.0 * rate / peak);
}

static lilac_status add_row(lilac_session *session, timed_pass pass, const char *layer, const lilac_matmul_shape *shape,
                            const lilac_peaks *peak, lilac_table *table) {
    const bool packed = pass == GENERATION;
    double f32, bf16, f16 = NAN;
    LILAC_TRY(
        lilac_bench_matmul(session->context, shape, packed ? LILAC_BENCH_MATMUL_PACKED : LILAC_BENCH_MATMUL_F32, &f32));
    LILAC_TRY(lilac_bench_matmul(session->context, shape,
                                 packed ? LILAC_BENCH_MATMUL_PACKED_BF16 : LILAC_BENCH_MATMUL_BF16, &bf16));
    /* No weights are held in f16. */
    if (!packed) {
        LILAC_TRY(lilac_bench_matmul(session->context, shape, LILAC_BENCH_MATMUL_F16, &f16));
    }
    lilac_table_cell(table, "%s", pass_names[pass]);
    lilac_table_cell(table, "%s", layer);
    lilac_table_cell(table, "%zu", shape->m);
    lilac_table_cell(table, "%zu", shape->n);
    lilac_table_cell(table, "%zu", shape->k);
    add_figures(table, shape, f32, peak->f32);
    /* Packed weights in bf16 are widened and multiplied in f32. */
    add_figures(table, shape, bf16, packed ? peak->f32 : peak->bf16);
    add_figures(table, shape, f16, peak->f16);
    return LILAC_OK;
}

static lilac_status add_rows(lilac_session *session, const bench_settings *settings, timed_pass pass, size_t rows,
                             const lilac_peaks *peak, lilac_table *table) {
    const size_t F = (size_t)settings->width, hidden = (size_t)settings->feed_forward;
    const size_t in[LAYERS] = {F, F, F, hidden, F}, out[LAYERS] = {3 * F, F, hidden, F, LOGITS};
    lilac_table_rule(table);
    for (size_t layer = 0; layer < LAYERS; layer++) {
        LILAC_TRY(lilac_report_progress(session->context, "timing products", layer, LAYERS));
        const lilac_matmul_shape shape = shape_of(pass, rows, in[layer], out[layer]);
        LILAC_TRY(add_row(session, pass, layer_names[layer], &shape, peak, table));
    }
    return LILAC_OK;
}

static lilac_status add_all(lilac_session *session, const bench_settings *settings, const lilac_peaks *peak,
                            lilac_table *table) {
    for (size_t i = 0; i < settings->tokens.count; i++) {
        for (timed_pass pass = FORWARD; pass <= WEIGHT_GRADIENT; pass++) {
            LILAC_TRY(add_rows(session, settings, pass, (size_t)settings->tokens.item[i], peak, table));
        }
    }
    for (size_t i = 0; i < settings->rows.count; i++) {
        LILAC_TRY(add_rows(session, settings, GENERATION, (size_t)settings->rows.item[i], peak, table));
    }
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    static const char *const head[] = {"pass",    "layer",   "m",       "n",       "k",      "f32 ms",  "GFLOP/s",
                                       "of peak", "bf16 ms", "GFLOP/s", "of peak", "f16 ms", "GFLOP/s", "of peak"};
    const lilac_peaks peak = {.f32 = lilac_bench_peak_f32(session->context).all,
                              .bf16 = lilac_bench_peak_bf16(session->context).all,
                              .f16 = lilac_bench_peak_f16(session->context).all};
    lilac_table *table = lilac_table_create_headed("llrrrrrrrrrrrr", LILAC_COUNT(head), head);
    const lilac_status status = add_all(session, values, &peak, table);
    LILAC_TRY(lilac_session_print_table(session, status, table));
    lilac_session_print_peak(session, peak);
    return LILAC_OK;
}

const lilac_command lilac_command_bench_matmul = {
    .name = "bench matmul",
    .summary = "time the matrix products of a transformer",
    .description =
        "Times the products of a transformer's linear layers on random matrices: C (m x n) sums k products an "
        "element. Of a training pass: the forward pass, the gradients of the inputs and those of the weights, which "
        "are added to others; of generation: one step of a number of sequences, with weights that were packed before, "
        "in f32 or in bf16, never in f16. Products in f16, and in bf16 those of AMX's tiles, take f32, and rounding "
        "it counts as theirs; others in bf16 are given so. '-' stands for what this processor has no fast way for. "
        "Times are those of the fastest run; shares are of the peak that the same threads reach in registers, in bf16 "
        "or f16 where both operands are, else in f32.",
    .example = "lilac bench matmul\n"
               "lilac bench matmul --tokens 1566 --width 512 --feed-forward 2048\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(bench_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
