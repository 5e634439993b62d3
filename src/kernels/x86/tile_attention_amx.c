/* SPDX-License-Identifier: MIT */
/* Softmax attention in AMX tiles: packing and the forward pass. Exponentials take more time than products here. */
#include "kernels/x86/tile_attention_amx.h"

#include <math.h>
#include <string.h>

/* ---- Packing ---- */

/* 16 numbers of a row, scaled. */
static inline __m512 load_scaled(const lilac_tile_source *source, size_t row, size_t column) {
    const __m512 x = _mm512_mul_ps(load_floats(source, row, column), _mm512_set1_ps(source->scale));
    return source->ones && source->size >= column && source->size < column + ROWS
               ? _mm512_mask_mov_ps(x, (__mmask16)(1u << (source->size - column)), _mm512_set1_ps(1.0f))
               : x;
}

/* Rows row .. row + 31, columns column .. column + 31, rounded. */
static void load_block(const lilac_tile_source *source, size_t row, size_t column, __m512i block[DEPTH]) {
    const size_t count = source->count - row < DEPTH ? source->count - row : DEPTH;
    const bool fetch = column == 0 && source->ahead != NULL;
    for (size_t r = 0; r < count; r++) {
        block[r] = round_to_bf16(load_scaled(source, row + r, column), load_scaled(source, row + r, column + ROWS));
        if (fetch) {
            fetch_row(source, row + r);
        }
    }
    for (size_t r = count; r < DEPTH; r++) {
        block[r] = _mm512_setzero_si512();
    }
}

/* Columns 0 .. 15 or 16 .. 31 of a block's rows 2 i and 2 i + 1 as pairs. */
static void pair_rows(const __m512i block[DEPTH], bool second, __m512i pairs[ROWS]) {
    uint16_t order[DEPTH];
    for (size_t i = 0; i < DEPTH; i++) {
        order[i] = (uint16_t)(i / 2 + (second ? ROWS : 0) + i % 2 * DEPTH);
    }
    const __m512i index = _mm512_loadu_si512(order);
    for (size_t i = 0; i < ROWS; i++) {
        pairs[i] = _mm512_permutex2var_epi16(block[2 * i], index, block[2 * i + 1]);
    }
}

/* Stores a block's columns column .. column + 31, as far as they exist, in the forms that are wanted. */
static void store_block(const lilac_tile_forms *forms, size_t block_row, size_t column, const __m512i block[DEPTH]) {
    const size_t groups = forms->columns / DEPTH, base = block_row * DEPTH * forms->columns;
    for (size_t half = 0; half < 2; half++) {
        const size_t across = base + (half * groups + column / DEPTH) * HALVES;
        if (forms->left != NULL) {
            store_tile(forms->left + across, block + half * ROWS);
        }
        if (forms->right_transposed != NULL) {
            store_transposed(forms->right_transposed + across, block + half * ROWS);
        }
        if (column + half * ROWS >= forms->columns || (forms->right == NULL && forms->left_transposed == NULL)) {
            continue;
        }
        const size_t down = base + (column / ROWS + half) * HALVES;
        __m512i pairs[ROWS];
        pair_rows(block, half == 1, pairs);
        if (forms->right != NULL) {
            store_tile(forms->right + down, pairs);
        }
        if (forms->left_transposed != NULL) {
            store_transposed(forms->left_transposed + down, pairs);
        }
    }
}

static void pack(const lilac_tile_source *source, const lilac_tile_forms *forms) {
    for (size_t row = 0; row < source->count; row += DEPTH) {
        for (size_t column = 0; column < forms->columns; column += DEPTH) {
            __m512i block[DEPTH];
            load_block(source, row, column, block);
            store_block(forms, row / DEPTH, column, block);
        }
    }
}

/* ---- Forward ---- */

/*
 * Probabilities are 2^(score - offset), the offset being such that none reaches 2. It is raised when one does, to 8
 * above the row's largest score, which seldom happens after the first keys. As scores start from minus the offset in
 * their tiles, and as the largest bit of a probability's exponent tells whether it reaches 2, that takes an instruction
 * for each 64 numbers.
 */
