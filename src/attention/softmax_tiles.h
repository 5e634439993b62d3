/* SPDX-License-Identifier: MIT */
/*
 * The passes of softmax attention with products of bf16 tiles: what lilac_softmax_attention_forward and ..._backward
 * come to, after their checks, where the config asks for it and the cpu has such tiles.
 */
#ifndef LILAC_ATTENTION_SOFTMAX_TILES_H
#define LILAC_ATTENTION_SOFTMAX_TILES_H

#include "attention/softmax.h"
#include "kernels/tile_attention.h"

/* Whether they do. */
bool lilac_softmax_uses_tiles(const lilac_context *context, const lilac_softmax_attention_config *config);

/* Rows n .. n + count - 1 of a head, to be packed as they are. */
lilac_tile_source lilac_softmax_tile_source(const lilac_softmax_attention_config *config,
                                            const lilac_attention_input *x, size_t head, size_t n, size_t count,
                                            size_t size);

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
