/* SPDX-License-Identifier: MIT */
/*
 * Sequences out of a transformer: the recurrent form, token by token, and sampling.
 *
 * What a sequence gives does not depend, to the bit, on the sequences that it is computed with, nor on the number of
 * threads: for one cpu level it is the same in any batch.
 */
#ifndef LILAC_GENERATION_H
#define LILAC_GENERATION_H

#include <lilac/transformer.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The recurrent form ---- */

/*
 * B sequences in the middle of being read: what the attention of each layer remembers of them. That is a matrix and a
 * vector a head for linear attention, however long the sequences are, and all keys and values for softmax attention. A
 * state also holds the model's weights in the order in which a step reads them, each once for all sequences.
 *
 * One call at a time may use a state.
 */
typedef struct lilac_transformer_state lilac_transformer_state;

typedef struct lilac_transformer_state_config {
    size_t batch;  /* B, at least 1 */
    size_t length; /* the most tokens of a sequence, which softmax attention has room for; 0: the model's */
    /* Of the linear layers' weights but the output layer's, of which a mixture's means hang on every bit; all else is
     * computed in f32. */
    lilac_precision precision;
    /* What softmax attention keeps keys and values in: bf16 rounds them, and takes half of the memory and of the time
     * to read it. Linear attention keeps none. */
    lilac_precision cache;
    /* (B) the adapter of each sequence, NULL where it has none; NULL: none has. Sequences may differ: the base's
     * products are computed for all at once. */
    const lilac_adapter *const *adapters;
} lilac_transformer_state_config;

/* One sequence, weights and cache in f32, no adapters. */
LILAC_API void lilac_transformer_state_config_default(lilac_transformer_state_config *config);

/*
 * Creates the state of sequences without tokens. The matrices of model and adapters are copied as they are at this
 * moment; embedding, biases and norms are read from the model, which must outlive the state, and must not be trained or
 * written to while it is used (merging an adapter is no harm). Free it with lilac_transformer_state_destroy. Errors:
 * ARGUMENT, BASE_MISMATCH (an adapter's layers are not this model's, by name and shape), OVERFLOW, MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_state_create(lilac_context *context,
                                                                     const lilac_transformer *model,
                                                                     const lilac_transformer_state_config *config,
                                                                     lilac_transformer_state **out);

/* Frees a state; NULL is allowed. */
LILAC_API void lilac_transformer_state_destroy(lilac_transformer_state *state);

/* Forgets all tokens. */
LILAC_API void lilac_transformer_state_reset(lilac_transformer_state *state);

/* How many tokens each sequence has had. */
LILAC_API size_t lilac_transformer_state_position(const lilac_transformer_state *state);

/* The memory of the weights, of what the attention remembers, and of a step's activations. */
LILAC_API size_t lilac_transformer_state_bytes(const lilac_transformer_state *state);

/*
 * Takes in n tokens of each sequence, those of row b at tokens + b * stride, by the parallel form: much faster than n
 * steps, the same but for rounding. outputs (B x O): of the last token of each; may be NULL. n = 0 does nothing. The
 * activations of a part of the sequences are allocated and freed. Errors: ARGUMENT, SHAPE (more tokens than the state's
 * length), MEMORY; after the last the state is of no use before it is reset, and some of the outputs may have been
 * written.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_state_prompt(lilac_context *context,
                                                                     lilac_transformer_state *state, size_t n,
                                                                     const uint8_t *tokens, size_t stride,
                                                                     float *outputs);

/* Takes in one token of each sequence (B) and gives the outputs (B x O). Errors: ARGUMENT, SHAPE. */
LILAC_API LILAC_MUST_USE lilac_status lilac_transformer_state_step(lilac_context *context,
                                                                   lilac_transformer_state *state,
                                                                   const uint8_t *tokens, float *outputs);

/* ---- Sampling ---- */

typedef struct lilac_generation_config {
    size_t count;                     /* sequences */
    size_t prompt;                    /* tokens that each sequence begins with, at least 1 */
    size_t length;                    /* tokens of a whole sequence, at most the model's length + 1 */
    size_t batch;                     /* sequences at a time; 0: as many as are fast */
    lilac_precision precision, cache; /* as in lilac_transformer_state_config */
    /*
     * 1 as trained; less is more likely. The logits of a categorical output are divided by it, and 0 takes the most
     * likely byte; of a mixture it multiplies the scales.
     */
    double temperature;
    uint64_t seed;
    uint64_t first_index;                 /* sequence i draws the numbers of index first_index + i */
    const lilac_adapter *const *adapters; /* (count), as in lilac_transformer_state_config */
    bool no_cache; /* reads the whole sequence again for each token, to compare: slower by orders of magnitude */
} lilac_generation_config;

/* One sequence, prompt 1, length 2, weights and cache in f32, temperature 1, seed 0. */
LILAC_API void lilac_generation_config_default(lilac_generation_config *config);

/* Where the seconds went. */
typedef struct lilac_generation_times {
    double prompt, steps;
    double projections, attention; /* of the steps; the rest are norms, activations and sampling */
} lilac_generation_times;

/*
 * Continues the prompts: tokens (count x length) holds them at the start of each row, and the rest is written. A
 * sequence is a function of model, adapter, prompt, seed, index, temperature, precision, cache and no_cache only.
 * Reports progress in tokens. times may be NULL. Errors: ARGUMENT, SHAPE (longer than the model allows), BASE_MISMATCH,
 * NOT_FINITE (weights that give no finite outputs), CANCELLED, OVERFLOW, MEMORY; the rest of the rows is undefined
 * then.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_generate(lilac_context *context, const lilac_transformer *model,
                                                     const lilac_generation_config *config, uint8_t *tokens,
                                                     lilac_generation_times *times);

#ifdef __cplusplus
}
#endif
#endif
