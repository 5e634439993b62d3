/* SPDX-License-Identifier: MIT */
#include "encoder_sweep.h"

#include "growth.h"
#include "peak.h"

#include "runtime/context.h"

#include <math.h>
#include <string.h>

enum { TOKENS_AT_A_TIME = 4096 };

const char *const lilac_encoder_experiment_names[] = {"layer", "inference", NULL};
const char *const lilac_sweep_kind_names[LILAC_SWEEP_KINDS] = {"linear", "softmax"};

/* What the report timed. */
typedef struct experiment {
    lilac_bench_encoder_config shape;
    size_t batch; /* 0: as many sequences as have TOKENS_AT_A_TIME tokens together, at least one */
    const char *title;
    size_t length_count;
    int lengths[LILAC_SWEEP_LENGTHS_MAX];
} experiment;

static const experiment experiments[] = {
    [LILAC_ENCODER_LAYER] =
        {.shape = {.layers = 1, .heads = 12, .head_size = 64, .feed_forward = 768, .backward = true},
         .title = "One layer, 12 heads x 64, feed-forward 768: forward and backward",
         .length_count = 6,
         .lengths = {128, 256, 512, 1024, 2048, 4096}},
    [LILAC_ENCODER_INFERENCE] = {.shape = {.layers = 8, .heads = 8, .head_size = 64, .feed_forward = 1024},
                                 .batch = 10,
                                 .title = "8 layers, 8 heads x 64, feed-forward 1024: forward",
                                 .length_count = 5,
                                 .lengths = {1000, 1500, 2000, 2500, 3000}},
};

static size_t choose_batch(const lilac_encoder_sweep_config *config, size_t tokens) {
    const size_t usual = experiments[config->experiment].batch;
    if (config->batch > 0 || usual > 0) {
        return config->batch > 0 ? config->batch : usual;
    }
    return tokens < TOKENS_AT_A_TIME ? TOKENS_AT_A_TIME / tokens : 1;
}

static lilac_status measure(lilac_context *context, lilac_encoder_sweep *sweep) {
    const size_t count = sweep->config.length_count;
    for (size_t t = 0; t < count; t++) {
        sweep->batches[t] = choose_batch(&sweep->config, (size_t)sweep->config.lengths[t]);
        for (size_t kind = 0; kind < LILAC_SWEEP_KINDS; kind++) {
            LILAC_TRY(lilac_report_progress(context, "timing encoders", LILAC_SWEEP_KINDS * t + kind,
                                            LILAC_SWEEP_KINDS * count));
            lilac_bench_encoder_config config = experiments[sweep->config.experiment].shape;
            config.attention = kind == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX;
            config.tokens = (size_t)sweep->config.lengths[t];
            config.batch = sweep->batches[t];
            config.runs = sweep->config.runs;
            lilac_bench_encoder_figures *figures = &sweep->figures[kind][t];
            LILAC_TRY(lilac_bench_encoder(context, &config, figures));
            sweep->per_sequence[kind][t] = figures->seconds / (double)sweep->batches[t];
        }
    }
    return LILAC_OK;
}

lilac_status lilac_encoder_sweep_run(lilac_context *context, const lilac_encoder_sweep_config *config,
                                     lilac_encoder_sweep *out) {
    const experiment *e = &experiments[config->experiment];
    lilac_encoder_sweep sweep = {.config = *config, .title = e->title};
    if (config->length_count == 0) {
        sweep.config.length_count = e->length_count;
        memcpy(sweep.config.lengths, e->lengths, sizeof e->lengths);
    }
    const double peak = lilac_bench_peak_f32(context).all;
    LILAC_TRY(measure(context, &sweep));
    /* What slowed one of the two down must not make the shares look better. */
    sweep.peak = fmax(peak, lilac_bench_peak_f32(context).all);
    *out = sweep;
    return LILAC_OK;
}

double lilac_encoder_sweep_rate(const lilac_encoder_sweep *sweep, size_t kind, size_t length) {
    const lilac_bench_encoder_figures *figures = &sweep->figures[kind][length];
    return 1e-9 * figures->operations / figures->seconds;
}

double lilac_encoder_sweep_exponent(const lilac_encoder_sweep *sweep, size_t kind) {
    return lilac_bench_growth_exponent(sweep->config.length_count, sweep->config.lengths, sweep->per_sequence[kind],
                                       LILAC_SWEEP_SHORTEST_FITTED);
}

int lilac_encoder_sweep_overtaking(const lilac_encoder_sweep *sweep) {
    return lilac_bench_faster_from(sweep->config.length_count, sweep->config.lengths, sweep->per_sequence[0],
                                   sweep->per_sequence[1]);
}

static void add_points(lilac_json *json, cJSON *array, const lilac_encoder_sweep *sweep, size_t kind) {
    for (size_t t = 0; t < sweep->config.length_count; t++) {
        const lilac_bench_encoder_figures *figures = &sweep->figures[kind][t];
        const double rate = lilac_encoder_sweep_rate(sweep, kind, t);
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_string(json, object, "kind", lilac_sweep_kind_names[kind]);
        lilac_json_whole(json, object, "tokens", (uint64_t)sweep->config.lengths[t]);
        lilac_json_whole(json, object, "batch", sweep->batches[t]);
        lilac_json_number(json, object, "milliseconds_per_sequence", 1e3 * sweep->per_sequence[kind][t]);
        lilac_json_number(json, object, "mean_milliseconds_per_sequence",
                          1e3 * figures->mean_seconds / (double)sweep->batches[t]);
        lilac_json_number(json, object, "gflops", rate);
        lilac_json_number(json, object, "share_of_peak", rate / sweep->peak);
        lilac_json_whole(json, object, "bytes", figures->bytes);
    }
}

void lilac_encoder_sweep_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                             const lilac_encoder_sweep *sweep) {
    const int from = lilac_encoder_sweep_overtaking(sweep);
    lilac_json_string(json, parent, "experiment", lilac_encoder_experiment_names[sweep->config.experiment]);
    lilac_json_string(json, parent, "title", sweep->title);
    lilac_json_string(json, parent, "cpu", lilac_cpu_level_name(lilac_context_cpu_level(context)));
    lilac_json_whole(json, parent, "threads", (uint64_t)lilac_context_threads(context));
    lilac_json_number(json, parent, "peak_gflops", sweep->peak);
    lilac_json_whole(json, parent, "runs", sweep->config.runs);
    cJSON *points = lilac_json_array(json, parent, "points");
    for (size_t kind = 0; kind < LILAC_SWEEP_KINDS; kind++) {
        add_points(json, points, sweep, kind);
    }
    lilac_json_number(json, parent, "linear_exponent", lilac_encoder_sweep_exponent(sweep, 0));
    lilac_json_number(json, parent, "softmax_exponent", lilac_encoder_sweep_exponent(sweep, 1));
    lilac_json_number(json, parent, "linear_faster_from", from == 0 ? NAN : from);
}
