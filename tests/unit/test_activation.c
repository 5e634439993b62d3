/* SPDX-License-Identifier: MIT */
/*
 * Tests of ReLU, GELU and dropout: values and gradients against double precision, dropout's statistics, special values,
 * and the same bytes at any number of threads; at every cpu level the machine has.
 */
#include "nn/activation.h"

#include "support/dropout_mask.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* The sum of weights * mask * relu(x + b). */
typedef struct {
    size_t B, out;
    const double *weights, *mask;
    double *x, *b, *y;
} activation_problem;

static double activation_loss(void *argument) {
    const activation_problem *p = argument;
    double loss = 0;
    for (size_t i = 0; i < p->B * p->out; i++) {
        const double sum = p->x[i] + p->b[i % p->out];
        p->y[i] = sum > 0 ? p->mask[i] * sum : 0;
        loss += p->weights[i] * p->y[i];
    }
    return loss;
}

static void check_activation(lilac_context *context, size_t B, size_t out, double probability) {
    const lilac_dropout dropout =
        lilac_dropout_create(probability, lilac_random_stream(3, LILAC_RANDOM_TEST, UINT64_C(1) << 40));
    float *y = lilac_test_floats(B * out, 0), *b = lilac_test_floats(out, 1), *dy = lilac_test_floats(B * out, 2);
    double *weights = lilac_test_doubles(B * out, dy),
           *mask = lilac_test_dropout_mask(B, out, probability, dropout.random);
    activation_problem p = {.B = B, .out = out, .weights = weights, .mask = mask, .x = lilac_test_doubles(B * out, y)};
    p.b = lilac_test_doubles(out, b);
    p.y = lilac_test_doubles(B * out, y);
    activation_loss(&p);
    lilac_bias_relu_dropout_forward(context, B, out, b, probability > 0 ? &dropout : NULL, y);
    lilac_test_expect_close("y", B * out, y, p.y, 1e-6, 0);
    lilac_relu_dropout_backward(context, B, out, y, probability > 0 ? dropout.scale : 1.0f, dy);
    lilac_test_expect_gradient("dx", activation_loss, &p, B * out, p.x, dy, 1e-5);
    free(y);
    free(b);
    free(dy);
    free(weights);
    free(mask);
    free(p.x);
    free(p.b);
    free(p.y);
}

static void test_activation(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_activation(lilac_test_context(level, 2), 5, 7, 0);
        check_activation(lilac_test_context(level, 2), 5, 7, 0.25);
        check_activation(lilac_test_context(level, 2), 3, 131, 0.5);
        check_activation(lilac_test_context(level, 2), 131, 3, 0.1);
        check_activation(lilac_test_context(level, 2), 67, 66, 0.3);
    }
}

/* A sum that is not above 0 gives +0, a NaN too. */
static void test_activation_of_special_values(void **state) {
    (void)state;
    const float zero[4] = {0};
    for (int level = 0; level < lilac_test_levels(); level++) {
        float y[4] = {-0.0f, NAN, -INFINITY, INFINITY};
        lilac_bias_relu_dropout_forward(lilac_test_context(level, 1), 1, 4, zero, NULL, y);
        assert_memory_equal(y, ((float[4]){0, 0, 0, INFINITY}), sizeof y);
    }
}

/* How many of B x out ones dropout drops; the others must be exactly its scale. */
static size_t count_dropped(lilac_context *context, size_t B, size_t out, const lilac_dropout *dropout, float *y) {
    float *zeros = calloc(out, sizeof *zeros);
    assert_non_null(zeros);
    for (size_t i = 0; i < B * out; i++) {
        y[i] = 1.0f;
    }
    lilac_bias_relu_dropout_forward(context, B, out, zeros, dropout, y);
    free(zeros);
    size_t dropped = 0;
    for (size_t i = 0; i < B * out; i++) {
        assert_true(y[i] == 0.0f || y[i] == dropout->scale);
        dropped += y[i] == 0.0f;
    }
    return dropped;
}

static void test_dropout_rate_and_scale(void **state) {
    (void)state;
    enum { B = 1000, OUT = 100 };
    static const double probabilities[] = {0.01, 0.1, 0.5, 0.9};
    float *y = lilac_test_floats((size_t)B * OUT, 0);
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int i = 0; i < 4; i++) {
            const double p = probabilities[i];
            const lilac_dropout dropout = lilac_dropout_create(p, lilac_random_stream(0, LILAC_RANDOM_TEST, 0));
            assert_true(fabs((double)dropout.scale * (1 - p) - 1) < 1e-6);
            const double dropped = (double)count_dropped(lilac_test_context(level, 1), B, OUT, &dropout, y);
            /* Five standard deviations */
            assert_true(fabs(dropped - p * B * OUT) < 5 * sqrt(p * (1 - p) * B * OUT));
        }
    }
    free(y);
}

