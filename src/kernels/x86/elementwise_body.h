/* SPDX-License-Identifier: MIT */
/*
 * The elementwise kernels, written once for any vector length: each level's source file includes its vector header,
 * then this. A `..._step` is the work on one vector; a kernel runs it on whole vectors and once more on what is left of
 * a row.
 */
#include "core/memory.h"
#include "kernels/elementwise.h"
#include "kernels/x86/random_body.h"

#include <math.h>

static inline void bytes_to_float_step(const uint8_t *x, lilac_byte_scale scale, float offset, float *y, size_t lanes) {
    const vector bytes = vector_load_bytes(x, lanes);
    const vector rest = vector_add(vector_multiply(bytes, vector_set(scale.low)), vector_set(offset));
    vector_store(y, lanes, vector_add(vector_multiply(bytes, vector_set(scale.high)), rest));
}

static void bytes_to_float(size_t n, const uint8_t *x, lilac_byte_scale scale, float offset, float *y) {
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        bytes_to_float_step(x + i, scale, offset, y + i, VECTOR_LANES);
    }
    if (i < n) {
        bytes_to_float_step(x + i, scale, offset, y + i, n - i);
    }
}

static inline void random_uniform_step(vector_words words, float low, float range, float *y, size_t lanes) {
    const vector u = vector_multiply(vector_from_upper_24(words), vector_set(0x1p-24f));
    vector_store(y, lanes, vector_add(vector_set(low), vector_multiply(vector_set(range), u)));
}

static void random_uniform(size_t n, const lilac_random *random, float low, float high, float *y) {
    const float range = high - low;
    lilac_random place = *random;
    vector_words words[BATCH_VECTORS];
    for (; n >= BATCH; n -= BATCH, y += BATCH, place.group += BATCH_GROUPS) {
        random_batch(&place, words);
        for (size_t v = 0; v < BATCH_VECTORS; v++) {
            random_uniform_step(words[v], low, range, y + v * VECTOR_LANES, VECTOR_LANES);
        }
    }
    if (n > 0) {
        random_batch(&place, words);
        for (size_t v = 0; v * VECTOR_LANES < n; v++) {
            const size_t lanes = lilac_size_min(n - v * VECTOR_LANES, VECTOR_LANES);
            random_uniform_step(words[v], low, range, y + v * VECTOR_LANES, lanes);
        }
    }
}

static inline void add_bias_step(const float *bias, float *y, size_t lanes) {
    vector_store(y, lanes, vector_add(vector_load(y, lanes), vector_load(bias, lanes)));
}

static void add_bias(size_t rows, size_t cols, const float *bias, float *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++, y += ldy) {
        size_t c = 0;
        for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
            add_bias_step(bias + c, y + c, VECTOR_LANES);
        }
        if (c < cols) {
            add_bias_step(bias + c, y + c, cols - c);
        }
    }
}

static inline vector bias_relu(const float *bias, const float *y, size_t lanes) {
    return vector_max(vector_add(vector_load(y, lanes), vector_load(bias, lanes)), vector_set(0.0f));
}

static void bias_relu_row(size_t cols, const float *bias, float *y) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
        vector_store(y + c, VECTOR_LANES, bias_relu(bias + c, y + c, VECTOR_LANES));
    }
    if (c < cols) {
        vector_store(y + c, cols - c, bias_relu(bias + c, y + c, cols - c));
    }
}

static inline void bias_relu_dropout_step(const float *bias, const lilac_dropout *dropout, vector_words words, float *y,
                                          size_t lanes) {
    vector_store(y, lanes, drop_out(dropout, words, bias_relu(bias, y, lanes)));
}

/* As many elements as a group has words, or fewer. */
static inline void bias_relu_dropout_group(size_t n, const float *bias, const lilac_dropout *dropout,
                                           const vector_words *words, float *y) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= n; c += VECTOR_LANES) {
        bias_relu_dropout_step(bias + c, dropout, *words++, y + c, VECTOR_LANES);
    }
    if (c < n) {
        bias_relu_dropout_step(bias + c, dropout, *words, y + c, n - c);
    }
}

