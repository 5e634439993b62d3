/* SPDX-License-Identifier: MIT */
/*
 * Tests of linear layers, the cross-entropy and the initial weights: values and gradients against double precision, and
 * the same bytes at any number of threads; at every cpu level the machine has.
 */
#include "core/random.h"
#include "nn/activation.h"
#include "nn/cross_entropy.h"
#include "nn/initialise.h"
#include "nn/linear.h"
#include "nn/optimiser.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* The half sum of squares of y = x W^T + b, whose gradient by y is y itself. */
typedef struct {
    size_t B, in, out;
    double *x, *W, *b, *y;
} linear_problem;

static double linear_loss(void *argument) {
    const linear_problem *p = argument;
    double loss = 0;
    for (size_t i = 0; i < p->B * p->out; i++) {
        const size_t row = i / p->out, column = i % p->out;
        p->y[i] = p->b[column];
        for (size_t k = 0; k < p->in; k++) {
            p->y[i] += p->x[row * p->in + k] * p->W[column * p->in + k];
        }
        loss += p->y[i] * p->y[i] / 2;
    }
    return loss;
}

static void check_linear(lilac_context *context, size_t B, size_t in, size_t out) {
    float *x = lilac_test_floats(B * in, 0), *W = lilac_test_floats(out * in, 1), *b = lilac_test_floats(out, 2);
    float *y = lilac_test_floats(B * out, 3), *dx = lilac_test_floats(B * in, 4), *dW = lilac_test_floats(out * in, 5);
    float *db = lilac_test_floats(out, 6);
    linear_problem p = {
        .B = B, .in = in, .out = out, .x = lilac_test_doubles(B * in, x), .W = lilac_test_doubles(out * in, W)};
    p.b = lilac_test_doubles(out, b);
    p.y = lilac_test_doubles(B * out, y);
    linear_loss(&p);
    assert_int_equal(lilac_linear_forward(context, B, in, out, lilac_operand_of(x), lilac_operand_of(W), y), LILAC_OK);
    lilac_add_bias(context, B, out, b, y);
    lilac_test_expect_close("y", B * out, y, p.y, 1e-5, 0);
    assert_int_equal(
        lilac_linear_backward_input(context, B, in, out, lilac_operand_of(W), lilac_operand_of(y), false, dx),
        LILAC_OK);
    lilac_test_expect_gradient("dx", linear_loss, &p, B * in, p.x, dx, 1e-5);
    assert_int_equal(
        lilac_linear_backward_weight(context, B, in, out, lilac_operand_of(x), lilac_operand_of(y), false, dW),
        LILAC_OK);
    lilac_linear_backward_bias(context, B, out, y, false, db);
    lilac_test_expect_gradient("dW", linear_loss, &p, out * in, p.W, dW, 1e-5);
    lilac_test_expect_gradient("db", linear_loss, &p, out, p.b, db, 1e-5);
    float *const floats[] = {x, W, b, y, dx, dW, db};
    for (int i = 0; i < 7; i++) {
        free(floats[i]);
    }
    double *const doubles[] = {p.x, p.W, p.b, p.y};
    for (int i = 0; i < 4; i++) {
        free(doubles[i]);
    }
}

static void test_linear(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_linear(lilac_test_context(level, 2), 1, 1, 1);
        check_linear(lilac_test_context(level, 2), 7, 5, 3);
        check_linear(lilac_test_context(level, 2), 3, 17, 19);
        check_linear(lilac_test_context(level, 2), 2, 3, 131);
    }
}

typedef struct {
    size_t B, classes;
    const uint8_t *labels;
    double *logits, *losses;
} loss_problem;

static double mean_loss(void *argument) {
    const loss_problem *p = argument;
    double mean = 0;
    for (size_t i = 0; i < p->B; i++) {
        const double *row = p->logits + i * p->classes;
        double largest = row[0], sum = 0;
        for (size_t c = 1; c < p->classes; c++) {
            largest = fmax(largest, row[c]);
        }
        for (size_t c = 0; c < p->classes; c++) {
            sum += exp(row[c] - largest);
        }
        p->losses[i] = log(sum) + largest - row[p->labels[i]];
        mean += p->losses[i] / (double)p->B;
    }
    return mean;
}

