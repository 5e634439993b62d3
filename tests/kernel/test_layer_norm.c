/* SPDX-License-Identifier: MIT */
/* The layer norm kernels against their formulas in double precision. */
#include "kernel_test.h"

#include "core/memory.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Rows up to two groups of random words and one element; strips of rows, and what is left of them. */
enum { MAX_COLS = 2 * LILAC_RANDOM_GROUP + 1, MAX_ROWS = 9 };

/* In unit roundoffs, beside one for each element of a sum. */
static const struct {
    double residual; /* two sums and a product */
    double mean, rstd, out, gradient;
} tolerance = {.residual = 3, .mean = 4, .rstd = 8, .out = 5, .gradient = 12};

/* residual_norm_forward */

typedef enum out_place { SEPARATE, OVER_X, OVER_Y, OUT_PLACES } out_place;

typedef struct forward_problem {
    size_t rows, cols;
    lilac_dropout dropout;
    lilac_residual_norm tensors, reference;
    double exact[MAX_ROWS * MAX_COLS]; /* s */
    double sizes[MAX_ROWS * MAX_COLS]; /* of the terms of s */
} forward_problem;

static void fill_exact(forward_problem *p) {
    const lilac_residual_norm *t = &p->tensors;
    uint32_t words[LILAC_RANDOM_GROUP];
    lilac_random place = p->dropout.random;
    for (size_t i = 0; i < p->rows * p->cols; i++) {
        const size_t c = i % p->cols;
        if (c % LILAC_RANDOM_GROUP == 0) {
            lilac_random_group(&place, words);
            place.group++;
        }
        const double y = (double)t->y[i], b = t->branch_bias == NULL ? 0.0 : (double)t->branch_bias[c];
        const double factor = t->dropout == NULL                                     ? 1.0
                              : words[c % LILAC_RANDOM_GROUP] < p->dropout.threshold ? 0.0
                                                                                     : (double)p->dropout.scale;
        const double x = t->x == NULL ? 0.0 : (double)t->x[i];
        p->exact[i] = x + factor * (y + b);
        p->sizes[i] = fabs(x) + factor * (fabs(y) + fabs(b));
    }
}

static void make_forward(kernel_test *test, forward_problem *p, size_t cols, kernel_input input, out_place place) {
    const size_t rows = kernel_random_below(test, MAX_ROWS + 1), n = rows * cols;
    const bool with_x = place == OVER_X || kernel_random_below(test, 2) == 0;
    *p = (forward_problem){.rows = rows, .cols = cols};
    p->dropout = (lilac_dropout){1u << 30, 4.0f / 3.0f, kernel_random_place(test)};
    float *x = kernel_buffer(test, place == OVER_X ? KERNEL_WRITE : KERNEL_READ, sizeof *x, 1, n, n);
    float *y = kernel_write(test, 1, n, n), *other = kernel_write(test, 1, n, n);
    kernel_fill(test, input, x, 1, n, n);
    kernel_fill(test, input, y, 1, n, n);
    memcpy(other, y, n * sizeof *y);
    p->tensors = (lilac_residual_norm){
        .x = with_x ? x : NULL,
        .branch_bias = kernel_random_below(test, 2) == 0 ? NULL : kernel_read(test, input, 1, cols, cols),
        .dropout = kernel_random_below(test, 2) == 0 ? NULL : &p->dropout,
        .gain = kernel_read(test, KERNEL_UNIFORM, 1, cols, cols),
        .bias = kernel_read(test, KERNEL_UNIFORM, 1, cols, cols),
        .epsilon = 1e-5f,
        .y = y,
        .mean = kernel_write(test, 1, rows, rows),
        .rstd = kernel_write(test, 1, rows, rows)};
    p->tensors.out = place == OVER_X ? x : place == OVER_Y ? y : kernel_write(test, 1, n, n);
    p->reference = p->tensors;
    p->reference.y = other;
    p->reference.mean = kernel_write(test, 1, rows, rows);
    p->reference.rstd = kernel_write(test, 1, rows, rows);
    p->reference.out = kernel_write(test, 1, n, n);
    fill_exact(p);
}

