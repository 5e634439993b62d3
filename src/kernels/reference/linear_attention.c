/* SPDX-License-Identifier: MIT */
/* The linear attention kernels in strict scalar C: what the SIMD levels are tested against. */
#include "kernels/linear_attention.h"

#include "core/bf16.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 64 };

/* A chunk as floats with queries and keys mapped, all cut from the scratch. Row i of a matrix with n columns is at i *
 * n. */
typedef struct unpacked_chunk {
    float *q, *k, *v;        /* CHUNK x C, CHUNK x C, CHUNK x M */
    float *o, *delta;        /* CHUNK x M: the numerator or its gradient; CHUNK: the gradient of the denominator */
    float *scores, *dscores; /* CHUNK x CHUNK: A and dA */
    float *gradient;         /* max(C, M): one row of a gradient */
} unpacked_chunk;

static size_t chunk_size(const lilac_linear_attention_head *head) {
    (void)head;
    return CHUNK;
}

static size_t scratch_size(const lilac_linear_attention_head *head) {
    const size_t rows = 2 * head->features + 2 * head->values + 2 * CHUNK + 1;
    return sizeof(float) * (CHUNK * rows + lilac_size_max(head->features, head->values));
}

static unpacked_chunk cut_scratch(const lilac_linear_attention_head *head, void *scratch) {
    unpacked_chunk u;
    u.q = scratch;
    u.k = u.q + CHUNK * head->features;
    u.v = u.k + CHUNK * head->features;
    u.o = u.v + CHUNK * head->values;
    u.scores = u.o + CHUNK * head->values;
    u.dscores = u.scores + CHUNK * CHUNK;
    u.delta = u.dscores + CHUNK * CHUNK;
    u.gradient = u.delta + CHUNK;
    return u;
}

static float element(const lilac_linear_attention_rows *rows, size_t row, size_t column) {
    const size_t index = row * rows->stride + column;
    return rows->bf16 ? lilac_float_from_bf16(((const uint16_t *)rows->data)[index])
                      : ((const float *)rows->data)[index];
}

static void unpack(const lilac_linear_attention_rows *rows, size_t count, size_t columns, bool elu_plus_one,
                   float *to) {
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < columns; c++) {
            const float x = element(rows, i, c);
            to[i * columns + c] = !elu_plus_one ? x : x > 0.0f ? x + 1.0f : expf(x);
        }
    }
}

static void unpack_keys(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                        const unpacked_chunk *u) {
    unpack(&chunk->key, chunk->keys, head->features, head->elu_plus_one, u->k);
    unpack(&chunk->value, chunk->keys, head->values, false, u->v);
}

static void unpack_queries(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                           const unpacked_chunk *u) {
    unpack(&chunk->query, chunk->queries, head->features, head->elu_plus_one, u->q);
}

static float dot(size_t n, const float *x, const float *y) {
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

/* y += scale * x */
static void add_scaled(size_t n, float scale, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) {
        y[i] += scale * x[i];
    }
}

/* The keys of the chunk that query i sees. */
static size_t seen_keys(const lilac_linear_attention_chunk *chunk, size_t i) {
    return chunk->causal ? lilac_size_min(i + 1, chunk->keys) : 0;
}

/*
 * to = from + the sum over rows i of (a_i b_i^T, w_i a_i) as S (C x M, C the size of a) and z, padded; w NULL: ones.
 * The roles of a and b in S change places if `transposed`.
 */
typedef struct outer_sum {
    size_t rows, features, values;
    const float *a, *b, *w;
    bool transposed;
} outer_sum;

static void add_outer_sum(const outer_sum *sum, const float *from, float *to) {
    const size_t padded_features = lilac_round_up(sum->features, LILAC_STATE_LANES);
    const size_t padded_values = lilac_round_up(sum->values, LILAC_STATE_LANES);
    for (size_t c = 0; c < padded_features; c++) {
        for (size_t m = 0; m <= padded_values; m++) {
            float total = 0.0f;
            for (size_t i = 0; i < sum->rows && c < sum->features; i++) {
                if (m < sum->values) {
                    total += sum->a[i * sum->features + c] * sum->b[i * sum->values + m];
                } else if (m == padded_values) {
                    total += sum->a[i * sum->features + c] * (sum->w == NULL ? 1.0f : sum->w[i]);
                }
            }
            const bool is_z = m == padded_values;
            const size_t index = is_z              ? padded_features * padded_values + c
                                 : sum->transposed ? m * padded_features + c
                                                   : c * padded_values + m;
            to[index] = from == NULL ? total : from[index] + total;
        }
    }
}

