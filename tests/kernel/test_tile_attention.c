/* SPDX-License-Identifier: MIT */
/* The kernels of softmax attention in tiles: packed forms against their places, passes against double precision. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = LILAC_TILE_ROWS,
    DEPTH = LILAC_TILE_DEPTH,
    TILE = LILAC_TILE_BYTES / sizeof(uint16_t),
    MAX_SIZE = 80, /* of a row: more than are kept in tiles */
    MAX_ROWS = 100,
    TRIES = 60
};

/* How far a probability may be off, relative to itself: rounding to bf16, and twice its exponential's own error. */
static const double PROBABILITY = 0x1p-8 + 2e-4;

/* The sum of n products in floats, and what is done with it: in unit roundoffs of the sum of their magnitudes. */
static double roundoff(size_t n) {
    return ((double)n + 8.0) * KERNEL_ROUNDOFF;
}

/* A logarithm of a row's sum, or -infinity where it sees nothing. */
static void expect_or_lowest(const char *what, size_t index, float found, bool sees, double exact, double tolerance) {
    if (sees) {
        kernel_expect(what, index, found, exact, tolerance + 4.0 * KERNEL_ROUNDOFF * fabs(exact));
    } else {
        assert_true(found == -INFINITY);
    }
}

/* ---- Packing ---- */

typedef enum form { LEFT, LEFT_TRANSPOSED, RIGHT, RIGHT_TRANSPOSED, FORMS } form;

/* Row r, column c. */
static size_t place(form f, size_t columns, size_t r, size_t c) {
    const size_t across = (r / ROWS * (columns / DEPTH) + c / DEPTH) * TILE;
    const size_t down = (r / DEPTH * (columns / ROWS) + c / ROWS) * TILE;
    switch (f) {
    case LEFT:
        return across + r % ROWS * DEPTH + c % DEPTH;
    case LEFT_TRANSPOSED:
        return down + c % ROWS * DEPTH + r % DEPTH;
    case RIGHT:
        return down + r % DEPTH / 2 * DEPTH + c % ROWS * 2 + r % 2;
    default:
        return across + c % DEPTH / 2 * DEPTH + r % ROWS * 2 + c % 2;
    }
}

static uint16_t *form_buffer(kernel_test *test, kernel_use use, size_t rows, size_t columns) {
    const size_t count = lilac_round_up(rows, DEPTH) * columns;
    return kernel_aligned_buffer(test, use, sizeof(uint16_t), 1, count, count);
}

static float number(const lilac_tile_source *source, size_t r, size_t c) {
    const size_t at = r * source->ld + c;
    return source->bf16 ? lilac_float_from_bf16(((const uint16_t *)source->data)[at])
                        : ((const float *)source->data)[at];
}

static float packed_number(const lilac_tile_source *source, size_t r, size_t c) {
    if (r >= source->count || c > source->size) {
        return 0.0f;
    }
    if (c == source->size) {
        return source->ones ? 1.0f : 0.0f;
    }
    return lilac_float_from_bf16(lilac_bf16_from_float(number(source, r, c) * source->scale));
}

static lilac_tile_source random_source(kernel_test *test, kernel_input input, size_t count, size_t size) {
    lilac_tile_source source = {.count = count, .size = size, .scale = 1.0f, .ld = size + kernel_random_below(test, 5)};
    source.bf16 = kernel_random_below(test, 3) == 0;
    if (!source.bf16) {
        source.data = kernel_read(test, input, count, size, source.ld);
        return source;
    }
    uint16_t *halves = kernel_buffer(test, KERNEL_READ, sizeof *halves, count, size, source.ld);
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < size; c++) {
            halves[r * source.ld + c] = lilac_bf16_from_float((float)kernel_random_between(test, -1.0, 1.0));
        }
    }
    source.data = halves;
    return source;
}

static void check_forms(const lilac_tile_source *source, size_t columns, uint16_t *const forms[FORMS]) {
    for (size_t r = 0; r < lilac_round_up(source->count, DEPTH); r++) {
        for (size_t c = 0; c < columns; c++) {
            const float exact = packed_number(source, r, c);
            for (form f = 0; f < FORMS; f++) {
                if (forms[f] != NULL) {
                    /* What is below the smallest normal number may be 0. */
                    const float found = lilac_float_from_bf16(forms[f][place(f, columns, r, c)]);
                    kernel_expect("element", r * columns + c, found, (double)exact,
                                  fabsf(exact) <= 0x1p-126f ? 0x1p-126 : 0.0);
                }
            }
        }
    }
}

