/* SPDX-License-Identifier: MIT */
/*
 * An autoregressive transformer over bytes: pixels of an image row after row, or any other byte sequence. Token t
 * predicts token t + 1. Its attention is causal, linear (Katharopoulos et al., "Transformers are RNNs", 2020) or
 * softmax (Vaswani et al., "Attention Is All You Need", 2017).
 *
 * Token t enters as the concatenation of a learnt embedding of its value and a fixed sinusoidal encoding of t, together
 * F numbers. Each layer is an attention and a feed-forward network of two linear layers, each with a residual
 * connection and a layer norm; a final layer norm and a linear output layer follow. All linear layers have biases.
 *
 * A model may be used for inference by several threads at once, each with its own context and workspace.
 */
#ifndef LILAC_TRANSFORMER_H
#define LILAC_TRANSFORMER_H

#include <lilac/lora.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lilac_transformer_attention {
    LILAC_TRANSFORMER_LINEAR = 0,
    LILAC_TRANSFORMER_SOFTMAX = 1
} lilac_transformer_attention;

/* The feature map of linear attention; see feature_map.h. The last two draw random vectors from the model's seed. */
typedef enum lilac_transformer_features {
    LILAC_TRANSFORMER_ELU_PLUS_ONE = 0,
    LILAC_TRANSFORMER_RELU_FEATURES = 1,
    LILAC_TRANSFORMER_SQUARED_RELU_FEATURES = 2,
    LILAC_TRANSFORMER_EXP_FEATURES = 3,
    LILAC_TRANSFORMER_FOURIER_FEATURES = 4,
    LILAC_TRANSFORMER_POSITIVE_FEATURES = 5
} lilac_transformer_features;

/* Where a sublayer's layer norm stands: norm(x + f(x)), or x + f(norm(x)). */
typedef enum lilac_transformer_norm {
    LILAC_TRANSFORMER_POST_NORM = 0,
    LILAC_TRANSFORMER_PRE_NORM = 1
} lilac_transformer_norm;

typedef enum lilac_transformer_activation {
    LILAC_TRANSFORMER_RELU = 0,
    LILAC_TRANSFORMER_GELU = 1 /* the form with tanh */
} lilac_transformer_activation;

/* How the O outputs of a token give the distribution of the next byte. */
typedef enum lilac_transformer_output {
    /*
     * A discretised mixture of K logistics (Salimans et al., "PixelCNN++", 2017): O = 3K numbers, K logits, K means and
     * K raw scales s, the scale being elu(s) + 1.0001; byte v stands at v / 127.5 - 1. For values with an order.
     */
    LILAC_TRANSFORMER_LOGISTIC_MIXTURE = 0,
    /* 256 logits. For any bytes. */
    LILAC_TRANSFORMER_CATEGORICAL = 1
} lilac_transformer_output;

typedef struct lilac_transformer_config {
    size_t length;         /* the most tokens a sequence may have as input, 1 .. 2^24 */
    size_t layers;         /* 1 .. 256 */
    size_t heads;          /* H */
    size_t head_size;      /* D, which is M too */
    size_t feed_forward;   /* width between the two linear layers of a feed-forward network */
    size_t value_width;    /* of the learnt embedding of a byte */
    size_t position_width; /* of the sinusoidal encoding, even; F = value_width + position_width */
    lilac_transformer_attention attention;
    lilac_transformer_features features; /* not looked at for softmax attention */
    size_t feature_size;                 /* C of the two random feature maps, DC <= 2^20; 0: 2D */
    lilac_transformer_norm norm;
    lilac_transformer_activation activation;
    lilac_transformer_output output;
    size_t mixtures; /* K, not looked at for a categorical output */
    double dropout;  /* probability in training, 0 <= p < 1 */
    uint64_t seed;   /* of the initial weights and of random features */
} lilac_transformer_config;

typedef struct lilac_transformer lilac_transformer;

/*
 * The reproduced report's model of MNIST images: 783 tokens, 8 layers, 8 heads x 32, feed-forward 1024, value embedding
 * 128, positions 128, linear attention with elu + 1, post-norm, ReLU, a mixture of 10 logistics, dropout 0.1, seed 0.
 */
LILAC_API void lilac_transformer_config_default(lilac_transformer_config *config);

