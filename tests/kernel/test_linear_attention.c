/* SPDX-License-Identifier: MIT */
/* The linear attention kernels, chunk by chunk, against their formulas in double precision. */
#include "kernel_test.h"
#include "linear_attention_exact.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { TRIES = 120 /* chunks of random shape */, STEPS = 400, MAX_SIZE = 70 };

/* What the numbers are like. Features that are given mapped are at least 0, as those of any map in use. */
typedef enum number_kind {
    UNIFORM, /* -1 .. 1 */
    STEEP,   /* -80 .. 80: features from 1e-35 to 81 */
    DEEP,    /* -200 .. -80: features around the smallest normal number and below all */
    EQUAL,
    ZEROS,
    DENORMALS,
    NUMBER_KINDS
} number_kind;

/* A chunk, with its exact results, which are too large for the stack. */
typedef struct problem {
    lilac_linear_attention_head head;
    lilac_linear_attention_chunk chunk;
    number_kind kind;
    size_t Cp, Mp, state_floats;
    void *scratch;
    exact_chunk *exact;
} problem;

static const lilac_linear_attention_kernels *kernels_of(const kernel_test *test) {
    return &test->kernels->linear_attention;
}

/* 1 .. most, often next to a number of rows or columns in a tile. */
static size_t random_size(kernel_test *test, size_t most) {
    static const size_t near_tiles[] = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64};
    const size_t n = kernel_random_below(test, 2) == 0
                         ? near_tiles[kernel_random_below(test, sizeof near_tiles / sizeof near_tiles[0])]
                         : 1 + kernel_random_below(test, MAX_SIZE);
    return lilac_size_min(n, most);
}

static bool chance(kernel_test *test, size_t one_in) {
    return kernel_random_below(test, one_in) == 0;
}

static float random_number(kernel_test *test, number_kind kind, bool positive) {
    const double sign = !positive && chance(test, 2) ? -1.0 : 1.0;
    switch (kind) {
    case STEEP:
        return positive ? (float)pow(10.0, kernel_random_between(test, -35.0, 1.9))
                        : (float)kernel_random_between(test, -80.0, 80.0);
    case DEEP:
        return positive ? (float)pow(10.0, kernel_random_between(test, -45.0, -35.0))
                        : (float)kernel_random_between(test, -200.0, -80.0);
    case ZEROS:
        return (float)(sign * 0.0);
    case DENORMALS:
        return (float)(sign * kernel_random_between(test, 0.0, (double)FLT_MIN));
    default:
        return (float)(sign * kernel_random_between(test, 0.0, 1.0));
    }
}

/* Rows of a chunk at some stride, and the same as the formulas see them. */
static lilac_linear_attention_rows make_rows(kernel_test *test, const problem *p, size_t rows, size_t columns,
                                             bool bf16, bool features, measured *exact) {
    const size_t stride = columns + kernel_random_below(test, 5), size = bf16 ? sizeof(uint16_t) : sizeof(float);
    void *data = kernel_buffer(test, KERNEL_READ, size, rows, columns, stride);
    const bool mapped = features && p->head.elu_plus_one, positive = features && !mapped;
    /* Values and gradients of a chunk whose features are deep are ordinary ones. */
    const number_kind kind = !features && p->kind == DEEP ? UNIFORM : p->kind;
    const float equal = random_number(test, kind, positive);
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < columns; c++) {
            float x = kind == EQUAL ? equal : random_number(test, kind, positive);
            if (bf16) {
                const uint16_t half = lilac_bf16_from_float(x);
                memcpy((uint16_t *)data + i * stride + c, &half, sizeof half);
                x = lilac_float_from_bf16(half);
            } else {
                memcpy((float *)data + i * stride + c, &x, sizeof x);
            }
            exact[i * EXACT_SIZE + c] = exact_feature(p->exact->arithmetic, (double)x, mapped);
        }
    }
    return (lilac_linear_attention_rows){data, stride, bf16};
}

/*
 * A state, padded with zeros, of sums like those over a chunk; or zeros, as at the start of a sequence. If `positive`,
 * that of features and values, else a gradient.
 */