static void check_pack(kernel_test *test) {
    for (int round = 0; round < TRIES; round++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            lilac_tile_source source = random_source(test, input, 1 + kernel_random_below(test, MAX_ROWS),
                                                     1 + kernel_random_below(test, MAX_SIZE));
            source.scale = (float)kernel_random_between(test, -2.0, 2.0);
            source.ones = kernel_random_below(test, 2) == 0;
            source.ahead = kernel_random_below(test, 2) == 0 ? source.data : NULL;
            /* Columns that are not whole groups of 32 have the form `right` only. */
            const bool narrow = kernel_random_below(test, 2) == 0;
            const size_t columns = lilac_round_up(source.size + source.ones, narrow ? ROWS : DEPTH);
            uint16_t *forms[FORMS] = {NULL};
            for (form f = 0; f < FORMS; f++) {
                if (narrow ? f == RIGHT : kernel_random_below(test, 3) > 0) {
                    forms[f] = form_buffer(test, KERNEL_WRITE, source.count, columns);
                }
            }
            kernel_note(test, "%zu x %zu, %zu columns, bf16 %d, ones %d, input kind %d", source.count, source.size,
                        columns, source.bf16, source.ones, input);
            kernel_arm(test);
            test->kernels->tile_attention.pack(&source,
                                               &(lilac_tile_forms){.columns = columns,
                                                                   .left = forms[LEFT],
                                                                   .left_transposed = forms[LEFT_TRANSPOSED],
                                                                   .right = forms[RIGHT],
                                                                   .right_transposed = forms[RIGHT_TRANSPOSED]});
            check_forms(&source, columns, forms);
            kernel_verify(test);
        }
    }
}

/* ---- Attention: a matrix of bf16 numbers as floats, and its forms ---- */

typedef struct matrix {
    size_t columns;
    float *x; /* [rows][columns] */
    uint16_t *forms[FORMS];
} matrix;

static matrix make_matrix(kernel_test *test, size_t rows, size_t size, bool ones, double range, const form *wanted,
                          size_t count) {
    matrix m = {.columns = lilac_round_up(size + ones, ones ? ROWS : DEPTH)};
    m.x = calloc(rows * m.columns + 1, sizeof *m.x);
    assert_non_null(m.x);
    for (size_t i = 0; i < count; i++) {
        m.forms[wanted[i]] = form_buffer(test, KERNEL_READ, rows, m.columns);
        memset(m.forms[wanted[i]], 0, lilac_round_up(rows, DEPTH) * m.columns * sizeof(uint16_t));
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < size + ones; c++) {
            const float drawn = c == size ? 1.0f : (float)kernel_random_between(test, -range, range);
            const uint16_t half = lilac_bf16_from_float(drawn);
            m.x[r * m.columns + c] = lilac_float_from_bf16(half);
            for (size_t i = 0; i < count; i++) {
                m.forms[wanted[i]][place(wanted[i], m.columns, r, c)] = half;
            }
        }
    }
    return m;
}

static double dot(const matrix *a, size_t r, const matrix *b, size_t k, double *magnitude) {
    double sum = 0.0;
    *magnitude = 0.0;
    for (size_t c = 0; c < a->columns && c < b->columns; c++) {
        const double term = (double)a->x[r * a->columns + c] * (double)b->x[k * b->columns + c];
        sum += term;
        *magnitude += fabs(term);
    }
    return sum;
}

static ptrdiff_t random_diagonal(kernel_test *test, size_t queries, size_t keys) {
    return kernel_random_below(test, 2) == 0
               ? (ptrdiff_t)keys
               : (ptrdiff_t)kernel_random_below(test, queries + keys + 2) - (ptrdiff_t)queries;
}

/* ---- Forward ---- */

