/* SPDX-License-Identifier: MIT */
/* Tests of embeddings, positions and the conversion to bf16, at any number of threads. */
#include "nn/embedding.h"

#include "core/bf16.h"
#include "nn/convert.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static void check_positions(size_t first, size_t count, size_t width, size_t ld) {
    float *out = lilac_test_floats(count * ld, 0), *before = lilac_test_floats(count * ld, 0);
    lilac_sinusoidal_positions(first, count, width, out, ld);
    for (size_t t = 0; t < count; t++) {
        for (size_t c = 0; c < ld; c++) {
            const float found = out[t * ld + c];
            if (c >= width) {
                assert_true(found == before[t * ld + c]);
                continue;
            }
            const double angle = (double)(first + t) / pow(10000, (double)(c / 2 * 2) / (double)width);
            assert_true(fabs((double)found - (c % 2 == 0 ? sin(angle) : cos(angle))) < 6e-8);
        }
    }
    free(out);
    free(before);
}

static void test_positions(void **state) {
    (void)state;
    check_positions(0, 5, 8, 8);
    check_positions(782, 3, 128, 256);
    check_positions(1000000, 2, 5, 7);
    check_positions(3, 1, 1, 1);
}

static void check_embedding(lilac_context *context, size_t T, size_t E, size_t ld, uint8_t tokens_used) {
    float *table = lilac_test_floats(256 * E, 0), *x = lilac_test_floats(T * ld, 1),
          *before = lilac_test_floats(T * ld, 1);
    float *gradient = lilac_test_floats(256 * E, 2);
    double *expected = lilac_test_doubles(256 * E, gradient);
    uint8_t *tokens = malloc(T);
    assert_non_null(tokens);
    for (size_t t = 0; t < T; t++) {
        tokens[t] = (uint8_t)(255 - t * t % tokens_used);
        for (size_t c = 0; c < E; c++) {
            expected[tokens[t] * E + c] += (double)x[t * ld + c];
        }
    }
    lilac_embedding_backward(context, T, E, tokens, x, ld, gradient);
    lilac_test_expect_close("gradient", 256 * E, gradient, expected, 1e-5, 0);
    lilac_embedding_forward(context, T, E, tokens, table, x, ld);
    for (size_t t = 0; t < T; t++) {
        assert_memory_equal(x + t * ld, table + tokens[t] * E, E * sizeof(float));
        assert_memory_equal(x + t * ld + E, before + t * ld + E, (ld - E) * sizeof(float));
    }
    free(table);
    free(x);
    free(before);
    free(gradient);
    free(expected);
    free(tokens);
}

static void test_embedding(void **state) {
    (void)state;
    for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
        lilac_context *context = lilac_test_context(0, threads);
        check_embedding(context, 0, 4, 4, 1);
        check_embedding(context, 1, 1, 1, 1);
        check_embedding(context, 600, 70, 77, 250);
        check_embedding(context, 300, 128, 256, 2);
    }
}

/* The sums do not depend on how the work is shared out. */
static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    enum { T = 1000, E = 100 };
    float *dx = lilac_test_floats((size_t)T * E, 0);
    float *one = calloc(256 * E, sizeof *one), *many = calloc(256 * E, sizeof *many);
    assert_true(one != NULL && many != NULL);
    uint8_t tokens[T];
    for (size_t t = 0; t < T; t++) {
        tokens[t] = (uint8_t)(t % 10 == 0 ? t / 10 : 0);
    }
    lilac_embedding_backward(lilac_test_context(0, 1), T, E, tokens, dx, E, one);
    lilac_embedding_backward(lilac_test_context(0, 3), T, E, tokens, dx, E, many);
    assert_memory_equal(one, many, 256 * E * sizeof(float));
    free(dx);
    free(one);
    free(many);
}

static void check_conversion(lilac_context *context, size_t rows, size_t cols, size_t ldx, size_t ldy) {
    float *x = lilac_test_floats(rows * ldx, 0), *back = lilac_test_floats(rows * ldx, 1);
    float *before = lilac_test_floats(rows * ldx, 1);
    uint16_t *y = malloc((rows * ldy + 1) * sizeof *y);
    assert_non_null(y);
    memset(y, 0x5a, rows * ldy * sizeof *y);
    lilac_float_to_bf16(context, rows, cols, x, ldx, y, ldy);
    lilac_bf16_to_float(context, rows, cols, y, ldy, back, ldx);
    for (size_t i = 0; i < rows * ldy; i++) {
        const size_t at = i / ldy * ldx + i % ldy;
        assert_int_equal(y[i], i % ldy < cols ? lilac_bf16_from_float(x[at]) : 0x5a5a);
    }
    for (size_t i = 0; i < rows * ldx; i++) {
        const uint16_t bits = i % ldx < cols ? y[i / ldx * ldy + i % ldx] : 0;
        assert_true(back[i] == (i % ldx < cols ? lilac_float_from_bf16(bits) : before[i]));
    }
    free(x);
    free(back);
    free(before);
    free(y);
}

static void test_conversion(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            lilac_context *context = lilac_test_context(level, threads);
            check_conversion(context, 0, 5, 5, 5);
            check_conversion(context, 1, 40001, 40001, 40001);
            check_conversion(context, 3, 20001, 20001, 20001);
            check_conversion(context, 700, 67, 67, 69);
            check_conversion(context, 2, 17000, 17003, 17000);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
        cmocka_unit_test(test_conversion),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
