/* SPDX-License-Identifier: MIT */
#include "runtime/parallel.h"

#include "core/memory.h"

#include <omp.h>

void lilac_parallel_for(const lilac_context *context, size_t count, size_t grain, lilac_parallel_body *body,
                        void *argument) {
    const size_t step = grain == 0 ? 1 : grain;
    const size_t blocks = count / step + (count % step != 0);
    const int threads = (int)lilac_size_min((size_t)context->config.threads, blocks);
    if (threads <= 1 || omp_in_parallel()) {
        for (size_t block = 0; block < blocks; block++) {
            body(argument, block * step, lilac_size_min(count, block * step + step));
        }
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t block = 0; block < blocks; block++) {
        body(argument, block * step, lilac_size_min(count, block * step + step));
    }
}

void lilac_parallel_tasks(const lilac_context *context, size_t count, lilac_parallel_body *body, void *argument) {
    const int threads = (int)lilac_size_min((size_t)context->config.threads, count);
    if (threads <= 1 || omp_in_parallel()) {
        for (size_t task = 0; task < count; task++) {
            body(argument, task, task + 1);
        }
        return;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (size_t task = 0; task < count; task++) {
        body(argument, task, task + 1);
    }
}

int lilac_parallel_processors(void) {
    const int processors = omp_get_num_procs();
    return processors < 1 ? 1 : processors;
}
