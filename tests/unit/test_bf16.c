/* SPDX-License-Identifier: MIT */
/* Tests of the conversions between float and bfloat16. */
#include "core/bf16.h"
#include "support/float_bits.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

static void test_rounding(void **state) {
    (void)state;
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {
        {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3f800000, 0x3f80}, /* 0, -0, 1 */
        {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, /* ties to even, above a tie */
        {0x3f807fff, 0x3f80}, {0x7f7fffff, 0x7f80}, {0x7f7f7fff, 0x7f7f}, /* below a tie, to infinity, to the largest */
        {0x7f800000, 0x7f80}, {0xff800000, 0xff80},                       /* infinities */
        {0x7f800001, 0x7fc0}, {0xffc12345, 0xffc1}, {0x7fffffff, 0x7fff}, /* NaNs stay NaNs */
        {0x00008000, 0x0000}, {0x00008001, 0x0001}, {0x007fffff, 0x0080}, /* denormals */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(lilac_bf16_from_float(float_from_bits(cases[i].from)), cases[i].to);
    }
}

static void test_every_value(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        const float value = lilac_float_from_bf16((uint16_t)bits);
        assert_int_equal(float_to_bits(value), bits << 16);
        assert_int_equal(lilac_bf16_from_float(value), isnan(value) ? bits | 0x40 : bits);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
