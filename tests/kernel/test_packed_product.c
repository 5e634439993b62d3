/* SPDX-License-Identifier: MIT */
/* The products by packed weights against their formula in double precision, and each row against the same row alone. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <math.h>

/* Rows up to two of the largest tiles and one. */
enum { MAX_ROWS = 25, MAX_DEPTH = 40 };

typedef struct problem {
    lilac_packed_product product;
    const float *x, *panel;
    const uint16_t *rounded; /* NULL: panel counts */
} problem;

static problem random_problem(kernel_test *test, size_t rows, kernel_input input, bool bf16) {
    problem p = {.product = {.rows = rows,
                             .depth = kernel_random_below(test, MAX_DEPTH),
                             .cols = 1 + kernel_random_below(test, LILAC_PANEL),
                             .add = kernel_random_below(test, 2) == 0}};
    p.product.ldx = p.product.depth + kernel_random_below(test, 5);
    p.product.ldy = p.product.cols + kernel_random_below(test, 5);
    kernel_note(test, "%zu rows, depth %zu, %zu columns, input kind %d, bf16 %d, add %d", rows, p.product.depth,
                p.product.cols, input, bf16, p.product.add);
    p.x = kernel_read(test, input, rows, p.product.depth, p.product.ldx);
    const size_t size = bf16 ? sizeof(uint16_t) : sizeof(float);
    void *panel = kernel_aligned_buffer(test, KERNEL_READ, size, p.product.depth, LILAC_PANEL, LILAC_PANEL);
    for (size_t i = 0; i < p.product.depth * LILAC_PANEL; i++) {
        const float value = i % LILAC_PANEL < p.product.cols ? (float)kernel_random_between(test, -1.0, 1.0) : 0.0f;
        if (bf16) {
            ((uint16_t *)panel)[i] = lilac_bf16_from_float(value);
        } else {
            ((float *)panel)[i] = value;
        }
    }
    /* Hints must make no difference, whatever they name and however long it is. */
    const size_t bytes = p.product.depth * LILAC_PANEL * size;
    p.product.weights_ahead = (lilac_packed_product_ahead){panel, kernel_random_below(test, bytes + 2)};
    p.product.ahead = (lilac_packed_product_ahead){p.x, kernel_random_below(test, bytes + 2)};
    p.rounded = bf16 ? panel : NULL;
    p.panel = bf16 ? NULL : panel;
    return p;
}

static void multiply(const lilac_kernel_table *kernels, const problem *p, const lilac_packed_product *product,
                     const float *x, float *y) {
    if (p->rounded != NULL) {
        kernels->packed_product.multiply_bf16(product, x, p->rounded, y);
    } else {
        kernels->packed_product.multiply(product, x, p->panel, y);
    }
}

static void check_once(kernel_test *test, size_t rows, kernel_input input, bool bf16) {
    const problem p = random_problem(test, rows, input, bf16);
    const lilac_packed_product *product = &p.product;
    float *y = kernel_write(test, rows, product->cols, product->ldy);
    float *alone = kernel_write(test, rows, product->cols, product->ldy);
    float before[MAX_ROWS][LILAC_PANEL];
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < product->cols; j++) {
            before[i][j] = product->add ? (float)kernel_random_between(test, -1.0, 1.0) : 0.0f;
            y[i * product->ldy + j] = alone[i * product->ldy + j] = before[i][j];
        }
    }
    kernel_arm(test);
    multiply(test->kernels, &p, product, p.x, y);
    lilac_packed_product one = *product;
    one.rows = 1;
    one.weights_ahead = one.ahead = (lilac_packed_product_ahead){.data = NULL};
    for (size_t i = 0; i < rows; i++) {
        multiply(test->kernels, &p, &one, p.x + i * product->ldx, alone + i * product->ldy);
        for (size_t j = 0; j < product->cols; j++) {
            double sum = (double)before[i][j], magnitude = fabs(sum);
            for (size_t k = 0; k < product->depth; k++) {
                const size_t index = k * LILAC_PANEL + j;
                const float weight = bf16 ? lilac_float_from_bf16(p.rounded[index]) : p.panel[index];
                const double term = (double)p.x[i * product->ldx + k] * (double)weight;
                sum += term;
                magnitude += fabs(term);
            }
            /* A rounding for each product and each sum, of which none is larger than all terms together; where
             * products are denormal, each may lose half of the smallest number. */
            const double tolerance = 2.0 * (double)(product->depth + 1) * (KERNEL_ROUNDOFF * magnitude + 0x1p-150);
            kernel_expect("y", i * product->cols + j, y[i * product->ldy + j], sum, tolerance);
            kernel_expect_same("row alone", i * product->cols + j, y[i * product->ldy + j],
                               alone[i * product->ldy + j]);
        }
    }
    kernel_verify(test);
}

static void check(kernel_test *test, bool bf16) {
    for (size_t rows = 0; rows <= MAX_ROWS; rows++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            check_once(test, rows, input, bf16);
        }
    }
}

static void check_multiply(kernel_test *test) {
    check(test, false);
}

static void check_multiply_bf16(kernel_test *test) {
    check(test, true);
}

/* n multiplications: of 48 rows by a panel. */
static void bench(kernel_test *test, size_t n, bool bf16) {
    enum { ROWS = 48 };
    const size_t depth = lilac_size_max(n / (ROWS * LILAC_PANEL), 1);
    const float *x = kernel_bench_floats(test, ROWS * depth);
    /* A float's bytes are two bf16 numbers, which may be any. */
    const float *panel = kernel_bench_floats(test, depth * LILAC_PANEL);
    float *y = kernel_bench_floats(test, ROWS * LILAC_PANEL);
    const problem p = {.panel = panel, .rounded = bf16 ? (const uint16_t *)(const void *)panel : NULL};
    const lilac_packed_product product = {
        .rows = ROWS, .depth = depth, .cols = LILAC_PANEL, .ldx = depth, .ldy = LILAC_PANEL};
    const size_t bytes = (ROWS * depth + ROWS * LILAC_PANEL) * sizeof(float) +
                         depth * LILAC_PANEL * (bf16 ? sizeof(uint16_t) : sizeof(float));
    for (kernel_bench_begin(test, ROWS * depth * LILAC_PANEL, bytes); kernel_bench_more(test);) {
        multiply(test->kernels, &p, &product, x, y);
    }
}

static void bench_multiply(kernel_test *test, size_t n) {
    bench(test, n, false);
}

static void bench_multiply_bf16(kernel_test *test, size_t n) {
    bench(test, n, true);
}

static const kernel_case cases[] = {
    {"multiply", LILAC_CPU_SCALAR, check_multiply, bench_multiply},
    {"multiply_bf16", LILAC_CPU_SCALAR, check_multiply_bf16, bench_multiply_bf16},
};

const kernel_family kernel_family_packed_product = {"packed_product", cases, sizeof cases / sizeof cases[0]};
