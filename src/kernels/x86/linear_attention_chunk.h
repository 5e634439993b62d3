/* SPDX-License-Identifier: MIT */
/*
 * The linear attention kernels over the vector type that the including file has chosen (see linear_attention_tiles.h):
 * those of the forward pass, and what the backward pass shares with them. All are static: that file puts them into the
 * kernel table.
 */
#ifndef LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_H
#define LILAC_KERNELS_X86_LINEAR_ATTENTION_CHUNK_H

#include "kernels/x86/linear_attention_tiles.h"

/* A packed chunk, cut from the scratch. Padded sizes of rows: Cp and Mp. */
typedef struct packed_chunk {
    size_t Cp, Mp;
    float *q, *k, *v; /* Q and K (CHUNK x Cp), V (CHUNK x Mp) */
    float *kt, *vt;   /* K^T (Cp x CHUNK), V^T (Mp x CHUNK): until A and dA are there */
    float *dst;       /* dS^T (Mp x Cp), from then on, in the same place */
    float *middle;    /* some columns of S after the first half (Cp x 2 vectors), and z then (Cp) */
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
    const size_t middle = Cp * (TILE_VECTORS * VECTOR_LANES + 1);
    return sizeof(float) *
           (CHUNK * (2 * Cp + 2 * Mp + 2 * CHUNK + VECTOR_LANES + 2) + transposed_size(Cp, Mp) + middle);
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
    p.middle = p.inverse + CHUNK;
    return p;
}

/* Starts to fetch what comes next, to be done within that many products of C x M numbers a token. */
static void look_ahead(const packed_chunk *p, const lilac_linear_attention_chunk *chunk, size_t products) {
    fetch_rows(p->ahead, chunk,
               products * CHUNK * p->Cp * p->Mp / (TILE_ROWS * TILE_VECTORS * VECTOR_LANES * FETCH_EVERY));
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
                                    const int vectors, fetcher *ahead) {
    tile t = zero_tile();
    multiply_tile(&t, m->depth, m->left, row, m->b + column, m->columns, vectors, ahead);
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
            add_product_tile(m, row, column, from, to, TILE_VECTORS, ahead);
        }
    }
    for (; column < m->columns; column += VECTOR_LANES) {
        for (size_t row = 0; row < m->rows; row += TILE_ROWS) {
            add_product_tile(m, row, column, from, to, 1, ahead);
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
    fetcher ahead;
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, 1);
    pack_keys(head, chunk, &p);
    pack_values(head, chunk, &p);
    add_packed_keys(&p, chunk->keys, transposed, from, to);
}

/*
 * A triangular product within the chunk: to[i][j] = left[i] . row j of what `transposed` is the transpose of, for keys
 * j that query i sees, 0 for later ones (of the same tile). Adds offset[i] (NULL: 0) to those; and adds row i's vectors
 * to sums[i].
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

/* What row i's sums start from. */
ALWAYS_INLINE vector triangle_offset(const triangle *m, size_t i) {
    return m->offset == NULL ? vector_zero() : vector_set(m->offset[i]);
}

/*
 * Stores a vector of row i from column `first` on, the diagonal passing through it if `diagonal`. Columns of masked
 * keys hold 0 or, with an offset, what is not looked at.
 */
ALWAYS_INLINE void store_triangle(const triangle *m, size_t i, size_t first, const bool diagonal, vector sum) {
    const vector x = diagonal ? vector_keep(i - first + 1, sum) : sum;
    vector_store(m->to + i * CHUNK + first, VECTOR_LANES, x);
    if (m->sums != NULL) {
        float *to = m->sums + i * VECTOR_LANES;
        vector_store(to, VECTOR_LANES, vector_add(vector_load(to, VECTOR_LANES), x));
    }
}