/* A row of s as it was rounded. */
static void expect_row(const forward_problem *p, size_t i, const float *s) {
    const lilac_residual_norm *t = &p->tensors;
    const double n = (double)p->cols;
    double sum = 0.0, squares = 0.0, spread = 0.0;
    for (size_t c = 0; c < p->cols; c++) {
        sum += (double)s[c];
        spread = fmax(spread, fabs((double)s[c] - (double)s[0]));
    }
    for (size_t c = 0; c < p->cols; c++) {
        squares += ((double)s[c] - sum / n) * ((double)s[c] - sum / n);
    }
    const double mean = sum / n, variance = squares / n;
    kernel_expect("mean", i, t->mean[i], mean, KERNEL_ROUNDOFF * (tolerance.mean * (fabs(mean) + spread) + n * spread));
    const double rstd = variance > (double)FLT_MAX ? 0.0 : 1.0 / sqrt(variance + (double)t->epsilon);
    kernel_expect("rstd", i, t->rstd[i], rstd, KERNEL_ROUNDOFF * (tolerance.rstd + n) * rstd);
    for (size_t c = 0; c < p->cols; c++) {
        const double d = (double)s[c] - (double)t->mean[i];
        const double product = d * (double)t->rstd[i] * (double)t->gain[c], bias = (double)t->bias[c];
        kernel_expect("out", i * p->cols + c, t->out[i * p->cols + c], product + bias,
                      KERNEL_ROUNDOFF * tolerance.out * (fabs(product) + fabs(bias)));
    }
}

static void check_forward_once(kernel_test *test, size_t cols, kernel_input input, out_place place) {
    forward_problem p;
    kernel_note(test, "%zu columns, input kind %d, place of out %d", cols, input, place);
    make_forward(test, &p, cols, input, place);
    kernel_note(test, "%zu rows, %zu columns, input kind %d, place of out %d, x %d, bias %d, dropout %d", p.rows, cols,
                input, place, p.tensors.x != NULL, p.tensors.branch_bias != NULL, p.tensors.dropout != NULL);
    kernel_arm(test);
    test->reference->layer_norm.residual_norm_forward(p.rows, cols, &p.reference);
    test->kernels->layer_norm.residual_norm_forward(p.rows, cols, &p.tensors);
    for (size_t i = 0; i < p.rows * cols; i++) {
        kernel_expect("s", i, p.reference.y[i], p.exact[i], KERNEL_ROUNDOFF * tolerance.residual * p.sizes[i]);
        if (place != OVER_Y) {
            kernel_expect_same("s", i, p.tensors.y[i], p.reference.y[i]);
        }
    }
    for (size_t i = 0; cols > 0 && i < p.rows; i++) {
        expect_row(&p, i, p.reference.y + i * cols);
    }
    kernel_verify(test);
}

static void check_forward(kernel_test *test) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            for (out_place place = SEPARATE; place < OUT_PLACES; place++) {
                check_forward_once(test, cols, input, place);
            }
        }
    }
}

/* layer_norm_backward */

typedef struct backward_problem {
    size_t rows, cols;
    lilac_layer_norm_gradient tensors;
    double dout[MAX_ROWS * MAX_COLS], add[MAX_ROWS * MAX_COLS]; /* before, as are these: */
    double dgain[MAX_COLS], dbias[MAX_COLS];
} backward_problem;

typedef enum ds_place { DS_SEPARATE, DS_OVER_DOUT, DS_OVER_ADD, DS_PLACES } ds_place;

