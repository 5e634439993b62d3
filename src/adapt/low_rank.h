/* SPDX-License-Identifier: MIT */
/*
 * The low-rank term of one linear layer, forward and backward. A is r x in; Bt, B transposed, is r x out: stored that
 * way every product below has its long side where the matrix library is fast, also at r = 1. x is B x in, contiguous; y
 * and dy are B x out with row stride ldy, lddy.
 */
#ifndef LILAC_ADAPT_LOW_RANK_H
#define LILAC_ADAPT_LOW_RANK_H

#include "runtime/context.h"

#include <stdbool.h>

typedef struct lilac_low_rank {
    size_t rank, in, out;
    float scale;
    const float *A;  /* r x in */
    const float *Bt; /* r x out */
} lilac_low_rank;

/* y += scale * u Bt, with u = x A^T (B x r) written for the backward pass. */
lilac_status lilac_low_rank_forward(lilac_context *context, const lilac_low_rank *term, size_t B, const float *x,
                                    float *u, float *y, size_t ldy);

/*
 * dA = t^T x (r x in) and dBt = scale * u^T dy (r x out), or with `add` added to them, with t = scale * dy Bt^T (B x r,
 * scratch). If dx is not NULL, dx += t A.
 */
lilac_status lilac_low_rank_backward(lilac_context *context, const lilac_low_rank *term, size_t B, const float *x,
                                     const float *u, const float *dy, size_t lddy, bool add, float *t, float *dA,
                                     float *dBt, float *dx);

/* W += scale * Bt^T A, W being out x in. */
lilac_status lilac_low_rank_merge(lilac_context *context, const lilac_low_rank *term, float *W);

#endif
