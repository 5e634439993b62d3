/* SPDX-License-Identifier: MIT */
/*
 * The linear attention kernels over the vector type that the including file has chosen (see linear_attention_tiles.h):
 * those of the forward pass, and what the backward pass shares with them. All are static: that file puts them into the
 * kernel table.
 */
#ifndef LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_H
#define LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_H

#include "kernels/x86/linear_attention_tiles.h"

/* Tokens of a chunk: more make larger products and fewer states, but cost more within the chunk. A multiple of
 * VECTOR_LANES.
 */
enum { CHUNK = 32 };

/*
 * Fetches the rows the next chunk is made of into the second-level cache, a few at a time between register tiles: in
 * one go they would be more than the cpu can wait for at once.
 */
typedef struct fetcher {
    const lilac_linear_attention_chunk *chunk;
    size_t row;
    size_t step; /* rows each time */
} fetcher;

ALWAYS_INLINE void fetch_some(fetcher *ahead) {
    const size_t end = lilac_size_min(ahead->chunk->ahead_rows, ahead->row + ahead->step);
    for (; ahead->row < end; ahead->row++) {
        for (size_t i = 0; i < LILAC_LINEAR_ATTENTION_AHEAD; i++) {
            const lilac_linear_attention_ahead *rows = &ahead->chunk->ahead[i];
            for (size_t byte = 0; byte < rows->bytes; byte += LILAC_ALIGNMENT) {
                __builtin_prefetch((const char *)rows->data + ahead->row * rows->stride + byte, 0, 2);
            }
        }
    }
}

/* A packed chunk, cut from the scratch. Padded sizes of rows: Cp and Mp. */
typedef struct packed_chunk {
    size_t Cp, Mp;
    float *q, *k, *v; /* Q and K (CHUNK x Cp), V (CHUNK x Mp) */
    float *kt, *vt;   /* K^T (Cp x CHUNK), V^T (Mp x CHUNK): until A and dA are there */
    float *dst;       /* dS^T (Mp x Cp), from then on, in the same place */
    float *a, *da;    /* A and dA (CHUNK x CHUNK) */
    float *o;         /* the gradient of the numerator (CHUNK x Mp) */
    float *sums;      /* CHUNK x VECTOR_LANES: what adds up to d */
    float *delta;     /* CHUNK: the gradient of d */
    float *inverse;   /* CHUNK: 1 / d */
    fetcher *ahead;
} packed_chunk;

static size_t chunk_size(const lilac_linear_attention_head *head) {
    (void)head;
    return CHUNK;
}

static size_t transposed_size(size_t Cp, size_t Mp) {
    return lilac_size_max(CHUNK * (Cp + Mp), Cp * Mp);
}

static size_t scratch_size(const lilac_linear_attention_head *head) {
    const size_t Cp = lilac_round_up(head->features, LILAC_STATE_LANES);
    const size_t Mp = lilac_round_up(head->values, LILAC_STATE_LANES);
    return sizeof(float) * (CHUNK * (2 * Cp + 2 * Mp + 2 * CHUNK + VECTOR_LANES + 2) + transposed_size(Cp, Mp));
}

static packed_chunk cut_scratch(const lilac_linear_attention_head *head, void *scratch, fetcher *ahead) {
    packed_chunk p = {
        .Cp = lilac_round_up(head->features, LILAC_STATE_LANES),
        .Mp = lilac_round_up(head->values, LILAC_STATE_LANES),
        .ahead = ahead,
    };
    p.dst = scratch;
    p.kt = scratch;
    p.vt = p.kt + CHUNK * p.Cp;
    p.q = p.dst + transposed_size(p.Cp, p.Mp);
    p.k = p.q + CHUNK * p.Cp;
    p.v = p.k + CHUNK * p.Cp;
    p.o = p.v + CHUNK * p.Mp;
    p.a = p.o + CHUNK * p.Mp;
    p.da = p.a + CHUNK * CHUNK;
    p.sums = p.da + CHUNK * CHUNK;
    p.delta = p.sums + CHUNK * VECTOR_LANES;
    p.inverse = p.delta + CHUNK;
    return p;
}

static void pack_queries(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                         const packed_chunk *p) {
    pack_rows(&chunk->query, chunk->queries, head->features, head->elu_plus_one, p->Cp, p->q);
}