static float *make_state(kernel_test *test, const problem *p, kernel_use use, bool transposed, bool positive,
                         measured *s, measured *z) {
    float *state = kernel_aligned_buffer(test, use, sizeof *state, 1, p->state_floats, p->state_floats);
    const number_kind kind = chance(test, 4) ? ZEROS : p->kind == DENORMALS ? DENORMALS : UNIFORM;
    memset(state, 0, p->state_floats * sizeof *state);
    for (size_t c = 0; c < p->head.features; c++) {
        float *of_z = state + p->Cp * p->Mp + c;
        *of_z = 9.0f * random_number(test, kind, positive);
        z[c] = (measured){(double)*of_z, 0.0};
        for (size_t m = 0; m < p->head.values; m++) {
            float *of_s = state + (transposed ? m * p->Cp + c : c * p->Mp + m);
            *of_s = 9.0f * random_number(test, kind, false);
            s[c * EXACT_SIZE + m] = (measured){(double)*of_s, 0.0};
        }
    }
    return state;
}

static void expect_state(const char *what, const problem *p, const float *state, bool transposed) {
    for (size_t c = 0; c < p->Cp; c++) {
        const bool inside = c < p->head.features;
        const measured z = inside ? p->exact->next_z[c] : (measured){0.0, 0.0};
        const size_t at = p->Cp * p->Mp + c;
        kernel_expect(what, at, state[at], z.value, z.error);
        assert_true(inside || state[at] == 0.0f);
        for (size_t m = 0; m < p->Mp; m++) {
            const bool within = inside && m < p->head.values;
            const measured s = within ? p->exact->next_s[c * EXACT_SIZE + m] : (measured){0.0, 0.0};
            const size_t i = transposed ? m * p->Cp + c : c * p->Mp + m;
            kernel_expect(what, i, state[i], s.value, s.error);
            assert_true(within || state[i] == 0.0f);
        }
    }
}

static void expect_rows(const char *what, size_t rows, size_t columns, const float *x, size_t stride,
                        const measured *exact) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < columns; c++) {
            const measured e = exact[i * EXACT_SIZE + c];
            kernel_expect(what, i * stride + c, x[i * stride + c], e.value, e.error);
        }
    }
}

/* That a sum over the chunk was made on its own and then added: to is from + sum to the byte. */
static void expect_added(const char *what, const problem *p, const float *to, const float *from, const float *sum) {
    for (size_t i = 0; i < p->state_floats; i++) {
        const float added = from[i] + sum[i];
        kernel_expect_same(what, i, to[i], added);
    }
}

/* Where a kernel puts a state. */
typedef enum state_place { NOWHERE, SEPARATE, IN_PLACE, PLACES } state_place;

static float *place_state(kernel_test *test, const problem *p, state_place place, float *from) {
    return place == NOWHERE ? NULL
           : place == IN_PLACE
               ? from
               : kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(float), 1, p->state_floats, p->state_floats);
}

static float *copy_state(kernel_test *test, const problem *p, const float *from) {
    float *copy = kernel_aligned_buffer(test, KERNEL_READ, sizeof *copy, 1, p->state_floats, p->state_floats);
    memcpy(copy, from, p->state_floats * sizeof *copy);
    return copy;
}

/* Hints to fetch what comes next must change nothing, and need not lead to memory. */
static void look_ahead(kernel_test *test, lilac_linear_attention_chunk *chunk) {
    chunk->ahead_rows = kernel_random_below(test, 4) * 9;
    const size_t count = 1 + kernel_random_below(test, LILAC_LINEAR_ATTENTION_AHEAD - 1);
    for (size_t i = 0; i < count; i++) {
        chunk->ahead[i] = (lilac_linear_attention_ahead){
            .data = chunk->query.data, .stride = kernel_random_word(test), .bytes = 4 * random_size(test, MAX_SIZE)};
    }
}

/*
 * A chunk of random shape: causal with some of its keys masked, or not, with any numbers of queries and keys, also
 * none of either. bf16: a chunk for the kernels that may multiply bf16 numbers.
 */
