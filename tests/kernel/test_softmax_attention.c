/* SPDX-License-Identifier: MIT */
/* The softmax attention kernels against their formulas in double precision. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = LILAC_SOFTMAX_ROWS,
    PANEL = LILAC_SOFTMAX_PANEL,
    LANES = LILAC_SOFTMAX_LANES,
    STRIDE = LILAC_SOFTMAX_SCORE_STRIDE,
    MAX_ROWS = 4 * ROWS,
    MAX_SIZE = 5 * LANES + 1,
    TRIES = 150 /* blocks of random shape */
};

/* How far results may be from the exact ones, in unit roundoffs of the operands named at each use. */
static const struct {
    double sum;  /* of n products: n, and this much more for what is done with it */
    double exp2; /* 2^x itself: 1.3 ulp, an ulp being up to two roundoffs */
    double bf16; /* a probability, rounded to 8 bits */
} tolerance = {.sum = 4, .exp2 = 3, .bf16 = 0x1p16};

/* A block of random shape, full or causal, and the sizes of its heads. */
typedef struct sizes {
    lilac_softmax_block block;
    size_t size, stride; /* of a head; stride a multiple of LANES */
    size_t panels;       /* of keys */
} sizes;

static sizes random_sizes(kernel_test *test, bool single_row) {
    sizes s = {.block = {.rows = ROWS * (1 + kernel_random_below(test, MAX_ROWS / ROWS)),
                         .keys = 1 + kernel_random_below(test, LILAC_SOFTMAX_KEYS)},
               .size = 1 + kernel_random_below(test, MAX_SIZE)};
    if (kernel_random_below(test, 4) == 0) {
        s.block.keys = lilac_round_up(s.block.keys, PANEL);
    }
    if (kernel_random_below(test, 4) == 0) {
        s.size = lilac_round_up(s.size, LANES);
    }
    if (single_row && kernel_random_below(test, 4) == 0) {
        s.block.rows = 1;
    }
    const size_t range = s.block.rows + s.block.keys + 2;
    s.block.diagonal = kernel_random_below(test, 2) == 0
                           ? (ptrdiff_t)s.block.keys
                           : (ptrdiff_t)kernel_random_below(test, range) - (ptrdiff_t)s.block.rows;
    s.stride = lilac_round_up(s.size, LANES) + LANES * kernel_random_below(test, 2);
    s.panels = (s.block.keys + PANEL - 1) / PANEL;
    kernel_note(test, "%zu rows, %zu keys, diagonal %td, size %zu, stride %zu", s.block.rows, s.block.keys,
                s.block.diagonal, s.size, s.stride);
    return s;
}

/* A packed matrix: columns beyond size up to whole lanes are zeros. */
static float *packed(kernel_test *test, kernel_use use, kernel_input input, size_t rows, size_t size, size_t stride) {
    const size_t cols = lilac_round_up(size, LANES);
    float *x = kernel_aligned_buffer(test, use, sizeof *x, rows, cols, stride);
    for (size_t r = 0; r < rows; r++) {
        memset(x + r * stride, 0, cols * sizeof *x);
    }
    kernel_fill(test, input, x, rows, size, stride);
    return x;
}

/* Scores: rows of whole panels and whole tiles. */
static float *score_buffer(kernel_test *test, kernel_use use, const sizes *s) {
    const size_t cols = lilac_size_max(s->panels * PANEL, lilac_round_up(s->block.keys, ROWS));
    return kernel_aligned_buffer(test, use, sizeof(float), s->block.rows, cols, STRIDE);
}

/* Numbers where a row sees the key, zeros elsewhere. */
static void fill_visible(kernel_test *test, const sizes *s, double low, double high, float *x) {
    for (size_t r = 0; r < s->block.rows; r++) {
        for (size_t k = 0; k < s->panels * PANEL; k++) {
            const bool visible = k < lilac_softmax_visible(&s->block, r);
            x[r * STRIDE + k] = visible ? (float)kernel_random_between(test, low, high) : 0.0f;
        }
    }
}

/* The panels of a matrix [keys][stride], made by the reference. */
static float *panels_of(kernel_test *test, const sizes *s, const float *x) {
    float *panels = kernel_aligned_buffer(test, KERNEL_READ, sizeof *panels, 1, s->panels * PANEL * s->size, 0);
    test->reference->softmax_attention.pack_panels(s->block.keys, s->size, x, s->stride, 1.0f, panels);
    return panels;
}

/* The sum of x[i] y[i] and, in *scale, of its terms' absolute values. */
static double dot(const float *x, const float *y, size_t n, double *scale) {
    double sum = 0.0;
    *scale = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
        *scale += fabs((double)x[i] * (double)y[i]);
    }
    return sum;
}

