/* SPDX-License-Identifier: MIT */
/* Tests of lilac_transformer_start_with_neighbours: where the heads look, what of the model changes, refusals. */
#include "model/transformer.h"

#include "nn/embedding.h"
#include "support/default_context.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { COLUMNS = 28, ROWS = 28, N = COLUMNS * ROWS - 1 };

/* The report's model, but for what the start does not look at. */
static lilac_transformer_config config_of(lilac_transformer_attention attention) {
    lilac_transformer_config config;
    lilac_transformer_config_default(&config);
    config.layers = 2;
    config.feed_forward = 16;
    config.attention = attention;
    return config;
}

static lilac_transformer *create(const lilac_transformer_config *config) {
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, config, &model), LILAC_OK);
    return model;
}

/* The first layer's input for an image of random pixels, N x F. */
static double *layer_input(const lilac_transformer *model) {
    const size_t F = model->F, E = model->config.value_width;
    float *pixels = lilac_test_floats(N, 5), *positions = lilac_test_floats(N * (F - E), 0);
    double *x = malloc(N * F * sizeof *x);
    assert_non_null(x);
    lilac_sinusoidal_positions(0, N, F - E, positions, F - E);
    for (size_t t = 0; t < N; t++) {
        const size_t byte = (size_t)(255.0f * fabsf(pixels[t]));
        for (size_t f = 0; f < F; f++) {
            x[t * F + f] = (double)(f < E ? model->parameters[byte * E + f] : positions[t * (F - E) + f - E]);
        }
    }
    free(pixels);
    free(positions);
    return x;
}

/* Query (part 0) or key (part 1) of one head for input row x. */
static void project(const lilac_transformer *model, size_t part, size_t head, const double *x, double *out) {
    const size_t D = model->config.head_size, first = part * model->HD + head * D;
    const float *weight = model->parameters + model->layers[0].qkv_weight + first * model->F;
    const float *bias = model->parameters + model->layers[0].qkv_bias + first;
    for (size_t d = 0; d < D; d++) {
        out[d] = (double)bias[d];
        for (size_t f = 0; f < model->F; f++) {
            out[d] += (double)weight[d * model->F + f] * x[f];
        }
    }
}

static double elu_plus_one(double x) {
    return x > 0.0 ? x + 1.0 : exp(x);
}

/* What of its attention the head gives to each token up to t, straight from the definitions. */
static void attention_weights(const lilac_transformer *model, size_t head, const double *x, size_t t, double *weights) {
    const size_t D = model->config.head_size;
    double query[64], key[64], sum = 0.0, scores[N], most = -INFINITY;
    project(model, 0, head, x + t * model->F, query);
    for (size_t s = 0; s <= t; s++) {
        project(model, 1, head, x + s * model->F, key);
        scores[s] = 0.0;
        for (size_t d = 0; d < D; d++) {
            scores[s] += model->config.attention == LILAC_TRANSFORMER_SOFTMAX
                             ? query[d] * key[d] / sqrt((double)D)
                             : elu_plus_one(query[d]) * elu_plus_one(key[d]);
        }
        most = fmax(most, scores[s]);
    }
    for (size_t s = 0; s <= t; s++) {
        weights[s] = model->config.attention == LILAC_TRANSFORMER_SOFTMAX ? exp(scores[s] - most) : scores[s];
        sum += weights[s];
    }
    for (size_t s = 0; s <= t; s++) {
        weights[s] /= sum;
    }
}

/* Token t predicts pixel t + 1. A head's own pixel gets most of all, and at least `least`; with the pixels up to two
 * beside it, at least `around`. */
static void check_heads(lilac_transformer_attention attention, double least, double around) {
    static const size_t back[] = {1, COLUMNS - 1, COLUMNS, COLUMNS - 2, 2 * COLUMNS - 1, COLUMNS - 3, 2, COLUMNS + 1};
    const lilac_transformer_config config = config_of(attention);
    lilac_transformer *model = create(&config);
    assert_int_equal(lilac_transformer_start_with_neighbours(context, model, COLUMNS), LILAC_OK);
    double *x = layer_input(model), weights[N];
    static const size_t tokens[] = {150, 301, 475, 640, N - 1};
    for (size_t head = 0; head < config.heads; head++) {
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
            const size_t t = tokens[i], own = t - back[head];
            attention_weights(model, head, x, t, weights);
            double sum = 0.0;
            for (size_t s = 0; s <= t; s++) {
                sum += s + 2 >= own && s <= own + 2 ? weights[s] : 0.0;
                if (weights[s] > weights[own]) {
                    fail_msg("head %zu at token %zu: %g for token %zu, %g for token %zu", head, t, weights[s], s,
                             weights[own], own);
                }
            }
            if (!(weights[own] >= least && sum >= around)) {
                fail_msg("head %zu at token %zu: %g for its pixel, %g around it", head, t, weights[own], sum);
            }
        }
    }
    free(x);
    lilac_transformer_destroy(model);
}

