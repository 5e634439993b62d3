/* SPDX-License-Identifier: MIT */
/*
 * Softmax attention in AMX tiles, backward. Scores are computed transposed, a row for each key: probabilities and their
 * gradients then are left operands as they are, and right ones after pairs of rows have been interleaved.
 */
#include "kernels/x86/tile_attention_amx.h"

#include <math.h>

enum { QUERIES = DEPTH };

/* A step is 16 keys against 32 queries: two tiles of floats or one of bf16 numbers. Memory for it, used in turn. */
typedef struct step_memory {
    _Alignas(64) float scores[2 * FLOATS];
    float probability_gradients[2 * FLOATS]; /* less the deltas */
    uint16_t probabilities[HALVES];
    uint16_t score_gradients[HALVES];
} step_memory;

typedef struct step_place {
    size_t key, chunk; /* the first of 16; a chunk of 32 queries */
    step_memory *memory;
} step_place;

/* The way of a block of keys through the queries: 16 keys through all that see them, then the next 16. */
typedef struct walk {
    const lilac_tile_backward *block;
    size_t chunks;
    size_t depth, width; /* tiles of a row of keys, and of values, as left operands */
    step_memory memory[2];
} walk;

/* The chunks of 32 queries from this one on see some of the 32 keys around key number `key`. */
static inline size_t first_chunk(const lilac_tile_backward *block, size_t key) {
    const ptrdiff_t query = (ptrdiff_t)(key / DEPTH * DEPTH) + 1 - block->diagonal;
    return query <= 0 ? 0 : (size_t)query / QUERIES;
}

/* Where the gradients of the scores of chunk and key are kept as right operands: two tiles. */
static inline uint16_t *kept_gradients(const lilac_tile_backward *block, size_t chunk, size_t key) {
    return block->score_gradients + (chunk * (LILAC_TILE_KEY_BLOCK / DEPTH) + key / DEPTH) * 2 * HALVES;
}

/* The rows of a chunk that is being differentiated, one key each. As in the forward pass, one is done after each few
 * instructions for tiles. */
typedef struct row_queue {
    const float *scores, *probability_gradients;
    uint16_t *probabilities, *score_gradients, *kept;
    size_t done;
    __m512i even; /* the last even row of score gradients */
} row_queue;

ALWAYS_INLINE row_queue queue_rows(const walk *w, const step_place *place) {
    return (row_queue){
        .scores = place->memory->scores,
        .probability_gradients = place->memory->probability_gradients,
        .probabilities = place->memory->probabilities,
        .score_gradients = place->memory->score_gradients,
        .kept = kept_gradients(w->block, place->chunk, place->key) + place->key % DEPTH / 2 * DEPTH,
        .even = _mm512_setzero_si512(),
    };
}

/* Does the next row, if there is one. The compiler must leave it where it stands. */
ALWAYS_INLINE void next_row(row_queue *queue) {
    const size_t row = queue->done;
    if (row == ROWS) {
        return;
    }
    const float *scores = queue->scores + row * ROWS, *gradients = queue->probability_gradients + row * ROWS;
    const __m512 low = lilac_rough_exp2_avx512(_mm512_load_ps(scores)),
                 high = lilac_rough_exp2_avx512(_mm512_load_ps(scores + FLOATS));
    const __m512i ds = round_to_bf16(_mm512_mul_ps(low, _mm512_load_ps(gradients)),
                                     _mm512_mul_ps(high, _mm512_load_ps(gradients + FLOATS)));
    _mm512_store_si512(queue->probabilities + row * DEPTH, round_to_bf16(low, high));
    _mm512_store_si512(queue->score_gradients + row * DEPTH, ds);
    if (row % 2 == 0) {
        queue->even = ds;
    } else {
        uint16_t *pairs = queue->kept + row / 2 * DEPTH;
        _mm512_store_si512(pairs, _mm512_unpacklo_epi16(queue->even, ds));
        _mm512_store_si512(pairs + HALVES, _mm512_unpackhi_epi16(queue->even, ds));
    }
    queue->done++;
    finish_stores();
}

/* The sums of one left row of tiles with both halves of 32 queries, on top of `starts`. Tiles: 4 and 7 sums, 5 keys or
 * values, 6 queries or gradients. */