static void pack_keys(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                      const packed_chunk *p) {
    pack_rows(&chunk->key, chunk->keys, head->features, head->elu_plus_one, p->Cp, p->k);
}

static void pack_values(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                        const packed_chunk *p) {
    pack_rows(&chunk->value, chunk->keys, head->values, false, p->Mp, p->v);
}

/* to = from + left * b, rows x columns, both multiples of VECTOR_LANES, with one stride for to, from and b; from NULL:
 * zeros.
 */
typedef struct product {
    size_t rows, columns, depth;
    left_factor left;
    const float *b;
} product;

ALWAYS_INLINE void add_product_tile(const product *m, size_t row, size_t column, const float *from, float *to,
                                    const int vectors) {
    tile t = zero_tile();
    multiply_tile(&t, m->depth, m->left, row, m->b + column, m->columns, vectors);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const size_t place = (row + r) * m->columns + column + (size_t)v * VECTOR_LANES;
            const vector sum = t.sum[r][v];
            vector_store(to + place, VECTOR_LANES,
                         from == NULL ? sum : vector_add(vector_load(from + place, VECTOR_LANES), sum));
        }
    }
}

static void add_product(const product *m, const float *from, float *to, fetcher *ahead) {
    size_t column = 0;
    for (; column + TILE_VECTORS * VECTOR_LANES <= m->columns; column += TILE_VECTORS * VECTOR_LANES) {
        for (size_t row = 0; row < m->rows; row += TILE_ROWS) {
            fetch_some(ahead);
            add_product_tile(m, row, column, from, to, TILE_VECTORS);
        }
    }
    for (; column < m->columns; column += VECTOR_LANES) {
        for (size_t row = 0; row < m->rows; row += TILE_ROWS) {
            fetch_some(ahead);
            add_product_tile(m, row, column, from, to, 1);
        }
    }
}

/* to = from + the sum over rows i of weight[i] * x[i] (weight NULL: 1); from NULL: zeros. */
static void add_rows(size_t rows, size_t columns, const float *x, const float *weight, const float *from, float *to) {
    for (size_t c = 0; c < columns; c += VECTOR_LANES) {
        vector sum = vector_zero();
        for (size_t i = 0; i < rows; i++) {
            const vector row = vector_load(x + i * columns + c, VECTOR_LANES);
            sum = weight == NULL ? vector_add(sum, row) : vector_multiply_add(vector_set(weight[i]), row, sum);
        }
        vector_store(to + c, VECTOR_LANES, from == NULL ? sum : vector_add(vector_load(from + c, VECTOR_LANES), sum));
    }
}

/* to = from + (K^T V, colsum(K)) of a packed chunk, as a state or a transposed one. */
static void add_packed_keys(const packed_chunk *p, size_t keys, bool transposed, const float *from, float *to) {
    const size_t z = p->Cp * p->Mp;
    const product sum = transposed ? (product){p->Mp, p->Cp, keys, {p->v, 1, p->Mp}, p->k}
                                   : (product){p->Cp, p->Mp, keys, {p->k, 1, p->Cp}, p->v};
    add_product(&sum, from, to, p->ahead);
    add_rows(keys, p->Cp, p->k, NULL, from == NULL ? NULL : from + z, to + z);
}

static void state(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk, bool transposed,
                  const float *from, float *to, void *scratch) {
    fetcher ahead = {chunk, 0, 1};
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    pack_keys(head, chunk, &p);
    pack_values(head, chunk, &p);
    add_packed_keys(&p, chunk->keys, transposed, from, to);
}

/*
 * A triangular product within the chunk: to[i][j] = left[i] . row j of what `transposed` is the transpose of, for keys
 * j that query i sees, 0 for others (of the same tile). Adds offset[i] (NULL: 0) to those; and adds row i's vectors to
 * sums[i].
 */
typedef struct triangle {
    size_t queries, keys, depth;
    const float *left; /* CHUNK x ld */
    size_t ld;
    const float *transposed; /* depth x CHUNK */
    const float *offset;
    float *to;   /* CHUNK x CHUNK */
    float *sums; /* CHUNK x VECTOR_LANES, or NULL */
} triangle;

