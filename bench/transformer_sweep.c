/* SPDX-License-Identifier: MIT */
#include "transformer_sweep.h"

#include "peak.h"

#include "model/transformer.h"
#include "runtime/context.h"

#include <math.h>

static lilac_status time_training(lilac_context *context, lilac_transformer_sweep *sweep, size_t kind,
                                  size_t precision) {
    lilac_transformer_config model_config = sweep->config.model;
    lilac_transformer_training training = sweep->config.training;
    model_config.attention = (lilac_transformer_attention)kind;
    training.precision = (lilac_precision)precision;
    lilac_transformer *model;
    LILAC_TRY(lilac_transformer_create(context, &model_config, &model));
    const lilac_status status = lilac_bench_training(context, &training, model, &sweep->training[kind][precision]);
    lilac_transformer_destroy(model);
    return status;
}

/* With new weights: what is generated does not matter. */
static lilac_status time_generation(lilac_context *context, lilac_transformer_sweep *sweep, size_t kind,
                                    size_t precision) {
    lilac_transformer_config model_config = sweep->config.model;
    model_config.attention = (lilac_transformer_attention)kind;
    lilac_transformer *model;
    LILAC_TRY(lilac_transformer_create(context, &model_config, &model));
    lilac_status status = LILAC_OK;
    for (size_t i = 0; status == LILAC_OK && i < sweep->config.count_count; i++) {
        const lilac_bench_generation_config config = {.count = sweep->config.counts[i],
                                                      .batch = sweep->config.batch,
                                                      .steps = sweep->config.steps,
                                                      .precision = (lilac_precision)precision};
        status = lilac_bench_generation(context, model, &config, &sweep->generation[kind][precision][i]);
    }
    lilac_transformer_destroy(model);
    return status;
}

static void measure_peaks(lilac_context *context, lilac_transformer_sweep *sweep) {
    sweep->peak[LILAC_PRECISION_F32] = fmax(sweep->peak[LILAC_PRECISION_F32], lilac_bench_peak_f32(context).all);
    sweep->peak[LILAC_PRECISION_BF16] = fmax(sweep->peak[LILAC_PRECISION_BF16], lilac_bench_peak_bf16(context).all);
    sweep->peak[LILAC_PRECISION_F16] = fmax(sweep->peak[LILAC_PRECISION_F16], lilac_bench_peak_f16(context).all);
}

lilac_status lilac_transformer_sweep_run(lilac_context *context, const lilac_transformer_sweep_config *config,
                                         lilac_transformer_sweep *out) {
    *out = (lilac_transformer_sweep){.config = *config};
    measure_peaks(context, out);
    for (size_t kind = 0; kind < LILAC_TRANSFORMER_KINDS; kind++) {
        for (size_t precision = 0; precision < LILAC_TRAINING_PRECISIONS; precision++) {
            LILAC_TRY(time_training(context, out, kind, precision));
        }
        for (size_t precision = 0; precision < LILAC_GENERATION_PRECISIONS; precision++) {
            LILAC_TRY(time_generation(context, out, kind, precision));
        }
    }
    /* What slowed one of the two down must not make the shares look better. */
    measure_peaks(context, out);
    return LILAC_OK;
}

double lilac_transformer_sweep_training_rate(const lilac_transformer_sweep *sweep, size_t kind, size_t precision) {
    const lilac_bench_training_figures *figures = &sweep->training[kind][precision];
    return 1e-9 * figures->operations / figures->times.steps;
}

double lilac_transformer_sweep_training_share(const lilac_transformer_sweep *sweep, size_t kind, size_t precision) {
    const double peak = sweep->peak[precision];
    return peak > 0.0 ? lilac_transformer_sweep_training_rate(sweep, kind, precision) / peak : (double)NAN;
}

double lilac_transformer_sweep_generation_rate(const lilac_transformer_sweep *sweep, size_t kind, size_t precision,
                                               size_t count) {
    const lilac_bench_generation_figures *figures = &sweep->generation[kind][precision][count];
    return 1e-9 * figures->operations / figures->times.steps;
}

double lilac_transformer_sweep_gain(const lilac_transformer_sweep *sweep, size_t kind, size_t precision) {
    return sweep->training[kind][LILAC_PRECISION_F32].times.steps / sweep->training[kind][precision].times.steps;
}

/* ---- As JSON ---- */

static void add_shape(lilac_json *json, cJSON *parent, const lilac_transformer_sweep_config *config) {
    cJSON *object = lilac_json_object(json, parent, "model");
    lilac_json_whole(json, object, "tokens", config->model.length);
    lilac_json_whole(json, object, "layers", config->model.layers);
    lilac_json_whole(json, object, "heads", config->model.heads);
    lilac_json_whole(json, object, "head_size", config->model.head_size);
    lilac_json_whole(json, object, "width", lilac_transformer_width(&config->model));
    lilac_json_whole(json, object, "feed_forward", config->model.feed_forward);
}

