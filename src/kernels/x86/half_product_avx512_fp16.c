/* SPDX-License-Identifier: MIT */
#include "kernels/rounded_product.h"
#include "kernels/x86/vector_avx512.h"

enum {
    LANES = LILAC_ROUNDED_LANES,
    ROWS = LANES / 2,                    /* of A in a tile: with three vectors of B they fill the registers */
    VECTORS = LILAC_HALF_COLUMNS / LANES /* of a pair of rows of B's widest panel */
};

/* ---- Packing ---- */

/* The larger magnitudes, as bits: their order is that of the magnitudes, with NaN last. */
static __m512i larger(__m512i most, __mmask16 lanes, const float *x) {
    const __m512i bits = _mm512_maskz_loadu_epi32(lanes, x);
    return _mm512_max_epu32(most, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
}

/* The bits of the largest magnitude of rows x cols numbers. */
static uint32_t largest(size_t rows, size_t cols, const float *x, size_t ld) {
    const size_t whole = cols / (2 * LANES) * (2 * LANES), rest = cols - whole;
    const __mmask16 all = 0xffff, first = lanes_below(rest, 0), second = lanes_below(rest, LANES);
    __m512i even = _mm512_setzero_si512(), odd = even;
    for (size_t r = 0; r < rows; r++) {
        const float *row = x + r * ld;
        for (size_t c = 0; c < whole; c += 2 * LANES) {
            even = larger(even, all, row + c);
            odd = larger(odd, all, row + c + LANES);
        }
        if (rest > 0) {
            even = larger(even, first, row + whole);
            odd = larger(odd, second, row + whole + LANES);
        }
    }
    return _mm512_reduce_max_epu32(_mm512_max_epu32(even, odd));
}

/* 2^exponent, for exponents of normal numbers. */
static float power_of_two(int exponent) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((exponent + 127) << 23)));
}

/* Up to 16 floats, scaled and rounded; lanes that are not loaded become 0. */
static __m256i load_half(const float *x, __mmask16 lanes, __m512 scale) {
    return _mm512_cvtps_ph(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x), scale),
                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* Up to 32 neighbours in depth: 16 words. */
static __m512i load_words(const float *x, const __mmask16 lanes[2], __m512 scale) {
    const __m256i low = load_half(x, lanes[0], scale), high = load_half(x + LANES, lanes[1], scale);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* 8 rows of 16 words become 16 columns of 8: out[c] holds columns c and c + 4, out[4 + c] columns c + 8 and c + 12. */
static void transpose(const __m512i r[ROWS], __m512i out[ROWS]) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i t[ROWS], u[ROWS];
    for (size_t i = 0; i < ROWS; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    /* Quarter q of u[c] is column 4 q + c of rows 0 to 3, of u[4 + c] that of rows 4 to 7. */
    for (size_t i = 0; i < ROWS; i += 4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (size_t c = 0; c < 4; c++) {
        out[c] = _mm512_permutex2var_epi64(u[c], low, u[4 + c]);
        out[4 + c] = _mm512_permutex2var_epi64(u[c], high, u[4 + c]);
    }
}

/* Stores the columns of the transposed words, of which only `pairs` exist, `width` words apart. */
static void store_columns(const __m512i columns[ROWS], size_t pairs, size_t width, uint32_t *panel) {
    for (size_t c = 0; c < LANES && c < pairs; c++) {
        const __m512i both = columns[c / 8 * 4 + c % 4];
        const __m256i column = c / 4 % 2 == 0 ? _mm512_castsi512_si256(both) : _mm512_extracti64x4_epi64(both, 1);
        _mm256_storeu_si256((__m256i *)(panel + c * width), column);
    }
}

static void pack_contiguous(const lilac_rounded_block *block, const lilac_rounded_panel *panel, __m512 scale) {
    const size_t width = panel->width, pairs = (block->depth + 1) / 2;
    for (size_t first = 0; first < width; first += ROWS) {
        const float *x = block->x + (panel->first + first) * block->ld;
        for (size_t pair = 0; pair < pairs; pair += LANES) {
            const size_t depth = block->depth - 2 * pair;
            const __mmask16 lanes[2] = {lanes_below(depth, 0), lanes_below(depth, LANES)};
            __m512i r[ROWS], columns[ROWS];
            for (size_t i = 0; i < ROWS; i++) {
                r[i] = first + i < panel->count ? load_words(x + i * block->ld + 2 * pair, lanes, scale)
                                                : _mm512_setzero_si512();
            }
            transpose(r, columns);
            store_columns(columns, pairs - pair, width, panel->words + pair * width + first);
        }
    }
}

/* Rows of x in turn, through all panels: their elements are far apart from row to row. */
static void pack_strided(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels,
                         __m512 scale) {
    for (size_t k = 0; k < block->depth; k += 2) {
        const float *even = block->x + k * block->ld, *odd = even + block->ld;
        for (size_t p = 0; p < count; p++) {
            uint32_t *to = panels[p].words + k / 2 * panels[p].width;
            for (size_t i = 0; i < panels[p].width; i += LANES) {
                const size_t at = panels[p].first + i;
                const __mmask16 lanes = lanes_below(panels[p].count, i);
                const __m512i low = _mm512_cvtepu16_epi32(load_half(even + at, lanes, scale));
                const __m512i high = k + 1 < block->depth ? _mm512_cvtepu16_epi32(load_half(odd + at, lanes, scale))
                                                          : _mm512_setzero_si512();
                _mm512_store_si512(to + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
        }
    }
}

static float pack(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels) {
    const size_t first = panels[0].first, wide = panels[count - 1].first + panels[count - 1].count - first;
    const uint32_t most = block->strided ? largest(block->depth, wide, block->x + first, block->ld)
                                         : largest(wide, block->depth, block->x + first * block->ld, block->ld);
    const int exponent = lilac_half_exponent(most);
    const __m512 scale = _mm512_set1_ps(power_of_two(exponent));
    if (block->strided) {
        pack_strided(block, count, panels, scale);
    } else {
        for (size_t p = 0; p < count; p++) {
            pack_contiguous(block, &panels[p], scale);
        }
    }
    return power_of_two(-exponent);
}

/* ---- Multiplying ---- */

/* The sums of a tile in f32, those of even and of odd elements by turns. */
typedef struct {
    __m512 sums[ROWS][VECTORS][2];
} tile;

/* Adds scale * the products of so many pairs, at most LILAC_ROUNDED_BLOCK, to the tile. `vectors` is a constant where
 * this is inlined. */
static inline __attribute__((always_inline)) void multiply_block(size_t vectors, size_t pairs, const uint32_t *a,
                                                                 const uint32_t *b, float scale, bool first, tile *t) {
    __m512h sums[ROWS][VECTORS];
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t v = 0; v < vectors; v++) {
            sums[i][v] = _mm512_setzero_ph();
        }
    }
    for (size_t p = 0; p < pairs; p++) {
        __m512h columns[VECTORS];
        for (size_t v = 0; v < vectors; v++) {
            columns[v] = _mm512_castsi512_ph(_mm512_load_si512(b + (p * vectors + v) * LANES));
        }
        for (size_t i = 0; i < ROWS; i++) {
            const __m512h element = _mm512_castsi512_ph(_mm512_set1_epi32((int)a[p * LANES + i]));
            for (size_t v = 0; v < vectors; v++) {
                sums[i][v] = _mm512_fmadd_ph(element, columns[v], sums[i][v]);
            }
        }
    }
    /* By way of memory, from which each half of a vector can be widened as it is loaded. */
    __m256i halves[ROWS][VECTORS][2];
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t v = 0; v < vectors; v++) {
            _mm512_storeu_ph(halves[i][v], sums[i][v]);
        }
    }
    const __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t v = 0; v < vectors; v++) {
            for (size_t half = 0; half < 2; half++) {
                const __m512 sum = _mm512_cvtph_ps(_mm256_loadu_si256(&halves[i][v][half]));
                __m512 *to = &t->sums[i][v][half];
                *to = first ? _mm512_mul_ps(sum, factor) : _mm512_fmadd_ps(sum, factor, *to);
            }
        }
    }
}

