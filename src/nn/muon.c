/* SPDX-License-Identifier: MIT */
#include "nn/muon.h"

#include "core/memory.h"
#include "linalg/matmul.h"
#include "nn/convert.h"
#include "nn/gradient_norm.h"
#include "runtime/parallel.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 16384, ITERATIONS = 5 };

static const double decay_of_mean = 0.95; /* the authors' momentum */

/* What each Newton-Schulz iteration applies to the singular values, x -> ax + bx^3 + cx^5: chosen by Muon's authors to
 * lift small ones as fast as possible; after five, values are between about 0.7 and 1.2. */
static const float linear = 3.4445f, cubic = -4.7750f, quintic = 2.0315f;

/* A matrix that the iteration works on, and its rounded copy where products are in bf16. */
typedef struct {
    float *values;
    uint16_t *rounded;
} iterate;

/* What lilac_muon_update cuts its scratch into: the direction and the next one, the Gram matrix of its shorter side and
 * the polynomial of that. */
typedef struct {
    iterate x, next, gram, polynomial;
} workspace;

static size_t shorter_side(const lilac_muon_matrix *matrix) {
    return lilac_size_min(matrix->rows, matrix->cols);
}

static workspace cut_memory(const lilac_muon *muon, const lilac_muon_matrix *matrix) {
    const size_t n = matrix->rows * matrix->cols, square = shorter_side(matrix) * shorter_side(matrix);
    float *memory = muon->memory;
    uint16_t *rounded = muon->rounded;
    const bool rounds = muon->products == LILAC_MATMUL_BF16;
    return (workspace){.x = {memory, rounds ? rounded : NULL},
                       .next = {memory + n, rounds ? rounded + n : NULL},
                       .gram = {memory + 2 * n, rounds ? rounded + 2 * n : NULL},
                       .polynomial = {memory + 2 * n + square, rounds ? rounded + 2 * n + square : NULL}};
}

static void round_values(lilac_context *context, size_t n, const iterate *x) {
    if (x->rounded != NULL) {
        lilac_float_to_bf16(context, 1, n, x->values, n, x->rounded, n);
    }
}

static lilac_status multiply(lilac_context *context, lilac_matmul_type products, const lilac_matmul_shape *shape,
                             const iterate *a, const iterate *b, const iterate *c) {
    const lilac_operand left = {products, a->values, a->rounded}, right = {products, b->values, b->rounded};
    return lilac_matmul(context, shape, left, right, c->values);
}

/* polynomial = linear I + cubic G + quintic G^2, where `polynomial` holds G^2. */
static void combine(size_t side, const float *gram, float *polynomial) {
    for (size_t i = 0; i < side * side; i++) {
        polynomial[i] = quintic * polynomial[i] + cubic * gram[i];
    }
    for (size_t i = 0; i < side; i++) {
        polynomial[i * side + i] += linear;
    }
}

/*
 * s->x.values, rows x cols, becomes an approximation of its orthogonal factor. The polynomial needs singular values of
 * at most 1, which the division by the Frobenius norm ensures.
 */
static lilac_status orthogonalise(lilac_context *context, lilac_matmul_type products, const lilac_muon_matrix *matrix,
                                  workspace *s) {
    const size_t rows = matrix->rows, cols = matrix->cols, n = rows * cols, side = shorter_side(matrix);
    const bool wide = rows <= cols;
    const double length = lilac_gradient_norm(context, n, s->x.values);
    /* Below the least normal number the inverse would not be one; what is left then may as well be nothing. */
    const float scale = length >= (double)FLT_MIN ? (float)(1.0 / length) : 0.0f;
    for (size_t i = 0; i < n; i++) {
        s->x.values[i] *= scale;
    }
    const lilac_matmul_shape gram = {.m = side,
                                     .n = side,
                                     .k = lilac_size_max(rows, cols),
                                     .transpose_a = !wide,
                                     .transpose_b = wide,
                                     .lda = cols,
                                     .ldb = cols,
                                     .ldc = side,
                                     .alpha = 1.0f};
    const lilac_matmul_shape square = {
        .m = side, .n = side, .k = side, .lda = side, .ldb = side, .ldc = side, .alpha = 1.0f};
    const lilac_matmul_shape product = {
        .m = rows, .n = cols, .k = side, .lda = wide ? side : cols, .ldb = cols, .ldc = cols, .alpha = 1.0f};
    for (int iteration = 0; iteration < ITERATIONS; iteration++) {
        round_values(context, n, &s->x);
        LILAC_TRY(multiply(context, products, &gram, &s->x, &s->x, &s->gram));
        round_values(context, side * side, &s->gram);
        LILAC_TRY(multiply(context, products, &square, &s->gram, &s->gram, &s->polynomial));
        combine(side, s->gram.values, s->polynomial.values);
        round_values(context, side * side, &s->polynomial);
        LILAC_TRY(multiply(context, products, &product, wide ? &s->polynomial : &s->x, wide ? &s->x : &s->polynomial,
                           &s->next));
        const iterate x = s->x;
        s->x = s->next;
        s->next = x;
    }
    return LILAC_OK;
}