static kernel_input moderate_input(kernel_test *test) {
    static const kernel_input inputs[] = {KERNEL_UNIFORM, KERNEL_EQUAL, KERNEL_ZEROS, KERNEL_DENORMALS};
    return inputs[kernel_random_below(test, sizeof inputs / sizeof *inputs)];
}

static void check_pack_panels(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const size_t ldx = s.size + kernel_random_below(test, 5), count = s.panels * PANEL * s.size;
        const float scale = (float)kernel_random_between(test, -2.0, 2.0);
        const kernel_input input = kernel_random_below(test, KERNEL_INPUTS);
        const float *x = kernel_read(test, input, s.block.keys, s.size, ldx);
        float *panels = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof *panels, 1, count, count);
        float *other = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof *other, 1, count, count);
        kernel_arm(test);
        test->kernels->softmax_attention.pack_panels(s.block.keys, s.size, x, ldx, scale, panels);
        test->reference->softmax_attention.pack_panels(s.block.keys, s.size, x, ldx, scale, other);
        for (size_t j = 0; j < count; j++) {
            const size_t key = j / (PANEL * s.size) * PANEL + j % PANEL, column = j / PANEL % s.size;
            const double exact = key < s.block.keys ? (double)x[key * ldx + column] * (double)scale : 0.0;
            kernel_expect("panels", j, panels[j], exact, KERNEL_ROUNDOFF * fabs(exact));
            if (key < s.block.keys) {
                kernel_expect_same("panels", j, panels[j], other[j]);
            }
        }
        kernel_verify(test);
    }
}

static void check_scores(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, true);
        const kernel_input input = kernel_random_below(test, KERNEL_INPUTS);
        const float *q = packed(test, KERNEL_READ, moderate_input(test), s.block.rows, s.size, s.stride);
        const float *key = packed(test, KERNEL_READ, input, s.block.keys, s.size, s.stride);
        const float *panels = panels_of(test, &s, key);
        float *result = score_buffer(test, KERNEL_WRITE, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.scores(&s.block, s.size, q, s.stride, panels, result);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < lilac_softmax_visible(&s.block, r); k++) {
                double scale;
                const double exact = dot(q + r * s.stride, key + k * s.stride, s.size, &scale);
                /* Products of denormals are rounded to multiples of the smallest one. */
                kernel_expect("s", r * STRIDE + k, result[r * STRIDE + k], exact,
                              ((double)s.size + tolerance.sum) * KERNEL_ROUNDOFF * scale +
                                  (double)s.size * FLT_TRUE_MIN);
            }
        }
        kernel_verify(test);
    }
}

/* What accumulate works on. */
typedef struct sums {
    lilac_softmax_state state;
    float *scores, *copy; /* copy: the scores before they are overwritten */
} sums;

/* Each row has been through keys before, or is new. */
static sums make_sums(kernel_test *test, const sizes *s, bool steep) {
    const size_t rows = s->block.rows;
    sums made = {.state = {.maximum = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(float), 1, rows, rows),
                           .sums = packed(test, KERNEL_WRITE, KERNEL_ZEROS, rows, LANES, LANES),
                           .out = packed(test, KERNEL_WRITE, KERNEL_ZEROS, rows, s->size, s->stride),
                           .ld = s->stride},
                 .scores = score_buffer(test, KERNEL_WRITE, s),
                 .copy = score_buffer(test, KERNEL_READ, s)};
    const double range = steep ? 500.0 : 5.0;
    fill_visible(test, s, -range, range, made.scores);
    memcpy(made.copy, made.scores, ((rows - 1) * STRIDE + s->panels * PANEL) * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        made.state.maximum[r] = -INFINITY;
        if (kernel_random_below(test, 2) == 0) {
            made.state.maximum[r] = (float)kernel_random_between(test, -range, range);
            made.state.sums[r * LANES + kernel_random_below(test, LANES)] =
                (float)kernel_random_between(test, 1.0, 9.0);
            for (size_t c = 0; c < s->size; c++) {
                made.state.out[r * s->stride + c] = (float)kernel_random_between(test, -9.0, 9.0);
            }
        }
    }
    return made;
}

static double total(const float *lanes) {
    double sum = 0.0;
    for (size_t i = 0; i < LANES; i++) {
        sum += (double)lanes[i];
    }
    return sum;
}

/* A row before the kernel runs. */
typedef struct row_before {
    double maximum, sum, out[MAX_SIZE + LANES];
} row_before;

/* Compares row r with what it should be, both scaled to the exact maximum. value(context, k, c): number c of value k.
 */