static void check_output_row(const lilac_tile_forward *pass, size_t r, const matrix *q, const matrix *k,
                             const matrix *v) {
    const size_t visible = lilac_softmax_row_visible(r, pass->diagonal, pass->keys);
    double maximum = -INFINITY, sum = 0.0, size, error = 0.0;
    for (size_t j = 0; j < visible; j++) {
        maximum = fmax(maximum, dot(q, r, k, j, &size));
        error = fmax(error, 2.0 * roundoff(q->columns) * (size + 20.0));
    }
    double *exact = calloc(2 * pass->value_size, sizeof *exact), *magnitude = exact + pass->value_size;
    for (size_t j = 0; j < visible; j++) {
        const double p = exp2(dot(q, r, k, j, &size) - maximum);
        sum += p;
        for (size_t c = 0; c < pass->value_size; c++) {
            exact[c] += p * (double)v->x[j * v->columns + c];
            magnitude[c] += p * fabs((double)v->x[j * v->columns + c]);
        }
    }
    const double each = PROBABILITY + error + roundoff(visible);
    for (size_t c = 0; c < pass->value_size; c++) {
        const double divided = visible == 0 ? 0.0 : exact[c] / sum;
        const double tolerance = visible == 0 ? 0.0 : each * (magnitude[c] / sum + fabs(divided));
        kernel_expect("output", r * pass->output_stride + c, pass->output[r * pass->output_stride + c], divided,
                      tolerance);
    }
    if (pass->log_sum_exp != NULL) {
        expect_or_lowest("log_sum_exp", r, pass->log_sum_exp[r], visible > 0, (maximum + log2(sum)) * log(2.0), each);
    }
    free(exact);
}

static void check_forward(kernel_test *test) {
    for (int round = 0; round < 4 * TRIES; round++) {
        const size_t size = 1 + kernel_random_below(test, MAX_SIZE);
        lilac_tile_forward pass = {.queries = 1 + kernel_random_below(test, 40),
                                   .keys = kernel_random_below(test, 4 * MAX_ROWS),
                                   .value_size = 1 + kernel_random_below(test, MAX_SIZE)};
        pass.diagonal = random_diagonal(test, pass.queries, pass.keys);
        /* Scores of a few, or of hundreds, where offsets have to be raised. */
        const double range = kernel_random_below(test, 2) == 0 ? 1.0 : 6.0;
        const matrix q = make_matrix(test, pass.queries, size, false, range, (form[]){LEFT}, 1);
        const matrix k = make_matrix(test, pass.keys, size, false, range, (form[]){RIGHT_TRANSPOSED}, 1);
        const matrix v = make_matrix(test, pass.keys, pass.value_size, true, 1.0, (form[]){RIGHT}, 1);
        pass.key_columns = q.columns;
        pass.value_columns = v.columns;
        pass.query = q.forms[LEFT];
        pass.key = k.forms[RIGHT_TRANSPOSED];
        pass.value = v.forms[RIGHT];
        pass.output_stride = pass.value_size + kernel_random_below(test, 4);
        pass.output = kernel_write(test, pass.queries, pass.value_size, pass.output_stride);
        pass.log_sum_exp = round % 4 == 0 ? NULL : kernel_write(test, 1, pass.queries, pass.queries);
        const size_t scratch = ROWS * pass.value_columns;
        pass.scratch = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(float), 1, scratch, scratch);
        kernel_note(test, "%zu queries, %zu keys, diagonal %td, D %zu, M %zu, range %g", pass.queries, pass.keys,
                    pass.diagonal, size, pass.value_size, range);
        kernel_arm(test);
        test->kernels->tile_attention.forward(&pass);
        for (size_t r = 0; r < pass.queries; r++) {
            check_output_row(&pass, r, &q, &k, &v);
        }
        kernel_verify(test);
        free(q.x);
        free(k.x);
        free(v.x);
    }
}

/* ---- Backward ---- */