static void add_training(lilac_json *json, cJSON *array, const lilac_transformer_sweep *sweep, size_t kind,
                         size_t precision) {
    const lilac_bench_training_figures *figures = &sweep->training[kind][precision];
    const lilac_transformer_training *config = &sweep->config.training;
    const lilac_training_times *times = &figures->times;
    cJSON *object = lilac_json_object(json, array, NULL);
    lilac_json_string(json, object, "kind", lilac_transformer_attention_names[kind]);
    lilac_json_string(json, object, "precision", lilac_precision_name((lilac_precision)precision));
    lilac_json_whole(json, object, "batch", config->batch);
    lilac_json_whole(json, object, "micro_batch", config->micro_batch);
    lilac_json_number(json, object, "milliseconds_per_step", 1e3 * times->steps);
    lilac_json_number(json, object, "milliseconds_forward", 1e3 * times->forward);
    lilac_json_number(json, object, "milliseconds_loss", 1e3 * times->loss);
    lilac_json_number(json, object, "milliseconds_backward", 1e3 * times->backward);
    lilac_json_number(json, object, "milliseconds_optimiser", 1e3 * times->optimiser);
    lilac_json_number(json, object, "tokens_per_second",
                      (double)config->batch * (double)sweep->config.model.length / times->steps);
    lilac_json_number(json, object, "gflops", lilac_transformer_sweep_training_rate(sweep, kind, precision));
    lilac_json_number(json, object, "share_of_peak", lilac_transformer_sweep_training_share(sweep, kind, precision));
    lilac_json_number(json, object, "times_as_fast_as_f32", lilac_transformer_sweep_gain(sweep, kind, precision));
    lilac_json_whole(json, object, "activation_bytes", figures->memory.activations);
    lilac_json_whole(json, object, "weight_bytes", figures->weight_bytes);
    lilac_json_whole(json, object, "gradient_bytes", figures->memory.gradient);
    lilac_json_whole(json, object, "optimiser_bytes", figures->memory.optimiser);
}

static void add_generation(lilac_json *json, cJSON *array, const lilac_transformer_sweep *sweep, size_t kind,
                           size_t precision, size_t count) {
    const lilac_bench_generation_figures *figures = &sweep->generation[kind][precision][count];
    const lilac_generation_times *times = &figures->times;
    const double sequences = (double)sweep->config.counts[count], steps = (double)figures->steps;
    const double rate = lilac_transformer_sweep_generation_rate(sweep, kind, precision, count);
    cJSON *object = lilac_json_object(json, array, NULL);
    lilac_json_string(json, object, "kind", lilac_transformer_attention_names[kind]);
    lilac_json_string(json, object, "precision", lilac_precision_name((lilac_precision)precision));
    lilac_json_whole(json, object, "sequences", sweep->config.counts[count]);
    lilac_json_whole(json, object, "sequences_at_a_time", figures->batch);
    lilac_json_whole(json, object, "prompt_tokens", figures->prompt);
    lilac_json_whole(json, object, "steps_timed", figures->steps);
    lilac_json_number(json, object, "milliseconds_of_prompts", 1e3 * times->prompt);
    lilac_json_number(json, object, "milliseconds_per_step", 1e3 * times->steps / steps);
    lilac_json_number(json, object, "milliseconds_of_projections", 1e3 * times->projections / steps);
    lilac_json_number(json, object, "milliseconds_of_attention", 1e3 * times->attention / steps);
    lilac_json_number(json, object, "tokens_per_second", sequences * steps / times->steps);
    lilac_json_number(json, object, "gflops", rate);
    lilac_json_number(json, object, "share_of_f32_peak", rate / sweep->peak[LILAC_PRECISION_F32]);
    lilac_json_whole(json, object, "weight_bytes", figures->weight_bytes);
    lilac_json_whole(json, object, "state_bytes", figures->state_bytes);
}

void lilac_transformer_sweep_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                                 const lilac_transformer_sweep *sweep) {
    lilac_json_string(json, parent, "cpu", lilac_cpu_level_name(lilac_context_cpu_level(context)));
    lilac_json_whole(json, parent, "threads", (uint64_t)lilac_context_threads(context));
    lilac_json_number(json, parent, "peak_gflops_f32", sweep->peak[LILAC_PRECISION_F32]);
    lilac_json_number(json, parent, "peak_gflops_bf16", sweep->peak[LILAC_PRECISION_BF16]);
    lilac_json_number(json, parent, "peak_gflops_f16", sweep->peak[LILAC_PRECISION_F16]);
    add_shape(json, parent, &sweep->config);
    cJSON *training = lilac_json_array(json, parent, "training");
    cJSON *generation = lilac_json_array(json, parent, "generation");
    for (size_t kind = 0; kind < LILAC_TRANSFORMER_KINDS; kind++) {
        for (size_t precision = 0; precision < LILAC_TRAINING_PRECISIONS; precision++) {
            add_training(json, training, sweep, kind, precision);
        }
        for (size_t precision = 0; precision < LILAC_GENERATION_PRECISIONS; precision++) {
            for (size_t count = 0; count < sweep->config.count_count; count++) {
                add_generation(json, generation, sweep, kind, precision, count);
            }
        }
    }
}