static void expect_row(const sums *made, const sizes *s, size_t r, const row_before *before, const float *values,
                       double rounding) {
    const size_t visible = lilac_softmax_visible(&s->block, r);
    const lilac_softmax_state *state = &made->state;
    double maximum = before->maximum;
    for (size_t k = 0; k < visible; k++) {
        maximum = fmax(maximum, (double)made->copy[r * STRIDE + k]);
    }
    if (maximum == -INFINITY) {
        kernel_expect("sum", r, (float)total(state->sums + r * LANES), 0.0, 0.0);
        for (size_t c = 0; c < s->size; c++) {
            kernel_expect("out", r * s->stride + c, state->out[r * s->stride + c], 0.0, 0.0);
        }
        return;
    }
    assert_true((double)state->maximum[r] <= maximum && (double)state->maximum[r] >= maximum - 8.0);
    const double from = exp2(before->maximum - maximum), to = exp2((double)state->maximum[r] - maximum);
    double sum = before->sum * from, steepness = 0.0;
    for (size_t k = 0; k < visible; k++) {
        const double x = (double)made->copy[r * STRIDE + k] - maximum, p = exp2(x);
        sum += p;
        steepness += p * (fabs(x) + fabs(maximum) + 8.0); /* the rounding of exp2's argument */
    }
    const double roundoff = ((double)visible + tolerance.exp2 + steepness / sum) * KERNEL_ROUNDOFF;
    kernel_expect("sum", r, (float)(total(state->sums + r * LANES) * to), sum, roundoff * sum);
    for (size_t c = 0; c < s->size; c++) {
        double out = before->out[c] * from, scale = fabs(out);
        for (size_t k = 0; k < visible; k++) {
            const double p = exp2((double)made->copy[r * STRIDE + k] - maximum);
            out += p * (double)values[k * s->stride + c];
            scale += p * fabs((double)values[k * s->stride + c]);
        }
        kernel_expect("out", r * s->stride + c, (float)((double)state->out[r * s->stride + c] * to), out,
                      (roundoff + steepness * KERNEL_ROUNDOFF + rounding * KERNEL_ROUNDOFF) * (scale + 1e-30));
    }
}

static row_before *remember_rows(const sums *made, const sizes *s) {
    row_before *rows = calloc(s->block.rows, sizeof *rows);
    assert_non_null(rows);
    for (size_t r = 0; r < s->block.rows; r++) {
        rows[r].maximum = (double)made->state.maximum[r];
        rows[r].sum = total(made->state.sums + r * LANES);
        for (size_t c = 0; c < s->size; c++) {
            rows[r].out[c] = (double)made->state.out[r * s->stride + c];
        }
    }
    return rows;
}

static void check_accumulate(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, true);
        const float *values = packed(test, KERNEL_READ, moderate_input(test), s.block.keys, s.size, s.stride);
        const sums made = make_sums(test, &s, i % 2 == 0);
        row_before *before = remember_rows(&made, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.accumulate(&s.block, made.scores, s.size, values, s.stride, &made.state);
        for (size_t r = 0; r < s.block.rows; r++) {
            expect_row(&made, &s, r, &before[r], values, 0.0);
        }
        free(before);
        kernel_verify(test);
    }
}

/* Rounds n floats to bf16, in place, and gives the bf16 numbers. */
static uint16_t *rounded(kernel_test *test, size_t n, float *x) {
    uint16_t *halves = kernel_aligned_buffer(test, KERNEL_READ, sizeof *halves, 1, n, n);
    for (size_t i = 0; i < n; i++) {
        halves[i] = lilac_bf16_from_float(x[i]);
        x[i] = lilac_float_from_bf16(halves[i]);
    }
    return halves;
}

static sizes random_row(kernel_test *test) {
    sizes s = random_sizes(test, false);
    s.block.rows = 1;
    s.block.ahead = test;
    s.block.ahead_bytes = kernel_random_below(test, 4096);
    return s;
}

static void check_kept_scores_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_row(test);
        const float *q = packed(test, KERNEL_READ, moderate_input(test), 1, s.size, s.stride);
        const kernel_input input = kernel_random_below(test, KERNEL_INPUTS);
        float *key = packed(test, KERNEL_READ, input, s.block.keys, s.size, s.stride);
        rounded(test, (s.block.keys - 1) * s.stride + lilac_round_up(s.size, LANES), key);
        float *panels = panels_of(test, &s, key);
        const uint16_t *halves = rounded(test, s.panels * PANEL * s.size, panels);
        float *result = score_buffer(test, KERNEL_WRITE, &s), *same = score_buffer(test, KERNEL_WRITE, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.kept_scores_bf16(&s.block, s.size, q, halves, result);
        test->kernels->softmax_attention.scores(&s.block, s.size, q, s.stride, panels, same);
        for (size_t k = 0; k < lilac_softmax_visible(&s.block, 0); k++) {
            double scale;
            const double exact = dot(q, key + k * s.stride, s.size, &scale);
            kernel_expect("s", k, result[k], exact,
                          ((double)s.size + tolerance.sum) * KERNEL_ROUNDOFF * scale + (double)s.size * FLT_TRUE_MIN);
            kernel_expect_same("s", k, result[k], same[k]);
        }
        kernel_verify(test);
    }
}

