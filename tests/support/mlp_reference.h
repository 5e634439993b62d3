/* SPDX-License-Identifier: MIT */
/* An MLP with a low-rank adapter in double precision, straight from the formulas. */
#ifndef LILAC_TESTS_MLP_REFERENCE_H
#define LILAC_TESTS_MLP_REFERENCE_H

#include "core/random.h"

#include <lilac/mlp.h>

typedef struct mlp_reference {
    lilac_mlp_config config;
    size_t parameter_count;
    double *parameters; /* laid out as those of the model */
    size_t rank;        /* 0: no adapter */
    double scale;
    size_t adapter_count;
    double *adapter;             /* laid out as the adapter's parameters */
    const lilac_random *dropout; /* the stream of the masks as in training; NULL: no dropout */
    size_t B;
    double *inputs; /* B x sizes[0] */
    const uint8_t *labels;
    double *logits; /* B x classes: written by both functions below */
} mlp_reference;

/* Takes over the present numbers of a model, an adapter (may be NULL) and inputs. labels must outlive the reference. */
mlp_reference mlp_reference_create(lilac_mlp *mlp, lilac_adapter *adapter, size_t B, const float *inputs,
                                   const uint8_t *labels);
void mlp_reference_destroy(mlp_reference *reference);

void mlp_reference_forward(mlp_reference *reference);

/* The mean cross-entropy; argument is an mlp_reference. */
double mlp_reference_loss(void *argument);

#endif
