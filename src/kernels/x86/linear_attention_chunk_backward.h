/* SPDX-License-Identifier: MIT */
/* The backward pass of the linear attention kernels, over linear_attention_chunk.h. */
#ifndef LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_BACKWARD_H
#define LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_BACKWARD_H

#include "kernels/x86/linear_attention_chunk.h"

/* `lanes` of row i's vector m of o = g / d; adds g * O to sum. */
ALWAYS_INLINE vector pack_output_gradient(const lilac_linear_attention_output_gradients *outputs, const packed_chunk *p,
                                          size_t i, size_t m, const size_t lanes, vector inverse, vector sum,
                                          const bool bf16) {
    const vector g = row_vector(&outputs->gradient, i, m, lanes, bf16);
    vector_store(p->o + i * p->Mp + m, VECTOR_LANES, vector_multiply(g, inverse));
    return vector_multiply_add(g, row_vector(&outputs->out, i, m, lanes, false), sum);
}

ALWAYS_INLINE void pack_output_gradients_as(const lilac_linear_attention_head *head,
                                            const lilac_linear_attention_chunk *chunk,
                                            const lilac_linear_attention_output_gradients *outputs,
                                            const packed_chunk *p, const bool bf16) {
    const size_t whole = head->values - head->values % VECTOR_LANES;
    for (size_t i = 0; i < chunk->queries; i++) {
        const float inverse = 1.0f / outputs->denominator[i];
        vector sum = vector_zero();
        size_t m = 0;
        for (; m < whole; m += VECTOR_LANES) {
            sum = pack_output_gradient(outputs, p, i, m, VECTOR_LANES, vector_set(inverse), sum, bf16);
        }
        for (; m < p->Mp; m += VECTOR_LANES) {
            const size_t lanes = m < head->values ? head->values - m : 0;
            sum = pack_output_gradient(outputs, p, i, m, lanes, vector_set(inverse), sum, bf16);
        }
        p->delta[i] = -vector_reduce_add(sum) * inverse;
    }
}

/* o = g / d and delta = -rowsum(g * O) / d; the rows of o from there up to a multiple of VECTOR_LANES are 0, and so is
 * delta. */
static void pack_output_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                                  const lilac_linear_attention_output_gradients *outputs, const packed_chunk *p) {
    if (outputs->gradient.bf16) {
        pack_output_gradients_as(head, chunk, outputs, p, true);
    } else {
        pack_output_gradients_as(head, chunk, outputs, p, false);
    }
    const size_t rest = lilac_round_up(chunk->queries, VECTOR_LANES) - chunk->queries;
    memset(p->o + chunk->queries * p->Mp, 0, rest * p->Mp * sizeof(float));
    memset(p->delta + chunk->queries, 0, rest * sizeof(float));
}

/* to = from + (Q^T O~', Q^T delta) of a packed chunk. */
static void add_packed_queries(const packed_chunk *p, size_t queries, const float *from, float *to) {
    const size_t z = p->Cp * p->Mp;
    const product sum = {p->Cp, p->Mp, queries, {p->q, 1, p->Cp}, p->o};
    add_product(&sum, from, to, p->ahead);
    add_rows(queries, p->Cp, p->q, p->delta, from == NULL ? NULL : from + z, to + z);
}

static void state_gradient(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                           const lilac_linear_attention_output_gradients *outputs, const float *from, float *to,
                           void *scratch) {
    fetcher ahead;
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, 1);
    pack_queries(head, chunk, &p);
    pack_output_gradients(head, chunk, outputs, &p);
    add_packed_queries(&p, chunk->queries, from, to);
}

/*
 * Rows of a gradient, for the caller: weight[i] * start + left1 * b1 + left2 * b2, the last a product within the chunk
 * over the rows `first` .. `end` - 1 that row block `row` has to do with. Then, if `mapped`, back through elu(x) + 1.
 */
typedef struct gradient_rows {
    size_t rows, columns;        /* of the result */
    const float *start, *weight; /* NULL: none; weight NULL: ones */
    size_t depth;
    const float *left1, *b1; /* strides depth rounded up to LILAC_STATE_LANES, ld */
    size_t ld1;
    bool causal;
    bool of_queries; /* left2 is dA, row i taken up to key i; else the transpose of A or dA, from query i on */
    size_t depth2;
    const float *left2, *b2;
    size_t ld;           /* of b1, b2 and mapped */
    const float *mapped; /* NULL: nothing to go back through */
    float *to;
    size_t stride;
} gradient_rows;

ALWAYS_INLINE void gradient_tile(const gradient_rows *m, size_t row, size_t column, const int vectors, fetcher *ahead) {
    tile t = zero_tile();
    if (m->start != NULL) {
#pragma GCC unroll 8
        for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                const vector start = vector_load(m->start + column + (size_t)v * VECTOR_LANES, VECTOR_LANES);
                t.sum[r][v] = m->weight == NULL ? start : vector_multiply(start, vector_set(m->weight[row + r]));
            }
        }
    }
    multiply_tile(&t, m->depth, (left_factor){m->left1, m->ld1, 1}, row, m->b1 + column, m->ld, vectors, ahead);
    if (m->causal && m->of_queries) {
        const size_t seen = lilac_size_min(row + TILE_ROWS, m->depth2);
        multiply_tile(&t, seen, (left_factor){m->left2, CHUNK, 1}, row, m->b2 + column, m->ld, vectors, ahead);
    } else if (m->causal) {
        multiply_tile(&t, m->depth2 - row, (left_factor){m->left2 + row * CHUNK, 1, CHUNK}, row,
                      m->b2 + row * m->ld + column, m->ld, vectors, ahead);
    }
    if (m->mapped != NULL) {
        /* phi' is 1 above 0, where phi > 1, and phi = exp(x) below. */
#pragma GCC unroll 8
        for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                const vector y =
                    vector_load(m->mapped + (row + r) * m->ld + column + (size_t)v * VECTOR_LANES, VECTOR_LANES);
                t.sum[r][v] = vector_multiply(t.sum[r][v], vector_min(y, vector_set(1.0f)));
            }
        }
    }
    store_tile(&t, m->to + row * m->stride + column, m->stride, m->rows - row, m->columns - column, vectors);
}