ALWAYS_INLINE void triangle_tile(const triangle *m, size_t row, size_t column, const int vectors, fetcher *ahead) {
    tile t;
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
        t.sum[r][0] = t.sum[r][1] = triangle_offset(m, row + r);
    }
    multiply_tile(&t, m->depth, (left_factor){m->left, m->ld, 1}, row, m->transposed + column, CHUNK, vectors, ahead);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vector_store(m->to + (row + r) * CHUNK + column + v * VECTOR_LANES, VECTOR_LANES, t.sum[r][v]);
        }
    }
    /* In loops of their own: what this takes of the registers would be missing in the product. */
    const size_t diagonal = row / VECTOR_LANES * VECTOR_LANES;
#pragma GCC unroll 1
    for (size_t first = column; first < column + (size_t)vectors * VECTOR_LANES; first += VECTOR_LANES) {
        if (first < diagonal && m->sums == NULL) {
            continue;
        }
#pragma GCC unroll 1
        for (size_t i = row; i < row + TILE_ROWS; i++) {
            const vector sum = vector_load(m->to + i * CHUNK + first, VECTOR_LANES);
            if (first == diagonal) {
                store_triangle(m, i, first, true, sum);
            } else {
                store_triangle(m, i, first, false, sum);
            }
        }
    }
}

/* The first 2 * TILE_ROWS rows, where that is the number of lanes. */
ALWAYS_INLINE void triangle_corner(const triangle *m) {
    tile t;
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
        t.sum[r][0] = triangle_offset(m, r);
        t.sum[r][1] = triangle_offset(m, TILE_ROWS + r);
    }
    multiply_tall_tile(&t, m->depth, (left_factor){m->left, m->ld, 1}, 0, m->transposed, CHUNK);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
        store_triangle(m, r, 0, true, t.sum[r][0]);
        store_triangle(m, TILE_ROWS + r, 0, true, t.sum[r][1]);
    }
}

static void multiply_triangle(const triangle *m, fetcher *ahead) {
    size_t row = 0;
    if (VECTOR_LANES == 2 * TILE_ROWS && m->queries > 0) {
        triangle_corner(m);
        row = 2 * TILE_ROWS;
    }
    for (; row < m->queries; row += TILE_ROWS) {
        const size_t seen = lilac_size_min(row + TILE_ROWS, m->keys);
        for (size_t column = 0; column < seen; column += TILE_VECTORS * VECTOR_LANES) {
            if (seen - column > VECTOR_LANES) {
                triangle_tile(m, row, column, TILE_VECTORS, ahead);
            } else {
                triangle_tile(m, row, column, 1, ahead);
            }
        }
    }
}

/* sums[i] = the products of q[i] and z, lane by lane, for rows begin .. end - 1. */
static void multiply_queries(const packed_chunk *p, size_t begin, size_t end, const float *z) {
    for (size_t i = begin; i < end; i++) {
        vector sum = vector_zero();
        for (size_t c = 0; c < p->Cp; c += VECTOR_LANES) {
            sum = vector_multiply_add(vector_load(p->q + i * p->Cp + c, VECTOR_LANES), vector_load(z + c, VECTOR_LANES),
                                      sum);
        }
        vector_store(p->sums + i * VECTOR_LANES, VECTOR_LANES, sum);
    }
}

/* d of all rows, after A of each half: the keys of the first half are in z by the second. */
static void make_denominators(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                              const packed_chunk *p, const float *z, float *denominator) {
    const size_t first = lilac_size_min(chunk->queries, HALF);
    multiply_queries(p, 0, first, z);
    if (chunk->queries > HALF) {
        float *middle = p->middle + TILE_VECTORS * VECTOR_LANES * p->Cp;
        add_rows(lilac_size_min(chunk->keys, HALF), p->Cp, p->k, NULL, z, middle);
        multiply_queries(p, HALF, chunk->queries, middle);
    }
    for (size_t begin = 0; begin < chunk->queries && begin < chunk->keys; begin += HALF) {
        const triangle scores = {.queries = lilac_size_min(chunk->queries - begin, HALF),
                                 .keys = lilac_size_min(chunk->keys - begin, HALF),
                                 .depth = head->features,
                                 .left = p->q + begin * p->Cp,
                                 .ld = p->Cp,
                                 .transposed = p->kt + begin,
                                 .to = p->a + begin * CHUNK,
                                 .sums = p->sums + begin * VECTOR_LANES};
        multiply_triangle(&scores, p->ahead);
    }
    for (size_t i = 0; i < chunk->queries; i++) {
        const float d = vector_reduce_add(vector_load(p->sums + i * VECTOR_LANES, VECTOR_LANES)) + head->epsilon;
        p->inverse[i] = 1.0f / d;
        if (denominator != NULL) {
            denominator[i] = d;
        }
    }
}

