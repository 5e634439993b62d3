/* SPDX-License-Identifier: MIT */
/*
 * The linear attention kernels for bf16 inputs on AVX-512 with bf16 dot products. An instruction adds two products to
 * each sum, so operands are pairs of numbers that are neighbours along the sum, one pair in each 32-bit lane: features
 * in Q K^T and Q S, tokens in A V and K^T V. Mapped features, A and, as an operand of Q S, the state are rounded to
 * bf16; all sums and the state itself are floats.
 */
#include "kernels/x86/vector_avx512.h"

#include "kernels/x86/linear_attention_common.h"

#include <string.h>

enum { ROWS = 8, VECTORS = 2 /* of a register tile */, PAIR = 2, ROW_STEP = PAIR * VECTOR_LANES };

/* A packed chunk, cut from the scratch. Sizes of rows: Cp, Mp padded as in states, Cq to whole vectors of bf16. */
typedef struct packed_chunk {
    size_t Cp, Mp, Cq;
    uint16_t *q;     /* CHUNK x Cq */
    uint16_t *rows;  /* HALF x Cq: keys to be transposed */
    uint16_t *k;     /* CHUNK / 2 x Cp pairs of tokens */
    uint16_t *kt;    /* Cq / 2 pairs of features x CHUNK */
    uint16_t *v;     /* CHUNK / 2 x Mp pairs of tokens */
    uint16_t *a;     /* CHUNK x HALF: A within each half */
    uint16_t *s;     /* Cp / 2 pairs of features x VECTORS * VECTOR_LANES: some columns of S */
    uint16_t *z;     /* Cq */
    float *middle_z; /* Cp: z after the first half */
    float *inverse;  /* CHUNK: 1 / d */
    fetcher *ahead;
} packed_chunk;

static void *cut(char **scratch, size_t bytes) {
    void *piece = *scratch;
    *scratch += lilac_round_up(bytes, LILAC_ALIGNMENT);
    return piece;
}

/* All of it takes less than the float kernels' scratch, where each of q, k, v is twice as large. */
static packed_chunk cut_scratch(const lilac_linear_attention_head *head, char *scratch, fetcher *ahead) {
    packed_chunk p = {
        .Cp = lilac_round_up(head->features, LILAC_STATE_LANES),
        .Mp = lilac_round_up(head->values, LILAC_STATE_LANES),
        .Cq = lilac_round_up(head->features, ROW_STEP),
        .ahead = ahead,
    };
    p.q = cut(&scratch, CHUNK * p.Cq * sizeof *p.q);
    p.rows = cut(&scratch, HALF * p.Cq * sizeof *p.rows);
    p.k = cut(&scratch, CHUNK * p.Cp * sizeof *p.k);
    p.kt = cut(&scratch, CHUNK * p.Cq * sizeof *p.kt);
    p.v = cut(&scratch, CHUNK * p.Mp * sizeof *p.v);
    p.a = cut(&scratch, CHUNK * HALF * sizeof *p.a);
    p.s = cut(&scratch, p.Cp * VECTORS * VECTOR_LANES * sizeof *p.s);
    p.z = cut(&scratch, p.Cq * sizeof *p.z);
    p.middle_z = cut(&scratch, p.Cp * sizeof *p.middle_z);
    p.inverse = cut(&scratch, CHUNK * sizeof *p.inverse);
    return p;
}

/* Starts to fetch what comes next, to be done within that many products of C x M numbers a token. */
static void look_ahead(const packed_chunk *p, const lilac_linear_attention_chunk *chunk, size_t products) {
    fetch_rows(p->ahead, chunk, products * CHUNK * p->Cp * p->Mp / (ROWS * VECTORS * VECTOR_LANES * FETCH_EVERY));
}

/* Features c .. c + 15 of a row of `size`, mapped if elu_plus_one; 0 beyond the last one. If whole, size is a multiple
 * of ROW_STEP. */