ALWAYS_INLINE void multiply_chunk(const float *starts, const uint16_t *left, const uint16_t *right, const size_t depth,
                                  float *sums, row_queue *queue) {
    _tile_loadd(4, starts, 0);
    _tile_loadd(7, starts + ROWS, 0);
    next_row(queue);
    for (size_t d = 0; d < depth; d++) {
        _tile_loadd(5, left + d * HALVES, ROW_BYTES);
        _tile_loadd(6, right + d * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(4, 5, 6);
        _tile_loadd(6, right + (depth + d) * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(7, 5, 6);
        next_row(queue);
    }
    _tile_stored(4, sums, ROW_BYTES);
    next_row(queue);
    _tile_stored(7, sums + FLOATS, ROW_BYTES);
    next_row(queue);
}

/* Scores and gradients of probabilities. */
ALWAYS_INLINE void score(const walk *w, const step_place *place, const size_t depth, const size_t width,
                         row_queue *queue) {
    const lilac_tile_backward *block = w->block;
    const size_t key_row = place->key / ROWS, chunk = place->chunk;
    finish_stores();
    multiply_chunk(block->offsets + chunk * QUERIES, block->key + key_row * depth * HALVES,
                   block->query_transposed + chunk * 2 * depth * HALVES, depth, place->memory->scores, queue);
    multiply_chunk(block->deltas + chunk * QUERIES, block->value + key_row * width * HALVES,
                   block->output_gradient_transposed + chunk * 2 * width * HALVES, width,
                   place->memory->probability_gradients, queue);
}

/* Those of 16 queries from `query` on that exist and see the key. */
static inline __mmask16 queries_that_see(const lilac_tile_backward *block, size_t key, size_t query) {
    if (key >= block->keys) {
        return 0;
    }
    const ptrdiff_t first = (ptrdiff_t)key + 1 - block->diagonal;
    const __mmask16 blind = first <= 0 ? 0 : lanes_below((size_t)first, query);
    return lanes_below(block->queries, query) & (__mmask16)~blind;
}

/* Where a query does not see a key the score becomes -infinity and the probability's gradient 0. */
static void mask_step(const walk *w, const step_place *place) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t half = 0; half < 2; half++) {
            const size_t at = half * FLOATS + row * ROWS;
            const __mmask16 blind =
                (__mmask16)~queries_that_see(w->block, place->key + row, place->chunk * QUERIES + half * ROWS);
            _mm512_mask_store_ps(place->memory->scores + at, blind, lowest);
            _mm512_mask_store_ps(place->memory->probability_gradients + at, blind, _mm512_setzero_ps());
        }
    }
}

static inline bool is_whole(const walk *w, const step_place *place) {
    const lilac_tile_backward *block = w->block;
    const size_t query = place->chunk * QUERIES, end = place->key + ROWS;
    return end <= block->keys && query + QUERIES <= block->queries &&
           lilac_softmax_row_visible(query, block->diagonal, block->keys) >= end;
}

/* The product of tile 4 and of `columns` tiles is added to as many sums in memory. Tiles: 5 the right operand, 6 sums.
 */
ALWAYS_INLINE void add_to_memory(const uint16_t *right, float *sums, size_t columns, row_queue *queue) {
    for (size_t c = 0; c < columns; c++) {
        _tile_loadd(6, sums + c * FLOATS, ROW_BYTES);
        _tile_loadd(5, right + c * HALVES, ROW_BYTES);
        _tile_dpbf16ps(6, 4, 5);
        next_row(queue);
        _tile_stored(6, sums + c * FLOATS, ROW_BYTES);
    }
}

/* Between tiles 0 to 3 and the sums of 16 keys in memory. */
ALWAYS_INLINE void load_sums(const lilac_tile_backward *block, size_t key) {
    const float *values = block->value_gradient + key * DEPTH, *keys = block->key_gradient + key * DEPTH;
    _tile_loadd(0, values, ROW_BYTES);
    _tile_loadd(1, values + FLOATS, ROW_BYTES);
    _tile_loadd(2, keys, ROW_BYTES);
    _tile_loadd(3, keys + FLOATS, ROW_BYTES);
}

ALWAYS_INLINE void store_sums(const lilac_tile_backward *block, size_t key) {
    float *values = block->value_gradient + key * DEPTH, *keys = block->key_gradient + key * DEPTH;
    _tile_stored(0, values, ROW_BYTES);
    _tile_stored(1, values + FLOATS, ROW_BYTES);
    _tile_stored(2, keys, ROW_BYTES);
    _tile_stored(3, keys + FLOATS, ROW_BYTES);
}

/* Adds a step's part of the gradients of keys and values. Tiles: 0 and 1 sums of values' gradients, 2 and 3 of keys',
 * if there are no more than these; 4 and 7 left operands, 5 and 6 right ones. */
