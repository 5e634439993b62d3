/* SPDX-License-Identifier: MIT */
/*
 * The layer norm kernels, written once for any vector length: each level's source file includes its vector header, then
 * this. A row goes through the first-level cache several times and through memory once.
 */
#include "core/memory.h"
#include "kernels/layer_norm.h"
#include "kernels/x86/random_body.h"

#include <math.h>

enum { SUMS = 4 /* sums side by side, so that none waits for the addition before it */ };

static inline float reduce_sums(const vector sums[SUMS]) {
    return vector_reduce_add(vector_add(vector_add(sums[0], sums[1]), vector_add(sums[2], sums[3])));
}

/* s of a vector, stored in y; x and branch_bias point at it too, or are NULL. */
static inline void residual_step(const float *x, const float *branch_bias, const lilac_dropout *dropout,
                                 const vector_words *words, float *y, size_t lanes) {
    vector v = vector_load(y, lanes);
    v = branch_bias == NULL ? v : vector_add(v, vector_load(branch_bias, lanes));
    v = dropout == NULL ? v : drop_out(dropout, *words, v);
    vector_store(y, lanes, x == NULL ? v : vector_add(vector_load(x, lanes), v));
}

static inline void residual_group(size_t n, const float *x, const float *branch_bias, const lilac_dropout *dropout,
                                  const vector_words *words, float *y) {
    size_t c = 0;
    for (; c + VECTOR_LANES <= n; c += VECTOR_LANES) {
        residual_step(x == NULL ? NULL : x + c, branch_bias == NULL ? NULL : branch_bias + c, dropout, words, y + c,
                      VECTOR_LANES);
        words = dropout == NULL ? NULL : words + 1;
    }
    if (c < n) {
        residual_step(x == NULL ? NULL : x + c, branch_bias == NULL ? NULL : branch_bias + c, dropout, words, y + c,
                      n - c);
    }
}

static inline void residual_row(size_t cols, const float *x, const float *branch_bias, const lilac_dropout *dropout,
                                group_source *source, float *y) {
    if (dropout == NULL) {
        if (x != NULL || branch_bias != NULL) {
            residual_group(cols, x, branch_bias, NULL, NULL, y);
        }
        return;
    }
    for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP) {
        residual_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), x == NULL ? NULL : x + c,
                       branch_bias == NULL ? NULL : branch_bias + c, dropout, next_group(source), y + c);
    }
}

/* The sum of s - shift. */
static float sum_from(size_t n, const float *s, float shift) {
    vector sums[SUMS] = {vector_zero(), vector_zero(), vector_zero(), vector_zero()};
    size_t c = 0;
    for (; c + SUMS * VECTOR_LANES <= n; c += SUMS * VECTOR_LANES) {
        for (size_t k = 0; k < SUMS; k++) {
            const vector v = vector_load(s + c + k * VECTOR_LANES, VECTOR_LANES);
            sums[k] = vector_add(sums[k], vector_subtract(v, vector_set(shift)));
        }
    }
    for (; c < n; c += VECTOR_LANES) {
        const size_t lanes = lilac_size_min(n - c, VECTOR_LANES);
        const vector v = vector_subtract(vector_load(s + c, lanes), vector_set(shift));
        sums[0] = vector_add(sums[0], vector_keep(lanes, v));
    }
    return reduce_sums(sums);
}

/* The sum of (s - mean)^2. */
static float sum_squares_from(size_t n, const float *s, float mean) {
    vector sums[SUMS] = {vector_zero(), vector_zero(), vector_zero(), vector_zero()};
    size_t c = 0;
    for (; c + SUMS * VECTOR_LANES <= n; c += SUMS * VECTOR_LANES) {
        for (size_t k = 0; k < SUMS; k++) {
            const vector v = vector_load(s + c + k * VECTOR_LANES, VECTOR_LANES);
            const vector d = vector_subtract(v, vector_set(mean));
            sums[k] = vector_multiply_add(d, d, sums[k]);
        }
    }
    for (; c < n; c += VECTOR_LANES) {
        const size_t lanes = lilac_size_min(n - c, VECTOR_LANES);
        const vector d = vector_keep(lanes, vector_subtract(vector_load(s + c, lanes), vector_set(mean)));
        sums[0] = vector_multiply_add(d, d, sums[0]);
    }
    return reduce_sums(sums);
}

static inline void normalise_step(const lilac_residual_norm *a, const float *s, float mean, float rstd, size_t c,
                                  float *out, size_t lanes) {
    const vector d = vector_subtract(vector_load(s + c, lanes), vector_set(mean));
    const vector n = vector_multiply(d, vector_set(rstd));
    vector_store(out + c, lanes,
                 vector_multiply_add(n, vector_load(a->gain + c, lanes), vector_load(a->bias + c, lanes)));
}

static void normalise_row(size_t cols, const lilac_residual_norm *a, size_t i) {
    const float *s = a->y + i * cols;
    float *out = a->out + i * cols;
    /* Sums from the row's first number on keep what rounding takes small beside the row's spread, not its mean. */
    const float shift = sum_from(cols, s, s[0]) / (float)cols;
    const float mean = s[0] + shift;
    const float lost = shift - (mean - s[0]); /* of the mean, in that addition */
    const float squares = sum_squares_from(cols, s, mean) / (float)cols;
    const float variance = squares < INFINITY ? fmaxf(squares - lost * lost, 0.0f) : squares;
    const float rstd = 1.0f / sqrtf(variance + a->epsilon);
    a->mean[i] = mean;
    a->rstd[i] = rstd;
    size_t c = 0;
    for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
        normalise_step(a, s, mean, rstd, c, out, VECTOR_LANES);
    }
    if (c < cols) {
        normalise_step(a, s, mean, rstd, c, out, cols - c);
    }
}

