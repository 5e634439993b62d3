/* SPDX-License-Identifier: MIT */
#include "transformer.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "model/transformer_pass.h"
#include "model/transformer_state.h"
#include "runtime/context.h"

#include <math.h>

/* Sequences of random bytes that training draws from; which they are does not matter. */
enum { TRAINING_SEQUENCES = 16 };

static const double time_to_spend = 2.0; /* seconds of generation */

static lilac_status create_bytes(lilac_context *context, size_t count, size_t length, uint8_t **out) {
    size_t size;
    if (!lilac_size_multiply(count, length, &size)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "timing a transformer: sequences too many to address");
    }
    uint8_t *bytes = lilac_memory_allocate(size, 1);
    if (bytes == NULL) {
        return lilac_fail_memory(context, "the sequences", size);
    }
    lilac_random random = lilac_random_stream(0, LILAC_RANDOM_TEST, 0);
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t i = 0; i < size; i++) {
        if (i % LILAC_RANDOM_GROUP == 0) {
            lilac_random_group(&random, words);
            random.group++;
        }
        bytes[i] = (uint8_t)words[i % LILAC_RANDOM_GROUP];
    }
    *out = bytes;
    return LILAC_OK;
}

/* ---- Training ---- */

/* Keeps the times of the fastest step but the first. */
static lilac_status note_step(void *user, const lilac_transformer_metrics *metrics) {
    lilac_training_times *fastest = user;
    if (metrics->step > 1 && (fastest->steps == 0.0 || metrics->times.steps < fastest->steps)) {
        *fastest = metrics->times;
    }
    return LILAC_OK;
}

static lilac_status time_steps(lilac_context *context, const lilac_transformer_training *asked,
                               lilac_transformer *model, const lilac_token_source *source,
                               lilac_bench_training_figures *out) {
    lilac_training_times fastest = {0};
    lilac_transformer_training config = *asked;
    config.steps++;
    config.report_interval = 1;
    config.report = note_step;
    config.report_user = &fastest;
    config.checkpoint = NULL;
    config.resume = false;
    config.seconds = 0.0;
    LILAC_TRY(lilac_transformer_training_memory(context, &config, model, NULL, source, &out->memory));
    if (out->memory.precision != config.precision) {
        const double none = (double)NAN;
        out->times = (lilac_training_times){none, none, none, none, none};
        return LILAC_OK;
    }
    LILAC_TRY(lilac_train_transformer(context, &config, model, NULL, source, NULL, NULL));
    out->times = fastest;
    return LILAC_OK;
}

lilac_status lilac_bench_training(lilac_context *context, const lilac_transformer_training *config,
                                  lilac_transformer *model, lilac_bench_training_figures *out) {
    if (context == NULL || config == NULL || model == NULL || out == NULL || config->steps == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "timing a training: a null pointer or no step");
    }
    const size_t N = model->config.length;
    lilac_bench_training_figures figures = {.operations = (double)config->batch *
                                                          lilac_transformer_operations(model, NULL, N, true),
                                            .weight_bytes = model->parameter_count * sizeof(float)};
    uint8_t *bytes;
    LILAC_TRY(create_bytes(context, TRAINING_SEQUENCES, N + 1, &bytes));
    const lilac_token_source source = {.bytes = bytes, .byte_count = TRAINING_SEQUENCES * (N + 1)};
    const lilac_status status = time_steps(context, config, model, &source, &figures);
    lilac_memory_free(bytes);
    LILAC_TRY(status);
    *out = figures;
    return LILAC_OK;
}

/* ---- Generation ---- */

/* The bytes of a state, without creating one for all sequences. */
static lilac_status measure_state(lilac_context *context, const lilac_transformer *model, lilac_precision precision,
                                  lilac_bench_generation_figures *figures) {
    const lilac_transformer_state_config config = {.batch = 1, .precision = precision};
    lilac_transformer_state *state;
    LILAC_TRY(lilac_transformer_state_create(context, model, &config, &state));
    figures->weight_bytes = lilac_transformer_state_weight_bytes(state);
    figures->state_bytes = figures->batch * lilac_transformer_state_attention_bytes(state);
    lilac_transformer_state_destroy(state);
    return LILAC_OK;
}

/* The sequences are continued again and again: what is drawn is behind the prompts. */
static lilac_status time_runs(lilac_context *context, const lilac_transformer *model,
                              const lilac_generation_config *config, uint8_t *tokens, lilac_generation_times *out) {
    const double start = lilac_clock_seconds();
    lilac_generation_times fastest = {0};
    do {
        lilac_generation_times times;
        LILAC_TRY(lilac_generate(context, model, config, tokens, &times));
        if (fastest.steps == 0.0 || times.steps < fastest.steps) {
            fastest = times;
        }
    } while (lilac_clock_seconds() - start < time_to_spend);
    *out = fastest;
    return LILAC_OK;
}

lilac_status lilac_bench_generation(lilac_context *context, const lilac_transformer *model,
                                    const lilac_bench_generation_config *config, lilac_bench_generation_figures *out) {
    if (context == NULL || model == NULL || config == NULL || out == NULL || config->count == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "timing generation: a null pointer or no sequence");
    }
    const size_t N = model->config.length;
    if (N < 3) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "timing generation: a model for %zu tokens, expected 3 or more",
                          N);
    }
    /* The first token behind a prompt is drawn without a step. */
    const size_t half = (N + 1) / 2, whole = N - half;
    const size_t steps = config->steps == 0 ? whole : lilac_size_min(config->steps, whole);
    lilac_generation_config generation;
    lilac_generation_config_default(&generation);
    generation.count = config->count;
    generation.batch = config->batch;
    generation.precision = config->precision;
    generation.prompt = half + (whole - steps) / 2;
    generation.length = generation.prompt + steps + 1;
    /* Step number i takes in token prompt + i, which attends to all tokens before it. */
    const double operations = lilac_transformer_operations(model, NULL, generation.prompt + steps, false) -
                              lilac_transformer_operations(model, NULL, generation.prompt, false);
    lilac_bench_generation_figures figures = {.batch = lilac_generation_batch(context, model, &generation),
                                              .prompt = generation.prompt,
                                              .steps = steps,
                                              .operations = (double)config->count * operations};
    LILAC_TRY(measure_state(context, model, config->precision, &figures));
    uint8_t *tokens;
    LILAC_TRY(create_bytes(context, config->count, generation.length, &tokens));
    const lilac_status status = time_runs(context, model, &generation, tokens, &figures.times);
    lilac_memory_free(tokens);
    LILAC_TRY(status);
    *out = figures;
    return LILAC_OK;
}
