/* SPDX-License-Identifier: MIT */
#include "kernels/tile_attention.h"

#include "core/bf16.h"

#include <math.h>

/* ---- Places of numbers in the packed forms: row r and column c of a matrix of that many columns ---- */

enum { TILE = LILAC_TILE_BYTES / sizeof(uint16_t), ROWS = LILAC_TILE_ROWS, DEPTH = LILAC_TILE_DEPTH };

static size_t left_place(size_t columns, size_t r, size_t c) {
    return (r / ROWS * (columns / DEPTH) + c / DEPTH) * TILE + r % ROWS * DEPTH + c % DEPTH;
}

static size_t right_transposed_place(size_t columns, size_t r, size_t c) {
    return (r / ROWS * (columns / DEPTH) + c / DEPTH) * TILE + c % DEPTH / 2 * DEPTH + r % ROWS * 2 + c % 2;
}

static size_t left_transposed_place(size_t columns, size_t r, size_t c) {
    return (r / DEPTH * (columns / ROWS) + c / ROWS) * TILE + c % ROWS * DEPTH + r % DEPTH;
}

static size_t right_place(size_t columns, size_t r, size_t c) {
    return (r / DEPTH * (columns / ROWS) + c / ROWS) * TILE + r % DEPTH / 2 * DEPTH + c % ROWS * 2 + r % 2;
}

static uint16_t rounded(const lilac_tile_source *source, size_t r, size_t c) {
    if (r >= source->count || c > source->size || (c == source->size && !source->ones)) {
        return 0;
    }
    if (c == source->size) {
        return lilac_bf16_from_float(1.0f);
    }
    const size_t place = r * source->ld + c;
    const float x = source->bf16 ? lilac_float_from_bf16(((const uint16_t *)source->data)[place])
                                 : ((const float *)source->data)[place];
    return lilac_bf16_from_float(x * source->scale);
}

static void pack(const lilac_tile_source *source, const lilac_tile_forms *forms) {
    const size_t rows = (source->count + DEPTH - 1) / DEPTH * DEPTH, columns = forms->columns;
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < columns; c++) {
            const uint16_t x = rounded(source, r, c);
            if (forms->left != NULL) {
                forms->left[left_place(columns, r, c)] = x;
            }
            if (forms->left_transposed != NULL) {
                forms->left_transposed[left_transposed_place(columns, r, c)] = x;
            }
            if (forms->right != NULL) {
                forms->right[right_place(columns, r, c)] = x;
            }
            if (forms->right_transposed != NULL) {
                forms->right_transposed[right_transposed_place(columns, r, c)] = x;
            }
        }
    }
}

static float score(const lilac_tile_forward *pass, size_t r, size_t k) {
    float sum = 0.0f;
    for (size_t c = 0; c < pass->key_columns; c++) {
        sum += lilac_float_from_bf16(pass->query[left_place(pass->key_columns, r, c)]) *
               lilac_float_from_bf16(pass->key[right_transposed_place(pass->key_columns, k, c)]);
    }
    return sum;
}

static void forward_row(const lilac_tile_forward *pass, size_t r) {
    const size_t visible = lilac_softmax_row_visible(r, pass->diagonal, pass->keys);
    float *output = pass->output + r * pass->output_stride, *sums = pass->scratch, maximum = -INFINITY;
    for (size_t k = 0; k < visible; k++) {
        maximum = fmaxf(maximum, score(pass, r, k));
    }
    for (size_t c = 0; c <= pass->value_size; c++) {
        sums[c] = 0.0f;
    }
    for (size_t k = 0; k < visible; k++) {
        const float p = lilac_float_from_bf16(lilac_bf16_from_float(exp2f(score(pass, r, k) - maximum)));
        for (size_t c = 0; c <= pass->value_size; c++) {
            sums[c] += p * lilac_float_from_bf16(pass->value[right_place(pass->value_columns, k, c)]);
        }
    }
    const float sum = sums[pass->value_size], factor = sum == 0.0f ? 0.0f : 1.0f / sum;
    for (size_t c = 0; c < pass->value_size; c++) {
        output[c] = sums[c] * factor;
    }
    if (pass->log_sum_exp != NULL) {
        pass->log_sum_exp[r] = visible == 0 ? -INFINITY : (maximum + log2f(sum)) * 0x1.62e430p-1f;
    }
}

static void forward(const lilac_tile_forward *pass) {
    for (size_t r = 0; r < pass->queries; r++) {
        forward_row(pass, r);
    }
}

/* ---- Backward ---- */