static void bias_relu_dropout_forward(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *y, size_t ldy) {
    if (dropout == NULL) {
        for (size_t i = 0; i < rows; i++) {
            bias_relu_row(cols, bias, y + i * ldy);
        }
        return;
    }
    const lilac_dropout numbers = *dropout; /* the compiler cannot know that no store below changes the original */
    group_source source;
    start_groups(&source, &numbers);
    for (size_t i = 0; i < rows; i++, y += ldy) {
        for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP) {
            bias_relu_dropout_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), bias + c, &numbers,
                                    next_group(&source), y + c);
        }
    }
}

static inline void relu_dropout_backward_step(const float *y, float scale, const float *dy, float *dx, size_t lanes) {
    const vector scaled = vector_multiply(vector_load(dy, lanes), vector_set(scale));
    vector_store(dx, lanes, vector_where_positive(vector_load(y, lanes), scaled));
}

static void relu_dropout_backward(size_t n, const float *y, float scale, const float *dy, float *dx) {
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        relu_dropout_backward_step(y + i, scale, dy + i, dx + i, VECTOR_LANES);
    }
    if (i < n) {
        relu_dropout_backward_step(y + i, scale, dy + i, dx + i, n - i);
    }
}

static inline void dropout_backward_step(const lilac_dropout *dropout, vector_words words, const float *dy, float *dx,
                                         size_t lanes) {
    vector_store(dx, lanes, drop_out(dropout, words, vector_load(dy, lanes)));
}

static inline void dropout_backward_group(size_t n, const lilac_dropout *dropout, const vector_words *words,
                                          const float *dy, float *dx) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= n; c += VECTOR_LANES) {
        dropout_backward_step(dropout, *words++, dy + c, dx + c, VECTOR_LANES);
    }
    if (c < n) {
        dropout_backward_step(dropout, *words, dy + c, dx + c, n - c);
    }
}

static void dropout_backward(size_t rows, size_t cols, const lilac_dropout *dropout, const float *dy, float *dx) {
    const lilac_dropout numbers = *dropout;
    group_source source;
    start_groups(&source, &numbers);
    for (size_t i = 0; i < rows; i++, dy += cols, dx += cols) {
        for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP) {
            dropout_backward_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), &numbers, next_group(&source), dy + c,
                                   dx + c);
        }
    }
}

static const float gelu_a = 1.5957691216057308f, gelu_b = 0.07135481627159865f;

/* exp(-x (a + b x^2)) */
static inline vector gelu_exp(vector x) {
    const vector factor = vector_multiply_add(vector_multiply(x, x), vector_set(-gelu_b), vector_set(-gelu_a));
    return vector_exp(vector_multiply(x, factor));
}

static inline void gelu_forward_step(const float *bias, const lilac_dropout *dropout, const vector_words *words,
                                     float *pre, float *y, size_t lanes) {
    const vector x = vector_add(vector_load(pre, lanes), vector_load(bias, lanes));
    vector_store(pre, lanes, x);
    const vector value = vector_divide(x, vector_add(vector_set(1.0f), gelu_exp(x)));
    vector_store(y, lanes, dropout == NULL ? value : drop_out(dropout, *words, value));
}

static inline void gelu_forward_group(size_t n, const float *bias, const lilac_dropout *dropout,
                                      const vector_words *words, float *pre, float *y) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= n; c += VECTOR_LANES) {
        gelu_forward_step(bias + c, dropout, words, pre + c, y + c, VECTOR_LANES);
        words = dropout == NULL ? NULL : words + 1;
    }
    if (c < n) {
        gelu_forward_step(bias + c, dropout, words, pre + c, y + c, n - c);
    }
}

static void bias_gelu_dropout_forward(size_t rows, size_t cols, const float *bias, const lilac_dropout *dropout,
                                      float *pre, float *y) {
    group_source source;
    start_groups(&source, dropout);
    for (size_t i = 0; i < rows; i++, pre += cols, y += cols) {
        if (dropout == NULL) {
            gelu_forward_group(cols, bias, NULL, NULL, pre, y);
            continue;
        }
        for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP) {
            gelu_forward_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), bias + c, dropout, next_group(&source),
                               pre + c, y + c);
        }
    }
}

/* p + x p (1 - p) (a + 3 b x^2), p = 1 / (1 + e). Beyond the bounds, which keep infinity out of the products, it is 0
 * or 1. */