/* Probabilities that no 32-bit threshold holds: almost nothing, and all but almost nothing, is dropped. */
static void test_extreme_dropout(void **state) {
    (void)state;
    enum { B = 10, OUT = 100 };
    float y[B * OUT];
    const lilac_random random = lilac_random_stream(0, LILAC_RANDOM_TEST, 0);
    const lilac_dropout least = lilac_dropout_create(1e-12, random), most = lilac_dropout_create(1 - 1e-12, random);
    assert_int_equal(count_dropped(lilac_test_context(0, 1), B, OUT, &least, y), 0);
    assert_int_equal(count_dropped(lilac_test_context(0, 1), B, OUT, &most, y), B * OUT);
}

/* Neighbouring rows and streams have masks of their own: as many elements agree as chance has it. */
static void test_dropout_masks_are_independent(void **state) {
    (void)state;
    enum { B = 50, OUT = 200 };
    float y[B * OUT], other[B * OUT];
    const lilac_dropout dropout = lilac_dropout_create(0.5, lilac_random_stream(0, LILAC_RANDOM_TEST, 0));
    const lilac_dropout next_stream = lilac_dropout_create(0.5, lilac_random_stream(0, LILAC_RANDOM_TEST, 1));
    count_dropped(lilac_test_context(0, 1), B, OUT, &dropout, y);
    count_dropped(lilac_test_context(0, 1), B, OUT, &next_stream, other);
    double same_streams = 0, same_rows = 0;
    for (size_t i = 0; i < (B - 1) * OUT; i++) {
        same_streams += y[i] == other[i];
        same_rows += y[i] == y[i + OUT];
    }
    const double half = (B - 1) * OUT / 2.0;
    assert_true(fabs(same_streams - half) < 5 * sqrt(half / 2));
    assert_true(fabs(same_rows - half) < 5 * sqrt(half / 2));
}

/* The sum of weights * mask * gelu(x), x with the bias in it. */
static double gelu_loss(void *argument) {
    const activation_problem *p = argument;
    double loss = 0;
    for (size_t i = 0; i < p->B * p->out; i++) {
        const double x = p->x[i];
        p->y[i] = p->mask[i] * x * (1 + tanh(sqrt(2 / 3.14159265358979324) * (x + 0.044715 * x * x * x))) / 2;
        loss += p->weights[i] * p->y[i];
    }
    return loss;
}

static void check_gelu(lilac_context *context, size_t B, size_t out, double probability, float size) {
    const lilac_dropout dropout = lilac_dropout_create(probability, lilac_random_stream(3, LILAC_RANDOM_TEST, 5));
    const lilac_dropout *used = probability > 0 ? &dropout : NULL;
    float *pre = lilac_test_floats(B * out, 0), *b = lilac_test_floats(out, 1), *dy = lilac_test_floats(B * out, 2);
    float *y = lilac_test_floats(B * out, 3);
    double *weights = lilac_test_doubles(B * out, dy);
    double *mask = lilac_test_dropout_mask(B, out, probability, dropout.random);
    for (size_t i = 0; i < B * out; i++) {
        pre[i] *= size;
    }
    activation_problem p = {.B = B, .out = out, .weights = weights, .mask = mask};
    p.x = lilac_test_doubles(B * out, pre);
    p.y = lilac_test_doubles(B * out, y);
    for (size_t i = 0; i < B * out; i++) {
        p.x[i] += (double)b[i % out];
    }
    gelu_loss(&p);
    lilac_bias_gelu_dropout_forward(context, B, out, b, used, pre, y);
    lilac_test_expect_close("pre", B * out, pre, p.x, 0, 1e-6);
    lilac_test_expect_close("y", B * out, y, p.y, 1e-6, 1e-6);
    lilac_gelu_dropout_backward(context, B, out, pre, used, dy);
    lilac_test_expect_gradient("dx", gelu_loss, &p, B * out, p.x, dy, 1e-5);
    float *const floats[] = {pre, b, dy, y};
    double *const doubles[] = {weights, mask, p.x, p.y};
    for (int i = 0; i < 4; i++) {
        free(floats[i]);
        free(doubles[i]);
    }
}

static void test_gelu(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_gelu(lilac_test_context(level, 2), 5, 7, 0, 3);
        check_gelu(lilac_test_context(level, 2), 5, 7, 0.25, 3);
        check_gelu(lilac_test_context(level, 2), 3, 131, 0.5, 10);
        check_gelu(lilac_test_context(level, 2), 131, 3, 0.1, 1);
        check_gelu(lilac_test_context(level, 2), 67, 20, 0.3, 5);
    }
}

