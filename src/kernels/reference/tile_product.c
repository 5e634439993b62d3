/* SPDX-License-Identifier: MIT */
#include "kernels/rounded_product.h"

#include "core/bf16.h"

#include <float.h>
#include <math.h>

enum { LANES = LILAC_ROUNDED_LANES, TILE = LILAC_TILE_PRODUCT_WORDS };

static uint32_t element(const lilac_rounded_block *block, const lilac_rounded_panel *panel, size_t i, size_t k) {
    if (i >= panel->count || k >= block->depth) {
        return 0;
    }
    const size_t index = panel->first + i;
    const float value = block->strided ? block->x[k * block->ld + index] : block->x[index * block->ld + k];
    return lilac_bf16_from_float(fabsf(value) < FLT_MIN ? copysignf(0.0f, value) : value);
}

/* Where a panel of that width has the word of a pair and of a row or column. */
static size_t place(bool columns, size_t width, size_t pair, size_t i) {
    const size_t tile = pair / LANES * (width / LANES) + i / LANES;
    return tile * TILE + (columns ? pair % LANES * LANES + i % LANES : i % LANES * LANES + pair % LANES);
}

static float pack(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels) {
    for (size_t p = 0; p < count; p++) {
        const lilac_rounded_panel *panel = &panels[p];
        for (size_t pair = 0; 2 * pair < block->depth || pair % LANES > 0; pair++) {
            for (size_t i = 0; i < panel->width; i++) {
                panel->words[place(block->columns, panel->width, pair, i)] =
                    element(block, panel, i, 2 * pair) | element(block, panel, i, 2 * pair + 1) << 16;
            }
        }
    }
    return 1.0f;
}

static float sum_products(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, size_t i,
                          size_t j) {
    const size_t pairs = (product->depth + 1) / 2;
    float sum = 0.0f;
    for (size_t first = 0; first < pairs; first += LANES) {
        float even = 0.0f, odd = 0.0f;
        for (size_t p = first; p < pairs && p < first + LANES; p++) {
            const uint32_t x = a[place(false, product->row_width, p, i)], y = b[place(true, product->col_width, p, j)];
            even += lilac_float_from_bf16((uint16_t)x) * lilac_float_from_bf16((uint16_t)y);
            odd += lilac_float_from_bf16((uint16_t)(x >> 16)) * lilac_float_from_bf16((uint16_t)(y >> 16));
        }
        sum += even + odd;
    }
    return sum;
}

static void multiply(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, float *c) {
    for (size_t i = 0; i < product->rows; i++) {
        for (size_t j = 0; j < product->cols; j++) {
            const float sum = product->alpha * sum_products(product, a, b, i, j);
            float *to = c + i * product->ldc + j;
            *to = product->add ? *to + sum : sum;
        }
    }
}

void lilac_tile_product_kernels_reference(lilac_rounded_product_kernels *kernels) {
    *kernels = (lilac_rounded_product_kernels){.pack = pack,
                                               .begin = lilac_rounded_product_nothing,
                                               .end = lilac_rounded_product_nothing,
                                               .multiply = multiply};
}
