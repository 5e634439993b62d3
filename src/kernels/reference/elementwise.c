/* SPDX-License-Identifier: MIT */
/* The elementwise kernels in strict scalar C: what the SIMD levels are tested against. */
#include "kernels/elementwise.h"

#include "core/bf16.h"
#include "core/memory.h"

#include <math.h>
#include <string.h>

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

/* Row number i of a matrix with n columns; dropout NULL: none. */
static void dropout_row(size_t n, const lilac_dropout *dropout, size_t i, float *y) {
    if (dropout == NULL) {
        return;
    }
    lilac_random place = lilac_dropout_from_row(dropout, n, i).random;
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
    for (size_t i = 0; i < rows; i++) {
        bias_relu_row(cols, bias, y + i * ldy);
        dropout_row(cols, dropout, i, y + i * ldy);
    }
}

static void relu_dropout_backward(size_t n, const float *y, float scale, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++) {
        dx[i] = y[i] > 0.0f ? dy[i] * scale : 0.0f;
    }
}

static void dropout_backward(size_t rows, size_t cols, const lilac_dropout *dropout, const float *dy, float *dx) {
    for (size_t i = 0; i < rows; i++) {
        memmove(dx + i * cols, dy + i * cols, cols * sizeof *dx);
        dropout_row(cols, dropout, i, dx + i * cols);
    }
}

static const float gelu_a = 1.5957691216057308f, gelu_b = 0.07135481627159865f;

static float gelu(float x) {
    return x / (1.0f + expf(-x * (gelu_a + gelu_b * x * x)));
}

/* With p = 1 / (1 + exp(-x (a + b x^2))): p + x p (1 - p) (a + 3 b x^2). The bounds keep infinity out of the products,
 * and beyond them the result is 0 or 1. */
static float gelu_derivative(float x) {
    const float z = x > 10.0f ? 10.0f : x < -10.0f ? -10.0f : x;
    const float e = expf(-z * (gelu_a + gelu_b * z * z)), p = 1.0f / (1.0f + e);
    return p + z * (e * p * p) * (gelu_a + 3.0f * gelu_b * z * z);
}

static void bias_gelu_dropout_forward(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *pre, float *y) {
    for (size_t i = 0; i < rows; i++, pre += cols, y += cols) {
        for (size_t c = 0; c < cols; c++) {
            pre[c] += bias[c];
            y[c] = gelu(pre[c]);
        }
        dropout_row(cols, dropout, i, y);
    }
}

static void gelu_dropout_backward(size_t rows, size_t cols, const float *pre, const lilac_dropout *dropout, float *dy) {
    for (size_t i = 0; i < rows; i++, pre += cols, dy += cols) {
        dropout_row(cols, dropout, i, dy);
        for (size_t c = 0; c < cols; c++) {
            dy[c] *= gelu_derivative(pre[c]);
        }
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
        const float g = gradient[i] * step->gradient_scale;
        const float m = step->beta1 * moment1[i] + (1.0f - step->beta1) * g;
        const float v = step->beta2 * moment2[i] + (1.0f - step->beta2) * g * g;
        const float denominator = sqrtf(v) * step->inverse_root_bias2 + step->epsilon;
        moment1[i] = m;
        moment2[i] = v;
        parameter[i] = parameter[i] * step->decay - step->step_size * m / denominator;
    }
}

static void float_to_bf16(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            y[i * ldy + c] = lilac_bf16_from_float(x[i * ldx + c]);
        }
    }
}

static void bf16_to_float(size_t rows, size_t cols, const uint16_t *x, size_t ldx, float *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            y[i * ldy + c] = lilac_float_from_bf16(x[i * ldx + c]);
        }
    }
}

void lilac_elementwise_kernels_reference(lilac_elementwise_kernels *kernels) {
    *kernels = (lilac_elementwise_kernels){.bytes_to_float = bytes_to_float,
                                           .random_uniform = random_uniform,
                                           .add_bias = add_bias,
                                           .bias_relu_dropout_forward = bias_relu_dropout_forward,
                                           .relu_dropout_backward = relu_dropout_backward,
                                           .dropout_backward = dropout_backward,
                                           .bias_gelu_dropout_forward = bias_gelu_dropout_forward,
                                           .gelu_dropout_backward = gelu_dropout_backward,
                                           .column_sum = column_sum,
                                           .softmax_cross_entropy = softmax_cross_entropy,
                                           .adamw = adamw,
                                           .float_to_bf16 = float_to_bf16,
                                           .bf16_to_float = bf16_to_float};
}