static problem random_problem(kernel_test *test, bool bf16) {
    static exact_chunk exact;
    const lilac_linear_attention_kernels *kernels = kernels_of(test);
    const bool rounded = bf16 && kernels->forward_bf16 != kernels->forward;
    problem p = {.head = {.features = random_size(test, MAX_SIZE),
                          .values = random_size(test, MAX_SIZE),
                          .elu_plus_one = !chance(test, 3),
                          .epsilon = 1e-6f},
                 .kind = (number_kind)kernel_random_below(test, NUMBER_KINDS),
                 .exact = &exact};
    const size_t most = kernels->chunk_size(&p.head);
    assert_in_range(most, 1, EXACT_ROWS);
    p.chunk.causal = chance(test, 2);
    p.chunk.queries = chance(test, 3) ? most : chance(test, 9) ? 0 : random_size(test, most);
    p.chunk.keys = chance(test, 3) ? most : chance(test, 9) ? 0 : random_size(test, most);
    if (p.chunk.causal) {
        p.chunk.keys = lilac_size_min(p.chunk.keys, p.chunk.queries);
    }
    p.Cp = lilac_round_up(p.head.features, LILAC_STATE_LANES);
    p.Mp = lilac_round_up(p.head.values, LILAC_STATE_LANES);
    p.state_floats = lilac_padded_state_size(&p.head);
    p.scratch = kernel_aligned_buffer(test, KERNEL_WRITE, 1, 1, kernels->scratch_size(&p.head), 0);
    exact.arithmetic = rounded ? &bf16_arithmetic : &float_arithmetic;
    exact.features = p.head.features;
    exact.values = p.head.values;
    exact.causal = p.chunk.causal;
    exact.elu_plus_one = p.head.elu_plus_one;
    exact.epsilon = (double)p.head.epsilon;
    return p;
}

static void make_queries(kernel_test *test, problem *p, bool bf16) {
    p->exact->queries = p->chunk.queries;
    p->chunk.query = make_rows(test, p, p->chunk.queries, p->head.features, bf16, true, p->exact->q);
}

static void make_keys(kernel_test *test, problem *p, bool bf16) {
    p->exact->keys = p->chunk.keys;
    p->chunk.key = make_rows(test, p, p->chunk.keys, p->head.features, bf16, true, p->exact->k);
    p->chunk.value = make_rows(test, p, p->chunk.keys, p->head.values, bf16 || chance(test, 3), false, p->exact->v);
}

static void note_problem(kernel_test *test, const problem *p) {
    kernel_note(test, "C %zu, M %zu, %s, elu %d, %zu queries, %zu keys, numbers of kind %d", p->head.features,
                p->head.values, p->chunk.causal ? "causal" : "full", p->head.elu_plus_one, p->chunk.queries,
                p->chunk.keys, p->kind);
}

/* state */

static void check_state_once(kernel_test *test, bool bf16, state_place place) {
    problem p = random_problem(test, bf16);
    const bool transposed = chance(test, 2);
    make_keys(test, &p, bf16 || chance(test, 3));
    float *from = make_state(test, &p, KERNEL_WRITE, transposed, true, p.exact->s, p.exact->z);
    const float *before = copy_state(test, &p, from);
    float *to = place_state(test, &p, place == NOWHERE ? SEPARATE : place, from);
    float *sum = place_state(test, &p, SEPARATE, NULL);
    look_ahead(test, &p.chunk);
    note_problem(test, &p);
    kernel_arm(test);
    const lilac_linear_attention_kernels *kernels = kernels_of(test);
    (bf16 ? kernels->state_bf16 : kernels->state)(&p.head, &p.chunk, transposed, from, to, p.scratch);
    (bf16 ? kernels->state_bf16 : kernels->state)(&p.head, &p.chunk, transposed, NULL, sum, p.scratch);
    exact_next_state(p.exact);
    expect_state("to", &p, to, transposed);
    expect_added("to", &p, to, before, sum);
    kernel_verify(test);
}

static void check_state(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        check_state_once(test, false, (state_place)(i % PLACES));
    }
}

static void check_state_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        check_state_once(test, true, (state_place)(i % PLACES));
    }
}

/* forward */

