/* SPDX-License-Identifier: MIT */
#include "kernels/rounded_product.h"
#include "kernels/x86/tiles_amx.h"

enum { LANES = LILAC_ROUNDED_LANES, TILE = LILAC_TILE_PRODUCT_WORDS };

/* ---- Packing ---- */

/* 16 words, each of two neighbours in depth of one row. */
static __m512i load_row(const float *x, const __mmask16 lanes[2]) {
    return round_to_bf16(_mm512_maskz_loadu_ps(lanes[0], x), _mm512_maskz_loadu_ps(lanes[1], x + LANES));
}

/* The words of a tile, a vector for each row or column. */
static void load_contiguous(const lilac_rounded_block *block, const lilac_rounded_panel *panel, size_t i, size_t k,
                            __m512i r[LANES]) {
    const float *x = block->x + (panel->first + i) * block->ld + k;
    const size_t depth = block->depth - k, rows = panel->count > i ? panel->count - i : 0;
    if (depth >= 2 * LANES && rows >= LANES) {
        for (size_t row = 0; row < LANES; row++) {
            r[row] = round_to_bf16(_mm512_loadu_ps(x + row * block->ld), _mm512_loadu_ps(x + row * block->ld + LANES));
        }
        return;
    }
    const __mmask16 lanes[2] = {lanes_below(depth, 0), lanes_below(depth, LANES)};
    for (size_t row = 0; row < LANES; row++) {
        r[row] = row < rows ? load_row(x + row * block->ld, lanes) : _mm512_setzero_si512();
    }
}

/* The words of a tile, a vector for each pair. */
static void load_strided(const lilac_rounded_block *block, const lilac_rounded_panel *panel, size_t i, size_t k,
                         __m512i r[LANES]) {
    const __m512i alternate = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                               6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const float *x = block->x + k * block->ld + panel->first + i;
    const size_t depth = block->depth - k, count = panel->count > i ? panel->count - i : 0;
    if (depth >= 2 * LANES && count >= LANES) {
        for (size_t pair = 0; pair < LANES; pair++, x += 2 * block->ld) {
            const __m512i words = round_to_bf16(_mm512_loadu_ps(x), _mm512_loadu_ps(x + block->ld));
            r[pair] = _mm512_permutexvar_epi16(alternate, words);
        }
        return;
    }
    for (size_t pair = 0; pair < LANES; pair++, x += 2 * block->ld) {
        const __mmask16 low = 2 * pair < depth ? lanes_below(count, 0) : 0;
        const __mmask16 high = 2 * pair + 1 < depth ? lanes_below(count, 0) : 0;
        const __m512i words = round_to_bf16(_mm512_maskz_loadu_ps(low, x), _mm512_maskz_loadu_ps(high, x + block->ld));
        r[pair] = _mm512_permutexvar_epi16(alternate, words);
    }
}

/* Rows of A have a vector for each row, columns of B one for each pair. */
static void pack_tile(const lilac_rounded_block *block, const lilac_rounded_panel *panel, size_t i, size_t k) {
    __m512i r[LANES];
    if (block->strided) {
        load_strided(block, panel, i, k, r);
    } else {
        load_contiguous(block, panel, i, k, r);
    }
    uint32_t *tile = panel->words + (k / (2 * LANES) * (panel->width / LANES) + i / LANES) * TILE;
    if (block->strided != block->columns) {
        store_transposed(tile, r);
    } else {
        store_tile(tile, r);
    }
}

/* In the order of memory, as far as 16 rows of x, or 32, allow. */
static float pack(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels) {
    const size_t outer = block->strided ? 2 * LANES : block->depth;
    for (size_t first = 0; first < block->depth; first += outer) {
        for (size_t p = 0; p < count; p++) {
            for (size_t i = 0; i < panels[p].width; i += LANES) {
                for (size_t k = first; k < first + outer && k < block->depth; k += 2 * LANES) {
                    pack_tile(block, &panels[p], i, k);
                }
            }
        }
    }
    return 1.0f;
}

/* ---- Multiplying ---- */

/* The sums of up to 2 x 2 tiles start at 0 or, with `add`, at c. Tiles: 0 to 3 sums, row by row. */
static void start_sums(size_t tile_rows, size_t tile_cols, bool add, const float *c, size_t ldc) {
    const size_t stride = ldc * sizeof(float);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (add) {
        _tile_loadd(0, c, stride);
        if (tile_cols > 1) {
            _tile_loadd(1, c + LANES, stride);
        }
        if (tile_rows > 1) {
            _tile_loadd(2, c + LANES * ldc, stride);
        }
        if (tile_rows > 1 && tile_cols > 1) {
            _tile_loadd(3, c + LANES * ldc + LANES, stride);
        }
    }
}

