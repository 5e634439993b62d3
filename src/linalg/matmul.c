/* SPDX-License-Identifier: MIT */
/* What all matmul libraries share: checks, and the cut into blocks that the threads take. */
#include "linalg/matmul.h"

#include "core/memory.h"
#include "linalg/matmul_cache.h"
#include "runtime/parallel.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

enum {
    /* A product of fewer multiplications than this is one block: threads would cost more than they save. */
    SMALL_PRODUCT = 1 << 18,
    /* Each block packs the operand that is not cut again: a block has at least this many rows, or columns of a wide C,
     * unless there would be fewer than two, and not more than that. */
    LEAST_BLOCK = 128,
    LARGEST_BLOCK = 512,
    /* Blocks that a product is cut into as long as its blocks are within these bounds. */
    USUAL_BLOCKS = 4,
    /* Blocks of columns start at a cache line. */
    BLOCK_COLUMNS = 16
};

typedef struct {
    lilac_matmul_shape shape;
    const char *a, *b;
    size_t element; /* bytes of an element of A and B */
    float *c;
    bool cut_columns;
    size_t blocks, step;                  /* rows or columns in a block, but for the last */
    const lilac_matmul_plan *plan, *last; /* of the last block */
    size_t workers, scratch_size;         /* a worker takes block after block; bytes of each */
    char *scratch;
    atomic_size_t next; /* block to be taken */
    atomic_int status;
} product;

static lilac_status multiply_block(const product *p, size_t block, void *scratch) {
    const lilac_matmul_shape *s = &p->shape;
    const size_t row = p->cut_columns ? 0 : block * p->step;
    const size_t column = p->cut_columns ? block * p->step : 0;
    const size_t a = s->transpose_a ? row : row * s->lda;
    const size_t b = s->transpose_b ? column * s->ldb : column;
    return lilac_matmul_plan_run(block + 1 == p->blocks ? p->last : p->plan, p->a + a * p->element,
                                 p->b + b * p->element, p->c + row * s->ldc + column, scratch);
}

static void work(void *argument, size_t begin, size_t end) {
    product *p = argument;
    for (size_t worker = begin; worker < end; worker++) {
        for (;;) {
            const size_t block = atomic_fetch_add(&p->next, 1);
            if (block >= p->blocks) {
                break;
            }
            const lilac_status status = multiply_block(p, block, p->scratch + worker * p->scratch_size);
            if (status != LILAC_OK) {
                atomic_store(&p->status, (int)status);
            }
        }
    }
}

lilac_status lilac_matmul_check_shape(lilac_context *context, const lilac_matmul_shape *s) {
    const size_t a_columns = s->transpose_a ? s->m : s->k;
    const size_t b_columns = s->transpose_b ? s->k : s->n;
    if (s->lda < a_columns || s->ldb < b_columns || s->ldc < s->n) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "matrix product %zu x %zu x %zu: row strides %zu, %zu, %zu are below %zu, %zu, %zu columns",
                          s->m, s->n, s->k, s->lda, s->ldb, s->ldc, a_columns, b_columns, s->n);
    }
    const size_t largest = lilac_size_max(lilac_size_max(s->lda, s->ldb), lilac_size_max(s->ldc, s->k));
    if (lilac_size_max(largest, lilac_size_max(s->m, s->n)) > INT_MAX) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW,
                          "matrix product %zu x %zu x %zu: a size or stride above %d cannot be indexed", s->m, s->n,
                          s->k, INT_MAX);
    }
    return LILAC_OK;
}

void lilac_matmul_scale_by_beta(const lilac_matmul_shape *s, float *c) {
    for (size_t i = 0; s->beta == 0.0f && s->n > 0 && i < s->m; i++) {
        memset(c + i * s->ldc, 0, s->n * sizeof *c);
    }
}

