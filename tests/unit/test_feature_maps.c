/* SPDX-License-Identifier: MIT */
/* Feature maps against formulas in double: values, derivatives, and the kernels that random ones approach. */
#include <lilac/feature_map.h>

#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static lilac_context *context_of_level(int level) {
    return lilac_test_context(level, 1);
}

static lilac_feature_map *create(lilac_random_features features, size_t D, size_t C, float scale, uint64_t seed) {
    lilac_feature_map *map = NULL;
    assert_int_equal(lilac_feature_map_create_random(context_of_level(0), features, D, C, scale, seed, &map), LILAC_OK);
    return map;
}

/* ---- Formulas ---- */

/* A map in double: y (C) = phi(x). */
typedef struct formula {
    size_t D, C;
    void (*apply)(const struct formula *formula, const double *x, double *y);
    double scale;
    double *weights; /* s w_c, vectors x D; NULL for maps without parameters */
} formula;

static void elu_plus_one(const formula *f, const double *x, double *y) {
    for (size_t i = 0; i < f->D; i++) {
        y[i] = x[i] > 0 ? x[i] + 1 : exp(x[i]);
    }
}

static void relu(const formula *f, const double *x, double *y) {
    for (size_t i = 0; i < f->D; i++) {
        y[i] = fmax(x[i], 0);
    }
}

static void squared_relu(const formula *f, const double *x, double *y) {
    for (size_t i = 0; i < f->D; i++) {
        y[i] = x[i] > 0 ? x[i] * x[i] : 0;
    }
}

static void exponential(const formula *f, const double *x, double *y) {
    for (size_t i = 0; i < f->D; i++) {
        y[i] = exp(x[i]);
    }
}

static void identity(const formula *f, const double *x, double *y) {
    memcpy(y, x, f->D * sizeof *y);
}

static double dot(size_t n, const double *x, const double *y) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

static void fourier(const formula *f, const double *x, double *y) {
    for (size_t c = 0; c < f->C / 2; c++) {
        const double angle = dot(f->D, f->weights + c * f->D, x);
        y[c] = sqrt(2.0 / (double)f->C) * cos(angle);
        y[f->C / 2 + c] = sqrt(2.0 / (double)f->C) * sin(angle);
    }
}

static void positive(const formula *f, const double *x, double *y) {
    const double offset = f->scale * f->scale * dot(f->D, x, x) / 2;
    for (size_t c = 0; c < f->C; c++) {
        y[c] = exp(dot(f->D, f->weights + c * f->D, x) - offset) / sqrt((double)f->C);
    }
}

/* ---- The vectors of a random map, which its header hides: what it does with unit vectors tells them. ---- */

/* s w_c for all c, from features of `step` times the unit vectors. step: so small that angles stay below half a turn.
 */
static double *find_weights(const lilac_feature_map *map, lilac_random_features features, size_t D, double scale) {
    const bool is_fourier = features == LILAC_RANDOM_FEATURES_FOURIER;
    const size_t C = map->output_size, vectors = is_fourier ? C / 2 : C;
    const double step = 0.5;
    double *weights = calloc(vectors * D, sizeof *weights);
    float *x = calloc(D, sizeof *x), *y = calloc(C, sizeof *y);
    assert_true(weights != NULL && x != NULL && y != NULL);
    for (size_t d = 0; d < D; d++) {
        x[d] = (float)step;
        map->forward(map, 1, D, x, D, y, C);
        x[d] = 0.0f;
        for (size_t c = 0; c < vectors; c++) {
            const double projected = is_fourier ? atan2((double)y[vectors + c], (double)y[c])
                                                : log((double)y[c] * sqrt((double)C)) + scale * scale * step * step / 2;
            weights[c * D + d] = projected / step;
        }
    }
    free(x);
    free(y);
    return weights;
}

/* ---- Values and derivatives ---- */

/* What the central differences are taken of: a weighted sum of the features of one row. */
typedef struct weighted_sum {
    const formula *formula;
    double *x, *y;
    const double *weights;
} weighted_sum;

static double sum_features(void *argument) {
    const weighted_sum *sum = argument;
    sum->formula->apply(sum->formula, sum->x, sum->y);
    return dot(sum->formula->C, sum->weights, sum->y);
}

/* Rows with gaps between them, which must stay as they are. */
enum { ROWS = 5, GAP = 3 };

