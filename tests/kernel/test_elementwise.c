/* SPDX-License-Identifier: MIT */
/* The elementwise kernels against their formulas in double precision. */
#include "kernel_test.h"

#include "core/memory.h"

#include <math.h>
#include <string.h>

/* Rows up to two groups of random words and one element, which is also several times the widest unrolling; rows of a
 * column sum up to two strips and one. */
enum { MAX_COLS = 2 * LILAC_RANDOM_GROUP + 1, MAX_ROWS = 17, MAX_CLASSES = 70 };

/* How far results may be from the exact ones, in unit roundoffs of the operands named at each use: one for each
 * operation that rounds, and why. */
static const struct {
    double scale_and_offset; /* a product and a sum */
    double uniform;          /* the range, its product with u, the sum */
    double bias_dropout;     /* a sum and a product */
    double product;
    double moments; /* two to five products, the scaled gradient counted where it enters, and a sum */
    double update;  /* the moments, root, two products and a sum below the fraction, product and quotient */
    double
        exp_and_sum; /* exp and its argument's rounding 4, quotient, product, difference, logarithm; one more a class */
} tolerance = {.scale_and_offset = 2,
               .uniform = 3,
               .bias_dropout = 2,
               .product = 1,
               .moments = 6,
               .update = 16,
               .exp_and_sum = 10};

/* Sizes of a matrix: cols to be as asked, a few rows, sometimes a gap between them. */
typedef struct shape {
    size_t rows, cols, stride;
} shape;

static shape random_shape(kernel_test *test, size_t rows, size_t cols, kernel_input input, const char *kernel) {
    const shape s = {rows, cols, cols + kernel_random_below(test, 2) * kernel_random_below(test, 20)};
    kernel_note(test, "%s: %zu rows, %zu columns, stride %zu, input kind %d", kernel, s.rows, s.cols, s.stride, input);
    return s;
}

/* bytes_to_float */

static void check_bytes_to_float(kernel_test *test) {
    for (size_t n = 0; n <= MAX_COLS; n++) {
        kernel_note(test, "n %zu", n);
        const double scale = kernel_random_between(test, 1e-6, 0.02);
        const float offset = (float)kernel_random_between(test, -1.0, 1.0);
        uint8_t *x = kernel_buffer(test, KERNEL_READ, 1, 1, n, n);
        for (size_t i = 0; i < n; i++) {
            x[i] = (uint8_t)kernel_random_word(test);
        }
        float *y = kernel_write(test, 1, n, n), *other = kernel_write(test, 1, n, n);
        kernel_arm(test);
        test->kernels->elementwise.bytes_to_float(n, x, lilac_byte_scale_of(scale), offset, y);
        test->reference->elementwise.bytes_to_float(n, x, lilac_byte_scale_of(scale), offset, other);
        for (size_t i = 0; i < n; i++) {
            const double product = (double)x[i] * scale;
            kernel_expect("y", i, y[i], product + (double)offset,
                          tolerance.scale_and_offset * KERNEL_ROUNDOFF * (fabs(product) + fabs((double)offset)));
            kernel_expect_same("y", i, y[i], other[i]);
        }
        kernel_verify(test);
    }
}

static void bench_bytes_to_float(kernel_test *test, size_t n) {
    const uint8_t *x = (const uint8_t *)kernel_bench_floats(test, n / sizeof(float));
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 5 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.bytes_to_float(n, x, lilac_byte_scale_of(1.0 / 255), -0.5f, y);
    }
}

/* random_uniform */

static void check_random_uniform(kernel_test *test) {
    for (size_t n = 0; n <= MAX_COLS; n++) {
        lilac_random place = kernel_random_place(test);
        kernel_note(test, "n %zu, group %llx", n, (unsigned long long)place.group);
        const double low = (float)kernel_random_between(test, -2.0, 0.0);
        const double high = (float)kernel_random_between(test, 0.0, 2.0);
        float *y = kernel_write(test, 1, n, n), *other = kernel_write(test, 1, n, n);
        kernel_arm(test);
        test->kernels->elementwise.random_uniform(n, &place, (float)low, (float)high, y);
        test->reference->elementwise.random_uniform(n, &place, (float)low, (float)high, other);
        uint32_t words[LILAC_RANDOM_GROUP];
        for (size_t i = 0; i < n; i++) {
            if (i % LILAC_RANDOM_GROUP == 0) {
                lilac_random_group(&place, words);
                place.group++;
            }
            const double u = (words[i % LILAC_RANDOM_GROUP] >> 8) * 0x1p-24;
            kernel_expect("y", i, y[i], low + (high - low) * u,
                          tolerance.uniform * KERNEL_ROUNDOFF * (high - 2.0 * low));
            kernel_expect_same("y", i, y[i], other[i]);
        }
        kernel_verify(test);
    }
}

