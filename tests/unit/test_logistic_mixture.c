/* SPDX-License-Identifier: MIT */
/* Tests of the mixture of logistics and of sampling: the loss against the definition, its gradient against central
 * differences, finite results at extremes, and drawn bytes against their probabilities. */
#include "nn/logistic_mixture.h"

#include "nn/cross_entropy.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static double scale_of(double raw) {
    return raw > 0 ? raw + 1.0001 : exp(raw) + 1e-4;
}

/* P(v) straight from the definition, where that is accurate: moderate parameters. */
static double probability(size_t K, const double *row, int v) {
    const double x = v / 127.5 - 1;
    double sum = 0, total = 0;
    for (size_t k = 0; k < K; k++) {
        const double s = scale_of(row[2 * K + k]), m = row[K + k];
        const double above = v == 255 ? 1 : 1 / (1 + exp(-(x + 1 / 255.0 - m) / s));
        const double below = v == 0 ? 0 : 1 / (1 + exp(-(x - 1 / 255.0 - m) / s));
        sum += exp(row[k]) * (above - below);
        total += exp(row[k]);
    }
    return sum / total;
}

typedef struct {
    size_t T, K;
    const uint8_t *targets;
    double *parameters, *losses;
} mixture_problem;

static double total_loss(void *argument) {
    const mixture_problem *p = argument;
    double total = 0;
    for (size_t i = 0; i < p->T; i++) {
        p->losses[i] = -log(probability(p->K, p->parameters + i * 3 * p->K, p->targets[i]));
        total += p->losses[i];
    }
    return total;
}

static void check_loss(lilac_context *context, size_t T, size_t K, float size) {
    float *parameters = lilac_test_floats(T * 3 * K, 0), *losses = lilac_test_floats(T, 1);
    float *gradient = lilac_test_floats(T * 3 * K, 2);
    uint8_t *targets = malloc(T);
    assert_non_null(targets);
    for (size_t i = 0; i < T; i++) {
        targets[i] = (uint8_t)(i % 3 == 0 ? 0 : i % 3 == 1 ? 255 : i * 29 % 256);
    }
    for (size_t i = 0; i < T * 3 * K; i++) {
        parameters[i] *= size;
    }
    mixture_problem p = {.T = T, .K = K, .targets = targets, .parameters = lilac_test_doubles(T * 3 * K, parameters)};
    p.losses = lilac_test_doubles(T, losses);
    total_loss(&p);
    lilac_logistic_mixture_loss(context, T, K, parameters, targets, 1.0f, losses, NULL);
    lilac_test_expect_close("losses", T, losses, p.losses, 1e-7, 1e-6);
    lilac_logistic_mixture_loss(context, T, K, parameters, targets, 1.0f, losses, gradient);
    lilac_test_expect_close("losses", T, losses, p.losses, 1e-7, 1e-6);
    lilac_test_expect_gradient("gradient", total_loss, &p, T * 3 * K, p.parameters, gradient, 1e-6);
    lilac_logistic_mixture_loss(context, T, K, parameters, targets, 0.25f, losses, parameters);
    for (size_t i = 0; i < T * 3 * K; i++) {
        assert_true(parameters[i] == 0.25f * gradient[i]);
    }
    free(parameters);
    free(losses);
    free(gradient);
    free(targets);
    free(p.parameters);
    free(p.losses);
}

static void test_loss(void **state) {
    (void)state;
    for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
        lilac_context *context = lilac_test_context(0, threads);
        check_loss(context, 6, 1, 1);
        check_loss(context, 70, 10, 1);
        check_loss(context, 30, 10, 2);
        check_loss(context, 1, LILAC_LOGISTIC_MIXTURE_MAX, 1);
    }
}

/* All bytes together have probability 1, also where components are narrower than a bin or far outside. */
static void test_probabilities_sum_to_one(void **state) {
    (void)state;
    enum { K = 3 };
    const float rows[][3 * K] = {{0, 1, -1, 0, 0.5f, -0.5f, 0, 1, -2},
                                 {0, 0, 0, -0.9f, 0.1f, 0.99f, -8, -20, -5},
                                 {5, -5, 0, -30, 30, 0, -3, -3, 100}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        double sum = 0;
        for (int v = 0; v < 256; v++) {
            const uint8_t target = (uint8_t)v;
            float loss;
            lilac_logistic_mixture_loss(lilac_test_context(0, 1), 1, K, rows[r], &target, 1.0f, &loss, NULL);
            assert_true(loss >= 0.0f);
            sum += exp(-(double)loss);
        }
        assert_true(fabs(sum - 1) < 1e-6);
    }
}