static void expect_gaps(const float *rows, size_t size) {
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t i = size; i < size + GAP; i++) {
            assert_true(isnan(rows[r * (size + GAP) + i]));
        }
    }
}

static float *make_nans(size_t count) {
    float *x = malloc(count * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++) {
        x[i] = NAN;
    }
    return x;
}

/* The map's values and gradients of rows of numbers from -range to range. */
static void check_map(const char *what, const lilac_feature_map *map, const formula *f, float range, uint64_t seed) {
    const size_t D = f->D, C = f->C, ldx = D + GAP, ldy = C + GAP;
    assert_int_equal(lilac_feature_map_output_size(map, D), C);
    float *x = lilac_test_floats(ROWS * ldx, seed), *dy = lilac_test_floats(ROWS * ldy, seed + 1);
    float *y = make_nans(ROWS * ldy), *dx = make_nans(ROWS * ldx);
    for (size_t i = 0; i < ROWS * ldx; i++) {
        /* The first of a row is positive, so that no map is flat there. */
        x[i] = range * (i % ldx == 0 ? fabsf(x[i]) : x[i]);
    }
    map->forward(map, ROWS, D, x, ldx, y, ldy);
    map->backward(map, ROWS, D, x, ldx, y, ldy, dy, ldy, dx, ldx);
    expect_gaps(y, C);
    expect_gaps(dx, D);
    double *exact_x = lilac_test_doubles(ROWS * ldx, x), *exact_dy = lilac_test_doubles(ROWS * ldy, dy);
    double *exact_y = calloc(C, sizeof *exact_y);
    assert_non_null(exact_y);
    for (size_t r = 0; r < ROWS; r++) {
        weighted_sum sum = {f, exact_x + r * ldx, exact_y, exact_dy + r * ldy};
        f->apply(f, sum.x, exact_y);
        /* Weights that were found from features are as exact as those; exp makes that a relative error. */
        lilac_test_expect_close(what, C, y + r * ldy, exact_y, f->weights == NULL ? 0 : 2e-6,
                                f->weights == NULL ? 4e-7 : 1e-5);
        lilac_test_expect_gradient(what, sum_features, &sum, D, sum.x, dx + r * ldx, 2e-5);
    }
    free(exact_y);
    free(exact_x);
    free(exact_dy);
    free(x);
    free(y);
    free(dx);
    free(dy);
}

static void test_plain_maps(void **state) {
    (void)state;
    const struct {
        const char *name;
        const lilac_feature_map *map;
        void (*apply)(const formula *formula, const double *x, double *y);
    } maps[] = {
        {"elu+1", lilac_feature_map_elu_plus_one(), elu_plus_one},
        {"relu", lilac_feature_map_relu(), relu},
        {"squared relu", lilac_feature_map_squared_relu(), squared_relu},
        {"exp", lilac_feature_map_exp(), exponential},
        {"identity", lilac_feature_map_identity(), identity},
    };
    static const size_t sizes[] = {5, 16, 33};
    static const float ranges[] = {0.5f, 4.0f, 20.0f};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        for (size_t j = 0; j < 9; j++) {
            const formula f = {.D = sizes[j / 3], .C = sizes[j / 3], .apply = maps[i].apply};
            check_map(maps[i].name, maps[i].map, &f, ranges[j % 3], 100 * i + 10 * j);
        }
    }
}

/* Where exp(x) - 1 is -1 for a float, and where exp(x) is nothing. */
static void test_elu_plus_one_of_large_numbers(void **state) {
    (void)state;
    const lilac_feature_map *map = lilac_feature_map_elu_plus_one();
    static const float x[] = {-17.0f, -30.0f, -80.0f, -200.0f, 0.0f, -0.0f, 80.0f};
    enum { D = sizeof x / sizeof *x };
    const formula f = {.D = D, .C = D};
    float y[D];
    double exact_x[D], exact[D];
    for (size_t i = 0; i < D; i++) {
        exact_x[i] = (double)x[i];
    }
    elu_plus_one(&f, exact_x, exact);
    map->forward(map, 1, D, x, D, y, D);
    lilac_test_expect_close("elu+1", D, y, exact, 1e-45, 2e-7);
    assert_true(y[2] > 0.0f && y[3] == 0.0f);
}