static void check_forward_once(kernel_test *test, bool bf16, state_place place) {
    problem p = random_problem(test, bf16);
    if (!p.chunk.causal) {
        p.chunk.keys = 0;
    }
    make_queries(test, &p, bf16 || chance(test, 3));
    make_keys(test, &p, bf16 || chance(test, 3));
    float *state = make_state(test, &p, KERNEL_WRITE, false, true, p.exact->s, p.exact->z);
    const float *before = copy_state(test, &p, state);
    float *next = place_state(test, &p, place, state), *sum = place_state(test, &p, SEPARATE, NULL);
    const size_t stride = p.head.values + kernel_random_below(test, 5), queries = p.chunk.queries;
    const lilac_linear_attention_outputs outputs = {
        .out = kernel_write(test, queries, p.head.values, stride),
        .stride = stride,
        .denominator = chance(test, 3) ? NULL : kernel_write(test, 1, queries, queries)};
    look_ahead(test, &p.chunk);
    note_problem(test, &p);
    kernel_arm(test);
    const lilac_linear_attention_kernels *kernels = kernels_of(test);
    (bf16 ? kernels->forward_bf16 : kernels->forward)(&p.head, &p.chunk, state, next, &outputs, p.scratch);
    exact_forward(p.exact);
    expect_rows("out", queries, p.head.values, outputs.out, stride, p.exact->out);
    if (outputs.denominator != NULL) {
        for (size_t i = 0; i < queries; i++) {
            const measured d = p.exact->denominator[i];
            kernel_expect("d", i, outputs.denominator[i], d.value, d.error);
        }
    }
    if (next != NULL) {
        exact_next_state(p.exact);
        expect_state("next", &p, next, false);
        (bf16 ? kernels->state_bf16 : kernels->state)(&p.head, &p.chunk, false, NULL, sum, p.scratch);
        expect_added("next", &p, next, before, sum);
    }
    kernel_verify(test);
}

static void check_forward(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        check_forward_once(test, false, (state_place)(i % PLACES));
    }
}

static void check_forward_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        check_forward_once(test, true, (state_place)(i % PLACES));
    }
}

/* Gradients */

/* What the forward pass left and the gradient of its output. A row that saw no key has a d of epsilon. */
static lilac_linear_attention_output_gradients make_outputs(kernel_test *test, const problem *p) {
    const size_t queries = p->chunk.queries, values = p->head.values;
    float *d = kernel_buffer(test, KERNEL_READ, sizeof *d, 1, queries, queries);
    for (size_t i = 0; i < queries; i++) {
        const float number = chance(test, 8) ? p->head.epsilon : (float)kernel_random_between(test, 0.01, 99.0);
        memcpy(d + i, &number, sizeof number);
        p->exact->d[i] = (measured){(double)number, 0.0};
    }
    return (lilac_linear_attention_output_gradients){
        .out = make_rows(test, p, queries, values, false, false, p->exact->o),
        .gradient = make_rows(test, p, queries, values, chance(test, 3), false, p->exact->g),
        .denominator = d};
}

static void check_state_gradient(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        problem p = random_problem(test, false);
        make_queries(test, &p, chance(test, 3));
        const lilac_linear_attention_output_gradients outputs = make_outputs(test, &p);
        float *from = make_state(test, &p, KERNEL_WRITE, false, false, p.exact->ds, p.exact->dz);
        const float *before = copy_state(test, &p, from);
        float *to = place_state(test, &p, i % 2 == 0 ? SEPARATE : IN_PLACE, from);
        float *sum = place_state(test, &p, SEPARATE, NULL);
        look_ahead(test, &p.chunk);
        note_problem(test, &p);
        kernel_arm(test);
        kernels_of(test)->state_gradient(&p.head, &p.chunk, &outputs, from, to, p.scratch);
        kernels_of(test)->state_gradient(&p.head, &p.chunk, &outputs, NULL, sum, p.scratch);
        exact_state_gradient(p.exact);
        expect_state("to", &p, to, false);
        expect_added("to", &p, to, before, sum);
        kernel_verify(test);
    }
}

/* Gradients of `rows` rows, spaced out. */
static float *make_gradient(kernel_test *test, size_t rows, size_t columns, size_t *stride) {
    *stride = columns + kernel_random_below(test, 5);
    return kernel_write(test, rows, columns, *stride);
}

/* NaNs in the place of a state that is not to be looked at. */
static void spoil(float *state, const problem *p) {
    for (size_t i = 0; i < p->state_floats; i++) {
        state[i] = NAN;
    }
}

