/* SPDX-License-Identifier: MIT */
/* Timings of the attention kernels: a call each, of a block or chunk as large as the passes use. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <string.h>

static float *cut(float **memory, size_t floats) {
    float *piece = *memory;
    *memory += lilac_round_up(floats, LILAC_STATE_LANES);
    return piece;
}

/* Rounds floats in place: count bf16 numbers from the start on. */
static uint16_t *round_floats(float *x, size_t count) {
    unsigned char *bytes = (unsigned char *)x;
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = lilac_bf16_from_float(x[i]);
        memcpy(bytes + i * sizeof half, &half, sizeof half);
    }
    return (uint16_t *)(void *)x;
}

/* Linear attention: a causal chunk of as many tokens as one has. */

typedef struct linear_bench {
    lilac_linear_attention_head head;
    lilac_linear_attention_chunk chunk;
    lilac_linear_attention_outputs outputs;
    lilac_linear_attention_output_gradients output_gradients;
    lilac_linear_attention_gradients gradients;
    float *state, *next, *scratch;
    double products; /* operations of one product of all tokens and S */
} linear_bench;

static lilac_linear_attention_rows random_rows(float **memory, size_t rows, size_t size, bool bf16) {
    float *x = cut(memory, rows * size);
    return (lilac_linear_attention_rows){bf16 ? (void *)round_floats(x, rows * size) : x, size, bf16};
}

static linear_bench make_linear(kernel_test *test, size_t size, bool bf16) {
    const lilac_linear_attention_kernels *kernels = &test->kernels->linear_attention;
    linear_bench b = {.head = {.features = size, .values = size, .elu_plus_one = true, .epsilon = 1e-6f}};
    const size_t rows = kernels->chunk_size(&b.head), state = lilac_padded_state_size(&b.head);
    float *memory = kernel_bench_floats(test, 8 * rows * (size + LILAC_STATE_LANES) + 2 * state);
    b.chunk = (lilac_linear_attention_chunk){.causal = true,
                                             .queries = rows,
                                             .keys = rows,
                                             .query = random_rows(&memory, rows, size, bf16),
                                             .key = random_rows(&memory, rows, size, bf16),
                                             .value = random_rows(&memory, rows, size, bf16)};
    b.outputs = (lilac_linear_attention_outputs){cut(&memory, rows * size), size, cut(&memory, rows)};
    b.output_gradients = (lilac_linear_attention_output_gradients){
        {b.outputs.out, size, false}, random_rows(&memory, rows, size, false), b.outputs.denominator};
    b.gradients = (lilac_linear_attention_gradients){
        cut(&memory, rows * size), cut(&memory, rows * size), cut(&memory, rows * size), size, size, size};
    b.state = cut(&memory, state);
    b.next = cut(&memory, state);
    b.scratch = kernel_bench_floats(test, kernels->scratch_size(&b.head) / sizeof(float));
    b.products = 2.0 * (double)(rows * size * size);
    /* As in a sequence: a state of the chunk's own keys, and the denominators that it leads to. */
    kernels->state(&b.head, &b.chunk, false, NULL, b.state, b.scratch);
    kernels->forward(&b.head, &b.chunk, b.state, NULL, &b.outputs, b.scratch);
    return b;
}