static void check_row_numbers(kernel_test *test) {
    for (int round = 0; round < TRIES; round++) {
        const size_t count = 1 + kernel_random_below(test, MAX_ROWS), size = 1 + kernel_random_below(test, MAX_SIZE);
        const size_t padded = lilac_round_up(count, DEPTH);
        lilac_tile_row_numbers rows = {.output = random_source(test, KERNEL_UNIFORM, count, size),
                                       .output_gradient = random_source(test, KERNEL_UNIFORM, count, size)};
        float *log_sum_exp = kernel_read(test, KERNEL_EXPONENTS, 1, count, count);
        rows.log_sum_exp = log_sum_exp;
        rows.output.ahead = round % 2 == 0 ? rows.output.data : NULL;
        rows.offsets = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(float), 1, padded, padded);
        rows.deltas = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(float), 1, padded, padded);
        log_sum_exp[kernel_random_below(test, count)] = -INFINITY;
        kernel_note(test, "%zu x %zu", count, size);
        kernel_arm(test);
        test->kernels->tile_attention.row_numbers(&rows);
        for (size_t r = 0; r < padded; r++) {
            double sum = 0.0, magnitude = 0.0;
            for (size_t c = 0; r < count && c < size; c++) {
                const double term = (double)number(&rows.output, r, c) * (double)number(&rows.output_gradient, r, c);
                sum -= term;
                magnitude += fabs(term);
            }
            kernel_expect("delta", r, rows.deltas[r], sum, roundoff(size) * magnitude);
            const bool sees = r < count && log_sum_exp[r] != -INFINITY;
            expect_or_lowest("offset", r, rows.offsets[r], sees, r < count ? -(double)log_sum_exp[r] / log(2.0) : 0.0,
                             0.0);
        }
        kernel_verify(test);
    }
}

/* Tiles of floats, by rows or, as gradients of queries, transposed. */
static size_t gradient_place(bool transposed, size_t columns, size_t r, size_t c) {
    const size_t half = r / 4 % 2, tiles = columns / ROWS;
    return transposed
               ? ((r / DEPTH * tiles + c / ROWS) * 2 + half) * ROWS * ROWS + c % ROWS * ROWS + r % DEPTH / 8 * 4 + r % 4
               : (r / ROWS * tiles + c / ROWS) * ROWS * ROWS + r % ROWS * ROWS + c % ROWS;
}

static float *gradient_buffer(kernel_test *test, kernel_use use, size_t rows, size_t columns) {
    const size_t count = lilac_round_up(rows, DEPTH) * columns;
    float *x = kernel_aligned_buffer(test, use, sizeof *x, 1, count, count);
    kernel_fill(test, KERNEL_UNIFORM, x, 1, count, count);
    return x;
}

static void check_store(kernel_test *test) {
    for (int round = 0; round < TRIES; round++) {
        const size_t count = 1 + kernel_random_below(test, MAX_ROWS), size = 1 + kernel_random_below(test, MAX_SIZE);
        const size_t columns = lilac_round_up(size, DEPTH), ldy = size + kernel_random_below(test, 4);
        const float *gradient = gradient_buffer(test, KERNEL_READ, count, columns);
        const lilac_tile_attention_kernels *kernels = &test->kernels->tile_attention;
        float *y = kernel_write(test, count, size, ldy), *z = kernel_write(test, count, size, ldy);
        kernel_note(test, "%zu x %zu", count, size);
        kernel_arm(test);
        kernels->store_gradients(count, size, columns, 0.7f, gradient, y, ldy);
        kernels->store_query_gradients(count, size, columns, 0.7f, gradient, z, ldy);
        for (size_t r = 0; r < count; r++) {
            for (size_t c = 0; c < size; c++) {
                assert_true(y[r * ldy + c] == 0.7f * gradient[gradient_place(false, columns, r, c)]);
                assert_true(z[r * ldy + c] == 0.7f * gradient[gradient_place(true, columns, r, c)]);
            }
        }
        kernel_verify(test);
    }
}

/* What the gradients must be, and how far they may be off. */
typedef struct sums {
    double *query, *key, *value;
    double *query_error, *key_error, *value_error;
} sums;

static double *zeros(size_t rows, size_t columns) {
    double *x = calloc(rows * columns, sizeof *x);
    assert_non_null(x);
    return x;
}

static void add(double factor, double error, const matrix *x, size_t row, double *sum, double *errors) {
    for (size_t c = 0; c < x->columns; c++) {
        const double term = (double)x->x[row * x->columns + c];
        sum[c] += factor * term;
        errors[c] += error * fabs(term);
    }
}