static void add_keys(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                     const unpacked_chunk *u, bool transposed, const float *from, float *to) {
    const outer_sum sum = {chunk->keys, head->features, head->values, u->k, u->v, NULL, transposed};
    add_outer_sum(&sum, from, to);
}

static void state(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk, bool transposed,
                  const float *from, float *to, void *scratch) {
    const unpacked_chunk u = cut_scratch(head, scratch);
    unpack_keys(head, chunk, &u);
    add_keys(head, chunk, &u, transposed, from, to);
}

static void forward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                    const float *state_before, float *next, const lilac_linear_attention_outputs *outputs,
                    void *scratch) {
    const size_t features = head->features, values = head->values;
    const size_t ld = lilac_round_up(values, LILAC_STATE_LANES);
    const float *z = state_before + lilac_round_up(features, LILAC_STATE_LANES) * ld;
    const unpacked_chunk u = cut_scratch(head, scratch);
    unpack_queries(head, chunk, &u);
    unpack_keys(head, chunk, &u);
    for (size_t i = 0; i < chunk->queries; i++) {
        const float *q = u.q + i * features;
        float *out = u.o + i * values;
        memset(out, 0, values * sizeof *out);
        float denominator = dot(features, q, z);
        for (size_t c = 0; c < features; c++) {
            add_scaled(values, q[c], state_before + c * ld, out);
        }
        for (size_t j = 0; j < seen_keys(chunk, i); j++) {
            const float score = dot(features, q, u.k + j * features);
            denominator += score;
            add_scaled(values, score, u.v + j * values, out);
        }
        denominator += head->epsilon;
        for (size_t m = 0; m < values; m++) {
            outputs->out[i * outputs->stride + m] = out[m] / denominator;
        }
        if (outputs->denominator != NULL) {
            outputs->denominator[i] = denominator;
        }
    }
    if (next != NULL) {
        add_keys(head, chunk, &u, false, state_before, next);
    }
}

/* u.o = O~' = g / d and u.delta = -rowsum(g * O) / d. */
static void unpack_output_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                                    const lilac_linear_attention_output_gradients *outputs, const unpacked_chunk *u) {
    for (size_t i = 0; i < chunk->queries; i++) {
        float sum = 0.0f;
        for (size_t m = 0; m < head->values; m++) {
            const float g = element(&outputs->gradient, i, m);
            sum += g * element(&outputs->out, i, m);
            u->o[i * head->values + m] = g / outputs->denominator[i];
        }
        u->delta[i] = -sum / outputs->denominator[i];
    }
}

static void add_queries(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                        const unpacked_chunk *u, const float *from, float *to) {
    const outer_sum sum = {chunk->queries, head->features, head->values, u->q, u->o, u->delta, false};
    add_outer_sum(&sum, from, to);
}

static void state_gradient(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                           const lilac_linear_attention_output_gradients *outputs, const float *from, float *to,
                           void *scratch) {
    const unpacked_chunk u = cut_scratch(head, scratch);
    unpack_queries(head, chunk, &u);
    unpack_output_gradients(head, chunk, outputs, &u);
    add_queries(head, chunk, &u, from, to);
}

/* Writes a gradient with respect to a row phi(x) as one with respect to x. */
static void write_feature_gradient(const lilac_linear_attention_head *head, const float *mapped, const float *gradient,
                                   float *to) {
    for (size_t c = 0; c < head->features; c++) {
        /* phi' is 1 above 0, where phi > 1, and phi = exp(x) below. */
        to[c] = head->elu_plus_one ? gradient[c] * fminf(mapped[c], 1.0f) : gradient[c];
    }
}

static void query_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                            const unpacked_chunk *u, const float *transposed_state,
                            const lilac_linear_attention_gradients *gradients) {
    const size_t features = head->features, values = head->values;
    const size_t ld = lilac_round_up(features, LILAC_STATE_LANES);
    const float *z = transposed_state + lilac_round_up(values, LILAC_STATE_LANES) * ld;
    for (size_t i = 0; i < chunk->queries; i++) {
        memset(u->gradient, 0, features * sizeof(float));
        add_scaled(features, u->delta[i], z, u->gradient);
        for (size_t m = 0; m < values; m++) {
            add_scaled(features, u->o[i * values + m], transposed_state + m * ld, u->gradient);
        }
        for (size_t j = 0; j < seen_keys(chunk, i); j++) {
            add_scaled(features, u->dscores[i * CHUNK + j], u->k + j * features, u->gradient);
        }
        write_feature_gradient(head, u->q + i * features, u->gradient, gradients->query + i * gradients->query_stride);
    }
}