static void bench_random_uniform(kernel_test *test, size_t n) {
    const lilac_random place = {.seed = 1, .stream = 2};
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 4 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.random_uniform(n, &place, -1.0f, 1.0f, y);
    }
}

/* Known answers of Philox4x32-10 (the test vectors that come with the authors' Random123): one block each, at the place
 * in a stream where its counter occurs. Dropout with the word as threshold keeps an element, with one more drops it:
 * that sees all bits of a word. */
static void check_philox(kernel_test *test) {
    static const struct {
        lilac_random place;
        size_t block;
        uint32_t words[4];
    } known[] = {
        {{0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT64_MAX, UINT64_MAX, UINT64_MAX >> 4}, 15, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a8},
         8,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        for (size_t w = 0; w < 4; w++) {
            kernel_note(test, "vector %zu, word %zu", k, w);
            const float zeros[LILAC_RANDOM_GROUP] = {0.0f};
            for (uint32_t more = 0; more < 2; more++) {
                const lilac_dropout dropout = {known[k].words[w] + more, 1.0f, known[k].place};
                float y[LILAC_RANDOM_GROUP];
                for (size_t i = 0; i < LILAC_RANDOM_GROUP; i++) {
                    y[i] = 1.0f;
                }
                test->kernels->elementwise.bias_relu_dropout_forward(1, LILAC_RANDOM_GROUP, zeros, &dropout, y,
                                                                     LILAC_RANDOM_GROUP);
                assert_true(y[LILAC_RANDOM_GROUP_BLOCKS * w + known[k].block] == (more == 0 ? 1.0f : 0.0f));
            }
        }
    }
}

/* add_bias */

static void check_add_bias_once(kernel_test *test, size_t cols, kernel_input input) {
    const shape s = random_shape(test, 1 + kernel_random_below(test, 3), cols, input, "add_bias");
    const float *bias = kernel_read(test, input, 1, cols, cols);
    float *y = kernel_write(test, s.rows, cols, s.stride), *other = kernel_write(test, s.rows, cols, s.stride);
    kernel_fill(test, input, y, s.rows, cols, s.stride);
    double before[3 * MAX_COLS];
    for (size_t i = 0; i < s.rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            before[i * cols + c] = (double)y[i * s.stride + c];
            other[i * s.stride + c] = y[i * s.stride + c];
        }
    }
    kernel_arm(test);
    test->kernels->elementwise.add_bias(s.rows, cols, bias, y, s.stride);
    test->reference->elementwise.add_bias(s.rows, cols, bias, other, s.stride);
    for (size_t i = 0; i < s.rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            const double sum = before[i * cols + c] + (double)bias[c];
            kernel_expect("y", i * s.stride + c, y[i * s.stride + c], sum, KERNEL_ROUNDOFF * fabs(sum));
            kernel_expect_same("y", i * s.stride + c, y[i * s.stride + c], other[i * s.stride + c]);
        }
    }
    kernel_verify(test);
}

static void check_add_bias(kernel_test *test) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            check_add_bias_once(test, cols, input);
        }
    }
}

enum { BENCH_COLS = 256 };

static void bench_add_bias(kernel_test *test, size_t n) {
    const float *bias = kernel_bench_floats(test, BENCH_COLS);
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 8 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.add_bias(n / BENCH_COLS, BENCH_COLS, bias, y, BENCH_COLS);
    }
}

/* bias_relu_dropout_forward */