/*
 * Creates a model whose linear layers' weights are uniform in (-1/sqrt(in), 1/sqrt(in)) and whose embedding is uniform
 * in (-1, 1); biases start at 0 and layer norms as the identity. The weights with which attention and feed-forward
 * networks end ("attention.output", "feed_forward.down") are scaled by 1/sqrt(2 layers). For a mixture the output
 * layer's weights are scaled by 0.1 and its biases set, to narrow logistics just beyond both ends and broad ones
 * between them. Free it with lilac_transformer_destroy. Errors: ARGUMENT (a setting out of its range), OVERFLOW,
 * MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_create(lilac_context *context,
                                                               const lilac_transformer_config *config,
                                                               lilac_transformer **out);

/*
 * Gives a new model of images with `columns` pixels in a row weights that a training of few images gets further with;
 * for the structure alone, cf. Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", 2023. Bytes are
 * embedded as smooth functions of their value, and the first layer's first eight heads look at one pixel each around
 * that which is predicted: two to the left, those above and two rows above. In softmax attention such a head gives
 * about 0.87 of its weight to its pixel. In linear attention it spreads over some pixels beside it and, with falling
 * weight, others further above, as far as a product of D positive features can tell them apart. The values of these
 * heads are taken from the embedding of the byte alone, and the first layer's output projection is drawn anew, not
 * scaled. All other weights stay.
 * Errors: ARGUMENT (columns below 4 or above the length; a model with pre-norm, other features than elu+1 or exp in
 * linear attention, heads smaller than 4, an encoding of positions too narrow for the length, or a merged adapter).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_start_with_neighbours(lilac_context *context,
                                                                              lilac_transformer *model, size_t columns);

/* A copy that shares nothing with the original. Errors: MEMORY. */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_clone(lilac_context *context, const lilac_transformer *model,
                                                              lilac_transformer **out);

/*
 * A copy that ends in another output layer: its weights are new, as lilac_transformer_create makes them, all others the
 * model's. `mixtures` is not looked at for a categorical output. Errors: ARGUMENT (mixtures out of their range; a
 * merged adapter), MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_with_output(lilac_context *context,
                                                                    const lilac_transformer *model,
                                                                    lilac_transformer_output output, size_t mixtures,
                                                                    lilac_transformer **out);

/* Frees a model; NULL is allowed. */
LILAC_API void lilac_transformer_destroy(lilac_transformer *model);

/*
 * How numbers are stored in a model file: 4 bytes, or 2 rounded to nearest (bf16). Training and evaluation multiply
 * matrices with operands rounded so, or to half precision (f16: three binary digits more than bf16 and a far smaller
 * range, for which operands are scaled). Nothing is stored in f16.
 */
typedef enum lilac_precision {
    LILAC_PRECISION_F32 = 0,
    LILAC_PRECISION_BF16 = 1,
    LILAC_PRECISION_F16 = 2
} lilac_precision;

/* "f32", "bf16" or "f16", NULL for a value that is none; and back. Errors of the parser: ARGUMENT. Thread safe. */
LILAC_API const char *lilac_precision_name(lilac_precision precision);
LILAC_API LILAC_MUST_USE lilac_status lilac_precision_parse(const char *name, lilac_precision *precision);

/* Reads a model file. Errors: NOT_FOUND, IO, FORMAT and its kin, SHAPE, UNSUPPORTED (another kind of model), MEMORY. */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_load(lilac_context *context, const char *path,
                                                             lilac_transformer **out);

/*
 * Writes a model file (safetensors; docs/format.md). With BF16 all weights but the output layer's are rounded to bf16.
 * An older file at path is replaced whole or not at all. Errors: ARGUMENT, NOT_FOUND (no such folder), UNSUPPORTED
 * (something else than a file is there), IO, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_save(lilac_context *context, const lilac_transformer *model,
                                                             lilac_precision precision, const char *path);

/* What it was created with, or what its file says. */
LILAC_API const lilac_transformer_config *lilac_transformer_get_config(const lilac_transformer *model);

/* F = value_width + position_width, and O, the numbers that a token's output has. */
LILAC_API size_t lilac_transformer_width(const lilac_transformer_config *config);
LILAC_API size_t lilac_transformer_output_size(const lilac_transformer_config *config);

