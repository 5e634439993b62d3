/* SPDX-License-Identifier: MIT */
/* What linear and softmax attention share: checks of shapes and tensors, addresses of rows, cutting up a workspace. */
#ifndef LILAC_ATTENTION_ARGUMENTS_H
#define LILAC_ATTENTION_ARGUMENTS_H

#include "runtime/context.h"

#include <lilac/attention.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Errors: ARGUMENT (shape is NULL), SHAPE (a head size of 0, causal with keys != queries, a length above keys). */
lilac_status lilac_attention_check_shape(lilac_context *context, const lilac_attention_shape *shape, bool causal,
                                         const size_t *key_lengths);

/*
 * Checks that a (batch, tokens, heads, size) tensor named `name` can be addressed. Errors: ARGUMENT (NULL, unknown
 * dtype), SHAPE (strides below size where there is more than one row), OVERFLOW. An empty tensor may have NULL as its
 * data.
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

/*
 * Cuts a workspace into aligned pieces. One function that takes the pieces serves twice: with memory NULL it measures,
 * with the caller's memory it hands them out.
 */
typedef struct lilac_workspace {
    char *memory;
    size_t used; /* bytes; SIZE_MAX once a size did not fit */
} lilac_workspace;

/* A workspace over the caller's memory (any alignment), or one that measures if memory is NULL. */
lilac_workspace lilac_workspace_over(void *memory);

/* The next piece for count items of size bytes, aligned to LILAC_ALIGNMENT; NULL while measuring. */
void *lilac_workspace_take(lilac_workspace *workspace, size_t count, size_t size);

/* After measuring: *bytes = what the caller must provide. Errors: OVERFLOW. */
lilac_status lilac_workspace_measured(lilac_context *context, const lilac_workspace *workspace, size_t *bytes);

/* Errors: ARGUMENT (NULL but something is needed), SHAPE (fewer bytes than needed). */
lilac_status lilac_workspace_check(lilac_context *context, const void *memory, size_t bytes, size_t needed);

#endif
