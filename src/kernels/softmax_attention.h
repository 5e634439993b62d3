/* SPDX-License-Identifier: MIT */
/*
 * Contracts of the softmax attention kernels: the steps of one block of queries against one block of keys (Dao, Fu,
 * Ermon, Rudra and Re, "FlashAttention", 2022; Rabe and Staats, "Self-attention Does Not Need O(n^2) Memory", 2021).
 *
 * Common rules. Scores are in units of log2: the scale and log2(e) are part of the packed keys. Row r of a block sees
 * the keys k < visible(r) = clamp(r + diagonal, 0, keys), so diagonal = keys means all of them. Score matrices (S, P,
 * dS) have LILAC_SOFTMAX_SCORE_STRIDE floats a row. Row counts are multiples of LILAC_SOFTMAX_ROWS: what a caller's
 * rows lack is filled up by rows of zeros. Matrices other than panels are row major with rows of `size` floats rounded
 * up to LILAC_SOFTMAX_LANES, the columns beyond `size` being zeros, and a stride that is a multiple of
 * LILAC_SOFTMAX_LANES. Every buffer is aligned to LILAC_ALIGNMENT; none may overlap another. One level always gives the
 * same bytes.
 *
 * A panel holds LILAC_SOFTMAX_PANEL rows of a matrix (keys or values) transposed: [size][LILAC_SOFTMAX_PANEL]. The
 * panels of a block follow one another; the last is filled up with zeros.
 */
#ifndef LILAC_KERNELS_SOFTMAX_ATTENTION_H
#define LILAC_KERNELS_SOFTMAX_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_SOFTMAX_ROWS = 6,          /* rows of a register tile */
    LILAC_SOFTMAX_PANEL = 64,        /* keys of a panel */
    LILAC_SOFTMAX_LANES = 16,        /* rows of packed matrices are whole multiples of this */
    LILAC_SOFTMAX_KEYS = 192,        /* most keys in a block: a multiple of the three above */
    LILAC_SOFTMAX_SCORE_STRIDE = 208 /* some more than that, so that rows do not fall on the same cache sets */
};

typedef struct lilac_softmax_block {
    size_t rows;        /* queries */
    size_t keys;        /* 1 .. LILAC_SOFTMAX_KEYS */
    ptrdiff_t diagonal; /* see visible(r) */
    /* A hint: bytes that will be read soon, which a kernel may have fetched into the cache while it works on one row.
     */
    const void *ahead;
    size_t ahead_bytes;
} lilac_softmax_block;

static inline size_t lilac_softmax_row_visible(size_t row, ptrdiff_t diagonal, size_t keys) {
    const ptrdiff_t visible = (ptrdiff_t)row + diagonal;
    if (visible <= 0) {
        return 0;
    }
    return (size_t)visible < keys ? (size_t)visible : keys;
}

static inline size_t lilac_softmax_visible(const lilac_softmax_block *block, size_t row) {
    return lilac_softmax_row_visible(row, block->diagonal, block->keys);
}

/* What the forward pass carries from one block of keys to the next, for each row. */
typedef struct lilac_softmax_state {
    float *maximum; /* what is subtracted from the scores: their maximum or up to 8 less; starts at -INFINITY */
    float *sums;    /* [rows][LILAC_SOFTMAX_LANES]: their total is the sum of 2^(score - maximum); starts at 0 */
    float *out;     /* [rows][ld]: the sum of 2^(score - maximum) * value; starts at 0 */
    size_t ld;
} lilac_softmax_state;

