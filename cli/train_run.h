/* SPDX-License-Identifier: MIT */
/* The settings of `lilac train`, and what it does with them. */
#ifndef LILAC_CLI_TRAIN_RUN_H
#define LILAC_CLI_TRAIN_RUN_H

#include "session.h"

typedef struct lilac_train_settings {
    const char *output, *from, *base, *layers_matching, *bytes;
    int store, variant, validation;

    int length, layers, heads, head_size, feed_forward, value_width, position_width, mixtures, feature_size;
    int start; /* 0: uniform, 1: with neighbours */
    int attention, features, norm, activation;
    int distribution; /* 0: by the data, else 1 + a lilac_transformer_output */
    double dropout;

    double epochs;
    int steps; /* 0: by the epochs */
    int batch, micro_batch, border, optimiser, precision;
    int warm_up;
    double learning_rate, final_fraction, output_rate, clip, clip_outputs, weight_decay, beta1, beta2, epsilon;

    const char *checkpoint, *metrics;
    int checkpoint_interval, validation_interval, report_interval;
    bool resume, no_peak;
    double minutes;
} lilac_train_settings;

LILAC_MUST_USE lilac_status lilac_train_run(lilac_session *session, const void *settings);

#endif
