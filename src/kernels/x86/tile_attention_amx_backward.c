/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention in AMX tiles, backward. Scores are computed transposed, a row for each key: probabilities and their
 * gradients then are left operands as they are, and right ones after pairs of rows have been interleaved.
 */
#include "kernels/x86/tile_attention_amx.h"
#include "kernels/x86/vector_avx512.h"

#include <math.h>

enum { QUERIES = DEPTH };

/* A step is 16 keys against 32 queries: two tiles of floats or one of bf16 numbers. Memory for it, used in turn. */
typedef struct step_memory {
    _Alignas(64) float scores[2][2 * FLOATS];
    float probability_gradients[2][2 * FLOATS]; /* less the deltas */
    uint16_t probabilities[2][HALVES];
    uint16_t score_gradients[2][HALVES];
} step_memory;

/* 16 keys on their way through the queries. */
typedef struct key_tile {
    const lilac_tile_backward *block;
    step_memory *memory;
    size_t first;        /* key */
    size_t depth, width; /* tiles of a row of keys, and of values, as left operands */
} key_tile;

/* The chunks of 32 queries from this one on see some of the 32 keys around key number `key`. */
static inline size_t first_chunk(const lilac_tile_backward *block, size_t key) {
    const ptrdiff_t query = (ptrdiff_t)(key / DEPTH * DEPTH) + 1 - block->diagonal;
    return query <= 0 ? 0 : (size_t)query / QUERIES;
}

/* Scores and gradients of probabilities of a chunk. Tiles: 4 and 7 sums, 5 keys or values, 6 queries or gradients. */
ALWAYS_INLINE void score_chunk(const key_tile *tile, size_t chunk, const size_t depth, const size_t width) {
    const lilac_tile_backward *block = tile->block;
    const size_t key_row = tile->first / ROWS;
    const uint16_t *query = block->query_transposed + chunk * 2 * depth * HALVES;
    const uint16_t *gradient = block->output_gradient_transposed + chunk * 2 * width * HALVES;
    float *scores = tile->memory->scores[chunk % 2], *gradients = tile->memory->probability_gradients[chunk % 2];
    _tile_loadd(4, block->offsets + chunk * QUERIES, 0);
    _tile_loadd(7, block->offsets + chunk * QUERIES + ROWS, 0);
    for (size_t d = 0; d < depth; d++) {
        _tile_loadd(5, block->key + (key_row * depth + d) * HALVES, ROW_BYTES);
        _tile_loadd(6, query + d * HALVES, ROW_BYTES);
        _tile_dpbf16ps(4, 5, 6);
        _tile_loadd(6, query + (depth + d) * HALVES, ROW_BYTES);
        _tile_dpbf16ps(7, 5, 6);
    }
    _tile_stored(4, scores, ROW_BYTES);
    _tile_stored(7, scores + FLOATS, ROW_BYTES);
    _tile_loadd(4, block->deltas + chunk * QUERIES, 0);
    _tile_loadd(7, block->deltas + chunk * QUERIES + ROWS, 0);
    for (size_t d = 0; d < width; d++) {
        _tile_loadd(5, block->value + (key_row * width + d) * HALVES, ROW_BYTES);
        _tile_loadd(6, gradient + d * HALVES, ROW_BYTES);
        _tile_dpbf16ps(4, 5, 6);
        _tile_loadd(6, gradient + (width + d) * HALVES, ROW_BYTES);
        _tile_dpbf16ps(7, 5, 6);
    }
    _tile_stored(4, gradients, ROW_BYTES);
    _tile_stored(7, gradients + FLOATS, ROW_BYTES);
}

/* Those of 16 queries from `query` on that exist and see the key. */
static inline __mmask16 queries_that_see(const lilac_tile_backward *block, size_t key, size_t query) {
    if (key >= block->keys) {
        return 0;
    }
    const ptrdiff_t first = (ptrdiff_t)key + 1 - block->diagonal;
    const __mmask16 blind = first <= 0 ? 0 : columns_below((size_t)first, query);
    return columns_below(block->queries, query) & (__mmask16)~blind;
}

