/* SPDX-License-Identifier: MIT */
/*
 * Tests of linear layers, ReLU, dropout and the cross-entropy: values and gradients against double precision, dropout's
 * statistics, and the same bytes at any number of threads; at every cpu level the machine has.
 */
#include "core/memory.h"
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

/* What dropout multiplies each element by. */
static double *create_mask(size_t B, size_t out, double probability, lilac_random random) {
    double *mask = malloc(B * out * sizeof *mask);
    assert_non_null(mask);
    const size_t groups = (out + LILAC_RANDOM_GROUP - 1) / LILAC_RANDOM_GROUP;
    for (size_t i = 0; i < B * out; i++) {
        uint32_t words[LILAC_RANDOM_GROUP];
        lilac_random place = random;
        place.group += i / out * groups + i % out / LILAC_RANDOM_GROUP;
        lilac_random_group(&place, words);
        const bool dropped = (double)words[i % out % LILAC_RANDOM_GROUP] < probability * 0x1p32;
        mask[i] = dropped ? 0 : 1 / (1 - probability);
    }
    return mask;
}

static void check_activation(lilac_context *context, size_t B, size_t out, double probability) {
    const lilac_dropout dropout =
        lilac_dropout_create(probability, lilac_random_stream(3, LILAC_RANDOM_TEST, UINT64_C(1) << 40));
    float *y = lilac_test_floats(B * out, 0), *b = lilac_test_floats(out, 1), *dy = lilac_test_floats(B * out, 2);
    double *weights = lilac_test_doubles(B * out, dy), *mask = create_mask(B, out, probability, dropout.random);
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
    STEP_SIZE = STEP_B * (STEP_IN + 2 * STEP_OUT + 1) + 2 * STEP_OUT * STEP_IN + STEP_OUT
};

static void run_step(lilac_context *context, const float *x, const float *W, const float *b, float *block) {
    const lilac_dropout dropout = lilac_dropout_create(0.3, lilac_random_stream(0, LILAC_RANDOM_TEST, 9));
    const lilac_optimiser_config config = {.beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    float *y = block, *dy = y + STEP_B * STEP_OUT, *losses = dy + STEP_B * STEP_OUT, *dx = losses + STEP_B;
    float *dW = dx + STEP_B * STEP_IN, *updated = dW + STEP_OUT * STEP_IN, *db = updated + STEP_OUT * STEP_IN;
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
    assert_int_equal(lilac_optimiser_create(context, &config, STEP_OUT * STEP_IN, &optimiser), LILAC_OK);
    lilac_optimiser_update(context, &optimiser, 0.1, 1.0, dW, updated);
    lilac_optimiser_update(context, &optimiser, 0.1, 1.0, dW, updated);
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
        cmocka_unit_test(test_activation),
        cmocka_unit_test(test_activation_of_special_values),
        cmocka_unit_test(test_dropout_rate_and_scale),
        cmocka_unit_test(test_extreme_dropout),
        cmocka_unit_test(test_dropout_masks_are_independent),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_of_large_logits),
        cmocka_unit_test(test_count_correct),
        cmocka_unit_test(test_initialise),
        cmocka_unit_test(test_same_bytes_at_any_thread_count),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
