/* SPDX-License-Identifier: MIT */
#include "kernels/softmax_attention.h"
#include "core/bf16.h"
#include "core/memory.h"

#include <math.h>

enum { PANEL = LILAC_SOFTMAX_PANEL, STRIDE = LILAC_SOFTMAX_SCORE_STRIDE, LANES = LILAC_SOFTMAX_LANES };

/* Element i of the row that became column `row` of its panel. */
static float panel_element(const float *panels, size_t size, size_t row, size_t i) {
    return panels[(row / PANEL * size + i) * PANEL + row % PANEL];
}

static float dot_panel(const float *x, const float *panels, size_t size, size_t row) {
    float sum = 0.0f;
    for (size_t i = 0; i < size; i++) {
        sum += x[i] * panel_element(panels, size, row, i);
    }
    return sum;
}

static float dot_panel_bf16(const uint16_t *x, const uint16_t *panels, size_t size, size_t key) {
    const uint16_t *panel = panels + key / PANEL * PANEL * ((size + 1) / 2 * 2) + key % PANEL * 2;
    float sum = 0.0f;
    for (size_t i = 0; i < size; i++) {
        sum += lilac_float_from_bf16(x[i]) * lilac_float_from_bf16(panel[i / 2 * 2 * PANEL + i % 2]);
    }
    return sum;
}

/* Number c of row r of a matrix that is held in pairs of rows, `ld` pairs apart. */
static size_t in_pairs(size_t r, size_t c, size_t ld) {
    return 2 * (r / 2 * ld + c) + r % 2;
}

static size_t padded_keys(const lilac_softmax_block *block) {
    return (block->keys + PANEL - 1) / PANEL * PANEL;
}

static void pack_panels(size_t count, size_t size, const float *x, size_t ldx, float scale, float *panels) {
    for (size_t first = 0; first < count; first += PANEL) {
        for (size_t i = 0; i < size; i++) {
            for (size_t row = first; row < first + PANEL; row++) {
                *panels++ = row < count ? x[row * ldx + i] * scale : 0.0f;
            }
        }
    }
}

static void scores(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq, const float *panels,
                   float *s) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < lilac_softmax_visible(block, r); k++) {
            s[r * STRIDE + k] = dot_panel(q + r * ldq, panels, size, k);
        }
    }
}

/* Raises what is subtracted from a row's scores and scales down what has been summed up with less subtracted. */
static void raise_maximum(const lilac_softmax_state *state, size_t row, size_t value_size, float maximum) {
    const float factor = exp2f(state->maximum[row] - maximum);
    for (size_t i = 0; i < LANES; i++) {
        state->sums[row * LANES + i] *= factor;
    }
    for (size_t i = 0; i < value_size; i++) {
        state->out[row * state->ld + i] *= factor;
    }
    state->maximum[row] = maximum;
}

/* What is to be subtracted from a row's scores, after raising it to their maximum. */
static float subtracted_maximum(const float *s, size_t visible, const lilac_softmax_state *state, size_t row,
                                size_t value_size) {
    float maximum = state->maximum[row];
    for (size_t k = 0; k < visible; k++) {
        maximum = s[k] > maximum ? s[k] : maximum;
    }
    if (maximum > state->maximum[row]) {
        raise_maximum(state, row, value_size, maximum);
    }
    return maximum == -INFINITY ? 0.0f : maximum;
}

/* s = 2^(s - offset) for the visible keys of row r, and their sum to the state's: within the block by itself first. */
static void exponentiate(size_t visible, float offset, float *s, float *sums) {
    float block_sums[LANES] = {0.0f};
    for (size_t k = 0; k < visible; k++) {
        s[k] = exp2f(s[k] - offset);
        block_sums[k % LANES] += s[k];
    }
    for (size_t i = 0; i < LANES; i++) {
        sums[i] += block_sums[i];
    }
}

