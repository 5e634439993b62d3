/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the elementwise kernels: loops that touch each element once.
 *
 * Common rules. Matrices are row major with a row stride (ld...) in elements that is at least the number of columns. No
 * alignment is needed beyond a float's. Buffers must not overlap unless a contract says they may. A size of 0 is
 * allowed and touches nothing. Kernels never allocate and never read or write beyond the stated shapes. One level
 * always gives the same bytes; where a contract does not say otherwise, all levels give the same.
 */
#ifndef LILAC_KERNELS_ELEMENTWISE_H
#define LILAC_KERNELS_ELEMENTWISE_H

#include "core/memory.h"
#include "core/random.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* A factor for bytes, high + low: high has 16 significant bits, so that a byte times high needs no rounding. */
typedef struct lilac_byte_scale {
    float high, low;
} lilac_byte_scale;

/* scale must be normal as a float. */
static inline lilac_byte_scale lilac_byte_scale_of(double scale) {
    int exponent;
    const double fraction = frexp(scale, &exponent);
    const float high = (float)ldexp(nearbyint(ldexp(fraction, 16)), exponent - 16);
    return (lilac_byte_scale){.high = high, .low = (float)(scale - (double)high)};
}

/* Inverted dropout: an element is dropped where its random word is below threshold, else multiplied by scale. */
typedef struct lilac_dropout {
    uint32_t threshold; /* probability * 2^32 */
    float scale;        /* 1 / (1 - probability) */
    lilac_random random;
} lilac_dropout;

/* How many groups of words a row of dropout takes: a row starts with a group of its own. */
static inline size_t lilac_dropout_row_groups(size_t cols) {
    return lilac_round_up(cols, LILAC_RANDOM_GROUP) / LILAC_RANDOM_GROUP;
}

/* The dropout of the rows from number `row` on. */
static inline lilac_dropout lilac_dropout_from_row(const lilac_dropout *dropout, size_t cols, size_t row) {
    lilac_dropout rest = *dropout;
    rest.random.group += row * lilac_dropout_row_groups(cols);
    return rest;
}

/* One AdamW step's numbers (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), t counted from 1. */
typedef struct lilac_adamw_step {
    float beta1, beta2, epsilon;
    float decay;              /* 1 - learning rate * weight decay */
    float step_size;          /* learning rate / (1 - beta1^t) */
    float inverse_root_bias2; /* 1 / sqrt(1 - beta2^t) */
    float gradient_scale;     /* what the gradient is multiplied by first */
} lilac_adamw_step;

typedef struct lilac_elementwise_kernels {
    /*
     * y[i] = x[i] * scale.high + (x[i] * scale.low + offset). The first product is exact, so that with offset 0 the
     * result is x[i] * scale rounded once, but for a part in 2^16 of a rounding.
     */
    void (*bytes_to_float)(size_t n, const uint8_t *x, lilac_byte_scale scale, float offset, float *y);

    /* y[i] = low + (high - low) * u, u = (word >> 8) / 2^24, with the words of the stream from `random` on. */
    void (*random_uniform)(size_t n, const lilac_random *random, float low, float high, float *y);

    /* y[i][c] += bias[c]; y is rows x cols. */
    void (*add_bias)(size_t rows, size_t cols, const float *bias, float *y, size_t ldy);

    /*
     * y[i][c] = dropout(max(0, y[i][c] + bias[c])), in place; y is rows x cols. A sum that is not above 0 (also a NaN)
     * gives +0. dropout NULL: none. Row i takes its words from group dropout->random.group + i * ceil(cols / 64) on,
     * element c being word c from there.
     */
    void (*bias_relu_dropout_forward)(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *y, size_t ldy);

    /* dx[i] = y[i] > 0 ? dy[i] * scale : 0, where y is the forward's output (0 both where ReLU and where dropout cut)
     * and scale its dropout scale (1 without dropout). dx may be dy. */
    void (*relu_dropout_backward)(size_t n, const float *y, float scale, const float *dy, float *dx);

    /*
     * dx[i][c] = dy[i][c] * scale, or +0 where dropped: the words are those of bias_relu_dropout_forward. dx and dy are
     * rows x cols, contiguous; dx may be dy.
     */
    void (*dropout_backward)(size_t rows, size_t cols, const lilac_dropout *dropout, const float *dy, float *dx);

    /*
     * pre[i][c] += bias[c]; y[i][c] = dropout(gelu(pre[i][c])), where gelu(x) = x / (1 + exp(-x (a + b x^2))) with
     * a = 2 sqrt(2 / pi), b = 0.044715 a (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, the tanh form).
     * pre and y are rows x cols, contiguous; the words are those of bias_relu_dropout_forward; dropout NULL: none.
     * Levels differ by rounding in y.
     */
    void (*bias_gelu_dropout_forward)(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *pre, float *y);

    /* dy[i][c] becomes gelu'(pre[i][c]) * dropout(dy[i][c]), in place, with the pre and the dropout of the forward.
     * Levels differ by rounding. */
    void (*gelu_dropout_backward)(size_t rows, size_t cols, const float *pre, const lilac_dropout *dropout, float *dy);

    /* y[c] = sum over i of x[i][c], rows added in order; x is rows x cols. */
    void (*column_sum)(size_t rows, size_t cols, const float *x, size_t ldx, float *y);

    /*
     * Softmax and cross-entropy over the rows of logits (rows x classes, classes >= 1), labels[i] < classes:
     *   losses[i] = log(sum_c exp(l[i][c])) - l[i][labels[i]]
     *   gradient[i][c] = (softmax(l[i])[c] - [c == labels[i]]) * scale
     * computed with the row's maximum taken out, so that it does not overflow. gradient may be NULL, or logits itself.
     * Levels differ by rounding.
     */
    void (*softmax_cross_entropy)(size_t rows, size_t classes, const float *logits, size_t ld, const uint8_t *labels,
                                  float scale, float *losses, float *gradient);

    /*
     * g *= gradient_scale;  p *= decay;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
     * p -= step_size * m / (sqrt(v) * inverse_root_bias2 + epsilon)
     * Levels differ by rounding.
     */
    void (*adamw)(size_t n, const lilac_adamw_step *step, const float *gradient, float *parameter, float *moment1,
                  float *moment2);

    /* y[i][c] = x[i][c] rounded to nearest, ties to even, as bf16 (a NaN stays one), and back. rows x cols. */
    void (*float_to_bf16)(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y, size_t ldy);
    void (*bf16_to_float)(size_t rows, size_t cols, const uint16_t *x, size_t ldx, float *y, size_t ldy);
} lilac_elementwise_kernels;

/* Fill in the kernels of one level; the SIMD levels override what a lower level filled in. */
void lilac_elementwise_kernels_reference(lilac_elementwise_kernels *kernels);
void lilac_elementwise_kernels_avx2(lilac_elementwise_kernels *kernels);
void lilac_elementwise_kernels_avx512(lilac_elementwise_kernels *kernels);

#endif