static inline vector gelu_derivative(vector x) {
    const vector bound = vector_set(10.0f);
    x = vector_max(vector_set(-10.0f), vector_min(bound, x)); /* of a NaN and a bound, the NaN */
    const vector e = gelu_exp(x), p = vector_divide(vector_set(1.0f), vector_add(vector_set(1.0f), e));
    const vector slope = vector_multiply_add(vector_multiply(x, x), vector_set(3.0f * gelu_b), vector_set(gelu_a));
    const vector spread = vector_multiply(vector_multiply(e, p), p);
    return vector_multiply_add(vector_multiply(x, spread), slope, p);
}

static inline void gelu_backward_step(const float *pre, const lilac_dropout *dropout, const vector_words *words,
                                      float *dy, size_t lanes) {
    const vector d = vector_load(dy, lanes), kept = dropout == NULL ? d : drop_out(dropout, *words, d);
    vector_store(dy, lanes, vector_multiply(kept, gelu_derivative(vector_load(pre, lanes))));
}

static inline void gelu_backward_group(size_t n, const float *pre, const lilac_dropout *dropout,
                                       const vector_words *words, float *dy) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= n; c += VECTOR_LANES) {
        gelu_backward_step(pre + c, dropout, words, dy + c, VECTOR_LANES);
        words = dropout == NULL ? NULL : words + 1;
    }
    if (c < n) {
        gelu_backward_step(pre + c, dropout, words, dy + c, n - c);
    }
}

static void gelu_dropout_backward(size_t rows, size_t cols, const float *pre, const lilac_dropout *dropout, float *dy) {
    group_source source;
    start_groups(&source, dropout);
    for (size_t i = 0; i < rows; i++, pre += cols, dy += cols) {
        if (dropout == NULL) {
            gelu_backward_group(cols, pre, NULL, NULL, dy);
            continue;
        }
        for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP) {
            gelu_backward_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), pre + c, dropout, next_group(&source),
                                dy + c);
        }
    }
}

static inline void column_sum_step(size_t rows, const float *x, size_t ldx, float *y, size_t lanes) {
    vector sum = vector_load(y, lanes);
    for (size_t i = 0; i < rows; i++) {
        sum = vector_add(sum, vector_load(x + i * ldx, lanes));
    }
    vector_store(y, lanes, sum);
}

/* y += the sum of the rows. */
static inline void column_sum_rows(size_t rows, size_t cols, const float *x, size_t ldx, float *y) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
        column_sum_step(rows, x + c, ldx, y + c, VECTOR_LANES);
    }
    if (c < cols) {
        column_sum_step(rows, x + c, ldx, y + c, cols - c);
    }
}

static void column_sum(size_t rows, size_t cols, const float *x, size_t ldx, float *y) {
    enum { STRIP = 8 }; /* rows taken together, so that y is read and written once for eight of them */
    for (size_t c = 0; c < cols; c++) {
        y[c] = 0.0f;
    }
    size_t i = 0;
    for (; i + STRIP <= rows; i += STRIP) {
        column_sum_rows(STRIP, cols, x + i * ldx, ldx, y);
    }
    for (; i < rows; i++) {
        column_sum_rows(1, cols, x + i * ldx, ldx, y);
    }
}

static float row_max(size_t n, const float *x) {
    vector max = vector_set(-INFINITY);
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        max = vector_max(vector_load(x + i, VECTOR_LANES), max);
    }
    if (i < n) {
        max = vector_max(vector_load_or(x + i, n - i, -INFINITY), max);
    }
    return vector_reduce_max(max);
}

static inline vector exp_difference(const float *x, size_t lanes, float max) {
    return vector_exp(vector_subtract(vector_load_or(x, lanes, -INFINITY), vector_set(max)));
}

static float row_sum_exp(size_t n, const float *x, float max) {
    vector sum = vector_set(0.0f);
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        sum = vector_add(sum, exp_difference(x + i, VECTOR_LANES, max));
    }
    if (i < n) {
        sum = vector_add(sum, exp_difference(x + i, n - i, max));
    }
    return vector_reduce_add(sum);
}

typedef struct softmax_row {
    float max;
    float factor; /* scale / sum of exp(x - max) */
    float scale;
    ptrdiff_t label;
} softmax_row;

/* Where the label is among the lanes, scale is taken off on the way: changing it in memory afterwards would have to
 * wait for the masked store. */
static inline void softmax_gradient_step(const softmax_row *row, const float *x, size_t first, float *gradient,
                                         size_t lanes) {
    const vector p = vector_multiply(exp_difference(x + first, lanes, row->max), vector_set(row->factor));
    const vector target = vector_at_lane((int)(row->label - (ptrdiff_t)first), row->scale);
    vector_store(gradient + first, lanes, vector_subtract(p, target));
}