static void accumulate(const lilac_softmax_block *block, float *s, size_t value_size, const float *v, size_t ldv,
                       const lilac_softmax_state *state) {
    for (size_t r = 0; r < block->rows; r++) {
        const size_t visible = lilac_softmax_visible(block, r);
        float *p = s + r * STRIDE, *out = state->out + r * state->ld;
        exponentiate(visible, subtracted_maximum(p, visible, state, r, value_size), p, state->sums + r * LANES);
        for (size_t first = 0; first < value_size; first += LANES) {
            const size_t count = lilac_size_min(LANES, value_size - first);
            float block_out[LANES] = {0.0f};
            for (size_t k = 0; k < visible; k++) {
                for (size_t i = 0; i < count; i++) {
                    block_out[i] += p[k] * v[k * ldv + first + i];
                }
            }
            for (size_t i = 0; i < count; i++) {
                out[first + i] += block_out[i];
            }
        }
    }
}

static void kept_scores_bf16(const lilac_softmax_block *block, size_t size, const float *q, const uint16_t *panels,
                             float *s) {
    for (size_t k = 0; k < lilac_softmax_visible(block, 0); k++) {
        float sum = 0.0f;
        for (size_t i = 0; i < size; i++) {
            sum += q[i] * lilac_float_from_bf16(panels[(k / PANEL * size + i) * PANEL + k % PANEL]);
        }
        s[k] = sum;
    }
}

static void kept_accumulate_bf16(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                                 size_t ldv, const lilac_softmax_state *state) {
    const size_t visible = lilac_softmax_visible(block, 0);
    exponentiate(visible, subtracted_maximum(s, visible, state, 0, value_size), s, state->sums);
    for (size_t i = 0; i < value_size; i++) {
        float block_out = 0.0f;
        for (size_t k = 0; k < visible; k++) {
            block_out += s[k] * lilac_float_from_bf16(v[k * ldv + i]);
        }
        state->out[i] += block_out;
    }
}

static void pack_panels_bf16(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *panels) {
    for (size_t first = 0; first < count; first += PANEL) {
        for (size_t i = 0; i < size; i += 2) {
            for (size_t row = first; row < first + PANEL; row++) {
                *panels++ = row < count ? x[row * ldx + i] : 0;
                *panels++ = row < count && i + 1 < size ? x[row * ldx + i + 1] : 0;
            }
        }
    }
}

static void pack_pairs_bf16(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *y, size_t ldy) {
    for (size_t row = 0; row < count; row += 2) {
        for (size_t i = 0; i < size; i++) {
            y[in_pairs(row, i, ldy)] = x[row * ldx + i];
            y[in_pairs(row + 1, i, ldy)] = row + 1 < count ? x[(row + 1) * ldx + i] : 0;
        }
    }
}

static void scores_bf16(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                        const uint16_t *panels, float scale, float *s) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < lilac_softmax_visible(block, r); k++) {
            s[r * STRIDE + k] = dot_panel_bf16(q + r * ldq, panels, size, k) * scale;
        }
    }
}

static void accumulate_bf16(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                            size_t ldv, const lilac_softmax_state *state) {
    for (size_t r = 0; r < block->rows; r++) {
        const size_t visible = lilac_softmax_visible(block, r);
        float *p = s + r * STRIDE, *out = state->out + r * state->ld;
        exponentiate(visible, subtracted_maximum(p, visible, state, r, value_size), p, state->sums + r * LANES);
        for (size_t i = 0; i < value_size; i++) {
            float block_out = 0.0f;
            for (size_t k = 0; k < visible; k++) {
                const float rounded = lilac_float_from_bf16(lilac_bf16_from_float(p[k]));
                block_out += rounded * lilac_float_from_bf16(v[in_pairs(k, i, ldv)]);
            }
            out[i] += block_out;
        }
    }
}

static void probabilities(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                          const float *panels, const float *offset, float *p) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < padded_keys(block); k++) {
            p[r * STRIDE + k] =
                k < lilac_softmax_visible(block, r) ? exp2f(dot_panel(q + r * ldq, panels, size, k) - offset[r]) : 0.0f;
        }
    }
}

static void score_gradients(const lilac_softmax_block *block, size_t size, const float *g, size_t ldg,
                            const float *panels, const float *delta, const float *p, float *ds) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < padded_keys(block); k++) {
            const size_t i = r * STRIDE + k;
            ds[i] = k < lilac_softmax_visible(block, r) ? p[i] * (dot_panel(g + r * ldg, panels, size, k) - delta[r])
                                                        : 0.0f;
        }
    }
}

