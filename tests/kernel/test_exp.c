/* SPDX-License-Identifier: MIT */
/* The SIMD exp of each level against libm's in double precision. */
#include "test_exp.h"

#include "kernel_test.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef void exp_array(size_t n, const float *x, float *y);

enum { CHUNK = 1024 };

static const double MAX_ULP = 0.9; /* an exhaustive run over all floats gave 0.892 */

static float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The distance of y from the true value in units of y's last place; edges are checked exactly. */
static double check_exp(float x, float y) {
    const double exact = exp((double)x);
    if (isnan(x)) {
        assert_true(isnan(y));
        return 0.0;
    }
    if (exact >= 0x1.ffffffp127) { /* halfway between the largest float and 2^128 */
        assert_true(y == INFINITY);
        return 0.0;
    }
    if (exact < (double)FLT_MIN) {
        assert_true(y == 0.0f && !signbit(y));
        return 0.0;
    }
    assert_true(isfinite(y));
    int exponent;
    (void)frexp(exact, &exponent);
    return fabs((double)y - exact) / ldexp(1.0, exponent - 24);
}

static double check_chunk(exp_array *function, const float x[CHUNK]) {
    float y[CHUNK];
    double worst = 0.0;
    function(CHUNK, x, y);
    for (size_t i = 0; i < CHUNK; i++) {
        worst = fmax(worst, check_exp(x[i], y[i]));
    }
    return worst;
}

/* Every 997th bit pattern: about 8400 floats of each sign and exponent, NaNs and infinities among them. */
static void check_all_ranges(exp_array *function) {
    float x[CHUNK];
    double worst = 0.0;
    size_t used = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 997) {
        x[used++] = float_from_bits((uint32_t)bits);
        if (used == CHUNK) {
            worst = fmax(worst, check_chunk(function, x));
            used = 0;
        }
    }
    assert_true(worst <= MAX_ULP);
}

static void check_special_values(exp_array *function) {
    static const float special[] = {0.0f,      -0.0f,      INFINITY, -INFINITY, NAN,    0x1p-149f, -0x1p-149f,
                                    0x1p-126f, -0x1p-126f, 88.73f,   89.0f,     89.01f, 1e30f,     FLT_MAX,
                                    -FLT_MAX,  -103.98f,   -104.0f,  -104.01f,  1.0f,   -1.0f,     -745.0f};
    float x[CHUNK];
    for (size_t i = 0; i < CHUNK; i++) {
        x[i] = special[i % (sizeof special / sizeof special[0])];
    }
    assert_true(check_chunk(function, x) <= MAX_ULP);
    float y[CHUNK];
    function(CHUNK, x, y);
    assert_true(y[0] == 1.0f && y[1] == 1.0f);
    /* Floats next to where the result becomes infinite or 0, and next to where n changes. */
    static const float edges[] = {88.7228394f, -87.3365448f, 0.34657359f, -0.34657359f};
    for (size_t edge = 0; edge < sizeof edges / sizeof edges[0]; edge++) {
        uint32_t bits;
        memcpy(&bits, &edges[edge], sizeof bits);
        for (uint32_t i = 0; i < CHUNK; i++) {
            x[i] = float_from_bits(bits - CHUNK / 2 + i);
        }
        assert_true(check_chunk(function, x) <= MAX_ULP);
    }
}

static exp_array *exp_of(const kernel_test *test) {
    return test->level == LILAC_CPU_AVX512 ? exp_array_avx512 : exp_array_avx2;
}

static void check_case(kernel_test *test) {
    check_special_values(exp_of(test));
    check_all_ranges(exp_of(test));
}

static void bench_case(kernel_test *test, size_t n) {
    exp_array *function = exp_of(test);
    float *x = kernel_bench_floats(test, n), *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 2 * n * sizeof(float)); kernel_bench_more(test);) {
        function(n, x, y);
    }
}

static const kernel_case cases[] = {{"exp", LILAC_CPU_AVX2, check_case, bench_case}};

const kernel_family kernel_family_exp = {"register", cases, 1};