/* Far from the target in units of a narrow scale: the loss of one component is the distance to the bin, almost. */
static void test_tails(void **state) {
    (void)state;
    const float parameters[] = {0, 0.5f, -20}; /* a scale of 1e-4 */
    const uint8_t target = 100;
    float loss, gradient[3];
    lilac_logistic_mixture_loss(lilac_test_context(0, 1), 1, 1, parameters, &target, 1.0f, &loss, gradient);
    const double edge = 100 / 127.5 - 1 + 1 / 255.0, scale = exp(-20) + 1e-4;
    const double distance = (0.5 - edge) / scale;
    assert_true(fabs((double)loss / distance - 1) < 1e-6);
    assert_true(gradient[0] == 0.0f);
    assert_true(fabs((double)gradient[1] * scale - 1) < 1e-6);
    assert_true(fabs((double)gradient[2] * scale / (-distance * exp(-20)) - 1) < 1e-6);
}

static void test_extremes_are_finite(void **state) {
    (void)state;
    static const float values[] = {0, 1e-30f, 1, -1, 10, -10, 100, -100, 1e4f, -1e4f};
    enum { VALUES = sizeof values / sizeof values[0], K = 2 };
    static const uint8_t targets[] = {0, 1, 128, 254, 255};
    for (size_t i = 0; i < (size_t)VALUES * VALUES * VALUES; i++) {
        const float a = values[i % VALUES], b = values[i / VALUES % VALUES], c = values[i / VALUES / VALUES];
        const float row[3 * K] = {a, 0, b, b / 2, c, -1};
        for (size_t t = 0; t < sizeof targets; t++) {
            float loss, gradient[3 * K];
            lilac_logistic_mixture_loss(lilac_test_context(0, 1), 1, K, row, &targets[t], 1.0f, &loss, gradient);
            assert_true(isfinite(loss) && loss >= 0.0f);
            for (size_t k = 0; k < 3 * K; k++) {
                assert_true(isfinite(gradient[k]));
            }
        }
    }
}

/* Counts of drawn classes against their probabilities: each within five standard deviations and one. */
static void expect_counts(size_t draws, size_t classes, const uint8_t *drawn, const double *probabilities) {
    size_t counts[256] = {0};
    for (size_t i = 0; i < draws; i++) {
        assert_true(drawn[i] < classes);
        counts[drawn[i]]++;
    }
    for (size_t c = 0; c < classes; c++) {
        const double expected = (double)draws * probabilities[c];
        const double deviation = sqrt(expected * (1 - probabilities[c]));
        if (!(fabs((double)counts[c] - expected) <= 5 * deviation + 1)) {
            fail_msg("class %zu was drawn %zu times, expected %.1f", c, counts[c], expected);
        }
    }
}

/* count random places and a matrix of count equal rows. */
enum { DRAWS = 50000 };

static lilac_random *create_randoms(uint64_t seed) {
    lilac_random *randoms = malloc(DRAWS * sizeof *randoms);
    assert_non_null(randoms);
    for (size_t i = 0; i < DRAWS; i++) {
        /* Both neighbouring groups and neighbouring streams must be independent. */
        randoms[i] = lilac_random_stream(seed, LILAC_RANDOM_TEST, i % 2);
        randoms[i].group = i / 2;
    }
    return randoms;
}

static float *repeat_row(size_t cols, const float *row) {
    float *rows = malloc(DRAWS * cols * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < DRAWS; i++) {
        memcpy(rows + i * cols, row, cols * sizeof *row);
    }
    return rows;
}

/* The raw scale whose scale is `factor` times that of r. */
static float scaled(float r, double factor) {
    const double scale = factor * ((r > 0.0f ? (double)r : expm1((double)r)) + 1.0001) - 1.0001;
    return (float)(scale > 0.0 ? scale : log1p(scale));
}