static void test_random_maps(void **state) {
    (void)state;
    static const struct {
        size_t D, C;
        float scale;
    } cases[] = {{5, 2, 0.7f}, {5, 12, 0.7f}, {7, 40, 0.3f}, {16, 16, 0.5f}, {24, 64, 0.1f}, {33, 34, 0.45f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int kind = LILAC_RANDOM_FEATURES_FOURIER; kind <= LILAC_RANDOM_FEATURES_POSITIVE; kind++) {
            const lilac_random_features features = (lilac_random_features)kind;
            lilac_feature_map *map = create(features, cases[i].D, cases[i].C, cases[i].scale, i);
            const bool is_fourier = features == LILAC_RANDOM_FEATURES_FOURIER;
            const formula f = {.D = cases[i].D,
                               .C = cases[i].C,
                               .apply = is_fourier ? fourier : positive,
                               .scale = (double)cases[i].scale,
                               .weights = find_weights(map, features, cases[i].D, (double)cases[i].scale)};
            check_map(is_fourier ? "Fourier" : "positive", map, &f, 1.5f, 1000 + 10 * i);
            assert_int_equal(lilac_feature_map_output_size(map, cases[i].D + 1), 0);
            free(f.weights);
            lilac_feature_map_destroy(map);
        }
    }
    assert_int_equal(lilac_feature_map_output_size(NULL, 5), 0);
}

/* ---- What the random vectors are for ---- */

/* The root of the mean square of phi(x) . phi(y) / k(x, y) - 1 over pairs of vectors. */
static double kernel_error(lilac_random_features features, size_t C) {
    enum { D = 8, PAIRS = 24 };
    const float scale = powf(D, -0.25f);
    lilac_feature_map *map = create(features, D, C, scale, 77);
    float *rows = lilac_test_floats(2 * PAIRS * D, 5), *y = calloc(2 * PAIRS * C, sizeof *y);
    assert_non_null(y);
    map->forward(map, 2 * PAIRS, D, rows, D, y, C);
    double squares = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        const float *x0 = rows + 2 * i * D, *x1 = x0 + D, *y0 = y + 2 * i * C, *y1 = y0 + C;
        double product = 0, distance = 0, found = 0;
        for (size_t d = 0; d < D; d++) {
            const double difference = (double)x0[d] - (double)x1[d];
            product += (double)x0[d] * (double)x1[d];
            distance += difference * difference;
        }
        for (size_t c = 0; c < C; c++) {
            found += (double)y0[c] * (double)y1[c];
        }
        const double square = (double)scale * (double)scale;
        const double kernel =
            features == LILAC_RANDOM_FEATURES_FOURIER ? exp(-square * distance / 2) : exp(square * product);
        squares += (found / kernel - 1) * (found / kernel - 1);
    }
    free(rows);
    free(y);
    lilac_feature_map_destroy(map);
    return sqrt(squares / PAIRS);
}

/*
 * Errors fall with the root of C: their deviation is about 1 / sqrt(C) times the kernel's inverse for Fourier features
 * and sqrt(exp(s^2 |x + y|^2) - 1) / sqrt(C) for positive ones, both a few at these sizes.
 */
static void test_features_approach_their_kernel(void **state) {
    (void)state;
    static const size_t sizes[] = {64, 1024, 16384};
    for (int kind = LILAC_RANDOM_FEATURES_FOURIER; kind <= LILAC_RANDOM_FEATURES_POSITIVE; kind++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const double error = kernel_error((lilac_random_features)kind, sizes[i]);
            print_message("# %s, C %zu: error %.4f\n", kind == 0 ? "Fourier" : "positive", sizes[i], error);
            assert_true(error <= 8 / sqrt((double)sizes[i]));
            /* Nor is it by chance that the error is small: with few features there is one. */
            assert_true(error >= 0.1 / sqrt((double)sizes[i]));
        }
    }
}

static void test_vectors_of_positive_features_are_orthogonal(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{8, 8}, {8, 24}, {8, 21}, {33, 40}, {5, 3}, {1, 4}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t D = sizes[i][0], C = sizes[i][1];
        lilac_feature_map *map = create(LILAC_RANDOM_FEATURES_POSITIVE, D, C, 0.5f, i);
        double *w = find_weights(map, LILAC_RANDOM_FEATURES_POSITIVE, D, 0.5);
        size_t strangers = 0;
        for (size_t a = 0; a < C; a++) {
            for (size_t b = 0; b < a; b++) {
                const double *x = w + a * D, *y = w + b * D;
                const double cosine = dot(D, x, y) / sqrt(dot(D, x, x) * dot(D, y, y));
                if (a / D == b / D) {
                    assert_true(fabs(cosine) <= 1e-4);
                } else {
                    strangers += fabs(cosine) > 1e-2;
                }
            }
        }
        /* Those of different groups are independent: not one group again and again. */
        assert_true(C <= D || strangers > 0);
        free(w);
        lilac_feature_map_destroy(map);
    }
}