static void check_kept_accumulate_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_row(test);
        float *values = packed(test, KERNEL_READ, moderate_input(test), s.block.keys, s.size, s.stride);
        const uint16_t *halves = rounded(test, (s.block.keys - 1) * s.stride + lilac_round_up(s.size, LANES), values);
        const sums made = make_sums(test, &s, i % 2 == 0);
        const size_t width = lilac_round_up(s.size, LANES);
        float maximum = made.state.maximum[0];
        float *other_sums = packed(test, KERNEL_WRITE, KERNEL_ZEROS, 1, LANES, LANES);
        float *other_out = packed(test, KERNEL_WRITE, KERNEL_ZEROS, 1, s.size, s.stride);
        memcpy(other_sums, made.state.sums, LANES * sizeof(float));
        memcpy(other_out, made.state.out, width * sizeof(float));
        float *other_scores = score_buffer(test, KERNEL_WRITE, &s);
        memcpy(other_scores, made.copy, s.panels * PANEL * sizeof(float));
        const lilac_softmax_state other = {.maximum = &maximum, .sums = other_sums, .out = other_out, .ld = s.stride};
        row_before *before = remember_rows(&made, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.kept_accumulate_bf16(&s.block, made.scores, s.size, halves, s.stride,
                                                              &made.state);
        test->kernels->softmax_attention.accumulate(&s.block, other_scores, s.size, values, s.stride, &other);
        expect_row(&made, &s, 0, &before[0], values, 0.0);
        for (size_t c = 0; c < s.size; c++) {
            kernel_expect_same("out", c, made.state.out[c], other_out[c]);
        }
        kernel_expect_same("maximum", 0, made.state.maximum[0], maximum);
        kernel_expect_same("sum", 0, (float)total(made.state.sums), (float)total(other_sums));
        free(before);
        kernel_verify(test);
    }
}

static void check_probabilities(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const float *q = packed(test, KERNEL_READ, moderate_input(test), s.block.rows, s.size, s.stride);
        const float *key = packed(test, KERNEL_READ, KERNEL_UNIFORM, s.block.keys, s.size, s.stride);
        const float *panels = panels_of(test, &s, key);
        float *offset = kernel_aligned_buffer(test, KERNEL_READ, sizeof *offset, 1, s.block.rows, s.block.rows);
        float *p = score_buffer(test, KERNEL_WRITE, &s);
        for (size_t r = 0; r < s.block.rows; r++) {
            offset[r] = kernel_random_below(test, 5) == 0 ? INFINITY : (float)kernel_random_between(test, -5.0, 200.0);
        }
        kernel_arm(test);
        test->kernels->softmax_attention.probabilities(&s.block, s.size, q, s.stride, panels, offset, p);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < s.panels * PANEL; k++) {
                double scale = 0.0, exact = 0.0, x = 0.0;
                if (k < lilac_softmax_visible(&s.block, r) && offset[r] != INFINITY) {
                    x = dot(q + r * s.stride, key + k * s.stride, s.size, &scale) - (double)offset[r];
                    exact = exp2(x);
                }
                const double argument = ((double)s.size + tolerance.sum) * scale + fabs(x);
                /* AVX2 gives 0 for what is below the smallest normal number. */
                kernel_expect("p", r * STRIDE + k, p[r * STRIDE + k], exact,
                              (argument + tolerance.exp2) * KERNEL_ROUNDOFF * exact + 0x1p-126);
                assert_true(exact != 0.0 || p[r * STRIDE + k] == 0.0f);
            }
        }
        kernel_verify(test);
    }
}

