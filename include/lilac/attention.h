/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention and linear attention over whole sequences, forward and backward, and as recurrent steps.
 *
 * Layout. Queries, keys and values are tensors (B, N, H, size): batch, token, head, and the D or M numbers of one head,
 * which are neighbours in memory. The other strides are free, so that the parts of a fused (B, N, 3, H, D) projection
 * are read in place. Outputs and gradients are laid out the same way, each with strides of its own; they are
 * overwritten, not added to.
 *
 * Memory. Nothing here allocates but the create functions: ask ..._workspace_size() how many bytes a call needs and
 * hand in that much, at any alignment. What a workspace holds between calls does not matter. The size depends on the
 * context's thread count and cpu level.
 *
 * Aliasing. No output may overlap an input, another output or the workspace, except where a comment allows it.
 *
 * Threads. A call uses its context's threads and one call at a time may use a context. For one cpu level the results
 * are the same bytes at any number of threads.
 *
 * Numbers that are not finite. What is masked by length is not looked at. What only causality hides should be finite:
 * an infinity or a NaN in a later token may reach outputs and gradients of those shortly before it.
 *
 * Errors common to all: ARGUMENT (a null pointer, an unknown dtype, a number that is not finite), SHAPE (sizes or
 * strides that do not fit each other; a workspace that is too small), OVERFLOW (a size beyond what the machine can
 * address). The context's message says which. Outputs are untouched then. Functions without a status (defaults, reset,
 * data, saved size) must be given valid pointers. B, H and N may be 0: there is nothing to do then.
 */
#ifndef LILAC_ATTENTION_H
#define LILAC_ATTENTION_H

#include <lilac/context.h>
#include <lilac/feature_map.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tensors and shapes ---- */

typedef enum lilac_attention_dtype {
    LILAC_ATTENTION_F32 = 0, /* float */
    LILAC_ATTENTION_BF16 = 1 /* bfloat16 in a uint16_t: the upper half of a float. Sums and states are still floats */
} lilac_attention_dtype;

/* A tensor (B, N, H, size) that is read. Element (b, n, h, i) is data[b*batch_stride + n*token_stride + h*head_stride +
 * i]. */
typedef struct lilac_attention_input {
    const void *data;
    lilac_attention_dtype dtype;
    size_t batch_stride, token_stride, head_stride; /* in elements */
} lilac_attention_input;

/*
 * Such a tensor of floats that is written. Its rows must not overlap each other: in order of size, each stride has to
 * step over all that the smaller ones span. The stride of a dimension of size 1 does not matter.
 */
typedef struct lilac_attention_output {
    float *data;
    size_t batch_stride, token_stride, head_stride; /* in elements */
} lilac_attention_output;

typedef struct lilac_attention_shape {
    size_t batch;      /* B */
    size_t heads;      /* H */
    size_t queries;    /* N, number of queries and of outputs */
    size_t keys;       /* number of keys and values; the same as queries in the causal forms */
    size_t key_size;   /* D, size of a query and of a key, at least 1 */
    size_t value_size; /* M, size of a value and of an output, at least 1 */
} lilac_attention_shape;

/* ---- Linear attention ---- */

/*
 * Linear attention (Katharopoulos, Vyas, Pappas and Fleuret, "Transformers are RNNs", 2020). With features phi(x) of C
 * numbers, output i of a head is phi(q_i)^T S / (phi(q_i)^T z + epsilon),   S = sum_j phi(k_j) v_j^T (C x M),   z =
 * sum_j phi(k_j) (C), j running over all keys, or over those up to i in the causal form. Time grows linearly with the
 * sequence.
 */
typedef struct lilac_linear_attention_config {
    lilac_attention_shape shape;
    bool causal;
    const size_t *key_lengths;            /* (B): keys from there on are masked, in S and in z; NULL: none is */
    const lilac_feature_map *feature_map; /* NULL: elu(x) + 1 */
    float epsilon; /* added to the denominator, so that a row without keys gives 0; at least FLT_MIN (<float.h>). A
                      denominator above 8.5e37, a quarter of the largest float, may give an output of 0 */
} lilac_linear_attention_config;

/* Fills in the defaults: full attention, no lengths, elu(x) + 1, epsilon 1e-6. */
LILAC_API void lilac_linear_attention_config_default(const lilac_attention_shape *shape,
                                                     lilac_linear_attention_config *config);

