/* SPDX-License-Identifier: MIT */
/*
 * The products by packed weights, written over the vector type that the including file has included before. It has
 * defined TILE_VECTORS, TILE_ROWS and FEW_ROWS too: the sums of TILE_ROWS rows with TILE_VECTORS vectors of a panel's
 * weights fit in the registers at once, beside one input and the weights, and so do those of FEW_ROWS rows, which are
 * no more, with the whole panel. A tile that is about as high as it is wide loads least for each multiplication; few
 * rows are bound by the reading of the weights, and the whole panel's are read in one stream.
 */
#ifndef LILAC_KERNELS_X86_PACKED_PRODUCT_BODY_H
#define LILAC_KERNELS_X86_PACKED_PRODUCT_BODY_H

#include "core/memory.h"
#include "kernels/packed_product.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { PANEL_VECTORS = LILAC_PANEL / VECTOR_LANES };

ALWAYS_INLINE vector panel_vector(const void *panel, size_t index, const bool bf16) {
    return bf16 ? vector_load_bf16((const uint16_t *)panel + index, VECTOR_LANES)
                : vector_load((const float *)panel + index, VECTOR_LANES);
}

/* Columns from `column` on, which is a vector's first. */
ALWAYS_INLINE void store_tile(const lilac_packed_product *p, const size_t rows, const size_t vectors, size_t column,
                              vector sums[][PANEL_VECTORS], float *y) {
#pragma GCC unroll 12
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            const size_t first = column + v * VECTOR_LANES;
            if (first < p->cols) {
                const size_t lanes = p->cols - first < VECTOR_LANES ? p->cols - first : VECTOR_LANES;
                float *to = y + i * p->ldy + first;
                vector_store(to, lanes, p->add ? vector_add(vector_load(to, lanes), sums[i][v]) : sums[i][v]);
            }
        }
    }
}

/* Bytes that will be read soon: fetched a few lines at a time, so that 24 rows are enough to fetch a panel. */
typedef struct fetcher {
    const char *next, *end;
} fetcher;

static inline fetcher fetcher_of(const lilac_packed_product_ahead *ahead) {
    return (fetcher){.next = ahead->data, .end = (const char *)ahead->data + ahead->bytes};
}

ALWAYS_INLINE void fetch_lines(fetcher *ahead) {
    if (ahead->next < ahead->end) {
        __builtin_prefetch(ahead->next, 0, 2);
        __builtin_prefetch(ahead->next + LILAC_ALIGNMENT, 0, 2);
        ahead->next += 2 * LILAC_ALIGNMENT;
    }
}

/*
 * sums += the products of each row's input with its weights, and moves on to the next input. Three rows share a
 * pointer, from which the processor reaches them without a computation of its own: p, p + ldx, p + 2 ldx.
 */
ALWAYS_INLINE void add_input(const size_t rows, const size_t vectors, const float *row[], size_t ldx, const void *panel,
                             const bool bf16, vector sums[][PANEL_VECTORS]) {
    vector weights[PANEL_VECTORS];
#pragma GCC unroll 4
    for (size_t v = 0; v < vectors; v++) {
        weights[v] = panel_vector(panel, v * VECTOR_LANES, bf16);
    }
#pragma GCC unroll 12
    for (size_t i = 0; i < rows; i++) {
        const vector input = vector_set(row[i / 3][i % 3 * ldx]);
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            sums[i][v] = vector_multiply_add(input, weights[v], sums[i][v]);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < (rows + 2) / 3; i++) {
        row[i]++;
    }
}

/* rows, vectors and bf16 are constants once this is inlined: the sums stay in registers. */
ALWAYS_INLINE void multiply_tile(const lilac_packed_product *p, const size_t rows, const size_t vectors, size_t column,
                                 const float *x, const void *panel, float *y, const bool bf16, fetcher ahead[2]) {
    vector sums[TILE_ROWS][PANEL_VECTORS];
#pragma GCC unroll 12
    for (size_t i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (size_t v = 0; v < vectors; v++) {
            sums[i][v] = vector_zero();
        }
    }
    const size_t element = bf16 ? sizeof(uint16_t) : sizeof(float);
    const size_t depth = p->depth, ldx = p->ldx, step = LILAC_PANEL * element;
    const char *weights = (const char *)panel + column * element;
    const float *row[(TILE_ROWS + 2) / 3];
#pragma GCC unroll 4
    for (size_t i = 0; i < (rows + 2) / 3; i++) {
        row[i] = x + 3 * i * ldx;
    }
    for (size_t k = 0; k + 2 <= depth; k += 2) {
        fetch_lines(&ahead[0]);
        fetch_lines(&ahead[1]);
        add_input(rows, vectors, row, ldx, weights, bf16, sums);
        add_input(rows, vectors, row, ldx, weights + step, bf16, sums);
        weights += 2 * step;
    }
    if (depth % 2 != 0) {
        add_input(rows, vectors, row, ldx, weights, bf16, sums);
    }
    store_tile(p, rows, vectors, column, sums, y);
}

/* All columns of up to TILE_ROWS rows. */
ALWAYS_INLINE void multiply_columns(const lilac_packed_product *p, const size_t rows, const float *x, const void *panel,
                                    float *y, const bool bf16, fetcher ahead[2]) {
    if (rows <= FEW_ROWS) {
        multiply_tile(p, rows, PANEL_VECTORS, 0, x, panel, y, bf16, ahead);
        return;
    }
    for (size_t column = 0; column < p->cols; column += TILE_VECTORS * VECTOR_LANES) {
        multiply_tile(p, rows, TILE_VECTORS, column, x, panel, y, bf16, ahead);
    }
}

#define ROWS_CASE(rows)                                                                                                \
    case rows:                                                                                                         \
        multiply_columns(p, rows, x, panel, y, bf16, ahead);                                                           \
        break

/* Fewer rows than a tile has: each number of them has code of its own, so that the panel is read once. */
ALWAYS_INLINE void multiply_last(const lilac_packed_product *p, size_t rows, const float *x, const void *panel,
                                 float *y, const bool bf16, fetcher ahead[2]) {
    switch (rows) {
        ROWS_CASE(1);
        ROWS_CASE(2);
        ROWS_CASE(3);
        ROWS_CASE(4);
        ROWS_CASE(5);
#if TILE_ROWS > 6
        ROWS_CASE(6);
        ROWS_CASE(7);
        ROWS_CASE(8);
        ROWS_CASE(9);
        ROWS_CASE(10);
        ROWS_CASE(11);
#endif
    default:
        break;
    }
}

ALWAYS_INLINE void multiply_rows(const lilac_packed_product *p, const float *x, const void *panel, float *y,
                                 const bool bf16) {
    fetcher ahead[2] = {fetcher_of(&p->weights_ahead), fetcher_of(&p->ahead)};
    size_t row = 0;
    for (; row + TILE_ROWS <= p->rows; row += TILE_ROWS) {
        multiply_columns(p, TILE_ROWS, x + row * p->ldx, panel, y + row * p->ldy, bf16, ahead);
    }
    multiply_last(p, p->rows - row, x + row * p->ldx, panel, y + row * p->ldy, bf16, ahead);
}

static void multiply(const lilac_packed_product *p, const float *x, const float *panel, float *y) {
    multiply_rows(p, x, panel, y, false);
}

static void multiply_bf16(const lilac_packed_product *p, const float *x, const uint16_t *panel, float *y) {
    multiply_rows(p, x, panel, y, true);
}

static const lilac_packed_product_kernels packed_product_kernels = {.multiply = multiply,
                                                                    .multiply_bf16 = multiply_bf16};

#endif
