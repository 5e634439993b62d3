/* SPDX-License-Identifier: MIT */
#include "linear_attention_case.h"

#include "core/bf16.h"
#include "core/memory.h"
#include "core/random.h"
#include "kernels/kernel_table.h"
#include "runtime/context.h"
#include "support/levels.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { GUARD = 0xA5, GUARD_BYTES = 256 };

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count == 0 ? 1 : count, size);
    assert_non_null(memory);
    return memory;
}

static unsigned char *element_address(const attention_case *problem, int tensor, size_t b, size_t n, size_t h,
                                      size_t i) {
    const case_tensor *t = &problem->tensors[tensor];
    const size_t index = t->offset + b * t->batch_stride + n * t->token_stride + h * t->head_stride + i;
    return problem->buffers[t->buffer].memory + index * t->item_size;
}

double case_element(const attention_case *problem, int tensor, size_t b, size_t n, size_t h, size_t i) {
    const unsigned char *address = element_address(problem, tensor, b, n, h, i);
    if (problem->tensors[tensor].item_size == sizeof(uint16_t)) {
        uint16_t bits;
        memcpy(&bits, address, sizeof bits);
        return lilac_float_from_bf16(bits);
    }
    float value;
    memcpy(&value, address, sizeof value);
    return value;
}

void case_set_element(attention_case *problem, int tensor, size_t b, size_t n, size_t h, size_t i, float value) {
    unsigned char *address = element_address(problem, tensor, b, n, h, i);
    if (problem->tensors[tensor].item_size == sizeof(uint16_t)) {
        const uint16_t bits = lilac_bf16_from_float(value);
        memcpy(address, &bits, sizeof bits);
    } else {
        memcpy(address, &value, sizeof value);
    }
}

/* Numbers uniform in (-range, range), in order. */
typedef struct number_source {
    lilac_random random;
    uint32_t words[LILAC_RANDOM_GROUP];
    size_t used;
} number_source;

static float next_number(number_source *source, float range) {
    if (source->used % LILAC_RANDOM_GROUP == 0) {
        lilac_random_group(&source->random, source->words);
        source->random.group++;
    }
    const uint32_t word = source->words[source->used++ % LILAC_RANDOM_GROUP];
    return range * ((float)(word >> 8) * 0x1p-23f - 1.0f + 0x1p-24f);
}

static void fill_tensor(attention_case *problem, int tensor, number_source *source, float range) {
    const lilac_attention_shape *shape = &problem->options.shape;
    for (size_t b = 0; b < shape->batch; b++) {
        for (size_t n = 0; n < problem->tensors[tensor].tokens; n++) {
            for (size_t h = 0; h < shape->heads; h++) {
                for (size_t i = 0; i < problem->tensors[tensor].size; i++) {
                    case_set_element(problem, tensor, b, n, h, i, next_number(source, range));
                }
            }
        }
    }
}

/* Lays out a tensor and gives it memory: that of the tensor `first` with which it is fused, if there is one. */
static void lay_out(attention_case *problem, int tensor, int first, size_t tokens, size_t size, bool bf16) {
    const size_t B = problem->options.shape.batch, H = problem->options.shape.heads;
    case_tensor *t = &problem->tensors[tensor];
    size_t elements;
    *t = (case_tensor){.buffer = (size_t)tensor,
                       .item_size = bf16 ? sizeof(uint16_t) : sizeof(float),
                       .tokens = tokens,
                       .size = size,
                       .offset = GUARD_BYTES / (bf16 ? sizeof(uint16_t) : sizeof(float))};
    switch (problem->options.layout) {
    case LAYOUT_HEADS:
        t->token_stride = size;
        t->head_stride = tokens * size;
        t->batch_stride = elements = H * tokens * size;
        break;
    case LAYOUT_PADDED:
        t->head_stride = size + 3;
        t->token_stride = H * t->head_stride + 5;
        t->batch_stride = elements = tokens * t->token_stride + 7;
        t->offset += 1;
        break;
    case LAYOUT_FUSED:
    case LAYOUT_TOKENS:
    default: {
        const size_t parts = problem->options.layout == LAYOUT_FUSED && first >= 0 ? 3 : 1;
        t->head_stride = size;
        t->token_stride = parts * H * size;
        t->batch_stride = elements = tokens * t->token_stride;
        if (parts == 3) {
            t->buffer = (size_t)first;
            t->offset += (size_t)(tensor - first) * H * size;
        }
    }
    }
    case_buffer *buffer = &problem->buffers[t->buffer];
    if (buffer->memory == NULL) {
        buffer->bytes = B * elements * t->item_size + 2 * GUARD_BYTES + t->item_size;
        buffer->memory = allocate(buffer->bytes, 1);
        memset(buffer->memory, GUARD, buffer->bytes);
    }
}