/* What the output tiles of some columns have in common. */
typedef struct output_columns {
    const lilac_linear_attention_head *head;
    const lilac_linear_attention_chunk *chunk;
    const packed_chunk *p;
    const lilac_linear_attention_outputs *outputs;
    size_t column;
} output_columns;

/* Rows of (Q S + A V) / d, S being that before the half that starts at `begin`: its columns, ld apart. */
ALWAYS_INLINE void output_tile(const output_columns *m, size_t begin, size_t row, const float *state_columns, size_t ld,
                               const int vectors) {
    const packed_chunk *p = m->p;
    const size_t keys = m->chunk->keys;
    tile t = zero_tile();
    multiply_tile(&t, m->head->features, (left_factor){p->q, p->Cp, 1}, row, state_columns, ld, vectors, p->ahead);
    if (keys > begin) {
        multiply_tile(&t, lilac_size_min(row + TILE_ROWS, keys) - begin, (left_factor){p->a, CHUNK, 1}, row,
                      p->v + begin * p->Mp + m->column, p->Mp, vectors, p->ahead);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            t.sum[r][v] = vector_multiply(t.sum[r][v], vector_set(p->inverse[row + r]));
        }
    }
    store_tile(&t, m->outputs->out + row * m->outputs->stride + m->column, m->outputs->stride, m->chunk->queries - row,
               m->head->values - m->column, vectors);
}

/* Some columns of S after the first half, to p->middle, and after the chunk, unless next is NULL. */
ALWAYS_INLINE void middle_tile(const output_columns *m, size_t row, const float *state_before, float *next,
                               const int vectors) {
    const packed_chunk *p = m->p;
    const size_t first = lilac_size_min(m->chunk->keys, HALF), rest = m->chunk->keys - first;
    const float *v = p->v + m->column;
    tile t = zero_tile();
    multiply_tile(&t, first, (left_factor){p->k, 1, p->Cp}, row, v, p->Mp, vectors, p->ahead);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int i = 0; i < vectors; i++) {
            const vector before =
                vector_load(state_before + (row + r) * p->Mp + m->column + i * VECTOR_LANES, VECTOR_LANES);
            vector_store(p->middle + ((row + r) * TILE_VECTORS + i) * VECTOR_LANES, VECTOR_LANES,
                         vector_add(before, t.sum[r][i]));
        }
    }
    if (next == NULL) {
        return;
    }
    multiply_tile(&t, rest, (left_factor){p->k + HALF * p->Cp, 1, p->Cp}, row, v + HALF * p->Mp, p->Mp, vectors,
                  p->ahead);
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int i = 0; i < vectors; i++) {
            const size_t place = (row + r) * p->Mp + m->column + (size_t)i * VECTOR_LANES;
            vector_store(next + place, VECTOR_LANES,
                         vector_add(vector_load(state_before + place, VECTOR_LANES), t.sum[r][i]));
        }
    }
}

