/* SPDX-License-Identifier: MIT */
#include "attention/softmax_tiles.h"

#include "core/memory.h"

size_t lilac_softmax_row_items(size_t group, size_t tokens) {
    return group * (lilac_round_up(tokens, LILAC_SOFTMAX_PACKED_ROWS) / LILAC_SOFTMAX_PACKED_ROWS);
}

lilac_softmax_rows lilac_softmax_rows_of(size_t item, size_t first_head, size_t group, size_t tokens) {
    const size_t slot = item % group, n = item / group * LILAC_SOFTMAX_PACKED_ROWS;
    const size_t count = lilac_size_min(LILAC_SOFTMAX_PACKED_ROWS, tokens - n);
    lilac_softmax_rows rows = {.slot = slot, .head = first_head + slot, .n = n, .count = count};
    rows.next_head = slot + 1 < group ? rows.head + 1 : first_head;
    rows.next_n = slot + 1 < group ? n : n + count;
    if (rows.next_n + count > tokens) {
        rows.next_n = SIZE_MAX;
    }
    return rows;
}

static const void *row_of(const lilac_softmax_attention_config *config, const lilac_attention_input *x, size_t head,
                          size_t n) {
    return lilac_attention_input_row(x, head / config->shape.heads, n, head % config->shape.heads);
}

lilac_tile_source lilac_softmax_tile_source(const lilac_softmax_attention_config *config,
                                            const lilac_attention_input *x, const lilac_softmax_rows *rows,
                                            size_t size) {
    return (lilac_tile_source){
        .data = row_of(config, x, rows->head, rows->n),
        .bf16 = x->dtype == LILAC_ATTENTION_BF16,
        .count = rows->count,
        .size = size,
        .ld = x->token_stride,
        .scale = 1.0f,
        .ahead = rows->next_n == SIZE_MAX ? NULL : row_of(config, x, rows->next_head, rows->next_n),
    };
}

void lilac_softmax_expect_rows(const lilac_softmax_attention_config *config, const lilac_attention_output *y,
                               size_t head, size_t n, size_t count, size_t size) {
    const size_t b = head / config->shape.heads, h = head % config->shape.heads;
    for (size_t r = 0; r < count; r++) {
        const float *row = lilac_attention_output_row(y, b, n + r, h);
        for (size_t i = 0; i < size; i += LILAC_ALIGNMENT / sizeof *row) {
            __builtin_prefetch(row + i, 1, 2);
        }
    }
}

uint16_t *lilac_softmax_take_forms(lilac_workspace *workspace, const lilac_softmax_plan *plan, size_t rows,
                                   size_t columns) {
    return (void *)lilac_softmax_take_heads(workspace, plan, rows, columns * sizeof(uint16_t) / sizeof(float));
}
