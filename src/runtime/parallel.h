/* SPDX-License-Identifier: MIT */
/*
 * Parallel loops. How the work is cut into blocks depends on the work alone, never on the number of threads: that is
 * what makes results the same bytes at any thread count. Within a loop subnormal numbers count as zero
 * (core/subnormals.h); afterwards the calling thread treats them as before.
 */
#ifndef LILAC_RUNTIME_PARALLEL_H
#define LILAC_RUNTIME_PARALLEL_H

#include "runtime/context.h"

/* Works on the items begin .. end-1. Must not touch what another block writes. */
typedef void lilac_parallel_body(void *argument, size_t begin, size_t end);

/*
 * Runs body over 0 .. count-1 in blocks of grain items (the last may be shorter) on the context's threads. Neighbouring
 * blocks go to the same thread. A call from inside another parallel loop runs on the calling thread.
 */
void lilac_parallel_for(const lilac_context *context, size_t count, size_t grain, lilac_parallel_body *body,
                        void *argument);

/* The same with one item a block, each taken in order by the first free thread: for a few long, uneven tasks. */
void lilac_parallel_tasks(const lilac_context *context, size_t count, lilac_parallel_body *body, void *argument);

/* The number of processors this process may run on, at least 1. */
int lilac_parallel_processors(void);

#endif
