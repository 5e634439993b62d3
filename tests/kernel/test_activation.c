/* SPDX-License-Identifier: MIT */
/* GELU, the backward of dropout and the conversion to bf16 against their formulas. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <math.h>
#include <string.h>

enum { MAX_COLS = 2 * LILAC_RANDOM_GROUP + 1, MAX_ROWS = 3 };

/* In unit roundoffs. exponent is by how much the argument of exp is off for each unit of it; the others count the
 * operations that follow. */
static const struct {
    double exponent, value, slope, product;
} tolerance = {.exponent = 4, .value = 6, .slope = 16, .product = 1};

/* Where exp overflows a float or would be denormal, results below this may be 0, and the other way round. */
static const double cut = 1e-33;

static const double probabilities[] = {-1.0, 0.0, 0.1, 0.9}; /* the first: no dropout */
enum { PROBABILITIES = sizeof probabilities / sizeof probabilities[0] };

/* A matrix's size and its dropout. */
typedef struct problem {
    size_t rows, cols;
    lilac_dropout numbers;
    const lilac_dropout *dropout;
    double factor[MAX_ROWS * MAX_COLS]; /* what dropout multiplies each element by */
} problem;

static void make_problem(kernel_test *test, problem *p, size_t cols, double probability) {
    uint32_t words[LILAC_RANDOM_GROUP];
    p->rows = 1 + kernel_random_below(test, MAX_ROWS);
    p->cols = cols;
    p->numbers = (lilac_dropout){(uint32_t)(probability * 0x1p32), (float)(1.0 / (1.0 - probability)),
                                 kernel_random_place(test)};
    p->dropout = probability < 0.0 ? NULL : &p->numbers;
    lilac_random place = p->numbers.random;
    for (size_t i = 0; i < p->rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            if (c % LILAC_RANDOM_GROUP == 0) {
                lilac_random_group(&place, words);
                place.group++;
            }
            const bool dropped = words[c % LILAC_RANDOM_GROUP] < p->numbers.threshold;
            p->factor[i * cols + c] = p->dropout == NULL ? 1.0 : dropped ? 0.0 : (double)p->numbers.scale;
        }
    }
    kernel_note(test, "%zu rows, %zu columns, dropout %g", p->rows, cols, probability);
}

static void for_all(kernel_test *test, void (*check)(kernel_test *, const problem *, kernel_input)) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            for (size_t i = 0; i < PROBABILITIES; i++) {
                problem p;
                make_problem(test, &p, cols, probabilities[i]);
                check(test, &p, input);
            }
        }
    }
}

/* dropout_backward */

static void check_dropout_once(kernel_test *test, const problem *p, kernel_input input) {
    if (p->dropout == NULL) {
        return;
    }
    const size_t n = p->rows * p->cols;
    const bool in_place = kernel_random_below(test, 2) == 0;
    float *dy = kernel_read(test, input, 1, n, n), *dx = kernel_write(test, 1, n, n);
    float *other = kernel_write(test, 1, n, n);
    memcpy(dx, dy, n * sizeof *dx);
    kernel_arm(test);
    test->kernels->elementwise.dropout_backward(p->rows, p->cols, p->dropout, in_place ? dx : dy, dx);
    test->reference->elementwise.dropout_backward(p->rows, p->cols, p->dropout, dy, other);
    for (size_t i = 0; i < n; i++) {
        const double exact = p->factor[i] * (double)dy[i];
        kernel_expect("dx", i, dx[i], exact, tolerance.product * KERNEL_ROUNDOFF * fabs(exact));
        kernel_expect_same("dx", i, dx[i], other[i]);
    }
    kernel_verify(test);
}

static void check_dropout(kernel_test *test) {
    for_all(test, check_dropout_once);
}

/* GELU: x p with p = 1 / (1 + exp(-z)) */

static double gelu_z(double x) {
    const double a = 2.0 * sqrt(2.0 / 3.14159265358979324);
    return x * (a + 0.044715 * a * x * x);
}

static void check_gelu_forward_once(kernel_test *test, const problem *p, kernel_input input) {
    const size_t n = p->rows * p->cols;
    const float *bias = kernel_read(test, input, 1, p->cols, p->cols);
    float *pre = kernel_write(test, 1, n, n), *other = kernel_write(test, 1, n, n), *y = kernel_write(test, 1, n, n);
    kernel_fill(test, input, pre, 1, n, n);
    for (size_t i = 0; i < n; i++) {
        other[i] = pre[i] + bias[i % p->cols];
    }
    kernel_arm(test);
    test->kernels->elementwise.bias_gelu_dropout_forward(p->rows, p->cols, bias, p->dropout, pre, y);
    for (size_t i = 0; i < n; i++) {
        kernel_expect_same("pre", i, pre[i], other[i]);
        const double x = (double)pre[i], z = gelu_z(x), above = 1.0 / (1.0 + exp(z));
        const double exact = p->factor[i] * x / (1.0 + exp(-z));
        /* An argument beyond 90 makes no difference any more. */
        const double roundings = tolerance.exponent * fmin(fabs(z), 90.0) * above + tolerance.value;
        kernel_expect("y", i, y[i], exact, KERNEL_ROUNDOFF * roundings * fabs(exact) + cut);
    }
    kernel_verify(test);
}

static void check_gelu_forward(kernel_test *test) {
    for_all(test, check_gelu_forward_once);
}

