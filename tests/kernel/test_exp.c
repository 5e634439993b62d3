/* SPDX-License-Identifier: MIT */
/*
 * The exponential functions that are inline in the SIMD kernels, against libm's in double precision over all floats:
 * every 997th bit pattern, and with LILAC_TEST_ALL in the environment each one where the result is neither 1 to within
 * an ulp nor infinity or 0.
 */
#include "test_exp.h"

#include "kernel_test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024 };

/* What a function gives where the exact result is below `normal`. */
typedef enum small_results {
    FLUSHED /* to +0 */,
    ROUNDED /* to a denormal */,
    ANY /* from 0 to `normal` */
} small_results;

typedef struct function {
    exp_array *array;
    double (*exact)(double x);
    float highest; /* what it is made for ends here */
    double normal;
    small_results small;
    double max_error; /* in units in the last place, or relative: what the function's comment states */
    bool relative;
} function;

/* What exhaustive runs gave. A table's factor and the last sum are each rounded once: half a unit and half a unit. */
static const double EXP_ULP = 0.9 /* 0.892 */, EXP2_ULP_AVX512 = 1.05, EXP2_ULP_AVX2 = 1.3;
static const double ELU_ULP_AVX512 = 1.4; /* 1.06 above -80 */
static const double ROUGH_ERROR = 1.6e-4;

static double elu_plus_one(double x) {
    return x > 0.0 ? x + 1.0 : exp(x);
}

static float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The error of y, in the function's unit; edges are checked exactly. */
static double check_value(const function *f, float x, float y) {
    if (isnan(x)) {
        assert_true(isnan(y));
        return 0.0;
    }
    if (x > f->highest) {
        return 0.0;
    }
    const double exact = f->exact((double)x);
    if (exact >= 0x1.ffffffp127) { /* halfway between the largest float and 2^128 */
        assert_true(y == INFINITY);
        return 0.0;
    }
    assert_true(isfinite(y) && !signbit(y));
    if (exact < f->normal && f->small != ROUNDED) {
        assert_true(y == 0.0f || (f->small == ANY && (double)y <= f->normal));
        return 0.0;
    }
    int exponent;
    (void)frexp(exact, &exponent);
    const double unit = fmax(ldexp(1.0, exponent - FLT_MANT_DIG), (double)FLT_TRUE_MIN);
    return fabs((double)y - exact) / (f->relative ? exact : unit);
}

static double check_chunk(const function *f, const float x[CHUNK]) {
    float y[CHUNK];
    double worst = 0.0;
    f->array(CHUNK, x, y);
    for (size_t i = 0; i < CHUNK; i++) {
        worst = fmax(worst, check_value(f, x[i], y[i]));
    }
    return worst;
}

/* Every 997th bit pattern: about 8400 floats of each sign and exponent, NaNs and infinities among them. */
static double check_all_ranges(const function *f) {
    const bool all = getenv("LILAC_TEST_ALL") != NULL;
    float x[CHUNK];
    double worst = 0.0;
    size_t used = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        const float next = float_from_bits((uint32_t)bits);
        x[used++] = next;
        if (used == CHUNK) {
            worst = fmax(worst, check_chunk(f, x));
            used = 0;
        }
        bits += all && fabsf(next) > 0x1p-25f && fabsf(next) < 160.0f ? 1 : 997;
    }
    return worst;
}

static double check_special_values(const function *f) {
    static const float special[] = {0.0f,      -0.0f,      INFINITY, -INFINITY, NAN,    0x1p-149f, -0x1p-149f,
                                    0x1p-126f, -0x1p-126f, 88.73f,   89.0f,     89.01f, 1e30f,     FLT_MAX,
                                    -FLT_MAX,  -103.98f,   -104.0f,  -104.01f,  1.0f,   -1.0f,     -745.0f};
    float x[CHUNK], y[CHUNK];
    for (size_t i = 0; i < CHUNK; i++) {
        x[i] = special[i % (sizeof special / sizeof special[0])];
    }
    double worst = check_chunk(f, x);
    f->array(CHUNK, x, y);
    assert_true(y[0] == 1.0f && y[1] == 1.0f);
    /* Floats next to where a result becomes infinite, denormal or 0, and next to where n changes. */
    static const float edges[] = {88.7228394f, -87.3365448f, -87.0f,    0.34657359f, -0.34657359f,
                                  -0.0216608f, -0.0649825f,  -126.0f,   127.0f,      -149.0f,
                                  -150.0f,     0.03125f,     -0.03125f, 0.0625f,     0.09375f};
    for (size_t edge = 0; edge < sizeof edges / sizeof edges[0]; edge++) {
        uint32_t bits;
        memcpy(&bits, &edges[edge], sizeof bits);
        for (uint32_t i = 0; i < CHUNK; i++) {
            x[i] = float_from_bits(bits - CHUNK / 2 + i);
        }
        worst = fmax(worst, check_chunk(f, x));
    }
    return worst;
}

