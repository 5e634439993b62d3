/* SPDX-License-Identifier: MIT */
/* Tests of layer norm after a residual: values and gradients against double precision, rows that are hard on the
 * variance, and the same bytes at any number of threads; at every cpu level the machine has. */
#include "nn/layer_norm.h"

#include "nn/activation.h"
#include "support/dropout_mask.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static const double probability = 0.3;

/* The sum of weights * out + extra * s. */
typedef struct {
    size_t T, F;
    const double *weights, *extra;
    double *s, *gain, *bias, *out, *mean, *rstd;
} norm_problem;

static double norm_loss(void *argument) {
    const norm_problem *p = argument;
    double loss = 0;
    for (size_t i = 0; i < p->T; i++) {
        const double *s = p->s + i * p->F;
        double sum = 0, squares = 0;
        for (size_t c = 0; c < p->F; c++) {
            sum += s[c];
        }
        p->mean[i] = sum / (double)p->F;
        for (size_t c = 0; c < p->F; c++) {
            squares += (s[c] - p->mean[i]) * (s[c] - p->mean[i]);
        }
        p->rstd[i] = 1 / sqrt(squares / (double)p->F + 1e-5);
        for (size_t c = 0; c < p->F; c++) {
            const size_t at = i * p->F + c;
            p->out[at] = (s[c] - p->mean[i]) * p->rstd[i] * p->gain[c] + p->bias[c];
            loss += p->weights[at] * p->out[at] + (p->extra == NULL ? 0 : p->extra[at] * s[c]);
        }
    }
    return loss;
}

typedef enum { PLAIN, BRANCH, OUT_OVER_X, OUT_OVER_Y, PLACES } out_place;

static void check_forward(lilac_context *context, norm_problem *p, const float *gain, const float *bias,
                          out_place place) {
    const size_t T = p->T, F = p->F;
    const lilac_dropout dropout = lilac_dropout_create(probability, lilac_random_stream(2, LILAC_RANDOM_TEST, 1));
    float *x = lilac_test_floats(T * F, 10), *y = lilac_test_floats(T * F, 11), *b = lilac_test_floats(F, 12);
    float *separate = lilac_test_floats(T * F, 13), *mean = lilac_test_floats(T, 14), *rstd = lilac_test_floats(T, 15);
    double *mask = lilac_test_dropout_mask(T, F, probability, dropout.random);
    const bool branch = place != PLAIN;
    for (size_t i = 0; i < T * F; i++) {
        p->s[i] = branch ? (double)x[i] + mask[i] * ((double)y[i] + (double)b[i % F]) : (double)y[i];
    }
    norm_loss(p);
    float *out = place == OUT_OVER_X ? x : place == OUT_OVER_Y ? y : separate;
    lilac_residual_norm_forward(context, T, F, branch ? x : NULL, branch ? b : NULL, branch ? &dropout : NULL, y, gain,
                                bias, mean, rstd, out);
    if (place != OUT_OVER_Y) {
        lilac_test_expect_close("s", T * F, y, p->s, 1e-6, 0);
    }
    lilac_test_expect_close("mean", T, mean, p->mean, 1e-6, 0);
    /* A row of one feature has no variance: rstd is 316, and errors grow by that. */
    lilac_test_expect_close("rstd", T, rstd, p->rstd, 0, 1e-5);
    lilac_test_expect_close("out", T * F, out, p->out, F == 1 ? 1e-4 : 2e-5, 0);
    float *const floats[] = {x, y, b, separate, mean, rstd};
    for (int i = 0; i < 6; i++) {
        free(floats[i]);
    }
    free(mask);
}

static void check_backward(lilac_context *context, norm_problem *p, const float *gain, int ds_place) {
    const size_t T = p->T, F = p->F;
    float *s = lilac_test_floats(T * F, 20), *mean = lilac_test_floats(T, 21), *rstd = lilac_test_floats(T, 22);
    float *dout = lilac_test_floats(T * F, 23), *extra = lilac_test_floats(T * F, 24);
    float *separate = lilac_test_floats(T * F, 25), *sums = lilac_test_floats(2 * F, 26);
    float *scratch = malloc((lilac_layer_norm_scratch_size(T, F) + 1) * sizeof *scratch);
    double *weights = lilac_test_doubles(T * F, dout), *added = lilac_test_doubles(T * F, extra);
    float *ds = ds_place == 0 ? separate : ds_place == 1 ? dout : extra;
    for (size_t i = 0; i < T * F; i++) {
        p->s[i] = (double)s[i];
    }
    p->weights = weights;
    p->extra = ds_place == 1 ? NULL : added;
    norm_loss(p);
    for (size_t i = 0; i < T; i++) {
        mean[i] = (float)p->mean[i];
        rstd[i] = (float)p->rstd[i];
    }
    lilac_layer_norm_backward(context, T, F, s, mean, rstd, gain, dout, ds_place == 1 ? NULL : extra, ds, sums,
                              sums + F, scratch);
    float *start = lilac_test_floats(2 * F, 26); /* what was added to */
    for (size_t c = 0; c < 2 * F; c++) {
        sums[c] -= start[c];
    }
    if (F > 1) { /* a single feature is always the bias, whatever s and the gain */
        lilac_test_expect_gradient("ds", norm_loss, p, T * F, p->s, ds, 2e-5);
        lilac_test_expect_gradient("dgain", norm_loss, p, F, p->gain, sums, 2e-5);
    }
    lilac_test_expect_gradient("dbias", norm_loss, p, F, p->bias, sums + F, 2e-5);
    float *const floats[] = {s, mean, rstd, dout, extra, separate, sums, scratch, start};
    for (int i = 0; i < 9; i++) {
        free(floats[i]);
    }
    free(weights);
    free(added);
    p->weights = p->extra = NULL;
}

