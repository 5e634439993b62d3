/* SPDX-License-Identifier: MIT */
/* The training loop of an MLP or of an adapter of it. */
#include <lilac/train.h>

#include "adapt/adapter.h"
#include "core/memory.h"
#include "data/batches.h"
#include "model/mlp.h"
#include "nn/optimiser.h"
#include "train/evaluate_mlp.h"
#include "train/first_products.h"

#include <math.h>

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
        if (!(betas[i] >= 0.0 && betas[i] < LILAC_OPTIMISER_BETA_LIMIT)) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                              "training: beta%d is %.10g, expected at least 0 and, as a float, below 1", i + 1,
                              betas[i]);
        }
    }
    if (!isfinite(config->learning_rate) || !isfinite(config->weight_decay) || !isfinite(config->epsilon) ||
        config->epsilon < LILAC_OPTIMISER_LEAST_EPSILON) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "training: learning rate %g, weight decay %g, epsilon %g; expected finite numbers, and an "
                          "epsilon of at least %g",
                          config->learning_rate, config->weight_decay, config->epsilon, LILAC_OPTIMISER_LEAST_EPSILON);
    }
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
    lilac_first_products first_products; /* of an adapter's base, where they are kept */
} training_run;

static void end_run(training_run *run) {
    lilac_mlp_activations_destroy(&run->activations);
    lilac_optimiser_destroy(&run->optimiser);
    lilac_memory_free(run->gradient);
    lilac_memory_free(run->order);
    lilac_first_products_destroy(&run->first_products);
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
    if (run->adapter != NULL && config->epochs > 1 && lilac_first_products_fit(run->mlp, run->training->count)) {
        LILAC_TRY(lilac_first_products_create(run->context, run->mlp, run->training, batch, run->activations.inputs,
                                              &run->first_products));
        run->activations.first_product_given = true;
    }
    return LILAC_OK;
}

/* One step over rows items of the view from item first on; adds their losses to *loss_sum. */
static lilac_status train_step(training_run *run, const lilac_data_view *view, size_t first, size_t rows,
                               double *loss_sum) {
    lilac_mlp_activations *activations = &run->activations;
    const lilac_random dropout = lilac_random_stream(run->config->seed, LILAC_RANDOM_DROPOUT, run->optimiser.step);
    LILAC_TRY(lilac_batch_fill(run->context, view, first, rows, activations->inputs, activations->labels));
    if (activations->first_product_given) {
        lilac_first_products_gather(run->context, &run->first_products, view, first, rows, activations->outputs[0]);
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
            LILAC_TRY(lilac_mlp_evaluate_view(run->context, run->mlp, run->adapter, run->validation, &evaluation));
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
    LILAC_TRY(lilac_mlp_check_view(context, mlp, training));
    if (validation != NULL) {
        LILAC_TRY(lilac_mlp_check_view(context, mlp, validation));
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
