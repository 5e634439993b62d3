/* SPDX-License-Identifier: MIT */
#include "encoder.h"

#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "model/transformer_pass.h"
#include "runtime/context.h"

#include <string.h>

/* All that the timed runs work on. */
typedef struct {
    lilac_context *context;
    const lilac_bench_encoder_config *config;
    lilac_transformer *model;
    lilac_transformer_pass *pass;
    float *input, *output_gradient, *gradient;
    size_t weight_count;
} encoder_bench;

static void end_bench(encoder_bench *bench) {
    lilac_transformer_pass_destroy(bench->pass);
    lilac_transformer_destroy(bench->model);
    lilac_memory_free(bench->input);
    lilac_memory_free(bench->output_gradient);
    lilac_memory_free(bench->gradient);
}

static lilac_status allocate(lilac_context *context, size_t count, float **out) {
    *out = lilac_memory_allocate(lilac_size_max(count, 1), sizeof(float));
    return *out == NULL ? lilac_fail_memory(context, "timing an encoder", count * sizeof(float)) : LILAC_OK;
}

static void fill_input(size_t count, float *input) {
    lilac_random random = lilac_random_stream(0, LILAC_RANDOM_TEST, 0);
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t first = 0; first < count; first += LILAC_RANDOM_GROUP, random.group++) {
        lilac_random_group(&random, words);
        for (size_t i = 0; i < LILAC_RANDOM_GROUP && first + i < count; i++) {
            input[first + i] = (float)(words[i] >> 8) * 0x1p-24f;
        }
    }
}

static lilac_status begin_bench(encoder_bench *bench) {
    lilac_context *context = bench->context;
    const lilac_bench_encoder_config *config = bench->config;
    size_t width, count;
    if (!lilac_size_multiply(config->heads, config->head_size, &width) ||
        !lilac_size_multiply(config->batch, config->tokens, &count) || !lilac_size_multiply(count, width, &count)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "timing an encoder: tensors too large to address");
    }
    /* Embedding and output layer are not run: they are as small as a model allows. */
    lilac_transformer_config model;
    lilac_transformer_config_default(&model);
    model.length = config->tokens;
    model.layers = config->layers;
    model.heads = config->heads;
    model.head_size = config->head_size;
    model.feed_forward = config->feed_forward;
    model.value_width = 2;
    model.position_width = width - 2;
    model.attention = config->attention;
    model.mixtures = 1;
    LILAC_TRY(lilac_transformer_create(context, &model, &bench->model));
    bench->weight_count = lilac_transformer_parameter_count(bench->model);
    const lilac_transformer_pass_config pass = {
        .B = config->batch, .N = config->tokens, .backward = config->backward, .full = true};
    LILAC_TRY(lilac_transformer_pass_create(context, bench->model, &pass, &bench->pass));
    LILAC_TRY(allocate(context, count, &bench->input));
    fill_input(count, bench->input);
    if (config->backward) {
        LILAC_TRY(allocate(context, bench->weight_count, &bench->gradient));
        LILAC_TRY(allocate(context, count, &bench->output_gradient));
        for (size_t i = 0; i < count; i++) {
            bench->output_gradient[i] = 1.0f;
        }
    }
    return LILAC_OK;
}

static lilac_status run(const encoder_bench *bench) {
    const float *output, *input_gradient;
    LILAC_TRY(
        lilac_transformer_pass_encode(bench->context, bench->pass, bench->config->batch, bench->input, NULL, &output));
    if (!bench->config->backward) {
        return LILAC_OK;
    }
    memset(bench->gradient, 0, bench->weight_count * sizeof(float));
    return lilac_transformer_pass_encode_backward(bench->context, bench->pass, bench->output_gradient, bench->gradient,
                                                  &input_gradient);
}

/*
 * A layer multiplies a token with four matrices of F x F and two of F x feed_forward, and twice that again backward.
 * Attention has two products of a head's size a pair of tokens (softmax) or a token and feature (linear), and five
 * backward.
 */
static double count_operations(const lilac_bench_encoder_config *config) {
    const double width = (double)config->heads * (double)config->head_size;
    const double weights = width * (4.0 * width + 2.0 * (double)config->feed_forward);
    const double others =
        config->attention == LILAC_TRANSFORMER_SOFTMAX ? (double)config->tokens : (double)config->head_size;
    const double token =
        2.0 * weights * (config->backward ? 3.0 : 1.0) + 2.0 * width * others * (config->backward ? 7.0 : 2.0);
    return token * (double)config->layers * (double)config->batch * (double)config->tokens;
}

static lilac_status time_runs(const encoder_bench *bench, lilac_bench_encoder_figures *out) {
    double fastest = 0.0, spent = 0.0;
    LILAC_TRY(run(bench));
    for (size_t i = 0; i < bench->config->runs; i++) {
        const double start = lilac_clock_seconds();
        LILAC_TRY(run(bench));
        const double seconds = lilac_clock_seconds() - start;
        fastest = i == 0 || seconds < fastest ? seconds : fastest;
        spent += seconds;
    }
    *out = (lilac_bench_encoder_figures){.seconds = fastest,
                                         .mean_seconds = spent / (double)bench->config->runs,
                                         .operations = count_operations(bench->config),
                                         .bytes = lilac_transformer_pass_bytes(bench->pass)};
    return LILAC_OK;
}

lilac_status lilac_bench_encoder(lilac_context *context, const lilac_bench_encoder_config *config,
                                 lilac_bench_encoder_figures *out) {
    if (context == NULL || config == NULL || out == NULL || config->batch == 0 || config->tokens == 0 ||
        config->heads == 0 || config->head_size == 0 || config->runs == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "timing an encoder: a null pointer or a size of 0");
    }
    encoder_bench bench = {.context = context, .config = config};
    lilac_status status = begin_bench(&bench);
    if (status == LILAC_OK) {
        status = time_runs(&bench, out);
    }
    end_bench(&bench);
    return status;
}
