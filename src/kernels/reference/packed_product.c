/* SPDX-License-Identifier: MIT */
#include "kernels/packed_product.h"

#include "core/bf16.h"

static void finish(const lilac_packed_product *p, size_t row, const float sums[LILAC_PANEL], float *y) {
    for (size_t j = 0; j < p->cols; j++) {
        float *to = y + row * p->ldy + j;
        *to = p->add ? *to + sums[j] : sums[j];
    }
}

static void multiply(const lilac_packed_product *p, const float *x, const float *panel, float *y) {
    for (size_t i = 0; i < p->rows; i++) {
        float sums[LILAC_PANEL] = {0.0f};
        for (size_t k = 0; k < p->depth; k++) {
            for (size_t j = 0; j < LILAC_PANEL; j++) {
                sums[j] += x[i * p->ldx + k] * panel[k * LILAC_PANEL + j];
            }
        }
        finish(p, i, sums, y);
    }
}

static void multiply_bf16(const lilac_packed_product *p, const float *x, const uint16_t *panel, float *y) {
    for (size_t i = 0; i < p->rows; i++) {
        float sums[LILAC_PANEL] = {0.0f};
        for (size_t k = 0; k < p->depth; k++) {
            for (size_t j = 0; j < LILAC_PANEL; j++) {
                sums[j] += x[i * p->ldx + k] * lilac_float_from_bf16(panel[k * LILAC_PANEL + j]);
            }
        }
        finish(p, i, sums, y);
    }
}

void lilac_packed_product_kernels_reference(lilac_packed_product_kernels *kernels) {
    *kernels = (lilac_packed_product_kernels){.multiply = multiply, .multiply_bf16 = multiply_bf16};
}
