/* SPDX-License-Identifier: MIT */
/* How fast a transformer encoder runs: layers of full attention and feed-forward networks, without embedding. */
#ifndef LILAC_BENCH_ENCODER_H
#define LILAC_BENCH_ENCODER_H

#include <lilac/transformer.h>

typedef struct lilac_bench_encoder_config {
    lilac_transformer_attention attention;
    size_t layers, heads, head_size, feed_forward; /* the width F is heads x head_size, which must be even */
    size_t batch, tokens;
    size_t runs;
    bool backward; /* the forward pass and the backward pass of the sum of the outputs; else the forward pass alone */
} lilac_bench_encoder_config;

typedef struct lilac_bench_encoder_figures {
    double seconds;      /* of the fastest run, over the whole batch */
    double mean_seconds; /* of all runs */
    double operations; /* floating-point operations of a run that the products of matrices and the attention ask for */
    size_t bytes;      /* activations and, with a backward pass, their gradients; without weights */
} lilac_bench_encoder_figures;

/*
 * Times runs, after one that is not counted, on inputs that are uniform in [0, 1). Errors: ARGUMENT (a size of 0, or
 * one that the model does not allow), MEMORY, OVERFLOW.
 */
LILAC_MUST_USE lilac_status lilac_bench_encoder(lilac_context *context, const lilac_bench_encoder_config *config,
                                                lilac_bench_encoder_figures *out);

#endif
