/* SPDX-License-Identifier: MIT */
#include "nn/layer_norm.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "nn/linear.h"
#include "runtime/parallel.h"

/* Rows that one thread takes at a time; backward, also those whose parts of dgain and dbias are summed together. */
enum { ROW_BLOCK = 64 };

static const float epsilon = 1e-5f;

typedef struct {
    const lilac_context *context;
    size_t F;
    lilac_residual_norm tensors;
} forward_loop;

static void forward_rows(void *argument, size_t begin, size_t end) {
    const forward_loop *loop = argument;
    const size_t offset = begin * loop->F;
    lilac_residual_norm rows = loop->tensors;
    lilac_dropout dropout;
    if (rows.dropout != NULL) {
        dropout = lilac_dropout_from_row(rows.dropout, loop->F, begin);
        rows.dropout = &dropout;
    }
    rows.x = rows.x == NULL ? NULL : rows.x + offset;
    rows.y += offset;
    rows.out += offset;
    rows.mean += begin;
    rows.rstd += begin;
    loop->context->kernels->layer_norm.residual_norm_forward(end - begin, loop->F, &rows);
}

void lilac_residual_norm_forward(lilac_context *context, size_t T, size_t F, const float *x, const float *b,
                                 const lilac_dropout *dropout, float *y, const float *gain, const float *bias,
                                 float *mean, float *rstd, float *out) {
    forward_loop loop = {.context = context,
                         .F = F,
                         .tensors = {.x = x,
                                     .branch_bias = b,
                                     .dropout = dropout,
                                     .gain = gain,
                                     .bias = bias,
                                     .epsilon = epsilon,
                                     .y = y,
                                     .mean = mean,
                                     .rstd = rstd,
                                     .out = out}};
    lilac_parallel_for(context, T, ROW_BLOCK, forward_rows, &loop);
}

typedef struct {
    const lilac_context *context;
    size_t F;
    lilac_layer_norm_gradient tensors;
    float *scratch; /* for each block of rows: its parts of dgain and dbias, F each */
} backward_loop;

static void backward_rows(void *argument, size_t begin, size_t end) {
    const backward_loop *loop = argument;
    const size_t F = loop->F, offset = begin * F;
    lilac_layer_norm_gradient rows = loop->tensors;
    rows.s += offset;
    rows.mean += begin;
    rows.rstd += begin;
    rows.dout += offset;
    rows.add = rows.add == NULL ? NULL : rows.add + offset;
    rows.ds += offset;
    if (loop->scratch != NULL) {
        rows.dgain = loop->scratch + begin / ROW_BLOCK * 2 * F;
        rows.dbias = rows.dgain + F;
        for (size_t c = 0; c < 2 * F; c++) {
            rows.dgain[c] = 0.0f;
        }
    }
    loop->context->kernels->layer_norm.layer_norm_backward(end - begin, F, &rows);
}

static size_t block_count(size_t T) {
    return (T + ROW_BLOCK - 1) / ROW_BLOCK;
}

size_t lilac_layer_norm_scratch_size(size_t T, size_t F) {
    return block_count(T) * 2 * F;
}

void lilac_layer_norm_backward(lilac_context *context, size_t T, size_t F, const float *s, const float *mean,
                               const float *rstd, const float *gain, const float *dout, const float *ds_extra,
                               float *ds, float *dgain, float *dbias, float *scratch) {
    backward_loop loop = {
        .context = context,
        .F = F,
        .tensors = {.s = s, .mean = mean, .rstd = rstd, .gain = gain, .dout = dout, .add = ds_extra, .ds = ds},
        .scratch = dgain == NULL ? NULL : scratch};
    lilac_parallel_for(context, T, ROW_BLOCK, backward_rows, &loop);
    if (dgain != NULL) {
        lilac_column_sum(context, block_count(T), F, scratch, 2 * F, dgain);
        lilac_column_sum(context, block_count(T), F, scratch + F, 2 * F, dbias);
    }
}
