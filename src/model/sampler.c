/* SPDX-License-Identifier: MIT */
/* Continuing sequences: prompts, then one drawn byte after another. */
#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "model/transformer_state.h"
#include "nn/cross_entropy.h"
#include "nn/logistic_mixture.h"

#include <math.h>
#include <string.h>

/*
 * Sequences at a time where the caller leaves it open: for linear attention as many to a thread as are worth reading
 * the weights for, since the states of more leave the caches; the keys and values of softmax attention are large.
 */
enum { LINEAR_BATCH = 72, LINEAR_BATCH_OF_THREAD = 36, SOFTMAX_BATCH = 48, SOFTMAX_BF16_BATCH = 64 };

/* One batch under way. */
typedef struct sampling {
    const lilac_transformer *model;
    const lilac_generation_config *config;
    lilac_generation_times *times;
    lilac_transformer_state *state;
    size_t first, count;  /* sequences */
    size_t adapted_first; /* the first of those that the state was created for */
    uint8_t *rows;        /* of the batch, count x length */
    float *outputs;       /* count x O */
    lilac_random *randoms;
    uint8_t *drawn;
} sampling;

void lilac_generation_config_default(lilac_generation_config *config) {
    *config = (lilac_generation_config){
        .count = 1, .prompt = 1, .length = 2, .precision = LILAC_PRECISION_F32, .temperature = 1.0};
}

/* Draws token number `position` of each sequence from the outputs, which must be numbers to draw from. */
static lilac_status draw(lilac_context *context, const sampling *s, size_t position) {
    const lilac_transformer_config *model = &s->model->config;
    const lilac_generation_config *config = s->config;
    const float temperature = (float)config->temperature;
    for (size_t i = 0; i < s->count * s->model->O; i++) {
        if (!isfinite(s->outputs[i])) {
            return lilac_fail(context, LILAC_ERROR_NOT_FINITE,
                              "generation: the model's output for token %zu of sequence %zu is not a finite number",
                              position, s->first + i / s->model->O);
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        s->randoms[i] = lilac_random_stream(config->seed, LILAC_RANDOM_GENERATE, config->first_index + s->first + i);
        s->randoms[i].group = position;
    }
    if (model->output == LILAC_TRANSFORMER_CATEGORICAL) {
        lilac_categorical_sample(s->count, s->model->O, s->outputs, temperature, s->randoms, s->drawn);
    } else {
        lilac_logistic_mixture_sample(s->count, model->mixtures, s->outputs, temperature, s->randoms, s->drawn);
    }
    for (size_t i = 0; i < s->count; i++) {
        s->rows[i * config->length + position] = s->drawn[i];
    }
    return LILAC_OK;
}

static lilac_status report(lilac_context *context, const sampling *s, size_t position) {
    const lilac_generation_config *config = s->config;
    return lilac_report_progress(context, "generating", s->first * config->length + s->count * position,
                                 config->count * config->length);
}

/* The outputs after `position` tokens, of which the last was drawn just now. */
static lilac_status advance(lilac_context *context, const sampling *s, size_t position) {
    const size_t length = s->config->length;
    if (s->config->no_cache) {
        lilac_transformer_state_reset(s->state);
        return lilac_transformer_state_prompt(context, s->state, position, s->rows, length, s->outputs);
    }
    return lilac_transformer_state_step(context, s->state, s->drawn, s->outputs);
}

static lilac_status sample_batch(lilac_context *context, const sampling *s) {
    const lilac_generation_config *config = s->config;
    double start = lilac_clock_seconds();
    LILAC_TRY(report(context, s, 0));
    LILAC_TRY(lilac_transformer_state_prompt(context, s->state, config->prompt, s->rows, config->length, s->outputs));
    const double projections = s->state->projections, attention = s->state->attention_time;
    s->times->prompt += lilac_clock_seconds() - start;
    start = lilac_clock_seconds();
    LILAC_TRY(draw(context, s, config->prompt));
    for (size_t position = config->prompt + 1; position < config->length; position++) {
        LILAC_TRY(report(context, s, position));
        LILAC_TRY(advance(context, s, position));
        LILAC_TRY(draw(context, s, position));
    }
    s->times->steps += lilac_clock_seconds() - start;
    s->times->projections += s->state->projections - projections;
    s->times->attention += s->state->attention_time - attention;
    return report(context, s, config->length);
}

static lilac_status check(lilac_context *context, const lilac_transformer *model, const lilac_generation_config *config,
                          const uint8_t *tokens) {
    if (context == NULL || model == NULL || config == NULL || (tokens == NULL && config->count > 0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "generation: a null pointer");
    }
    if (!(config->temperature >= 0.0 && isfinite(config->temperature))) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "generation: temperature %g, expected 0 or more",
                          config->temperature);
    }
    if (config->prompt == 0 || config->prompt >= config->length) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "generation: a prompt of %zu tokens for sequences of %zu, expected 1 to %zu", config->prompt,
                          config->length, config->length == 0 ? 0 : config->length - 1);
    }
    if (config->length - 1 > model->config.length) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "generation: sequences of %zu tokens, expected at most %zu, one more than the model reads",
                          config->length, model->config.length + 1);
    }
    return LILAC_OK;
}

