/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the linear attention kernels: what is done with one chunk of tokens of one head (Katharopoulos et al.,
 * "Transformers are RNNs", 2020, in the chunkwise form of Hua et al., "Transformer Quality in Linear Time", 2022).
 *
 * Letters. Q and K are the chunk's queries and keys once mapped (rows of C numbers), V its values (rows of M numbers),
 * S (C x M) and z (C) the state before the chunk. If causal, A = tril(Q K^T), that is, query i sees keys 0 .. i of the
 * chunk besides the state; if not, A = 0 and the chunk may hold different numbers of queries and keys.
 *
 * - d = Q z + rowsum(A) + epsilon
 * - O = (Q S + A V) / d
 * - next S = S + K^T V
 * - next z = z + colsum(K)
 *
 * Gradients, with g = dL/dO, O~' = g / d (that of the numerator), delta = -rowsum(g * O) / d (of the denominator), and
 * dS, dz those of the state after the chunk:
 *
 * - dA = tril(O~' V^T + delta 1^T)
 * - dQ = O~' S^T + delta z^T + dA K
 * - dK = V dS^T + 1 dz^T + dA^T Q
 * - dV = K dS + A^T O~'
 * - previous dS = dS + Q^T O~'
 * - previous dz = dz + Q^T delta
 *
 * States are padded: with Cp and Mp the sizes rounded up to LILAC_STATE_LANES, S is Cp x Mp followed by z (Cp), zeros
 * beyond C and M. A transposed state holds S^T (Mp x Cp) and then z. They are aligned to LILAC_ALIGNMENT.
 *
 * A sum over a chunk is made on its own and then added to the state, so that it makes no difference to a single byte
 * whether it is added at once or kept (as a state that started from 0) and added later.
 *
 * Common rules. The rows of a chunk lie `stride` elements apart, at any alignment. Buffers must not overlap unless a
 * contract says they may. scratch is scratch_size bytes aligned to LILAC_ALIGNMENT. Numbers of rows are at most
 * chunk_size.
 */
#ifndef LILAC_KERNELS_LINEAR_ATTENTION_H
#define LILAC_KERNELS_LINEAR_ATTENTION_H

#include "core/memory.h"

#include <stdbool.h>
#include <stddef.h>

enum { LILAC_STATE_LANES = 16 };

typedef struct lilac_linear_attention_head {
    size_t features;   /* C */
    size_t values;     /* M */
    bool elu_plus_one; /* queries and keys are given unmapped, the kernel applies elu(x) + 1; else they are given mapped
                        */
    float epsilon;
} lilac_linear_attention_head;

/* Rows of floats, or of bf16 numbers. */
typedef struct lilac_linear_attention_rows {
    const void *data;
    size_t stride;
    bool bf16;
} lilac_linear_attention_rows;

/* Rows that will be read or written soon: count of them, `bytes` long, `stride` bytes apart. */
typedef struct lilac_linear_attention_ahead {
    const void *data;
    size_t stride, bytes;
} lilac_linear_attention_ahead;

enum { LILAC_LINEAR_ATTENTION_AHEAD = 9 };

typedef struct lilac_linear_attention_chunk {
    bool causal;
    size_t queries, keys; /* causal: keys <= queries, the keys from there on being masked */
    lilac_linear_attention_rows query, key, value;
    /* A hint: a kernel may have these fetched into the cache while it works; one of 0 bytes ends them. Not read as long
     * as ahead_rows is 0. */
    size_t ahead_rows;
    lilac_linear_attention_ahead ahead[LILAC_LINEAR_ATTENTION_AHEAD];
} lilac_linear_attention_chunk;

typedef struct lilac_linear_attention_outputs {
    float *out; /* queries x M */
    size_t stride;
    float *denominator; /* d; may be NULL */
} lilac_linear_attention_outputs;

typedef struct lilac_linear_attention_output_gradients {
    lilac_linear_attention_rows out;      /* O, floats */
    lilac_linear_attention_rows gradient; /* g */
    const float *denominator;
} lilac_linear_attention_output_gradients;

/* Gradients with respect to queries and keys as given: where the kernel maps them, it goes back through the map too. */
typedef struct lilac_linear_attention_gradients {
    float *query, *key, *value; /* queries x C, keys x C, keys x M */
    size_t query_stride, key_stride, value_stride;
} lilac_linear_attention_gradients;

typedef struct lilac_linear_attention_kernels {
    /* The number of tokens of a chunk, and the bytes of scratch that any kernel needs for a chunk of such heads. */
    size_t (*chunk_size)(const lilac_linear_attention_head *head);
    size_t (*scratch_size)(const lilac_linear_attention_head *head);

    /* to = from + (K^T V, colsum(K)); from NULL: zeros; to may be from. Both are transposed states if `transposed`. */
    void (*state)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk, bool transposed,
                  const float *from, float *to, void *scratch);

    /* O and d; and the next state, unless `next` is NULL. next may be state. Without causal there are no keys. */
    void (*forward)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                    const float *state, float *next, const lilac_linear_attention_outputs *outputs, void *scratch);

    /*
     * The same where queries, keys and values are all bf16: may multiply features, A and states rounded to bf16. Sums
     * and states stay floats.
     */
    void (*state_bf16)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                       bool transposed, const float *from, float *to, void *scratch);
    void (*forward_bf16)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                         const float *state, float *next, const lilac_linear_attention_outputs *outputs, void *scratch);

    /* to = from + (Q^T O~', Q^T delta); from NULL: zeros; to may be from. Neither is transposed. */
    void (*state_gradient)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                           const lilac_linear_attention_output_gradients *outputs, const float *from, float *to,
                           void *scratch);

    /*
     * dQ, dK and dV from the state before the chunk (transposed) and the gradient of the state after it (not
     * transposed); and the gradient of the state before it, unless `previous` is NULL. previous may be gradient. What
     * belongs to queries (state and outputs, too) is not looked at if there are none; the same for keys.
     */
    void (*backward)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                     const lilac_linear_attention_output_gradients *outputs, const float *state, const float *gradient,
                     float *previous, const lilac_linear_attention_gradients *gradients, void *scratch);

    /*
     * One token, causal: S += phi(k) v^T, z += phi(k), then out = phi(q)^T S / (phi(q)^T z + epsilon). The state is not
     * padded: S is C x M, z (C) follows, at a float's alignment.
     */
    void (*step)(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *token, float *state,
                 float *out, float *scratch);
} lilac_linear_attention_kernels;

/* The floats of a padded state. */
static inline size_t lilac_padded_state_size(const lilac_linear_attention_head *head) {
    const size_t features = lilac_round_up(head->features, LILAC_STATE_LANES);
    return features * (lilac_round_up(head->values, LILAC_STATE_LANES) + 1);
}

/* The floats of scratch for a step, at any level: a state object may be used with any context. */
static inline size_t lilac_step_scratch_size(const lilac_linear_attention_head *head) {
    return 2 * lilac_round_up(head->features, LILAC_STATE_LANES) + lilac_round_up(head->values, LILAC_STATE_LANES);
}

/* Fill in the kernels of one level; the SIMD levels override what a lower level filled in. */
void lilac_linear_attention_kernels_reference(lilac_linear_attention_kernels *kernels);
void lilac_linear_attention_kernels_avx2(lilac_linear_attention_kernels *kernels);
void lilac_linear_attention_kernels_avx512(lilac_linear_attention_kernels *kernels);
/* On top of avx512, where the cpu has bf16 dot products. */
void lilac_linear_attention_kernels_avx512_bf16(lilac_linear_attention_kernels *kernels);

#endif