static void check_norm(lilac_context *context, size_t T, size_t F) {
    float *gain = lilac_test_floats(F, 1), *bias = lilac_test_floats(F, 2), *weights = lilac_test_floats(T * F, 3);
    norm_problem p = {.T = T, .F = F, .gain = lilac_test_doubles(F, gain), .bias = lilac_test_doubles(F, bias)};
    p.s = lilac_test_doubles(T * F, weights);
    p.out = lilac_test_doubles(T * F, weights);
    p.mean = lilac_test_doubles(T, weights);
    p.rstd = lilac_test_doubles(T, weights);
    double *ones = lilac_test_doubles(T * F, weights);
    for (out_place place = PLAIN; place < PLACES; place++) {
        p.weights = ones;
        check_forward(context, &p, gain, bias, place);
    }
    for (int ds_place = 0; ds_place < 3; ds_place++) {
        check_backward(context, &p, gain, ds_place);
    }
    double *const doubles[] = {p.gain, p.bias, p.s, p.out, p.mean, p.rstd, ones};
    for (int i = 0; i < 7; i++) {
        free(doubles[i]);
    }
    free(gain);
    free(bias);
    free(weights);
}

static void test_layer_norm(void **state) {
    (void)state;
    static const size_t shapes[][2] = {{1, 1}, {3, 4}, {5, 7}, {2, 64}, {3, 131}, {150, 5}, {2, 256}};
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            check_norm(lilac_test_context(level, 2), shapes[i][0], shapes[i][1]);
        }
    }
}

/* Equal numbers have no variance, however large they are: the output is the bias. */
static void test_equal_numbers(void **state) {
    (void)state;
    enum { F = 200 };
    static const float values[] = {0.0f, 0.1f, -1.0f / 3.0f, 12345.678f, 3.3e15f};
    float *gain = lilac_test_floats(F, 1), *bias = lilac_test_floats(F, 2);
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
            float y[F], out[F], mean, rstd;
            for (size_t c = 0; c < F; c++) {
                y[c] = values[v];
            }
            lilac_residual_norm_forward(lilac_test_context(level, 1), 1, F, NULL, NULL, NULL, y, gain, bias, &mean,
                                        &rstd, out);
            assert_true(mean == values[v]);
            assert_true(fabs((double)rstd - 1 / sqrt(1e-5)) < 1e-3);
            for (size_t c = 0; c < F; c++) {
                assert_true(out[c] == bias[c]);
            }
        }
    }
    free(gain);
    free(bias);
}

/* A small variance beside a large mean, where E s^2 - (E s)^2 would be all rounding; and large numbers. */
static void test_hard_variances(void **state) {
    (void)state;
    enum { F = 100 };
    const struct { float mean, size; } cases[] = {{1000, 0.01f}, {-3e4f, 1}, {0, 1e15f}, {0, 1e-10f}};
    float gain[F], bias[F] = {0};
    double expected[F], weights[F] = {0}, double_gain[F], double_bias[F] = {0}, s[F], mean, rstd;
    for (size_t c = 0; c < F; c++) {
        gain[c] = 1.0f;
        double_gain[c] = 1;
    }
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            float *y = lilac_test_floats(F, 4), out[F], found_mean, found_rstd;
            for (size_t c = 0; c < F; c++) {
                y[c] = cases[i].mean + cases[i].size * y[c];
                s[c] = (double)y[c];
            }
            norm_problem p = {.T = 1, .F = F, .weights = weights, .s = s, .gain = double_gain, .bias = double_bias};
            p.out = expected;
            p.mean = &mean;
            p.rstd = &rstd;
            norm_loss(&p);
            lilac_residual_norm_forward(lilac_test_context(level, 1), 1, F, NULL, NULL, NULL, y, gain, bias,
                                        &found_mean, &found_rstd, out);
            lilac_test_expect_close("rstd", 1, &found_rstd, &rstd, 0, 1e-6);
            /* The mean's own rounding moves all outputs alike. */
            lilac_test_expect_close("out", F, out, expected, 3e-6 + 0x1p-23 * fabs(mean) * rstd, 0);
            free(y);
        }
    }
}

static void run_all(lilac_context *context, size_t T, size_t F, const float *inputs, float *outputs) {
    const lilac_dropout dropout = lilac_dropout_create(0.2, lilac_random_stream(0, LILAC_RANDOM_TEST, 7));
    float *y = outputs, *out = y + T * F, *ds = out + T * F, *mean = ds + T * F, *rstd = mean + T;
    float *sums = rstd + T, *scratch = sums + 2 * F;
    memcpy(outputs, inputs, T * F * sizeof(float));
    memset(sums, 0, 2 * F * sizeof(float));
    lilac_residual_norm_forward(context, T, F, inputs, inputs, &dropout, y, inputs + F, inputs + 2 * F, mean, rstd,
                                out);
    lilac_layer_norm_backward(context, T, F, y, mean, rstd, inputs + F, out, inputs, ds, sums, sums + F, scratch);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    enum { T = 500, F = 70 };
    const size_t size = (size_t)3 * T * F + 2 * T + 2 * F + lilac_layer_norm_scratch_size(T, F);
    float *inputs = lilac_test_floats((size_t)T * F, 0);
    float *one = lilac_test_floats(size, 3), *many = lilac_test_floats(size, 4);
    for (int level = 0; level < lilac_test_levels(); level++) {
        run_all(lilac_test_context(level, 1), T, F, inputs, one);
        for (int threads = 2; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            run_all(lilac_test_context(level, threads), T, F, inputs, many);
            assert_memory_equal(many, one, size * sizeof(float));
        }
    }
    free(inputs);
    free(one);
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_equal_numbers),
        cmocka_unit_test(test_hard_variances),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