static void check_function(kernel_test *test, const function *f) {
    const double special = check_special_values(f), worst = fmax(special, check_all_ranges(f));
    kernel_note(test, "an error of %.9g where %g is stated", worst, f->max_error);
    if (getenv("LILAC_TEST_ALL") != NULL) {
        print_message("# an error of %.9g where %g is stated\n", worst, f->max_error);
    }
    assert_true(worst <= f->max_error);
}

static void bench_array(kernel_test *test, size_t n, exp_array *array) {
    float *x = kernel_bench_floats(test, n), *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 2 * n * sizeof(float)); kernel_bench_more(test);) {
        array(n, x, y);
    }
}

static exp_array *exp_of(const kernel_test *test) {
    return test->level == LILAC_CPU_AVX512 ? exp_array_avx512 : exp_array_avx2;
}

static exp_array *exp2_of(const kernel_test *test) {
    return test->level == LILAC_CPU_AVX512 ? exp2_array_avx512 : exp2_array_avx2;
}

static exp_array *elu_plus_one_of(const kernel_test *test) {
    return test->level == LILAC_CPU_AVX512 ? elu_plus_one_array_avx512 : elu_plus_one_array_avx2;
}

static void check_exp(kernel_test *test) {
    check_function(test, &(function){exp_of(test), exp, INFINITY, (double)FLT_MIN, FLUSHED, EXP_ULP, false});
}

static void check_exp2(kernel_test *test) {
    const bool avx512 = test->level == LILAC_CPU_AVX512;
    check_function(test, &(function){exp2_of(test), exp2, 127.0f, (double)FLT_MIN, avx512 ? ROUNDED : FLUSHED,
                                     avx512 ? EXP2_ULP_AVX512 : EXP2_ULP_AVX2, false});
}

static void check_elu_plus_one(kernel_test *test) {
    const bool avx512 = test->level == LILAC_CPU_AVX512;
    check_function(test,
                   &(function){elu_plus_one_of(test), elu_plus_one, INFINITY, avx512 ? exp(-87.0) : (double)FLT_MIN,
                               FLUSHED, avx512 ? ELU_ULP_AVX512 : EXP_ULP, false});
}

static void check_rough_elu_plus_one(kernel_test *test) {
    check_function(test, &(function){rough_elu_plus_one_array_avx512, elu_plus_one, INFINITY, (double)FLT_MIN, ANY,
                                     ROUGH_ERROR, true});
}

static void bench_exp(kernel_test *test, size_t n) {
    bench_array(test, n, exp_of(test));
}

static void bench_exp2(kernel_test *test, size_t n) {
    bench_array(test, n, exp2_of(test));
}

static void bench_elu_plus_one(kernel_test *test, size_t n) {
    bench_array(test, n, elu_plus_one_of(test));
}

static void bench_rough_elu_plus_one(kernel_test *test, size_t n) {
    bench_array(test, n, rough_elu_plus_one_array_avx512);
}

static const kernel_case cases[] = {
    {"exp", LILAC_CPU_AVX2, check_exp, bench_exp},
    {"exp2", LILAC_CPU_AVX2, check_exp2, bench_exp2},
    {"elu_plus_one", LILAC_CPU_AVX2, check_elu_plus_one, bench_elu_plus_one},
    {"rough_elu_plus_one", LILAC_CPU_AVX512, check_rough_elu_plus_one, bench_rough_elu_plus_one},
};

const kernel_family kernel_family_exp = {"register", cases, sizeof cases / sizeof cases[0]};