ALWAYS_INLINE vector features(const lilac_linear_attention_rows *rows, size_t row, size_t c, size_t size,
                              const bool elu_plus_one, const bool whole) {
    if (whole) {
        const vector x = row_vector(rows, row, c, VECTOR_LANES, true);
        return elu_plus_one ? vector_rough_elu_plus_one(x) : x;
    }
    const size_t lanes = size > c ? lilac_size_min(size - c, VECTOR_LANES) : 0;
    const vector x = row_vector(rows, row, c, lanes, true);
    return elu_plus_one ? vector_keep(lanes, vector_rough_elu_plus_one(x)) : x;
}

/* The numbers of two vectors as bf16, those of the first in the lower half. */
ALWAYS_INLINE __m512i join(vector first, vector second) {
    return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}

/* The same in turn: a pair in each lane. */
ALWAYS_INLINE __m512i pair_up(vector first, vector second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, join(first, second));
}

ALWAYS_INLINE void pack_queries_as(const lilac_linear_attention_rows *rows, size_t count, size_t size,
                                   const packed_chunk *p, const bool elu_plus_one, const bool whole) {
    for (size_t row = 0; row < count; row++) {
        for (size_t c = 0; c < p->Cq; c += ROW_STEP) {
            const vector first = features(rows, row, c, size, elu_plus_one, whole);
            const vector second = features(rows, row, c + VECTOR_LANES, size, elu_plus_one, whole);
            _mm512_store_si512(p->q + row * p->Cq + c, join(first, second));
        }
    }
}

static void pack_queries(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                         const packed_chunk *p) {
    const size_t count = chunk->queries, size = head->features;
    if (!head->elu_plus_one) {
        pack_queries_as(&chunk->query, count, size, p, false, false);
    } else if (size % ROW_STEP == 0) {
        pack_queries_as(&chunk->query, count, size, p, true, true);
    } else {
        pack_queries_as(&chunk->query, count, size, p, true, false);
    }
    memset(p->q + count * p->Cq, 0, (lilac_round_up(count, HALF) - count) * p->Cq * sizeof *p->q);
}

/* kt = the transpose of p->rows, the keys from number `first` on. */
static void transpose_rows(const packed_chunk *p, size_t first) {
    for (size_t c = 0; c < p->Cq; c += ROW_STEP) {
        vector square[VECTOR_LANES];
        for (size_t i = 0; i < VECTOR_LANES; i++) {
            square[i] = _mm512_load_ps(p->rows + i * p->Cq + c);
        }
        vector_transpose(square);
        for (size_t i = 0; i < VECTOR_LANES; i++) {
            _mm512_store_ps(p->kt + PAIR * ((c / PAIR + i) * CHUNK + first), square[i]);
        }
    }
}

/* Keys row and row + 1: to k as pairs, to rows each on its own. */
ALWAYS_INLINE void pack_two_keys(const lilac_linear_attention_rows *keys, size_t row, size_t size, size_t next_size,
                                 const packed_chunk *p, const bool elu_plus_one, const bool whole) {
    uint16_t *pairs = p->k + row * p->Cp, *rows = p->rows + row % HALF * p->Cq;
    for (size_t c = 0; c < p->Cq; c += ROW_STEP) {
        const size_t next = c + VECTOR_LANES;
        const vector a0 = features(keys, row, c, size, elu_plus_one, whole);
        const vector a1 = features(keys, row, next, size, elu_plus_one, whole);
        const vector b0 = features(keys, row + 1, c, next_size, elu_plus_one, whole);
        const vector b1 = features(keys, row + 1, next, next_size, elu_plus_one, whole);
        _mm512_store_si512(pairs + PAIR * c, pair_up(a0, b0));
        if (whole || next < p->Cp) {
            _mm512_store_si512(pairs + PAIR * next, pair_up(a1, b1));
        }
        _mm512_store_si512(rows + c, join(a0, a1));
        _mm512_store_si512(rows + p->Cq + c, join(b0, b1));
    }
}