static void linear_state(kernel_test *test, size_t n) {
    (void)n;
    const linear_bench b = make_linear(test, 64, false);
    for (kernel_bench_begin_call(test, b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.state(&b.head, &b.chunk, false, b.state, b.next, b.scratch);
    }
}

static void linear_state_bf16(kernel_test *test, size_t n) {
    (void)n;
    const linear_bench b = make_linear(test, 64, true);
    for (kernel_bench_begin_call(test, b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.state_bf16(&b.head, &b.chunk, false, b.state, b.next, b.scratch);
    }
}

static void linear_forward_of(kernel_test *test, size_t size) {
    const linear_bench b = make_linear(test, size, false);
    for (kernel_bench_begin_call(test, 2.0 * b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.forward(&b.head, &b.chunk, b.state, b.next, &b.outputs, b.scratch);
    }
}

static void linear_forward_32(kernel_test *test, size_t n) {
    (void)n;
    linear_forward_of(test, 32);
}

static void linear_forward_64(kernel_test *test, size_t n) {
    (void)n;
    linear_forward_of(test, 64);
}

static void linear_forward_128(kernel_test *test, size_t n) {
    (void)n;
    linear_forward_of(test, 128);
}

/* The second half of a full form: there are no keys. */
static void linear_forward_full(kernel_test *test, size_t n) {
    (void)n;
    linear_bench b = make_linear(test, 64, false);
    b.chunk.causal = false;
    b.chunk.keys = 0;
    for (kernel_bench_begin_call(test, b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.forward(&b.head, &b.chunk, b.state, NULL, &b.outputs, b.scratch);
    }
}

static void linear_forward_bf16(kernel_test *test, size_t n) {
    (void)n;
    const linear_bench b = make_linear(test, 64, true);
    for (kernel_bench_begin_call(test, 2.0 * b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.forward_bf16(&b.head, &b.chunk, b.state, b.next, &b.outputs, b.scratch);
    }
}

static void linear_state_gradient(kernel_test *test, size_t n) {
    (void)n;
    const linear_bench b = make_linear(test, 64, false);
    for (kernel_bench_begin_call(test, b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.state_gradient(&b.head, &b.chunk, &b.output_gradients, b.state, b.next,
                                                       b.scratch);
    }
}

/* Four products with a state: in dQ, dK and dV and for the gradient of the state before. */
static void linear_backward(kernel_test *test, size_t n) {
    (void)n;
    const linear_bench b = make_linear(test, 64, false);
    for (kernel_bench_begin_call(test, 4.0 * b.products); kernel_bench_more(test);) {
        test->kernels->linear_attention.backward(&b.head, &b.chunk, &b.output_gradients, b.state, b.state, b.next,
                                                 &b.gradients, b.scratch);
    }
}

static void linear_step(kernel_test *test, size_t n) {
    (void)n;
    linear_bench b = make_linear(test, 64, false);
    const double rows = (double)b.chunk.queries;
    b.chunk.queries = b.chunk.keys = 1;
    for (kernel_bench_begin_call(test, 2.0 * b.products / rows); kernel_bench_more(test);) {
        test->kernels->linear_attention.step(&b.head, &b.chunk, b.state, b.outputs.out, b.scratch);
    }
}

static const kernel_case linear_cases[] = {
    {"state", LILAC_CPU_SCALAR, NULL, linear_state},
    {"state_bf16", LILAC_CPU_SCALAR, NULL, linear_state_bf16},
    {"forward", LILAC_CPU_SCALAR, NULL, linear_forward_64},
    {"forward of size 32", LILAC_CPU_SCALAR, NULL, linear_forward_32},
    {"forward of size 128", LILAC_CPU_SCALAR, NULL, linear_forward_128},
    {"forward without keys", LILAC_CPU_SCALAR, NULL, linear_forward_full},
    {"forward_bf16", LILAC_CPU_SCALAR, NULL, linear_forward_bf16},
    {"state_gradient", LILAC_CPU_SCALAR, NULL, linear_state_gradient},
    {"backward", LILAC_CPU_SCALAR, NULL, linear_backward},
    {"step", LILAC_CPU_SCALAR, NULL, linear_step},
};

const kernel_family kernel_family_linear_attention_calls = {"linear_attention", linear_cases,
                                                            sizeof linear_cases / sizeof linear_cases[0]};

/* Softmax attention: a block of 96 queries, which all see its 192 keys. */

enum { QUERIES = 16 * LILAC_SOFTMAX_ROWS, KEYS = LILAC_SOFTMAX_KEYS, SIZE = 64, STRIDE = LILAC_SOFTMAX_SCORE_STRIDE };

static const lilac_softmax_block block = {.rows = QUERIES, .keys = KEYS, .diagonal = KEYS};
static const double product = 2.0 * QUERIES * KEYS * SIZE; /* operations */

typedef struct softmax_bench {
    float *queries, *keys, *panels, *scores, *more_scores, *vector;
    lilac_softmax_state state;
    const lilac_softmax_attention_kernels *kernels;
} softmax_bench;

static softmax_bench make_softmax(kernel_test *test) {
    float *memory =
        kernel_bench_floats(test, (2 * QUERIES + 2 * KEYS) * SIZE + QUERIES * (2 * STRIDE + LILAC_SOFTMAX_LANES + 2));
    softmax_bench b = {.kernels = &test->kernels->softmax_attention,
                       .queries = cut(&memory, QUERIES * SIZE),
                       .keys = cut(&memory, KEYS * SIZE),
                       .panels = cut(&memory, KEYS * SIZE),
                       .scores = cut(&memory, QUERIES * STRIDE),
                       .more_scores = cut(&memory, QUERIES * STRIDE),
                       .vector = cut(&memory, QUERIES),
                       .state = {cut(&memory, QUERIES), cut(&memory, QUERIES * LILAC_SOFTMAX_LANES),
                                 cut(&memory, QUERIES * SIZE), SIZE}};
    /* More than any score, so that probabilities stay far from what is too large or small for a float. */
    for (size_t i = 0; i < QUERIES; i++) {
        b.state.maximum[i] = 2.0f;
    }
    return b;
}

static void softmax_pack_panels(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, KEYS * SIZE); kernel_bench_more(test);) {
        b.kernels->pack_panels(KEYS, SIZE, b.keys, SIZE, 0.125f, b.panels);
    }
}

static void softmax_scores(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->scores(&block, SIZE, b.queries, SIZE, b.panels, b.scores);
    }
}

/* What becomes of the scores is as good as scores for the next call. */
static void softmax_accumulate(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->accumulate(&block, b.scores, SIZE, b.keys, SIZE, &b.state);
    }
}

static void softmax_scores_bf16(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    const uint16_t *queries = round_floats(b.queries, QUERIES * SIZE), *panels = round_floats(b.panels, KEYS * SIZE);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->scores_bf16(&block, SIZE, queries, SIZE, panels, 0.125f, b.scores);
    }
}

static void softmax_accumulate_bf16(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    const uint16_t *pairs = round_floats(b.keys, KEYS * SIZE);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->accumulate_bf16(&block, b.scores, SIZE, pairs, SIZE, &b.state);
    }
}

