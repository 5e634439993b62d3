/* SPDX-License-Identifier: MIT */
/* Tests of Muon: an update against one in double precision, what its direction is, what it leaves to AdamW. */
#include "nn/muon.h"

#include "nn/optimiser.h"
#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static double *allocate(size_t count) {
    double *numbers = calloc(count, sizeof *numbers);
    assert_non_null(numbers);
    return numbers;
}

/* out = a b in double; a is m x k, or stored k x m if `transposed`; b is k x n. */
static void multiply(size_t m, size_t n, size_t k, const double *a, bool transposed, const double *b, double *out) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++) {
                sum += (transposed ? a[l * m + i] : a[i * k + l]) * b[l * n + j];
            }
            out[i * n + j] = sum;
        }
    }
}

/* x (rows x cols) = the direction of a step: five times x (a I + b x^T x + c (x^T x)^2) from x / |x| on. */
static void reference_direction(size_t rows, size_t cols, double *x) {
    double *gram = allocate(cols * cols), *square = allocate(cols * cols);
    double *next = allocate(rows * cols);
    double norm = 0;
    for (size_t i = 0; i < rows * cols; i++) {
        norm += x[i] * x[i];
    }
    for (size_t i = 0; i < rows * cols; i++) {
        x[i] = norm > 0 ? x[i] / sqrt(norm) : 0;
    }
    for (int iteration = 0; iteration < 5; iteration++) {
        multiply(cols, cols, rows, x, true, x, gram);
        multiply(cols, cols, cols, gram, false, gram, square);
        for (size_t i = 0; i < cols * cols; i++) {
            square[i] = 2.0315 * square[i] - 4.7750 * gram[i] + (i % (cols + 1) == 0 ? 3.4445 : 0);
        }
        multiply(rows, cols, cols, x, false, square, next);
        memcpy(x, next, rows * cols * sizeof *x);
    }
    free(gram);
    free(square);
    free(next);
}

/* Three steps of one matrix within a larger block, compared with the same in double. */
static void check_updates(lilac_context *context, size_t rows, size_t cols, lilac_matmul_type products,
                          double tolerance) {
    enum { BEFORE = 5, AFTER = 3 };
    const size_t n = rows * cols, count = BEFORE + n + AFTER;
    const lilac_muon_matrix matrix = {.offset = BEFORE, .rows = rows, .cols = cols};
    const lilac_muon_step step = {.learning_rate = 0.1, .gradient_scale = 0.5, .weight_decay = 0.2};
    float *parameters = lilac_test_floats(count, 1), *start = lilac_test_floats(count, 1);
    float *gradient = lilac_test_floats(count, 2), *mean = calloc(count, sizeof *mean);
    double *expected = lilac_test_doubles(n, parameters + BEFORE), *x = allocate(n), *m = allocate(n);
    lilac_muon muon;
    assert_int_equal(lilac_muon_create(context, &matrix, 1, products, &muon), LILAC_OK);
    for (uint64_t t = 0; t < 3; t++) {
        lilac_test_uniform(t, count, -1, 1, gradient);
        assert_int_equal(lilac_muon_update(context, &muon, &step, gradient, parameters, mean), LILAC_OK);
        for (size_t i = 0; i < n; i++) {
            const double g = 0.05 * 0.5 * (double)gradient[BEFORE + i];
            m[i] = 0.95 * m[i] + g;
            x[i] = 0.95 * m[i] + g;
        }
        reference_direction(rows, cols, x);
        for (size_t i = 0; i < n; i++) {
            expected[i] = (1 - 0.1 * 0.2) * expected[i] - 0.1 * 0.2 * sqrt((double)(rows > cols ? rows : cols)) * x[i];
        }
    }
    lilac_test_expect_close("parameters", n, parameters + BEFORE, expected, tolerance, tolerance);
    assert_memory_equal(parameters, start, BEFORE * sizeof *start);
    assert_memory_equal(parameters + BEFORE + n, start + BEFORE + n, AFTER * sizeof *start);
    lilac_muon_destroy(&muon);
    free(parameters);
    free(start);
    free(gradient);
    free(mean);
    free(expected);
    free(x);
    free(m);
}

static void test_updates(void **state) {
    (void)state;
    const size_t sizes[][2] = {{1, 1}, {1, 7}, {7, 1}, {8, 8}, {5, 33}, {33, 5}, {64, 48}};
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            check_updates(lilac_test_context(level, 1), sizes[i][0], sizes[i][1], LILAC_MATMUL_F32, 2e-5);
            check_updates(lilac_test_context(level, 2), sizes[i][0], sizes[i][1], LILAC_MATMUL_F32, 2e-5);
        }
    }
}

static bool has_bf16_products(void) {
    lilac_muon muon;
    const lilac_muon_matrix matrix = {.rows = 1, .cols = 1};
    const lilac_status status = lilac_muon_create(lilac_test_context(0, 1), &matrix, 1, LILAC_MATMUL_BF16, &muon);
    if (status == LILAC_OK) {
        lilac_muon_destroy(&muon);
    } else {
        assert_int_equal(status, LILAC_ERROR_UNSUPPORTED);
    }
    return status == LILAC_OK;
}

