/* SPDX-License-Identifier: MIT */
/*
 * The parts that the linear attention kernels of a level are made of, written over the vector type of vector_avx2.h or
 * vector_avx512.h, one of which the including file has included before: packing the rows of a chunk, and register tiles
 * of matrix products.
 *
 * A chunk is packed once: rows become floats, mapped, padded with zeros to whole vectors and made neighbours (rows of a
 * fused projection lie so far apart that a chunk of them would fall on a few cache sets only). All products then run on
 * packed matrices, whose row strides are multiples of VECTOR_LANES.
 */
#ifndef LILAC_KERNELS_X86_LINEAR_ATTENTION_TILES_H
#define LILAC_KERNELS_X86_LINEAR_ATTENTION_TILES_H

#include "kernels/x86/linear_attention_common.h"

#include <string.h>

enum { TILE_VECTORS = 2 };

ALWAYS_INLINE void pack_rows_as(const lilac_linear_attention_rows *rows, size_t count, size_t columns, size_t ld,
                                float *to, const bool bf16, const bool elu_plus_one) {
    const size_t whole = columns - columns % VECTOR_LANES;
    for (size_t row = 0; row < count; row++) {
        float *to_row = to + row * ld;
        const size_t item_size = bf16 ? sizeof(uint16_t) : sizeof(float);
        const char *ahead = (const char *)rows->data + (row + 4) * rows->stride * item_size;
        for (size_t byte = 0; byte < columns * item_size; byte += LILAC_ALIGNMENT) {
            __builtin_prefetch(ahead + byte, 0, 3);
        }
        size_t c = 0;
        for (; c < whole; c += VECTOR_LANES) {
            const vector x = row_vector(rows, row, c, VECTOR_LANES, bf16);
            vector_store(to_row + c, VECTOR_LANES, elu_plus_one ? vector_elu_plus_one(x) : x);
        }
        if (c < columns) {
            const vector x = row_vector(rows, row, c, columns - c, bf16);
            const vector y = elu_plus_one ? vector_keep(columns - c, vector_elu_plus_one(x)) : x;
            vector_store(to_row + c, VECTOR_LANES, y);
            c += VECTOR_LANES;
        }
        for (; c < ld; c += VECTOR_LANES) {
            vector_store(to_row + c, VECTOR_LANES, vector_zero());
        }
    }
}

/* Packs count rows, mapped if elu_plus_one, into rows of ld floats. */
static void pack_only(const lilac_linear_attention_rows *rows, size_t count, size_t columns, bool elu_plus_one,
                      size_t ld, float *to) {
    if (rows->bf16) {
        if (elu_plus_one) {
            pack_rows_as(rows, count, columns, ld, to, true, true);
        } else {
            pack_rows_as(rows, count, columns, ld, to, true, false);
        }
    } else if (elu_plus_one) {
        pack_rows_as(rows, count, columns, ld, to, false, true);
    } else {
        pack_rows_as(rows, count, columns, ld, to, false, false);
    }
}

/* The same, and zeros the rows from there up to a multiple of VECTOR_LANES. */
static void pack_rows(const lilac_linear_attention_rows *rows, size_t count, size_t columns, bool elu_plus_one,
                      size_t ld, float *to) {
    pack_only(rows, count, columns, elu_plus_one, ld, to);
    memset(to + count * ld, 0, (lilac_round_up(count, VECTOR_LANES) - count) * ld * sizeof *to);
}

/* to (columns x rows, stride ldt) = the transpose of from (rows x columns, stride ldf); both counts multiples of
 * VECTOR_LANES.
 */
static void transpose(size_t rows, size_t columns, const float *from, size_t ldf, float *to, size_t ldt) {
    for (size_t r = 0; r < rows; r += VECTOR_LANES) {
        for (size_t c = 0; c < columns; c += VECTOR_LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < VECTOR_LANES; i++) {
                block[i] = vector_load(from + (r + i) * ldf + c, VECTOR_LANES);
            }
            vector_transpose(block);
            for (size_t i = 0; i < VECTOR_LANES; i++) {
                vector_store(to + (c + i) * ldt + r, VECTOR_LANES, block[i]);
            }
        }
    }
}