static void key_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                          const unpacked_chunk *u, const float *dstate,
                          const lilac_linear_attention_gradients *gradients) {
    const size_t features = head->features, values = head->values;
    const size_t ld = lilac_round_up(values, LILAC_STATE_LANES);
    const float *dz = dstate + lilac_round_up(features, LILAC_STATE_LANES) * ld;
    for (size_t j = 0; j < chunk->keys; j++) {
        for (size_t c = 0; c < features; c++) {
            u->gradient[c] = dz[c] + dot(values, u->v + j * values, dstate + c * ld);
        }
        for (size_t i = j; chunk->causal && i < chunk->queries; i++) {
            add_scaled(features, u->dscores[i * CHUNK + j], u->q + i * features, u->gradient);
        }
        write_feature_gradient(head, u->k + j * features, u->gradient, gradients->key + j * gradients->key_stride);
    }
}

static void value_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                            const unpacked_chunk *u, const float *dstate,
                            const lilac_linear_attention_gradients *gradients) {
    const size_t features = head->features, values = head->values;
    const size_t ld = lilac_round_up(values, LILAC_STATE_LANES);
    for (size_t j = 0; j < chunk->keys; j++) {
        float *dv = gradients->value + j * gradients->value_stride;
        memset(dv, 0, values * sizeof(float));
        for (size_t c = 0; c < features; c++) {
            add_scaled(values, u->k[j * features + c], dstate + c * ld, dv);
        }
        for (size_t i = j; chunk->causal && i < chunk->queries; i++) {
            add_scaled(values, u->scores[i * CHUNK + j], u->o + i * values, dv);
        }
    }
}

static void backward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                     const lilac_linear_attention_output_gradients *outputs, const float *state_before,
                     const float *gradient, float *previous, const lilac_linear_attention_gradients *gradients,
                     void *scratch) {
    const size_t features = head->features, values = head->values;
    const unpacked_chunk u = cut_scratch(head, scratch);
    unpack_queries(head, chunk, &u);
    unpack_keys(head, chunk, &u);
    unpack_output_gradients(head, chunk, outputs, &u);
    for (size_t i = 0; i < chunk->queries; i++) {
        for (size_t j = 0; j < seen_keys(chunk, i); j++) {
            u.scores[i * CHUNK + j] = dot(features, u.q + i * features, u.k + j * features);
            u.dscores[i * CHUNK + j] = dot(values, u.o + i * values, u.v + j * values) + u.delta[i];
        }
    }
    query_gradients(head, chunk, &u, state_before, gradients);
    key_gradients(head, chunk, &u, gradient, gradients);
    value_gradients(head, chunk, &u, gradient, gradients);
    if (previous != NULL) {
        add_queries(head, chunk, &u, gradient, previous);
    }
}

static void step(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *token, float *state_data,
                 float *out, float *scratch) {
    const size_t features = head->features, values = head->values;
    float *z = state_data + features * values;
    const unpacked_chunk u = {.q = scratch, .k = scratch + features, .v = scratch + 2 * features};
    unpack_queries(head, token, &u);
    unpack_keys(head, token, &u);
    memset(out, 0, values * sizeof(float));
    float denominator = head->epsilon;
    for (size_t c = 0; c < features; c++) {
        float *row = state_data + c * values;
        add_scaled(values, u.k[c], u.v, row);
        add_scaled(values, u.q[c], row, out);
        z[c] += u.k[c];
        denominator += u.q[c] * z[c];
    }
    for (size_t m = 0; m < values; m++) {
        out[m] /= denominator;
    }
}

void lilac_linear_attention_kernels_reference(lilac_linear_attention_kernels *kernels) {
    *kernels = (lilac_linear_attention_kernels){
        .chunk_size = chunk_size,
        .scratch_size = scratch_size,
        .state = state,
        .forward = forward,
        .state_bf16 = state,
        .forward_bf16 = forward,
        .state_gradient = state_gradient,
        .backward = backward,
        .step = step,
    };
}