static void check_gelu_backward_once(kernel_test *test, const problem *p, kernel_input input) {
    const size_t n = p->rows * p->cols;
    const float *pre = kernel_read(test, input, 1, n, n);
    float *dy = kernel_write(test, 1, n, n);
    kernel_fill(test, KERNEL_UNIFORM, dy, 1, n, n);
    double before[MAX_ROWS * MAX_COLS];
    for (size_t i = 0; i < n; i++) {
        before[i] = (double)dy[i];
    }
    kernel_arm(test);
    test->kernels->elementwise.gelu_dropout_backward(p->rows, p->cols, pre, p->dropout, dy);
    for (size_t i = 0; i < n; i++) {
        const double x = fmax(-1e3, fmin((double)pre[i], 1e3)), z = gelu_z(x), size = fmin(fabs(z), 90.0);
        const double below = 1.0 / (1.0 + exp(-z)), above = 1.0 / (1.0 + exp(z));
        const double slope_term =
            below * above * (z + 2.0 * 0.044715 * 2.0 * sqrt(2.0 / 3.14159265358979324) * x * x * x);
        const double d = p->factor[i] * before[i], exact = d * (below + slope_term);
        const double error = (tolerance.exponent * size * above + tolerance.value) * below +
                             (2.0 * tolerance.exponent * size + tolerance.slope) * fabs(slope_term);
        kernel_expect("dy", i, dy[i], exact, KERNEL_ROUNDOFF * error * fabs(d) + cut);
    }
    kernel_verify(test);
}

static void check_gelu_backward(kernel_test *test) {
    for_all(test, check_gelu_backward_once);
}

/* Conversion to bf16 and back */

static float any_float(kernel_test *test) {
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7f800001, 0xffc12345,
                                       0x7f7fffff, 0x00000001, 0x3f808000, 0x3f818000, 0x3f808001, 0x007f8000};
    const uint32_t bits = kernel_random_below(test, 3) == 0
                              ? special[kernel_random_below(test, sizeof special / sizeof special[0])]
                              : kernel_random_word(test);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void check_bf16(kernel_test *test) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        const size_t rows = kernel_random_below(test, MAX_ROWS + 1), ldx = cols + kernel_random_below(test, 5);
        const size_t ldy = cols + kernel_random_below(test, 5);
        kernel_note(test, "%zu rows, %zu columns", rows, cols);
        float *x = kernel_read(test, KERNEL_UNIFORM, rows, cols, ldx);
        for (size_t i = 0; i < rows * cols; i++) {
            x[i / cols * ldx + i % cols] = any_float(test);
        }
        uint16_t *y = kernel_buffer(test, KERNEL_WRITE, sizeof *y, rows, cols, ldy);
        float *back = kernel_write(test, rows, cols, ldx);
        kernel_arm(test);
        test->kernels->elementwise.float_to_bf16(rows, cols, x, ldx, y, ldy);
        test->kernels->elementwise.bf16_to_float(rows, cols, y, ldy, back, ldx);
        for (size_t i = 0; i < rows * cols; i++) {
            const size_t from = i / cols * ldx + i % cols, to = i / cols * ldy + i % cols;
            const uint16_t expected = lilac_bf16_from_float(x[from]);
            const float value = lilac_float_from_bf16(expected);
            assert_int_equal(y[to], expected);
            assert_memory_equal(&back[from], &value, sizeof value);
        }
        kernel_verify(test);
    }
}

/* Timings */

enum { BENCH_COLS = 256 };
static const lilac_dropout bench_dropout = {429496729, 1.0f, {.seed = 1, .stream = 2}};

static void bench_dropout_backward(kernel_test *test, size_t n) {
    const float *dy = kernel_bench_floats(test, n);
    float *dx = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 8 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.dropout_backward(n / BENCH_COLS, BENCH_COLS, &bench_dropout, dy, dx);
    }
}

static void bench_gelu_forward(kernel_test *test, size_t n) {
    float *bias = kernel_bench_floats(test, BENCH_COLS);
    float *pre = kernel_bench_floats(test, n), *y = kernel_bench_floats(test, n);
    memset(bias, 0, BENCH_COLS * sizeof *bias); /* or the numbers would grow */
    for (kernel_bench_begin(test, n, 12 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.bias_gelu_dropout_forward(n / BENCH_COLS, BENCH_COLS, bias, NULL, pre, y);
    }
}

static void bench_gelu_backward(kernel_test *test, size_t n) {
    const float *pre = kernel_bench_floats(test, n), *from = kernel_bench_floats(test, n);
    float *dy = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 12 * n); kernel_bench_more(test);) {
        memcpy(dy, from, n * sizeof *dy); /* or the numbers would become denormal */
        test->kernels->elementwise.gelu_dropout_backward(n / BENCH_COLS, BENCH_COLS, pre, NULL, dy);
    }
}

static void bench_float_to_bf16(kernel_test *test, size_t n) {
    const float *x = kernel_bench_floats(test, n);
    uint16_t *y = (uint16_t *)kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 6 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.float_to_bf16(1, n, x, n, y, n);
    }
}

static void bench_bf16_to_float(kernel_test *test, size_t n) {
    const uint16_t *x = (const uint16_t *)kernel_bench_floats(test, n);
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 6 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.bf16_to_float(1, n, x, n, y, n);
    }
}

static const kernel_case cases[] = {
    {"dropout_backward", LILAC_CPU_SCALAR, check_dropout, bench_dropout_backward},
    {"bias_gelu_dropout_forward", LILAC_CPU_SCALAR, check_gelu_forward, bench_gelu_forward},
    {"gelu_dropout_backward", LILAC_CPU_SCALAR, check_gelu_backward, bench_gelu_backward},
    {"float_to_bf16", LILAC_CPU_SCALAR, check_bf16, bench_float_to_bf16},
    {"bf16_to_float", LILAC_CPU_SCALAR, NULL, bench_bf16_to_float},
};

const kernel_family kernel_family_activation = {"activation", cases, sizeof cases / sizeof cases[0]};
