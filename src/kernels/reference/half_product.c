/* SPDX-License-Identifier: MIT */
#include "kernels/rounded_product.h"

#include "core/f16.h"

#include <math.h>
#include <string.h>

static float element(const lilac_rounded_block *block, const lilac_rounded_panel *panel, size_t i, size_t k) {
    if (i >= panel->count || k >= block->depth) {
        return 0.0f;
    }
    const size_t index = panel->first + i;
    return block->strided ? block->x[k * block->ld + index] : block->x[index * block->ld + k];
}

/* The bits of the largest magnitude; their order is that of the magnitudes, with NaN last. */
static uint32_t largest(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels) {
    uint32_t most = 0;
    for (size_t p = 0; p < count; p++) {
        for (size_t i = 0; i < panels[p].count; i++) {
            for (size_t k = 0; k < block->depth; k++) {
                const float magnitude = fabsf(element(block, &panels[p], i, k));
                uint32_t bits;
                memcpy(&bits, &magnitude, sizeof bits);
                most = bits > most ? bits : most;
            }
        }
    }
    return most;
}

static float pack(const lilac_rounded_block *block, size_t count, const lilac_rounded_panel *panels) {
    const int exponent = lilac_half_exponent(largest(block, count, panels));
    const float scale = ldexpf(1.0f, exponent);
    for (size_t p = 0; p < count; p++) {
        const lilac_rounded_panel *panel = &panels[p];
        for (size_t pair = 0; pair < (block->depth + 1) / 2; pair++) {
            for (size_t i = 0; i < panel->width; i++) {
                const uint32_t even = lilac_f16_from_double((double)(scale * element(block, panel, i, 2 * pair)));
                const uint32_t odd = lilac_f16_from_double((double)(scale * element(block, panel, i, 2 * pair + 1)));
                panel->words[pair * panel->width + i] = even | odd << 16;
            }
        }
    }
    return ldexpf(1.0f, -exponent);
}

/* sum + a b, where the shift chooses the half of a word. The double holds a b exactly. */
static uint16_t add_product(uint16_t sum, uint32_t a, uint32_t b, int shift) {
    const double x = (double)lilac_float_from_f16((uint16_t)(a >> shift));
    const double y = (double)lilac_float_from_f16((uint16_t)(b >> shift));
    return lilac_f16_from_double((double)lilac_float_from_f16(sum) + x * y);
}

static float sum_products(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b) {
    const size_t pairs = (product->depth + 1) / 2;
    float even = 0.0f, odd = 0.0f;
    for (size_t block = 0; block * LILAC_ROUNDED_BLOCK < pairs; block++) {
        const float scale = product->a_scales[block] * product->b_scales[block];
        uint16_t even_sum = 0, odd_sum = 0;
        for (size_t p = block * LILAC_ROUNDED_BLOCK; p < pairs && p < (block + 1) * LILAC_ROUNDED_BLOCK; p++) {
            const uint32_t x = a[p * LILAC_ROUNDED_LANES], y = b[p * product->col_width];
            even_sum = add_product(even_sum, x, y, 0);
            odd_sum = add_product(odd_sum, x, y, 16);
        }
        even += lilac_float_from_f16(even_sum) * scale;
        odd += lilac_float_from_f16(odd_sum) * scale;
    }
    return even + odd;
}

static void multiply(const lilac_rounded_product *product, const uint32_t *a, const uint32_t *b, float *c) {
    for (size_t i = 0; i < product->rows; i++) {
        for (size_t j = 0; j < product->cols; j++) {
            const float sum = product->alpha * sum_products(product, a + i, b + j);
            float *to = c + i * product->ldc + j;
            *to = (product->add ? *to : 0.0f) + sum; /* not -0 where nothing is added to, as in vectors */
        }
    }
}

void lilac_half_product_kernels_reference(lilac_rounded_product_kernels *kernels) {
    *kernels = (lilac_rounded_product_kernels){.pack = pack,
                                               .begin = lilac_rounded_product_nothing,
                                               .end = lilac_rounded_product_nothing,
                                               .multiply = multiply};
}
