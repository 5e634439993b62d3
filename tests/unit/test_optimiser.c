/* SPDX-License-Identifier: MIT */
/* Tests of the optimisers against their papers' formulas in double precision, of the gradient's norm, and of the
 * schedule of rates. */
#include "nn/gradient_norm.h"
#include "nn/optimiser.h"

#include "nn/schedule.h"
#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* One parameter's state; g is its gradient, rate the step's learning rate, t counted from 1. */
typedef struct {
    double p, m, v;
} parameter;

static void reference_adamw(const lilac_optimiser_config *c, int t, double rate, double g, parameter *x) {
    x->m = c->beta1 * x->m + (1 - c->beta1) * g;
    x->v = c->beta2 * x->v + (1 - c->beta2) * g * g;
    const double m_hat = x->m / (1 - pow(c->beta1, t)), v_hat = x->v / (1 - pow(c->beta2, t));
    x->p -= rate * (m_hat / (sqrt(v_hat) + c->epsilon) + c->weight_decay * x->p);
}

static void reference_radam(const lilac_optimiser_config *c, int t, double rate, double g, parameter *x) {
    const double limit = 2 / (1 - c->beta2) - 1;
    const double length = limit - 2 * t * pow(c->beta2, t) / (1 - pow(c->beta2, t));
    x->m = c->beta1 * x->m + (1 - c->beta1) * g;
    x->v = c->beta2 * x->v + (1 - c->beta2) * g * g;
    const double m_hat = x->m / (1 - pow(c->beta1, t)), v_hat = x->v / (1 - pow(c->beta2, t));
    double change = m_hat;
    if (length > 5) {
        const double r = sqrt((length - 4) * (length - 2) * limit) / sqrt((limit - 4) * (limit - 2) * length);
        change *= r / (sqrt(v_hat) + c->epsilon);
    }
    x->p -= rate * (change + c->weight_decay * x->p);
}

static void check_optimiser(lilac_context *context, const lilac_optimiser_config *config, double rate, double scale) {
    enum { COUNT = 101, STEPS = 50 };
    float *parameters = lilac_test_floats(COUNT, 0), *gradient = lilac_test_floats(COUNT, 1);
    parameter states[COUNT] = {{0}};
    double expected[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        states[i].p = (double)parameters[i];
    }
    lilac_optimiser optimiser;
    assert_int_equal(lilac_optimiser_create(context, config, COUNT, &optimiser), LILAC_OK);
    for (int t = 1; t <= STEPS; t++) {
        const double step_rate = rate / t;
        lilac_test_uniform((uint64_t)t, COUNT, -1, 1, gradient);
        for (size_t i = 0; i < COUNT; i++) {
            gradient[i] *= i % 3 == 0 ? 1e-6f : i == COUNT - 1 ? 0.0f : 1.0f;
            (config->kind == LILAC_OPTIMISER_RADAM ? reference_radam : reference_adamw)(
                config, t, step_rate, scale * (double)gradient[i], &states[i]);
            expected[i] = states[i].p;
        }
        assert_int_equal(lilac_optimiser_update(context, &optimiser, step_rate, scale, gradient, parameters), LILAC_OK);
        /* Each step rounds the parameter, and its numbers in float err by some 1e-5 of the step. */
        lilac_test_expect_close("parameters", COUNT, parameters, expected, t * (1e-7 + 4e-5 * rate), 0);
    }
    assert_int_equal(optimiser.step, STEPS);
    lilac_optimiser_destroy(&optimiser);
    free(parameters);
    free(gradient);
}

static void test_optimisers(void **state) {
    (void)state;
    const lilac_optimiser_config usual = {.weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    const lilac_optimiser_config fast = {.weight_decay = 0.5, .beta1 = 0.5, .beta2 = 0.9, .epsilon = 1e-3};
    const lilac_optimiser_config plain = {.beta1 = 0, .beta2 = 0, .epsilon = 1e-8};
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int kind = LILAC_OPTIMISER_ADAMW; kind <= LILAC_OPTIMISER_RADAM; kind++) {
            lilac_optimiser_config configs[] = {usual, fast, plain};
            for (int i = 0; i < 3; i++) {
                configs[i].kind = (lilac_optimiser_kind)kind;
                check_optimiser(lilac_test_context(level, 2), &configs[i], i == 0 ? 2e-4 : 0.1, 1);
                check_optimiser(lilac_test_context(level, 2), &configs[i], i == 0 ? 2e-4 : 0.1, 0.125);
            }
        }
    }
}