static float bf16(const uint16_t *x, size_t place) {
    return lilac_float_from_bf16(x[place]);
}

static float round_float(float x) {
    return lilac_float_from_bf16(lilac_bf16_from_float(x));
}

static size_t gradient_place(size_t columns, size_t r, size_t c) {
    return (r / ROWS * (columns / ROWS) + c / ROWS) * ROWS * ROWS + r % ROWS * ROWS + c % ROWS;
}

static size_t query_gradient_place(size_t columns, size_t r, size_t c) {
    const size_t tile = (r / DEPTH * (columns / ROWS) + c / ROWS) * 2 + r / 4 % 2;
    return tile * ROWS * ROWS + c % ROWS * ROWS + r % DEPTH / 8 * 4 + r % 4;
}

static float number(const lilac_tile_source *source, size_t r, size_t c) {
    const size_t place = r * source->ld + c;
    return source->bf16 ? bf16(source->data, place) : ((const float *)source->data)[place];
}

static void row_numbers(const lilac_tile_row_numbers *rows) {
    const size_t count = rows->output.count;
    for (size_t r = 0; r < (count + DEPTH - 1) / DEPTH * DEPTH; r++) {
        rows->offsets[r] = -INFINITY;
        rows->deltas[r] = 0.0f;
        if (r < count && rows->log_sum_exp[r] != -INFINITY) {
            rows->offsets[r] = rows->log_sum_exp[r] * -0x1.715476p0f;
        }
        for (size_t c = 0; r < count && c < rows->output.size; c++) {
            rows->deltas[r] -= number(&rows->output, r, c) * number(&rows->output_gradient, r, c);
        }
    }
}

/* One pair of a query and a key that it sees. */
static void add_pair(const lilac_tile_backward *block, size_t r, size_t k) {
    const size_t D = block->key_columns, M = block->value_columns;
    float score = block->offsets[r], gradient = block->deltas[r];
    for (size_t c = 0; c < D; c++) {
        score += bf16(block->key, left_place(D, k, c)) * bf16(block->query, right_place(D, r, c));
    }
    for (size_t c = 0; c < M; c++) {
        gradient += bf16(block->value, left_place(M, k, c)) * bf16(block->output_gradient, right_place(M, r, c));
    }
    const float p = exp2f(score), ds = round_float(p * gradient);
    for (size_t c = 0; c < D; c++) {
        block->key_gradient[gradient_place(D, k, c)] += ds * bf16(block->query, right_place(D, r, c));
    }
    for (size_t c = 0; c < M; c++) {
        block->value_gradient[gradient_place(M, k, c)] +=
            round_float(p) * bf16(block->output_gradient, right_place(M, r, c));
    }
    block->score_gradients[r * LILAC_TILE_KEY_BLOCK + k] = lilac_bf16_from_float(ds);
}

static void backward(const lilac_tile_backward *block) {
    for (size_t r = 0; r < block->queries; r++) {
        for (size_t k = 0; k < lilac_softmax_row_visible(r, block->diagonal, block->keys); k++) {
            add_pair(block, r, k);
        }
    }
}

static void query_gradients(const lilac_tile_backward *block) {
    const size_t D = block->key_columns;
    for (size_t r = 0; r < block->queries; r++) {
        for (size_t k = 0; k < lilac_softmax_row_visible(r, block->diagonal, block->keys); k++) {
            const float ds = bf16(block->score_gradients, r * LILAC_TILE_KEY_BLOCK + k);
            for (size_t c = 0; c < D; c++) {
                block->query_gradient[query_gradient_place(D, r, c)] +=
                    ds * bf16(block->key_transposed, left_transposed_place(D, k, c));
            }
        }
    }
}

static void store_gradients(size_t count, size_t size, size_t columns, float factor, const float *gradient, float *y,
                            size_t ldy) {
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < size; c++) {
            y[r * ldy + c] = factor * gradient[gradient_place(columns, r, c)];
        }
    }
}

static void store_query_gradients(size_t count, size_t size, size_t columns, float factor, const float *gradient,
                                  float *y, size_t ldy) {
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < size; c++) {
            y[r * ldy + c] = factor * gradient[query_gradient_place(columns, r, c)];
        }
    }
}

void lilac_tile_attention_kernels_reference(lilac_tile_attention_kernels *kernels) {
    *kernels = (lilac_tile_attention_kernels){
        .pack = pack,
        .forward = forward,
        .row_numbers = row_numbers,
        .backward = backward,
        .query_gradients = query_gradients,
        .store_gradients = store_gradients,
        .store_query_gradients = store_query_gradients,
    };
}