/* Makes what products of these shapes need, so that no update runs out of memory half way. */
static lilac_status prepare_products(lilac_context *context, const lilac_muon *muon) {
    for (size_t i = 0; i < muon->count; i++) {
        const lilac_muon_matrix *matrix = &muon->matrices[i];
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) {
            seen = muon->matrices[k].rows == matrix->rows && muon->matrices[k].cols == matrix->cols;
        }
        if (!seen) {
            workspace s = cut_memory(muon, matrix);
            LILAC_TRY(orthogonalise(context, muon->products, matrix, &s));
        }
    }
    return LILAC_OK;
}

/* The numbers that the iteration needs room for, whichever matrix it works on. */
static size_t count_scratch(const lilac_muon_matrix *matrices, size_t count) {
    size_t largest = 0, side = 0;
    for (size_t i = 0; i < count; i++) {
        largest = lilac_size_max(largest, matrices[i].rows * matrices[i].cols);
        side = lilac_size_max(side, shorter_side(&matrices[i]));
    }
    return 2 * (largest + side * side);
}

size_t lilac_muon_bytes(const lilac_muon_matrix *matrices, size_t count, lilac_matmul_type products) {
    return count_scratch(matrices, count) * (sizeof(float) + (products == LILAC_MATMUL_BF16 ? sizeof(uint16_t) : 0));
}

lilac_status lilac_muon_create(lilac_context *context, const lilac_muon_matrix *matrices, size_t count,
                               lilac_matmul_type products, lilac_muon *out) {
    const bool rounds = products == LILAC_MATMUL_BF16;
    const size_t scratch = count_scratch(matrices, count);
    lilac_muon muon = {.count = count,
                       .products = products,
                       .matrices = lilac_memory_allocate(count, sizeof *matrices),
                       .memory = lilac_memory_allocate(scratch, sizeof(float)),
                       .rounded = lilac_memory_allocate(rounds ? scratch : 0, sizeof(uint16_t))};
    if (muon.matrices == NULL || muon.memory == NULL || muon.rounded == NULL) {
        lilac_muon_destroy(&muon);
        return lilac_fail_memory(context, "the optimiser's matrices", scratch * sizeof(float));
    }
    /* Without matrices the pointer may be NULL, which memcpy must not be given. */
    if (count > 0) {
        memcpy(muon.matrices, matrices, count * sizeof *matrices);
    }
    const lilac_status status = prepare_products(context, &muon);
    if (status != LILAC_OK) {
        lilac_muon_destroy(&muon);
        return status;
    }
    *out = muon;
    return LILAC_OK;
}

void lilac_muon_destroy(lilac_muon *muon) {
    lilac_memory_free(muon->matrices);
    lilac_memory_free(muon->memory);
    lilac_memory_free(muon->rounded);
    *muon = (lilac_muon){0};
}

typedef struct {
    const float *gradient;
    float *parameters, *mean, *x;
    double mean_factor, gradient_factor; /* of the mean so far; of the gradient */
    float decay, change;
} update_loop;

static void average(void *argument, size_t begin, size_t end) {
    const update_loop *loop = argument;
    const float mean = (float)loop->mean_factor, part = (float)loop->gradient_factor;
    for (size_t i = begin; i < end; i++) {
        const float g = part * loop->gradient[i];
        const float m = mean * loop->mean[i] + g;
        loop->mean[i] = m;
        loop->x[i] = mean * m + g;
    }
}

static void apply(void *argument, size_t begin, size_t end) {
    const update_loop *loop = argument;
    for (size_t i = begin; i < end; i++) {
        loop->parameters[i] = loop->decay * loop->parameters[i] - loop->change * loop->x[i];
    }
}

lilac_status lilac_muon_update(lilac_context *context, const lilac_muon *muon, const lilac_muon_step *step,
                               const float *gradient, float *parameters, float *mean) {
    for (size_t i = 0; i < muon->count; i++) {
        const lilac_muon_matrix *matrix = &muon->matrices[i];
        const size_t n = matrix->rows * matrix->cols;
        workspace s = cut_memory(muon, matrix);
        update_loop loop = {
            .gradient = gradient + matrix->offset,
            .parameters = parameters + matrix->offset,
            .mean = mean + matrix->offset,
            .x = s.x.values,
            .mean_factor = decay_of_mean,
            .gradient_factor = (1.0 - decay_of_mean) * step->gradient_scale,
            .decay = (float)(1.0 - step->learning_rate * step->weight_decay),
            .change = (float)(step->learning_rate * 0.2 * sqrt((double)lilac_size_max(matrix->rows, matrix->cols)))};
        lilac_parallel_for(context, n, BLOCK, average, &loop);
        LILAC_TRY(orthogonalise(context, muon->products, matrix, &s));
        loop.x = s.x.values;
        lilac_parallel_for(context, n, BLOCK, apply, &loop);
    }
    return LILAC_OK;
}
