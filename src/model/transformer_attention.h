/* SPDX-License-Identifier: MIT */
/*
 * How a transformer's activations are handed to its attention: B sequences of N tokens, whose rows of 3HD numbers are
 * queries, keys and values and whose rows of HD numbers are the heads' outputs.
 */
#ifndef LILAC_MODEL_TRANSFORMER_ATTENTION_H
#define LILAC_MODEL_TRANSFORMER_ATTENTION_H

#include "model/transformer.h"

#include <lilac/attention.h>

lilac_linear_attention_config lilac_transformer_linear_attention(const lilac_transformer *model, size_t B, size_t N,
                                                                 bool causal);
lilac_softmax_attention_config lilac_transformer_softmax_attention(const lilac_transformer *model, size_t B, size_t N,
                                                                   bool causal, lilac_precision precision);

/* Part 0, 1 or 2 (queries, keys, values) of such rows, to be read or written. */
lilac_attention_input lilac_transformer_qkv_input(const lilac_transformer *model, size_t N, const float *qkv,
                                                  size_t part);
lilac_attention_output lilac_transformer_qkv_output(const lilac_transformer *model, size_t N, float *qkv, size_t part);

/* The outputs of the heads, likewise. */
lilac_attention_input lilac_transformer_context_input(const lilac_transformer *model, size_t N, const float *rows);
lilac_attention_output lilac_transformer_context_output(const lilac_transformer *model, size_t N, float *rows);

#endif