ALWAYS_INLINE void add_gradients(const walk *w, const step_place *place, const size_t depth, const size_t width,
                                 row_queue *queue) {
    const lilac_tile_backward *block = w->block;
    const uint16_t *query = block->query + place->chunk * 2 * depth * HALVES;
    const uint16_t *gradient = block->output_gradient + place->chunk * 2 * width * HALVES;
    const size_t key_row = place->key / ROWS;
    const step_memory *memory = place->memory;
    finish_stores();
    if (depth > 1 || width > 1) {
        _tile_loadd(4, memory->probabilities, ROW_BYTES);
        add_to_memory(gradient, block->value_gradient + key_row * 2 * width * FLOATS, 2 * width, queue);
        _tile_loadd(4, memory->score_gradients, ROW_BYTES);
        add_to_memory(query, block->key_gradient + key_row * 2 * depth * FLOATS, 2 * depth, queue);
        return;
    }
    if (place->chunk == first_chunk(block, place->key)) {
        load_sums(block, place->key);
    }
    _tile_loadd(4, memory->probabilities, ROW_BYTES);
    _tile_loadd(5, gradient, ROW_BYTES);
    next_row(queue);
    _tile_dpbf16ps(0, 4, 5);
    _tile_loadd(6, gradient + HALVES, ROW_BYTES);
    next_row(queue);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(7, memory->score_gradients, ROW_BYTES);
    next_row(queue);
    _tile_loadd(5, query, ROW_BYTES);
    _tile_dpbf16ps(2, 7, 5);
    next_row(queue);
    _tile_loadd(6, query + HALVES, ROW_BYTES);
    _tile_dpbf16ps(3, 7, 6);
    next_row(queue);
    if (place->chunk + 1 == w->chunks) {
        store_sums(block, place->key);
    }
}

/* The step after this one; false if it was the last. */
static inline bool step_on(walk *w, const step_place *now, step_place *next) {
    *next = (step_place){now->key, now->chunk + 1, now->memory == &w->memory[0] ? &w->memory[1] : &w->memory[0]};
    if (next->chunk == w->chunks) {
        next->key += ROWS;
        next->chunk = first_chunk(w->block, next->key);
    }
    /* Both halves of 32 keys: as right operands they share tiles. */
    return next->key < (w->block->keys + DEPTH - 1) / DEPTH * DEPTH && next->chunk < w->chunks;
}

/* Differentiates a step while the next one's scores are computed, if there is one, and the last one's gradients added.
 */
ALWAYS_INLINE void step(const walk *w, const step_place *now, const step_place *next, const step_place *last,
                        const size_t depth, const size_t width) {
    row_queue queue = queue_rows(w, now);
    if (next != NULL) {
        score(w, next, depth, width, &queue);
    }
    if (last != NULL) {
        add_gradients(w, last, depth, width, &queue);
    }
    while (queue.done < ROWS) {
        next_row(&queue);
    }
}

ALWAYS_INLINE void walk_through(walk *w, const size_t depth, const size_t width) {
    row_queue none = {.done = ROWS};
    step_place last, now = {0, first_chunk(w->block, 0), &w->memory[0]}, next;
    if (now.chunk >= w->chunks) {
        return;
    }
    score(w, &now, depth, width, &none);
    for (bool first = true, more = true; more; first = false) {
        more = step_on(w, &now, &next);
        if (!is_whole(w, &now)) {
            mask_step(w, &now);
        }
        if (more && !first) {
            step(w, &now, &next, &last, depth, width);
        } else if (more) {
            step(w, &now, &next, NULL, depth, width);
        } else {
            step(w, &now, NULL, first ? NULL : &last, depth, width);
        }
        last = now;
        now = next;
    }
    add_gradients(w, &last, depth, width, &none);
}

static void backward(const lilac_tile_backward *block) {
    walk w;
    w.block = block;
    w.chunks = (block->queries + QUERIES - 1) / QUERIES;
    w.depth = block->key_columns / DEPTH;
    w.width = block->value_columns / DEPTH;
    set_tile_shapes();
    if (w.depth == 1 && w.width == 1) {
        walk_through(&w, 1, 1);
    } else {
        walk_through(&w, w.depth, w.width);
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
            _mm512_mask_storeu_ps(y + r * ldy + column, lanes_below(size, column), x);
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
                    _mm512_mask_storeu_ps(y + query * ldy + column, lanes_below(size, column), words[i]);
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
