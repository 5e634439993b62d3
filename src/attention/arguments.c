/* SPDX-License-Identifier: MIT */
#include "attention/arguments.h"

#include "core/memory.h"

lilac_status lilac_attention_check_shape(lilac_context *context, const lilac_attention_shape *shape, bool causal,
                                         const size_t *key_lengths) {
    if (shape == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "attention shape: is NULL");
    }
    if (shape->key_size == 0 || shape->value_size == 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "attention shape: key size %zu, value size %zu: expected at least 1", shape->key_size,
                          shape->value_size);
    }
    if (causal && shape->keys != shape->queries) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "causal attention: expected as many keys as queries, got %zu and %zu", shape->keys,
                          shape->queries);
    }
    for (size_t b = 0; key_lengths != NULL && b < shape->batch; b++) {
        if (key_lengths[b] > shape->keys) {
            return lilac_fail(context, LILAC_ERROR_SHAPE, "key length of sequence %zu: expected at most %zu, got %zu",
                              b, shape->keys, key_lengths[b]);
        }
    }
    return LILAC_OK;
}

/* *index += (count - 1) * stride, for a count of at least 1. */
static bool advance(size_t count, size_t stride, size_t *index) {
    size_t offset;
    return lilac_size_multiply(count - 1, stride, &offset) && lilac_size_add(*index, offset, index);
}

typedef struct tensor_view {
    const char *name;
    const void *data;
    size_t item_size;
    size_t batch_stride, token_stride, head_stride;
} tensor_view;

static lilac_status check_tensor(lilac_context *context, const tensor_view *tensor, const lilac_attention_shape *shape,
                                 size_t tokens, size_t size) {
    if (shape->batch == 0 || tokens == 0 || shape->heads == 0) {
        return LILAC_OK;
    }
    if (tensor->data == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: data is NULL", tensor->name);
    }
    if ((shape->batch > 1 && tensor->batch_stride < size) || (tokens > 1 && tensor->token_stride < size) ||
        (shape->heads > 1 && tensor->head_stride < size)) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: strides %zu, %zu, %zu: expected at least the row size %zu",
                          tensor->name, tensor->batch_stride, tensor->token_stride, tensor->head_stride, size);
    }
    size_t end = size;
    if (!advance(shape->batch, tensor->batch_stride, &end) || !advance(tokens, tensor->token_stride, &end) ||
        !advance(shape->heads, tensor->head_stride, &end) || end > PTRDIFF_MAX / tensor->item_size) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW,
                          "%s: (%zu, %zu, %zu, %zu) with its strides cannot be addressed", tensor->name, shape->batch,
                          tokens, shape->heads, size);
    }
    return LILAC_OK;
}

typedef struct tensor_step {
    size_t count, stride;
} tensor_step;

static void swap_if_larger(tensor_step *a, tensor_step *b) {
    if (a->stride > b->stride) {
        const tensor_step larger = *a;
        *a = *b;
        *b = larger;
    }
}

/*
 * Whether no two rows share an element, for a tensor that check_tensor accepts: each stride has to step over all that
 * the smaller ones span. Rows could miss each other without that, but no layout in use is such.
 */
static bool rows_are_apart(const tensor_view *tensor, const lilac_attention_shape *shape, size_t tokens, size_t size) {
    tensor_step steps[] = {
        {shape->batch, tensor->batch_stride}, {tokens, tensor->token_stride}, {shape->heads, tensor->head_stride}};
    swap_if_larger(&steps[0], &steps[1]);
    swap_if_larger(&steps[1], &steps[2]);
    swap_if_larger(&steps[0], &steps[1]);
    size_t span = size;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i].count > 1) {
            if (steps[i].stride < span) {
                return false;
            }
            span += (steps[i].count - 1) * steps[i].stride;
        }
    }
    return true;
}

lilac_status lilac_attention_check_input(lilac_context *context, const char *name, const lilac_attention_input *input,
                                         const lilac_attention_shape *shape, size_t tokens, size_t size) {
    if (input == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: is NULL", name);
    }
    if (input->dtype != LILAC_ATTENTION_F32 && input->dtype != LILAC_ATTENTION_BF16) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: unknown dtype %d", name, (int)input->dtype);
    }
    const size_t item_size = input->dtype == LILAC_ATTENTION_BF16 ? sizeof(uint16_t) : sizeof(float);
    const tensor_view checked = {
        name, input->data, item_size, input->batch_stride, input->token_stride, input->head_stride};
    return check_tensor(context, &checked, shape, tokens, size);
}

lilac_status lilac_attention_check_output(lilac_context *context, const char *name,
                                          const lilac_attention_output *output, const lilac_attention_shape *shape,
                                          size_t tokens, size_t size) {
    if (output == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: is NULL", name);
    }
    const tensor_view checked = {
        name, output->data, sizeof(float), output->batch_stride, output->token_stride, output->head_stride};
    LILAC_TRY(check_tensor(context, &checked, shape, tokens, size));
    if (shape->batch > 0 && tokens > 0 && shape->heads > 0 && !rows_are_apart(&checked, shape, tokens, size)) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: rows of %zu overlap with strides %zu, %zu, %zu", name, size,
                          output->batch_stride, output->token_stride, output->head_stride);
    }
    return LILAC_OK;
}
