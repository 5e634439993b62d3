/* SPDX-License-Identifier: MIT */
/*
 * The passes of softmax attention with products of bf16 tiles: what lilac_softmax_attention_forward and ..._backward
 * come to, after their checks, where lilac_softmax_uses_tiles.
 */
#ifndef LILAC_ATTENTION_SOFTMAX_TILES_H
#define LILAC_ATTENTION_SOFTMAX_TILES_H

#include "attention/softmax.h"
#include "kernels/tile_attention.h"

enum { LILAC_SOFTMAX_PACKED_ROWS = 64 /* rows of a head that are packed in one go */ };

/* Rows n .. n + count - 1 of a head, and those that will be read after them. */
typedef struct lilac_softmax_rows {
    size_t slot, head; /* within the group, among all */
    size_t n, count;
    size_t next_head, next_n; /* next_n is SIZE_MAX if fewer than `count` rows follow */
} lilac_softmax_rows;

/* Item number `item` of a group whose heads have `tokens` rows each: the same rows of each head in turn, as those of
 * neighbouring heads share a page. */
lilac_softmax_rows lilac_softmax_rows_of(size_t item, size_t first_head, size_t group, size_t tokens);

/* The number of those items. */
size_t lilac_softmax_row_items(size_t group, size_t tokens);

/* These rows, to be packed as they are. */
lilac_tile_source lilac_softmax_tile_source(const lilac_softmax_attention_config *config,
                                            const lilac_attention_input *x, const lilac_softmax_rows *rows,
                                            size_t size);

/* Rows that will be written later: has them fetched meanwhile. */
void lilac_softmax_expect_rows(const lilac_softmax_attention_config *config, const lilac_attention_output *y,
                               size_t head, size_t n, size_t count, size_t size);

/* A piece of a workspace for a packed form of a matrix of each head of a group; rows and columns are those of whole
 * tiles. */
uint16_t *lilac_softmax_take_forms(lilac_workspace *workspace, const lilac_softmax_plan *plan, size_t rows,
                                   size_t columns);

/* Errors: those of lilac_softmax_plan_make. */
lilac_status lilac_softmax_tiles_forward_measure(lilac_context *context, const lilac_softmax_attention_config *config,
                                                 lilac_workspace *workspace);
lilac_status lilac_softmax_tiles_forward(lilac_context *context, const lilac_softmax_attention_config *config,
                                         const lilac_softmax_attention_forward_tensors *tensors, void *workspace);
lilac_status lilac_softmax_tiles_backward_measure(lilac_context *context, const lilac_softmax_attention_config *config,
                                                  lilac_workspace *workspace);
lilac_status lilac_softmax_tiles_backward(lilac_context *context, const lilac_softmax_attention_config *config,
                                          const lilac_softmax_attention_backward_tensors *tensors, void *workspace);

#endif