/* A factor of a product: element (row, k) is at data[row * row_step + k * depth_step]. */
typedef struct left_factor {
    const float *data;
    size_t row_step, depth_step;
} left_factor;

/* A register tile: TILE_ROWS rows, `vectors` of TILE_VECTORS vectors. */
typedef struct tile {
    vector sum[TILE_ROWS][TILE_VECTORS];
} tile;

/* sum[r][v] += sum over k < depth of a(row + r, k) * b[k * ldb + lanes of v]. */
ALWAYS_INLINE void multiply_tile(tile *t, size_t depth, left_factor a, size_t row, const float *b, size_t ldb,
                                 const int vectors, fetcher *ahead) {
    /* Few pointers reach all rows with the address forms p, p + step and p + 2 step. */
    const float *low = a.data + row * a.row_step;
    const float *high = low + TILE_ROWS / 2 * a.row_step;
    for (size_t left = depth; left > 0;) {
        const size_t steps = lilac_size_min(left, FETCH_EVERY);
        fetch_some(ahead);
#pragma GCC unroll 1
        for (size_t k = 0; k < steps; k++) {
            vector lanes[TILE_VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                lanes[v] = vector_load(b + v * VECTOR_LANES, VECTOR_LANES);
            }
#pragma GCC unroll 8
            for (int r = 0; r < TILE_ROWS; r++) {
                const float *x = r < TILE_ROWS / 2 ? low + r * a.row_step : high + (r - TILE_ROWS / 2) * a.row_step;
                const vector factor = vector_set(*x);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) {
                    t->sum[r][v] = vector_multiply_add(factor, lanes[v], t->sum[r][v]);
                }
            }
            low += a.depth_step;
            high += a.depth_step;
            b += ldb;
        }
        left -= steps;
    }
}

/* The same for 2 * TILE_ROWS rows and one vector: sum[r][1] is that of row TILE_ROWS + r. */
ALWAYS_INLINE void multiply_tall_tile(tile *t, size_t depth, left_factor a, size_t row, const float *b, size_t ldb) {
    const float *low = a.data + row * a.row_step;
    const float *high = low + TILE_ROWS * a.row_step;
    for (size_t k = 0; k < depth; k++) {
        const vector lanes = vector_load(b, VECTOR_LANES);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++) {
            t->sum[r][0] = vector_multiply_add(vector_set(low[r * a.row_step]), lanes, t->sum[r][0]);
            t->sum[r][1] = vector_multiply_add(vector_set(high[r * a.row_step]), lanes, t->sum[r][1]);
        }
        low += a.depth_step;
        high += a.depth_step;
        b += ldb;
    }
}

ALWAYS_INLINE tile zero_tile(void) {
    tile t;
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; v++) {
            t.sum[r][v] = vector_zero();
        }
    }
    return t;
}

/* Copies the first rows and columns of a stored tile. */
static __attribute__((noinline)) void copy_part(const float *from, float *to, size_t ld, size_t rows, size_t columns) {
    for (size_t r = 0; r < rows; r++) {
        memcpy(to + r * ld, from + r * TILE_VECTORS * VECTOR_LANES, columns * sizeof *to);
    }
}

/*
 * Stores the first rows and columns of a tile. All indices into the tile are constants once the loops are unrolled:
 * else it would live in memory instead of registers, at less than half the speed.
 */
ALWAYS_INLINE void store_tile(const tile *t, float *to, size_t ld, size_t rows, size_t columns, const int vectors) {
    float part[TILE_ROWS * TILE_VECTORS * VECTOR_LANES];
    const bool whole = rows >= TILE_ROWS && columns >= (size_t)vectors * VECTOR_LANES;
    float *first = whole ? to : part;
    const size_t step = whole ? ld : TILE_VECTORS * VECTOR_LANES;
#pragma GCC unroll 8
    for (size_t r = 0; r < TILE_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vector_store(first + r * step + v * VECTOR_LANES, VECTOR_LANES, t->sum[r][v]);
        }
    }
    if (!whole) {
        copy_part(part, to, ld, lilac_size_min(rows, TILE_ROWS),
                  lilac_size_min(columns, (size_t)vectors * VECTOR_LANES));
    }
}

#endif