/* Probabilities and gradients of scores of a key, rounded; returns the latter. */
ALWAYS_INLINE __m512i differentiate_row(const key_tile *tile, size_t chunk, size_t row, const bool edge) {
    const step_memory *memory = tile->memory;
    __m512 p[2], ds[2];
    for (size_t half = 0; half < 2; half++) {
        const size_t place = half * FLOATS + row * ROWS;
        p[half] = rough_exp2(_mm512_load_ps(memory->scores[chunk % 2] + place));
        ds[half] = _mm512_mul_ps(p[half], _mm512_load_ps(memory->probability_gradients[chunk % 2] + place));
        if (edge) {
            const __mmask16 mask = queries_that_see(tile->block, tile->first + row, chunk * QUERIES + half * ROWS);
            p[half] = _mm512_maskz_mov_ps(mask, p[half]);
            ds[half] = _mm512_maskz_mov_ps(mask, ds[half]);
        }
    }
    const __m512i gradients = round_to_bf16(ds[0], ds[1]);
    _mm512_store_si512(tile->memory->probabilities[chunk % 2] + row * DEPTH, round_to_bf16(p[0], p[1]));
    _mm512_store_si512(tile->memory->score_gradients[chunk % 2] + row * DEPTH, gradients);
    return gradients;
}

/* Where the gradients of the scores of chunk and key are kept as right operands: two tiles. */
static inline uint16_t *kept_gradients(const lilac_tile_backward *block, size_t chunk, size_t key) {
    return block->score_gradients + (chunk * (LILAC_TILE_KEY_BLOCK / DEPTH) + key / DEPTH) * 2 * HALVES;
}

ALWAYS_INLINE void differentiate_rows(const key_tile *tile, size_t chunk, const bool edge) {
    uint16_t *kept = kept_gradients(tile->block, chunk, tile->first) + tile->first % DEPTH / 2 * DEPTH;
    for (size_t row = 0; row < ROWS; row += 2) {
        const __m512i even = differentiate_row(tile, chunk, row, edge);
        const __m512i odd = differentiate_row(tile, chunk, row + 1, edge);
        _mm512_store_si512(kept + row / 2 * DEPTH, _mm512_unpacklo_epi16(even, odd));
        _mm512_store_si512(kept + HALVES + row / 2 * DEPTH, _mm512_unpackhi_epi16(even, odd));
    }
}

static void differentiate_edge(const key_tile *tile, size_t chunk) {
    differentiate_rows(tile, chunk, true);
}

ALWAYS_INLINE void differentiate(const key_tile *tile, size_t chunk) {
    const lilac_tile_backward *block = tile->block;
    const size_t query = chunk * QUERIES;
    const bool whole = tile->first + ROWS <= block->keys && query + QUERIES <= block->queries &&
                       lilac_tile_visible(query, block->diagonal, block->keys) >= tile->first + ROWS;
    if (whole) {
        differentiate_rows(tile, chunk, false);
    } else {
        differentiate_edge(tile, chunk);
    }
}

/* The product of tile 4 and of `columns` tiles is added to as many sums in memory. Tiles: 5 the right operand, 6 sums.
 */
ALWAYS_INLINE void add_to_memory(const uint16_t *right, float *sums, size_t columns) {
    for (size_t c = 0; c < columns; c++) {
        _tile_loadd(6, sums + c * FLOATS, ROW_BYTES);
        _tile_loadd(5, right + c * HALVES, ROW_BYTES);
        _tile_dpbf16ps(6, 4, 5);
        _tile_stored(6, sums + c * FLOATS, ROW_BYTES);
    }
}

/* Adds a chunk's part of the gradients of keys and values. Tiles: 0 and 1 sums of values' gradients, 2 and 3 of keys',
 * if there are no more than these; 4 and 7 left operands, 5 and 6 right ones. */
