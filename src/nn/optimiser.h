/* SPDX-License-Identifier: MIT */
/*
 * Optimisers over one flat block of parameters: AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
 * 2019), RAdam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020) and Muon (nn/muon.h), all
 * with decoupled weight decay. Same bytes at any thread count.
 */
#ifndef LILAC_NN_OPTIMISER_H
#define LILAC_NN_OPTIMISER_H

#include "nn/muon.h"

#include <stddef.h>
#include <stdint.h>

/* Limits of its settings. As a float a beta must not be 1, which would keep a moment at 0: this is half way to the
 * float below, and betas are below it. Nor must epsilon be 0 or subnormal, which would make a weight without gradient
 * 0/0. */
#define LILAC_OPTIMISER_BETA_LIMIT (1.0 - 0x1p-25)
#define LILAC_OPTIMISER_LEAST_EPSILON 1e-37

typedef enum lilac_optimiser_kind {
    LILAC_OPTIMISER_ADAMW,
    LILAC_OPTIMISER_RADAM,
    LILAC_OPTIMISER_MUON
} lilac_optimiser_kind;

typedef struct lilac_optimiser_config {
    lilac_optimiser_kind kind;
    double weight_decay, beta1, beta2, epsilon;
    /* The learning rate of the last tail_count parameters is tail_rate times that of the others. */
    size_t tail_count;
    double tail_rate;
    /* Muon's: it updates these matrices, in ascending order, and leaves the other parameters to AdamW. Other kinds have
     * none. */
    const lilac_muon_matrix *matrices;
    size_t matrix_count;
    lilac_matmul_type products; /* of its matrices */
} lilac_optimiser_config;

/* config, step and the moments are all there is to save. */
typedef struct lilac_optimiser {
    lilac_optimiser_config config;
    size_t count;             /* parameters */
    uint64_t step;            /* updates made */
    float *moment1, *moment2; /* count each; of matrices that Muon updates, the mean and 0 */
    lilac_muon muon;          /* without matrices but for Muon */
} lilac_optimiser;

/* Zero moments for count parameters. The list of matrices is copied. Errors: MEMORY; those of lilac_muon_create. */
lilac_status lilac_optimiser_create(lilac_context *context, const lilac_optimiser_config *config, size_t count,
                                    lilac_optimiser *out);

/* What that allocates, but for the list of matrices. */
size_t lilac_optimiser_bytes(const lilac_optimiser_config *config, size_t count);

void lilac_optimiser_destroy(lilac_optimiser *optimiser);

/* One update of the count parameters with gradient_scale times the gradient. Errors: those of lilac_muon_update. */
lilac_status lilac_optimiser_update(lilac_context *context, lilac_optimiser *optimiser, double learning_rate,
                                    double gradient_scale, const float *gradient, float *parameters);

#endif
