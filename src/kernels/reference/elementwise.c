/* SPDX-License-Identifier: MIT */
/* The elementwise kernels in strict scalar C: what the SIMD levels are tested against. */
#include "kernels/elementwise.h"

#include "core/memory.h"

#include <math.h>

static void bytes_to_float(size_t n, const uint8_t *x, lilac_byte_scale scale, float offset, float *y) {
    for (size_t i = 0; i < n; i++) {
        const float low = (float)x[i] * scale.low;
        const float rest = low + offset;
        y[i] = (float)x[i] * scale.high + rest;
    }
}

static void random_uniform(size_t n, const lilac_random *random, float low, float high, float *y) {
    const float range = high - low;
    lilac_random place = *random;
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t start = 0; start < n; start += LILAC_RANDOM_GROUP, place.group++) {
        const size_t count = lilac_size_min(n - start, LILAC_RANDOM_GROUP);
        lilac_random_group(&place, words);
        for (size_t i = 0; i < count; i++) {
            const float u = (float)(words[i] >> 8) * 0x1p-24f;
            const float product = range * u;
            y[start + i] = low + product;
        }
    }
}

static void add_bias(size_t rows, size_t cols, const float *bias, float *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            y[i * ldy + c] += bias[c];
        }
    }
}

static void bias_relu_row(size_t n, const float *bias, float *y) {
    for (size_t c = 0; c < n; c++) {
        const float sum = y[c] + bias[c];
        y[c] = sum > 0.0f ? sum : 0.0f;
    }
}

static void dropout_row(size_t n, const lilac_dropout *dropout, lilac_random place, float *y) {
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t start = 0; start < n; start += LILAC_RANDOM_GROUP, place.group++) {
        const size_t count = lilac_size_min(n - start, LILAC_RANDOM_GROUP);
        lilac_random_group(&place, words);
        for (size_t c = 0; c < count; c++) {
            y[start + c] = words[c] < dropout->threshold ? 0.0f : y[start + c] * dropout->scale;
        }
    }
}

static void bias_relu_dropout_forward(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *y, size_t ldy) {
    const size_t groups = lilac_round_up(cols, LILAC_RANDOM_GROUP) / LILAC_RANDOM_GROUP;
    for (size_t i = 0; i < rows; i++) {
        bias_relu_row(cols, bias, y + i * ldy);
        if (dropout != NULL) {
            lilac_random place = dropout->random;
            place.group += i * groups;
            dropout_row(cols, dropout, place, y + i * ldy);
        }
    }
}

static void relu_dropout_backward(size_t n, const float *y, float scale, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0f ? dy[i] * scale : 0.0f;
    }
}

static void column_sum(size_t rows, size_t cols, const float *x, size_t ldx, float *y) {
    for (size_t c = 0; c < cols; c++) {
        y[c] = 0.0f;
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            y[c] += x[i * ldx + c];
        }
    }
}

static void softmax_cross_entropy(size_t rows, size_t classes, const float *logits, size_t ld, const uint8_t *labels,
                                  float scale, float *losses, float *gradient) {
    for (size_t i = 0; i < rows; i++) {
        const float *l = logits + i * ld;
        float max = -INFINITY;
        for (size_t c = 0; c < classes; c++) {
            max = fmaxf(max, l[c]);
        }
        float sum = 0.0f;
        for (size_t c = 0; c < classes; c++) {
            sum += expf(l[c] - max);
        }
        losses[i] = logf(sum) - (l[labels[i]] - max);
        if (gradient != NULL) {
            for (size_t c = 0; c < classes; c++) {
                const float target = c == labels[i] ? 1.0f : 0.0f;
                gradient[i * ld + c] = (expf(l[c] - max) / sum - target) * scale;
            }
        }
    }
}

static void adamw(size_t n, const lilac_adamw_step *step, const float *gradient, float *parameter, float *moment1,
                  float *moment2) {
    for (size_t i = 0; i < n; i++) {
        const float g = gradient[i];
        const float m = step->beta1 * moment1[i] + (1.0f - step->beta1) * g;
        const float v = step->beta2 * moment2[i] + (1.0f - step->beta2) * g * g;
        const float denominator = sqrtf(v) * step->inverse_root_bias2 + step->epsilon;
        moment1[i] = m;
        moment2[i] = v;
        parameter[i] = parameter[i] * step->decay - step->step_size * m / denominator;
    }
}

void lilac_elementwise_kernels_reference(lilac_elementwise_kernels *kernels) {
    *kernels = (lilac_elementwise_kernels){.bytes_to_float = bytes_to_float,
                                           .random_uniform = random_uniform,
                                           .add_bias = add_bias,
                                           .bias_relu_dropout_forward = bias_relu_dropout_forward,
                                           .relu_dropout_backward = relu_dropout_backward,
                                           .column_sum = column_sum,
                                           .softmax_cross_entropy = softmax_cross_entropy,
                                           .adamw = adamw};
}