/* The formula, row by row. */
static void expect_bias_relu_dropout(const shape *s, const double *before, const float *bias,
                                     const lilac_dropout *dropout, const float *y) {
    uint32_t words[LILAC_RANDOM_GROUP] = {0};
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t c = 0; c < s->cols; c++) {
            const double sum = before[i * s->cols + c] + (double)bias[c];
            double exact = sum > 0.0 ? sum : 0.0;
            if (dropout != NULL) {
                lilac_random place = dropout->random;
                place.group +=
                    i * (lilac_round_up(s->cols, LILAC_RANDOM_GROUP) / LILAC_RANDOM_GROUP) + c / LILAC_RANDOM_GROUP;
                if (c % LILAC_RANDOM_GROUP == 0) {
                    lilac_random_group(&place, words);
                }
                const bool dropped = words[c % LILAC_RANDOM_GROUP] < dropout->threshold;
                exact = dropped ? 0.0 : exact * (double)dropout->scale;
            }
            const float value = y[i * s->stride + c];
            kernel_expect("y", i * s->stride + c, value, exact, tolerance.bias_dropout * KERNEL_ROUNDOFF * exact);
            assert_false(signbit(value));
        }
    }
}

static void check_bias_relu_dropout_once(kernel_test *test, size_t cols, kernel_input input, double probability) {
    const shape s = random_shape(test, 1 + kernel_random_below(test, 3), cols, input, "bias_relu_dropout_forward");
    const lilac_dropout numbers = {(uint32_t)(probability * 0x1p32), (float)(1.0 / (1.0 - probability)),
                                   kernel_random_place(test)};
    const lilac_dropout *dropout = probability < 0.0 ? NULL : &numbers;
    const float *bias = kernel_read(test, input, 1, cols, cols);
    float *y = kernel_write(test, s.rows, cols, s.stride), *other = kernel_write(test, s.rows, cols, s.stride);
    kernel_fill(test, input, y, s.rows, cols, s.stride);
    double before[3 * MAX_COLS];
    for (size_t i = 0; i < s.rows; i++) {
        if (cols > 0 && kernel_random_below(test, 4) == 0) {
            y[i * s.stride + kernel_random_below(test, cols)] = NAN;
        }
        for (size_t c = 0; c < cols; c++) {
            before[i * cols + c] = (double)y[i * s.stride + c];
            other[i * s.stride + c] = y[i * s.stride + c];
        }
    }
    kernel_arm(test);
    test->kernels->elementwise.bias_relu_dropout_forward(s.rows, cols, bias, dropout, y, s.stride);
    test->reference->elementwise.bias_relu_dropout_forward(s.rows, cols, bias, dropout, other, s.stride);
    expect_bias_relu_dropout(&s, before, bias, dropout, y);
    for (size_t i = 0; i < s.rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            kernel_expect_same("y", i * s.stride + c, y[i * s.stride + c], other[i * s.stride + c]);
        }
    }
    kernel_verify(test);
}

static void check_bias_relu_dropout(kernel_test *test) {
    const double probabilities[] = {-1.0, 0.0, 0.1, 0.9}; /* the first: none */
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            for (size_t p = 0; p < sizeof probabilities / sizeof probabilities[0]; p++) {
                check_bias_relu_dropout_once(test, cols, input, probabilities[p]);
            }
        }
    }
}

static void bench_bias_relu(kernel_test *test, size_t n) {
    const float *bias = kernel_bench_floats(test, BENCH_COLS);
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 8 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.bias_relu_dropout_forward(n / BENCH_COLS, BENCH_COLS, bias, NULL, y, BENCH_COLS);
    }
}

static void bench_bias_relu_dropout(kernel_test *test, size_t n) {
    const lilac_dropout dropout = {429496729, 1.0f, {.seed = 1, .stream = 2}};
    const float *bias = kernel_bench_floats(test, BENCH_COLS);
    float *y = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 8 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.bias_relu_dropout_forward(n / BENCH_COLS, BENCH_COLS, bias, &dropout, y, BENCH_COLS);
    }
}

/* relu_dropout_backward */