static void check_cross_entropy(lilac_context *context, size_t B, size_t classes, float scale) {
    float *logits = lilac_test_floats(B * classes, 0), *losses = lilac_test_floats(B, 1);
    float *gradient = lilac_test_floats(B * classes, 2);
    uint8_t *labels = malloc(B);
    assert_non_null(labels);
    for (size_t i = 0; i < B * classes; i++) {
        logits[i] *= scale;
    }
    for (size_t i = 0; i < B; i++) {
        labels[i] = (uint8_t)((i * 7 + 3) % classes);
    }
    loss_problem p = {.B = B, .classes = classes, .labels = labels, .logits = lilac_test_doubles(B * classes, logits)};
    p.losses = lilac_test_doubles(B, losses);
    mean_loss(&p);
    lilac_cross_entropy(context, B, classes, logits, labels, 1.0f / (float)B, losses, NULL);
    lilac_test_expect_close("losses", B, losses, p.losses, 1e-6, 1e-6);
    lilac_cross_entropy(context, B, classes, logits, labels, 1.0f / (float)B, losses, gradient);
    lilac_test_expect_close("losses", B, losses, p.losses, 1e-6, 1e-6);
    lilac_test_expect_gradient("gradient", mean_loss, &p, B * classes, p.logits, gradient, 1e-5);
    lilac_cross_entropy(context, B, classes, logits, labels, 1.0f / (float)B, losses, logits);
    assert_memory_equal(logits, gradient, B * classes * sizeof(float));
    free(logits);
    free(losses);
    free(gradient);
    free(labels);
    free(p.logits);
    free(p.losses);
}

static void test_cross_entropy(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_cross_entropy(lilac_test_context(level, 2), 1, 2, 1);
        check_cross_entropy(lilac_test_context(level, 2), 5, 10, 4);
        check_cross_entropy(lilac_test_context(level, 2), 130, 3, 30);
        check_cross_entropy(lilac_test_context(level, 2), 2, 256, 10);
    }
}

static void test_cross_entropy_of_large_logits(void **state) {
    (void)state;
    const uint8_t labels[2] = {0, 1};
    const float logits[4] = {1e30f, -1e30f, 3e38f, 0};
    for (int level = 0; level < lilac_test_levels(); level++) {
        float losses[2], gradient[4];
        lilac_cross_entropy(lilac_test_context(level, 1), 2, 2, logits, labels, 0.5f, losses, gradient);
        assert_true(losses[0] == 0.0f && losses[1] == 3e38f);
        assert_memory_equal(gradient, ((float[4]){0, 0, 0.5f, -0.5f}), sizeof gradient);
    }
}

static void test_count_correct(void **state) {
    (void)state;
    /* The first of equal logits counts. */
    const float logits[4 * 3] = {1, 2, 3, 3, 2, 1, 0, 5, 5, -2, -1, -3};
    assert_int_equal(lilac_count_correct(4, 3, logits, (const uint8_t[]){2, 0, 1, 1}), 4);
    assert_int_equal(lilac_count_correct(4, 3, logits, (const uint8_t[]){2, 1, 2, 1}), 2);
    assert_int_equal(lilac_count_correct(0, 3, logits, NULL), 0);
}

static void check_column_sum(lilac_context *context, size_t T, size_t cols, size_t ldx) {
    float *x = lilac_test_floats(T * ldx, 0), *sums = lilac_test_floats(cols, 1);
    double *expected = lilac_test_doubles(cols, sums);
    for (size_t i = 0; i < T * cols; i++) {
        expected[i % cols] += (double)x[i / cols * ldx + i % cols];
    }
    lilac_column_sum(context, T, cols, x, ldx, sums);
    lilac_test_expect_close("sums", cols, sums, expected, 1e-6 * (1 + sqrt((double)T)), 0);
    free(x);
    free(sums);
    free(expected);
}

static void test_column_sum(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            check_column_sum(lilac_test_context(level, threads), 0, 3, 3);
            check_column_sum(lilac_test_context(level, threads), 1, 1, 1);
            check_column_sum(lilac_test_context(level, threads), 130, 600, 601);
            check_column_sum(lilac_test_context(level, threads), 2000, 30, 35);
        }
    }
}

static void test_initialise(void **state) {
    (void)state;
    enum { COUNT = 20000, FAN = 25 };
    float *values = lilac_test_floats(COUNT, 0), *other = lilac_test_floats(COUNT, 0);
    for (int level = 0; level < lilac_test_levels(); level++) {
        lilac_initialise_uniform(lilac_test_context(level, 1), COUNT, FAN, lilac_random_stream(5, LILAC_RANDOM_TEST, 0),
                                 values);
        double sum = 0, squares = 0, largest = 0;
        for (size_t i = 0; i < COUNT; i++) {
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
            largest = fmax(largest, fabs((double)values[i]));
        }
        /* Uniform in (-0.2, 0.2): variance 0.04 / 3. */
        assert_true(largest < 0.2 + 1e-7 && largest > 0.199);
        assert_true(fabs(sum / COUNT) < 5 * sqrt(0.04 / 3 / COUNT));
        assert_true(fabs(squares / COUNT - 0.04 / 3) < 0.0005);
        lilac_initialise_uniform(lilac_test_context(level, 1), COUNT, FAN, lilac_random_stream(6, LILAC_RANDOM_TEST, 0),
                                 other);
        assert_memory_not_equal(values, other, COUNT * sizeof(float));
    }
    free(values);
    free(other);
}