static lilac_attention_input input_of(const attention_case *problem, int tensor) {
    const case_tensor *t = &problem->tensors[tensor];
    return (lilac_attention_input){
        .data = problem->buffers[t->buffer].memory + t->offset * t->item_size,
        .dtype = t->item_size == sizeof(uint16_t) ? LILAC_ATTENTION_BF16 : LILAC_ATTENTION_F32,
        .batch_stride = t->batch_stride,
        .token_stride = t->token_stride,
        .head_stride = t->head_stride,
    };
}

static lilac_attention_output output_of(const attention_case *problem, int tensor) {
    const case_tensor *t = &problem->tensors[tensor];
    return (lilac_attention_output){
        .data = (float *)(void *)(problem->buffers[t->buffer].memory + t->offset * t->item_size),
        .batch_stride = t->batch_stride,
        .token_stride = t->token_stride,
        .head_stride = t->head_stride,
    };
}

static void lay_out_all(attention_case *problem) {
    const lilac_attention_shape *shape = &problem->options.shape;
    const size_t N = shape->queries, keys = shape->keys, D = shape->key_size, M = shape->value_size;
    const bool bf16 = problem->options.bf16;
    lay_out(problem, CASE_QUERY, CASE_QUERY, N, D, bf16);
    lay_out(problem, CASE_KEY, CASE_QUERY, keys, D, bf16);
    lay_out(problem, CASE_VALUE, CASE_QUERY, keys, M, bf16);
    lay_out(problem, CASE_OUTPUT, -1, N, M, false);
    lay_out(problem, CASE_OUTPUT_GRADIENT, -1, N, M, false);
    lay_out(problem, CASE_QUERY_GRADIENT, CASE_QUERY_GRADIENT, N, D, false);
    lay_out(problem, CASE_KEY_GRADIENT, CASE_QUERY_GRADIENT, keys, D, false);
    lay_out(problem, CASE_VALUE_GRADIENT, CASE_QUERY_GRADIENT, keys, M, false);
    problem->forward.query = problem->backward.query = input_of(problem, CASE_QUERY);
    problem->forward.key = problem->backward.key = input_of(problem, CASE_KEY);
    problem->forward.value = problem->backward.value = input_of(problem, CASE_VALUE);
    problem->forward.output = output_of(problem, CASE_OUTPUT);
    problem->backward.output = input_of(problem, CASE_OUTPUT);
    problem->backward.output_gradient = input_of(problem, CASE_OUTPUT_GRADIENT);
    problem->backward.query_gradient = output_of(problem, CASE_QUERY_GRADIENT);
    problem->backward.key_gradient = output_of(problem, CASE_KEY_GRADIENT);
    problem->backward.value_gradient = output_of(problem, CASE_VALUE_GRADIENT);
}

void case_at_every_level(void (*test)(lilac_context *context)) {
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        lilac_context *context = lilac_test_context_create(level, 2);
        test(context);
        lilac_context_destroy(context);
    }
}