typedef struct lilac_softmax_attention_kernels {
    /* panels = transpose of the count x size matrix x (row stride ldx >= size, any alignment) times scale. */
    void (*pack_panels)(size_t count, size_t size, const float *x, size_t ldx, float scale, float *panels);

    /* s[r][k] = sum over d < size of q[r][d] * key[k][d]; entries with k >= visible(r) may be anything. */
    void (*scores)(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq, const float *panels,
                   float *s);

    /* Takes the scores s (which it overwrites) and the values v [keys][ldv] of size value_size into the state. */
    void (*accumulate)(const lilac_softmax_block *block, float *s, size_t value_size, const float *v, size_t ldv,
                       const lilac_softmax_state *state);

    /*
     * The last two for one row and keys and values that are kept in bf16, in the same order as floats: what they give
     * for these numbers as floats, to the bit. Values have a stride that is a multiple of LILAC_SOFTMAX_LANES.
     */
    void (*kept_scores_bf16)(const lilac_softmax_block *block, size_t size, const float *q, const uint16_t *panels,
                             float *s);
    void (*kept_accumulate_bf16)(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                                 size_t ldv, const lilac_softmax_state *state);

    /*
     * The same three for inputs in bf16, the sums being floats still; probabilities are rounded to bf16. Numbers are
     * kept in pairs, the second of a last pair being 0: panels are [(size + 1) / 2][LILAC_SOFTMAX_PANEL][2], and rows k
     * and k + 1 of the values form a row of pairs, ldv pairs long. Called only where the kernel table says that it has
     * bf16 dot products: elsewhere bf16 inputs are widened and go through the three above.
     */
    void (*pack_panels_bf16)(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *panels);
    void (*pack_pairs_bf16)(size_t count, size_t size, const uint16_t *x, size_t ldx, uint16_t *y, size_t ldy);
    void (*scores_bf16)(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                        const uint16_t *panels, float scale, float *s);
    void (*accumulate_bf16)(const lilac_softmax_block *block, float *s, size_t value_size, const uint16_t *v,
                            size_t ldv, const lilac_softmax_state *state);

    /*
     * The four of the backward pass. SIMD levels multiply whole tiles, and what a row does not see by 0 or something
     * finite: an infinity or a NaN there may reach the row.
     *
     * p[r][k] = 2^(q[r] . key[k] - offset[r]) for k < visible(r), 0 for the other k up to keys rounded up to whole
     * panels. offset[r] is the row's log-sum-exp over log(2), or +INFINITY for a row that sees nothing.
     */
    void (*probabilities)(const lilac_softmax_block *block, size_t size, const float *q, size_t ldq,
                          const float *panels, const float *offset, float *p);

    /* ds[r][k] = p[r][k] * (g[r] . value[k] - delta[r]), g being dL/dO, for the same k as in probabilities. */
    void (*score_gradients)(const lilac_softmax_block *block, size_t size, const float *g, size_t ldg,
                            const float *panels, const float *delta, const float *p, float *ds);

    /* c[r] += sum over k < visible(r) of a[r][k] b[k] for each row r, b being [keys][ldb]; a[r][k] is 0 for other k. */
    void (*multiply)(const lilac_softmax_block *block, const float *a, size_t size, const float *b, size_t ldb,
                     float *c, size_t ldc);

    /*
     * c[k] += sum over r of a[r][k] b[r] for k < keys, b being [rows][ldb]. The columns of a and the rows of c up to
     * keys rounded up to LILAC_SOFTMAX_ROWS must exist; those rows may become anything.
     */
    void (*multiply_transposed)(const lilac_softmax_block *block, const float *a, size_t size, const float *b,
                                size_t ldb, float *c, size_t ldc);

    /*
     * The four of the backward pass for operands in bf16, called where scores_bf16 is. A matrix of probabilities or of
     * scores' gradients is held in plain rows or in pairs of rows, number k of rows r and r + 1 side by side; either
     * way its rows lie as far apart as those of floats, 2 * LILAC_SOFTMAX_SCORE_STRIDE numbers.
     *
     * p[r][k] = 2^(scale * (q[r] . key[k]) - offset[r]), to within 1e-4 of itself, and in `pairs` the same rounded.
     */
    void (*probabilities_bf16)(const lilac_softmax_block *block, size_t size, const uint16_t *q, size_t ldq,
                               const uint16_t *panels, float scale, const float *offset, float *p, uint16_t *pairs);

    /* ds as above, rounded, in plain rows and in pairs. */
    void (*score_gradients_bf16)(const lilac_softmax_block *block, size_t size, const uint16_t *g, size_t ldg,
                                 const uint16_t *panels, const float *delta, const float *p, uint16_t *ds,
                                 uint16_t *pairs);

    /* As multiply and multiply_transposed: plain rows a and pairs of keys b; pairs of rows for both. A number that only
     * the other of a pair of rows or keys meets is multiplied by 0, which a NaN or an infinity survives. */
    void (*multiply_bf16)(const lilac_softmax_block *block, const uint16_t *a, size_t size, const uint16_t *b,
                          size_t ldb, float *c, size_t ldc);
    void (*multiply_transposed_bf16)(const lilac_softmax_block *block, const uint16_t *a, size_t size,
                                     const uint16_t *b, size_t ldb, float *c, size_t ldc);
} lilac_softmax_attention_kernels;

/* Fill in the kernels of one level; the SIMD levels override what a lower level filled in. */
void lilac_softmax_attention_kernels_reference(lilac_softmax_attention_kernels *kernels);
void lilac_softmax_attention_kernels_avx2(lilac_softmax_attention_kernels *kernels);
void lilac_softmax_attention_kernels_avx512(lilac_softmax_attention_kernels *kernels);
void lilac_softmax_attention_kernels_avx512_bf16(lilac_softmax_attention_kernels *kernels);

#endif
