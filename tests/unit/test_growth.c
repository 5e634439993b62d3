/* SPDX-License-Identifier: MIT */
/* What is made of measured times: the exponent, and where one curve passes below another. */
#include "bench/growth.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

enum { COUNT = 5 };

static const int lengths[COUNT] = {100, 1000, 2000, 3000, 4000};

static void test_exponent(void **state) {
    (void)state;
    double times[COUNT] = {7.0};
    for (size_t i = 1; i < COUNT; i++) {
        times[i] = 3e-9 * pow(lengths[i], 1.5);
    }
    assert_true(fabs(lilac_bench_growth_exponent(COUNT, lengths, times, 1000) - 1.5) < 1e-9);
    assert_true(fabs(lilac_bench_growth_exponent(COUNT, lengths, times, 100) - 1.5) > 0.1);
    times[2] = (double)NAN;
    assert_true(fabs(lilac_bench_growth_exponent(COUNT, lengths, times, 1000) - 1.5) < 1e-9);
    assert_true(isnan(lilac_bench_growth_exponent(COUNT, lengths, times, 4000)));
    const int same[2] = {1024, 1024};
    assert_true(isnan(lilac_bench_growth_exponent(2, same, times, 1000)));
}

static void test_faster_from(void **state) {
    (void)state;
    const double times[COUNT] = {1.0, 5.0, 3.0, 4.0, 5.0};
    double others[COUNT] = {2.0, 4.0, (double)NAN, 5.0, 6.0};
    assert_int_equal(lilac_bench_faster_from(COUNT, lengths, times, others), 3000);
    others[1] = 6.0;
    assert_int_equal(lilac_bench_faster_from(COUNT, lengths, times, others), 100);
    others[4] = 5.0;
    assert_int_equal(lilac_bench_faster_from(COUNT, lengths, times, others), 0);
    assert_int_equal(lilac_bench_faster_from(0, lengths, times, others), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exponent), cmocka_unit_test(test_faster_from)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