lilac_attention_shape case_shape(size_t B, size_t H, size_t N, size_t size) {
    return (lilac_attention_shape){
        .batch = B, .heads = H, .queries = N, .keys = N, .key_size = size, .value_size = size};
}

/* Floats between guards: zeros. */
static float *allocate_guarded(size_t count) {
    unsigned char *memory = allocate(count * sizeof(float) + 2 * GUARD_BYTES, 1);
    memset(memory, GUARD, GUARD_BYTES);
    memset(memory + GUARD_BYTES + count * sizeof(float), GUARD, GUARD_BYTES);
    return (float *)(void *)(memory + GUARD_BYTES);
}

static void free_guarded(float *floats) {
    free((unsigned char *)floats - GUARD_BYTES);
}

static void check_guarded(const float *floats, size_t count) {
    const unsigned char *before = (const unsigned char *)floats - GUARD_BYTES;
    const unsigned char *after = (const unsigned char *)(floats + count);
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(before[i], GUARD);
        assert_int_equal(after[i], GUARD);
    }
}

attention_case *attention_case_create(lilac_context *context, const case_options *options) {
    attention_case *problem = allocate(1, sizeof *problem);
    problem->options = *options;
    if (problem->options.range == 0.0f) {
        problem->options.range = 1.0f;
    }
    lilac_linear_attention_config_default(&options->shape, &problem->config);
    problem->config.causal = options->causal;
    problem->config.key_lengths = options->lengths;
    problem->config.feature_map = options->map;
    problem->C = options->map == NULL ? options->shape.key_size
                                      : lilac_feature_map_output_size(options->map, options->shape.key_size);
    assert_int_equal(lilac_linear_attention_state_size(context, &problem->config, &problem->state_size), LILAC_OK);
    lay_out_all(problem);
    number_source source = {.random = lilac_random_stream(options->seed, LILAC_RANDOM_TEST, 0)};
    fill_tensor(problem, CASE_QUERY, &source, problem->options.range);
    fill_tensor(problem, CASE_KEY, &source, problem->options.range);
    fill_tensor(problem, CASE_VALUE, &source, 1.0f);
    fill_tensor(problem, CASE_OUTPUT_GRADIENT, &source, 1.0f);
    problem->initial_state = allocate_guarded(problem->state_size);
    problem->final_state_gradient = allocate_guarded(problem->state_size);
    problem->final_state = allocate_guarded(problem->state_size);
    problem->initial_state_gradient = allocate_guarded(problem->state_size);
    assert_int_equal(lilac_linear_attention_saved_size(context, &problem->config, &problem->saved_size), LILAC_OK);
    problem->saved = allocate_guarded(problem->saved_size);
    for (size_t i = 0; options->states && i < problem->state_size; i++) {
        /* Of a sum over positive keys: not negative, so that denominators stay away from 0. */
        problem->initial_state[i] = fabsf(next_number(&source, 3.0f));
        problem->final_state_gradient[i] = next_number(&source, 0.1f);
    }
    problem->forward.initial_state = options->states ? problem->initial_state : NULL;
    problem->forward.final_state = problem->final_state;
    problem->forward.saved = problem->saved;
    problem->backward.saved = problem->saved;
    problem->backward.final_state_gradient = options->states ? problem->final_state_gradient : NULL;
    problem->backward.initial_state_gradient = problem->initial_state_gradient;
    return problem;
}

void attention_case_destroy(attention_case *problem) {
    for (size_t i = 0; i < CASE_TENSORS; i++) {
        free(problem->buffers[i].memory);
    }
    free_guarded(problem->initial_state);
    free_guarded(problem->final_state_gradient);
    free_guarded(problem->final_state);
    free_guarded(problem->initial_state_gradient);
    free_guarded(problem->saved);
    free(problem);
}

/* A workspace of that many bytes at an odd address between guards. */
static unsigned char *allocate_workspace(size_t bytes) {
    unsigned char *memory = allocate(bytes + 2 * GUARD_BYTES + 1, 1);
    memset(memory, GUARD, bytes + 2 * GUARD_BYTES + 1);
    return memory;
}