/*
 * One of the model's weights: a matrix (rows x cols, row major) or, with cols 0, a vector of rows numbers, at
 * parameters + offset. Names: embedding.weight (256 x value_width); for layer i layers.i.attention.{query,key,value,
 * output}, layers.i.feed_forward.{up,down}, each with .weight (out x in) and .bias (out); layers.i.{norm1,norm2} and
 * norm with .weight and .bias (F); output.weight and output.bias.
 */
typedef struct lilac_transformer_tensor {
    char name[64];
    size_t rows, cols;
    size_t offset;
} lilac_transformer_tensor;

/* How many there are, and number index of them in the order of their offsets; index must be below the count. */
LILAC_API size_t lilac_transformer_tensor_count(const lilac_transformer *model);
LILAC_API lilac_transformer_tensor lilac_transformer_get_tensor(const lilac_transformer *model, size_t index);

/* The weights: one block of lilac_transformer_parameter_count floats. May be changed in place. */
LILAC_API size_t lilac_transformer_parameter_count(const lilac_transformer *model);
LILAC_API float *lilac_transformer_parameters(lilac_transformer *model);

/*
 * The linear layers whose name matches one of the patterns, in the model's order, for an adapter to attach to. A name
 * is that of the weight without ".weight"; patterns are separated by commas, * standing for any characters:
 * "*.query,*.value". NULL: all linear layers. Writes at most `capacity` layers (which may be NULL for capacity 0) and
 * sets *count to how many match. The names and weights point into the model. Errors: ARGUMENT, NOT_FOUND (a pattern
 * that no layer matches).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_linear_layers(lilac_context *context,
                                                                      const lilac_transformer *model,
                                                                      const char *patterns, size_t capacity,
                                                                      lilac_linear_layer *layers, size_t *count);

/* The SHA-256 of the weights, for lilac_lora_base: LILAC_HASH_SIZE bytes. While an adapter is merged that of the
 * pristine ones. */
LILAC_API void lilac_transformer_hash(const lilac_transformer *model, uint8_t *hash);

/*
 * A new adapter for the linear layers that the patterns name (as above), and one from a file, which must have been made
 * for this model: the same weights and names. Free them with lilac_adapter_destroy. Errors: those of
 * lilac_transformer_linear_layers and lilac_adapter_create; those of lilac_adapter_load.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_adapter_create(lilac_context *context,
                                                                       const lilac_transformer *model,
                                                                       const char *patterns,
                                                                       const lilac_lora_config *config,
                                                                       lilac_adapter **out);
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_adapter_load(lilac_context *context,
                                                                     const lilac_transformer *model, const char *path,
                                                                     lilac_adapter **out);

/*
 * Adds the adapter to the weights of its layers, so that inference costs nothing extra. The pristine weights, of all
 * the model, are kept aside, and lilac_transformer_unmerge restores them bit for bit. A state that exists
 * (generation.h) keeps the weights that it was created with. Errors: ARGUMENT (one is merged already), BASE_MISMATCH
 * (the adapter's layers are not this model's, by name and shape), MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_merge(lilac_context *context, lilac_transformer *model,
                                                              const lilac_adapter *adapter);

/* Undoes lilac_transformer_merge. Errors: ARGUMENT (nothing is merged). */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_unmerge(lilac_context *context, lilac_transformer *model);

/*
 * outputs (B x N x O) = the model, with the adapter if it is not NULL, applied to tokens (B x N), N <= length. No
 * dropout. workspace: lilac_transformer_workspace_size bytes at any alignment that overlap nothing else. Errors:
 * ARGUMENT, SHAPE (N too large, the workspace too small), BASE_MISMATCH (the adapter's layers are not this model's, by
 * name and shape), OVERFLOW, MEMORY (outputs are undefined then).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_forward(lilac_context *context, const lilac_transformer *model,
                                                                const lilac_adapter *adapter, size_t B, size_t N,
                                                                const uint8_t *tokens, float *outputs, void *workspace,
                                                                size_t workspace_bytes);

/* *bytes = what lilac_transformer_forward needs as its workspace. */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_workspace_size(lilac_context *context,
                                                                       const lilac_transformer *model,
                                                                       const lilac_adapter *adapter, size_t B, size_t N,
                                                                       size_t *bytes);

#ifdef __cplusplus
}
#endif
#endif