static void check_relu_backward_once(kernel_test *test, size_t n, kernel_input input, bool in_place) {
    kernel_note(test, "n %zu, input kind %d, in place %d", n, input, in_place);
    const float scale = (float)kernel_random_between(test, 1.0, 2.0);
    const float *y = kernel_read(test, input, 1, n, n);
    const float *dy = kernel_read(test, input, 1, n, n);
    float *dx = kernel_write(test, 1, n, n), *other = kernel_write(test, 1, n, n);
    memcpy(dx, dy, n * sizeof *dx);
    kernel_arm(test);
    test->kernels->elementwise.relu_dropout_backward(n, y, scale, in_place ? dx : dy, dx);
    test->reference->elementwise.relu_dropout_backward(n, y, scale, dy, other);
    for (size_t i = 0; i < n; i++) {
        const double exact = y[i] > 0.0f ? (double)dy[i] * (double)scale : 0.0;
        kernel_expect("dx", i, dx[i], exact, tolerance.product * KERNEL_ROUNDOFF * fabs(exact));
        kernel_expect_same("dx", i, dx[i], other[i]);
    }
    kernel_verify(test);
}

static void check_relu_backward(kernel_test *test) {
    for (size_t n = 0; n <= MAX_COLS; n++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            check_relu_backward_once(test, n, input, false);
            check_relu_backward_once(test, n, input, true);
        }
    }
}

static void bench_relu_backward(kernel_test *test, size_t n) {
    const float *y = kernel_bench_floats(test, n), *dy = kernel_bench_floats(test, n);
    float *dx = kernel_bench_floats(test, n);
    for (kernel_bench_begin(test, n, 12 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.relu_dropout_backward(n, y, 1.5f, dy, dx);
    }
}

/* column_sum */

static void check_column_sum_once(kernel_test *test, size_t rows, size_t cols, kernel_input input) {
    const shape s = random_shape(test, rows, cols, input, "column_sum");
    const float *x = kernel_read(test, input, rows, cols, s.stride);
    float *y = kernel_write(test, 1, cols, cols), *other = kernel_write(test, 1, cols, cols);
    kernel_arm(test);
    test->kernels->elementwise.column_sum(rows, cols, x, s.stride, y);
    test->reference->elementwise.column_sum(rows, cols, x, s.stride, other);
    for (size_t c = 0; c < cols; c++) {
        double sum = 0.0, magnitude = 0.0;
        for (size_t i = 0; i < rows; i++) {
            sum += (double)x[i * s.stride + c];
            magnitude += fabs((double)x[i * s.stride + c]);
        }
        /* One rounding a row, each of at most the sum of the sizes. */
        kernel_expect("y", c, y[c], sum, (double)rows * KERNEL_ROUNDOFF * magnitude);
        kernel_expect_same("y", c, y[c], other[c]);
    }
    kernel_verify(test);
}

static void check_column_sum(kernel_test *test) {
    for (size_t cols = 0; cols <= MAX_COLS; cols++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            check_column_sum_once(test, kernel_random_below(test, MAX_ROWS + 1), cols, input);
        }
    }
    for (size_t rows = 0; rows <= MAX_ROWS; rows++) {
        check_column_sum_once(test, rows, 37, KERNEL_UNIFORM);
    }
}