ALWAYS_INLINE void add_gradients(const key_tile *tile, size_t chunk, const size_t depth, const size_t width) {
    const lilac_tile_backward *block = tile->block;
    const uint16_t *query = block->query + chunk * 2 * depth * HALVES;
    const uint16_t *gradient = block->output_gradient + chunk * 2 * width * HALVES;
    const size_t key_row = tile->first / ROWS;
    finish_stores();
    _tile_loadd(4, tile->memory->probabilities[chunk % 2], ROW_BYTES);
    if (depth > 1 || width > 1) {
        add_to_memory(gradient, block->value_gradient + key_row * 2 * width * FLOATS, 2 * width);
        _tile_loadd(4, tile->memory->score_gradients[chunk % 2], ROW_BYTES);
        add_to_memory(query, block->key_gradient + key_row * 2 * depth * FLOATS, 2 * depth);
        return;
    }
    _tile_loadd(5, gradient, ROW_BYTES);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, gradient + HALVES, ROW_BYTES);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, tile->memory->score_gradients[chunk % 2], ROW_BYTES);
    _tile_loadd(5, query, ROW_BYTES);
    _tile_dpbf16ps(2, 7, 5);
    _tile_loadd(6, query + HALVES, ROW_BYTES);
    _tile_dpbf16ps(3, 7, 6);
}

/* Takes 16 keys through the queries: scores of the next chunk are on their way while the present one is differentiated.
 */
ALWAYS_INLINE void differentiate_keys(const key_tile *tile, const size_t depth, const size_t width) {
    const lilac_tile_backward *block = tile->block;
    const size_t chunks = (block->queries + QUERIES - 1) / QUERIES, first = first_chunk(block, tile->first);
    const bool resident = depth == 1 && width == 1;
    float *values = block->value_gradient + tile->first * DEPTH, *keys = block->key_gradient + tile->first * DEPTH;
    if (first >= chunks) {
        return;
    }
    finish_stores();
    if (resident) {
        _tile_loadd(0, values, ROW_BYTES);
        _tile_loadd(1, values + FLOATS, ROW_BYTES);
        _tile_loadd(2, keys, ROW_BYTES);
        _tile_loadd(3, keys + FLOATS, ROW_BYTES);
    }
    score_chunk(tile, first, depth, width);
    for (size_t chunk = first; chunk < chunks; chunk++) {
        if (chunk + 1 < chunks) {
            score_chunk(tile, chunk + 1, depth, width);
        }
        differentiate(tile, chunk);
        if (chunk > first) {
            add_gradients(tile, chunk - 1, depth, width);
        }
    }
    add_gradients(tile, chunks - 1, depth, width);
    if (resident) {
        _tile_stored(0, values, ROW_BYTES);
        _tile_stored(1, values + FLOATS, ROW_BYTES);
        _tile_stored(2, keys, ROW_BYTES);
        _tile_stored(3, keys + FLOATS, ROW_BYTES);
    }
}

static void backward(const lilac_tile_backward *block) {
    step_memory memory;
    key_tile tile = {
        .block = block, .memory = &memory, .depth = block->key_columns / DEPTH, .width = block->value_columns / DEPTH};
    set_tile_shapes();
    /* Both halves of 32 keys: as right operands they share tiles. */
    for (tile.first = 0; tile.first < (block->keys + DEPTH - 1) / DEPTH * DEPTH; tile.first += ROWS) {
        if (tile.depth == 1 && tile.width == 1) {
            differentiate_keys(&tile, 1, 1);
        } else {
            differentiate_keys(&tile, tile.depth, tile.width);
        }
    }
    _tile_release();
}

/* ---- Gradients of queries ---- */