/* All that a training step of one layer writes, in one block. */
enum {
    STEP_B = 1100,
    STEP_IN = 67,
    STEP_OUT = 250,
    STEP_SIZE = STEP_B * (STEP_IN + 2 * STEP_OUT + 1) + 2 * STEP_OUT * STEP_IN + 2 * STEP_OUT
};

static void run_step(lilac_context *context, const float *x, const float *W, const float *b, float *block) {
    const lilac_dropout dropout = lilac_dropout_create(0.3, lilac_random_stream(0, LILAC_RANDOM_TEST, 9));
    const lilac_optimiser_config config = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    float *y = block, *dy = y + STEP_B * STEP_OUT, *losses = dy + STEP_B * STEP_OUT, *dx = losses + STEP_B;
    float *dW = dx + STEP_B * STEP_IN, *updated = dW + STEP_OUT * STEP_IN, *db = updated + STEP_OUT * STEP_IN;
    float *sums = db + STEP_OUT;
    uint8_t labels[STEP_B] = {1, 2, 3};
    lilac_optimiser optimiser;
    memcpy(updated, W, STEP_OUT * STEP_IN * sizeof(float));
    assert_int_equal(
        lilac_linear_forward(context, STEP_B, STEP_IN, STEP_OUT, lilac_operand_of(x), lilac_operand_of(W), y),
        LILAC_OK);
    lilac_add_bias(context, STEP_B, STEP_OUT, b, y);
    lilac_bias_relu_dropout_forward(context, STEP_B, STEP_OUT, b, &dropout, y);
    lilac_cross_entropy(context, STEP_B, STEP_OUT, y, labels, 0.001f, losses, dy);
    lilac_relu_dropout_backward(context, STEP_B, STEP_OUT, y, dropout.scale, dy);
    assert_int_equal(lilac_linear_backward_input(context, STEP_B, STEP_IN, STEP_OUT, lilac_operand_of(W),
                                                 lilac_operand_of(dy), false, dx),
                     LILAC_OK);
    assert_int_equal(lilac_linear_backward_weight(context, STEP_B, STEP_IN, STEP_OUT, lilac_operand_of(x),
                                                  lilac_operand_of(dy), false, dW),
                     LILAC_OK);
    lilac_linear_backward_bias(context, STEP_B, STEP_OUT, dy, false, db);
    memset(sums, 0, STEP_OUT * sizeof(float));
    lilac_linear_backward_bias(context, STEP_B, STEP_OUT, dy, true, sums);
    assert_int_equal(lilac_optimiser_create(context, &config, STEP_OUT * STEP_IN, &optimiser), LILAC_OK);
    assert_int_equal(lilac_optimiser_update(context, &optimiser, 0.1, 1.0, dW, updated), LILAC_OK);
    assert_int_equal(lilac_optimiser_update(context, &optimiser, 0.1, 1.0, dW, updated), LILAC_OK);
    lilac_optimiser_destroy(&optimiser);
}

static void test_same_bytes_at_any_thread_count(void **state) {
    (void)state;
    float *x = lilac_test_floats((size_t)STEP_B * STEP_IN, 0), *W = lilac_test_floats(STEP_OUT * STEP_IN, 1);
    float *b = lilac_test_floats(STEP_OUT, 2);
    float *one = lilac_test_floats(STEP_SIZE, 3), *many = lilac_test_floats(STEP_SIZE, 3);
    for (int level = 0; level < lilac_test_levels(); level++) {
        run_step(lilac_test_context(level, 1), x, W, b, one);
        for (int threads = 2; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            run_step(lilac_test_context(level, threads), x, W, b, many);
            assert_memory_equal(many, one, STEP_SIZE * sizeof(float));
        }
    }
    free(x);
    free(W);
    free(b);
    free(one);
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_of_large_logits),
        cmocka_unit_test(test_count_correct),
        cmocka_unit_test(test_column_sum),
        cmocka_unit_test(test_initialise),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
