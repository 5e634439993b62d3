/* SPDX-License-Identifier: MIT */
/* The inside of a transformer. */
#ifndef LILAC_MODEL_TRANSFORMER_H
#define LILAC_MODEL_TRANSFORMER_H

#include "runtime/context.h"

#include <lilac/feature_map.h>
#include <lilac/transformer.h>

/* The linear layers of a layer, in the order of their names' list; the output layer of the model follows the last. */
typedef enum lilac_transformer_projection {
    LILAC_PROJECTION_QUERY,
    LILAC_PROJECTION_KEY,
    LILAC_PROJECTION_VALUE,
    LILAC_PROJECTION_OUTPUT,
    LILAC_PROJECTION_UP,
    LILAC_PROJECTION_DOWN,
    LILAC_PROJECTION_COUNT
} lilac_transformer_projection;

/*
 * Where the weights of one layer lie in the block of parameters. Query, key and value are neighbours, so that one
 * product with a matrix of 3HD x F computes all three.
 */
typedef struct lilac_transformer_layer {
    size_t qkv_weight, qkv_bias;       /* 3HD x F, 3HD */
    size_t output_weight, output_bias; /* F x HD, F */
    size_t norm1_weight, norm1_bias;   /* F */
    size_t up_weight, up_bias;         /* feed_forward x F, feed_forward */
    size_t down_weight, down_bias;     /* F x feed_forward, F */
    size_t norm2_weight, norm2_bias;   /* F */
} lilac_transformer_layer;

typedef char lilac_transformer_name[64];

struct lilac_transformer {
    lilac_transformer_config config;
    size_t F, HD, O;
    size_t parameter_count;
    float *parameters;
    float *pristine; /* the parameters before a merge, NULL while nothing is merged */
    size_t norm_weight, norm_bias, output_weight, output_bias; /* offsets; the embedding is at 0 */
    lilac_transformer_layer *layers;                           /* config.layers */
    size_t tensor_count;
    lilac_transformer_tensor *tensors;
    size_t linear_count; /* LILAC_PROJECTION_COUNT * config.layers + 1 */
    lilac_linear_layer *linear_layers;
    lilac_transformer_name *linear_names;
    const lilac_feature_map *feature_map; /* NULL for softmax attention */
    lilac_feature_map *random_features;   /* owned; NULL unless feature_map is one of random features */
};

/*
 * Whether the parameters at that offset stay f32 wherever others are rounded: in files, held for generation, as
 * operands of products. Those of the output layer do, 0.2 % of the report's model: rounding them moves a mixture's
 * means by more than narrow scales, which cost 0.01 to 0.03 bits a pixel.
 */
static inline bool lilac_transformer_is_exact(const lilac_transformer *model, size_t offset) {
    return offset >= model->output_weight;
}

/* Whether files and states can hold numbers so. */
bool lilac_precision_stores(lilac_precision precision);

/* What the settings are called in files and on the command line, in the order of their enums; each ends with NULL. */
extern const char *const lilac_transformer_attention_names[];
extern const char *const lilac_transformer_feature_names[];
extern const char *const lilac_transformer_norm_names[];
extern const char *const lilac_transformer_activation_names[];
extern const char *const lilac_transformer_output_names[];

/* Errors: ARGUMENT (a setting out of its range). */
lilac_status lilac_transformer_check_config(lilac_context *context, const lilac_transformer_config *config);

/* How many weights a model with these settings has, which need not be checked yet. Exact up to 2^53. */
double lilac_transformer_weight_count(const lilac_transformer_config *config);

/* A model with all weights 0. Errors: those of lilac_transformer_create. */
lilac_status lilac_transformer_create_empty(lilac_context *context, const lilac_transformer_config *config,
                                            lilac_transformer **out);

/* Allocates the weights of a model whose config is set, and fills in all that says where they lie. On failure what is
 * allocated is left to lilac_transformer_destroy. Errors: OVERFLOW, MEMORY. */
lilac_status lilac_transformer_lay_out(lilac_context *context, lilac_transformer *model);

/* Number `index` of the 2 * layers + 1 norms, in the order in which tokens go through them, as offsets. */
typedef struct lilac_norm_offsets {
    size_t weight, bias;
} lilac_norm_offsets;

lilac_norm_offsets lilac_transformer_norm_at(const lilac_transformer *model, size_t index);

/* entries[l] = the adapter's entry for linear layer l of the model, or -1. Errors: BASE_MISMATCH unless all entries are
 * layers of the model by name and shape; hashes are not compared. */
lilac_status lilac_transformer_match_adapter(lilac_context *context, const lilac_transformer *model,
                                             const lilac_adapter *adapter, int *entries);

#endif