/* Cuts the longer side of C, so that a weight gradient (few rows, many columns) is shared out too. */
static void cut(product *p) {
    const lilac_matmul_shape *s = &p->shape;
    p->cut_columns = s->n > s->m;
    const size_t side = lilac_size_max(s->m, s->n);
    p->blocks = 1;
    if ((double)s->m * (double)s->n * (double)s->k >= SMALL_PRODUCT) {
        const size_t most = lilac_size_max(side / LEAST_BLOCK / 2 * 2, 2);
        const size_t fewest = (side + LARGEST_BLOCK - 1) / LARGEST_BLOCK;
        p->blocks = lilac_size_max(lilac_size_min(USUAL_BLOCKS, most), fewest);
    }
    p->step = lilac_round_up((side + p->blocks - 1) / p->blocks, p->cut_columns ? BLOCK_COLUMNS : 1);
    p->blocks = (side + p->step - 1) / p->step;
}

static lilac_status plan_blocks(lilac_context *context, product *p, bool bf16) {
    lilac_matmul_shape shape = p->shape;
    size_t *const side = p->cut_columns ? &shape.n : &shape.m;
    const size_t whole = *side, last = whole - (p->blocks - 1) * p->step;
    *side = lilac_size_min(p->step, whole);
    LILAC_TRY(lilac_matmul_cached_plan(context, &shape, bf16, &p->plan));
    *side = last;
    LILAC_TRY(lilac_matmul_cached_plan(context, &shape, bf16, &p->last));
    const size_t scratch = lilac_size_max(lilac_matmul_plan_scratch(p->plan), lilac_matmul_plan_scratch(p->last));
    p->scratch_size = lilac_round_up(scratch, LILAC_ALIGNMENT);
    p->scratch = lilac_matmul_cached_scratch(context, p->workers * p->scratch_size);
    return p->scratch == NULL ? LILAC_ERROR_MEMORY : LILAC_OK;
}

static lilac_status multiply(lilac_context *context, const lilac_matmul_shape *shape, bool bf16, const void *a,
                             const void *b, float *c) {
    LILAC_TRY(lilac_matmul_check_shape(context, shape));
    if (shape->m == 0 || shape->n == 0 || shape->k == 0) {
        lilac_matmul_scale_by_beta(shape, c);
        return LILAC_OK;
    }
    product p = {.shape = *shape, .a = a, .b = b, .element = bf16 ? sizeof(uint16_t) : sizeof(float), .c = c};
    cut(&p);
    p.workers = lilac_size_min((size_t)lilac_context_threads(context), p.blocks);
    lilac_status status = plan_blocks(context, &p, bf16);
    if (status == LILAC_OK) {
        lilac_parallel_for(context, p.workers, 1, work, &p);
        status = (lilac_status)atomic_load(&p.status);
    }
    if (status != LILAC_OK) {
        return lilac_fail(context, status, "%s%s could not multiply %zu x %zu x %zu",
                          status == LILAC_ERROR_MEMORY ? "out of memory: " : "", lilac_matmul_library(), shape->m,
                          shape->n, shape->k);
    }
    return LILAC_OK;
}

lilac_status lilac_matmul_f32(lilac_context *context, const lilac_matmul_shape *shape, const float *a, const float *b,
                              float *c) {
    return multiply(context, shape, false, a, b, c);
}

lilac_status lilac_matmul_bf16(lilac_context *context, const lilac_matmul_shape *shape, const uint16_t *a,
                               const uint16_t *b, float *c) {
    return multiply(context, shape, true, a, b, c);
}

lilac_status lilac_matmul(lilac_context *context, const lilac_matmul_shape *shape, lilac_operand a, lilac_operand b,
                          float *c) {
    const lilac_matmul_type type = a.type == b.type ? a.type : LILAC_MATMUL_F32;
    switch (type) {
    case LILAC_MATMUL_F32:
        return lilac_matmul_f32(context, shape, a.values, b.values, c);
    case LILAC_MATMUL_BF16:
        return lilac_matmul_bf16(context, shape, a.rounded, b.rounded, c);
    default:
        return lilac_matmul_rounded(context, type, shape, a.values, b.values, c);
    }
}

lilac_status lilac_matmul_check_bf16(lilac_context *context) {
    const lilac_matmul_shape shape = {.m = 1, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .alpha = 1.0f};
    const uint16_t one = 0x3f80;
    float result;
    return lilac_matmul_bf16(context, &shape, &one, &one, &result);
}
