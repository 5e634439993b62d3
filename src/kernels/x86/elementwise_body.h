/* SPDX-License-Identifier: MIT */
/*
 * The elementwise kernels, written once for any vector length: each level's source file includes its vector header,
 * then this. A `..._step` is the work on one vector; a kernel runs it on whole vectors and once more on what is left of
 * a row.
 */
#include "core/random.h"
#include "kernels/elementwise.h"

#include "core/memory.h"

#include <math.h>

/* Random words are made by chains of operations that each wait for the one before: several side by side, as many as
 * there are registers for, hide that. Two chains make a vector's length of blocks; a batch is whole groups. */
enum {
    CHAINS = VECTOR_LANES / 4,
    BATCH_GROUPS = CHAINS / 2,
    BATCH = BATCH_GROUPS * LILAC_RANDOM_GROUP, /* words */
    BATCH_VECTORS = BATCH / VECTOR_LANES,
    GROUP_VECTORS = LILAC_RANDOM_GROUP / VECTOR_LANES,
    WORD_VECTORS = LILAC_RANDOM_GROUP_BLOCKS / VECTOR_LANES /* for one of the four words of a group's blocks */
};

/* Every other block, half a vector's length of them, each word in the lower half of 64 bits: what the 32 x 32 -> 64 bit
 * multiplication takes. What is in the upper halves does not matter. */
typedef struct philox_state {
    vector_words c0, c1, c2, c3;
} philox_state;

static inline philox_state philox_start(const lilac_random *place, uint64_t block) {
    const vector_words c0 = vector_count_by_two_64(block);
    return (philox_state){c0, vector_high_halves(c0), vector_set_64(place->stream), vector_set_64(place->stream >> 32)};
}

static inline philox_state philox_round(philox_state s, vector_words key0, vector_words key1) {
    const vector_words product0 = vector_multiply_low_halves(vector_set_64(0xD2511F53u), s.c0);
    const vector_words product1 = vector_multiply_low_halves(vector_set_64(0xCD9E8D57u), s.c2);
    return (philox_state){vector_xor(vector_high_halves(product1), s.c1, key0), product1,
                          vector_xor(vector_high_halves(product0), s.c3, key1), product0};
}

/* Puts all words of the blocks of even and odd in order. */
static inline void philox_words(philox_state even, philox_state odd, vector_words *words) {
    words[0] = vector_interleave_low_halves(even.c0, odd.c0);
    words[WORD_VECTORS] = vector_interleave_low_halves(even.c1, odd.c1);
    words[2 * WORD_VECTORS] = vector_interleave_low_halves(even.c2, odd.c2);
    words[3 * WORD_VECTORS] = vector_interleave_low_halves(even.c3, odd.c3);
}

static inline void random_blocks(const lilac_random *place, uint64_t block, vector_words *words) {
    enum { ROUNDS = 10 };
    philox_state chains[CHAINS];
    for (uint64_t k = 0; k < CHAINS; k++) {
        chains[k] = philox_start(place, block + k / 2 * VECTOR_LANES + k % 2);
    }
    vector_words key0 = vector_set_64(place->seed), key1 = vector_set_64(place->seed >> 32);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t k = 0; k < CHAINS; k++) {
            chains[k] = philox_round(chains[k], key0, key1);
        }
        key0 = vector_add_64(key0, vector_set_64(0x9E3779B9u));
        key1 = vector_add_64(key1, vector_set_64(0xBB67AE85u));
    }
    for (size_t k = 0; k < CHAINS; k += 2) {
        philox_words(chains[k], chains[k + 1], words + k / 2 * GROUP_VECTORS);
    }
}

/* The words of the groups from `place` on, in order. */
static inline void random_batch(const lilac_random *place, vector_words words[BATCH_VECTORS]) {
    for (size_t part = 0; part < WORD_VECTORS; part++) {
        random_blocks(place, place->group * LILAC_RANDOM_GROUP_BLOCKS + part * VECTOR_LANES, words + part);
    }
}

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
    const vector scaled = vector_multiply(bias_relu(bias, y, lanes), vector_set(dropout->scale));
    vector_store(y, lanes, vector_where_not_below(words, dropout->threshold, scaled));
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
    const lilac_dropout numbers = *dropout;
    lilac_random place = numbers.random;
    vector_words words[BATCH_VECTORS];
    size_t used = BATCH_GROUPS;
    for (size_t i = 0; i < rows; i++, y += ldy) {
        /* A row's groups follow those of the row before it. */
        for (size_t c = 0; c < cols; c += LILAC_RANDOM_GROUP, used++) {
            if (used == BATCH_GROUPS) {
                random_batch(&place, words);
                place.group += BATCH_GROUPS;
                used = 0;
            }
            bias_relu_dropout_group(lilac_size_min(cols - c, LILAC_RANDOM_GROUP), bias + c, &numbers,
                                    words + used * GROUP_VECTORS, y + c);
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

static void fill_in(lilac_elementwise_kernels *kernels) {
    kernels->bytes_to_float = bytes_to_float;
    kernels->random_uniform = random_uniform;
    kernels->add_bias = add_bias;
    kernels->bias_relu_dropout_forward = bias_relu_dropout_forward;
    kernels->relu_dropout_backward = relu_dropout_backward;
    kernels->column_sum = column_sum;
    kernels->softmax_cross_entropy = softmax_cross_entropy;
    kernels->adamw = adamw;
}
