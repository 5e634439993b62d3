/* SPDX-License-Identifier: MIT */
/* A tiny transformer and a short training of it. */
#ifndef LILAC_TESTS_TRANSFORMER_TRAINING_H
#define LILAC_TESTS_TRANSFORMER_TRAINING_H

#include <lilac/train_transformer.h>

enum { TINY_SIDE = 4, TINY_PIXELS = TINY_SIDE * TINY_SIDE, TINY_LENGTH = TINY_PIXELS - 1 };

/* Two layers of two heads x 4, width 8, for sequences of TINY_LENGTH. */
lilac_transformer_config tiny_transformer_config(lilac_transformer_attention attention, double dropout);

/* A new model. */
lilac_transformer *tiny_transformer_create(lilac_context *context, lilac_transformer_attention attention,
                                           double dropout);

/* Seven steps of five sequences, two a pass: batches that end in a smaller pass and cross the ends of epochs. */
lilac_transformer_training tiny_training(void);

/* A copy of the weights; free it with free. */
float *tiny_transformer_weights(lilac_transformer *model);

/* Fails the test unless the weights are those bytes. */
void expect_transformer_weights(lilac_transformer *model, const float *expected);

#endif