static void check_score_gradients(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const float *g = packed(test, KERNEL_READ, moderate_input(test), s.block.rows, s.size, s.stride);
        const float *value = packed(test, KERNEL_READ, moderate_input(test), s.block.keys, s.size, s.stride);
        const float *panels = panels_of(test, &s, value);
        const float *delta = packed(test, KERNEL_READ, KERNEL_UNIFORM, 1, s.block.rows, MAX_ROWS + LANES);
        float *p = score_buffer(test, KERNEL_READ, &s), *ds = score_buffer(test, KERNEL_WRITE, &s);
        fill_visible(test, &s, 0.0, 1.0, p);
        kernel_arm(test);
        test->kernels->softmax_attention.score_gradients(&s.block, s.size, g, s.stride, panels, delta, p, ds);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < s.panels * PANEL; k++) {
                double scale = 0.0, exact = 0.0;
                const double factor = (double)p[r * STRIDE + k];
                if (k < lilac_softmax_visible(&s.block, r)) {
                    exact = factor * (dot(g + r * s.stride, value + k * s.stride, s.size, &scale) - (double)delta[r]);
                    scale = factor * (scale + fabs((double)delta[r]));
                }
                kernel_expect("ds", r * STRIDE + k, ds[r * STRIDE + k], exact,
                              ((double)s.size + tolerance.sum) * KERNEL_ROUNDOFF * scale);
            }
        }
        kernel_verify(test);
    }
}

/* Expects c, rows of s->stride numbers, to be what it was before and the sums over k < depth of
 * a[r * row_step + k * depth_step] b[k]. */
static void expect_products(const sizes *s, size_t rows, size_t depth, const float *a, size_t row_step,
                            size_t depth_step, const float *b, const float *before, const float *c) {
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < s->size; j++) {
            const size_t at = r * s->stride + j;
            double exact = (double)before[at], scale = fabs(exact);
            for (size_t k = 0; k < depth; k++) {
                const double term = (double)a[r * row_step + k * depth_step] * (double)b[k * s->stride + j];
                exact += term;
                scale += fabs(term);
            }
            kernel_expect("c", at, c[at], exact, ((double)depth + tolerance.sum) * KERNEL_ROUNDOFF * scale);
        }
    }
}

static void check_multiply(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const float *b = packed(test, KERNEL_READ, moderate_input(test), s.block.keys, s.size, s.stride);
        float *a = score_buffer(test, KERNEL_READ, &s);
        float *c = packed(test, KERNEL_WRITE, KERNEL_UNIFORM, s.block.rows, s.size, s.stride);
        float *before = packed(test, KERNEL_READ, KERNEL_ZEROS, s.block.rows, s.size, s.stride);
        fill_visible(test, &s, -1.0, 1.0, a);
        memcpy(before, c, ((s.block.rows - 1) * s.stride + s.size) * sizeof *c);
        kernel_arm(test);
        test->kernels->softmax_attention.multiply(&s.block, a, s.size, b, s.stride, c, s.stride);
        expect_products(&s, s.block.rows, s.block.keys, a, STRIDE, 1, b, before, c);
        kernel_verify(test);
    }
}

static void check_multiply_transposed(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const size_t c_rows = lilac_round_up(s.block.keys, ROWS);
        const float *b = packed(test, KERNEL_READ, moderate_input(test), s.block.rows, s.size, s.stride);
        float *a = score_buffer(test, KERNEL_READ, &s);
        float *c = packed(test, KERNEL_WRITE, KERNEL_UNIFORM, c_rows, s.size, s.stride);
        float *before = packed(test, KERNEL_READ, KERNEL_ZEROS, c_rows, s.size, s.stride);
        fill_visible(test, &s, -1.0, 1.0, a);
        memcpy(before, c, ((c_rows - 1) * s.stride + s.size) * sizeof *c);
        kernel_arm(test);
        test->kernels->softmax_attention.multiply_transposed(&s.block, a, s.size, b, s.stride, c, s.stride);
        expect_products(&s, s.block.keys, s.block.rows, a, 1, STRIDE, b, before, c);
        kernel_verify(test);
    }
}

/* bf16. A matrix of halves, and the floats they stand for. */

typedef struct halves {
    uint16_t *data;
    float *floats; /* [rows][stride of sizes] */
} halves;

static halves random_halves(kernel_test *test, const sizes *s, size_t rows, size_t cols, size_t ld) {
    halves x = {kernel_aligned_buffer(test, KERNEL_READ, sizeof *x.data, rows, cols, ld),
                packed(test, KERNEL_READ, KERNEL_ZEROS, rows, s->size, s->stride)};
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < cols; i++) {
            const float value = i < s->size ? (float)kernel_random_between(test, -1.0, 1.0) : 0.0f;
            x.data[r * ld + i] = lilac_bf16_from_float(value);
            if (i < s->size) {
                x.floats[r * s->stride + i] = lilac_float_from_bf16(x.data[r * ld + i]);
            }
        }
    }
    return x;
}

/* A matrix of scores in bf16, in pairs of rows or in plain rows. */
static uint16_t *score_halves(kernel_test *test, kernel_use use, const sizes *s, bool pairs) {
    const size_t cols = lilac_size_max(s->panels * PANEL, lilac_round_up(s->block.keys, ROWS));
    return kernel_aligned_buffer(test, use, sizeof(uint16_t), pairs ? s->block.rows / 2 : s->block.rows,
                                 pairs ? 2 * cols : cols, 2 * STRIDE);
}

