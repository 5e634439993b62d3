/* SPDX-License-Identifier: MIT */
/* Tests of the singular values: matrices whose values are known, and refusals. */
#include "linalg/singular_values.h"

#include "core/memory.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* The elements are rounded to float, which moves singular values by up to about 1e-7 of the largest. */
static void expect_values(size_t rows, size_t cols, const float *matrix, const double *expected) {
    const size_t count = lilac_size_min(rows, cols);
    double *values = malloc(count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(lilac_singular_values(context, rows, cols, matrix, values), LILAC_OK);
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(values[i] - expected[i]) <= 1e-6 * expected[0])) {
            fail_msg("%zu x %zu: value %zu is %.9g, expected %.9g", rows, cols, i, values[i], expected[i]);
        }
    }
    free(values);
}

static void test_diagonal_matrix(void **state) {
    (void)state;
    /* Neither in order nor of one sign. */
    static const float wide[3 * 4] = {0, -7, 0, 0, 0.5f, 0, 0, 0, 0, 0, 0, 2};
    static const float tall[4 * 3] = {0, 0.5f, 0, -7, 0, 0, 0, 0, 0, 0, 0, 2};
    static const double expected[] = {7, 2, 0.5};
    expect_values(3, 4, wide, expected);
    expect_values(4, 3, tall, expected);
}

static void test_smallest_matrices(void **state) {
    (void)state;
    static const float values[] = {-3, 4, 12};
    static const float zeros[6] = {0};
    expect_values(1, 1, values, (double[]){3});
    expect_values(1, 3, values, (double[]){13});
    expect_values(3, 1, values, (double[]){13});
    double found[2] = {-1, -1};
    assert_int_equal(lilac_singular_values(context, 2, 3, zeros, found), LILAC_OK);
    assert_true(found[0] == 0 && found[1] == 0);
}

static double norm(size_t count, const float *vector) {
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        squares += (double)vector[i] * (double)vector[i];
    }
    return sqrt(squares);
}

static void test_outer_product(void **state) {
    (void)state;
    enum { ROWS = 23, COLS = 37 };
    float u[ROWS], v[COLS], matrix[ROWS * COLS];
    lilac_test_uniform(0, ROWS, -1, 1, u);
    lilac_test_uniform(1, COLS, -1, 1, v);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        matrix[i] = u[i / COLS] * v[i % COLS];
    }
    double expected[ROWS] = {norm(ROWS, u) * norm(COLS, v)};
    expect_values(ROWS, COLS, matrix, expected);
}

/* Reflects each of the count vectors of size elements, element step and vector stride apart: multiplication by an
 * orthogonal matrix. */
static void reflect(size_t count, size_t stride, size_t size, size_t step, const float *normal, double *vectors) {
    const double squares = norm(size, normal) * norm(size, normal);
    for (size_t n = 0; n < count; n++) {
        double product = 0;
        for (size_t i = 0; i < size; i++) {
            product += (double)normal[i] * vectors[n * stride + i * step];
        }
        for (size_t i = 0; i < size; i++) {
            vectors[n * stride + i * step] -= 2 * product / squares * (double)normal[i];
        }
    }
}

/* (orthogonal) (diagonal) (orthogonal), whose singular values are the diagonal, from 100 down to about 0.1. */
static void check_known_factors(size_t rows, size_t cols) {
    const size_t count = lilac_size_min(rows, cols);
    double *product = calloc(rows * cols, sizeof *product), *diagonal = malloc(count * sizeof *diagonal);
    float *matrix = malloc(rows * cols * sizeof *matrix), *normal = malloc((rows + cols) * sizeof *normal);
    assert_true(product != NULL && diagonal != NULL && matrix != NULL && normal != NULL);
    for (size_t i = 0; i < count; i++) {
        diagonal[i] = 100 * pow(0.9, (double)i);
        product[i * cols + i] = diagonal[i];
    }
    for (uint64_t stream = 0; stream < 3; stream++) {
        lilac_test_uniform(stream, rows + cols, -1, 1, normal);
        reflect(cols, 1, rows, cols, normal, product);
        reflect(rows, cols, cols, 1, normal + rows, product);
    }
    for (size_t i = 0; i < rows * cols; i++) {
        matrix[i] = (float)product[i];
    }
    expect_values(rows, cols, matrix, diagonal);
    free(product);
    free(diagonal);
    free(matrix);
    free(normal);
}

static void test_known_factors(void **state) {
    (void)state;
    check_known_factors(17, 17);
    check_known_factors(784, 64);
    check_known_factors(64, 784);
}

static void test_refuses_what_is_not_finite(void **state) {
    (void)state;
    float matrix[6] = {1, 2, 3, 4, NAN, 6};
    double values[2] = {-1, -2};
    assert_int_equal(lilac_singular_values(context, 2, 3, matrix, values), LILAC_ERROR_NOT_FINITE);
    assert_string_equal(lilac_context_message(context), "singular values: element [1, 1] is not finite");
    matrix[4] = 5;
    matrix[2] = -INFINITY;
    assert_int_equal(lilac_singular_values(context, 2, 3, matrix, values), LILAC_ERROR_NOT_FINITE);
    assert_string_equal(lilac_context_message(context), "singular values: element [0, 2] is not finite");
    assert_true(values[0] == -1 && values[1] == -2);
}

static void test_refuses_impossible_sizes(void **state) {
    (void)state;
    const float matrix[1] = {1};
    double values[1] = {-1};
    assert_int_equal(lilac_singular_values(context, 0, 3, matrix, values), LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(context),
                        "singular values: the matrix is 0 x 3, expected at least 1 x 1");
    assert_int_equal(lilac_singular_values(context, 3, 0, matrix, values), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_singular_values(context, (size_t)INT_MAX + 1, 1, matrix, values), LILAC_ERROR_OVERFLOW);
    assert_string_equal(lilac_context_message(context), "singular values: a 2147483648 x 1 matrix is too large");
    assert_int_equal(lilac_singular_values(context, 1, (size_t)INT_MAX + 1, matrix, values), LILAC_ERROR_OVERFLOW);
    assert_true(values[0] == -1);
}

static void test_failed_allocations(void **state) {
    (void)state;
    const float matrix[4] = {1, 2, 3, 4};
    double values[2] = {-1, -2};
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t n = 0;
    for (; status != LILAC_OK; n++) {
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_singular_values(context, 2, 2, matrix, values);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_true(values[0] == -1 && values[1] == -2);
        }
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    assert_true(n > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diagonal_matrix),
        cmocka_unit_test(test_smallest_matrices),
        cmocka_unit_test(test_outer_product),
        cmocka_unit_test(test_known_factors),
        cmocka_unit_test(test_refuses_what_is_not_finite),
        cmocka_unit_test(test_refuses_impossible_sizes),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