static void multiply(const lilac_softmax_block *block, const float *a, size_t size, const float *b, size_t ldb,
                     float *c, size_t ldc) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t i = 0; i < size; i++) {
            float sum = 0.0f;
            for (size_t k = 0; k < lilac_softmax_visible(block, r); k++) {
                sum += a[r * STRIDE + k] * b[k * ldb + i];
            }
            c[r * ldc + i] += sum;
        }
    }
}

static void multiply_transposed(const lilac_softmax_block *block, const float *a, size_t size, const float *b,
                                size_t ldb, float *c, size_t ldc) {
    for (size_t k = 0; k < block->keys; k++) {
        for (size_t i = 0; i < size; i++) {
            float sum = 0.0f;
            for (size_t r = 0; r < block->rows; r++) {
                sum += a[r * STRIDE + k] * b[r * ldb + i];
            }
            c[k * ldc + i] += sum;
        }
    }
}

static void probabilities_bf16(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                               const uint16_t *panels, float scale, const float *offset, float *p, uint16_t *pairs) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < padded_keys(block); k++) {
            float *to = &p[r * STRIDE + k];
            *to = k < lilac_softmax_visible(block, r)
                      ? exp2f(dot_panel_bf16(q + r * ldq, panels, size, k) * scale - offset[r])
                      : 0.0f;
            pairs[in_pairs(r, k, STRIDE)] = lilac_bf16_from_float(*to);
        }
    }
}

static void score_gradients_bf16(const lilac_softmax_block *block, size_t size, const uint16_t *g, size_t ldg,
                                 const uint16_t *panels, const float *delta, const float *p, uint16_t *ds,
                                 uint16_t *pairs) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t k = 0; k < padded_keys(block); k++) {
            const size_t i = r * STRIDE + k;
            const float gradient = k < lilac_softmax_visible(block, r)
                                       ? p[i] * (dot_panel_bf16(g + r * ldg, panels, size, k) - delta[r])
                                       : 0.0f;
            ds[r * 2 * STRIDE + k] = pairs[in_pairs(r, k, STRIDE)] = lilac_bf16_from_float(gradient);
        }
    }
}

static void multiply_bf16(const lilac_softmax_block *block, const uint16_t *a, size_t size, const uint16_t *b,
                          size_t ldb, float *c, size_t ldc) {
    for (size_t r = 0; r < block->rows; r++) {
        for (size_t i = 0; i < size; i++) {
            float sum = 0.0f;
            for (size_t k = 0; k < lilac_softmax_visible(block, r); k++) {
                sum += lilac_float_from_bf16(a[r * 2 * STRIDE + k]) * lilac_float_from_bf16(b[in_pairs(k, i, ldb)]);
            }
            c[r * ldc + i] += sum;
        }
    }
}

static void multiply_transposed_bf16(const lilac_softmax_block *block, const uint16_t *a, size_t size,
                                     const uint16_t *b, size_t ldb, float *c, size_t ldc) {
    for (size_t k = 0; k < block->keys; k++) {
        for (size_t i = 0; i < size; i++) {
            float sum = 0.0f;
            for (size_t r = 0; r < block->rows; r++) {
                sum += lilac_float_from_bf16(a[in_pairs(r, k, STRIDE)]) * lilac_float_from_bf16(b[in_pairs(r, i, ldb)]);
            }
            c[k * ldc + i] += sum;
        }
    }
}

void lilac_softmax_attention_kernels_reference(lilac_softmax_attention_kernels *kernels) {
    kernels->pack_panels = pack_panels;
    kernels->scores = scores;
    kernels->accumulate = accumulate;
    kernels->kept_scores_bf16 = kept_scores_bf16;
    kernels->kept_accumulate_bf16 = kept_accumulate_bf16;
    kernels->pack_panels_bf16 = pack_panels_bf16;
    kernels->pack_pairs_bf16 = pack_pairs_bf16;
    kernels->scores_bf16 = scores_bf16;
    kernels->accumulate_bf16 = accumulate_bf16;
    kernels->probabilities = probabilities;
    kernels->score_gradients = score_gradients;
    kernels->multiply = multiply;
    kernels->multiply_transposed = multiply_transposed;
    kernels->probabilities_bf16 = probabilities_bf16;
    kernels->score_gradients_bf16 = score_gradients_bf16;
    kernels->multiply_bf16 = multiply_bf16;
    kernels->multiply_transposed_bf16 = multiply_transposed_bf16;
}