/* Has the lines of c, whole tiles of it, fetched for writing while the products are summed. */
static void fetch_for_writing(const lilac_rounded_product *product, const float *c) {
    for (size_t i = 0; i < product->rows; i++) {
        for (size_t j = 0; j < product->cols; j += LANES) {
            __builtin_prefetch(c + i * product->ldc + j, 1, 3);
        }
    }
}

/* Tiles: 0 to 3 sums, 4 and 5 of A, 6 and 7 of B. */
static void add_products(size_t tile_rows, size_t tile_cols, size_t depth, const uint32_t *a, const uint32_t *b) {
    const uint32_t *end = b + (depth + 2 * LANES - 1) / (2 * LANES) * tile_cols * TILE;
    if (tile_rows > 1 && tile_cols > 1) {
        for (; b < end; a += 2 * TILE, b += 2 * TILE) {
            _tile_loadd(4, a, ROW_BYTES);
            _tile_loadd(5, a + TILE, ROW_BYTES);
            _tile_loadd(6, b, ROW_BYTES);
            _tile_loadd(7, b + TILE, ROW_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    } else if (tile_rows > 1) {
        for (; b < end; a += 2 * TILE, b += TILE) {
            _tile_loadd(4, a, ROW_BYTES);
            _tile_loadd(6, b, ROW_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(5, a + TILE, ROW_BYTES);
            _tile_dpbf16ps(2, 5, 6);
        }
    } else {
        for (; b < end; a += TILE, b += tile_cols * TILE) {
            _tile_loadd(4, a, ROW_BYTES);
            _tile_loadd(6, b, ROW_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            if (tile_cols > 1) {
                _tile_loadd(7, b + TILE, ROW_BYTES);
                _tile_dpbf16ps(1, 4, 7);
            }
        }
    }
}

static void store_sums(size_t tile_rows, size_t tile_cols, float *c, size_t ldc) {
    const size_t stride = ldc * sizeof(float);
    _tile_stored(0, c, stride);
    if (tile_cols > 1) {
        _tile_stored(1, c + LANES, stride);
    }
    if (tile_rows > 1) {
        _tile_stored(2, c + LANES * ldc, stride);
    }
    if (tile_rows > 1 && tile_cols > 1) {
        _tile_stored(3, c + LANES * ldc + LANES, stride);
    }
}

/* c = alpha * sums, or with add c += that. */
static void scale_sums(const lilac_rounded_product *product,
                       const float sums[LILAC_TILE_PRODUCT_ROWS * LILAC_TILE_PRODUCT_COLUMNS], float *c) {
    const __m512 alpha = _mm512_set1_ps(product->alpha);
    for (size_t i = 0; i < product->rows; i++) {
        for (size_t j = 0; j < product->cols; j += LANES) {
            const __mmask16 lanes = lanes_below(product->cols, j);
            const __m512 sum = _mm512_mul_ps(alpha, _mm512_load_ps(sums + i * LILAC_TILE_PRODUCT_COLUMNS + j));
            float *to = c + i * product->ldc + j;
            _mm512_mask_storeu_ps(to, lanes, product->add ? _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, to), sum) : sum);
        }
    }
}

static void begin(void) {
    set_tile_shapes();
}

static void end(void) {
    _tile_release();
}

static void multiply(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, float *c) {
    const size_t tile_rows = product->row_width / LANES, tile_cols = product->col_width / LANES;
    const bool whole = product->rows == product->row_width && product->cols == product->col_width;
    if (whole && product->alpha == 1.0f) {
        fetch_for_writing(product, c);
        start_sums(tile_rows, tile_cols, product->add, c, product->ldc);
        add_products(tile_rows, tile_cols, product->depth, a, b);
        store_sums(tile_rows, tile_cols, c, product->ldc);
    } else {
        _Alignas(64) float sums[LILAC_TILE_PRODUCT_ROWS * LILAC_TILE_PRODUCT_COLUMNS];
        start_sums(tile_rows, tile_cols, false, NULL, 0);
        add_products(tile_rows, tile_cols, product->depth, a, b);
        store_sums(tile_rows, tile_cols, sums, LILAC_TILE_PRODUCT_COLUMNS);
        scale_sums(product, sums, c);
    }
}

void lilac_tile_product_kernels_amx(lilac_rounded_product_kernels *kernels) {
    *kernels = (lilac_rounded_product_kernels){.pack = pack, .begin = begin, .multiply = multiply, .end = end};
}
