/* SPDX-License-Identifier: MIT */
#include "support/transformer_training.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

lilac_transformer_config tiny_transformer_config(lilac_transformer_attention attention, double dropout) {
    return (lilac_transformer_config){.length = TINY_LENGTH,
                                      .layers = 2,
                                      .heads = 2,
                                      .head_size = 4,
                                      .feed_forward = 12,
                                      .value_width = 4,
                                      .position_width = 4,
                                      .attention = attention,
                                      .mixtures = 3,
                                      .dropout = dropout,
                                      .seed = 3};
}

lilac_transformer *tiny_transformer_create(lilac_context *context, lilac_transformer_attention attention,
                                           double dropout) {
    const lilac_transformer_config config = tiny_transformer_config(attention, dropout);
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

lilac_transformer_training tiny_training(void) {
    lilac_transformer_training config;
    lilac_transformer_training_default(&config);
    config.learning_rate = 0.01;
    config.warm_up = 2;
    config.steps = 7;
    config.batch = 5;
    config.seed = 4;
    return config;
}

float *tiny_transformer_weights(lilac_transformer *model) {
    const size_t bytes = lilac_transformer_parameter_count(model) * sizeof(float);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, lilac_transformer_parameters(model), bytes);
    return copy;
}

void expect_transformer_weights(lilac_transformer *model, const float *expected) {
    assert_memory_equal(lilac_transformer_parameters(model), expected,
                        lilac_transformer_parameter_count(model) * sizeof *expected);
}