static void softmax_gradient(const softmax_row *row, size_t n, const float *x, float *gradient) {
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        softmax_gradient_step(row, x, i, gradient, VECTOR_LANES);
    }
    if (i < n) {
        softmax_gradient_step(row, x, i, gradient, n - i);
    }
}

static void softmax_cross_entropy(size_t rows, size_t classes, const float *logits, size_t ld, const uint8_t *labels,
                                  float scale, float *losses, float *gradient) {
    for (size_t i = 0; i < rows; i++) {
        const float *l = logits + i * ld;
        const float max = row_max(classes, l);
        const float sum = row_sum_exp(classes, l, max);
        losses[i] = logf(sum) - (l[labels[i]] - max);
        if (gradient != NULL) {
            const softmax_row row = {max, scale / sum, scale, labels[i]};
            softmax_gradient(&row, classes, l, gradient + i * ld);
        }
    }
}

static inline void adamw_step(const lilac_adamw_step *step, const float *gradient, float *parameter, float *moment1,
                              float *moment2, size_t lanes) {
    const vector g = vector_multiply(vector_load(gradient, lanes), vector_set(step->gradient_scale));
    const vector m = vector_multiply_add(vector_set(step->beta1), vector_load(moment1, lanes),
                                         vector_multiply(vector_set(1.0f - step->beta1), g));
    const vector v = vector_multiply_add(vector_set(step->beta2), vector_load(moment2, lanes),
                                         vector_multiply(vector_multiply(vector_set(1.0f - step->beta2), g), g));
    const vector denominator =
        vector_multiply_add(vector_square_root(v), vector_set(step->inverse_root_bias2), vector_set(step->epsilon));
    const vector change = vector_divide(vector_multiply(vector_set(step->step_size), m), denominator);
    vector_store(moment1, lanes, m);
    vector_store(moment2, lanes, v);
    vector_store(parameter, lanes,
                 vector_subtract(vector_multiply(vector_load(parameter, lanes), vector_set(step->decay)), change));
}

static void adamw(size_t n, const lilac_adamw_step *step, const float *gradient, float *parameter, float *moment1,
                  float *moment2) {
    const lilac_adamw_step copy = *step; /* the compiler cannot know that no store below changes the original */
    size_t i = 0;
    for (; i + VECTOR_LANES <= n; i += VECTOR_LANES) {
        adamw_step(&copy, gradient + i, parameter + i, moment1 + i, moment2 + i, VECTOR_LANES);
    }
    if (i < n) {
        adamw_step(&copy, gradient + i, parameter + i, moment1 + i, moment2 + i, n - i);
    }
}

static void float_to_bf16(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        size_t c = 0;
        for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
            vector_store_bf16(y + c, VECTOR_LANES, vector_load(x + c, VECTOR_LANES));
        }
        if (c < cols) {
            vector_store_bf16(y + c, cols - c, vector_load(x + c, cols - c));
        }
    }
}

static void bf16_to_float(size_t rows, size_t cols, const uint16_t *x, size_t ldx, float *y, size_t ldy) {
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        size_t c = 0;
        for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
            vector_store(y + c, VECTOR_LANES, vector_load_bf16(x + c, VECTOR_LANES));
        }
        if (c < cols) {
            vector_store(y + c, cols - c, vector_load_bf16(x + c, cols - c));
        }
    }
}

static void fill_in(lilac_elementwise_kernels *kernels) {
    kernels->bytes_to_float = bytes_to_float;
    kernels->random_uniform = random_uniform;
    kernels->add_bias = add_bias;
    kernels->bias_relu_dropout_forward = bias_relu_dropout_forward;
    kernels->relu_dropout_backward = relu_dropout_backward;
    kernels->dropout_backward = dropout_backward;
    kernels->bias_gelu_dropout_forward = bias_gelu_dropout_forward;
    kernels->gelu_dropout_backward = gelu_dropout_backward;
    kernels->column_sum = column_sum;
    kernels->softmax_cross_entropy = softmax_cross_entropy;
    kernels->adamw = adamw;
    kernels->float_to_bf16 = float_to_bf16;
    kernels->bf16_to_float = bf16_to_float;
}