/* Rounded products bend the direction by a few per cent and no more. */
static void test_rounded_products(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_updates(lilac_test_context(level, 2), 33, 16, LILAC_MATMUL_F16, 0.005);
        check_updates(lilac_test_context(level, 2), 16, 33, LILAC_MATMUL_F16, 0.005);
    }
    if (has_bf16_products()) {
        check_updates(lilac_test_context(0, 2), 33, 16, LILAC_MATMUL_BF16, 0.02);
        check_updates(lilac_test_context(0, 2), 16, 33, LILAC_MATMUL_BF16, 0.02);
    }
}

/* What a gradient of very unequal singular values becomes: a step whose rows, in orthogonal directions, are about equal
 * in length. */
static void test_lifts_small_directions(void **state) {
    (void)state;
    enum { ROWS = 4, COLS = 16 };
    const lilac_muon_matrix matrix = {.rows = ROWS, .cols = COLS};
    const lilac_muon_step step = {.learning_rate = 1, .gradient_scale = 1};
    float gradient[ROWS * COLS] = {0}, parameters[ROWS * COLS] = {0}, mean[ROWS * COLS] = {0};
    const float lengths[ROWS] = {1, 0.3f, 0.1f, 0.05f};
    for (size_t i = 0; i < ROWS; i++) {
        gradient[i * COLS + 3 * i] = lengths[i];
    }
    lilac_muon muon;
    assert_int_equal(lilac_muon_create(lilac_test_context(0, 1), &matrix, 1, LILAC_MATMUL_F32, &muon), LILAC_OK);
    assert_int_equal(lilac_muon_update(lilac_test_context(0, 1), &muon, &step, gradient, parameters, mean), LILAC_OK);
    for (size_t i = 0; i < ROWS; i++) {
        /* The scale of the step makes a direction of length 1 one of 0.2 sqrt(16). */
        const double length = -(double)parameters[i * COLS + 3 * i] / (0.2 * sqrt(COLS));
        assert_true(length > 0.6 && length < 1.3);
    }
    lilac_muon_destroy(&muon);
}

static void test_gradient_of_zero(void **state) {
    (void)state;
    const lilac_muon_matrix matrix = {.rows = 3, .cols = 2};
    const lilac_muon_step step = {.learning_rate = 0.5, .gradient_scale = 1, .weight_decay = 1};
    const float gradient[6] = {0};
    float parameters[6] = {1, 2, 3, 4, 5, 6}, mean[6] = {0};
    const float halves[6] = {0.5f, 1, 1.5f, 2, 2.5f, 3};
    lilac_muon muon;
    assert_int_equal(lilac_muon_create(lilac_test_context(0, 1), &matrix, 1, LILAC_MATMUL_F32, &muon), LILAC_OK);
    assert_int_equal(lilac_muon_update(lilac_test_context(0, 1), &muon, &step, gradient, parameters, mean), LILAC_OK);
    assert_memory_equal(parameters, halves, sizeof halves);
    lilac_muon_destroy(&muon);
}

/* The optimiser hands its matrices to Muon, and all before, between and after them to AdamW. */
static void test_parts_of_a_block(void **state) {
    (void)state;
    enum { COUNT = 60 };
    const lilac_muon_matrix matrices[] = {{.offset = 4, .rows = 3, .cols = 5}, {.offset = 30, .rows = 4, .cols = 4}};
    lilac_optimiser_config config = {.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-8, .weight_decay = 0.1};
    float *gradient = lilac_test_floats(COUNT, 1), *start = lilac_test_floats(COUNT, 2);
    float results[3][COUNT];
    lilac_context *context = lilac_test_context(0, 1);
    for (int i = 0; i < 3; i++) {
        lilac_optimiser optimiser;
        memcpy(results[i], start, sizeof results[i]);
        config.kind = i == 0 ? LILAC_OPTIMISER_ADAMW : LILAC_OPTIMISER_MUON;
        config.matrices = matrices;
        config.matrix_count = i == 0 ? 0 : 2;
        assert_int_equal(lilac_optimiser_create(context, &config, COUNT, &optimiser), LILAC_OK);
        assert_int_equal(lilac_optimiser_update(context, &optimiser, 0.1, 1, gradient, results[i]), LILAC_OK);
        lilac_optimiser_destroy(&optimiser);
        context = lilac_test_context(0, 2);
    }
    for (size_t i = 0; i < COUNT; i++) {
        const bool in_matrix = (i >= 4 && i < 19) || (i >= 30 && i < 46);
        assert_true((results[1][i] == results[0][i]) == !in_matrix);
    }
    assert_memory_equal(results[1], results[2], sizeof results[1]);
    free(gradient);
    free(start);
}

static void test_failed_allocations(void **state) {
    (void)state;
    const lilac_muon_matrix matrices[] = {{.rows = 3, .cols = 5}, {.offset = 15, .rows = 4, .cols = 4}};
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t n = 0;
    lilac_muon first; /* makes the products, which the context keeps */
    assert_int_equal(lilac_muon_create(lilac_test_context(0, 1), matrices, 2, LILAC_MATMUL_F32, &first), LILAC_OK);
    lilac_muon_destroy(&first);
    for (; status != LILAC_OK; n++) {
        lilac_muon muon = {.count = 77};
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_muon_create(lilac_test_context(0, 1), matrices, 2, LILAC_MATMUL_F32, &muon);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_int_equal(muon.count, 77);
        } else {
            lilac_muon_destroy(&muon);
        }
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    assert_true(n > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_updates),
        cmocka_unit_test(test_rounded_products),
        cmocka_unit_test(test_lifts_small_directions),
        cmocka_unit_test(test_gradient_of_zero),
        cmocka_unit_test(test_parts_of_a_block),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