static const float HEADROOM = 8.0f;

/* 16 queries on their way through the keys, 32 of these, a chunk, at a time. */
typedef struct query_tile {
    _Alignas(64) float start[FLOATS];               /* minus the row's offset, everywhere in a row */
    _Alignas(64) float scores[2][2 * FLOATS];       /* of even and of odd chunks: two tiles each */
    _Alignas(64) uint16_t probabilities[2][HALVES]; /* of even and of odd chunks */
    size_t first;                                   /* query */
    const uint16_t *query;
    size_t depth, width; /* tiles of a row of keys, and of values */
} query_tile;

/*
 * The rows of a chunk that is being exponentiated. Products of tiles that follow each other keep the cpu from starting
 * anything else, but a vector's instructions run beside one of them: so a row is done after each instruction for tiles.
 */
typedef struct row_queue {
    const float *scores;
    uint16_t *probabilities;
    size_t done;
    __m512i seen; /* all bits of probabilities */
} row_queue;

ALWAYS_INLINE row_queue queue_rows(query_tile *tile, size_t chunk) {
    return (row_queue){.scores = tile->scores[chunk % 2],
                       .probabilities = tile->probabilities[chunk % 2],
                       .seen = _mm512_setzero_si512()};
}

/* Does the next row, if there is one. The compiler must leave it where it stands. */
ALWAYS_INLINE void next_row(row_queue *queue) {
    if (queue->done < ROWS) {
        const float *scores = queue->scores + queue->done * ROWS;
        const __m512 low = lilac_rough_exp2_avx512(_mm512_load_ps(scores)),
                     high = lilac_rough_exp2_avx512(_mm512_load_ps(scores + FLOATS));
        const __m512i p = round_to_bf16(low, high);
        queue->seen = _mm512_or_si512(queue->seen, p);
        _mm512_store_si512(queue->probabilities + queue->done * DEPTH, p);
        queue->done++;
        finish_stores();
    }
}

/* Does the rows that are left. True if a probability of the chunk reaches 2 or is NaN. */
ALWAYS_INLINE bool last_rows(row_queue *queue) {
    while (queue->done < ROWS) {
        next_row(queue);
    }
    return _mm512_test_epi32_mask(queue->seen, _mm512_set1_epi32(0x40004000)) != 0;
}

