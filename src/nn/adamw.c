/* SPDX-License-Identifier: MIT */
#include "nn/adamw.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>

enum { BLOCK = 16384 };

lilac_status lilac_adamw_create(lilac_context *context, const lilac_adamw_config *config, size_t count,
                                lilac_adamw *out) {
    lilac_adamw optimiser = {.config = *config, .count = count};
    optimiser.moment1 = lilac_memory_allocate(count, sizeof(float));
    optimiser.moment2 = lilac_memory_allocate(count, sizeof(float));
    if (optimiser.moment1 == NULL || optimiser.moment2 == NULL) {
        lilac_adamw_destroy(&optimiser);
        return lilac_fail_memory(context, "the optimiser's moments", 2 * count * sizeof(float));
    }
    *out = optimiser;
    return LILAC_OK;
}

void lilac_adamw_destroy(lilac_adamw *optimiser) {
    lilac_memory_free(optimiser->moment1);
    lilac_memory_free(optimiser->moment2);
    *optimiser = (lilac_adamw){0};
}

typedef struct {
    const lilac_context *context;
    lilac_adamw_step step;
    const float *gradient;
    float *parameters, *moment1, *moment2;
} update_loop;

static void update_block(void *argument, size_t begin, size_t end) {
    const update_loop *loop = argument;
    loop->context->kernels->elementwise.adamw(end - begin, &loop->step, loop->gradient + begin,
                                              loop->parameters + begin, loop->moment1 + begin, loop->moment2 + begin);
}

void lilac_adamw_update(lilac_context *context, lilac_adamw *optimiser, const float *gradient, float *parameters) {
    const lilac_adamw_config *config = &optimiser->config;
    optimiser->step++;
    const double t = (double)optimiser->step;
    update_loop loop = {
        .context = context,
        .step = {.beta1 = (float)config->beta1,
                 .beta2 = (float)config->beta2,
                 .epsilon = (float)config->epsilon,
                 .decay = (float)(1.0 - config->learning_rate * config->weight_decay),
                 .step_size = (float)(config->learning_rate / (1.0 - pow(config->beta1, t))),
                 .inverse_root_bias2 = (float)(1.0 / sqrt(1.0 - pow(config->beta2, t)))},
        .gradient = gradient,
        .parameters = parameters,
        .moment1 = optimiser->moment1,
        .moment2 = optimiser->moment2,
    };
    lilac_parallel_for(context, optimiser->count, BLOCK, update_block, &loop);
}