static void make_backward(kernel_test *test, backward_problem *p, size_t cols, kernel_input input, ds_place place) {
    const size_t rows = kernel_random_below(test, MAX_ROWS + 1), n = rows * cols;
    *p = (backward_problem){.rows = rows, .cols = cols};
    float *mean = kernel_read(test, input, 1, rows, rows), *rstd = kernel_read(test, KERNEL_UNIFORM, 1, rows, rows);
    float *dout = kernel_buffer(test, place == DS_OVER_DOUT ? KERNEL_WRITE : KERNEL_READ, sizeof *dout, 1, n, n);
    float *add = kernel_buffer(test, place == DS_OVER_ADD ? KERNEL_WRITE : KERNEL_READ, sizeof *add, 1, n, n);
    float *dgain = kernel_write(test, 1, cols, cols), *dbias = kernel_write(test, 1, cols, cols);
    kernel_fill(test, input, dout, 1, n, n);
    kernel_fill(test, input, add, 1, n, n);
    kernel_fill(test, KERNEL_UNIFORM, dgain, 1, cols, cols);
    kernel_fill(test, KERNEL_UNIFORM, dbias, 1, cols, cols);
    const bool with_add = place == DS_OVER_ADD || kernel_random_below(test, 2) == 0;
    const bool wanted = kernel_random_below(test, 4) != 0;
    for (size_t i = 0; i < n; i++) {
        p->dout[i] = (double)dout[i];
        p->add[i] = with_add ? (double)add[i] : 0.0;
    }
    for (size_t c = 0; c < cols; c++) {
        p->dgain[c] = (double)dgain[c];
        p->dbias[c] = (double)dbias[c];
    }
    for (size_t i = 0; i < rows; i++) {
        rstd[i] = fabsf(rstd[i]) + 0.1f;
    }
    p->tensors = (lilac_layer_norm_gradient){.s = kernel_read(test, input, 1, n, n),
                                             .mean = mean,
                                             .rstd = rstd,
                                             .gain = kernel_read(test, KERNEL_UNIFORM, 1, cols, cols),
                                             .dout = dout,
                                             .add = with_add ? add : NULL,
                                             .dgain = wanted ? dgain : NULL,
                                             .dbias = wanted ? dbias : NULL};
    p->tensors.ds = place == DS_OVER_DOUT ? dout : place == DS_OVER_ADD ? add : kernel_write(test, 1, n, n);
}

static double normalised(const backward_problem *p, size_t i, size_t c) {
    return ((double)p->tensors.s[i * p->cols + c] - (double)p->tensors.mean[i]) * (double)p->tensors.rstd[i];
}

static void expect_gradient_row(const backward_problem *p, size_t i) {
    const size_t cols = p->cols;
    const double count = (double)cols, rstd = (double)p->tensors.rstd[i];
    double sum = 0.0, product_sum = 0.0, size = 0.0, product_size = 0.0;
    for (size_t c = 0; c < cols; c++) {
        const double g = p->dout[i * cols + c] * (double)p->tensors.gain[c], n = normalised(p, i, c);
        sum += g / count;
        product_sum += g * n / count;
        size += fabs(g) / count;
        product_size += fabs(g * n) / count;
    }
    for (size_t c = 0; c < cols; c++) {
        const double g = p->dout[i * cols + c] * (double)p->tensors.gain[c], n = normalised(p, i, c);
        const double add = p->add[i * cols + c];
        const double error =
            (tolerance.gradient + count) * (size + fabs(n) * product_size) + tolerance.gradient * fabs(g);
        /* What is denormal on the way is off by a denormal's spacing. */
        kernel_expect("ds", i * cols + c, p->tensors.ds[i * cols + c], rstd * (g - sum - n * product_sum) + add,
                      KERNEL_ROUNDOFF * (rstd * error + 2.0 * fabs(add)) + (8.0 + count) * 0x1p-149);
    }
}

static void expect_parameter_gradients(const backward_problem *p) {
    for (size_t c = 0; c < p->cols; c++) {
        double dgain = p->dgain[c], dbias = p->dbias[c], gain_size = fabs(dgain), bias_size = fabs(dbias);
        for (size_t i = 0; i < p->rows; i++) {
            const double dout = p->dout[i * p->cols + c], n = normalised(p, i, c);
            dgain += dout * n;
            dbias += dout;
            gain_size += fabs(dout * n);
            bias_size += fabs(dout);
        }
        kernel_expect("dgain", c, p->tensors.dgain[c], dgain, KERNEL_ROUNDOFF * (4.0 + (double)p->rows) * gain_size);
        kernel_expect("dbias", c, p->tensors.dbias[c], dbias, KERNEL_ROUNDOFF * (2.0 + (double)p->rows) * bias_size);
    }
}