ALWAYS_INLINE void multiply_columns(const output_columns *m, const float *state_before, float *next,
                                    const int vectors) {
    const packed_chunk *p = m->p;
    const size_t queries = m->chunk->queries;
    const float *state_columns = state_before + m->column;
    size_t ld = p->Mp;
    for (size_t begin = 0; begin < CHUNK; begin += HALF) {
        if (begin > 0 && m->chunk->keys > 0 && (next != NULL || queries > HALF)) {
            for (size_t row = 0; row < p->Cp; row += TILE_ROWS) {
                middle_tile(m, row, state_before, next, vectors);
            }
            state_columns = p->middle;
            ld = TILE_VECTORS * VECTOR_LANES;
        }
        for (size_t row = begin; row < queries && row < begin + HALF; row += TILE_ROWS) {
            output_tile(m, begin, row, state_columns, ld, vectors);
        }
    }
}

static void forward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                    const float *state_before, float *next, const lilac_linear_attention_outputs *outputs,
                    void *scratch) {
    fetcher ahead;
    packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, next == NULL ? 1 : 2);
    const size_t z = p.Cp * p.Mp;
    pack_queries(head, chunk, &p);
    if (chunk->keys > 0) {
        pack_keys(head, chunk, &p);
        transpose(lilac_round_up(chunk->keys, VECTOR_LANES), p.Cp, p.k, p.Cp, p.kt, CHUNK);
    }
    make_denominators(head, chunk, &p, state_before + z, outputs->denominator);
    if (chunk->keys > 0) {
        /* In place of K^T: less to go through the first-level cache. */
        p.v = p.kt;
        pack_values(head, chunk, &p);
    }
    output_columns columns = {head, chunk, &p, outputs, 0};
    for (; columns.column + TILE_VECTORS * VECTOR_LANES <= p.Mp; columns.column += TILE_VECTORS * VECTOR_LANES) {
        multiply_columns(&columns, state_before, next, TILE_VECTORS);
    }
    for (; columns.column < p.Mp; columns.column += VECTOR_LANES) {
        multiply_columns(&columns, state_before, next, 1);
    }
    if (next != NULL) {
        if (chunk->keys == 0) {
            add_nothing(z, state_before, next);
        }
        add_rows(chunk->keys, p.Cp, p.k, NULL, state_before + z, next + z);
    }
}

enum { STEP_VECTORS = 2 /* whose sums go on side by side; a row of S at 32 values and 16 lanes */ };

/* S += k v^T, out = q^T S * inverse for the columns of `vectors` vectors of `lanes` lanes. */
ALWAYS_INLINE void step_columns(const lilac_linear_attention_head *head, const float *q, const float *k, const float *v,
                                float inverse, float *state_data, float *out, const int vectors, const size_t lanes) {
    vector sum[STEP_VECTORS], value[STEP_VECTORS];
    for (int i = 0; i < vectors; i++) {
        sum[i] = vector_zero();
        value[i] = vector_load(v + i * VECTOR_LANES, VECTOR_LANES);
    }
    for (size_t c = 0; c < head->features; c++) {
        float *row = state_data + c * head->values;
        const vector key = vector_set(k[c]), query = vector_set(q[c]);
        for (int i = 0; i < vectors; i++) {
            const vector after = vector_multiply_add(key, value[i], vector_load(row + i * VECTOR_LANES, lanes));
            vector_store(row + i * VECTOR_LANES, lanes, after);
            sum[i] = vector_multiply_add(query, after, sum[i]);
        }
    }
    for (int i = 0; i < vectors; i++) {
        vector_store(out + i * VECTOR_LANES, lanes, vector_multiply(sum[i], vector_set(inverse)));
    }
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
    for (; m + STEP_VECTORS * VECTOR_LANES <= values; m += STEP_VECTORS * VECTOR_LANES) {
        step_columns(head, q, k, v + m, inverse, state_data + m, out + m, STEP_VECTORS, VECTOR_LANES);
    }
    for (; m + VECTOR_LANES <= values; m += VECTOR_LANES) {
        step_columns(head, q, k, v + m, inverse, state_data + m, out + m, 1, VECTOR_LANES);
    }
    if (m < values) {
        step_columns(head, q, k, v + m, inverse, state_data + m, out + m, 1, values - m);
    }
}

#endif
