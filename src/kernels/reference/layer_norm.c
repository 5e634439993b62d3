/* SPDX-License-Identifier: MIT */
/* The layer norm kernels in strict scalar C: what the SIMD levels are tested against. Sums are kept in double. */
#include "kernels/layer_norm.h"

#include "core/memory.h"

#include <math.h>

/* s of row number i. */
static void add_residual(size_t cols, const lilac_residual_norm *a, size_t i) {
    float *y = a->y + i * cols;
    uint32_t words[LILAC_RANDOM_GROUP];
    for (size_t c = 0; c < cols; c++) {
        float value = a->branch_bias == NULL ? y[c] : y[c] + a->branch_bias[c];
        if (a->dropout != NULL) {
            if (c % LILAC_RANDOM_GROUP == 0) {
                lilac_random place = lilac_dropout_from_row(a->dropout, cols, i).random;
                place.group += c / LILAC_RANDOM_GROUP;
                lilac_random_group(&place, words);
            }
            value = words[c % LILAC_RANDOM_GROUP] < a->dropout->threshold ? 0.0f : value * a->dropout->scale;
        }
        y[c] = a->x == NULL ? value : a->x[i * cols + c] + value;
    }
}

static void residual_norm_forward(size_t rows, size_t cols, const lilac_residual_norm *a) {
    for (size_t i = 0; cols > 0 && i < rows; i++) {
        add_residual(cols, a, i);
        const float *s = a->y + i * cols;
        double sum = 0.0, squares = 0.0;
        for (size_t c = 0; c < cols; c++) {
            sum += (double)s[c];
        }
        const double mean = sum / (double)cols;
        for (size_t c = 0; c < cols; c++) {
            squares += ((double)s[c] - mean) * ((double)s[c] - mean);
        }
        const float variance = (float)(squares / (double)cols);
        a->mean[i] = (float)mean;
        a->rstd[i] = 1.0f / sqrtf(variance + a->epsilon);
        for (size_t c = 0; c < cols; c++) {
            a->out[i * cols + c] = (s[c] - a->mean[i]) * a->rstd[i] * a->gain[c] + a->bias[c];
        }
    }
}

static void backward_row(size_t cols, const lilac_layer_norm_gradient *a, size_t i) {
    const float *s = a->s + i * cols, *dout = a->dout + i * cols;
    const float mean = a->mean[i], rstd = a->rstd[i];
    double sum = 0.0, product_sum = 0.0;
    for (size_t c = 0; c < cols; c++) {
        const double g = (double)dout[c] * (double)a->gain[c];
        sum += g;
        product_sum += g * (double)((s[c] - mean) * rstd);
    }
    const float g_mean = (float)(sum / (double)cols), product_mean = (float)(product_sum / (double)cols);
    for (size_t c = 0; c < cols; c++) {
        const float n = (s[c] - mean) * rstd, d = dout[c];
        const float change = rstd * (d * a->gain[c] - g_mean - n * product_mean);
        a->ds[i * cols + c] = a->add == NULL ? change : change + a->add[i * cols + c];
        if (a->dgain != NULL) {
            a->dgain[c] += d * n;
            a->dbias[c] += d;
        }
    }
}

static void layer_norm_backward(size_t rows, size_t cols, const lilac_layer_norm_gradient *a) {
    for (size_t i = 0; i < rows; i++) {
        backward_row(cols, a, i);
    }
}

void lilac_layer_norm_kernels_reference(lilac_layer_norm_kernels *kernels) {
    *kernels = (lilac_layer_norm_kernels){.residual_norm_forward = residual_norm_forward,
                                          .layer_norm_backward = layer_norm_backward};
}
