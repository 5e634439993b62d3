/* SPDX-License-Identifier: MIT */
/*
 * A multilayer perceptron for classification: linear layers with ReLU, and dropout in training, between them.
 *
 * A model may be used for inference by several threads at once, each with its own context and workspace.
 */
#ifndef LILAC_MLP_H
#define LILAC_MLP_H

#include <lilac/lora.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LILAC_MLP_MAX_LAYERS = 16 };

typedef struct lilac_mlp_config {
    size_t layer_count;                     /* linear layers, 1 .. LILAC_MLP_MAX_LAYERS */
    size_t sizes[LILAC_MLP_MAX_LAYERS + 1]; /* inputs, hidden widths, classes (at most 256) */
    double dropout;                         /* probability after each hidden layer in training, 0 <= p < 1 */
    uint64_t seed;                          /* of the initial weights */
} lilac_mlp_config;

typedef struct lilac_mlp lilac_mlp;

/* 784-64-64-10 with dropout 0.1 and seed 0: the reproduced report's classifier. */
LILAC_API void lilac_mlp_config_default(lilac_mlp_config *config);

/*
 * Creates a model whose weights and biases are uniform in (-1/sqrt(in), 1/sqrt(in)); free it with lilac_mlp_destroy.
 * Errors: ARGUMENT (a size of 0, too many layers or classes, dropout out of range), OVERFLOW, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_create(lilac_context *context, const lilac_mlp_config *config,
                                                       lilac_mlp **out);

/* A copy that shares nothing with the original. Errors: MEMORY. */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_clone(lilac_context *context, const lilac_mlp *mlp, lilac_mlp **out);

/* Frees a model; NULL is allowed. */
LILAC_API void lilac_mlp_destroy(lilac_mlp *mlp);

/* Reads a model file. Errors: NOT_FOUND, IO, FORMAT and its kin, SHAPE, UNSUPPORTED (another kind of model), MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_load(lilac_context *context, const char *path, lilac_mlp **out);

/* Writes a model file (safetensors). An older file at path is replaced whole or not at all. Errors: NOT_FOUND (no
 * such folder), UNSUPPORTED (something else than a file is there), IO, MEMORY. */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_save(lilac_context *context, const lilac_mlp *mlp, const char *path);

/* What it was created with, or what its file says. */
LILAC_API const lilac_mlp_config *lilac_mlp_get_config(const lilac_mlp *mlp);

/*
 * The weights: one block of lilac_mlp_parameter_count floats; for each layer its weight (out x in), then its bias
 * (out). May be changed in place.
 */
LILAC_API size_t lilac_mlp_parameter_count(const lilac_mlp *mlp);
LILAC_API float *lilac_mlp_parameters(lilac_mlp *mlp);

/* Layer number index, which must be below the layer count; and its bias (out). */
LILAC_API lilac_linear_layer lilac_mlp_layer(const lilac_mlp *mlp, size_t index);
LILAC_API float *lilac_mlp_bias(const lilac_mlp *mlp, size_t index);

/*
 * What an adapter for all layers of this model attaches to. Hashes the weights; while an adapter is merged the pristine
 * ones. The result points into the model.
 */
LILAC_API lilac_lora_base lilac_mlp_lora_base(const lilac_mlp *mlp);

/* Floats of workspace that lilac_mlp_forward needs for B rows; SIZE_MAX if that cannot be expressed. */
LILAC_API size_t lilac_mlp_workspace_size(const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B);

/*
 * logits (B x classes) = the model, with the adapter if it is not NULL, applied to inputs (B x sizes[0]). No dropout.
 * workspace: lilac_mlp_workspace_size floats that overlap nothing else; may be NULL where that is 0. Errors: ARGUMENT,
 * BASE_MISMATCH (the adapter's layers are not this model's, by name and shape), OVERFLOW (B beyond what a matrix
 * product can index), MEMORY (logits are undefined then).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_forward(lilac_context *context, const lilac_mlp *mlp,
                                                        const lilac_adapter *adapter, size_t B, const float *inputs,
                                                        float *logits, float *workspace);

/*
 * Adds the adapter to the model's own weights, so that inference costs nothing extra. The pristine weights are kept
 * aside, and lilac_mlp_unmerge restores them bit for bit. Errors: ARGUMENT (one is merged already), BASE_MISMATCH,
 * MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_merge(lilac_context *context, lilac_mlp *mlp,
                                                      const lilac_adapter *adapter);

/* Undoes lilac_mlp_merge. Errors: ARGUMENT (nothing is merged). */
LILAC_API LILAC_MUST_USE lilac_status lilac_mlp_unmerge(lilac_context *context, lilac_mlp *mlp);

#ifdef __cplusplus
}
#endif
#endif
