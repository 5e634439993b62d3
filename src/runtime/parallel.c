/* SPDX-License-Identifier: MIT */
#include "runtime/parallel.h"

#include "core/memory.h"
#include "core/subnormals.h"

#include <omp.h>

typedef struct blocks {
    lilac_parallel_body *body;
    void *argument;
    size_t items, step, count;
} blocks;

static void run_block(const blocks *all, size_t block) {
    all->body(all->argument, block * all->step, lilac_size_min(all->items, block * all->step + all->step));
}

static void run_on_this_thread(const blocks *all) {
    const unsigned mode = lilac_subnormals_flush();
    for (size_t block = 0; block < all->count; block++) {
        run_block(all, block);
    }
    lilac_subnormals_restore(mode);
}

/* How many threads to use: one within a parallel loop. */
static int thread_count(const lilac_context *context, const blocks *all) {
    return omp_in_parallel() ? 1 : (int)lilac_size_min((size_t)context->config.threads, all->count);
}

void lilac_parallel_for(const lilac_context *context, size_t count, size_t grain, lilac_parallel_body *body,
                        void *argument) {
    const size_t step = grain == 0 ? 1 : grain;
    const blocks all = {
        .body = body, .argument = argument, .items = count, .step = step, .count = count / step + (count % step != 0)};
    const int threads = thread_count(context, &all);
    if (threads <= 1) {
        run_on_this_thread(&all);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const unsigned mode = lilac_subnormals_flush();
#pragma omp for schedule(static) nowait
        for (size_t block = 0; block < all.count; block++) {
            run_block(&all, block);
        }
        lilac_subnormals_restore(mode);
    }
}

void lilac_parallel_tasks(const lilac_context *context, size_t count, lilac_parallel_body *body, void *argument) {
    const blocks all = {.body = body, .argument = argument, .items = count, .step = 1, .count = count};
    const int threads = thread_count(context, &all);
    if (threads <= 1) {
        run_on_this_thread(&all);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        const unsigned mode = lilac_subnormals_flush();
#pragma omp for schedule(dynamic, 1) nowait
        for (size_t task = 0; task < all.count; task++) {
            run_block(&all, task);
        }
        lilac_subnormals_restore(mode);
    }
}

int lilac_parallel_processors(void) {
    const int processors = omp_get_num_procs();
    return processors < 1 ? 1 : processors;
}