/* The last parameters are updated as by an optimiser of their own, with their share of the rate. */
static void test_tail_has_a_rate_of_its_own(void **state) {
    (void)state;
    enum { COUNT = 50, TAIL = 13, STEPS = 5 };
    for (int kind = LILAC_OPTIMISER_ADAMW; kind <= LILAC_OPTIMISER_RADAM; kind++) {
        lilac_optimiser_config config = {
            .kind = (lilac_optimiser_kind)kind, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.9, .epsilon = 1e-8};
        lilac_context *context = lilac_test_context(0, 1);
        float *parameters = lilac_test_floats(COUNT, 0), *gradient = lilac_test_floats(COUNT, 1), expected[COUNT];
        memcpy(expected, parameters, sizeof expected);
        lilac_optimiser head, tail, both;
        assert_int_equal(lilac_optimiser_create(context, &config, COUNT - TAIL, &head), LILAC_OK);
        assert_int_equal(lilac_optimiser_create(context, &config, TAIL, &tail), LILAC_OK);
        config.tail_count = TAIL;
        config.tail_rate = 0.25;
        assert_int_equal(lilac_optimiser_create(context, &config, COUNT, &both), LILAC_OK);
        for (int t = 0; t < STEPS; t++) {
            assert_int_equal(lilac_optimiser_update(context, &head, 0.1, 1.0, gradient, expected), LILAC_OK);
            assert_int_equal(
                lilac_optimiser_update(context, &tail, 0.025, 1.0, gradient + COUNT - TAIL, expected + COUNT - TAIL),
                LILAC_OK);
            assert_int_equal(lilac_optimiser_update(context, &both, 0.1, 1.0, gradient, parameters), LILAC_OK);
        }
        assert_memory_equal(parameters, expected, sizeof expected);
        lilac_optimiser_destroy(&head);
        lilac_optimiser_destroy(&tail);
        lilac_optimiser_destroy(&both);
        free(parameters);
        free(gradient);
    }
}

/* RAdam's first steps ignore the second moment: with beta2 0.999, five of them. */
static void test_radam_starts_without_second_moment(void **state) {
    (void)state;
    const lilac_optimiser_config config = {
        .kind = LILAC_OPTIMISER_RADAM, .beta1 = 0.5, .beta2 = 0.999, .epsilon = 1e-8};
    lilac_context *context = lilac_test_context(0, 1);
    lilac_optimiser optimiser;
    assert_int_equal(lilac_optimiser_create(context, &config, 1, &optimiser), LILAC_OK);
    const float gradient = 1e-3f;
    float p = 0.0f;
    for (int t = 1; t <= 6; t++) {
        const float before = p;
        assert_int_equal(lilac_optimiser_update(context, &optimiser, 1.0, 1.0, &gradient, &p), LILAC_OK);
        const double change = (double)before - (double)p;
        if (t <= 5) {
            assert_true(fabs(change - 1e-3) < 1e-9); /* the gradient times the rate */
        } else {
            assert_true(change > 0.01 && change < 0.1); /* the gradient's sign times the rectification */
        }
    }
    lilac_optimiser_destroy(&optimiser);
}

static void test_failed_allocations(void **state) {
    (void)state;
    const lilac_optimiser_config config = {.beta1 = 0.9};
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t n = 0;
    for (; status != LILAC_OK; n++) {
        lilac_optimiser optimiser = {.count = 77};
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_optimiser_create(lilac_test_context(0, 1), &config, 10, &optimiser);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_int_equal(optimiser.count, 77);
        } else {
            lilac_optimiser_destroy(&optimiser);
        }
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    assert_true(n > 2);
}

static void check_norm(size_t count, float size) {
    float *x = lilac_test_floats(count, 8);
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        x[i] *= size;
        squares += (double)x[i] * (double)x[i];
    }
    const double norm = lilac_gradient_norm(lilac_test_context(0, 1), count, x);
    assert_true(fabs(norm - sqrt(squares)) <= 1e-11 * norm);
    for (int threads = 2; threads <= LILAC_TEST_MAX_THREADS; threads++) {
        const double other = lilac_gradient_norm(lilac_test_context(0, threads), count, x);
        assert_memory_equal(&other, &norm, sizeof norm);
    }
    free(x);
}

static void test_gradient_norm(void **state) {
    (void)state;
    check_norm(0, 1);
    check_norm(1, 1);
    check_norm(50, 1e30f);
    check_norm(100001, 1e-30f);
    check_norm(5000001, 1);
    const float nan = NAN;
    assert_true(isnan(lilac_gradient_norm(lilac_test_context(0, 1), 1, &nan)));
}

static void expect_rate(const lilac_schedule *schedule, uint64_t step, double expected) {
    const double rate = lilac_schedule_rate(schedule, step);
    if (!(fabs(rate - expected) <= 1e-15)) {
        fail_msg("step %llu: got %.17g, expected %.17g", (unsigned long long)step, rate, expected);
    }
}

static void test_schedule(void **state) {
    (void)state;
    const lilac_schedule s = {.warmup = 4, .steps = 12, .peak = 0.8, .final = 0.2};
    const double at_a_quarter = 0.2 + 0.6 * (1 + sqrt(0.5)) / 2;
    const struct {
        uint64_t step;
        double rate;
    } cases[] = {{0, 0.2}, {1, 0.4},  {3, 0.8},  {4, 0.8},         {6, at_a_quarter},
                 {8, 0.5}, {12, 0.2}, {13, 0.2}, {UINT64_MAX, 0.2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_rate(&s, cases[i].step, cases[i].rate);
    }
    const lilac_schedule constant = {.peak = 0.3, .final = 0.3};
    expect_rate(&constant, 0, 0.3);
    expect_rate(&constant, 1000, 0.3);
    const lilac_schedule only_warmup = {.warmup = 10, .steps = 10, .peak = 1, .final = 0.5};
    expect_rate(&only_warmup, 9, 1);
    expect_rate(&only_warmup, 10, 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimisers),         cmocka_unit_test(test_radam_starts_without_second_moment),
        cmocka_unit_test(test_failed_allocations), cmocka_unit_test(test_gradient_norm),
        cmocka_unit_test(test_schedule),           cmocka_unit_test(test_tail_has_a_rate_of_its_own),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