/* Number c of row r of a matrix in pairs of rows, `ld` pairs apart. */
static size_t in_pairs(size_t r, size_t c, size_t ld) {
    return 2 * (r / 2 * ld + c) + r % 2;
}

/* Random numbers where a row sees a key, else 0, and the floats that they stand for. */
static uint16_t *random_score_halves(kernel_test *test, const sizes *s, bool pairs, float *floats) {
    uint16_t *x = score_halves(test, KERNEL_READ, s, pairs);
    fill_visible(test, s, -1.0, 1.0, floats);
    for (size_t r = 0; r < s->block.rows; r++) {
        for (size_t k = 0; k < lilac_size_max(s->panels * PANEL, lilac_round_up(s->block.keys, ROWS)); k++) {
            const float value = k < s->panels * PANEL ? floats[r * STRIDE + k] : 0.0f;
            const uint16_t half = lilac_bf16_from_float(value);
            x[pairs ? in_pairs(r, k, STRIDE) : r * 2 * STRIDE + k] = half;
            floats[r * STRIDE + k] = lilac_float_from_bf16(half);
        }
    }
    return x;
}

/* The panels of a matrix, made by the reference. */
static uint16_t *panels_of_halves(kernel_test *test, const sizes *s, const halves *x) {
    const size_t count = s->panels * PANEL * lilac_round_up(s->size, 2);
    uint16_t *panels = kernel_aligned_buffer(test, KERNEL_READ, sizeof *panels, 1, count, 0);
    test->reference->softmax_attention.pack_panels_bf16(s->block.keys, s->size, x->data, s->size, panels);
    return panels;
}

/* The pairs of rows of a matrix, made by the reference. */
static uint16_t *pairs_of_halves(kernel_test *test, const sizes *s, size_t rows, const halves *x) {
    const size_t pair_rows = (rows + 1) / 2, cols = 2 * lilac_round_up(s->size, LANES);
    uint16_t *pairs = kernel_aligned_buffer(test, KERNEL_READ, sizeof *pairs, pair_rows, cols, 2 * s->stride);
    for (size_t i = 0; i < pair_rows; i++) {
        memset(pairs + i * 2 * s->stride, 0, cols * sizeof *pairs);
    }
    test->reference->softmax_attention.pack_pairs_bf16(rows, s->size, x->data, s->size, pairs, s->stride);
    return pairs;
}

static void check_packing_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const size_t count = s.panels * PANEL * lilac_round_up(s.size, 2), pair_rows = (s.block.keys + 1) / 2;
        const size_t cols = 2 * lilac_round_up(s.size, LANES);
        const halves x = random_halves(test, &s, s.block.keys, s.size, s.size + 3);
        uint16_t *panels = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof *panels, 1, count, count);
        uint16_t *pairs = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof *pairs, pair_rows, cols, 2 * s.stride);
        kernel_arm(test);
        test->kernels->softmax_attention.pack_panels_bf16(s.block.keys, s.size, x.data, s.size + 3, panels);
        test->kernels->softmax_attention.pack_pairs_bf16(s.block.keys, s.size, x.data, s.size + 3, pairs, s.stride);
        for (size_t key = 0; key < s.panels * PANEL; key++) {
            for (size_t c = 0; c < lilac_round_up(s.size, 2); c++) {
                const bool inside = key < s.block.keys && c < s.size;
                const uint16_t exact = inside ? x.data[key * (s.size + 3) + c] : 0;
                const size_t panel = key / PANEL * PANEL * lilac_round_up(s.size, 2);
                assert_int_equal(panels[panel + c / 2 * 2 * PANEL + key % PANEL * 2 + c % 2], exact);
            }
        }
        for (size_t key = 0; key < 2 * pair_rows; key++) {
            for (size_t c = 0; c < s.size; c++) {
                const uint16_t exact = key < s.block.keys ? x.data[key * (s.size + 3) + c] : 0;
                assert_int_equal(pairs[in_pairs(key, c, s.stride)], exact);
            }
        }
        kernel_verify(test);
    }
}

