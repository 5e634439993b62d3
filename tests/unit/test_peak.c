/* SPDX-License-Identifier: MIT */
/* The measured peak of the machine: what must hold of it on any machine, however busy. */
#include "bench/peak.h"

#include "core/cpu_features.h"
#include "kernels/kernel_table.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

static int stop_at_once(void *user, const lilac_progress *progress) {
    (void)user;
    (void)progress;
    return 1;
}

static lilac_context *create_context(lilac_cpu_level level, lilac_progress_callback *progress) {
    lilac_context_config config;
    lilac_context_config_default(&config);
    config.max_cpu_level = level;
    config.progress = progress;
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(&config, &context), LILAC_OK);
    return context;
}

static lilac_peak_figures measure(lilac_cpu_level level) {
    lilac_context *context = create_context(level, NULL);
    lilac_peak_figures figures;
    assert_int_equal(lilac_bench_peak(context, &figures), LILAC_OK);
    lilac_context_destroy(context);
    return figures;
}

static void expect_positive(const lilac_peak_figures *figures) {
    assert_true(figures->f32.one > 0.0 && figures->f32.all > 0.0);
    for (int i = 0; i < LILAC_PEAK_READ_SIZES; i++) {
        assert_true(figures->read[i].one > 0.0 && figures->read[i].all > 0.0);
    }
}

static void test_figures_are_plausible(void **state) {
    (void)state;
    const lilac_peak_figures scalar = measure(LILAC_CPU_SCALAR);
    expect_positive(&scalar);
    assert_true(scalar.bf16.one == 0.0 && scalar.bf16.all == 0.0);
    assert_true(scalar.f16.one == 0.0 && scalar.f16.all == 0.0);

    const lilac_cpu_level best = lilac_cpu_level_detect();
    const lilac_peak_figures figures = measure(best);
    expect_positive(&figures);
    assert_true((figures.bf16.one > 0.0) == lilac_cpu_has_bf16_dot_product());
    assert_true((figures.bf16.all > 0.0) == lilac_cpu_has_bf16_dot_product());
    /* Compilers that know no AVX512-FP16 leave the loop out, as they do the products that it is the measure for. */
    assert_true((figures.f16.one > 0.0) == lilac_kernel_table_for(best)->fast_half_products);
    assert_true((figures.f16.all > 0.0) == lilac_kernel_table_for(best)->fast_half_products);
    /* Four times the lanes and two operations an instruction: even a busy machine does not hide that. */
    if (best == LILAC_CPU_AVX512) {
        assert_true(figures.f32.one >= scalar.f32.one);
    }
}

static void test_cancelling_leaves_the_output_alone(void **state) {
    (void)state;
    lilac_context *context = create_context(LILAC_CPU_SCALAR, stop_at_once);
    lilac_peak_figures figures = {.f32 = {.one = -1.0}};
    assert_int_equal(lilac_bench_peak(context, &figures), LILAC_CANCELLED);
    assert_true(figures.f32.one == -1.0);
    lilac_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures_are_plausible),
        cmocka_unit_test(test_cancelling_leaves_the_output_alone),
    };
    return cmocka_run_group_tests_name("peak", tests, NULL, NULL);
}
