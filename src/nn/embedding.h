/* SPDX-License-Identifier: MIT */
/* Embeddings of bytes, forward and backward, and the fixed positions. Same bytes at any thread count. */
#ifndef LILAC_NN_EMBEDDING_H
#define LILAC_NN_EMBEDDING_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

/*
 * out[t][2i] = sin((first + t) / 10000^(2i / width)), out[t][2i + 1] = the cosine of the same, for count rows of width
 * columns, ld floats apart (Vaswani et al., "Attention Is All You Need", 2017). Computed in double.
 */
void lilac_sinusoidal_positions(size_t first, size_t count, size_t width, float *out, size_t ld);

/* x[t][0 .. E) = table[tokens[t]] for the T rows of x, ldx floats apart; table is 256 x E. */
void lilac_embedding_forward(lilac_context *context, size_t T, size_t E, const uint8_t *tokens, const float *table,
                             float *x, size_t ldx);

/* dtable[tokens[t]] += dx[t][0 .. E) for the T rows of dx in order; dtable is 256 x E. */
void lilac_embedding_backward(lilac_context *context, size_t T, size_t E, const uint8_t *tokens, const float *dx,
                              size_t lddx, float *dtable);

#endif