/* A temperature multiplies the scales. */
static void test_mixture_samples(void **state) {
    (void)state;
    enum { K = 3 };
    const float cases[][3 * K] = {{0, 1, -1, 0, 0.5f, -0.5f, -3, -2, -2},
                                  {1, 0, 2, -1.5f, 1.5f, 0, 0, 0, -5},
                                  {-500, 0, 500, -1, 1, 0.25f, -9, -9, -30}};
    static const float temperatures[] = {1.0f, 2.0f, 0.5f};
    uint8_t *drawn = malloc(DRAWS);
    assert_non_null(drawn);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lilac_random *randoms = create_randoms(i);
        float *rows = repeat_row(3 * K, cases[i]);
        /* No raw scale is half of the smallest, which the last case has. */
        for (size_t t = 0; t < (i == 2 ? 2 : 3); t++) {
            double probabilities[256];
            float row[3 * K];
            memcpy(row, cases[i], sizeof row);
            for (size_t k = 0; k < K; k++) {
                row[2 * K + k] = scaled(row[2 * K + k], (double)temperatures[t]);
            }
            for (int v = 0; v < 256; v++) {
                const uint8_t target = (uint8_t)v;
                float loss;
                lilac_logistic_mixture_loss(lilac_test_context(0, 1), 1, K, row, &target, 1.0f, &loss, NULL);
                probabilities[v] = exp(-(double)loss);
            }
            lilac_logistic_mixture_sample(DRAWS, K, rows, temperatures[t], randoms, drawn);
            expect_counts(DRAWS, 256, drawn, probabilities);
        }
        free(randoms);
        free(rows);
    }
    free(drawn);
}

/* At temperature 0 a component gives the byte nearest to its mean, also one just above a bin's edge. */
static void test_mixture_without_temperature(void **state) {
    (void)state;
    const float rows[] = {0, -1, 5, 0, 0, -30, 0, 0.0039f, 2, 0, 1, 0};
    lilac_random randoms[4];
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (size_t i = 0; i < 4; i++) {
            randoms[i] = (lilac_random){.seed = seed, .stream = i};
        }
        uint8_t drawn[4];
        lilac_logistic_mixture_sample(4, 1, rows, 0.0f, randoms, drawn);
        assert_memory_equal(drawn, ((uint8_t[4]){0, 128, 128, 255}), 4);
    }
}

/* What cannot be rounded to a byte is clamped, a NaN too. */
static void test_mixture_samples_are_clamped(void **state) {
    (void)state;
    const float rows[] = {0, 1e30f, 0, 0, -1e30f, 0, 0, NAN, 0, NAN, 1e30f, 0};
    const lilac_random randoms[4] = {{.seed = 1}, {.seed = 2}, {.seed = 3}, {.seed = 4}};
    uint8_t drawn[4] = {1, 1, 1, 1};
    lilac_logistic_mixture_sample(4, 1, rows, 1.0f, randoms, drawn);
    assert_int_equal(drawn[0], 255);
    assert_int_equal(drawn[1], 0);
    assert_int_equal(drawn[2], 0);
    assert_int_equal(drawn[3], 255);
}

static void test_categorical_samples(void **state) {
    (void)state;
    enum { CLASSES = 7 };
    const float row[CLASSES] = {1, -2, 3, 3, -1000, 0, 2.5f};
    static const double temperatures[] = {1, 0.5, 3};
    uint8_t *drawn = malloc(DRAWS);
    assert_non_null(drawn);
    float *rows = repeat_row(CLASSES, row);
    for (size_t i = 0; i < 3; i++) {
        lilac_random *randoms = create_randoms(10 + i);
        double probabilities[CLASSES], sum = 0;
        for (size_t c = 0; c < CLASSES; c++) {
            probabilities[c] = exp((double)row[c] / temperatures[i]);
            sum += probabilities[c];
        }
        for (size_t c = 0; c < CLASSES; c++) {
            probabilities[c] /= sum;
        }
        lilac_categorical_sample(DRAWS, CLASSES, rows, (float)temperatures[i], randoms, drawn);
        expect_counts(DRAWS, CLASSES, drawn, probabilities);
        free(randoms);
    }
    free(drawn);
    free(rows);
}

/* Temperature 0 and one close to it take the first largest. */
static void test_categorical_without_temperature(void **state) {
    (void)state;
    const float rows[] = {1, 5, 5, -1, -1, -1, 3e38f, 0, -3e38f};
    const lilac_random randoms[3] = {{.seed = 1}, {.seed = 2}, {.seed = 3}};
    uint8_t drawn[3];
    lilac_categorical_sample(3, 3, rows, 0.0f, randoms, drawn);
    assert_memory_equal(drawn, ((uint8_t[3]){1, 0, 0}), 3);
    lilac_categorical_sample(1, 3, rows + 6, 1e-40f, randoms, drawn);
    assert_int_equal(drawn[0], 0);
    assert_int_equal(lilac_categorical_choose(1, rows, 1.0, 0.999), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_probabilities_sum_to_one),
        cmocka_unit_test(test_tails),
        cmocka_unit_test(test_extremes_are_finite),
        cmocka_unit_test(test_mixture_samples),
        cmocka_unit_test(test_mixture_without_temperature),
        cmocka_unit_test(test_mixture_samples_are_clamped),
        cmocka_unit_test(test_categorical_samples),
        cmocka_unit_test(test_categorical_without_temperature),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