/* k and, if wanted, kt. */
static void pack_keys(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                      const packed_chunk *p, bool transposed) {
    const size_t padded = lilac_round_up(chunk->keys, transposed ? HALF : PAIR), size = head->features;
    for (size_t row = 0; row < padded; row += PAIR) {
        const size_t some = row < chunk->keys ? size : 0, more = row + 1 < chunk->keys ? size : 0;
        if (!head->elu_plus_one) {
            pack_two_keys(&chunk->key, row, some, more, p, false, false);
        } else if (size % ROW_STEP == 0 && more > 0) {
            pack_two_keys(&chunk->key, row, some, more, p, true, true);
        } else {
            pack_two_keys(&chunk->key, row, some, more, p, true, false);
        }
        if (transposed && row % HALF == HALF - PAIR) {
            transpose_rows(p, row / HALF * HALF);
        }
    }
}

static void pack_values(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                        const packed_chunk *p) {
    const uint16_t *data = chunk->value.data;
    for (size_t row = 0; row < chunk->keys; row += PAIR) {
        for (size_t m = 0; m < p->Mp; m += VECTOR_LANES) {
            const __mmask16 mask = vector_mask(lilac_size_min(head->values - m, VECTOR_LANES));
            const uint16_t *even = data + row * chunk->value.stride + m;
            const uint16_t *odd = even + chunk->value.stride;
            const __m256i low = _mm256_maskz_loadu_epi16(mask, even);
            const __m256i high = row + 1 < chunk->keys ? _mm256_maskz_loadu_epi16(mask, odd) : _mm256_setzero_si256();
            const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16);
            _mm512_store_si512(p->v + row * p->Mp + PAIR * m, _mm512_or_si512(upper, _mm512_cvtepu16_epi32(low)));
        }
    }
}

/* A factor of a product: pair k of row r is at data[r * row_step + k * depth_step]. */
typedef struct left_factor {
    const uint16_t *data;
    size_t row_step, depth_step;
} left_factor;

typedef struct tile {
    __m512 sum[ROWS][VECTORS];
} tile;

ALWAYS_INLINE __m512bh broadcast_pair(const uint16_t *x) {
    int pair;
    memcpy(&pair, x, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* sum[r][v] += sum over k < pairs of a(r, k) . pairs k * ldb .. of b. */
ALWAYS_INLINE void multiply_tile(tile *t, size_t pairs, left_factor a, const uint16_t *b, size_t ldb, const int vectors,
                                 fetcher *ahead) {
    /* Few pointers reach all rows with the address forms p, p + step and p + 2 step. */
    const uint16_t *low = a.data, *high = a.data + ROWS / 2 * a.row_step;
    for (size_t left = pairs; left > 0;) {
        const size_t steps = lilac_size_min(left, FETCH_EVERY / PAIR);
        fetch_some(ahead);
#pragma GCC unroll 1
        for (size_t k = 0; k < steps; k++) {
            __m512bh lanes[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                lanes[v] = (__m512bh)_mm512_load_si512(b + v * ROW_STEP);
            }
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                const uint16_t *x = r < ROWS / 2 ? low + r * a.row_step : high + (r - ROWS / 2) * a.row_step;
                const __m512bh factor = broadcast_pair(x);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) {
                    t->sum[r][v] = _mm512_dpbf16_ps(t->sum[r][v], factor, lanes[v]);
                }
            }
            low += a.depth_step;
            high += a.depth_step;
            b += ldb;
        }
        left -= steps;
    }
}

ALWAYS_INLINE tile zero_tile(void) {
    tile t;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            t.sum[r][v] = vector_zero();
        }
    }
    return t;
}

static size_t pairs_of(size_t count) {
    return (count + 1) / PAIR;
}

/* to = from + t, from NULL: zeros. */
ALWAYS_INLINE void add_tile(const tile *t, const float *from, float *to, size_t ld, const int vectors) {
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            const size_t place = r * ld + (size_t)v * VECTOR_LANES;
            const vector sum = t->sum[r][v];
            vector_store(to + place, VECTOR_LANES,
                         from == NULL ? sum : vector_add(vector_load(from + place, VECTOR_LANES), sum));
        }
    }
}

/* z: to = from + colsum(K) of tokens first .. first + keys - 1. */
static void add_keys(const packed_chunk *p, size_t first, size_t keys, const float *from, float *to) {
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    for (size_t c = 0; c < p->Cp; c += VECTOR_LANES) {
        vector sum = vector_zero();
        for (size_t row = first; row < first + keys; row += PAIR) {
            sum = _mm512_dpbf16_ps(sum, ones, (__m512bh)_mm512_load_si512(p->k + row * p->Cp + PAIR * c));
        }
        vector_store(to + c, VECTOR_LANES, from == NULL ? sum : vector_add(vector_load(from + c, VECTOR_LANES), sum));
    }
}

