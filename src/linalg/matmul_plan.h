/* SPDX-License-Identifier: MIT */
/*
 * What a matmul library provides: plans, each for one shape of a block of a product. A plan is made once and then run
 * as often as blocks of that shape turn up, by any number of threads at once. One source file a library.
 */
#ifndef LILAC_LINALG_MATMUL_PLAN_H
#define LILAC_LINALG_MATMUL_PLAN_H

#include "linalg/matmul.h"

/* What all products begin with: the checks of matmul.h, and beta C for a product of k = 0. */
lilac_status lilac_matmul_check_shape(lilac_context *context, const lilac_matmul_shape *shape);
void lilac_matmul_scale_by_beta(const lilac_matmul_shape *shape, float *c);

typedef struct lilac_matmul_plan lilac_matmul_plan;

/*
 * Makes a plan for A and B in bf16 or else f32. Sizes are at least 1 and, like the strides, at most INT_MAX. Free it
 * with lilac_matmul_plan_destroy. Errors: MEMORY, UNSUPPORTED.
 */
lilac_status lilac_matmul_plan_create(const lilac_matmul_shape *shape, bool bf16, lilac_matmul_plan **out);
void lilac_matmul_plan_destroy(lilac_matmul_plan *plan);

/* Bytes of memory that each thread running the plan needs to itself. */
size_t lilac_matmul_plan_scratch(const lilac_matmul_plan *plan);

/* Multiplies on the calling thread. scratch is aligned to 64 bytes. Errors: MEMORY. */
lilac_status lilac_matmul_plan_run(const lilac_matmul_plan *plan, const void *a, const void *b, float *c,
                                   void *scratch);

#endif
