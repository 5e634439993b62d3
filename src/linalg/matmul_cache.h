/* SPDX-License-Identifier: MIT */
/* The plans and the memory of a context's products, kept from one product to the next until the context ends. */
#ifndef LILAC_LINALG_MATMUL_CACHE_H
#define LILAC_LINALG_MATMUL_CACHE_H

#include "linalg/matmul_plan.h"

/* Plans that a context keeps: those of some dozen layers. The one not used for longest makes room for a new one. */
enum { LILAC_MATMUL_CACHED_PLANS = 128 };

/* The plan for a shape, valid until LILAC_MATMUL_CACHED_PLANS others were asked for. Errors: MEMORY, UNSUPPORTED. */
lilac_status lilac_matmul_cached_plan(lilac_context *context, const lilac_matmul_shape *shape, bool bf16,
                                      const lilac_matmul_plan **out);

/* At least that many bytes, aligned to 64, valid until the next call; NULL if memory is short. */
void *lilac_matmul_cached_scratch(lilac_context *context, size_t bytes);

#endif
