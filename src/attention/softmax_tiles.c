/* SPDX-License-Identifier: MIT */
#include "attention/softmax_tiles.h"

#include "kernels/kernel_table.h"

bool lilac_softmax_uses_tiles(const lilac_context *context, const lilac_softmax_attention_config *config) {
    return config->bf16_products && context->kernels->fast_tile_products;
}

lilac_tile_source lilac_softmax_tile_source(const lilac_softmax_attention_config *config,
                                            const lilac_attention_input *x, size_t head, size_t n, size_t count,
                                            size_t size) {
    return (lilac_tile_source){
        .data = lilac_attention_input_row(x, head / config->shape.heads, n, head % config->shape.heads),
        .bf16 = x->dtype == LILAC_ATTENTION_BF16,
        .count = count,
        .size = size,
        .ld = x->token_stride,
        .scale = 1.0f,
    };
}

uint16_t *lilac_softmax_take_forms(lilac_workspace *workspace, const lilac_softmax_plan *plan, size_t rows,
                                   size_t columns) {
    return (void *)lilac_softmax_take_heads(workspace, plan, rows, columns * sizeof(uint16_t) / sizeof(float));
}