static void bench_column_sum(kernel_test *test, size_t n) {
    const float *x = kernel_bench_floats(test, n);
    float *y = kernel_bench_floats(test, BENCH_COLS);
    for (kernel_bench_begin(test, n, 4 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.column_sum(n / BENCH_COLS, BENCH_COLS, x, BENCH_COLS, y);
    }
}

/* softmax_cross_entropy */

static void expect_cross_entropy_row(size_t classes, const double *l, size_t label, double scale, float loss,
                                     const float *gradient) {
    double max = l[0], sum = 0.0;
    for (size_t c = 0; c < classes; c++) {
        max = fmax(max, l[c]);
    }
    for (size_t c = 0; c < classes; c++) {
        sum += exp(l[c] - max);
    }
    const double exact = log(sum) + (max - l[label]);
    const double roundings = (double)classes + tolerance.exp_and_sum;
    kernel_expect("loss", 0, loss, exact, KERNEL_ROUNDOFF * (roundings + 4.0 * exact));
    for (size_t c = 0; gradient != NULL && c < classes; c++) {
        const double p = exp(l[c] - max) / sum;
        kernel_expect("gradient", c, gradient[c], (p - (c == label ? 1.0 : 0.0)) * scale,
                      KERNEL_ROUNDOFF * scale * (roundings * p + 2.0));
    }
}

typedef enum gradient_place { NO_GRADIENT, SEPARATE_GRADIENT, GRADIENT_OVER_LOGITS, GRADIENT_PLACES } gradient_place;

static void check_cross_entropy_once(kernel_test *test, size_t classes, kernel_input input, gradient_place place) {
    const shape s = random_shape(test, kernel_random_below(test, 4), classes, input, "softmax_cross_entropy");
    const float scale = (float)kernel_random_between(test, 0.001, 1.0);
    float *logits = kernel_buffer(test, place == GRADIENT_OVER_LOGITS ? KERNEL_WRITE : KERNEL_READ, sizeof *logits,
                                  s.rows, classes, s.stride);
    kernel_fill(test, input, logits, s.rows, classes, s.stride);
    float *separate = kernel_write(test, s.rows, classes, s.stride);
    float *gradient = place == NO_GRADIENT ? NULL : place == SEPARATE_GRADIENT ? separate : logits;
    float *losses = kernel_write(test, 1, s.rows, s.rows);
    uint8_t *labels = kernel_buffer(test, KERNEL_READ, 1, 1, s.rows, s.rows);
    double before[3 * MAX_CLASSES];
    for (size_t i = 0; i < s.rows; i++) {
        labels[i] = (uint8_t)kernel_random_below(test, classes);
        for (size_t c = 0; c < classes; c++) {
            before[i * classes + c] = (double)logits[i * s.stride + c];
        }
    }
    kernel_arm(test);
    test->kernels->elementwise.softmax_cross_entropy(s.rows, classes, logits, s.stride, labels, scale, losses,
                                                     gradient);
    for (size_t i = 0; i < s.rows; i++) {
        expect_cross_entropy_row(classes, before + i * classes, labels[i], (double)scale, losses[i],
                                 gradient == NULL ? NULL : gradient + i * s.stride);
    }
    kernel_verify(test);
}

static void check_cross_entropy(kernel_test *test) {
    for (size_t classes = 1; classes <= MAX_CLASSES; classes++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            for (gradient_place place = 0; place < GRADIENT_PLACES; place++) {
                check_cross_entropy_once(test, classes, input, place);
            }
        }
    }
    /* A NaN among the logits must show in the loss. */
    float logits[20] = {0.0f}, loss = 0.0f;
    logits[7] = NAN;
    test->kernels->elementwise.softmax_cross_entropy(1, 20, logits, 20, &(uint8_t){3}, 1.0f, &loss, NULL);
    assert_true(isnan(loss));
}