static void residual_norm_forward(size_t rows, size_t cols, const lilac_residual_norm *arguments) {
    const lilac_residual_norm a = *arguments;
    group_source source;
    start_groups(&source, a.dropout);
    for (size_t i = 0; cols > 0 && i < rows; i++) {
        residual_row(cols, a.x == NULL ? NULL : a.x + i * cols, a.branch_bias, a.dropout, &source, a.y + i * cols);
        normalise_row(cols, &a, i);
    }
}

enum { STRIP = 4 /* rows taken together, so that gain, dgain and dbias are read and written once for all of them */ };

/* Numbers of a row: ds = rstd g - offset - factor (s - mean). */
typedef struct row_numbers {
    float mean, rstd, offset, factor;
} row_numbers;

/* The sums of g and of g (s - mean) of each row. */
static inline void gradient_sums_step(size_t rows, size_t cols, const lilac_layer_norm_gradient *a, size_t first,
                                      size_t c, size_t lanes, vector *sums, vector *product_sums) {
    const vector gain = vector_load(a->gain + c, lanes);
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (first + r) * cols + c;
        const vector g = vector_multiply(vector_load(a->dout + at, lanes), gain);
        const vector d = vector_subtract(vector_load(a->s + at, lanes), vector_set(a->mean[first + r]));
        sums[r] = vector_add(sums[r], g);
        product_sums[r] = vector_multiply_add(g, d, product_sums[r]);
    }
}

static inline void gradient_step(size_t rows, size_t cols, const lilac_layer_norm_gradient *a, size_t first,
                                 const row_numbers *numbers, size_t c, size_t lanes) {
    const vector gain = vector_load(a->gain + c, lanes);
    vector gain_sum = vector_zero(), bias_sum = vector_zero();
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (first + r) * cols + c;
        const vector dout = vector_load(a->dout + at, lanes);
        const vector d = vector_subtract(vector_load(a->s + at, lanes), vector_set(numbers[r].mean));
        const vector rest = vector_multiply_add(d, vector_set(numbers[r].factor), vector_set(numbers[r].offset));
        const vector scaled = vector_multiply(dout, vector_set(numbers[r].rstd));
        const vector change = vector_subtract(vector_multiply(scaled, gain), rest);
        vector_store(a->ds + at, lanes, a->add == NULL ? change : vector_add(change, vector_load(a->add + at, lanes)));
        gain_sum = vector_multiply_add(scaled, d, gain_sum);
        bias_sum = vector_add(bias_sum, dout);
    }
    if (a->dgain != NULL) {
        vector_store(a->dgain + c, lanes, vector_add(vector_load(a->dgain + c, lanes), gain_sum));
        vector_store(a->dbias + c, lanes, vector_add(vector_load(a->dbias + c, lanes), bias_sum));
    }
}

/* rows is a constant, at most STRIP. */
static inline void gradient_rows(size_t rows, size_t cols, const lilac_layer_norm_gradient *a, size_t first) {
    vector sums[STRIP], product_sums[STRIP];
    row_numbers numbers[STRIP];
    for (size_t r = 0; r < rows; r++) {
        sums[r] = product_sums[r] = vector_zero();
    }
    size_t c = 0;
    for (; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
        gradient_sums_step(rows, cols, a, first, c, VECTOR_LANES, sums, product_sums);
    }
    if (c < cols) {
        gradient_sums_step(rows, cols, a, first, c, cols - c, sums, product_sums);
    }
    for (size_t r = 0; r < rows; r++) {
        const float rstd = a->rstd[first + r], count = (float)cols;
        const float mean_product = vector_reduce_add(product_sums[r]) * rstd / count; /* of g and the output */
        numbers[r] = (row_numbers){.mean = a->mean[first + r],
                                   .rstd = rstd,
                                   .offset = rstd * (vector_reduce_add(sums[r]) / count),
                                   .factor = rstd * rstd * mean_product};
    }
    for (c = 0; c + VECTOR_LANES <= cols; c += VECTOR_LANES) {
        gradient_step(rows, cols, a, first, numbers, c, VECTOR_LANES);
    }
    if (c < cols) {
        gradient_step(rows, cols, a, first, numbers, c, cols - c);
    }
}

static void layer_norm_backward(size_t rows, size_t cols, const lilac_layer_norm_gradient *arguments) {
    const lilac_layer_norm_gradient a = *arguments;
    size_t i = 0;
    for (; i + STRIP <= rows; i += STRIP) {
        gradient_rows(STRIP, cols, &a, i);
    }
    for (; i < rows; i++) {
        gradient_rows(1, cols, &a, i);
    }
}

static void fill_in(lilac_layer_norm_kernels *kernels) {
    kernels->residual_norm_forward = residual_norm_forward;
    kernels->layer_norm_backward = layer_norm_backward;
}
