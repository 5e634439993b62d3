/* SPDX-License-Identifier: MIT */
/*
 * Low-rank adaptation (LoRA) of linear layers: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
 *
 * A frozen layer y = x W^T + b (W is out x in) becomes y = x W^T + b + scale * strength * (x A^T) B^T with A (r x in)
 * and B (out x r) trained. An adapter holds A and B for any set of a model's linear layers. It never changes the model:
 * a forward pass takes the adapter as an argument, so one base serves any number of adapters and switching is passing
 * another pointer.
 *
 * An adapter may be used by several threads at once as long as none changes it.
 */
#ifndef LILAC_LORA_H
#define LILAC_LORA_H

#include <lilac/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the scale follows from alpha and r. */
typedef enum lilac_lora_scale_rule {
    LILAC_LORA_SCALE_FIXED = 0,           /* alpha */
    LILAC_LORA_SCALE_ALPHA_OVER_RANK = 1, /* alpha / r, the original paper's */
    /* alpha / sqrt(r): Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023 */
    LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK = 2
} lilac_lora_scale_rule;

/* How A starts; B always starts at 0, so a new adapter changes nothing. */
typedef enum lilac_lora_initialisation {
    LILAC_LORA_INITIALISE_STANDARD = 0, /* uniform in (-1/sqrt(in), 1/sqrt(in)) */
    LILAC_LORA_INITIALISE_REPORT = 1    /* uniform in (-1/sqrt(r), 1/sqrt(r)), as in the reproduced report */
} lilac_lora_initialisation;

typedef struct lilac_lora_config {
    size_t rank;
    double alpha;
    lilac_lora_scale_rule scale_rule;
    lilac_lora_initialisation initialisation;
    uint64_t seed;
} lilac_lora_config;

/* A linear layer of a base model. name is its name within the model, weight is out x in. */
typedef struct lilac_linear_layer {
    const char *name;
    size_t in, out;
    float *weight;
} lilac_linear_layer;

enum { LILAC_HASH_SIZE = 32, LILAC_LORA_MAX_LAYERS = 4096 };

/* What an adapter attaches to: layers of a model, and the SHA-256 of the model's weights. */
typedef struct lilac_lora_base {
    const lilac_linear_layer *layers;
    size_t layer_count; /* 1 .. LILAC_LORA_MAX_LAYERS */
    uint8_t hash[LILAC_HASH_SIZE];
} lilac_lora_base;

typedef struct lilac_adapter lilac_adapter;

/* Rank 8, alpha 8, alpha / r, standard initialisation, seed 0. */
LILAC_API void lilac_lora_config_default(lilac_lora_config *config);

/*
 * Creates an adapter for every layer of base; free it with lilac_adapter_destroy. The layers' names and shapes are
 * copied; their weights are not looked at. Errors: ARGUMENT (rank 0, alpha not finite as a float, no layer or too
 * many, a name used twice, too long or with control characters), OVERFLOW, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_create(lilac_context *context, const lilac_lora_config *config,
                                                           const lilac_lora_base *base, lilac_adapter **out);

/* Frees an adapter; NULL is allowed. */
LILAC_API void lilac_adapter_destroy(lilac_adapter *adapter);

/*
 * Reads an adapter file. With a base, the adapter must have been made for exactly that base: the same weights (by their
 * hash) and layers of the same names and shapes. With base NULL the file is read for inspection, unchecked. Errors:
 * NOT_FOUND, IO, FORMAT and its kin, SHAPE, UNSUPPORTED (a newer format), BASE_MISMATCH (the message names both
 * bases), MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_load(lilac_context *context, const char *path,
                                                         const lilac_lora_base *base, lilac_adapter **out);

/* Writes an adapter file (safetensors; docs/format.md). An older file at path is replaced whole or not at all. Errors:
 * NOT_FOUND (no such folder), UNSUPPORTED (something else than a file is there), IO, MEMORY, ARGUMENT (a layer's name
 * is not UTF-8). */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_save(lilac_context *context, const lilac_adapter *adapter,
                                                         const char *path);

/* Whether the adapter belongs to that base. Errors: ARGUMENT, BASE_MISMATCH. */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_check_base(lilac_context *context, const lilac_adapter *adapter,
                                                               const lilac_lora_base *base);

/* What it was created with, or what its file says; a file does not hold the seed, which is 0 then. */
LILAC_API const lilac_lora_config *lilac_adapter_config(const lilac_adapter *adapter);

/* The factor of the low-rank term: the scale that the rule gives, times the strength. */
LILAC_API double lilac_adapter_scale(const lilac_adapter *adapter);

/*
 * Sets how strongly the adapter acts: 1 as trained (the default), 0 not at all; any value is allowed whose product
 * with the scale is finite as a float. It is a
 * setting of the object in memory and is not written to files. Errors: ARGUMENT.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_set_strength(lilac_adapter *adapter, double strength);

/* The SHA-256 of the base it was made for; LILAC_HASH_SIZE bytes. */
LILAC_API const uint8_t *lilac_adapter_base_hash(const lilac_adapter *adapter);

/* The adapted layers: how many, and the name and shape of one (weight is NULL). index must be below the count. */
LILAC_API size_t lilac_adapter_layer_count(const lilac_adapter *adapter);
LILAC_API lilac_linear_layer lilac_adapter_layer(const lilac_adapter *adapter, size_t index);

/*
 * The trained numbers: one block of lilac_adapter_parameter_count floats. For each layer in order A (r x in), then B
 * transposed (r x out). May be changed in place.
 */
LILAC_API size_t lilac_adapter_parameter_count(const lilac_adapter *adapter);
LILAC_API float *lilac_adapter_parameters(lilac_adapter *adapter);

/*
 * Adds scale * strength * B A to the weight of each layer in place. The layers must be those of the adapter, by name
 * and shape. To be able to go back bit for bit keep a copy, as lilac_mlp_merge and lilac_transformer_merge do:
 * subtracting would leave rounding errors. Errors: ARGUMENT and BASE_MISMATCH (names or shapes), nothing is changed
 * then; those of a matrix product.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_adapter_merge(lilac_context *context, const lilac_adapter *adapter,
                                                          const lilac_linear_layer *layers, size_t layer_count);

/*
 * "fixed", "alpha/r", "alpha/sqrt(r)"; "standard", "report"; "unknown" for a value that is none; and back. Errors of
 * the parsers: ARGUMENT. Thread safe.
 */
LILAC_API const char *lilac_lora_scale_rule_name(lilac_lora_scale_rule rule);
LILAC_API LILAC_MUST_USE lilac_status lilac_lora_scale_rule_parse(const char *name, lilac_lora_scale_rule *rule);
LILAC_API const char *lilac_lora_initialisation_name(lilac_lora_initialisation initialisation);
LILAC_API LILAC_MUST_USE lilac_status lilac_lora_initialisation_parse(const char *name,
                                                                      lilac_lora_initialisation *initialisation);

#ifdef __cplusplus
}
#endif
#endif