typedef struct backward_problem {
    lilac_tile_backward block;
    matrix q, k, v, g;
} backward_problem;

static sums exact_gradients(const backward_problem *p) {
    const size_t queries = p->block.queries, keys = p->block.keys, D = p->block.key_columns, M = p->block.value_columns;
    const sums s = {zeros(queries, D), zeros(keys, D), zeros(keys, M),
                    zeros(queries, D), zeros(keys, D), zeros(keys, M)};
    for (size_t r = 0; r < queries; r++) {
        for (size_t k = 0; k < lilac_softmax_row_visible(r, p->block.diagonal, keys); k++) {
            double score_size, gradient_size;
            const double score = dot(&p->q, r, &p->k, k, &score_size) + (double)p->block.offsets[r];
            const double gradient = dot(&p->g, r, &p->v, k, &gradient_size) + (double)p->block.deltas[r];
            if (p->block.offsets[r] == -INFINITY) {
                continue;
            }
            const double probability = exp2(score), ds = probability * gradient;
            const double each =
                PROBABILITY + roundoff(D) * (score_size + fabs((double)p->block.offsets[r])) + roundoff(queries + keys);
            const double ds_error = each * fabs(ds) + probability * roundoff(M) * (gradient_size + 1.0);
            add(probability, each * probability, &p->g, r, s.value + k * M, s.value_error + k * M);
            add(ds, ds_error, &p->q, r, s.key + k * D, s.key_error + k * D);
            add(ds, ds_error, &p->k, k, s.query + r * D, s.query_error + r * D);
        }
    }
    return s;
}

static backward_problem random_problem(kernel_test *test) {
    backward_problem p = {.block = {.queries = 1 + kernel_random_below(test, LILAC_TILE_QUERY_BLOCK),
                                    .keys = 1 + kernel_random_below(test, LILAC_TILE_KEY_BLOCK)}};
    const size_t D = 1 + kernel_random_below(test, MAX_SIZE), M = 1 + kernel_random_below(test, MAX_SIZE);
    lilac_tile_backward *block = &p.block;
    block->diagonal = random_diagonal(test, block->queries, block->keys);
    p.q = make_matrix(test, block->queries, D, false, 1.0, (form[]){RIGHT, RIGHT_TRANSPOSED}, 2);
    p.g = make_matrix(test, block->queries, M, false, 1.0, (form[]){RIGHT, RIGHT_TRANSPOSED}, 2);
    p.k = make_matrix(test, block->keys, D, false, 1.0, (form[]){LEFT, LEFT_TRANSPOSED}, 2);
    p.v = make_matrix(test, block->keys, M, false, 1.0, (form[]){LEFT}, 1);
    block->key_columns = p.q.columns;
    block->value_columns = p.v.columns;
    block->query = p.q.forms[RIGHT];
    block->query_transposed = p.q.forms[RIGHT_TRANSPOSED];
    block->output_gradient = p.g.forms[RIGHT];
    block->output_gradient_transposed = p.g.forms[RIGHT_TRANSPOSED];
    block->key = p.k.forms[LEFT];
    block->key_transposed = p.k.forms[LEFT_TRANSPOSED];
    block->value = p.v.forms[LEFT];
    const size_t padded = lilac_round_up(block->queries, DEPTH);
    float *offsets = kernel_aligned_buffer(test, KERNEL_READ, sizeof(float), 1, padded, padded);
    float *deltas = kernel_aligned_buffer(test, KERNEL_READ, sizeof(float), 1, padded, padded);
    for (size_t r = 0; r < padded; r++) {
        const bool sees = r < block->queries && kernel_random_below(test, 8) > 0;
        offsets[r] = sees ? (float)kernel_random_between(test, -9.0, 0.0) : -INFINITY;
        deltas[r] = (float)kernel_random_between(test, -1.0, 1.0);
    }
    block->offsets = offsets;
    block->deltas = deltas;
    const size_t gradients = LILAC_TILE_QUERY_BLOCK * LILAC_TILE_KEY_BLOCK;
    block->score_gradients = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(uint16_t), 1, gradients, gradients);
    block->query_gradient = gradient_buffer(test, KERNEL_WRITE, block->queries, block->key_columns);
    block->key_gradient = gradient_buffer(test, KERNEL_WRITE, block->keys, block->key_columns);
    block->value_gradient = gradient_buffer(test, KERNEL_WRITE, block->keys, block->value_columns);
    kernel_note(test, "%zu queries, %zu keys, diagonal %td, D %zu, M %zu", block->queries, block->keys, block->diagonal,
                D, M);
    return p;
}

