/* SPDX-License-Identifier: MIT */
#include "linear_attention_case.h"

#include "core/bf16.h"
#include "core/memory.h"
#include "core/random.h"
#include "support/double_linear_attention.h"

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

lilac_context *case_create_context(lilac_cpu_level level, int threads) {
    const lilac_context_config config = {.threads = threads, .max_cpu_level = level};
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(&config, &context), LILAC_OK);
    return context;
}

void case_at_every_level(void (*test)(lilac_context *context)) {
    for (int level = LILAC_CPU_SCALAR; level <= (int)lilac_cpu_level_detect(); level++) {
        lilac_context *context = case_create_context((lilac_cpu_level)level, 2);
        test(context);
        lilac_context_destroy(context);
    }
}

lilac_attention_shape case_shape(size_t B, size_t H, size_t N, size_t size) {
    return (lilac_attention_shape){
        .batch = B, .heads = H, .queries = N, .keys = N, .key_size = size, .value_size = size};
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
    problem->initial_state = allocate(problem->state_size, sizeof(float));
    problem->final_state_gradient = allocate(problem->state_size, sizeof(float));
    problem->final_state = allocate(problem->state_size, sizeof(float));
    problem->initial_state_gradient = allocate(problem->state_size, sizeof(float));
    assert_int_equal(lilac_linear_attention_saved_size(context, &problem->config, &problem->saved_size), LILAC_OK);
    problem->saved = allocate(problem->saved_size, sizeof(float));
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
    free(problem->initial_state);
    free(problem->final_state_gradient);
    free(problem->final_state);
    free(problem->initial_state_gradient);
    free(problem->saved);
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

/* The tensor's rows of one head as doubles. */
static double *head_rows(const attention_case *problem, int tensor, size_t b, size_t h) {
    const case_tensor *t = &problem->tensors[tensor];
    double *rows = allocate(t->tokens * t->size, sizeof *rows);
    for (size_t n = 0; n < t->tokens; n++) {
        for (size_t i = 0; i < t->size; i++) {
            rows[n * t->size + i] = case_element(problem, tensor, b, n, h, i);
        }
    }
    return rows;
}

/* The same put through the feature map: elu(x) + 1 in double, other maps as the library computes them. */
static double *mapped_rows(const attention_case *problem, int tensor, size_t b, size_t h) {
    const lilac_feature_map *map = problem->options.map;
    const size_t tokens = problem->tensors[tensor].tokens, D = problem->options.shape.key_size, C = problem->C;
    double *x = head_rows(problem, tensor, b, h);
    double *mapped = allocate(tokens * C, sizeof *mapped);
    float *row = allocate(D + C, sizeof *row);
    for (size_t n = 0; n < tokens; n++) {
        for (size_t d = 0; d < D; d++) {
            row[d] = (float)x[n * D + d];
        }
        if (map != NULL) {
            map->forward(map, 1, D, row, D, row + D, C);
        }
        for (size_t c = 0; c < C; c++) {
            mapped[n * C + c] = map != NULL ? row[D + c] : row[c] > 0.0f ? row[c] + 1.0 : exp(row[c]);
        }
    }
    free(row);
    free(x);
    return mapped;
}

/* Takes gradients with respect to mapped rows back to the rows themselves, in place of a new array. */
static double *unmapped_gradient(const attention_case *problem, int tensor, size_t b, size_t h, const double *mapped,
                                 const double *gradient) {
    const lilac_feature_map *map = problem->options.map;
    const size_t tokens = problem->tensors[tensor].tokens, D = problem->options.shape.key_size, C = problem->C;
    double *x = head_rows(problem, tensor, b, h);
    double *dx = allocate(tokens * D, sizeof *dx);
    float *row = allocate(2 * D + 2 * C, sizeof *row);
    float *y = row + D, *dy = y + C, *drow = dy + C;
    for (size_t n = 0; n < tokens; n++) {
        for (size_t d = 0; d < D; d++) {
            row[d] = (float)x[n * D + d];
        }
        for (size_t c = 0; c < C; c++) {
            y[c] = (float)mapped[n * C + c];
            dy[c] = (float)gradient[n * C + c];
        }
        if (map != NULL) {
            map->backward(map, 1, D, row, D, y, C, dy, C, drow, D);
        }
        for (size_t d = 0; d < D; d++) {
            dx[n * D + d] = map != NULL     ? drow[d]
                            : row[d] > 0.0f ? gradient[n * D + d]
                                            : gradient[n * D + d] * exp(row[d]);
        }
    }
    free(row);
    free(x);
    return dx;
}

/* Sums of squares of differences and of expected values. */
typedef struct error_sum {
    double difference, expected;
} error_sum;

static void add_error(error_sum *sum, double value, double expected) {
    sum->difference += (value - expected) * (value - expected);
    sum->expected += expected * expected;
}

static double relative_error(error_sum sum) {
    if (sum.expected == 0.0) {
        return sqrt(sum.difference);
    }
    return sqrt(sum.difference / sum.expected);
}

static void add_tensor_errors(const attention_case *problem, int tensor, size_t b, size_t h, const double *expected,
                              error_sum *sum) {
    const case_tensor *t = &problem->tensors[tensor];
    for (size_t n = 0; n < t->tokens; n++) {
        for (size_t i = 0; i < t->size; i++) {
            add_error(sum, case_element(problem, tensor, b, n, h, i), expected[n * t->size + i]);
        }
    }
}

static void add_array_errors(size_t count, const float *values, const double *expected, error_sum *sum) {
    for (size_t i = 0; i < count; i++) {
        add_error(sum, values[i], expected[i]);
    }
}

typedef struct error_sums {
    error_sum out, final_state, query, key, value, initial_state;
} error_sums;

static void add_backward_errors(const attention_case *problem, double_head *head, size_t b, size_t h, size_t state_size,
                                error_sums *sums) {
    const lilac_attention_shape *shape = &problem->options.shape;
    double *gradient = head_rows(problem, CASE_OUTPUT_GRADIENT, b, h);
    double *final_state_gradient = allocate(state_size, sizeof(double));
    const size_t place = (b * shape->heads + h) * state_size;
    for (size_t i = 0; problem->options.states && i < state_size; i++) {
        final_state_gradient[i] = problem->final_state_gradient[place + i];
    }
    head->gradient = gradient;
    head->final_state_gradient = final_state_gradient;
    head->dq = allocate(shape->queries * head->C, sizeof(double));
    head->dk = allocate(shape->keys * head->C, sizeof(double));
    head->dv = allocate(shape->keys * head->M, sizeof(double));
    head->dstate = allocate(state_size, sizeof(double));
    double_head_backward(head);
    double *dq = unmapped_gradient(problem, CASE_QUERY, b, h, head->q, head->dq);
    double *dk = unmapped_gradient(problem, CASE_KEY, b, h, head->k, head->dk);
    add_tensor_errors(problem, CASE_QUERY_GRADIENT, b, h, dq, &sums->query);
    add_tensor_errors(problem, CASE_KEY_GRADIENT, b, h, dk, &sums->key);
    add_tensor_errors(problem, CASE_VALUE_GRADIENT, b, h, head->dv, &sums->value);
    add_array_errors(state_size, problem->initial_state_gradient + place, head->dstate, &sums->initial_state);
    double *const owned[] = {gradient, final_state_gradient, head->dq, head->dk, head->dv, head->dstate, dq, dk};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        free(owned[i]);
    }
}