/* K^T V of tokens: the rows of features from c on, columns from m on; the other way around if transposed. */
ALWAYS_INLINE void multiply_tokens(tile *t, size_t tokens, const uint16_t *a, size_t lda, const uint16_t *b, size_t ldb,
                                   const int vectors, fetcher *ahead) {
    multiply_tile(t, pairs_of(tokens), (left_factor){a, PAIR, PAIR * lda}, b, PAIR * ldb, vectors, ahead);
}

/* to = from + a^T b for tokens 0 .. keys - 1. */
static void add_product(const packed_chunk *p, size_t keys, const uint16_t *a, size_t rows, const uint16_t *b,
                        size_t columns, const float *from, float *to) {
    for (size_t column = 0; column < columns; column += VECTORS * VECTOR_LANES) {
        for (size_t row = 0; row < rows; row += ROWS) {
            const size_t place = row * columns + column;
            const float *before = from == NULL ? NULL : from + place;
            tile t = zero_tile();
            if (column + VECTOR_LANES < columns) {
                multiply_tokens(&t, keys, a + PAIR * row, rows, b + PAIR * column, columns, VECTORS, p->ahead);
                add_tile(&t, before, to + place, columns, VECTORS);
            } else {
                multiply_tokens(&t, keys, a + PAIR * row, rows, b + PAIR * column, columns, 1, p->ahead);
                add_tile(&t, before, to + place, columns, 1);
            }
        }
    }
}

static void state(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk, bool transposed,
                  const float *from, float *to, void *scratch) {
    fetcher ahead;
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, 1);
    const size_t z = p.Cp * p.Mp;
    pack_keys(head, chunk, &p, false);
    pack_values(head, chunk, &p);
    if (transposed) {
        add_product(&p, chunk->keys, p.v, p.Mp, p.k, p.Cp, from, to);
    } else {
        add_product(&p, chunk->keys, p.k, p.Cp, p.v, p.Mp, from, to);
    }
    add_keys(&p, 0, chunk->keys, from == NULL ? NULL : from + z, to + z);
}

/* p->z = z, rounded. */
static void round_z(const packed_chunk *p, const float *z) {
    for (size_t c = 0; c < p->Cq; c += ROW_STEP) {
        const size_t next = c + VECTOR_LANES;
        const vector second = next < p->Cp ? vector_load(z + next, VECTOR_LANES) : vector_zero();
        _mm512_store_si512(p->z + c, join(vector_load(z + c, VECTOR_LANES), second));
    }
}

/* A of the half that starts at `begin`, `keys` of it being there, and d = Q z + rowsum(A) + epsilon of its rows. */
static void make_denominators(const lilac_linear_attention_head *head, const packed_chunk *p, size_t begin, size_t keys,
                              size_t queries, float *denominator) {
    vector sum[HALF];
#pragma GCC unroll 16
    for (size_t i = 0; i < HALF; i++) {
        sum[i] = vector_zero();
    }
    const uint16_t *q = p->q + begin * p->Cq;
    if (keys > 0) {
        const uint16_t *kt = p->kt + PAIR * begin;
        const uint16_t *q0 = q, *q4 = q + 4 * p->Cq, *q8 = q + 8 * p->Cq, *q12 = q + 12 * p->Cq;
        for (size_t pair = 0; pair < pairs_of(head->features); pair++) {
            const __m512bh lanes = (__m512bh)_mm512_load_si512(kt);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                sum[i] = _mm512_dpbf16_ps(sum[i], broadcast_pair(q0 + i * p->Cq), lanes);
                sum[4 + i] = _mm512_dpbf16_ps(sum[4 + i], broadcast_pair(q4 + i * p->Cq), lanes);
                sum[8 + i] = _mm512_dpbf16_ps(sum[8 + i], broadcast_pair(q8 + i * p->Cq), lanes);
                sum[12 + i] = _mm512_dpbf16_ps(sum[12 + i], broadcast_pair(q12 + i * p->Cq), lanes);
            }
            q0 += PAIR;
            q4 += PAIR;
            q8 += PAIR;
            q12 += PAIR;
            kt += PAIR * CHUNK;
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < HALF; i++) {
            sum[i] = vector_keep(lilac_size_min(i + 1, keys), sum[i]);
            _mm256_store_si256((__m256i *)(p->a + (begin + i) * HALF), (__m256i)_mm512_cvtneps_pbh(sum[i]));
        }
    }
    for (size_t c = 0; c < p->Cq; c += ROW_STEP) {
        const __m512bh z = (__m512bh)_mm512_load_si512(p->z + c);
#pragma GCC unroll 16
        for (size_t i = 0; i < HALF; i++) {
            sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)_mm512_load_si512(q + i * p->Cq + c), z);
        }
    }
    vector_transpose(sum);
    vector d = vector_set(head->epsilon);
