/* SPDX-License-Identifier: MIT */
/* The inside of a transformer's state. */
#ifndef LILAC_MODEL_TRANSFORMER_STATE_H
#define LILAC_MODEL_TRANSFORMER_STATE_H

#include "linalg/packed_matrix.h"
#include "model/transformer.h"

#include <lilac/attention.h>
#include <lilac/generation.h>

typedef struct lilac_state_layer {
    lilac_packed_matrix qkv, output, up, down;
    lilac_linear_attention_state *linear;   /* NULL for softmax attention */
    lilac_softmax_attention_state *softmax; /* NULL for linear attention */
} lilac_state_layer;

/* The low-rank term of one linear layer, the scale multiplied into B; panels NULL: none. */
typedef struct lilac_state_term {
    lilac_packed_matrix A, B; /* r x in, out x r */
} lilac_state_term;

/* Neighbouring sequences with the same adapter. */
typedef struct lilac_state_group {
    const lilac_adapter *adapter;
    size_t first, count;
    lilac_state_term *terms; /* for each linear layer of the model */
} lilac_state_group;

/* The activations of some rows. */
typedef struct lilac_state_activations {
    void *block;
    size_t bytes;
    uint8_t *tokens;                /* T */
    float *positions;               /* tokens of a sequence x position_width */
    float *stream, *branch, *input; /* T x F: residual stream, output of a branch, input of a branch */
    float *qkv;                     /* T x 3HD */
    float *context;                 /* T x HD */
    float *hidden, *activated;      /* T x feed_forward; one and the same for ReLU */
    float *low;                     /* T x r */
    float *mean, *rstd;             /* T */
    float *outputs;                 /* sequences x O */
    void *attention_workspace;
    size_t attention_bytes;
} lilac_state_activations;

/* What became of some sequences that a thread took through all layers. */
typedef struct lilac_state_outcome {
    lilac_status status;
    double projections, attention; /* seconds */
} lilac_state_outcome;

struct lilac_transformer_state {
    const lilac_transformer *model;
    size_t B, position;
    size_t length; /* the most tokens of a sequence */
    bool bf16_cache;
    size_t *order; /* (B): sequence i of the state is the caller's order[i]; sorted by adapter */
    lilac_state_layer *layers;
    lilac_packed_matrix output;
    size_t group_count;
    lilac_state_group *groups;
    size_t rank;                        /* the largest of all adapters */
    size_t attention_floats;            /* numbers that the attention keeps of one sequence in one layer */
    lilac_state_activations step;       /* for B rows */
    lilac_state_outcome *outcomes;      /* (B): of the blocks of a call */
    double projections, attention_time; /* seconds of the calls so far; of threads side by side, their mean */
};

/* The parts of lilac_transformer_state_bytes beside the activations: the packed weights, with those of adapters, and
 * what the attention remembers. */
size_t lilac_transformer_state_weight_bytes(const lilac_transformer_state *state);
size_t lilac_transformer_state_attention_bytes(const lilac_transformer_state *state);

/* How many sequences lilac_generate takes at a time; the last ones may be fewer. config->count must not be 0. */
size_t lilac_generation_batch(const lilac_context *context, const lilac_transformer *model,
                              const lilac_generation_config *config);

/* Cuts activations for T rows of `sequences` sequences. Errors: OVERFLOW, MEMORY. */
lilac_status lilac_state_activations_create(lilac_context *context, const lilac_transformer_state *state,
                                            size_t sequences, size_t n, size_t attention_bytes,
                                            lilac_state_activations *out);
void lilac_state_activations_free(lilac_state_activations *activations);

/* Those of a step's rows from number `first` on, in the same memory. */
lilac_state_activations lilac_state_activations_from(const lilac_transformer_state *state, size_t first);

#endif