/*
 * *count = B * H * (C * M + C): the number of floats in the state of all heads. For each (b, h) in turn it holds S, row
 * after row, then z.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_state_size(lilac_context *context,
                                                                        const lilac_linear_attention_config *config,
                                                                        size_t *count);

/*
 * *count = the number of floats that the forward pass saves for the backward pass: the denominators, and the states at
 * a few places of a causal sequence (about a quarter of what the values take up at M = 64).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_saved_size(lilac_context *context,
                                                                        const lilac_linear_attention_config *config,
                                                                        size_t *count);

typedef struct lilac_linear_attention_forward_tensors {
    lilac_attention_input query;   /* (B, N, H, D) */
    lilac_attention_input key;     /* (B, keys, H, D) */
    lilac_attention_input value;   /* (B, keys, H, M) */
    const float *initial_state;    /* S and z before the first key; NULL: zeros */
    lilac_attention_output output; /* (B, N, H, M) */
    float *final_state;            /* S and z after the last key; may be NULL, may be initial_state */
    float *saved; /* what the backward pass needs: lilac_linear_attention_saved_size floats; may be NULL */
} lilac_linear_attention_forward_tensors;

/* *bytes = what lilac_linear_attention_forward needs as its workspace, with this batch or a smaller one. */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_forward_workspace_size(
    lilac_context *context, const lilac_linear_attention_config *config, size_t *bytes);

/*
 * The forward pass. A long sequence may be processed in segments, each starting from the final state of the one before;
 * the result is that of one call but for rounding.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_forward(
    lilac_context *context, const lilac_linear_attention_config *config,
    const lilac_linear_attention_forward_tensors *tensors, void *workspace, size_t workspace_bytes);

typedef struct lilac_linear_attention_backward_tensors {
    lilac_attention_input query;           /* as in the forward pass */
    lilac_attention_input key;             /* as in the forward pass */
    lilac_attention_input value;           /* as in the forward pass */
    lilac_attention_input output;          /* the forward pass's output, F32 */
    const float *saved;                    /* what the forward pass left there */
    lilac_attention_input output_gradient; /* (B, N, H, M) */
    const float *final_state_gradient;     /* laid out as a state; NULL: zeros */
    lilac_attention_output query_gradient; /* (B, N, H, D) */
    lilac_attention_output key_gradient;   /* (B, keys, H, D), 0 for masked keys */
    lilac_attention_output value_gradient; /* (B, keys, H, M), 0 for masked keys */
    float *initial_state_gradient;         /* laid out as a state; may be NULL, may be final_state_gradient */
} lilac_linear_attention_backward_tensors;

/* *bytes = what lilac_linear_attention_backward needs as its workspace, with this batch or a smaller one. */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_backward_workspace_size(
    lilac_context *context, const lilac_linear_attention_config *config, size_t *bytes);

/* The gradients with respect to queries, keys, values and the initial state. Errors also: ARGUMENT (a map without
 * backward). */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_backward(
    lilac_context *context, const lilac_linear_attention_config *config,
    const lilac_linear_attention_backward_tensors *tensors, void *workspace, size_t workspace_bytes);

/*
 * Causal linear attention as a recurrent network: the state is all it remembers, and a step costs the same whatever
 * came before. A state object holds S and z of B sequences and what a step needs beside them.
 */
typedef struct lilac_linear_attention_state lilac_linear_attention_state;

/*
 * Creates a state of zeros for the config's B, H, D, M, feature map and epsilon; the numbers of queries and keys,
 * causal and key_lengths are not looked at. The feature map must outlive it. Free it with
 * lilac_linear_attention_state_destroy. Errors also: MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_state_create(lilac_context *context,
                                                                          const lilac_linear_attention_config *config,
                                                                          lilac_linear_attention_state **out);

/* Frees a state; NULL is allowed. */
LILAC_API void lilac_linear_attention_state_destroy(lilac_linear_attention_state *state);

/* Sets S and z to 0. */
LILAC_API void lilac_linear_attention_state_reset(lilac_linear_attention_state *state);

/* Copies S and z. Errors: ARGUMENT, SHAPE (the two differ in B, H, C or M). */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_state_copy(lilac_context *context,
                                                                        const lilac_linear_attention_state *from,
                                                                        lilac_linear_attention_state *to);

/*
 * The state's S and z, laid out as lilac_linear_attention_state_size says. Hand them to the forward pass as
 * initial_state and final_state to take in a prompt. Valid until the state is destroyed.
 */
LILAC_API float *lilac_linear_attention_state_data(lilac_linear_attention_state *state);