static void free_workspace(unsigned char *memory, size_t bytes) {
    for (size_t i = 0; i <= GUARD_BYTES; i++) {
        assert_int_equal(memory[i], GUARD);
    }
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(memory[GUARD_BYTES + 1 + bytes + i], GUARD);
    }
    free(memory);
}

void attention_case_forward(lilac_context *context, attention_case *problem) {
    size_t bytes;
    problem->rounded = problem->options.bf16 && context->kernels->bf16_dot_products;
    assert_int_equal(lilac_linear_attention_forward_workspace_size(context, &problem->config, &bytes), LILAC_OK);
    unsigned char *memory = allocate_workspace(bytes);
    const lilac_status status =
        lilac_linear_attention_forward(context, &problem->config, &problem->forward, memory + GUARD_BYTES + 1, bytes);
    assert_string_equal(lilac_context_message(context), "");
    assert_int_equal(status, LILAC_OK);
    free_workspace(memory, bytes);
}

void attention_case_backward(lilac_context *context, attention_case *problem) {
    size_t bytes;
    assert_int_equal(lilac_linear_attention_backward_workspace_size(context, &problem->config, &bytes), LILAC_OK);
    unsigned char *memory = allocate_workspace(bytes);
    const lilac_status status =
        lilac_linear_attention_backward(context, &problem->config, &problem->backward, memory + GUARD_BYTES + 1, bytes);
    assert_string_equal(lilac_context_message(context), "");
    assert_int_equal(status, LILAC_OK);
    free_workspace(memory, bytes);
}

void attention_case_check_guards(const attention_case *problem) {
    const lilac_attention_shape *shape = &problem->options.shape;
    check_guarded(problem->initial_state, problem->state_size);
    check_guarded(problem->final_state_gradient, problem->state_size);
    check_guarded(problem->final_state, problem->state_size);
    check_guarded(problem->initial_state_gradient, problem->state_size);
    check_guarded(problem->saved, problem->saved_size);
    for (size_t buffer = 0; buffer < CASE_TENSORS; buffer++) {
        if (problem->buffers[buffer].memory == NULL) {
            continue;
        }
        unsigned char *is_element = allocate(problem->buffers[buffer].bytes, 1);
        for (int tensor = 0; tensor < CASE_TENSORS; tensor++) {
            const case_tensor *t = &problem->tensors[tensor];
            const size_t rows = t->buffer == buffer ? shape->batch * t->tokens * shape->heads : 0;
            for (size_t row = 0; row < rows; row++) {
                const size_t h = row % shape->heads, n = row / shape->heads % t->tokens;
                const size_t b = row / shape->heads / t->tokens;
                const unsigned char *address = element_address(problem, tensor, b, n, h, 0);
                memset(is_element + (address - problem->buffers[buffer].memory), 1, t->size * t->item_size);
            }
        }
        for (size_t i = 0; i < problem->buffers[buffer].bytes; i++) {
            if (!is_element[i]) {
                assert_int_equal(problem->buffers[buffer].memory[i], GUARD);
            }
        }
        free(is_element);
    }
}

bool attention_case_same_bytes(const attention_case *a, const attention_case *b) {
    for (size_t buffer = 0; buffer < CASE_TENSORS; buffer++) {
        const case_buffer *x = &a->buffers[buffer], *y = &b->buffers[buffer];
        if (x->bytes != y->bytes || (x->bytes > 0 && memcmp(x->memory, y->memory, x->bytes) != 0)) {
            return false;
        }
    }
    return memcmp(a->final_state, b->final_state, a->state_size * sizeof(float)) == 0 &&
           memcmp(a->initial_state_gradient, b->initial_state_gradient, a->state_size * sizeof(float)) == 0 &&
           memcmp(a->saved, b->saved, a->saved_size * sizeof(float)) == 0;
}
