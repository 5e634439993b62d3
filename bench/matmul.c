/* SPDX-License-Identifier: MIT */
#include "matmul.h"

#include "core/bf16.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "kernels/kernel_table.h"

#include <math.h>

enum { LEAST_RUNS = 5 };

static const double time_to_spend = 0.1; /* seconds */

/* A matrix of random numbers, in f32 or bf16. */
static lilac_status create_matrix(lilac_context *context, size_t rows, size_t stride, bool bf16, void **out) {
    size_t count;
    if (!lilac_size_multiply(rows, stride, &count)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "timing products: a %zu x %zu matrix is too large", rows,
                          stride);
    }
    float *floats = lilac_memory_allocate(lilac_size_max(count, 1), sizeof *floats);
    uint16_t *halves = bf16 ? lilac_memory_allocate(lilac_size_max(count, 1), sizeof *halves) : NULL;
    if (floats == NULL || (bf16 && halves == NULL)) {
        lilac_memory_free(halves);
        lilac_memory_free(floats);
        return lilac_fail_memory(context, "timing products", count * sizeof *floats);
    }
    const lilac_random random = lilac_random_stream(0, LILAC_RANDOM_TEST, rows);
    context->kernels->elementwise.random_uniform(count, &random, -1.0f, 1.0f, floats);
    for (size_t i = 0; bf16 && i < count; i++) {
        halves[i] = lilac_bf16_from_float(floats[i]);
    }
    if (bf16) {
        lilac_memory_free(floats);
    }
    *out = bf16 ? (void *)halves : (void *)floats;
    return LILAC_OK;
}

/* Whether a product takes matrices that are rounded before. */
static bool takes_bf16(const lilac_context *context, lilac_bench_matmul_kind kind) {
    return kind == LILAC_BENCH_MATMUL_BF16 && !lilac_matmul_rounds(context, LILAC_MATMUL_TILES);
}

/* b is a packed matrix where the kind says so. */
static lilac_status multiply(lilac_context *context, const lilac_matmul_shape *s, lilac_bench_matmul_kind kind,
                             const void *a, const void *b, float *c) {
    switch (kind) {
    case LILAC_BENCH_MATMUL_F32:
        return lilac_matmul_f32(context, s, a, b, c);
    case LILAC_BENCH_MATMUL_BF16:
        return takes_bf16(context, kind) ? lilac_matmul_bf16(context, s, a, b, c)
                                         : lilac_matmul_rounded(context, LILAC_MATMUL_TILES, s, a, b, c);
    case LILAC_BENCH_MATMUL_F16:
        return lilac_matmul_rounds(context, LILAC_MATMUL_F16)
                   ? lilac_matmul_rounded(context, LILAC_MATMUL_F16, s, a, b, c)
                   : LILAC_ERROR_UNSUPPORTED;
    default:
        lilac_packed_matrix_multiply(context, b, s->m, a, false, c, s->ldc);
        return LILAC_OK;
    }
}

static lilac_status time_product(lilac_context *context, const lilac_matmul_shape *shape, lilac_bench_matmul_kind kind,
                                 const void *a, const void *b, float *c, double *seconds) {
    /* The first product also prepares for the others. */
    const lilac_status status = multiply(context, shape, kind, a, b, c);
    *seconds = NAN;
    if (status != LILAC_OK) {
        return status == LILAC_ERROR_UNSUPPORTED ? LILAC_OK : status;
    }
    const double began = lilac_clock_seconds();
    double best = INFINITY, end = began;
    for (int run = 0; run < LEAST_RUNS || end - began < time_to_spend; run++) {
        const double start = lilac_clock_seconds();
        LILAC_TRY(multiply(context, shape, kind, a, b, c));
        end = lilac_clock_seconds();
        best = fmin(best, end - start);
    }
    *seconds = best;
    return LILAC_OK;
}

lilac_status lilac_bench_matmul(lilac_context *context, const lilac_matmul_shape *shape, lilac_bench_matmul_kind kind,
                                double *seconds) {
    void *a = NULL, *b = NULL, *c = NULL;
    const bool bf16 = takes_bf16(context, kind);
    lilac_status status = create_matrix(context, shape->transpose_a ? shape->k : shape->m, shape->lda, bf16, &a);
    if (status == LILAC_OK) {
        status = create_matrix(context, shape->transpose_b ? shape->n : shape->k, shape->ldb, bf16, &b);
    }
    if (status == LILAC_OK) {
        status = create_matrix(context, shape->m, shape->ldc, false, &c);
    }
    const bool packs = kind == LILAC_BENCH_MATMUL_PACKED || kind == LILAC_BENCH_MATMUL_PACKED_BF16;
    lilac_packed_matrix packed = {0};
    if (status == LILAC_OK && packs) {
        const lilac_unpacked_matrix W = {.data = b, .row_step = shape->ldb, .column_step = 1, .scale = 1.0f};
        status =
            lilac_packed_matrix_pack(context, shape->n, shape->k, W, kind == LILAC_BENCH_MATMUL_PACKED_BF16, &packed);
    }
    if (status == LILAC_OK) {
        status = time_product(context, shape, kind, a, packs ? (const void *)&packed : b, c, seconds);
    }
    lilac_packed_matrix_free(&packed);
    lilac_memory_free(c);
    lilac_memory_free(b);
    lilac_memory_free(a);
    return status;
}