static float *copy_of(const float *gradient, size_t rows, size_t columns) {
    const size_t bytes = lilac_round_up(rows, DEPTH) * columns * sizeof *gradient;
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, gradient, bytes);
    return copy;
}

static void check_gradient(const char *what, bool transposed, size_t rows, size_t columns, float *before,
                           const float *found, double *exact, double *error) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            const size_t at = gradient_place(transposed, columns, r, c);
            kernel_expect(what, r * columns + c, found[at], (double)before[at] + exact[r * columns + c],
                          error[r * columns + c] + 8.0 * KERNEL_ROUNDOFF);
        }
    }
    free(before);
    free(exact);
    free(error);
}

static void check_backward(kernel_test *test) {
    for (int round = 0; round < TRIES; round++) {
        const backward_problem p = random_problem(test);
        const lilac_tile_backward *block = &p.block;
        const size_t queries = block->queries, keys = block->keys, D = block->key_columns, M = block->value_columns;
        float *query = copy_of(block->query_gradient, queries, D), *key = copy_of(block->key_gradient, keys, D);
        float *value = copy_of(block->value_gradient, keys, M);
        const sums s = exact_gradients(&p);
        kernel_arm(test);
        test->kernels->tile_attention.backward(block);
        test->kernels->tile_attention.query_gradients(block);
        check_gradient("query gradient", true, queries, D, query, block->query_gradient, s.query, s.query_error);
        check_gradient("key gradient", false, keys, D, key, block->key_gradient, s.key, s.key_error);
        check_gradient("value gradient", false, keys, M, value, block->value_gradient, s.value, s.value_error);
        kernel_verify(test);
        free(p.q.x);
        free(p.k.x);
        free(p.v.x);
        free(p.g.x);
    }
}

/* ---- Timings: one head of 768 tokens, D = M = 32 ---- */

enum { TOKENS = 768, SIZE = 32 };

static uint16_t *bench_form(kernel_test *test) {
    uint16_t *halves = (uint16_t *)(void *)kernel_bench_floats(test, TOKENS * 64 / 2);
    for (size_t i = 0; i < TOKENS * 64; i++) {
        halves[i] = lilac_bf16_from_float((float)(i % 17) / 16.0f - 0.5f);
    }
    return halves;
}

static void bench_forward(kernel_test *test, size_t n) {
    (void)n;
    const lilac_tile_forward pass = {.queries = TOKENS,
                                     .keys = TOKENS,
                                     .diagonal = TOKENS,
                                     .key_columns = SIZE,
                                     .value_columns = SIZE + ROWS,
                                     .value_size = SIZE,
                                     .query = bench_form(test),
                                     .key = bench_form(test),
                                     .value = bench_form(test),
                                     .output = kernel_bench_floats(test, TOKENS * SIZE),
                                     .output_stride = SIZE,
                                     .scratch = kernel_bench_floats(test, ROWS * (SIZE + ROWS))};
    for (kernel_bench_begin_call(test, 4.0 * TOKENS * TOKENS * SIZE); kernel_bench_more(test);) {
        test->kernels->tile_attention.forward(&pass);
    }
}

static const kernel_case cases[] = {
    {"pack", LILAC_CPU_SCALAR, check_pack, NULL},
    {"forward", LILAC_CPU_SCALAR, check_forward, bench_forward},
    {"row_numbers", LILAC_CPU_SCALAR, check_row_numbers, NULL},
    {"backward", LILAC_CPU_SCALAR, check_backward, NULL},
    {"store", LILAC_CPU_SCALAR, check_store, NULL},
};

const kernel_family kernel_family_tile_attention = {"tile_attention", cases, sizeof cases / sizeof cases[0]};