#pragma GCC unroll 16
    for (size_t i = 0; i < HALF; i++) {
        d = vector_add(d, sum[i]);
    }
    vector_store(p->inverse + begin, VECTOR_LANES, vector_divide(vector_set(1.0f), d));
    if (denominator != NULL) {
        vector_store(denominator + begin, queries, d);
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

/* p->s = the columns, rounded. */
ALWAYS_INLINE void round_columns(const output_columns *m, const float *state_before, const int vectors) {
    const packed_chunk *p = m->p;
    for (size_t c = 0; c < p->Cp; c += PAIR) {
        const float *row = state_before + c * p->Mp + m->column;
        for (int v = 0; v < vectors; v++) {
            const vector first = vector_load(row + v * VECTOR_LANES, VECTOR_LANES);
            const vector second = vector_load(row + p->Mp + v * VECTOR_LANES, VECTOR_LANES);
            _mm512_store_si512(p->s + c * VECTORS * VECTOR_LANES + v * ROW_STEP, pair_up(first, second));
        }
    }
}

/* Some columns of S after the first half, to p->s, and after the chunk, unless next is NULL. */
ALWAYS_INLINE void middle_tile(const output_columns *m, size_t c, const float *state_before, float *next,
                               const int vectors) {
    const packed_chunk *p = m->p;
    const size_t first = lilac_size_min(m->chunk->keys, HALF), place = c * p->Mp + m->column;
    tile t = zero_tile();
    const uint16_t *k = p->k + PAIR * c, *v = p->v + PAIR * m->column;
    multiply_tokens(&t, first, k, p->Cp, v, p->Mp, vectors, p->ahead);
#pragma GCC unroll 4
    for (size_t r = 0; r < ROWS; r += PAIR) {
#pragma GCC unroll 2
        for (int i = 0; i < vectors; i++) {
            const float *before = state_before + place + r * p->Mp + i * VECTOR_LANES;
            const vector even = vector_add(vector_load(before, VECTOR_LANES), t.sum[r][i]);
            const vector odd = vector_add(vector_load(before + p->Mp, VECTOR_LANES), t.sum[r + 1][i]);
            _mm512_store_si512(p->s + (c + r) * VECTORS * VECTOR_LANES + i * ROW_STEP, pair_up(even, odd));
        }
    }
    if (next != NULL) {
        multiply_tokens(&t, m->chunk->keys - first, k + HALF * p->Cp, p->Cp, v + HALF * p->Mp, p->Mp, vectors,
                        p->ahead);
        add_tile(&t, state_before + place, next + place, p->Mp, vectors);
    }
}

/* Copies the first rows and columns of a stored tile. */
static __attribute__((noinline)) void copy_part(const float *from, float *to, size_t ld, size_t rows, size_t columns) {
    for (size_t r = 0; r < rows; r++) {
        memcpy(to + r * ld, from + r * VECTORS * VECTOR_LANES, columns * sizeof *to);
    }
}

/* Rows of (Q S + A V) / d, S being that before the half that starts at `begin`. */
ALWAYS_INLINE void output_tile(const output_columns *m, size_t begin, size_t row, const int vectors) {
    const packed_chunk *p = m->p;
    const size_t keys = m->chunk->keys, queries = m->chunk->queries, columns = m->head->values - m->column;
    tile t = zero_tile();
    multiply_tile(&t, pairs_of(m->head->features), (left_factor){p->q + row * p->Cq, p->Cq, PAIR}, p->s,
                  VECTORS * ROW_STEP, vectors, p->ahead);
    if (keys > begin) {
        multiply_tile(&t, pairs_of(lilac_size_min(row + ROWS, keys) - begin),
                      (left_factor){p->a + row * HALF, HALF, PAIR}, p->v + begin * p->Mp + PAIR * m->column,
                      PAIR * p->Mp, vectors, p->ahead);
    }
    float part[ROWS * VECTORS * VECTOR_LANES];
    float *out = m->outputs->out + row * m->outputs->stride + m->column;
    const bool whole = queries - row >= ROWS && columns >= (size_t)vectors * VECTOR_LANES;
    float *to = whole ? out : part;
    const size_t step = whole ? m->outputs->stride : VECTORS * VECTOR_LANES;
#pragma GCC unroll 8
    for (size_t r = 0; r < ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vector_store(to + r * step + v * VECTOR_LANES, VECTOR_LANES,
                         vector_multiply(t.sum[r][v], vector_set(p->inverse[row + r])));
        }
    }
    if (!whole) {
        copy_part(part, out, m->outputs->stride, lilac_size_min(queries - row, ROWS),
                  lilac_size_min(columns, (size_t)vectors * VECTOR_LANES));
    }
}