/* Adds to two tiles of columns, transposed, for 32 queries. Tiles: 0 to 3 sums, 4 and 5 keys, 6 and 7 scores. */
static void add_query_tiles(const lilac_tile_backward *block, size_t chunk, size_t column_tile) {
    const size_t tiles = block->key_columns / ROWS;
    float *sums = block->query_gradient + (chunk * tiles + column_tile) * 2 * FLOATS;
    _tile_loadd(0, sums, ROW_BYTES);
    _tile_loadd(1, sums + FLOATS, ROW_BYTES);
    _tile_loadd(2, sums + 2 * FLOATS, ROW_BYTES);
    _tile_loadd(3, sums + 3 * FLOATS, ROW_BYTES);
    for (size_t key = 0; key < block->keys && first_chunk(block, key) <= chunk; key += DEPTH) {
        const uint16_t *kept = kept_gradients(block, chunk, key);
        const uint16_t *keys = block->key_transposed + (key / DEPTH * tiles + column_tile) * HALVES;
        _tile_loadd(4, keys, ROW_BYTES);
        _tile_loadd(6, kept, ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, kept + HALVES, ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, keys + HALVES, ROW_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, ROW_BYTES);
    _tile_stored(1, sums + FLOATS, ROW_BYTES);
    _tile_stored(2, sums + 2 * FLOATS, ROW_BYTES);
    _tile_stored(3, sums + 3 * FLOATS, ROW_BYTES);
}

static void query_gradients(const lilac_tile_backward *block) {
    const size_t tiles = block->key_columns / ROWS;
    set_tile_shapes();
    finish_stores();
    for (size_t chunk = first_chunk(block, 0); chunk * QUERIES < block->queries; chunk++) {
        for (size_t column_tile = 0; column_tile < tiles; column_tile += 2) {
            add_query_tiles(block, chunk, column_tile);
        }
    }
    _tile_release();
}

/* ---- Before and after ---- */

static void row_numbers(const lilac_tile_row_numbers *rows) {
    const size_t count = rows->output.count;
    for (size_t r = 0; r < count; r++) {
        __m512 sum = _mm512_setzero_ps();
        for (size_t column = 0; column < rows->output.size; column += ROWS) {
            sum = _mm512_fmadd_ps(load_floats(&rows->output, r, column), load_floats(&rows->output_gradient, r, column),
                                  sum);
        }
        if (rows->output.ahead != NULL) {
            fetch_row(&rows->output, r);
        }
        const float log_sum_exp = rows->log_sum_exp[r];
        rows->deltas[r] = -_mm512_reduce_add_ps(sum);
        rows->offsets[r] = log_sum_exp == -INFINITY ? -INFINITY : log_sum_exp * -0x1.715476p0f;
    }
    for (size_t r = count; r % DEPTH != 0; r++) {
        rows->deltas[r] = 0.0f;
        rows->offsets[r] = -INFINITY;
    }
}

static void store_gradients(size_t count, size_t size, size_t columns, float factor, const float *gradient, float *y,
                            size_t ldy) {
    const __m512 scale = _mm512_set1_ps(factor);
    for (size_t r = 0; r < count; r++) {
        const float *row = gradient + r / ROWS * ROWS * columns + r % ROWS * ROWS;
        for (size_t column = 0; column < size; column += ROWS) {
            const __m512 x = _mm512_mul_ps(_mm512_load_ps(row + column * ROWS), scale);
            _mm512_mask_storeu_ps(y + r * ldy + column, columns_below(size, column), x);
        }
    }
}

static void store_query_gradients(size_t count, size_t size, size_t columns, float factor, const float *gradient,
                                  float *y, size_t ldy) {
    const __m512 scale = _mm512_set1_ps(factor);
    for (size_t r = 0; r < (count + DEPTH - 1) / DEPTH * DEPTH; r += ROWS) {
        for (size_t column = 0; column < size; column += ROWS) {
            const size_t t = r / ROWS % 2; /* every other four queries of 32 */
            const float *tile = gradient + r / DEPTH * DEPTH * columns + (column / ROWS * 2 + t) * FLOATS;
            __m512 words[VECTOR_LANES];
            for (size_t i = 0; i < ROWS; i++) {
                words[i] = _mm512_mul_ps(_mm512_load_ps(tile + i * ROWS), scale);
            }
            vector_transpose(words);
            for (size_t i = 0; i < ROWS; i++) {
                const size_t query = r / DEPTH * DEPTH + 8 * (i / 4) + 4 * t + i % 4;
                if (query < count) {
                    _mm512_mask_storeu_ps(y + query * ldy + column, columns_below(size, column), words[i]);
                }
            }
        }
    }
}

void lilac_tile_attention_backward_kernels_amx(lilac_tile_attention_kernels *kernels) {
    kernels->row_numbers = row_numbers;
    kernels->backward = backward;
    kernels->query_gradients = query_gradients;
    kernels->store_gradients = store_gradients;
    kernels->store_query_gradients = store_query_gradients;
}
