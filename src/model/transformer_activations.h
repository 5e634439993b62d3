/* SPDX-License-Identifier: MIT */
/* What a pass of a transformer holds: one block of memory cut into the parts below. T = B N rows for the largest B. */
#ifndef LILAC_MODEL_TRANSFORMER_ACTIVATIONS_H
#define LILAC_MODEL_TRANSFORMER_ACTIVATIONS_H

#include "adapt/low_rank.h"
#include "kernels/elementwise.h"
#include "model/transformer_pass.h"
#include "nn/linear.h"

/* A matrix that products of a type read: floats and, with type BF16, their bf16. */
typedef struct lilac_pass_matrix {
    lilac_matmul_type type;
    float *values;
    uint16_t *rounded; /* NULL with other types */
    bool shared;       /* others use the memory of the values, so that a backward pass finds only `rounded` */
} lilac_pass_matrix;

/*
 * A sublayer: the branch (attention, or the feed-forward network) and the norm behind it.
 */
typedef struct lilac_pass_sublayer {
    lilac_pass_matrix input; /* T x F: what the branch is applied to */
    float *sum;              /* T x F: residual + branch, what the norm is applied to */
    float *mean, *rstd;      /* T: of the norm */
} lilac_pass_sublayer;

typedef struct lilac_pass_layer {
    lilac_pass_sublayer attention, feed_forward;
    float *qkv;                /* T x 3HD */
    lilac_pass_matrix context; /* T x HD: the attention's output */
    float *saved;              /* what the attention's backward pass needs; NULL without backward pass */
    float *pre_activation;     /* T x feed_forward, GELU only */
    lilac_pass_matrix hidden;  /* T x feed_forward, after activation and dropout */
} lilac_pass_layer;

/* The gradients and scratch of a backward pass. */
typedef struct lilac_pass_gradients {
    float *stream;            /* T x F: of the residual stream */
    lilac_pass_matrix branch; /* T x F: of a branch's output */
    float *input;             /* T x F: of a branch's input, pre-norm only */
    lilac_pass_matrix wide;   /* T x max(feed_forward, 3HD): of `hidden` and of qkv */
    float *context;           /* T x HD: of the attention's output */
    float *norm_scratch;
    float *down; /* T x r, with an adapter */
} lilac_pass_gradients;

struct lilac_transformer_pass {
    const lilac_transformer *model;
    lilac_transformer_pass_config config;
    lilac_matmul_type products; /* of matrices, but for the output layer's */
    size_t rows;                /* T of the largest B */
    size_t B;                   /* of the pass under way */
    bool has_dropout;
    lilac_random dropout;

    void *block; /* NULL where the memory is the caller's */
    size_t bytes;

    lilac_pass_layer *layers;
    lilac_pass_sublayer first; /* pre-norm: the norm before the first branch; its sum is the embedded tokens */
    lilac_pass_sublayer last;  /* the input of the output layer and, post-norm, the norm that gives it */
    uint16_t *weights;         /* all parameters, in bf16; NULL with other products */
    float *positions;          /* N x position_width */
    uint8_t *tokens, *targets; /* T */
    float *outputs;            /* T x O, then their gradient */
    void *attention_workspace;
    size_t attention_bytes;
    int *entries; /* with an adapter: for each linear layer of the model its entry, or -1 */
    float **down; /* for each entry x A^T (T x r) */
    lilac_pass_gradients gradients;
};

/* Operands of products: a weight by its offset in the parameters, and a matrix. */
lilac_operand lilac_pass_weight(const lilac_transformer_pass *pass, size_t offset);
lilac_operand lilac_pass_operand(lilac_pass_matrix matrix);

/* Rounds rows x cols values, where the pass rounds. */
void lilac_pass_round(lilac_context *context, lilac_pass_matrix matrix, size_t rows, size_t cols);

/* The dropout of place 0 .. 3 * layers - 1 of the pass under way; NULL where it has none. */
const lilac_dropout *lilac_pass_dropout(const lilac_transformer_pass *pass, size_t place, lilac_dropout *dropout);

/* The low-rank term of a linear layer, and where its x A^T is kept; false where it has none. */
bool lilac_pass_low_rank(const lilac_transformer_pass *pass, size_t linear_layer, lilac_low_rank *term, size_t *entry);

/* In the caller's memory, at any alignment; memory NULL only counts the bytes. */
lilac_status lilac_transformer_pass_place(lilac_context *context, const lilac_transformer *model,
                                          const lilac_transformer_pass_config *config, void *memory,
                                          lilac_transformer_pass *pass);

#endif