static void check_scores_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, true);
        const float factor = (float)kernel_random_between(test, -2.0, 2.0);
        const halves q = random_halves(test, &s, s.block.rows, lilac_round_up(s.size, LANES), s.stride);
        const halves key = random_halves(test, &s, s.block.keys, s.size, s.size);
        const uint16_t *panels = panels_of_halves(test, &s, &key);
        float *result = score_buffer(test, KERNEL_WRITE, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.scores_bf16(&s.block, s.size, q.data, s.stride, panels, factor, result);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < lilac_softmax_visible(&s.block, r); k++) {
                double scale;
                const double sum = dot(q.floats + r * s.stride, key.floats + k * s.stride, s.size, &scale);
                kernel_expect("s", r * STRIDE + k, result[r * STRIDE + k], sum * (double)factor,
                              ((double)s.size + tolerance.sum) * KERNEL_ROUNDOFF * scale * fabs((double)factor));
            }
        }
        kernel_verify(test);
    }
}

static void check_accumulate_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, true);
        const halves value = random_halves(test, &s, s.block.keys, s.size, s.size);
        const uint16_t *pairs = pairs_of_halves(test, &s, s.block.keys, &value);
        const sums made = make_sums(test, &s, i % 2 == 0);
        row_before *before = remember_rows(&made, &s);
        kernel_arm(test);
        test->kernels->softmax_attention.accumulate_bf16(&s.block, made.scores, s.size, pairs, s.stride, &made.state);
        for (size_t r = 0; r < s.block.rows; r++) {
            expect_row(&made, &s, r, &before[r], value.floats, tolerance.bf16);
        }
        free(before);
        kernel_verify(test);
    }
}

static void check_probabilities_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const float factor = (float)kernel_random_between(test, -2.0, 2.0);
        const halves q = random_halves(test, &s, s.block.rows, lilac_round_up(s.size, LANES), s.stride);
        const halves key = random_halves(test, &s, s.block.keys, s.size, s.size);
        const uint16_t *panels = panels_of_halves(test, &s, &key);
        float *offset = kernel_aligned_buffer(test, KERNEL_READ, sizeof *offset, 1, s.block.rows, s.block.rows);
        float *p = score_buffer(test, KERNEL_WRITE, &s);
        uint16_t *pairs = score_halves(test, KERNEL_WRITE, &s, true);
        for (size_t r = 0; r < s.block.rows; r++) {
            offset[r] = kernel_random_below(test, 5) == 0 ? INFINITY : (float)kernel_random_between(test, -5.0, 200.0);
        }
        kernel_arm(test);
        test->kernels->softmax_attention.probabilities_bf16(&s.block, s.size, q.data, s.stride, panels, factor, offset,
                                                            p, pairs);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < s.panels * PANEL; k++) {
                const float got = p[r * STRIDE + k], half = lilac_float_from_bf16(pairs[in_pairs(r, k, STRIDE)]);
                double scale = 0.0, exact = 0.0, x = 0.0;
                if (k < lilac_softmax_visible(&s.block, r) && offset[r] != INFINITY) {
                    x = dot(q.floats + r * s.stride, key.floats + k * s.stride, s.size, &scale) * (double)factor;
                    x -= (double)offset[r];
                    exact = exp2(x);
                }
                const double argument = ((double)s.size + tolerance.sum) * scale * fabs((double)factor) + fabs(x);
                kernel_expect("p", r * STRIDE + k, got, exact, (argument * KERNEL_ROUNDOFF + 1e-4) * exact + 0x1p-126);
                assert_true(exact != 0.0 || got == 0.0f);
                /* Instructions for bf16 may take a subnormal number for 0. */
                assert_true(half == lilac_float_from_bf16(lilac_bf16_from_float(got)) ||
                            (half == 0.0f && got < 0x1p-126f));
            }
        }
        kernel_verify(test);
    }
}

static void check_score_gradients_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const halves g = random_halves(test, &s, s.block.rows, lilac_round_up(s.size, LANES), s.stride);
        const halves value = random_halves(test, &s, s.block.keys, s.size, s.size);
        const uint16_t *panels = panels_of_halves(test, &s, &value);
        const float *delta = packed(test, KERNEL_READ, KERNEL_UNIFORM, 1, s.block.rows, MAX_ROWS + LANES);
        float *p = score_buffer(test, KERNEL_READ, &s);
        uint16_t *ds = score_halves(test, KERNEL_WRITE, &s, false), *pairs = score_halves(test, KERNEL_WRITE, &s, true);
        fill_visible(test, &s, 0.0, 1.0, p);
        kernel_arm(test);
        test->kernels->softmax_attention.score_gradients_bf16(&s.block, s.size, g.data, s.stride, panels, delta, p, ds,
                                                              pairs);
        for (size_t r = 0; r < s.block.rows; r++) {
            for (size_t k = 0; k < s.panels * PANEL; k++) {
                double scale = 0.0, exact = 0.0;
                const double factor = (double)p[r * STRIDE + k];
                if (k < lilac_softmax_visible(&s.block, r)) {
                    exact = dot(g.floats + r * s.stride, value.floats + k * s.stride, s.size, &scale);
                    exact = factor * (exact - (double)delta[r]);
                    scale = factor * (scale + fabs((double)delta[r]));
                }
                const double sum = ((double)s.size + tolerance.sum) * KERNEL_ROUNDOFF * scale;
                kernel_expect("ds", r * STRIDE + k, lilac_float_from_bf16(ds[r * 2 * STRIDE + k]), exact,
                              sum + tolerance.bf16 * KERNEL_ROUNDOFF * (fabs(exact) + sum));
                assert_int_equal(pairs[in_pairs(r, k, STRIDE)], ds[r * 2 * STRIDE + k]);
            }
        }
        kernel_verify(test);
    }
}

