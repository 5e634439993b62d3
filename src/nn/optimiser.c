/* SPDX-License-Identifier: MIT */
#include "nn/optimiser.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>

enum { BLOCK = 16384 };

lilac_status lilac_optimiser_create(lilac_context *context, const lilac_optimiser_config *config, size_t count,
                                    lilac_optimiser *out) {
    lilac_optimiser optimiser = {.config = *config, .count = count};
    optimiser.moment1 = lilac_memory_allocate(count, sizeof(float));
    optimiser.moment2 = lilac_memory_allocate(count, sizeof(float));
    if (optimiser.moment1 == NULL || optimiser.moment2 == NULL) {
        lilac_optimiser_destroy(&optimiser);
        return lilac_fail_memory(context, "the optimiser's moments", 2 * count * sizeof(float));
    }
    const lilac_status status =
        lilac_muon_create(context, config->matrices, config->matrix_count, config->products, &optimiser.muon);
    if (status != LILAC_OK) {
        lilac_optimiser_destroy(&optimiser);
        return status;
    }
    /* It has its own copy; the caller's list need not stay. */
    optimiser.config.matrices = NULL;
    *out = optimiser;
    return LILAC_OK;
}

size_t lilac_optimiser_bytes(const lilac_optimiser_config *config, size_t count) {
    return 2 * count * sizeof(float) + lilac_muon_bytes(config->matrices, config->matrix_count, config->products);
}

void lilac_optimiser_destroy(lilac_optimiser *optimiser) {
    lilac_muon_destroy(&optimiser->muon);
    lilac_memory_free(optimiser->moment1);
    lilac_memory_free(optimiser->moment2);
    *optimiser = (lilac_optimiser){0};
}

/*
 * RAdam's rectification of step t, or 0 while the variance of the adaptive rate is not tractable. The paper calls it
 * tractable above a length of 4 of the simple moving average; the authors' own implementation waits for 5, where the
 * approximation is better, and so does this.
 */
static double rectification(double beta2, double t) {
    const double power = pow(beta2, t), limit = 2.0 / (1.0 - beta2) - 1.0;
    const double length = limit - 2.0 * t * power / (1.0 - power);
    if (!(length > 5.0)) {
        return 0.0;
    }
    return sqrt((length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length));
}

static lilac_adamw_step step_numbers(const lilac_optimiser_config *config, double t, double learning_rate,
                                     double gradient_scale) {
    lilac_adamw_step step = {.beta1 = (float)config->beta1,
                             .beta2 = (float)config->beta2,
                             .epsilon = (float)config->epsilon,
                             .decay = (float)(1.0 - learning_rate * config->weight_decay),
                             .step_size = (float)(learning_rate / (1.0 - pow(config->beta1, t))),
                             .inverse_root_bias2 = (float)(1.0 / sqrt(1.0 - pow(config->beta2, t))),
                             .gradient_scale = (float)gradient_scale};
    if (config->kind == LILAC_OPTIMISER_RADAM) {
        const double factor = rectification(config->beta2, t);
        if (factor > 0.0) {
            step.step_size = (float)(learning_rate * factor / (1.0 - pow(config->beta1, t)));
        } else {
            /* Makes the denominator 1: a step along the first moment alone. */
            step.inverse_root_bias2 = 0.0f;
            step.epsilon = 1.0f;
        }
    }
    return step;
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

static void update_range(const update_loop *all, size_t begin, size_t end) {
    update_loop loop = *all;
    loop.gradient += begin;
    loop.parameters += begin;
    loop.moment1 += begin;
    loop.moment2 += begin;
    lilac_parallel_for(loop.context, end - begin, BLOCK, update_block, &loop);
}

lilac_status lilac_optimiser_update(lilac_context *context, lilac_optimiser *optimiser, double learning_rate,
                                    double gradient_scale, const float *gradient, float *parameters) {
    optimiser->step++;
    update_loop loop = {
        .context = context,
        .step = step_numbers(&optimiser->config, (double)optimiser->step, learning_rate, gradient_scale),
        .gradient = gradient,
        .parameters = parameters,
        .moment1 = optimiser->moment1,
        .moment2 = optimiser->moment2,
    };
    size_t begin = 0;
    for (size_t i = 0; i < optimiser->muon.count; i++) {
        const lilac_muon_matrix *matrix = &optimiser->muon.matrices[i];
        update_range(&loop, begin, matrix->offset);
        begin = matrix->offset + matrix->rows * matrix->cols;
    }
    const size_t tail = optimiser->count - optimiser->config.tail_count;
    update_range(&loop, begin, tail);
    loop.step = step_numbers(&optimiser->config, (double)optimiser->step, optimiser->config.tail_rate * learning_rate,
                             gradient_scale);
    update_range(&loop, tail, optimiser->count);
    const lilac_muon_step step = {.learning_rate = learning_rate,
                                  .gradient_scale = gradient_scale,
                                  .weight_decay = optimiser->config.weight_decay};
    return lilac_muon_update(context, &optimiser->muon, &step, gradient, parameters, optimiser->moment1);
}
