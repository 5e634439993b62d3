/* SPDX-License-Identifier: MIT */
/* The inside of an MLP, and its training passes. */
#ifndef LILAC_MODEL_MLP_H
#define LILAC_MODEL_MLP_H

#include "core/random.h"

#include <lilac/mlp.h>

#include <stdbool.h>

struct lilac_mlp {
    lilac_mlp_config config;
    size_t parameter_count;
    float *parameters; /* weight and bias of each layer in turn */
    float *pristine;   /* the parameters before a merge, NULL while nothing is merged */
    char names[LILAC_MLP_MAX_LAYERS][16];
    lilac_linear_layer layers[LILAC_MLP_MAX_LAYERS]; /* their weights point into parameters */
    float *biases[LILAC_MLP_MAX_LAYERS];             /* likewise */
};

/* What a training pass keeps for up to B rows: one block cut into the parts below. Layer l maps sizes[l] to sizes[l +
 * 1]. */
typedef struct lilac_mlp_activations {
    void *block;
    float *inputs;                        /* B x sizes[0]: the caller fills it */
    uint8_t *labels;                      /* B: the caller fills it */
    bool first_product_given;             /* outputs[0] already holds x W^T of the first layer, from the caller */
    float *outputs[LILAC_MLP_MAX_LAYERS]; /* B x sizes[l + 1], after activation and dropout; the last are the logits */
    float *down[LILAC_MLP_MAX_LAYERS];    /* B x r: the adapter's x A^T; NULL without adapter */
    float *gradients[2];                  /* B x widest: gradients of a layer's output and input, taking turns */
    float *down_gradient;                 /* B x r */
    float *losses;                        /* B */
} lilac_mlp_activations;

/* Errors: OVERFLOW, MEMORY. */
lilac_status lilac_mlp_activations_create(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                          size_t B, lilac_mlp_activations *out);
void lilac_mlp_activations_destroy(lilac_mlp_activations *activations);

/*
 * Forward pass in training: fills outputs and down from inputs. Dropout takes its numbers from the stream `dropout`,
 * whose layer l starts at group l * 2^40; NULL means no dropout.
 */
lilac_status lilac_mlp_training_forward(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                        size_t B, const lilac_random *dropout, lilac_mlp_activations *activations);

/*
 * Loss and backward pass after such a forward pass (with_dropout as there): writes losses and the gradient of the mean
 * loss. Without adapter, gradient has the layout of the model's parameters; with one, of the adapter's, and the model
 * is frozen.
 */
lilac_status lilac_mlp_training_backward(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                         size_t B, bool with_dropout, lilac_mlp_activations *activations,
                                         float *gradient);

/* Floating-point operations (multiplications and additions) of one forward and backward pass over B rows. */
double lilac_mlp_training_operations(const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B);

#endif
