/* SPDX-License-Identifier: MIT */
#include "adapt/low_rank.h"

#include "linalg/matmul.h"

lilac_status lilac_low_rank_forward(lilac_context *context, const lilac_low_rank *term, size_t B, const float *x,
                                    float *u, float *y, size_t ldy) {
    const size_t r = term->rank, in = term->in, out = term->out;
    const lilac_matmul_shape down = {
        .m = B, .n = r, .k = in, .transpose_b = true, .lda = in, .ldb = in, .ldc = r, .alpha = 1.0f};
    LILAC_TRY(lilac_matmul_f32(context, &down, x, term->A, u));
    const lilac_matmul_shape up = {
        .m = B, .n = out, .k = r, .lda = r, .ldb = out, .ldc = ldy, .alpha = term->scale, .beta = 1.0f};
    return lilac_matmul_f32(context, &up, u, term->Bt, y);
}

lilac_status lilac_low_rank_backward(lilac_context *context, const lilac_low_rank *term, size_t B, const float *x,
                                     const float *u, const float *dy, size_t lddy, bool add, float *t, float *dA,
                                     float *dBt, float *dx) {
    const float beta = add ? 1.0f : 0.0f;
    const size_t r = term->rank, in = term->in, out = term->out;
    const lilac_matmul_shape to_t = {
        .m = B, .n = r, .k = out, .transpose_b = true, .lda = lddy, .ldb = out, .ldc = r, .alpha = term->scale};
    LILAC_TRY(lilac_matmul_f32(context, &to_t, dy, term->Bt, t));
    const lilac_matmul_shape to_dA = {
        .m = r, .n = in, .k = B, .transpose_a = true, .lda = r, .ldb = in, .ldc = in, .alpha = 1.0f, .beta = beta};
    LILAC_TRY(lilac_matmul_f32(context, &to_dA, t, x, dA));
    const lilac_matmul_shape to_dBt = {.m = r,
                                       .n = out,
                                       .k = B,
                                       .transpose_a = true,
                                       .lda = r,
                                       .ldb = lddy,
                                       .ldc = out,
                                       .alpha = term->scale,
                                       .beta = beta};
    LILAC_TRY(lilac_matmul_f32(context, &to_dBt, u, dy, dBt));
    if (dx == NULL) {
        return LILAC_OK;
    }
    const lilac_matmul_shape to_dx = {
        .m = B, .n = in, .k = r, .lda = r, .ldb = in, .ldc = in, .alpha = 1.0f, .beta = 1.0f};
    return lilac_matmul_f32(context, &to_dx, t, term->A, dx);
}

lilac_status lilac_low_rank_merge(lilac_context *context, const lilac_low_rank *term, float *W) {
    const size_t r = term->rank, in = term->in, out = term->out;
    const lilac_matmul_shape shape = {.m = out,
                                      .n = in,
                                      .k = r,
                                      .transpose_a = true,
                                      .lda = out,
                                      .ldb = in,
                                      .ldc = in,
                                      .alpha = term->scale,
                                      .beta = 1.0f};
    return lilac_matmul_f32(context, &shape, term->Bt, term->A, W);
}
