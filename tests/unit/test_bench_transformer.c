/* SPDX-License-Identifier: MIT */
/* What the benchmark of transformers counts: steps, operations, bytes; and that its times fit together. */
#include "bench/transformer_sweep.h"

#include "kernels/packed_product.h"
#include "model/transformer_pass.h"
#include "support/default_context.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>

#include <cmocka.h>

enum { N = 20, LAYERS = 2, HEADS = 2, SIZE = 4, WIDTH = HEADS * SIZE };

static lilac_transformer *create_model(lilac_transformer_attention attention, size_t length) {
    const lilac_transformer_config config = {.length = length,
                                             .layers = LAYERS,
                                             .heads = HEADS,
                                             .head_size = SIZE,
                                             .feed_forward = 16,
                                             .value_width = WIDTH / 2,
                                             .position_width = WIDTH / 2,
                                             .attention = attention,
                                             .mixtures = 2};
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

static lilac_transformer_training two_steps(lilac_precision precision) {
    lilac_transformer_training config;
    lilac_transformer_training_default(&config);
    config.batch = 3;
    config.steps = 2;
    config.precision = precision;
    return config;
}

static void test_training(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        lilac_transformer *model = create_model((lilac_transformer_attention)attention, N);
        const lilac_transformer_training config = two_steps(LILAC_PRECISION_F32);
        lilac_bench_training_figures figures;
        assert_int_equal(lilac_bench_training(context, &config, model, &figures), LILAC_OK);
        const lilac_training_times *times = &figures.times;
        assert_true(times->forward > 0 && times->loss > 0 && times->backward > 0 && times->optimiser > 0);
        assert_true(times->forward + times->loss + times->backward + times->optimiser <= times->steps);
        assert_true(figures.operations == 3 * lilac_transformer_operations(model, NULL, N, true));
        const size_t bytes = lilac_transformer_parameter_count(model) * sizeof(float);
        assert_int_equal(figures.weight_bytes, bytes);
        assert_int_equal(figures.memory.gradient, bytes);
        assert_int_equal(figures.memory.optimiser, 2 * bytes);
        lilac_transformer_destroy(model);
    }
}

/* Where there are no fast products in a precision, nothing else is timed in their place. */
static void check_training_in(lilac_precision precision) {
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_LINEAR, N);
    const lilac_transformer_training training = two_steps(precision);
    lilac_bench_training_figures figures;
    assert_int_equal(lilac_bench_training(context, &training, model, &figures), LILAC_OK);
    const bool rounds = figures.memory.precision == precision;
    assert_int_equal(isnan(figures.times.steps) != 0, !rounds);
    assert_int_equal(isnan(figures.times.optimiser) != 0, !rounds);
    lilac_transformer_destroy(model);
}

static void test_training_in_bf16(void **state) {
    (void)state;
    check_training_in(LILAC_PRECISION_BF16);
}

static void test_training_in_f16(void **state) {
    (void)state;
    check_training_in(LILAC_PRECISION_F16);
}

static lilac_bench_generation_figures generate(const lilac_transformer *model,
                                               const lilac_bench_generation_config *config) {
    lilac_bench_generation_figures figures;
    assert_int_equal(lilac_bench_generation(context, model, config, &figures), LILAC_OK);
    const lilac_generation_times *times = &figures.times;
    assert_true(times->prompt > 0 && times->projections > 0 && times->attention > 0);
    assert_true(times->projections + times->attention <= times->steps);
    return figures;
}

static void test_generation(void **state) {
    (void)state;
    static const size_t remembered[] = {HEADS * (SIZE * SIZE + SIZE), 2 * WIDTH * N};
    for (size_t attention = 0; attention < 2; attention++) {
        lilac_transformer *model = create_model((lilac_transformer_attention)attention, N);
        lilac_bench_generation_config config = {.count = 5, .batch = 2, .steps = 4};
        const lilac_bench_generation_figures f32 = generate(model, &config);
        /* Of 21 tokens the first 10 are given and the others drawn, the first of these without a step. */
        assert_int_equal(f32.batch, 2);
        assert_int_equal(f32.steps, 4);
        assert_int_equal(f32.prompt, 13);
        assert_true(f32.operations == 5 * (lilac_transformer_operations(model, NULL, 17, false) -
                                           lilac_transformer_operations(model, NULL, 13, false)));
        assert_int_equal(f32.state_bytes, LAYERS * 2 * remembered[attention] * sizeof(float));
        config.precision = LILAC_PRECISION_BF16;
        config.batch = config.steps = 0;
        const lilac_bench_generation_figures bf16 = generate(model, &config);
        assert_int_equal(bf16.batch, 5);
        assert_int_equal(bf16.steps, 10);
        assert_int_equal(bf16.prompt, 10);
        /* The output layer, one panel, is held in f32 all the same. */
        assert_int_equal(2 * bf16.weight_bytes, f32.weight_bytes + LILAC_PANEL * WIDTH * sizeof(float));
        lilac_transformer_destroy(model);
    }
}

static void test_refusals(void **state) {
    (void)state;
    lilac_transformer *model = create_model(LILAC_TRANSFORMER_LINEAR, 2);
    const lilac_bench_generation_config none = {.count = 0}, one = {.count = 1};
    lilac_transformer_training no_step = two_steps(LILAC_PRECISION_F32);
    no_step.steps = 0;
    lilac_bench_generation_figures generation;
    lilac_bench_training_figures training;
    assert_int_equal(lilac_bench_generation(context, model, &none, &generation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_bench_generation(context, model, &one, &generation), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_bench_training(context, &no_step, model, &training), LILAC_ERROR_ARGUMENT);
    lilac_transformer_destroy(model);
}

/* Shares are of the peak of what multiplies. */
static void test_shares(void **state) {
    (void)state;
    static lilac_transformer_sweep sweep = {.peak = {100, 400, 200}};
    static const double seconds[LILAC_TRAINING_PRECISIONS] = {2, 0.5, 0.8};
    for (size_t precision = 0; precision < LILAC_TRAINING_PRECISIONS; precision++) {
        sweep.training[1][precision].operations = 120e9;
        sweep.training[1][precision].times.steps = seconds[precision];
    }
    sweep.generation[1][1][3].operations = 5e9;
    sweep.generation[1][1][3].times.steps = 0.1;
    assert_true(fabs(lilac_transformer_sweep_training_rate(&sweep, 1, 0) - 60) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_training_share(&sweep, 1, 0) - 0.6) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_training_share(&sweep, 1, 1) - 0.6) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_training_share(&sweep, 1, 2) - 0.75) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_gain(&sweep, 1, 1) - 4) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_gain(&sweep, 1, 2) - 2.5) < 1e-9);
    assert_true(fabs(lilac_transformer_sweep_generation_rate(&sweep, 1, 1, 3) - 50) < 1e-9);
    sweep.peak[1] = 0;
    assert_true(isnan(lilac_transformer_sweep_training_share(&sweep, 1, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training),        cmocka_unit_test(test_training_in_bf16),
        cmocka_unit_test(test_training_in_f16), cmocka_unit_test(test_generation),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_shares),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