static void bench_cross_entropy(kernel_test *test, size_t n) {
    enum { CLASSES = 10 };
    const size_t rows = n / CLASSES;
    const float *logits = kernel_bench_floats(test, n);
    float *gradient = kernel_bench_floats(test, n), *losses = kernel_bench_floats(test, rows);
    uint8_t *labels = (uint8_t *)kernel_bench_floats(test, rows);
    memset(labels, 3, rows);
    for (kernel_bench_begin(test, rows * CLASSES, 8 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.softmax_cross_entropy(rows, CLASSES, logits, CLASSES, labels, 0.01f, losses,
                                                         gradient);
    }
}

/* adamw */

static lilac_adamw_step random_adamw_step(kernel_test *test) {
    const double beta1 = kernel_random_between(test, 0.8, 0.95), beta2 = kernel_random_between(test, 0.95, 0.9999);
    const double t = (double)(1 + kernel_random_below(test, 1000)), rate = kernel_random_between(test, 1e-4, 1e-1);
    return (lilac_adamw_step){.beta1 = (float)beta1,
                              .beta2 = (float)beta2,
                              .epsilon = 1e-8f,
                              .decay = (float)(1.0 - rate * 0.01),
                              .step_size = (float)(rate / (1.0 - pow(beta1, t))),
                              .inverse_root_bias2 = (float)(1.0 / sqrt(1.0 - pow(beta2, t))),
                              .gradient_scale = (float)kernel_random_between(test, 0.01, 2.0)};
}

/* Element i, whose state before the step was p, m, v. */
static void expect_adamw(const lilac_adamw_step *step, size_t i, double g, const double before[3],
                         const float after[3]) {
    const double beta1 = (double)step->beta1, beta2 = (double)step->beta2;
    const double m = beta1 * before[1] + (1.0 - beta1) * g, v = beta2 * before[2] + (1.0 - beta2) * g * g;
    const double m_size = beta1 * fabs(before[1]) + (1.0 - beta1) * fabs(g);
    const double denominator = sqrt(v) * (double)step->inverse_root_bias2 + (double)step->epsilon;
    const double change = (double)step->step_size / denominator;
    const double p = before[0] * (double)step->decay - change * m;
    kernel_expect("moment1", i, after[1], m, tolerance.moments * KERNEL_ROUNDOFF * m_size);
    kernel_expect("moment2", i, after[2], v, tolerance.moments * KERNEL_ROUNDOFF * v);
    /* Denormal moments, and their product with the step size, are off by a denormal's spacing, which the fraction
     * magnifies. */
    const double denormal = (4.0 * change + 1.0 / denominator) * 0x1p-149;
    kernel_expect("parameter", i, after[0], p,
                  KERNEL_ROUNDOFF * (2.0 * fabs(before[0]) + tolerance.update * change * m_size) + denormal);
}

static void check_adamw_once(kernel_test *test, size_t n, kernel_input input) {
    kernel_note(test, "n %zu, input kind %d", n, input);
    const lilac_adamw_step step = random_adamw_step(test);
    const float *gradient = kernel_read(test, input, 1, n, n);
    float *state[3];
    double before[3][MAX_COLS];
    for (size_t k = 0; k < 3; k++) {
        state[k] = kernel_write(test, 1, n, n);
        kernel_fill(test, input, state[k], 1, n, n);
        for (size_t i = 0; i < n; i++) {
            state[k][i] = k == 2 ? fabsf(state[k][i]) : state[k][i]; /* the second moment is a mean of squares */
            before[k][i] = (double)state[k][i];
        }
    }
    kernel_arm(test);
    test->kernels->elementwise.adamw(n, &step, gradient, state[0], state[1], state[2]);
    for (size_t i = 0; i < n; i++) {
        expect_adamw(&step, i, (double)gradient[i] * (double)step.gradient_scale,
                     (const double[]){before[0][i], before[1][i], before[2][i]},
                     (const float[]){state[0][i], state[1][i], state[2][i]});
    }
    kernel_verify(test);
}

static void check_adamw(kernel_test *test) {
    for (size_t n = 0; n <= MAX_COLS; n++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            if (input != KERNEL_LARGE) { /* whose squares are no floats */
                check_adamw_once(test, n, input);
            }
        }
    }
}

static void bench_adamw(kernel_test *test, size_t n) {
    const lilac_adamw_step step = {0.9f, 0.999f, 1e-8f, 1.0f, 1e-6f, 1.0f, 1.0f};
    const float *gradient = kernel_bench_floats(test, n);
    float *parameter = kernel_bench_floats(test, n), *moment1 = kernel_bench_floats(test, n);
    float *moment2 = kernel_bench_floats(test, n);
    for (size_t i = 0; i < n; i++) {
        moment2[i] = fabsf(moment2[i]);
    }
    for (kernel_bench_begin(test, n, 28 * n); kernel_bench_more(test);) {
        test->kernels->elementwise.adamw(n, &step, gradient, parameter, moment1, moment2);
    }
}

static const kernel_case cases[] = {
    {"bytes_to_float", LILAC_CPU_SCALAR, check_bytes_to_float, bench_bytes_to_float},
    {"philox", LILAC_CPU_SCALAR, check_philox, NULL},
    {"random_uniform", LILAC_CPU_SCALAR, check_random_uniform, bench_random_uniform},
    {"add_bias", LILAC_CPU_SCALAR, check_add_bias, bench_add_bias},
    {"bias_relu_forward", LILAC_CPU_SCALAR, NULL, bench_bias_relu},
    {"bias_relu_dropout_forward", LILAC_CPU_SCALAR, check_bias_relu_dropout, bench_bias_relu_dropout},
    {"relu_dropout_backward", LILAC_CPU_SCALAR, check_relu_backward, bench_relu_backward},
    {"column_sum", LILAC_CPU_SCALAR, check_column_sum, bench_column_sum},
    {"softmax_cross_entropy", LILAC_CPU_SCALAR, check_cross_entropy, bench_cross_entropy},
    {"adamw", LILAC_CPU_SCALAR, check_adamw, bench_adamw},
};

const kernel_family kernel_family_elementwise = {"elementwise", cases, sizeof cases / sizeof cases[0]};
