/* SPDX-License-Identifier: MIT */
/*
 * Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024): a matrix is moved along its
 * momentum with all singular values brought near 1, so that directions which few gradients point to are learnt as fast
 * as the others. The step is scaled so that its elements are about as large as AdamW's (Liu et al., "Muon is Scalable
 * for LLM Training", 2025): learning rate and weight decay mean the same in both.
 */
#ifndef LILAC_NN_MUON_H
#define LILAC_NN_MUON_H

#include "linalg/matmul.h"
#include "runtime/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* rows x cols numbers from `offset` of a block of parameters on, which must not overlap other matrices. */
typedef struct lilac_muon_matrix {
    size_t offset, rows, cols;
} lilac_muon_matrix;

typedef struct lilac_muon {
    size_t count;
    lilac_muon_matrix *matrices;
    lilac_matmul_type products;
    float *memory;     /* the scratch of one matrix */
    uint16_t *rounded; /* the same in bf16, empty without products in bf16 */
} lilac_muon;

typedef struct lilac_muon_step {
    double learning_rate, gradient_scale, weight_decay;
} lilac_muon_step;

/* Copies the list of matrices, none of which may be empty. Errors: MEMORY, UNSUPPORTED (no bf16 products), OVERFLOW. */
lilac_status lilac_muon_create(lilac_context *context, const lilac_muon_matrix *matrices, size_t count,
                               lilac_matmul_type products, lilac_muon *out);
void lilac_muon_destroy(lilac_muon *muon);

/* What that allocates, but for the list of matrices. */
size_t lilac_muon_bytes(const lilac_muon_matrix *matrices, size_t count, lilac_matmul_type products);

/*
 * One step of all matrices. Their parts of the block `mean`, which begins with 0, become 0.95 mean + 0.05 gradient, and
 * the step goes along the orthogonal factor of the next such mean (Nesterov). Same bytes at any
 * thread count. Errors: none but those of products that lilac_muon_create could have made.
 */
lilac_status lilac_muon_update(lilac_context *context, const lilac_muon *muon, const lilac_muon_step *step,
                               const float *gradient, float *parameters, float *mean);

#endif