ALWAYS_INLINE void triangle_tile(const triangle *m, size_t row, size_t column, const int vectors) {
    tile t = zero_tile();
    multiply_tile(&t, m->depth, (left_factor){m->left, m->ld, 1}, row, m->transposed + column, CHUNK, vectors);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
        const size_t seen = lilac_size_min(row + r + 1, m->keys);
        const vector offset = m->offset == NULL ? vector_zero() : vector_set(m->offset[row + r]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const size_t first = column + (size_t)v * VECTOR_LANES;
            const size_t lanes = seen > first ? lilac_size_min(seen - first, VECTOR_LANES) : 0;
            const vector x = vector_keep(lanes, vector_add(t.sum[r][v], offset));
            vector_store(m->to + (row + r) * CHUNK + first, VECTOR_LANES, x);
            if (m->sums != NULL) {
                float *sum = m->sums + (row + r) * VECTOR_LANES;
                vector_store(sum, VECTOR_LANES, vector_add(vector_load(sum, VECTOR_LANES), x));
            }
        }
    }
}

static void multiply_triangle(const triangle *m, fetcher *ahead) {
    for (size_t row = 0; row < m->queries; row += TILE_ROWS) {
        const size_t seen = lilac_size_min(row + TILE_ROWS, m->keys);
        fetch_some(ahead);
        for (size_t column = 0; column < seen; column += TILE_VECTORS * VECTOR_LANES) {
            if (seen - column > VECTOR_LANES) {
                triangle_tile(m, row, column, TILE_VECTORS);
            } else {
                triangle_tile(m, row, column, 1);
            }
        }
    }
}

/* sums[i] = the products of q[i] and z, lane by lane. */
static void multiply_queries(const packed_chunk *p, size_t queries, const float *z) {
    for (size_t i = 0; i < queries; i++) {
        vector sum = vector_zero();
        for (size_t c = 0; c < p->Cp; c += VECTOR_LANES) {
            sum = vector_multiply_add(vector_load(p->q + i * p->Cp + c, VECTOR_LANES), vector_load(z + c, VECTOR_LANES),
                                      sum);
        }
        vector_store(p->sums + i * VECTOR_LANES, VECTOR_LANES, sum);
    }
}

static void finish_denominators(const packed_chunk *p, size_t queries, float epsilon, float *denominator) {
    for (size_t i = 0; i < queries; i++) {
        const float d = vector_reduce_add(vector_load(p->sums + i * VECTOR_LANES, VECTOR_LANES)) + epsilon;
        p->inverse[i] = 1.0f / d;
        if (denominator != NULL) {
            denominator[i] = d;
        }
    }
}

/* A product of two terms whose rows go to the caller: left1 * b1 + left2 * b2; the second within the chunk. */
ALWAYS_INLINE void output_tile(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                               const packed_chunk *p, const float *state_before,
                               const lilac_linear_attention_outputs *outputs, size_t row, size_t column,
                               const int vectors) {
    tile t = zero_tile();
    multiply_tile(&t, head->features, (left_factor){p->q, p->Cp, 1}, row, state_before + column, p->Mp, vectors);
    if (chunk->causal) {
        const size_t seen = lilac_size_min(row + TILE_ROWS, chunk->keys);
        multiply_tile(&t, seen, (left_factor){p->a, CHUNK, 1}, row, p->v + column, p->Mp, vectors);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            t.sum[r][v] = vector_multiply(t.sum[r][v], vector_set(p->inverse[row + r]));
        }
    }
    store_tile(&t, outputs->out + row * outputs->stride + column, outputs->stride, chunk->queries - row,
               head->values - column, vectors);
}

ALWAYS_INLINE void output_columns(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                                  const packed_chunk *p, const float *state_before, float *next,
                                  const lilac_linear_attention_outputs *outputs, size_t column, const int vectors) {
    for (size_t row = 0; row < chunk->queries; row += TILE_ROWS) {
        fetch_some(p->ahead);
        output_tile(head, chunk, p, state_before, outputs, row, column, vectors);
    }
    /* The state's columns are at hand now. */
    const product sum = {p->Cp, p->Mp, chunk->keys, {p->k, 1, p->Cp}, p->v};
    for (size_t row = 0; next != NULL && row < p->Cp; row += TILE_ROWS) {
        fetch_some(p->ahead);
        add_product_tile(&sum, row, column, state_before, next, vectors);
    }
}

