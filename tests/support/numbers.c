/* SPDX-License-Identifier: MIT */
#include "support/numbers.h"

#include "core/random.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

void lilac_test_uniform(uint64_t stream, size_t count, float low, float high, float *values) {
    lilac_random random = lilac_random_stream(1, LILAC_RANDOM_TEST, stream);
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t i = 0; i < count; i++) {
        if (i % LILAC_RANDOM_GROUP == 0) {
            lilac_random_group(&random, words);
            random.group++;
        }
        values[i] = low + (high - low) * ((float)(words[i % LILAC_RANDOM_GROUP] >> 8) * 0x1p-24f);
    }
}

float *lilac_test_floats(size_t count, uint64_t stream) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    lilac_test_uniform(stream, count, -1, 1, values);
    return values;
}

double *lilac_test_doubles(size_t count, const float *values) {
    double *doubles = malloc(count * sizeof *doubles);
    assert_non_null(doubles);
    for (size_t i = 0; i < count; i++) {
        doubles[i] = (double)values[i];
    }
    return doubles;
}

static void expect_close(const char *what, size_t index, double found, double expected, double tolerance) {
    /* Written so that a NaN fails. */
    if (!(fabs(found - expected) <= tolerance)) {
        fail_msg("%s: element %zu is %.9g, expected %.9g within %.2g", what, index, found, expected, tolerance);
    }
}

void lilac_test_expect_close(const char *what, size_t count, const float *found, const double *expected,
                             double absolute, double relative) {
    for (size_t i = 0; i < count; i++) {
        expect_close(what, i, (double)found[i], expected[i], absolute + relative * fabs(expected[i]));
    }
}

static double central_difference(lilac_test_function *function, void *argument, double *variable) {
    static const double step = 1e-5;
    const double kept = *variable;
    *variable = kept + step;
    const double above = function(argument);
    *variable = kept - step;
    const double below = function(argument);
    *variable = kept;
    return (above - below) / (2 * step);
}

void lilac_test_expect_gradient(const char *what, lilac_test_function *function, void *argument, size_t count,
                                double *variables, const float *gradient, double tolerance) {
    double *expected = malloc(count * sizeof *expected);
    assert_non_null(expected);
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        expected[i] = central_difference(function, argument, &variables[i]);
        largest = fmax(largest, fabs(expected[i]));
    }
    assert_true(largest > 0);
    lilac_test_expect_close(what, count, gradient, expected, tolerance * largest, 0);
    free(expected);
}