/* Both tiles of a panel of A by turns, so that a block of B is still in the first-level cache for the second. */
static inline __attribute__((always_inline)) void multiply_tiles(size_t vectors, const lilac_rounded_product *product,
                                                                 const uint32_t *a, const uint32_t *b, tile t[2]) {
    const size_t pairs = (product->depth + 1) / 2, tiles = product->rows > ROWS ? 2 : 1;
    for (size_t first = 0, block = 0; first < pairs; first += LILAC_ROUNDED_BLOCK, block++) {
        const size_t count = pairs - first < LILAC_ROUNDED_BLOCK ? pairs - first : LILAC_ROUNDED_BLOCK;
        const float scale = product->a_scales[block] * product->b_scales[block];
        for (size_t k = 0; k < tiles; k++) {
            multiply_block(vectors, count, a + first * LANES + k * ROWS, b + first * vectors * LANES, scale, first == 0,
                           &t[k]);
        }
    }
}

static void store_tile(const lilac_rounded_product *product, size_t rows, const tile *t, float *c) {
    const __m512 alpha = _mm512_set1_ps(product->alpha);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (size_t i = 0; i < rows; i++) {
        for (size_t v = 0; v < VECTORS && v * LANES < product->cols; v++) {
            const __m512 low = t->sums[i][v][0], high = t->sums[i][v][1];
            const __m512 sum =
                _mm512_add_ps(_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high));
            const __mmask16 lanes = lanes_below(product->cols, v * LANES);
            float *to = c + i * product->ldc + v * LANES;
            const __m512 before = product->add ? _mm512_maskz_loadu_ps(lanes, to) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(to, lanes, _mm512_add_ps(before, _mm512_mul_ps(alpha, sum)));
        }
    }
}

static void multiply(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, float *c) {
    tile t[2];
    switch (product->col_width / LANES) {
    case 1:
        multiply_tiles(1, product, a, b, t);
        break;
    case 2:
        multiply_tiles(2, product, a, b, t);
        break;
    default:
        multiply_tiles(3, product, a, b, t);
        break;
    }
    for (size_t first = 0; first < product->rows; first += ROWS) {
        const size_t left = product->rows - first;
        store_tile(product, left < ROWS ? left : ROWS, &t[first / ROWS], c + first * product->ldc);
    }
}

void lilac_half_product_kernels_avx512_fp16(lilac_rounded_product_kernels *kernels) {
    *kernels = (lilac_rounded_product_kernels){.pack = pack,
                                               .begin = lilac_rounded_product_nothing,
                                               .end = lilac_rounded_product_nothing,
                                               .multiply = multiply};
}