static void check_multiply_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const halves b = random_halves(test, &s, s.block.keys, s.size, s.size);
        const uint16_t *pairs = pairs_of_halves(test, &s, s.block.keys, &b);
        float *a = score_buffer(test, KERNEL_READ, &s);
        const uint16_t *rows = random_score_halves(test, &s, false, a);
        float *c = packed(test, KERNEL_WRITE, KERNEL_UNIFORM, s.block.rows, s.size, s.stride);
        float *before = packed(test, KERNEL_READ, KERNEL_ZEROS, s.block.rows, s.size, s.stride);
        memcpy(before, c, ((s.block.rows - 1) * s.stride + s.size) * sizeof *c);
        kernel_arm(test);
        test->kernels->softmax_attention.multiply_bf16(&s.block, rows, s.size, pairs, s.stride, c, s.stride);
        expect_products(&s, s.block.rows, s.block.keys, a, STRIDE, 1, b.floats, before, c);
        kernel_verify(test);
    }
}

static void check_multiply_transposed_bf16(kernel_test *test) {
    for (int i = 0; i < TRIES; i++) {
        const sizes s = random_sizes(test, false);
        const size_t c_rows = lilac_round_up(s.block.keys, ROWS);
        const halves b = random_halves(test, &s, s.block.rows, s.size, s.size);
        const uint16_t *b_pairs = pairs_of_halves(test, &s, s.block.rows, &b);
        float *a = score_buffer(test, KERNEL_READ, &s);
        const uint16_t *a_pairs = random_score_halves(test, &s, true, a);
        float *c = packed(test, KERNEL_WRITE, KERNEL_UNIFORM, c_rows, s.size, s.stride);
        float *before = packed(test, KERNEL_READ, KERNEL_ZEROS, c_rows, s.size, s.stride);
        memcpy(before, c, ((c_rows - 1) * s.stride + s.size) * sizeof *c);
        kernel_arm(test);
        test->kernels->softmax_attention.multiply_transposed_bf16(&s.block, a_pairs, s.size, b_pairs, s.stride, c,
                                                                  s.stride);
        expect_products(&s, s.block.keys, s.block.rows, a, 1, STRIDE, b.floats, before, c);
        kernel_verify(test);
    }
}

static const kernel_case cases[] = {
    {"pack_panels", LILAC_CPU_SCALAR, check_pack_panels, NULL},
    {"scores", LILAC_CPU_SCALAR, check_scores, NULL},
    {"accumulate", LILAC_CPU_SCALAR, check_accumulate, NULL},
    {"kept_scores_bf16", LILAC_CPU_SCALAR, check_kept_scores_bf16, NULL},
    {"kept_accumulate_bf16", LILAC_CPU_SCALAR, check_kept_accumulate_bf16, NULL},
    {"probabilities", LILAC_CPU_SCALAR, check_probabilities, NULL},
    {"score_gradients", LILAC_CPU_SCALAR, check_score_gradients, NULL},
    {"multiply", LILAC_CPU_SCALAR, check_multiply, NULL},
    {"multiply_transposed", LILAC_CPU_SCALAR, check_multiply_transposed, NULL},
    {"packing_bf16", LILAC_CPU_SCALAR, check_packing_bf16, NULL},
    {"scores_bf16", LILAC_CPU_SCALAR, check_scores_bf16, NULL},
    {"accumulate_bf16", LILAC_CPU_SCALAR, check_accumulate_bf16, NULL},
    {"probabilities_bf16", LILAC_CPU_SCALAR, check_probabilities_bf16, NULL},
    {"score_gradients_bf16", LILAC_CPU_SCALAR, check_score_gradients_bf16, NULL},
    {"multiply_bf16", LILAC_CPU_SCALAR, check_multiply_bf16, NULL},
    {"multiply_transposed_bf16", LILAC_CPU_SCALAR, check_multiply_transposed_bf16, NULL},
};

const kernel_family kernel_family_softmax_attention = {"softmax_attention", cases, sizeof cases / sizeof cases[0]};