static void add_head_errors(const attention_case *problem, size_t b, size_t h, error_sums *sums) {
    const lilac_attention_shape *shape = &problem->options.shape;
    const size_t C = problem->C, M = shape->value_size, state_size = C * M + C;
    const size_t index = b * shape->heads + h;
    double *state = allocate(state_size, sizeof(double));
    for (size_t i = 0; problem->options.states && i < state_size; i++) {
        state[i] = problem->initial_state[index * state_size + i];
    }
    double *q = mapped_rows(problem, CASE_QUERY, b, h), *k = mapped_rows(problem, CASE_KEY, b, h);
    double *v = head_rows(problem, CASE_VALUE, b, h);
    double_head head = {
        .queries = shape->queries,
        .keys = problem->options.lengths == NULL ? shape->keys : problem->options.lengths[b],
        .C = C,
        .M = M,
        .causal = problem->options.causal,
        .epsilon = (double)problem->config.epsilon,
        .q = q,
        .k = k,
        .v = v,
        .state = state,
        .out = allocate(shape->queries * M, sizeof(double)),
        .denominator = allocate(shape->queries, sizeof(double)),
        .final_state = allocate(state_size, sizeof(double)),
    };
    double_head_forward(&head);
    add_tensor_errors(problem, CASE_OUTPUT, b, h, head.out, &sums->out);
    add_array_errors(state_size, problem->final_state + index * state_size, head.final_state, &sums->final_state);
    add_backward_errors(problem, &head, b, h, state_size, sums);
    double *const owned[] = {state, q, k, v, head.out, head.denominator, head.final_state};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        free(owned[i]);
    }
}

case_errors attention_case_errors(const attention_case *problem) {
    error_sums sums = {.out = {0.0, 0.0}};
    for (size_t b = 0; b < problem->options.shape.batch; b++) {
        for (size_t h = 0; h < problem->options.shape.heads; h++) {
            add_head_errors(problem, b, h, &sums);
        }
    }
    return (case_errors){
        .out = relative_error(sums.out),
        .final_state = relative_error(sums.final_state),
        .query_gradient = relative_error(sums.query),
        .key_gradient = relative_error(sums.key),
        .value_gradient = relative_error(sums.value),
        .initial_state_gradient = relative_error(sums.initial_state),
    };
}

void attention_case_check_guards(const attention_case *problem) {
    const lilac_attention_shape *shape = &problem->options.shape;
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