static void test_softmax_heads_look_at_one_pixel(void **state) {
    (void)state;
    check_heads(LILAC_TRANSFORMER_SOFTMAX, 0.8, 0.99);
}

static void test_linear_heads_look_around_one_pixel(void **state) {
    (void)state;
    check_heads(LILAC_TRANSFORMER_LINEAR, 0.12, 0.4);
}

static void test_bytes_are_embedded_in_order(void **state) {
    (void)state;
    const lilac_transformer_config config = config_of(LILAC_TRANSFORMER_LINEAR);
    lilac_transformer *model = create(&config);
    assert_int_equal(lilac_transformer_start_with_neighbours(context, model, COLUMNS), LILAC_OK);
    const size_t E = config.value_width;
    for (size_t v = 0; v < 255; v++) {
        double to_next = 0.0, to_far = 0.0;
        for (size_t e = 0; e < E; e++) {
            const float *table = model->parameters + e;
            to_next += pow((double)table[v * E] - (double)table[(v + 1) * E], 2.0);
            to_far += pow((double)table[v * E] - (double)table[(v + 128) % 256 * E], 2.0);
        }
        assert_true(to_next > 0.0 && to_next < 0.05 * to_far);
    }
    lilac_transformer_destroy(model);
}

/* The embedding, the projections of the first eight heads and the first layer's output change, nothing else. */
static void test_changes_the_first_layer_alone(void **state) {
    (void)state;
    lilac_transformer_config config = config_of(LILAC_TRANSFORMER_LINEAR);
    config.heads = 9;
    lilac_transformer *model = create(&config), *before = create(&config);
    assert_int_equal(lilac_transformer_start_with_neighbours(context, model, COLUMNS), LILAC_OK);
    const size_t D = config.head_size, F = model->F, HD = model->HD;
    const lilac_transformer_layer *layer = &model->layers[0];
    for (size_t part = 0; part < 3; part++) {
        const size_t weight = layer->qkv_weight + (part * HD + 8 * D) * F, bias = layer->qkv_bias + part * HD + 8 * D;
        assert_memory_equal(model->parameters + weight, before->parameters + weight, D * F * sizeof(float));
        assert_memory_equal(model->parameters + bias, before->parameters + bias, D * sizeof(float));
    }
    assert_true(memcmp(model->parameters + layer->output_weight, before->parameters + layer->output_weight,
                       F * HD * sizeof(float)) != 0);
    assert_memory_equal(model->parameters + layer->output_bias, before->parameters + layer->output_bias,
                        (model->parameter_count - layer->output_bias) * sizeof(float));
    lilac_transformer_destroy(before);
    lilac_transformer_destroy(model);
}

static void expect_refusal(const lilac_transformer_config *config, size_t columns, const char *message) {
    lilac_transformer *model = create(config), *before = create(config);
    assert_int_equal(lilac_transformer_start_with_neighbours(context, model, columns), LILAC_ERROR_ARGUMENT);
    if (strstr(lilac_context_message(context), message) == NULL) {
        fail_msg("got '%s', expected '%s' in it", lilac_context_message(context), message);
    }
    assert_memory_equal(model->parameters, before->parameters, model->parameter_count * sizeof(float));
    lilac_transformer_destroy(before);
    lilac_transformer_destroy(model);
}

static void test_refusals(void **state) {
    (void)state;
    const lilac_transformer_config linear = config_of(LILAC_TRANSFORMER_LINEAR);
    lilac_transformer_config config = linear;
    expect_refusal(&config, 3, "3 columns, expected 4 to 783");
    expect_refusal(&config, N + 1, "784 columns");
    config.norm = LILAC_TRANSFORMER_PRE_NORM;
    expect_refusal(&config, COLUMNS, "got pre and elu+1");
    config = linear;
    config.features = LILAC_TRANSFORMER_RELU_FEATURES;
    expect_refusal(&config, COLUMNS, "got post and relu");
    config = linear;
    config.position_width = 0;
    expect_refusal(&config, COLUMNS, "width 0");
    config.position_width = 8; /* periods of 6, 63, 628 and 6283 tokens: the slowest turns too soon */
    config.length = 8000;
    expect_refusal(&config, COLUMNS, "width 8");
    config = config_of(LILAC_TRANSFORMER_SOFTMAX);
    config.head_size = 2;
    expect_refusal(&config, COLUMNS, "heads of size 2");
    assert_int_equal(lilac_transformer_start_with_neighbours(context, NULL, COLUMNS), LILAC_ERROR_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax_heads_look_at_one_pixel),
        cmocka_unit_test(test_linear_heads_look_around_one_pixel),
        cmocka_unit_test(test_bytes_are_embedded_in_order),
        cmocka_unit_test(test_changes_the_first_layer_alone),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