static lilac_status create_state(lilac_context *context, sampling *s) {
    const lilac_transformer_state_config config = {
        .batch = s->count,
        .length = s->config->length - 1,
        .precision = s->config->precision,
        .cache = s->config->cache,
        .adapters = s->config->adapters == NULL ? NULL : s->config->adapters + s->first};
    lilac_transformer_state_destroy(s->state);
    s->state = NULL;
    s->adapted_first = s->first;
    return lilac_transformer_state_create(context, s->model, &config, &s->state);
}

/* Whether the state is one of `count` sequences with the adapters of the present ones, row by row. */
static bool state_fits(const sampling *s, size_t count) {
    const lilac_adapter *const *adapters = s->config->adapters;
    return s->state != NULL && count == s->count &&
           (adapters == NULL ||
            memcmp(adapters + s->first, adapters + s->adapted_first, count * sizeof(lilac_adapter *)) == 0);
}

/* A batch after the other. A state, which holds all weights packed, serves as many as are alike. */
static lilac_status sample_all(lilac_context *context, sampling *s, size_t batch, uint8_t *tokens) {
    const lilac_generation_config *config = s->config;
    for (s->first = 0; s->first < config->count; s->first += s->count) {
        const size_t count = lilac_size_min(batch, config->count - s->first);
        const bool fits = state_fits(s, count);
        s->count = count;
        s->rows = tokens + s->first * config->length;
        if (fits) {
            lilac_transformer_state_reset(s->state);
        } else {
            LILAC_TRY(create_state(context, s));
        }
        LILAC_TRY(sample_batch(context, s));
    }
    return LILAC_OK;
}

static size_t fast_batch(const lilac_context *context, const lilac_transformer *model,
                         const lilac_generation_config *config) {
    if (model->config.attention == LILAC_TRANSFORMER_SOFTMAX) {
        return config->cache == LILAC_PRECISION_BF16 ? SOFTMAX_BF16_BATCH : SOFTMAX_BATCH;
    }
    return lilac_size_max(LINEAR_BATCH, (size_t)context->config.threads * LINEAR_BATCH_OF_THREAD);
}

/* As many batches as the largest size gives, of even sizes. */
size_t lilac_generation_batch(const lilac_context *context, const lilac_transformer *model,
                              const lilac_generation_config *config) {
    const size_t most = config->batch > 0 ? config->batch : fast_batch(context, model, config);
    const size_t batches = (config->count - 1) / most + 1;
    return (config->count - 1) / batches + 1;
}

lilac_status lilac_generate(lilac_context *context, const lilac_transformer *model,
                            const lilac_generation_config *config, uint8_t *tokens, lilac_generation_times *times) {
    LILAC_TRY(check(context, model, config, tokens));
    lilac_generation_times measured = {.prompt = 0.0};
    if (config->count > 0) {
        const size_t batch = lilac_generation_batch(context, model, config);
        sampling s = {.model = model, .config = config, .times = &measured};
        s.outputs = lilac_memory_allocate(batch, model->O * sizeof *s.outputs);
        s.randoms = lilac_memory_allocate(batch, sizeof *s.randoms);
        s.drawn = lilac_memory_allocate(batch, 1);
        const lilac_status status =
            s.outputs == NULL || s.randoms == NULL || s.drawn == NULL
                ? lilac_fail_memory(context, "the outputs of a batch", batch * model->O * sizeof *s.outputs)
                : sample_all(context, &s, batch, tokens);
        lilac_transformer_state_destroy(s.state);
        lilac_memory_free(s.drawn);
        lilac_memory_free(s.randoms);
        lilac_memory_free(s.outputs);
        LILAC_TRY(status);
    }
    if (times != NULL) {
        *times = measured;
    }
    return LILAC_OK;
}