/* The number of bytes lilac_linear_attention_state_save writes. */
LILAC_API size_t lilac_linear_attention_state_saved_size(const lilac_linear_attention_state *state);

/* Writes the state to bytes, the same on any machine. Errors: ARGUMENT, SHAPE (size is not the saved size). */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_state_save(lilac_context *context,
                                                                        const lilac_linear_attention_state *state,
                                                                        void *bytes, size_t size);

/*
 * Reads a state back. Errors: ARGUMENT, TRUNCATED, TRAILING, MAGIC (not such bytes), UNSUPPORTED (a later version),
 * SHAPE (saved from a state with another B, H, C or M).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_state_load(lilac_context *context,
                                                                        lilac_linear_attention_state *state,
                                                                        const void *bytes, size_t size);

/*
 * Takes in one token of each sequence and gives its outputs. query and key are (B, 1, H, D), value and output (B, 1, H,
 * M); token strides are not looked at.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_linear_attention_step(
    lilac_context *context, lilac_linear_attention_state *state, const lilac_attention_input *query,
    const lilac_attention_input *key, const lilac_attention_input *value, const lilac_attention_output *output);

/* ---- Softmax attention ---- */

/*
 * Softmax attention (Vaswani et al., "Attention Is All You Need", 2017): output i of a head is
 *     sum_j exp(s_ij) v_j / sum_j exp(s_ij),   s_ij = scale * q_i . k_j,
 * j running over all keys, or over those up to i in the causal form. Computed in tiles with a running maximum and sum
 * (Dao et al., "FlashAttention", 2022), so that memory grows with N although time grows with N^2. A row without keys
 * gives 0.
 */
typedef struct lilac_softmax_attention_config {
    lilac_attention_shape shape;
    bool causal;
    const size_t *key_lengths; /* (B): keys from there on are masked; NULL: none is */
    float scale;
    lilac_attention_dtype cache; /* what a state keeps keys and values in; looked at by ..._state_create only */
    /*
     * Where the cpu multiplies bf16 numbers faster than floats, in tiles (AMX) or in dot products, the forward and the
     * backward pass round to bf16 what they multiply: queries, keys, values, probabilities, and the gradients of
     * outputs and scores. Sums, exponentials, log-sum-exps and results are floats still. It takes a third of the time
     * with tiles and half of it with dot products; relative errors are about 4e-3. It changes nothing elsewhere, nor in
     * states and their steps.
     */
    bool bf16_products;
} lilac_softmax_attention_config;

/* Fills in the defaults: full attention, no lengths, scale 1/sqrt(D), states that keep floats, exact products. */
LILAC_API void lilac_softmax_attention_config_default(const lilac_attention_shape *shape,
                                                      lilac_softmax_attention_config *config);

typedef struct lilac_softmax_attention_forward_tensors {
    lilac_attention_input query;   /* (B, N, H, D) */
    lilac_attention_input key;     /* (B, keys, H, D) */
    lilac_attention_input value;   /* (B, keys, H, M) */
    lilac_attention_output output; /* (B, N, H, M) */
    float *log_sum_exp;            /* (B, H, N): log sum_j exp(s_ij), -infinity for a row without keys, for the backward
                                      pass; may be NULL */
} lilac_softmax_attention_forward_tensors;

/* *bytes = what lilac_softmax_attention_forward needs as its workspace, with this batch or a smaller one. */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_forward_workspace_size(
    lilac_context *context, const lilac_softmax_attention_config *config, size_t *bytes);

/* The forward pass. */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_forward(
    lilac_context *context, const lilac_softmax_attention_config *config,
    const lilac_softmax_attention_forward_tensors *tensors, void *workspace, size_t workspace_bytes);

typedef struct lilac_softmax_attention_backward_tensors {
    lilac_attention_input query;           /* as in the forward pass */
    lilac_attention_input key;             /* as in the forward pass */
    lilac_attention_input value;           /* as in the forward pass */
    lilac_attention_input output;          /* the forward pass's output, F32 */
    const float *log_sum_exp;              /* the forward pass's */
    lilac_attention_input output_gradient; /* (B, N, H, M) */
    lilac_attention_output query_gradient; /* (B, N, H, D) */
    lilac_attention_output key_gradient;   /* (B, keys, H, D), 0 for masked keys */
    lilac_attention_output value_gradient; /* (B, keys, H, M), 0 for masked keys */
} lilac_softmax_attention_backward_tensors;

