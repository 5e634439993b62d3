/* SPDX-License-Identifier: MIT */
/* The training loop and the evaluation of an MLP, with or without an adapter. */
#include <lilac/train.h>

#include "adapt/adapter.h"
#include "core/memory.h"
#include "data/batches.h"
#include "model/mlp.h"
#include "nn/cross_entropy.h"
#include "nn/linear.h"
#include "nn/optimiser.h"
#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

/* Rows evaluated at a time. */
enum { EVALUATION_BATCH = 1000 };

/* The first layer's products are kept where they take no more than this many bytes. */
static const size_t most_kept_products = (size_t)256 << 20;

/* Rows of kept products in a block of the parallel loop that gathers them. */
enum { GATHER_GRAIN = 32 };

void lilac_training_config_default(lilac_training_config *config) {
    *config = (lilac_training_config){.batch = 1024,
                                      .epochs = 10,
                                      .patience = 10,
                                      .learning_rate = 2e-4,
                                      .weight_decay = 0.01,
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .epsilon = 1e-8};
}

static lilac_status check_config(lilac_context *context, const lilac_training_config *config) {
    if (config->batch == 0 || config->epochs == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: batch %zu, %zu epochs; both must be at least 1",
                          config->batch, config->epochs);
    }
    const double betas[] = {config->beta1, config->beta2};
    for (int i = 0; i < 2; i++) {
        if (!(betas[i] >= 0.0 && betas[i] < 1.0)) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: beta%d is %g, expected 0 <= beta < 1", i + 1,
                              betas[i]);
        }
    }
    /* An epsilon of 0, as a float, would make a weight without gradient 0/0. */
    if (!isfinite(config->learning_rate) || !isfinite(config->weight_decay) || !isfinite(config->epsilon) ||
        !((float)config->epsilon > 0.0f)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: learning rate %g, weight decay %g, epsilon %g",
                          config->learning_rate, config->weight_decay, config->epsilon);
    }
    return LILAC_OK;
}