/* Scores of a chunk, less the offsets. Tiles: 3 and 4 sums, 5 queries, 6 and 7 keys. */
ALWAYS_INLINE void score_chunk(const lilac_tile_forward *pass, query_tile *tile, size_t chunk, const size_t depth,
                               row_queue *queue) {
    const uint16_t *keys = pass->key + chunk * 2 * depth * HALVES;
    float *scores = tile->scores[chunk % 2];
    finish_stores();
    _tile_loadd(3, tile->start, ROW_BYTES);
    next_row(queue);
    _tile_loadd(4, tile->start, ROW_BYTES);
    next_row(queue);
    for (size_t d = 0; d < depth; d++) {
        _tile_loadd(5, tile->query + d * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_loadd(6, keys + d * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(3, 5, 6);
        next_row(queue);
        _tile_loadd(7, keys + (depth + d) * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(4, 5, 7);
        next_row(queue);
    }
    _tile_stored(3, scores, ROW_BYTES);
    next_row(queue);
    _tile_stored(4, scores + FLOATS, ROW_BYTES);
    next_row(queue);
}

/* Adds the values of a chunk, weighted. Tiles: 0 to 2 sums, 5 probabilities, 6 and 7 values. */
ALWAYS_INLINE void add_values(const lilac_tile_forward *pass, query_tile *tile, size_t chunk, const size_t width,
                              row_queue *queue) {
    const uint16_t *values = pass->value + chunk * width * HALVES;
    finish_stores();
    _tile_loadd(5, tile->probabilities[chunk % 2], ROW_BYTES);
    next_row(queue);
    if (width > 3) {
        for (size_t w = 0; w < width; w++) {
            _tile_loadd(0, pass->scratch + w * FLOATS, ROW_BYTES);
            _tile_loadd(6, values + w * HALVES, ROW_BYTES);
            next_row(queue);
            _tile_dpbf16ps(0, 5, 6);
            next_row(queue);
            _tile_stored(0, pass->scratch + w * FLOATS, ROW_BYTES);
        }
        return;
    }
    _tile_loadd(6, values, ROW_BYTES);
    next_row(queue);
    _tile_dpbf16ps(0, 5, 6);
    next_row(queue);
    if (width > 1) {
        _tile_loadd(7, values + HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(1, 5, 7);
        next_row(queue);
    }
    if (width > 2) {
        _tile_loadd(6, values + 2 * HALVES, ROW_BYTES);
        next_row(queue);
        _tile_dpbf16ps(2, 5, 6);
        next_row(queue);
    }
}

/* Exponentiates a chunk while the next one's scores are computed, if there is one, and the last one's values added.
 * True if a probability reaches 2 or is NaN. */
ALWAYS_INLINE bool step(const lilac_tile_forward *pass, query_tile *tile, size_t chunk, const size_t depth,
                        const size_t width, const bool next, const bool last) {
    row_queue queue = queue_rows(tile, chunk);
    if (next) {
        score_chunk(pass, tile, chunk + 1, depth, &queue);
    }
    if (last) {
        add_values(pass, tile, chunk - 1, width, &queue);
    }
    return last_rows(&queue);
}

static inline void zero_floats(float *x, size_t count) {
    for (size_t i = 0; i < count; i += ROWS) {
        _mm512_store_ps(x + i, _mm512_setzero_ps());
    }
}

/* Between tiles 0 to 2 and the scratch memory, where they are needed as vectors; more of them are always there. */
ALWAYS_INLINE void store_sums(const lilac_tile_forward *pass, const size_t width) {
    if (width <= 3) {
        _tile_stored(0, pass->scratch, ROW_BYTES);
        if (width > 1) {
            _tile_stored(1, pass->scratch + FLOATS, ROW_BYTES);
        }
        if (width > 2) {
            _tile_stored(2, pass->scratch + 2 * FLOATS, ROW_BYTES);
        }
    }
}

ALWAYS_INLINE void load_sums(const lilac_tile_forward *pass, const size_t width) {
    if (width <= 3) {
        finish_stores();
        _tile_loadd(0, pass->scratch, ROW_BYTES);
        if (width > 1) {
            _tile_loadd(1, pass->scratch + FLOATS, ROW_BYTES);
        }
        if (width > 2) {
            _tile_loadd(2, pass->scratch + 2 * FLOATS, ROW_BYTES);
        }
    }
}

/* The largest score of a row of a chunk, NaN left aside. */
static inline float largest_score(const float *scores) {
    /* Of a NaN and a number, max returns the second. */
    const __m512 largest = _mm512_max_ps(_mm512_load_ps(scores), _mm512_set1_ps(-INFINITY));
    return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_load_ps(scores + FLOATS), largest));
}

/* Raises the offset of a row by `more`, and lowers its scores. */
static inline void raise_offset(query_tile *tile, float *scores, size_t row, float more) {
    const __m512 offset = _mm512_sub_ps(_mm512_load_ps(tile->start + row * ROWS), _mm512_set1_ps(more));
    _mm512_store_ps(tile->start + row * ROWS, offset);
    _mm512_store_ps(scores, _mm512_sub_ps(_mm512_load_ps(scores), _mm512_set1_ps(more)));
    _mm512_store_ps(scores + FLOATS, _mm512_sub_ps(_mm512_load_ps(scores + FLOATS), _mm512_set1_ps(more)));
}

/* Sets the offsets by the first chunk, before anything is added up. */
static void set_offsets(query_tile *tile) {
    for (size_t r = 0; r < ROWS; r++) {
        float *scores = tile->scores[0] + r * ROWS;
        const float maximum = largest_score(scores);
        _mm512_store_ps(tile->start + r * ROWS, _mm512_setzero_ps());
        if (maximum != -INFINITY) {
            raise_offset(tile, scores, r, maximum + HEADROOM);
        }
    }
}

/* Raises the offsets of those rows of which a probability of the chunk would reach 2. */
static void raise_offsets(const lilac_tile_forward *pass, query_tile *tile, size_t chunk) {
    for (size_t r = 0; r < ROWS; r++) {
        float *scores = tile->scores[chunk % 2] + r * ROWS;
        const float more = largest_score(scores) + HEADROOM;
        if (more < 1.0f + HEADROOM) {
            continue;
        }
        raise_offset(tile, scores, r, more);
        const __m512 factor = _mm512_set1_ps(exp2f(-more));
        for (size_t w = 0; w < tile->width; w++) {
            float *sums = pass->scratch + w * FLOATS + r * ROWS;
            _mm512_store_ps(sums, _mm512_mul_ps(_mm512_load_ps(sums), factor));
        }
    }
}

/* Scores of keys that a row does not see become -infinity. */
static void mask_scores(const lilac_tile_forward *pass, query_tile *tile, size_t chunk) {
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    float *scores = tile->scores[chunk % 2];
    for (size_t r = 0; r < ROWS; r++) {
        const size_t visible = lilac_softmax_row_visible(tile->first + r, pass->diagonal, pass->keys);
        const __mmask16 low = lanes_below(visible, chunk * DEPTH);
        const __mmask16 high = lanes_below(visible, chunk * DEPTH + ROWS);
        _mm512_mask_store_ps(scores + r * ROWS, (__mmask16)~low, lowest);
        _mm512_mask_store_ps(scores + FLOATS + r * ROWS, (__mmask16)~high, lowest);
    }
}

/* Raises offsets between two chunks, if a step found that it has to be, and exponentiates again. */
ALWAYS_INLINE void raise_sums(const lilac_tile_forward *pass, query_tile *tile, size_t chunk, const size_t depth,
                              const size_t width, bool next) {
    row_queue none = {.done = ROWS}, rows = queue_rows(tile, chunk);
    store_sums(pass, width);
    raise_offsets(pass, tile, chunk);
    load_sums(pass, width);
    if (next) {
        score_chunk(pass, tile, chunk + 1, depth, &none);
    }
    last_rows(&rows);
}

/* Takes the keys that the 16 queries see, `end` at most, into their sums. */
ALWAYS_INLINE void attend(const lilac_tile_forward *pass, query_tile *tile, size_t end, const size_t depth,
                          const size_t width) {
    const size_t chunks = (end + DEPTH - 1) / DEPTH;
    const size_t whole = lilac_softmax_row_visible(tile->first, pass->diagonal, pass->keys) / DEPTH;
    row_queue none = {.done = ROWS};
    score_chunk(pass, tile, 0, depth, &none);
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const bool next = chunk + 1 < chunks;
        if (chunk >= whole) {
            mask_scores(pass, tile, chunk);
        }
        if (chunk == 0) {
            set_offsets(tile);
            if (next) {
                step(pass, tile, 0, depth, width, true, false);
            } else {
                step(pass, tile, 0, depth, width, false, false);
            }
        } else if (next ? step(pass, tile, chunk, depth, width, true, true)
                        : step(pass, tile, chunk, depth, width, false, true)) {
            raise_sums(pass, tile, chunk, depth, width, next);
        }
    }
    add_values(pass, tile, chunks - 1, width, &none);
    store_sums(pass, width);
}

/* log2(x) to within 3e-7; -infinity for 0. With m the mantissa, 3/4 <= m < 3/2, and t = (m - 1) / (m + 1), log(m) is
 * 2 (t + t^3 / 3 + t^5 / 5 + ...). */
static inline __m512 log2_of(__m512 x) {
    const __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src), one = _mm512_set1_ps(1.0f);
    const __m512 exponent = _mm512_getexp_ps(_mm512_div_ps(x, m));
    const __m512 t = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), square = _mm512_mul_ps(t, t);
    __m512 p = _mm512_fmadd_ps(square, _mm512_set1_ps(1.0f / 7.0f), _mm512_set1_ps(1.0f / 5.0f));
    p = _mm512_fmadd_ps(p, square, _mm512_set1_ps(1.0f / 3.0f));
    p = _mm512_fmadd_ps(p, square, one);
    return _mm512_fmadd_ps(_mm512_mul_ps(p, t), _mm512_set1_ps(0x1.715476p1f), exponent);
}

