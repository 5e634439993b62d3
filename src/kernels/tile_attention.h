/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the softmax attention kernels for cpus that multiply tiles of bf16 numbers: as in softmax_attention.h,
 * but operands of products are rounded to bf16, and products summed in floats.
 *
 * Common rules. Scores are in units of log2: the scale and log2(e) are part of the packed keys. Row r of a block of
 * queries sees the keys k < visible(r) = clamp(r + diagonal, 0, keys), so diagonal = keys means all of them. Every
 * buffer is aligned to LILAC_ALIGNMENT; none may overlap another. One level always gives the same bytes, and those of a
 * row of queries do not depend on which others are in its block.
 *
 * A tile is 16 rows of 32 bf16 numbers or of 16 floats, LILAC_TILE_BYTES in all. Where a row holds pairs, two numbers
 * that are added up in one step lie side by side. A matrix x is packed in blocks of 32 rows, of `columns` numbers each,
 * what x lacks being 0, in one or more of four forms. Each is a sequence of tiles, block after block:
 *
 *     form              for          tiles of a block                        row i of a tile
 *     left              x y          2 halves x columns / 32 groups          row i of the half, a group of columns
 *     left_transposed   x^T y        columns / 16 groups                     column i of the group, 32 rows
 *     right             y x          columns / 16 groups                     rows 2 i and 2 i + 1 as pairs
 *     right_transposed  y x^T        2 halves x columns / 32 groups          columns 2 i and 2 i + 1 as pairs
 */
#ifndef LILAC_KERNELS_TILE_ATTENTION_H
#define LILAC_KERNELS_TILE_ATTENTION_H

#include "kernels/softmax_attention.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_TILE_ROWS = 16,  /* rows of a tile; floats, or pairs of bf16 numbers, in a row of one */
    LILAC_TILE_DEPTH = 32, /* bf16 numbers in a row of a tile: rows and columns of a packed block are multiples */
    LILAC_TILE_BYTES = 1024,
    LILAC_TILE_QUERY_BLOCK = 512, /* most queries and keys in a block of the backward pass */
    LILAC_TILE_KEY_BLOCK = 64
};

/* Rows of floats, or of bf16 numbers, that are to be packed. */
typedef struct lilac_tile_source {
    const void *data; /* of any alignment */
    bool bf16;
    size_t count, size, ld; /* rows; numbers in a row, at least 1; from row to row */
    float scale;            /* what they are multiplied by before they are rounded */
    bool ones;              /* column `size` of these rows is 1 */
    const void *ahead;      /* a hint: as many rows that will be read next, which may be fetched meanwhile; or NULL */
} lilac_tile_source;

/* Where a matrix is packed: only the forms that are wanted are not NULL. */
typedef struct lilac_tile_forms {
    size_t columns; /* a multiple of LILAC_TILE_ROWS; of LILAC_TILE_DEPTH for `left` and `right_transposed` */
    uint16_t *left, *left_transposed, *right, *right_transposed;
} lilac_tile_forms;

typedef struct lilac_tile_forward {
    size_t queries, keys;  /* at least 1 query */
    ptrdiff_t diagonal;    /* see visible(r) */
    size_t key_columns;    /* of queries and keys */
    size_t value_columns;  /* of values, a multiple of LILAC_TILE_ROWS */
    size_t value_size;     /* M < value_columns */
    const uint16_t *query; /* left */
    const uint16_t *key;   /* right_transposed */
    const uint16_t *value; /* right, with ones in column M */
    float *output;         /* [queries][output_stride], M numbers each, of any alignment */
    size_t output_stride;
    float *log_sum_exp; /* [queries], of any alignment; may be NULL */
    float *scratch;     /* LILAC_TILE_ROWS * value_columns floats */
} lilac_tile_forward;

/*
 * A block of keys against a block of queries, backward. Gradients that are summed up are tiles of floats: of keys and
 * values [keys / 16][columns / 16], tile (i, j) holding rows 16 i .. and columns 16 j ..; of queries, transposed,
 * [queries / 32][columns / 16][2], tile (i, j, t) holding in its column c what belongs to query 32 i + 8 (c / 4) + 4 t
 * + c % 4. (Rows i and i + 1 of a matrix become rows of pairs by an interleaving that leaves queries in this order.)
 * What rows beyond `queries` and `keys` hold does not matter afterwards.
 */