static lilac_status check_view(lilac_context *context, const lilac_mlp *mlp, const lilac_data_view *view) {
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

/* Of a view that fits the model; the loss may be no finite number. */
static lilac_status evaluate(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
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
    LILAC_TRY(check_view(context, mlp, view));
    lilac_evaluation evaluation;
    LILAC_TRY(evaluate(context, mlp, adapter, view, &evaluation));
    if (!isfinite(evaluation.loss)) {
        return lilac_fail(context, LILAC_ERROR_NOT_FINITE, "evaluation: the predictions are not finite numbers");
    }
    *out = evaluation;
    return LILAC_OK;
}

/* All that a training run holds. */
typedef struct {
    lilac_context *context;
    const lilac_training_config *config;
    lilac_mlp *mlp;
    lilac_adapter *adapter;
    const lilac_data_view *training, *validation;
    lilac_mlp_activations activations;
    lilac_optimiser optimiser;
    float *gradient;
    uint32_t *order; /* the epoch's order of the training set */
    float *parameters;
    size_t steps_an_epoch;
    /* With an adapter, x W^T of the first layer for each training image: neither changes, so that the product, most of
     * the forward pass, need not be made again in each epoch. NULL where it is not worth keeping. */
    float *first_products;
    uint32_t *row_of_image; /* of first_products, for the images that are trained on */
} training_run;

static void end_run(training_run *run) {
    lilac_mlp_activations_destroy(&run->activations);
    lilac_optimiser_destroy(&run->optimiser);
    lilac_memory_free(run->gradient);
    lilac_memory_free(run->order);
    lilac_memory_free(run->row_of_image);
    lilac_memory_free(run->first_products);
}

static bool first_products_are_worth_keeping(const training_run *run) {
    size_t bytes;
    return run->adapter != NULL && run->config->epochs > 1 &&
           lilac_size_multiply(run->training->count, run->mlp->layers[0].out * sizeof(float), &bytes) &&
           bytes <= most_kept_products;
}

static lilac_status make_first_products(training_run *run, size_t batch) {
    const lilac_data_view *view = run->training;
    const lilac_linear_layer *layer = &run->mlp->layers[0];
    const size_t images = lilac_dataset_get_shape(view->dataset).count;
    run->first_products = lilac_memory_allocate(view->count * layer->out, sizeof(float));
    run->row_of_image = lilac_memory_allocate(images, sizeof(uint32_t));
    if (run->first_products == NULL || run->row_of_image == NULL) {
        return lilac_fail_memory(run->context, "the first layer's products",
                                 view->count * layer->out * sizeof(float) + images * sizeof(uint32_t));
    }
    for (size_t first = 0; first < view->count; first += batch) {
        const size_t rows = lilac_size_min(batch, view->count - first);
        float *inputs = run->activations.inputs;
        LILAC_TRY(lilac_batch_fill(run->context, view, first, rows, inputs, NULL));
        LILAC_TRY(lilac_linear_forward(run->context, rows, layer->in, layer->out, lilac_operand_of(inputs),
                                       lilac_operand_of(layer->weight), run->first_products + first * layer->out));
    }
    for (size_t item = 0; item < view->count; item++) {
        run->row_of_image[lilac_data_view_image(view, item)] = (uint32_t)item;
    }
    run->activations.first_product_given = true;
    return LILAC_OK;
}

typedef struct gathered_rows {
    const training_run *run;
    const lilac_data_view *view;
    size_t first;
} gathered_rows;

static void gather_first_products(void *argument, size_t begin, size_t end) {
    const gathered_rows *rows = argument;
    const training_run *run = rows->run;
    const size_t width = run->mlp->layers[0].out;
    for (size_t i = begin; i < end; i++) {
        const size_t row = run->row_of_image[lilac_data_view_image(rows->view, rows->first + i)];
        memcpy(run->activations.outputs[0] + i * width, run->first_products + row * width, width * sizeof(float));
    }
}

static lilac_status begin_run(training_run *run) {
    const lilac_training_config *config = run->config;
    const size_t batch = lilac_size_min(config->batch, run->training->count);
    const size_t trained = run->adapter != NULL ? run->adapter->parameter_count : run->mlp->parameter_count;
    const lilac_optimiser_config adamw = {.kind = LILAC_OPTIMISER_ADAMW,
                                          .weight_decay = config->weight_decay,
                                          .beta1 = config->beta1,
                                          .beta2 = config->beta2,
                                          .epsilon = config->epsilon};
    run->parameters = run->adapter != NULL ? run->adapter->parameters : run->mlp->parameters;
    run->steps_an_epoch = (run->training->count + batch - 1) / batch;
    LILAC_TRY(lilac_mlp_activations_create(run->context, run->mlp, run->adapter, batch, &run->activations));
    LILAC_TRY(lilac_optimiser_create(run->context, &adamw, trained, &run->optimiser));
    run->gradient = lilac_memory_allocate(trained, sizeof(float));
    run->order = lilac_memory_allocate(run->training->count, sizeof(uint32_t));
    if (run->gradient == NULL || run->order == NULL) {
        return lilac_fail_memory(run->context, "the gradient and the order of the training set",
                                 trained * sizeof(float) + run->training->count * sizeof(uint32_t));
    }
    return first_products_are_worth_keeping(run) ? make_first_products(run, batch) : LILAC_OK;
}

/* One step over rows items of the view from item first on; adds their losses to *loss_sum. */
static lilac_status train_step(training_run *run, const lilac_data_view *view, size_t first, size_t rows,
                               double *loss_sum) {
    lilac_mlp_activations *activations = &run->activations;
    const lilac_random dropout = lilac_random_stream(run->config->seed, LILAC_RANDOM_DROPOUT, run->optimiser.step);
    LILAC_TRY(lilac_batch_fill(run->context, view, first, rows, activations->inputs, activations->labels));
    if (activations->first_product_given) {
        gathered_rows gathered = {.run = run, .view = view, .first = first};
        lilac_parallel_for(run->context, rows, GATHER_GRAIN, gather_first_products, &gathered);
    }
    LILAC_TRY(lilac_mlp_training_forward(run->context, run->mlp, run->adapter, rows, &dropout, activations));
    LILAC_TRY(
        lilac_mlp_training_backward(run->context, run->mlp, run->adapter, rows, true, activations, run->gradient));
    LILAC_TRY(lilac_optimiser_update(run->context, &run->optimiser, run->config->learning_rate, 1.0, run->gradient,
                                     run->parameters));
    for (size_t i = 0; i < rows; i++) {
        *loss_sum += (double)activations->losses[i];
    }
    return LILAC_OK;
}

static lilac_status train_epoch(training_run *run, size_t epoch, double *loss) {
    const size_t batch = lilac_size_min(run->config->batch, run->training->count);
    const lilac_data_view shuffled = lilac_data_view_shuffle(run->training, run->config->seed, epoch, run->order);
    double sum = 0.0;
    for (size_t step = 0; step < run->steps_an_epoch; step++) {
        const size_t first = step * batch;
        LILAC_TRY(train_step(run, &shuffled, first, lilac_size_min(batch, shuffled.count - first), &sum));
        LILAC_TRY(lilac_report_progress(run->context, "training", run->optimiser.step,
                                        run->config->epochs * run->steps_an_epoch));
    }
    *loss = sum / (double)shuffled.count;
    return LILAC_OK;
}

/* The validation loss is NaN where nothing is validated. The weights need a look of their own: ReLU turns a NaN into 0,
 * and nothing but the weights shows what the last step did. */
static lilac_status check_finite(const training_run *run, size_t epoch, const lilac_epoch_metrics *metrics) {
    const char *what = NULL;
    if (!isfinite(metrics->training_loss)) {
        what = "the training loss";
    } else if (run->validation != NULL && !isfinite(metrics->validation_loss)) {
        what = "the validation loss";
    }
    for (size_t i = 0; what == NULL && i < run->optimiser.count; i++) {
        what = isfinite(run->parameters[i]) ? NULL : "a weight";
    }
    if (what != NULL) {
        return lilac_fail(run->context, LILAC_ERROR_NOT_FINITE,
                          "training: %s is not finite in epoch %zu; a lower learning rate may help (it is %g)", what,
                          epoch + 1, run->config->learning_rate);
    }
    return LILAC_OK;
}

static lilac_status train_epochs(training_run *run, lilac_epoch_metrics *metrics, size_t *epochs_run) {
    double lowest = INFINITY;
    size_t without_gain = 0, epoch = 0;
    while (epoch < run->config->epochs) {
        lilac_epoch_metrics now = {.validation_loss = NAN, .validation_accuracy = NAN};
        LILAC_TRY(train_epoch(run, epoch, &now.training_loss));
        if (run->validation != NULL) {
            lilac_evaluation evaluation;
            LILAC_TRY(evaluate(run->context, run->mlp, run->adapter, run->validation, &evaluation));
            now.validation_loss = evaluation.loss;
            now.validation_accuracy = evaluation.accuracy;
        }
        LILAC_TRY(check_finite(run, epoch, &now));
        if (metrics != NULL) {
            metrics[epoch] = now;
        }
        epoch++;
        without_gain = now.validation_loss < lowest ? 0 : without_gain + 1;
        lowest = fmin(lowest, now.validation_loss);
        if (run->validation != NULL && run->config->patience > 0 && without_gain >= run->config->patience) {
            break;
        }
    }
    if (epochs_run != NULL) {
        *epochs_run = epoch;
    }
    return LILAC_OK;
}

lilac_status lilac_train_mlp(lilac_context *context, const lilac_training_config *config, lilac_mlp *mlp,
                             lilac_adapter *adapter, const lilac_data_view *training, const lilac_data_view *validation,
                             lilac_epoch_metrics *metrics, size_t *epochs_run) {
    if (context == NULL || config == NULL || mlp == NULL || training == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: a null pointer");
    }
    LILAC_TRY(check_config(context, config));
    LILAC_TRY(check_view(context, mlp, training));
    if (validation != NULL) {
        LILAC_TRY(check_view(context, mlp, validation));
    }
    if (adapter != NULL) {
        LILAC_TRY(lilac_adapter_check_layers(context, adapter, mlp->layers, mlp->config.layer_count));
    }
    if (mlp->pristine != NULL) {
        /* The weights would be lost by unmerging, an adapter would belong to a base other than its hash says. */
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "training: unmerge the adapter that is merged into the model first");
    }
    training_run run = {.context = context,
                        .config = config,
                        .mlp = mlp,
                        .adapter = adapter,
                        .training = training,
                        .validation = validation};
    lilac_status status = begin_run(&run);
    if (status == LILAC_OK) {
        status = train_epochs(&run, metrics, epochs_run);
    }
    end_run(&run);
    return status;
}
