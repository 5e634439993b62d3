/* SPDX-License-Identifier: MIT */
/* Matrix products by any library with the CBLAS interface: f32 only. Its own threading should be switched off (for
 * OpenBLAS with OPENBLAS_NUM_THREADS=1), or results may depend on the number of threads. */
#include "linalg/matmul_plan.h"

#include "core/memory.h"

#include <cblas.h>

struct lilac_matmul_plan {
    lilac_matmul_shape shape;
};

lilac_status lilac_matmul_plan_create(const lilac_matmul_shape *shape, bool bf16, lilac_matmul_plan **out) {
    if (bf16) {
        return LILAC_ERROR_UNSUPPORTED;
    }
    lilac_matmul_plan *plan = lilac_memory_allocate(1, sizeof *plan);
    if (plan == NULL) {
        return LILAC_ERROR_MEMORY;
    }
    plan->shape = *shape;
    *out = plan;
    return LILAC_OK;
}

void lilac_matmul_plan_destroy(lilac_matmul_plan *plan) {
    lilac_memory_free(plan);
}

size_t lilac_matmul_plan_scratch(const lilac_matmul_plan *plan) {
    (void)plan;
    return 0;
}

lilac_status lilac_matmul_plan_run(const lilac_matmul_plan *plan, const void *a, const void *b, float *c,
                                   void *scratch) {
    (void)scratch;
    const lilac_matmul_shape *s = &plan->shape;
    cblas_sgemm(CblasRowMajor, s->transpose_a ? CblasTrans : CblasNoTrans, s->transpose_b ? CblasTrans : CblasNoTrans,
                (int)s->m, (int)s->n, (int)s->k, s->alpha, a, (int)s->lda, b, (int)s->ldb, s->beta, c, (int)s->ldc);
    return LILAC_OK;
}

const char *lilac_matmul_library(void) {
    return "CBLAS";
}
