/* SPDX-License-Identifier: MIT */
/* How well an MLP classifies, with or without an adapter. */
#include "train/evaluate_mlp.h"

#include "core/memory.h"
#include "data/batches.h"
#include "model/mlp.h"
#include "nn/cross_entropy.h"

#include <math.h>

/* Rows evaluated at a time. */
enum { EVALUATION_BATCH = 1000 };

lilac_status lilac_mlp_check_view(lilac_context *context, const lilac_mlp *mlp, const lilac_data_view *view) {
    LILAC_TRY(lilac_data_view_check(context, view));
    const lilac_dataset_shape shape = lilac_dataset_get_shape(view->dataset);
    const lilac_mlp_config *config = &mlp->config;
    const size_t classes = config->sizes[config->layer_count];
    if (shape.rows * shape.cols != config->sizes[0] || shape.classes > classes) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "the data set has %zu x %zu pixels and %zu classes, the model %zu inputs and %zu classes",
                          shape.rows, shape.cols, shape.classes, config->sizes[0], classes);
    }
    return LILAC_OK;
}

/* The buffers of an evaluation. */
typedef struct {
    float *inputs, *logits, *workspace, *losses;
    uint8_t *labels;
} evaluation_buffers;

static lilac_status evaluate_batches(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                     const lilac_data_view *view, const evaluation_buffers *buffers,
                                     lilac_evaluation *out) {
    const size_t classes = mlp->config.sizes[mlp->config.layer_count];
    size_t correct = 0;
    double sum = 0.0;
    for (size_t first = 0; first < view->count; first += EVALUATION_BATCH) {
        const size_t rows = lilac_size_min(EVALUATION_BATCH, view->count - first);
        LILAC_TRY(lilac_batch_fill(context, view, first, rows, buffers->inputs, buffers->labels));
        LILAC_TRY(lilac_mlp_forward(context, mlp, adapter, rows, buffers->inputs, buffers->logits, buffers->workspace));
        correct += lilac_count_correct(rows, classes, buffers->logits, buffers->labels);
        lilac_cross_entropy(context, rows, classes, buffers->logits, buffers->labels, 1.0f, buffers->losses, NULL);
        for (size_t i = 0; i < rows; i++) {
            sum += (double)buffers->losses[i];
        }
    }
    *out = (lilac_evaluation){.loss = sum / (double)view->count, .accuracy = (double)correct / (double)view->count};
    return LILAC_OK;
}

lilac_status lilac_mlp_evaluate_view(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                     const lilac_data_view *view, lilac_evaluation *out) {
    const size_t classes = mlp->config.sizes[mlp->config.layer_count];
    const size_t batch = lilac_size_min(EVALUATION_BATCH, view->count);
    const size_t workspace = lilac_mlp_workspace_size(mlp, adapter, batch);
    const evaluation_buffers buffers = {.inputs = lilac_memory_allocate(batch * mlp->config.sizes[0], sizeof(float)),
                                        .logits = lilac_memory_allocate(batch * classes, sizeof(float)),
                                        .workspace = lilac_memory_allocate(workspace, sizeof(float)),
                                        .losses = lilac_memory_allocate(batch, sizeof(float)),
                                        .labels = lilac_memory_allocate(batch, 1)};
    lilac_status status;
    if (buffers.inputs == NULL || buffers.logits == NULL || buffers.workspace == NULL || buffers.losses == NULL ||
        buffers.labels == NULL) {
        status =
            lilac_fail_memory(context, "an evaluation", (batch * mlp->config.sizes[0] + workspace) * sizeof(float));
    } else {
        status = evaluate_batches(context, mlp, adapter, view, &buffers, out);
    }
    lilac_memory_free(buffers.labels);
    lilac_memory_free(buffers.losses);
    lilac_memory_free(buffers.workspace);
    lilac_memory_free(buffers.logits);
    lilac_memory_free(buffers.inputs);
    return status;
}

lilac_status lilac_evaluate_mlp(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                const lilac_data_view *view, lilac_evaluation *out) {
    if (context == NULL || mlp == NULL || view == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "evaluation: a null pointer");
    }
    LILAC_TRY(lilac_mlp_check_view(context, mlp, view));
    lilac_evaluation evaluation;
    LILAC_TRY(lilac_mlp_evaluate_view(context, mlp, adapter, view, &evaluation));
    if (!isfinite(evaluation.loss)) {
        return lilac_fail(context, LILAC_ERROR_NOT_FINITE, "evaluation: the predictions are not finite numbers");
    }
    *out = evaluation;
    return LILAC_OK;
}