static void check_backward_once(kernel_test *test, state_place place) {
    problem p = random_problem(test, false);
    exact_chunk *exact = p.exact;
    make_queries(test, &p, chance(test, 3));
    make_keys(test, &p, chance(test, 3));
    const size_t queries = p.chunk.queries, keys = p.chunk.keys, C = p.head.features, M = p.head.values;
    const lilac_linear_attention_output_gradients outputs = make_outputs(test, &p);
    float *state = make_state(test, &p, KERNEL_READ, true, true, exact->s, exact->z);
    float *gradient = make_state(test, &p, KERNEL_WRITE, false, false, exact->ds, exact->dz);
    if (queries == 0) {
        spoil(state, &p);
    }
    if (keys == 0 && place == NOWHERE) {
        spoil(gradient, &p);
    }
    const float *before = copy_state(test, &p, gradient);
    float *previous = place_state(test, &p, place, gradient), *sum = place_state(test, &p, SEPARATE, NULL);
    lilac_linear_attention_gradients gradients;
    gradients.query = make_gradient(test, queries, C, &gradients.query_stride);
    gradients.key = make_gradient(test, keys, C, &gradients.key_stride);
    gradients.value = make_gradient(test, keys, M, &gradients.value_stride);
    look_ahead(test, &p.chunk);
    note_problem(test, &p);
    kernel_arm(test);
    kernels_of(test)->backward(&p.head, &p.chunk, &outputs, state, gradient, previous, &gradients, p.scratch);
    exact_state_gradient(exact);
    exact_gradients(exact);
    expect_rows("dQ", queries, C, gradients.query, gradients.query_stride, exact->dq);
    expect_rows("dK", keys, C, gradients.key, gradients.key_stride, exact->dk);
    expect_rows("dV", keys, M, gradients.value, gradients.value_stride, exact->dv);
    if (previous != NULL) {
        expect_state("previous", &p, previous, false);
        kernels_of(test)->state_gradient(&p.head, &p.chunk, &outputs, NULL, sum, p.scratch);
        expect_added("previous", &p, previous, before, sum);
    }
    kernel_verify(test);
}

static void check_backward(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        check_backward_once(test, (state_place)(i % PLACES));
    }
}

/* step */

/* The state is not padded here, and lies anywhere. */
static void check_step_once(kernel_test *test) {
    problem p = random_problem(test, false);
    exact_chunk *exact = p.exact;
    const size_t C = p.head.features, M = p.head.values;
    p.chunk.causal = exact->causal = true;
    p.chunk.queries = p.chunk.keys = 1;
    make_queries(test, &p, chance(test, 3));
    make_keys(test, &p, chance(test, 3));
    const float *padded = make_state(test, &p, KERNEL_READ, false, true, exact->s, exact->z);
    float *state = kernel_buffer(test, KERNEL_WRITE, sizeof *state, 1, C * (M + 1), 0);
    for (size_t c = 0; c < C; c++) {
        memcpy(state + c * M, padded + c * p.Mp, M * sizeof *state);
    }
    memcpy(state + C * M, padded + p.Cp * p.Mp, C * sizeof *state);
    float *out = kernel_write(test, 1, M, M);
    float *scratch = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof *scratch, 1, lilac_step_scratch_size(&p.head), 0);
    note_problem(test, &p);
    kernel_arm(test);
    kernels_of(test)->step(&p.head, &p.chunk, state, out, scratch);
    exact_forward(exact);
    exact_next_state(exact);
    expect_rows("out", 1, M, out, M, exact->out);
    expect_rows("S", C, M, state, M, exact->next_s);
    expect_rows("z", 1, C, state + C * M, C, exact->next_z);
    kernel_verify(test);
}

static void check_step(kernel_test *test) {
    for (int i = 0; i < STEPS; i++) {
        check_step_once(test);
    }
}

static const kernel_case cases[] = {
    {"state", LILAC_CPU_SCALAR, check_state, NULL},
    {"forward", LILAC_CPU_SCALAR, check_forward, NULL},
    {"state_bf16", LILAC_CPU_SCALAR, check_state_bf16, NULL},
    {"forward_bf16", LILAC_CPU_SCALAR, check_forward_bf16, NULL},
    {"state_gradient", LILAC_CPU_SCALAR, check_state_gradient, NULL},
    {"backward", LILAC_CPU_SCALAR, check_backward, NULL},
    {"step", LILAC_CPU_SCALAR, check_step, NULL},
};

const kernel_family kernel_family_linear_attention = {"linear_attention", cases, sizeof cases / sizeof cases[0]};