/* The outputs and, unless next is NULL, S after the chunk. */
static void multiply_outputs(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                             const packed_chunk *p, const float *state_before, float *next,
                             const lilac_linear_attention_outputs *outputs) {
    size_t column = 0;
    for (; column + TILE_VECTORS * VECTOR_LANES <= p->Mp; column += TILE_VECTORS * VECTOR_LANES) {
        output_columns(head, chunk, p, state_before, next, outputs, column, TILE_VECTORS);
    }
    for (; column < p->Mp; column += VECTOR_LANES) {
        output_columns(head, chunk, p, state_before, next, outputs, column, 1);
    }
}

static void forward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                    const float *state_before, float *next, const lilac_linear_attention_outputs *outputs,
                    void *scratch) {
    fetcher ahead = {chunk, 0, 1};
    packed_chunk p = cut_scratch(head, scratch, &ahead);
    pack_queries(head, chunk, &p);
    multiply_queries(&p, chunk->queries, state_before + p.Cp * p.Mp);
    if (chunk->keys > 0) {
        pack_keys(head, chunk, &p);
        transpose(lilac_round_up(chunk->keys, VECTOR_LANES), p.Cp, p.k, p.Cp, p.kt, CHUNK);
        const triangle scores = {chunk->queries, chunk->keys, head->features, p.q, p.Cp, p.kt, NULL, p.a, p.sums};
        multiply_triangle(&scores, &ahead);
        /* In place of K^T: less to go through the first-level cache. */
        p.v = p.kt;
        pack_values(head, chunk, &p);
    }
    finish_denominators(&p, chunk->queries, head->epsilon, outputs->denominator);
    multiply_outputs(head, chunk, &p, state_before, next, outputs);
    if (next != NULL) {
        const size_t z = p.Cp * p.Mp;
        add_rows(chunk->keys, p.Cp, p.k, NULL, state_before + z, next + z);
    }
}

/* S += k v^T, out = q^T S * inverse for `lanes` columns. */
ALWAYS_INLINE void step_columns(const lilac_linear_attention_head *head, const float *q, const float *k, const float *v,
                                float inverse, float *state_data, float *out, const size_t lanes) {
    vector sum = vector_zero();
    const vector value = vector_load(v, VECTOR_LANES);
    for (size_t c = 0; c < head->features; c++) {
        float *row = state_data + c * head->values;
        const vector after = vector_multiply_add(vector_set(k[c]), value, vector_load(row, lanes));
        vector_store(row, lanes, after);
        sum = vector_multiply_add(vector_set(q[c]), after, sum);
    }
    vector_store(out, lanes, vector_multiply(sum, vector_set(inverse)));
}

static void step(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *token, float *state_data,
                 float *out, float *scratch) {
    const size_t features = head->features, values = head->values;
    const size_t Cp = lilac_round_up(features, LILAC_STATE_LANES), Mp = lilac_round_up(values, LILAC_STATE_LANES);
    float *q = scratch, *k = q + Cp, *v = k + Cp, *z = state_data + features * values;
    pack_only(&token->query, 1, features, head->elu_plus_one, Cp, q);
    pack_only(&token->key, 1, features, head->elu_plus_one, Cp, k);
    pack_only(&token->value, 1, values, false, Mp, v);
    vector sum = vector_zero();
    for (size_t c = 0; c < features; c += VECTOR_LANES) {
        const size_t lanes = lilac_size_min(features - c, VECTOR_LANES);
        const vector after = vector_add(vector_load(z + c, lanes), vector_load(k + c, VECTOR_LANES));
        vector_store(z + c, lanes, after);
        sum = vector_multiply_add(vector_load(q + c, VECTOR_LANES), after, sum);
    }
    const float inverse = 1.0f / (vector_reduce_add(sum) + head->epsilon);
    size_t m = 0;
    for (; m + VECTOR_LANES <= values; m += VECTOR_LANES) {
        step_columns(head, q, k, v + m, inverse, state_data + m, out + m, VECTOR_LANES);
    }
    if (m < values) {
        step_columns(head, q, k, v + m, inverse, state_data + m, out + m, values - m);
    }
}

#endif