/* ---- Seeds and refusals ---- */

static void test_a_seed_gives_the_same_numbers_anywhere(void **state) {
    (void)state;
    enum { D = 20, C = 48 };
    float *x = lilac_test_floats(D, 3), first[C], other[C];
    for (int kind = LILAC_RANDOM_FEATURES_FOURIER; kind <= LILAC_RANDOM_FEATURES_POSITIVE; kind++) {
        lilac_feature_map *map = create((lilac_random_features)kind, D, C, 0.4f, 12);
        map->forward(map, 1, D, x, D, first, C);
        lilac_feature_map_destroy(map);
        for (int level = 0; level < lilac_test_levels(); level++) {
            for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
                assert_int_equal(lilac_feature_map_create_random(lilac_test_context(level, threads),
                                                                 (lilac_random_features)kind, D, C, 0.4f, 12, &map),
                                 LILAC_OK);
                map->forward(map, 1, D, x, D, other, C);
                assert_memory_equal(first, other, sizeof first);
                lilac_feature_map_destroy(map);
            }
        }
        map = create((lilac_random_features)kind, D, C, 0.4f, 13);
        map->forward(map, 1, D, x, D, other, C);
        assert_memory_not_equal(first, other, sizeof first);
        lilac_feature_map_destroy(map);
    }
    free(x);
}

static void test_impossible_maps_are_refused(void **state) {
    (void)state;
    const int fourier_kind = LILAC_RANDOM_FEATURES_FOURIER, positive_kind = LILAC_RANDOM_FEATURES_POSITIVE;
    const struct {
        int kind;
        size_t D, C;
        float scale;
        lilac_status status;
    } cases[] = {
        {7, 4, 4, 1.0f, LILAC_ERROR_ARGUMENT},
        {-1, 4, 4, 1.0f, LILAC_ERROR_ARGUMENT},
        {fourier_kind, 4, 5, 1.0f, LILAC_ERROR_ARGUMENT},
        {fourier_kind, 4, 4, 0.0f, LILAC_ERROR_ARGUMENT},
        {positive_kind, 4, 4, -1.0f, LILAC_ERROR_ARGUMENT},
        {positive_kind, 4, 4, NAN, LILAC_ERROR_ARGUMENT},
        {positive_kind, 4, 4, INFINITY, LILAC_ERROR_ARGUMENT},
        {fourier_kind, 0, 4, 1.0f, LILAC_ERROR_SHAPE},
        {positive_kind, 4, 0, 1.0f, LILAC_ERROR_SHAPE},
        {positive_kind, SIZE_MAX, 2, 1.0f, LILAC_ERROR_OVERFLOW},
        {positive_kind, (size_t)1 << 32, (size_t)1 << 32, 1.0f, LILAC_ERROR_OVERFLOW},
        {fourier_kind, (size_t)1 << 31, (size_t)1 << 31, 1.0f, LILAC_ERROR_OVERFLOW},
        {positive_kind, 1, SIZE_MAX / 8, 1.0f, LILAC_ERROR_OVERFLOW},
    };
    lilac_context *context = context_of_level(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lilac_feature_map *map = NULL;
        const lilac_status status = lilac_feature_map_create_random(context, (lilac_random_features)cases[i].kind,
                                                                    cases[i].D, cases[i].C, cases[i].scale, 1, &map);
        if (status != cases[i].status) {
            fail_msg("case %zu: status %d: %s", i, (int)status, lilac_context_message(context));
        }
        assert_true(strlen(lilac_context_message(context)) > 0);
        assert_null(map);
    }
    assert_int_equal(lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_POSITIVE, 4, 4, 1.0f, 1, NULL),
                     LILAC_ERROR_ARGUMENT);
    lilac_feature_map_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_maps),
        cmocka_unit_test(test_elu_plus_one_of_large_numbers),
        cmocka_unit_test(test_random_maps),
        cmocka_unit_test(test_features_approach_their_kernel),
        cmocka_unit_test(test_vectors_of_positive_features_are_orthogonal),
        cmocka_unit_test(test_a_seed_gives_the_same_numbers_anywhere),
        cmocka_unit_test(test_impossible_maps_are_refused),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
