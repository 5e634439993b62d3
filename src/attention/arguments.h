/* SPDX-License-Identifier: MIT */
/* What linear and softmax attention share: checks of shapes and tensors, addresses of rows. */
#ifndef LILAC_ATTENTION_ARGUMENTS_H
#define LILAC_ATTENTION_ARGUMENTS_H

#include "runtime/context.h"
#include "runtime/workspace.h"

#include <lilac/attention.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Errors: ARGUMENT (shape is NULL), SHAPE (a head size of 0, causal with keys != queries, a length above keys). */
lilac_status lilac_attention_check_shape(lilac_context *context, const lilac_attention_shape *shape, bool causal,
                                         const size_t *key_lengths);

/*
 * Checks that a (batch, tokens, heads, size) tensor named `name` can be addressed. Errors: ARGUMENT (NULL, unknown
 * dtype), SHAPE (strides below size where there is more than one row; rows of an output that overlap), OVERFLOW. An
 * empty tensor may have NULL as its data.
 */
lilac_status lilac_attention_check_input(lilac_context *context, const char *name, const lilac_attention_input *input,
                                         const lilac_attention_shape *shape, size_t tokens, size_t size);
lilac_status lilac_attention_check_output(lilac_context *context, const char *name,
                                          const lilac_attention_output *output, const lilac_attention_shape *shape,
                                          size_t tokens, size_t size);

/* The first element of row (b, n, h). */
static inline const void *lilac_attention_input_row(const lilac_attention_input *input, size_t b, size_t n, size_t h) {
    const size_t index = b * input->batch_stride + n * input->token_stride + h * input->head_stride;
    return (const char *)input->data +
           index * (input->dtype == LILAC_ATTENTION_BF16 ? sizeof(uint16_t) : sizeof(float));
}

static inline float *lilac_attention_output_row(const lilac_attention_output *output, size_t b, size_t n, size_t h) {
    return output->data + b * output->batch_stride + n * output->token_stride + h * output->head_stride;
}

#endif