typedef struct lilac_tile_backward {
    size_t queries, keys;                       /* at least 1; at most LILAC_TILE_QUERY_BLOCK and ..._KEY_BLOCK */
    ptrdiff_t diagonal;                         /* see visible(r) */
    size_t key_columns, value_columns;          /* multiples of LILAC_TILE_DEPTH */
    const uint16_t *key;                        /* left */
    const uint16_t *key_transposed;             /* left_transposed */
    const uint16_t *value;                      /* left */
    const uint16_t *query;                      /* right */
    const uint16_t *query_transposed;           /* right_transposed */
    const uint16_t *output_gradient;            /* right */
    const uint16_t *output_gradient_transposed; /* right_transposed */
    const float *offsets;                       /* [queries / 32][32]: see lilac_tile_row_numbers */
    const float *deltas;                        /* likewise */
    float *query_gradient, *key_gradient, *value_gradient;
    uint16_t *score_gradients; /* LILAC_TILE_QUERY_BLOCK * LILAC_TILE_KEY_BLOCK numbers, from one kernel to the other */
} lilac_tile_backward;

/*
 * What a backward pass needs of each query: offset = -log_sum_exp / log(2), -INFINITY for a row without keys, and delta
 * = -output . output_gradient, each [count rounded up to LILAC_TILE_DEPTH], the last of them -INFINITY and 0.
 */
typedef struct lilac_tile_row_numbers {
    lilac_tile_source output, output_gradient; /* of the same count and size; scale and ones are not looked at */
    const float *log_sum_exp;                  /* [count], of any alignment */
    float *offsets, *deltas;
} lilac_tile_row_numbers;

typedef struct lilac_tile_attention_kernels {
    /* Packs rows. Numbers below the smallest normal one may become 0. */
    void (*pack)(const lilac_tile_source *source, const lilac_tile_forms *forms);

    /*
     * output[r] = sum over k < visible(r) of p[r][k] value[k] / (sum of p[r][k]), and log_sum_exp[r] = log(sum over k
     * of exp(score)), where p[r][k] is proportional to 2^(q[r] . key[k]), to within 1e-4 of itself, and rounded to
     * bf16. A row that sees nothing gives 0 and -INFINITY.
     */
    void (*forward)(const lilac_tile_forward *pass);

    /* Offsets and deltas from what the forward pass left. */
    void (*row_numbers)(const lilac_tile_row_numbers *rows);

    /*
     * With p[r][k] = 2^(q[r] . key[k] + offset[r]), to within 1e-4 of itself, and ds[r][k] = p[r][k] * (g[r] . value[k]
     * + delta[r]) for k < visible(r), g being dL/dO, and 0 for other k: key_gradient[k] += sum over r of ds[r][k] q[r]
     * and value_gradient[k] += sum over r of p[r][k] g[r]. Where nothing is seen of 32 keys, or 32 queries, ds may be
     * missing in score_gradients.
     */
    void (*backward)(const lilac_tile_backward *block);

    /* query_gradient[r] += sum over k of ds[r][k] key[k], after `backward` for the same block. */
    void (*query_gradients)(const lilac_tile_backward *block);

    /* Rows of gradients: y[r] (stride ldy, any alignment) = factor times row r < count, of `size` numbers. */
    void (*store_gradients)(size_t count, size_t size, size_t columns, float factor, const float *gradient, float *y,
                            size_t ldy);
    void (*store_query_gradients)(size_t count, size_t size, size_t columns, float factor, const float *gradient,
                                  float *y, size_t ldy);
} lilac_tile_attention_kernels;

/* Fill in the kernels of one level; the SIMD level overrides what the reference filled in. */
void lilac_tile_attention_kernels_reference(lilac_tile_attention_kernels *kernels);
void lilac_tile_attention_kernels_amx(lilac_tile_attention_kernels *kernels);

#endif