/* Divides the sums of `count` rows by those of their probabilities. */
static void finish_rows(const lilac_tile_forward *pass, const query_tile *tile, size_t count) {
    const __m512i rows = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                            _mm512_set1_epi32(ROWS));
    const float *ones = pass->scratch + pass->value_size / ROWS * FLOATS + pass->value_size % ROWS;
    const __m512 sum = _mm512_i32gather_ps(rows, ones, sizeof(float));
    const __mmask16 seen = _mm512_cmp_ps_mask(sum, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    _Alignas(64) float factors[ROWS];
    _mm512_store_ps(factors, _mm512_maskz_div_ps(seen, _mm512_set1_ps(1.0f), sum));
    for (size_t r = 0; r < count; r++) {
        float *output = pass->output + (tile->first + r) * pass->output_stride;
        for (size_t column = 0; column < pass->value_size; column += ROWS) {
            const __m512 y = _mm512_load_ps(pass->scratch + column / ROWS * FLOATS + r * ROWS);
            _mm512_mask_storeu_ps(output + column, lanes_below(pass->value_size, column),
                                  _mm512_mul_ps(y, _mm512_set1_ps(factors[r])));
        }
    }
    if (pass->log_sum_exp != NULL) {
        const __m512 offset = _mm512_i32gather_ps(rows, tile->start, sizeof(float)); /* negative */
        const __m512 y = _mm512_mul_ps(_mm512_sub_ps(log2_of(sum), offset), _mm512_set1_ps(0x1.62e430p-1f));
        _mm512_mask_storeu_ps(pass->log_sum_exp + tile->first, lanes_below(count, 0),
                              _mm512_mask_blend_ps(seen, _mm512_set1_ps(-INFINITY), y));
    }
}

