/* SPDX-License-Identifier: MIT */
/* Matrix products by any library with the CBLAS interface: f32 only. Its own threading should be switched off (for
 * OpenBLAS with OPENBLAS_NUM_THREADS=1), or results may depend on the number of threads. */
#include "linalg/matmul_block.h"

#include <cblas.h>

lilac_status lilac_matmul_block_f32(const lilac_matmul_shape *s, const void *a, const void *b, float *c) {
    cblas_sgemm(CblasRowMajor, s->transpose_a ? CblasTrans : CblasNoTrans, s->transpose_b ? CblasTrans : CblasNoTrans,
                (int)s->m, (int)s->n, (int)s->k, s->alpha, a, (int)s->lda, b, (int)s->ldb, s->beta, c, (int)s->ldc);
    return LILAC_OK;
}

lilac_status lilac_matmul_block_bf16(const lilac_matmul_shape *s, const void *a, const void *b, float *c) {
    (void)s;
    (void)a;
    (void)b;
    (void)c;
    return LILAC_ERROR_UNSUPPORTED;
}

const char *lilac_matmul_library(void) {
    return "CBLAS";
}