static void softmax_probabilities(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->probabilities(&block, SIZE, b.queries, SIZE, b.panels, b.vector, b.scores);
    }
}

static void softmax_score_gradients(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->score_gradients(&block, SIZE, b.queries, SIZE, b.panels, b.vector, b.scores, b.more_scores);
    }
}

static void softmax_multiply(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->multiply(&block, b.scores, SIZE, b.keys, SIZE, b.queries, SIZE);
    }
}

static void softmax_multiply_transposed(kernel_test *test, size_t n) {
    (void)n;
    const softmax_bench b = make_softmax(test);
    for (kernel_bench_begin_call(test, product); kernel_bench_more(test);) {
        b.kernels->multiply_transposed(&block, b.scores, SIZE, b.queries, SIZE, b.keys, SIZE);
    }
}

static const kernel_case softmax_cases[] = {
    {"pack_panels", LILAC_CPU_SCALAR, NULL, softmax_pack_panels},
    {"scores", LILAC_CPU_SCALAR, NULL, softmax_scores},
    {"accumulate", LILAC_CPU_SCALAR, NULL, softmax_accumulate},
    {"scores_bf16", LILAC_CPU_SCALAR, NULL, softmax_scores_bf16},
    {"accumulate_bf16", LILAC_CPU_SCALAR, NULL, softmax_accumulate_bf16},
    {"probabilities", LILAC_CPU_SCALAR, NULL, softmax_probabilities},
    {"score_gradients", LILAC_CPU_SCALAR, NULL, softmax_score_gradients},
    {"multiply", LILAC_CPU_SCALAR, NULL, softmax_multiply},
    {"multiply_transposed", LILAC_CPU_SCALAR, NULL, softmax_multiply_transposed},
};

const kernel_family kernel_family_softmax_attention_calls = {"softmax_attention", softmax_cases,
                                                             sizeof softmax_cases / sizeof softmax_cases[0]};