ALWAYS_INLINE void forward_tile(const lilac_tile_forward *pass, query_tile *tile, const size_t depth,
                                const size_t width) {
    const size_t count = pass->queries - tile->first < ROWS ? pass->queries - tile->first : ROWS;
    const size_t end = lilac_softmax_row_visible(tile->first + count - 1, pass->diagonal, pass->keys);
    zero_floats(tile->start, FLOATS);
    if (width > 3 || end == 0) {
        zero_floats(pass->scratch, width * FLOATS);
    }
    if (end > 0) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        attend(pass, tile, end, depth, width);
    }
    finish_rows(pass, tile, count);
}

static void forward(const lilac_tile_forward *pass) {
    query_tile tile;
    tile.depth = pass->key_columns / DEPTH;
    tile.width = pass->value_columns / ROWS;
    set_tile_shapes();
    for (tile.first = 0; tile.first < pass->queries; tile.first += ROWS) {
        tile.query = pass->query + tile.first / ROWS * tile.depth * HALVES;
        if (tile.depth == 1 && tile.width == 3) {
            forward_tile(pass, &tile, 1, 3);
        } else if (tile.depth == 1 && tile.width == 2) {
            forward_tile(pass, &tile, 1, 2);
        } else if (tile.depth == 2 && tile.width == 5) {
            forward_tile(pass, &tile, 2, 5);
        } else {
            forward_tile(pass, &tile, tile.depth, tile.width);
        }
    }
    _tile_release();
}

void lilac_tile_attention_kernels_amx(lilac_tile_attention_kernels *kernels) {
    kernels->pack = pack;
    kernels->forward = forward;
    lilac_tile_attention_backward_kernels_amx(kernels);
}