static void check_backward_once(kernel_test *test, size_t cols, kernel_input input, ds_place place) {
    backward_problem p;
    kernel_note(test, "%zu columns, input kind %d, place of ds %d", cols, input, place);
    make_backward(test, &p, cols, input, place);
    kernel_note(test, "%zu rows, %zu columns, input kind %d, place of ds %d, add %d, parameters' gradients %d", p.rows,
                cols, input, place, p.tensors.add != NULL, p.tensors.dgain != NULL);
    kernel_arm(test);
    test->kernels->layer_norm.layer_norm_backward(p.rows, cols, &p.tensors);
    for (size_t i = 0; i < p.rows; i++) {
        expect_gradient_row(&p, i);
    }
    if (p.tensors.dgain != NULL) {
        expect_parameter_gradients(&p);
    }
    kernel_verify(test);
}

static void check_backward(kernel_test *test) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            for (ds_place place = DS_SEPARATE; place < DS_PLACES; place++) {
                if (input != KERNEL_LARGE) { /* whose products are no floats */
                    check_backward_once(test, cols, input, place);
                }
            }
        }
    }
}

/* Timings */

enum { BENCH_COLS = 256 };

static void bench_forward_with(kernel_test *test, size_t n, bool with_dropout) {
    const lilac_dropout dropout = {429496729, 1.0f, {.seed = 1, .stream = 2}};
    float *x = kernel_bench_floats(test, n), *vectors = kernel_bench_floats(test, 3 * BENCH_COLS);
    float *numbers = kernel_bench_floats(test, 2 * n / BENCH_COLS);
    const lilac_residual_norm tensors = {.x = x,
                                         .branch_bias = vectors,
                                         .dropout = with_dropout ? &dropout : NULL,
                                         .gain = vectors + BENCH_COLS,
                                         .bias = vectors + 2 * BENCH_COLS,
                                         .epsilon = 1e-5f,
                                         .y = kernel_bench_floats(test, n),
                                         .mean = numbers,
                                         .rstd = numbers + n / BENCH_COLS,
                                         .out = kernel_bench_floats(test, n)};
    for (kernel_bench_begin(test, n, 16 * n); kernel_bench_more(test);) {
        test->kernels->layer_norm.residual_norm_forward(n / BENCH_COLS, BENCH_COLS, &tensors);
    }
}

static void bench_forward(kernel_test *test, size_t n) {
    bench_forward_with(test, n, false);
}

static void bench_forward_dropout(kernel_test *test, size_t n) {
    bench_forward_with(test, n, true);
}

static void bench_backward(kernel_test *test, size_t n) {
    float *vectors = kernel_bench_floats(test, 3 * BENCH_COLS),
          *numbers = kernel_bench_floats(test, 2 * n / BENCH_COLS);
    const lilac_layer_norm_gradient tensors = {.s = kernel_bench_floats(test, n),
                                               .mean = numbers,
                                               .rstd = numbers + n / BENCH_COLS,
                                               .gain = vectors,
                                               .dout = kernel_bench_floats(test, n),
                                               .ds = kernel_bench_floats(test, n),
                                               .dgain = vectors + BENCH_COLS,
                                               .dbias = vectors + 2 * BENCH_COLS};
    for (kernel_bench_begin(test, n, 12 * n); kernel_bench_more(test);) {
        test->kernels->layer_norm.layer_norm_backward(n / BENCH_COLS, BENCH_COLS, &tensors);
    }
}

static const kernel_case cases[] = {
    {"residual_norm_forward", LILAC_CPU_SCALAR, check_forward, bench_forward},
    {"residual_norm_forward with dropout", LILAC_CPU_SCALAR, NULL, bench_forward_dropout},
    {"layer_norm_backward", LILAC_CPU_SCALAR, check_backward, bench_backward},
};

const kernel_family kernel_family_layer_norm = {"layer_norm", cases, sizeof cases / sizeof cases[0]};