/* *bytes = what lilac_softmax_attention_backward needs as its workspace, with this batch or a smaller one. */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_backward_workspace_size(
    lilac_context *context, const lilac_softmax_attention_config *config, size_t *bytes);

/* The gradients with respect to queries, keys and values; the scores are computed again. */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_backward(
    lilac_context *context, const lilac_softmax_attention_config *config,
    const lilac_softmax_attention_backward_tensors *tensors, void *workspace, size_t workspace_bytes);

/*
 * Causal softmax attention token by token: the state is the keys and values so far (a KV cache). A step reads all of
 * them, so that its time is that of the memory. With `cache` BF16 they are rounded to bf16 (to nearest, ties to even)
 * as they come, and take half of the memory and of the time; queries, scores, sums and outputs are floats all the same.
 */
typedef struct lilac_softmax_attention_state lilac_softmax_attention_state;

/*
 * Creates an empty state for the config's B, H, D, M and scale; its number of keys is the most tokens a sequence can
 * hold. The number of queries, causal and key_lengths are not looked at. Free it with
 * lilac_softmax_attention_state_destroy. Errors also: MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_state_create(lilac_context *context,
                                                                           const lilac_softmax_attention_config *config,
                                                                           lilac_softmax_attention_state **out);

/* Frees a state; NULL is allowed. */
LILAC_API void lilac_softmax_attention_state_destroy(lilac_softmax_attention_state *state);

/* Forgets all tokens. */
LILAC_API void lilac_softmax_attention_state_reset(lilac_softmax_attention_state *state);

/* Copies the tokens. Errors: ARGUMENT, SHAPE (the two differ in B, H, D, M or cache, or to is too small). */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_state_copy(lilac_context *context,
                                                                         const lilac_softmax_attention_state *from,
                                                                         lilac_softmax_attention_state *to);

/* The number of bytes lilac_softmax_attention_state_save writes for the tokens held now: floats, whatever the cache. */
LILAC_API size_t lilac_softmax_attention_state_saved_size(const lilac_softmax_attention_state *state);

/* Writes the state to bytes, the same on any machine. Errors: ARGUMENT, SHAPE (size is not the saved size). */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_state_save(lilac_context *context,
                                                                         const lilac_softmax_attention_state *state,
                                                                         void *bytes, size_t size);

/*
 * Reads a state back, into one with the same cache or the other; one in bf16 rounds. Errors: ARGUMENT, TRUNCATED,
 * TRAILING, MAGIC (not such bytes), UNSUPPORTED (a later version), SHAPE (saved from a state with another B, H, D or M,
 * or with more tokens than this one can hold).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_state_load(lilac_context *context,
                                                                         lilac_softmax_attention_state *state,
                                                                         const void *bytes, size_t size);

/*
 * Takes in a prompt without giving outputs: the first lengths[b] of `tokens` tokens of each sequence (lengths (B),
 * NULL: all). key is (B, tokens, H, D), value (B, tokens, H, M). Errors also: SHAPE (a sequence would outgrow the
 * state).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_state_append(lilac_context *context,
                                                                           lilac_softmax_attention_state *state,
                                                                           size_t tokens, const size_t *lengths,
                                                                           const lilac_attention_input *key,
                                                                           const lilac_attention_input *value);

/* *bytes = what lilac_softmax_attention_extend needs as its workspace, for any number of tokens. */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_extend_workspace_size(
    lilac_context *context, const lilac_softmax_attention_state *state, size_t *bytes);

/*
 * Takes in `tokens` tokens of each sequence and gives their outputs by the parallel form: each attends to what the
 * state held before and to the call's tokens up to itself. What as many steps give, but for rounding. query and key are
 * (B, tokens, H, D), value and output (B, tokens, H, M). Errors also: SHAPE (a sequence would outgrow the state).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_extend(
    lilac_context *context, lilac_softmax_attention_state *state, size_t tokens, const lilac_attention_input *query,
    const lilac_attention_input *key, const lilac_attention_input *value, const lilac_attention_output *output,
    void *workspace, size_t workspace_bytes);

/*
 * Takes in one token of each sequence and gives its outputs. query and key are (B, 1, H, D), value and output (B, 1, H,
 * M); token strides are not looked at. Errors also: SHAPE (a sequence is full).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_softmax_attention_step(
    lilac_context *context, lilac_softmax_attention_state *state, const lilac_attention_input *query,
    const lilac_attention_input *key, const lilac_attention_input *value, const lilac_attention_output *output);

#ifdef __cplusplus
}
#endif
#endif