static void multiply_gradients(const gradient_rows *m, fetcher *ahead) {
    size_t column = 0;
    for (; column + TILE_VECTORS * VECTOR_LANES <= m->ld; column += TILE_VECTORS * VECTOR_LANES) {
        for (size_t row = 0; row < m->rows; row += TILE_ROWS) {
            gradient_tile(m, row, column, TILE_VECTORS, ahead);
        }
    }
    for (; column < m->columns; column += VECTOR_LANES) {
        for (size_t row = 0; row < m->rows; row += TILE_ROWS) {
            gradient_tile(m, row, column, 1, ahead);
        }
    }
}

static void query_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                            const packed_chunk *p, const float *state_before,
                            const lilac_linear_attention_gradients *gradients) {
    const gradient_rows rows = {
        .rows = chunk->queries,
        .columns = head->features,
        .start = state_before + p->Cp * p->Mp,
        .weight = p->delta,
        .depth = head->values,
        .left1 = p->o,
        .ld1 = p->Mp,
        .b1 = state_before,
        .causal = chunk->causal,
        .of_queries = true,
        .depth2 = chunk->keys,
        .left2 = p->da,
        .b2 = p->k,
        .ld = p->Cp,
        .mapped = head->elu_plus_one ? p->q : NULL,
        .to = gradients->query,
        .stride = gradients->query_stride,
    };
    multiply_gradients(&rows, p->ahead);
}

static void key_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                          const packed_chunk *p, const float *gradient,
                          const lilac_linear_attention_gradients *gradients) {
    transpose(p->Cp, p->Mp, gradient, p->Mp, p->dst, p->Cp);
    const gradient_rows rows = {
        .rows = chunk->keys,
        .columns = head->features,
        .start = gradient + p->Cp * p->Mp,
        .depth = head->values,
        .left1 = p->v,
        .ld1 = p->Mp,
        .b1 = p->dst,
        .causal = chunk->causal,
        .depth2 = chunk->queries,
        .left2 = p->da,
        .b2 = p->q,
        .ld = p->Cp,
        .mapped = head->elu_plus_one ? p->k : NULL,
        .to = gradients->key,
        .stride = gradients->key_stride,
    };
    multiply_gradients(&rows, p->ahead);
}

static void value_gradients(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                            const packed_chunk *p, const float *gradient,
                            const lilac_linear_attention_gradients *gradients) {
    const gradient_rows rows = {
        .rows = chunk->keys,
        .columns = head->values,
        .depth = head->features,
        .left1 = p->k,
        .ld1 = p->Cp,
        .b1 = gradient,
        .causal = chunk->causal,
        .depth2 = chunk->queries,
        .left2 = p->a,
        .b2 = p->o,
        .ld = p->Mp,
        .to = gradients->value,
        .stride = gradients->value_stride,
    };
    multiply_gradients(&rows, p->ahead);
}

static void backward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                     const lilac_linear_attention_output_gradients *outputs, const float *state_before,
                     const float *gradient, float *previous, const lilac_linear_attention_gradients *gradients,
                     void *scratch) {
    fetcher ahead;
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, (chunk->queries > 0) + 2 * (chunk->keys > 0) + (previous != NULL));
    if (chunk->keys > 0) {
        pack_keys(head, chunk, &p);
        pack_values(head, chunk, &p);
    }
    if (chunk->queries > 0) {
        pack_queries(head, chunk, &p);
        pack_output_gradients(head, chunk, outputs, &p);
    }
    if (chunk->causal) {
        const size_t padded = lilac_round_up(chunk->keys, VECTOR_LANES);
        transpose(padded, p.Cp, p.k, p.Cp, p.kt, CHUNK);
        transpose(padded, p.Mp, p.v, p.Mp, p.vt, CHUNK);
        const triangle a = {chunk->queries, chunk->keys, head->features, p.q, p.Cp, p.kt, NULL, p.a, NULL};
        multiply_triangle(&a, &ahead);
        const triangle da = {chunk->queries, chunk->keys, head->values, p.o, p.Mp, p.vt, p.delta, p.da, NULL};
        multiply_triangle(&da, &ahead);
    }
    if (chunk->queries > 0) {
        query_gradients(head, chunk, &p, state_before, gradients);
    }
    if (chunk->keys > 0) {
        key_gradients(head, chunk, &p, gradient, gradients);
        value_gradients(head, chunk, &p, gradient, gradients);
    }
    if (previous != NULL) {
        add_packed_queries(&p, chunk->queries, gradient, previous);
    }
}

#endif
