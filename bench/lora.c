/* SPDX-License-Identifier: MIT */
#include "lora.h"

#include "core/clock.h"
#include "core/memory.h"
#include "data/batches.h"
#include "model/mlp.h"
#include "nn/optimiser.h"
#include "runtime/context.h"

#include <stdlib.h>

enum { PIXELS = 784, SIDE = 28, CLASSES = 10, WARM_UP_STEPS = 3, MAX_STEPS = 2000 };

static const double time_to_spend = 0.5; /* seconds */

/* All that the timed steps work on. */
typedef struct {
    lilac_context *context;
    size_t batch;
    lilac_dataset *images;
    lilac_mlp *mlp;
    lilac_adapter *adapter;
    lilac_mlp_activations activations;
    lilac_optimiser optimiser;
    float *gradient, *parameters;
    double *times;
} step_bench;

static void end_bench(step_bench *bench) {
    lilac_memory_free(bench->times);
    lilac_memory_free(bench->gradient);
    lilac_optimiser_destroy(&bench->optimiser);
    lilac_mlp_activations_destroy(&bench->activations);
    lilac_adapter_destroy(bench->adapter);
    lilac_mlp_destroy(bench->mlp);
    lilac_dataset_destroy(bench->images);
}

static lilac_status create_images(step_bench *bench) {
    uint8_t *pixels = lilac_memory_allocate(bench->batch, PIXELS), *labels = lilac_memory_allocate(bench->batch, 1);
    lilac_status status;
    if (pixels == NULL || labels == NULL) {
        status = lilac_fail_memory(bench->context, "the images", bench->batch * (PIXELS + 1));
    } else {
        lilac_random random = lilac_random_stream(0, LILAC_RANDOM_TEST, 0);
        uint32_t words[LILAC_RANDOM_GROUP];
        for (size_t i = 0; i < bench->batch * PIXELS; i++) {
            if (i % LILAC_RANDOM_GROUP == 0) {
                lilac_random_group(&random, words);
                random.group++;
            }
            pixels[i] = (uint8_t)words[i % LILAC_RANDOM_GROUP];
        }
        for (size_t i = 0; i < bench->batch; i++) {
            labels[i] = (uint8_t)(i % CLASSES);
        }
        const lilac_dataset_shape shape = {.count = bench->batch, .rows = SIDE, .cols = SIDE, .classes = CLASSES};
        status = lilac_dataset_create(bench->context, &shape, pixels, labels, &bench->images);
    }
    lilac_memory_free(labels);
    lilac_memory_free(pixels);
    return status;
}

static lilac_status begin_bench(step_bench *bench, const lilac_lora_step_config *config) {
    lilac_mlp_config mlp;
    lilac_mlp_config_default(&mlp);
    mlp.sizes[1] = mlp.sizes[2] = config->hidden;
    LILAC_TRY(create_images(bench));
    LILAC_TRY(lilac_mlp_create(bench->context, &mlp, &bench->mlp));
    size_t trained = lilac_mlp_parameter_count(bench->mlp);
    bench->parameters = lilac_mlp_parameters(bench->mlp);
    if (config->rank > 0) {
        const lilac_lora_config lora = {.rank = config->rank, .alpha = 1.0};
        const lilac_lora_base base = lilac_mlp_lora_base(bench->mlp);
        LILAC_TRY(lilac_adapter_create(bench->context, &lora, &base, &bench->adapter));
        trained = lilac_adapter_parameter_count(bench->adapter);
        bench->parameters = lilac_adapter_parameters(bench->adapter);
    }
    const lilac_optimiser_config adamw = {
        .kind = LILAC_OPTIMISER_ADAMW, .weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    LILAC_TRY(
        lilac_mlp_activations_create(bench->context, bench->mlp, bench->adapter, bench->batch, &bench->activations));
    LILAC_TRY(lilac_optimiser_create(bench->context, &adamw, trained, &bench->optimiser));
    bench->gradient = lilac_memory_allocate(trained, sizeof(float));
    bench->times = lilac_memory_allocate(MAX_STEPS, sizeof(double));
    if (bench->gradient == NULL || bench->times == NULL) {
        return lilac_fail_memory(bench->context, "timing a training step", trained * sizeof(float));
    }
    return LILAC_OK;
}

/* One step; keeps its times in out if it is the fastest so far. */
static lilac_status time_step(step_bench *bench, lilac_lora_step_figures *out, double *seconds) {
    const lilac_data_view view = lilac_data_view_all(bench->images, LILAC_VARIANT_ROTATED);
    const lilac_random dropout = lilac_random_stream(0, LILAC_RANDOM_DROPOUT, bench->optimiser.step);
    LILAC_TRY(
        lilac_batch_fill(bench->context, &view, 0, bench->batch, bench->activations.inputs, bench->activations.labels));
    const double gathered = lilac_clock_seconds();
    LILAC_TRY(lilac_mlp_training_forward(bench->context, bench->mlp, bench->adapter, bench->batch, &dropout,
                                         &bench->activations));
    const double forward = lilac_clock_seconds();
    LILAC_TRY(lilac_mlp_training_backward(bench->context, bench->mlp, bench->adapter, bench->batch, true,
                                          &bench->activations, bench->gradient));
    const double backward = lilac_clock_seconds();
    LILAC_TRY(lilac_optimiser_update(bench->context, &bench->optimiser, 2e-4, 1.0, bench->gradient, bench->parameters));
    const double end = lilac_clock_seconds();
    *seconds = end - gathered;
    if (out->step_seconds == 0.0 || *seconds < out->step_seconds) {
        out->forward_seconds = forward - gathered;
        out->backward_seconds = backward - forward;
        out->optimiser_seconds = end - backward;
        out->step_seconds = *seconds;
    }
    return LILAC_OK;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static lilac_status time_steps(step_bench *bench, lilac_lora_step_figures *out) {
    lilac_lora_step_figures figures = {0};
    size_t count = 0;
    double spent = 0.0;
    for (size_t step = 0; step < WARM_UP_STEPS; step++) {
        lilac_lora_step_figures unused = {0};
        double seconds;
        LILAC_TRY(time_step(bench, &unused, &seconds));
    }
    while (count < MAX_STEPS && (spent < time_to_spend || count < 5)) {
        LILAC_TRY(time_step(bench, &figures, &bench->times[count]));
        spent += bench->times[count++];
    }
    qsort(bench->times, count, sizeof *bench->times, compare_doubles);
    figures.median_seconds = bench->times[count / 2];
    figures.operations = lilac_mlp_training_operations(bench->mlp, bench->adapter, bench->batch);
    *out = figures;
    return LILAC_OK;
}

lilac_status lilac_bench_lora_step(lilac_context *context, const lilac_lora_step_config *config,
                                   lilac_lora_step_figures *out) {
    if (context == NULL || config == NULL || out == NULL || config->hidden == 0 || config->batch == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "timing a training step: a null pointer or a size of 0");
    }
    step_bench bench = {.context = context, .batch = config->batch};
    lilac_status status = begin_bench(&bench, config);
    if (status == LILAC_OK) {
        status = time_steps(&bench, out);
    }
    end_bench(&bench);
    return status;
}