ALWAYS_INLINE void multiply_columns(const output_columns *m, const float *state_before, float *next,
                                    const int vectors) {
    const size_t queries = m->chunk->queries;
    round_columns(m, state_before, vectors);
    for (size_t begin = 0; begin < CHUNK; begin += HALF) {
        if (begin > 0 && m->chunk->keys > 0 && (next != NULL || queries > HALF)) {
            for (size_t c = 0; c < m->p->Cp; c += ROWS) {
                middle_tile(m, c, state_before, next, vectors);
            }
        }
        for (size_t row = begin; row < queries && row < begin + HALF; row += ROWS) {
            output_tile(m, begin, row, vectors);
        }
    }
}

static void forward(const lilac_linear_attention_head *head, const lilac_linear_attention_chunk *chunk,
                    const float *state_before, float *next, const lilac_linear_attention_outputs *outputs,
                    void *scratch) {
    fetcher ahead;
    const packed_chunk p = cut_scratch(head, scratch, &ahead);
    look_ahead(&p, chunk, next == NULL ? 1 : 2);
    const float *z = state_before + p.Cp * p.Mp;
    pack_queries(head, chunk, &p);
    if (chunk->keys > 0) {
        pack_keys(head, chunk, &p, true);
        pack_values(head, chunk, &p);
    }
    round_z(&p, z);
    for (size_t begin = 0; begin < chunk->queries; begin += HALF) {
        if (begin > 0 && chunk->keys > 0) {
            add_keys(&p, 0, lilac_size_min(chunk->keys, HALF), z, p.middle_z);
            round_z(&p, p.middle_z);
        }
        const size_t keys = chunk->keys > begin ? lilac_size_min(chunk->keys - begin, HALF) : 0;
        make_denominators(head, &p, begin, keys, lilac_size_min(chunk->queries - begin, HALF), outputs->denominator);
    }
    output_columns columns = {head, chunk, &p, outputs, 0};
    for (; columns.column + VECTORS * VECTOR_LANES <= p.Mp; columns.column += VECTORS * VECTOR_LANES) {
        multiply_columns(&columns, state_before, next, VECTORS);
    }
    if (columns.column < p.Mp) {
        multiply_columns(&columns, state_before, next, 1);
    }
    if (next != NULL) {
        if (chunk->keys == 0) {
            add_nothing(p.Cp * p.Mp, state_before, next);
        }
        add_keys(&p, 0, chunk->keys, z, next + p.Cp * p.Mp);
    }
}

void lilac_linear_attention_kernels_avx512_bf16(lilac_linear_attention_kernels *kernels) {
    kernels->state_bf16 = state;
    kernels->forward_bf16 = forward;
}