/* Far out GELU is 0 or the number itself, its derivative 0 or 1; a NaN stays one. */
static void test_gelu_of_special_values(void **state) {
    (void)state;
    enum { N = 8 };
    const float zero[N] = {0};
    for (int level = 0; level < lilac_test_levels(); level++) {
        float pre[N] = {0, 30, 1e10f, 3e38f, INFINITY, -30, -1e10f, -3e38f}, y[N], dy[N] = {2, 2, 2, 2, 2, 2, 2, 2};
        lilac_bias_gelu_dropout_forward(lilac_test_context(level, 1), 1, N, zero, NULL, pre, y);
        lilac_gelu_dropout_backward(lilac_test_context(level, 1), 1, N, pre, NULL, dy);
        for (int i = 0; i < N; i++) {
            assert_true(y[i] == (i < 5 ? pre[i] : 0.0f));
            assert_true(dy[i] == (i == 0 ? 1.0f : i < 5 ? 2.0f : 0.0f) || (i >= 5 && fabsf(dy[i]) < 1e-30f));
        }
        float nan = NAN, slope = 1;
        lilac_bias_gelu_dropout_forward(lilac_test_context(level, 1), 1, 1, zero, NULL, &nan, y);
        lilac_gelu_dropout_backward(lilac_test_context(level, 1), 1, 1, &nan, NULL, &slope);
        assert_true(isnan(y[0]) && isnan(slope));
    }
}

static void check_dropout_backward(lilac_context *context, size_t T, size_t F, double probability, bool in_place) {
    const lilac_dropout dropout = lilac_dropout_create(probability, lilac_random_stream(4, LILAC_RANDOM_TEST, 6));
    float *dy = lilac_test_floats(T * F, 0), *dx = lilac_test_floats(T * F, 1);
    double *expected = lilac_test_dropout_mask(T, F, probability, dropout.random);
    for (size_t i = 0; i < T * F; i++) {
        expected[i] *= (double)dy[i];
    }
    float *to = in_place ? dy : dx;
    lilac_dropout_backward(context, T, F, probability > 0 ? &dropout : NULL, dy, to);
    lilac_test_expect_close("dx", T * F, to, expected, 0, 2e-7);
    free(dy);
    free(dx);
    free(expected);
}

static void test_dropout_backward(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int in_place = 0; in_place < 2; in_place++) {
            check_dropout_backward(lilac_test_context(level, 2), 130, 67, 0, in_place);
            check_dropout_backward(lilac_test_context(level, 2), 130, 67, 0.3, in_place);
            check_dropout_backward(lilac_test_context(level, 2), 1, 300, 0.9, in_place);
        }
    }
}

/* The forward's and the backward's outputs, one after the other. */
static void run_all(lilac_context *context, size_t B, size_t out, const float *x, const float *b, float *outputs) {
    const lilac_dropout dropout = lilac_dropout_create(0.2, lilac_random_stream(0, LILAC_RANDOM_TEST, 7));
    float *relu = outputs, *pre = relu + B * out, *y = pre + B * out, *dy = y + B * out, *dx = dy + B * out;
    memcpy(relu, x, B * out * sizeof(float));
    memcpy(pre, x, B * out * sizeof(float));
    memcpy(dy, x, B * out * sizeof(float));
    lilac_bias_relu_dropout_forward(context, B, out, b, &dropout, relu);
    lilac_bias_gelu_dropout_forward(context, B, out, b, &dropout, pre, y);
    lilac_gelu_dropout_backward(context, B, out, pre, &dropout, dy);
    lilac_dropout_backward(context, B, out, &dropout, x, dx);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    enum { B = 500, OUT = 70, SIZE = 5 * B * OUT };
    float *x = lilac_test_floats((size_t)B * OUT, 0), *b = lilac_test_floats(OUT, 1);
    float *one = lilac_test_floats(SIZE, 3), *many = lilac_test_floats(SIZE, 4);
    for (int level = 0; level < lilac_test_levels(); level++) {
        run_all(lilac_test_context(level, 1), B, OUT, x, b, one);
        for (int threads = 2; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            run_all(lilac_test_context(level, threads), B, OUT, x, b, many);
            assert_memory_equal(many, one, SIZE * sizeof(float));
        }
    }
    free(x);
    free(b);
    free(one);
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_activation_of_special_values),
        cmocka_unit_test(test_dropout_rate_and_scale),
        cmocka_unit_test(test_extreme_dropout),
        cmocka_unit_test(test_dropout_masks_are_independent),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_gelu_of_special_values),
        cmocka_unit_test(test_dropout_backward),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
