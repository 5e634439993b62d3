/* SPDX-License-Identifier: MIT */
/*
 * The training loop of a transformer. All that a step does is a function of the weights, the moments and the step's
 * number, so that a checkpoint of these three is enough to go on as if nothing had happened.
 */
#include "core/clock.h"
#include "core/memory.h"
#include "core/random.h"
#include "nn/gradient_norm.h"
#include "nn/optimiser.h"
#include "nn/schedule.h"
#include "train/token_losses.h"
#include "train/transformer_settings.h"

#include "adapt/adapter.h"
#include "data/dataset.h"
#include "model/transformer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* All that a training holds. */
typedef struct training_run {
    lilac_context *context;
    const lilac_transformer_training *config;
    const lilac_transformer *model;
    lilac_tokens training, validation; /* validation.count is 0 without a validation set */
    lilac_settings settings;
    lilac_schedule schedule;

    lilac_transformer_pass_config pass_config;
    uint32_t *places;                               /* NULL without a border */
    lilac_transformer_pass *pass, *validation_pass; /* the second the same but with a border */
    lilac_token_order order;
    lilac_token_buffers buffers;
    lilac_optimiser optimiser;
    size_t count; /* trained weights */
    float *parameters, *gradient;

    double start, seconds; /* when this slice began; what the steps of all slices took */
    uint64_t saved_step;   /* of the last checkpoint */
    bool saved, report_failed;

    /* Since the last report */
    double loss_sum;
    lilac_training_times times;
    uint64_t sequences;
    lilac_transformer_metrics metrics;
} training_run;

static void end_run(training_run *run) {
    lilac_memory_free(run->gradient);
    lilac_optimiser_destroy(&run->optimiser);
    lilac_token_buffers_destroy(&run->buffers);
    lilac_token_order_end(&run->order);
    if (run->validation_pass != run->pass) {
        lilac_transformer_pass_destroy(run->validation_pass);
    }
    lilac_transformer_pass_destroy(run->pass);
    lilac_memory_free(run->places);
}

/* The matrices that Muon updates: the linear layers but for the output layer, which its authors leave to AdamW as they
 * do the embedding. */
static lilac_status list_matrices(const training_run *run, lilac_optimiser_config *optimiser, lilac_muon_matrix **out) {
    const lilac_transformer *model = run->model;
    const size_t count = model->linear_count - 1;
    lilac_muon_matrix *matrices = lilac_memory_allocate(count, sizeof *matrices);
    if (matrices == NULL) {
        return lilac_fail_memory(run->context, "the list of matrices", count * sizeof *matrices);
    }
    for (size_t i = 0; i < count; i++) {
        const lilac_linear_layer *layer = &model->linear_layers[i];
        matrices[i] = (lilac_muon_matrix){
            .offset = (size_t)(layer->weight - model->parameters), .rows = layer->out, .cols = layer->in};
    }
    optimiser->matrices = *out = matrices;
    optimiser->matrix_count = count;
    optimiser->products = lilac_transformer_products(run->context, run->pass_config.precision);
    return LILAC_OK;
}

/* The optimiser to create once the pass's precision is known. Leaves a list for the caller to free, NULL but for Muon.
 */
static lilac_status choose_optimiser(const training_run *run, lilac_optimiser_config *out,
                                     lilac_muon_matrix **matrices) {
    static const lilac_optimiser_kind kinds[] = {[LILAC_TRAINING_ADAMW] = LILAC_OPTIMISER_ADAMW,
                                                 [LILAC_TRAINING_RADAM] = LILAC_OPTIMISER_RADAM,
                                                 [LILAC_TRAINING_MUON] = LILAC_OPTIMISER_MUON};
    const lilac_transformer_training *config = run->config;
    *out = (lilac_optimiser_config){.kind = kinds[config->optimiser],
                                    .weight_decay = config->weight_decay,
                                    .beta1 = config->beta1,
                                    .beta2 = config->beta2,
                                    .epsilon = config->epsilon};
    if (run->pass_config.adapter == NULL) {
        out->tail_count = run->count - run->model->output_weight;
        out->tail_rate = config->output_rate;
    }
    *matrices = NULL;
    return out->kind == LILAC_OPTIMISER_MUON ? list_matrices(run, out, matrices) : LILAC_OK;
}

static lilac_status create_optimiser(training_run *run) {
    lilac_optimiser_config config;
    lilac_muon_matrix *matrices;
    LILAC_TRY(choose_optimiser(run, &config, &matrices));
    const lilac_status status = lilac_optimiser_create(run->context, &config, run->count, &run->optimiser);
    lilac_memory_free(matrices);
    return status;
}

/* What is trained, and the pass to create for it, but for the places. */
static void choose_pass(training_run *run, const lilac_adapter *adapter) {
    const lilac_transformer_training *config = run->config;
    const lilac_tokens *tokens = &run->training;
    run->count = adapter != NULL ? adapter->parameter_count : run->model->parameter_count;
    run->pass_config = (lilac_transformer_pass_config){
        .B = lilac_size_min(config->batch, config->micro_batch),
        .N = config->border > 0 ? lilac_tokens_inside(tokens, config->border, NULL) : tokens->N,
        .precision = config->precision,
        .adapter = adapter,
        .backward = true};
}

/* The pass that evaluates whole images where that of the training sees a part of them. */
static lilac_transformer_pass_config whole_pass(const training_run *run) {
    lilac_transformer_pass_config config = run->pass_config;
    config.N = run->training.N;
    config.backward = false;
    config.places = NULL;
    return config;
}

static lilac_status create_passes(training_run *run) {
    const bool border = run->config->border > 0;
    if (border) {
        run->places = lilac_memory_allocate(run->pass_config.N, sizeof *run->places);
        if (run->places == NULL) {
            return lilac_fail_memory(run->context, "places of tokens", run->pass_config.N * sizeof *run->places);
        }
        lilac_tokens_inside(&run->training, run->config->border, run->places);
        run->pass_config.places = run->places;
    }
    LILAC_TRY(lilac_token_pass_create(run->context, run->model, &run->pass_config, &run->pass));
    if (border && run->validation.count > 0) {
        const lilac_transformer_pass_config whole = whole_pass(run);
        return lilac_transformer_pass_create(run->context, run->model, &whole, &run->validation_pass);
    }
    run->validation_pass = run->pass;
    return LILAC_OK;
}

static lilac_status begin_run(training_run *run, lilac_adapter *adapter) {
    lilac_context *context = run->context;
    const lilac_transformer_training *config = run->config;
    run->schedule = (lilac_schedule){.warmup = config->warm_up,
                                     .steps = config->steps,
                                     .peak = config->learning_rate,
                                     .final = config->final_fraction * config->learning_rate};
    run->parameters = adapter != NULL ? adapter->parameters : run->model->parameters;
    choose_pass(run, adapter);
    if (config->checkpoint != NULL) {
        LILAC_TRY(lilac_checkpoint_check(context, run->count, config->checkpoint));
    }
    LILAC_TRY(create_passes(run));
    const lilac_matmul_type products = lilac_transformer_products(context, run->pass_config.precision);
    lilac_transformer_training_settings(config, products, run->model, adapter, &run->training, &run->settings);
    LILAC_TRY(lilac_token_order_begin(context, &run->training, config->seed, &run->order));
    LILAC_TRY(lilac_token_buffers_create(context, run->pass_config.B, run->training.N, &run->buffers));
    LILAC_TRY(create_optimiser(run));
    run->gradient = lilac_memory_allocate(run->count, sizeof(float));
    if (run->gradient == NULL) {
        return lilac_fail_memory(context, "the gradient", run->count * sizeof(float));
    }
    return LILAC_OK;
}

/* Reads the checkpoint if training is to go on from it and it exists. */
static lilac_status resume(training_run *run) {
    if (!run->config->resume) {
        return LILAC_OK;
    }
    lilac_checkpoint checkpoint = {.count = run->count,
                                   .parameters = run->parameters,
                                   .moment1 = run->optimiser.moment1,
                                   .moment2 = run->optimiser.moment2};
    const lilac_status status =
        lilac_checkpoint_read(run->context, run->config->checkpoint, &run->settings, run->config->steps, &checkpoint);
    if (status == LILAC_ERROR_NOT_FOUND) {
        return LILAC_OK;
    }
    LILAC_TRY(status);
    run->optimiser.step = run->saved_step = checkpoint.step;
    run->seconds = checkpoint.seconds;
    run->saved = true;
    lilac_transformer_pass_update(run->context, run->pass);
    return LILAC_OK;
}

static lilac_status fail_not_finite(const training_run *run, const char *what) {
    return lilac_fail(run->context, LILAC_ERROR_NOT_FINITE,
                      "training: %s is not finite after step %" PRIu64
                      "; a lower learning rate may help (its peak is %g)",
                      what, run->optimiser.step, run->config->learning_rate);
}

/* Writes a checkpoint unless there is one of this step. Weights that are not finite must not replace a good one. */
static lilac_status save(training_run *run) {
    for (size_t i = 0; i < run->count; i++) {
        if (!isfinite(run->parameters[i])) {
            return fail_not_finite(run, "a weight");
        }
    }
    if (run->config->checkpoint == NULL || (run->saved && run->saved_step == run->optimiser.step)) {
        return LILAC_OK;
    }
    const lilac_checkpoint checkpoint = {.step = run->optimiser.step,
                                         .seconds = run->seconds,
                                         .count = run->count,
                                         .parameters = run->parameters,
                                         .moment1 = run->optimiser.moment1,
                                         .moment2 = run->optimiser.moment2};
    LILAC_TRY(lilac_checkpoint_write(run->context, &checkpoint, &run->settings, run->config->checkpoint));
    run->saved = true;
    run->saved_step = run->optimiser.step;
    return LILAC_OK;
}

/* Adds the time since *since to a sum, and moves *since to now. */
static void add_time(double *since, double *sum) {
    const double now = lilac_clock_seconds();
    *sum += now - *since;
    *since = now;
}

/* Adds the gradient of one pass over B sequences from number first of the training on. */
static lilac_status add_gradient(training_run *run, uint64_t first, size_t B, uint64_t pass_number) {
    const size_t N = run->pass_config.N, stride = run->training.N + 1;
    const lilac_random dropout = lilac_random_stream(run->config->seed, LILAC_RANDOM_DROPOUT, pass_number);
    const float scale = (float)(1.0 / ((double)run->config->batch * (double)N));
    const lilac_token_buffers *buffers = &run->buffers;
    for (size_t b = 0; b < B; b++) {
        lilac_token_order_item(&run->order, first + b, buffers->tokens + b * stride);
    }
    const float *outputs;
    double since = lilac_clock_seconds();
    LILAC_TRY(lilac_transformer_pass_forward(run->context, run->pass, B, buffers->tokens, stride,
                                             run->model->config.dropout > 0.0 ? &dropout : NULL, &outputs));
    add_time(&since, &run->times.forward);
    lilac_transformer_pass_loss(run->context, run->pass, buffers->tokens, stride, scale, buffers->losses);
    if (run->config->clip_outputs > 0.0) {
        lilac_transformer_pass_clip_outputs(run->context, run->pass, scale * (float)run->config->clip_outputs);
    }
    add_time(&since, &run->times.loss);
    LILAC_TRY(lilac_transformer_pass_backward(run->context, run->pass, run->gradient));
    add_time(&since, &run->times.backward);
    return LILAC_OK;
}

static double sum_losses(const training_run *run, size_t B) {
    double sum = 0.0;
    for (size_t i = 0; i < B * run->pass_config.N; i++) {
        sum += (double)run->buffers.losses[i];
    }
    return sum;
}

/* Until the update at its end, a step changes nothing that a checkpoint holds. */
static lilac_status train_step(training_run *run) {
    const lilac_transformer_training *config = run->config;
    const uint64_t step = run->optimiser.step;
    const size_t B = run->pass_config.B, passes = (config->batch + B - 1) / B;
    double loss_sum = 0.0;
    memset(run->gradient, 0, run->count * sizeof(float));
    for (size_t pass = 0; pass < passes; pass++) {
        const size_t first = pass * B, rows = lilac_size_min(B, config->batch - first);
        LILAC_TRY(lilac_report_progress(run->context, "training", step, config->steps));
        LILAC_TRY(add_gradient(run, step * config->batch + first, rows, step * passes + pass));
        loss_sum += sum_losses(run, rows);
    }
    double since = lilac_clock_seconds();
    const double norm = lilac_gradient_norm(run->context, run->count, run->gradient);
    if (!isfinite(norm) || !isfinite(loss_sum)) {
        return fail_not_finite(run, "the gradient");
    }
    const bool clipped = config->clip_norm > 0.0 && norm > config->clip_norm;
    run->metrics.learning_rate = lilac_schedule_rate(&run->schedule, step);
    run->metrics.gradient_norm = norm;
    LILAC_TRY(lilac_optimiser_update(run->context, &run->optimiser, run->metrics.learning_rate,
                                     clipped ? config->clip_norm / norm : 1.0, run->gradient, run->parameters));
    lilac_transformer_pass_update(run->context, run->pass);
    add_time(&since, &run->times.optimiser);
    run->loss_sum += loss_sum;
    run->sequences += config->batch;
    return LILAC_OK;
}

static lilac_status validate(training_run *run, double *loss) {
    double sum;
    uint64_t count;
    if (run->validation_pass != run->pass) {
        lilac_transformer_pass_update(run->context, run->validation_pass);
    }
    LILAC_TRY(lilac_token_losses(run->context, run->validation_pass, &run->validation, &run->buffers, &sum, &count));
    if (!isfinite(sum)) {
        return fail_not_finite(run, "the validation loss");
    }
    *loss = sum / (double)count;
    return LILAC_OK;
}

/* Brings the metrics up to date and, if asked to, hands them out. */
static lilac_status report(training_run *run, double validation, bool hand_out) {
    lilac_transformer_metrics *metrics = &run->metrics;
    const double tokens = (double)run->sequences * (double)run->pass_config.N;
    const bool any = run->sequences > 0;
    metrics->step = run->optimiser.step;
    metrics->precision = run->pass_config.precision;
    metrics->tokens = metrics->step * run->config->batch * run->pass_config.N;
    metrics->seconds = run->seconds;
    metrics->validation = validation;
    metrics->times = run->times;
    metrics->loss = any ? run->loss_sum / tokens : NAN;
    metrics->tokens_per_second = any ? tokens / run->times.steps : NAN;
    metrics->operations_per_second =
        any ? lilac_transformer_operations(run->model, run->pass_config.adapter, run->pass_config.N, true) *
                  (double)run->sequences / run->times.steps
            : NAN;
    if (!hand_out) {
        return LILAC_OK;
    }
    if (run->config->report != NULL) {
        const lilac_status status = run->config->report(run->config->report_user, metrics);
        run->report_failed = status != LILAC_OK;
        LILAC_TRY(status);
    }
    run->loss_sum = 0.0;
    run->times = (lilac_training_times){0};
    run->sequences = 0;
    return LILAC_OK;
}

static bool is_due(uint64_t step, uint64_t interval) {
    return interval > 0 && step % interval == 0;
}

/* What follows a step: validation, report, checkpoint. */
static lilac_status follow_step(training_run *run, bool last_of_slice) {
    const lilac_transformer_training *config = run->config;
    const uint64_t step = run->optimiser.step;
    const bool finished = step == config->steps;
    const bool validates = run->validation.count > 0 && (finished || is_due(step, config->validation_interval));
    double validation = NAN;
    /* First, so that weights whose losses are not finite do not replace a good checkpoint. */
    if (validates) {
        LILAC_TRY(validate(run, &validation));
    }
    if (last_of_slice || is_due(step, config->checkpoint_interval)) {
        LILAC_TRY(save(run));
    }
    return report(run, validation, validates || last_of_slice || is_due(step, config->report_interval));
}

static lilac_status train_steps(training_run *run) {
    const lilac_transformer_training *config = run->config;
    bool last_of_slice = run->optimiser.step == config->steps;
    if (last_of_slice) {
        /* A training that was finished before gives its figures again. */
        double validation = NAN;
        if (run->validation.count > 0) {
            LILAC_TRY(validate(run, &validation));
        }
        return report(run, validation, false);
    }
    while (!last_of_slice) {
        const double begun = lilac_clock_seconds();
        LILAC_TRY(train_step(run));
        const double now = lilac_clock_seconds();
        run->times.steps += now - begun;
        run->seconds += now - begun;
        last_of_slice =
            run->optimiser.step == config->steps || (config->seconds > 0.0 && now - run->start >= config->seconds);
        LILAC_TRY(follow_step(run, last_of_slice));
    }
    return LILAC_OK;
}

static lilac_status check_border(lilac_context *context, const lilac_transformer_training *config,
                                 const lilac_tokens *tokens) {
    if (config->border == 0) {
        return LILAC_OK;
    }
    if (tokens->source.images == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: a border of %zu, but bytes have none",
                          config->border);
    }
    if (config->border > tokens->N || lilac_tokens_inside(tokens, config->border, NULL) == 0) {
        const lilac_dataset_shape *shape = &tokens->source.images->dataset->shape;
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: a border of %zu leaves nothing of %zu x %zu pixels",
                          config->border, shape->rows, shape->cols);
    }
    return LILAC_OK;
}

static lilac_status check_arguments(lilac_context *context, const lilac_transformer_training *config,
                                    const lilac_transformer *model, const lilac_adapter *adapter,
                                    const lilac_token_source *training, const lilac_token_source *validation,
                                    training_run *run) {
    if (config == NULL || model == NULL || training == NULL || (config->resume && config->checkpoint == NULL)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: a null pointer");
    }
    LILAC_TRY(lilac_transformer_training_check(context, config));
    if (config->optimiser == LILAC_TRAINING_MUON && adapter != NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: Muon trains models, not adapters; take AdamW");
    }
    if (model->pristine != NULL) {
        /* The weights would be lost by unmerging, an adapter would belong to a base other than its hash says. */
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "training: unmerge the adapter that is merged into the model first");
    }
    const size_t length = model->config.length;
    LILAC_TRY(lilac_tokens_open(context, training, length, &run->training));
    if (training->images == NULL && run->training.N < length) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "training: %zu bytes to learn from, expected more than the model's length of %zu",
                          training->byte_count, length);
    }
    LILAC_TRY(check_border(context, config, &run->training));
    if (validation != NULL) {
        /* The pass of the training evaluates too, so sequences must be as long. */
        LILAC_TRY(lilac_tokens_open(context, validation, validation->images == NULL ? run->training.N : length,
                                    &run->validation));
        if (run->validation.N != run->training.N) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "training: %zu predictions a validation sequence, expected %zu as in training",
                              run->validation.N, run->training.N);
        }
    }
    return LILAC_OK;
}

static void fill_outcome(const training_run *run, lilac_transformer_outcome *outcome) {
    if (outcome != NULL) {
        *outcome =
            (lilac_transformer_outcome){.metrics = run->metrics, .finished = run->optimiser.step == run->config->steps};
    }
}

lilac_status lilac_train_transformer(lilac_context *context, const lilac_transformer_training *config,
                                     lilac_transformer *model, lilac_adapter *adapter,
                                     const lilac_token_source *training, const lilac_token_source *validation,
                                     lilac_transformer_outcome *outcome) {
    if (context == NULL) {
        return LILAC_ERROR_ARGUMENT;
    }
    training_run run = {.context = context,
                        .config = config,
                        .model = model,
                        .start = lilac_clock_seconds(),
                        .metrics = {.learning_rate = NAN, .gradient_norm = NAN}};
    LILAC_TRY(check_arguments(context, config, model, adapter, training, validation, &run));
    lilac_status status = begin_run(&run, adapter);
    if (status == LILAC_OK) {
        status = resume(&run);
    }
    const bool begun = status == LILAC_OK;
    if (begun) {
        status = train_steps(&run);
    }
    if (begun && (status == LILAC_CANCELLED || run.report_failed)) {
        const lilac_status saved = save(&run);
        status = saved == LILAC_OK ? status : saved;
    }
    if (status == LILAC_OK) {
        fill_outcome(&run, outcome);
    }
    end_run(&run);
    return status;
}

/* What begin_run would allocate. */
static lilac_status count_memory(training_run *run, const lilac_adapter *adapter, lilac_training_memory *out) {
    lilac_optimiser_config optimiser;
    lilac_muon_matrix *matrices;
    size_t activations, whole_activations = 0;
    choose_pass(run, adapter);
    LILAC_TRY(lilac_token_pass_count(run->context, run->model, &run->pass_config, &activations));
    if (run->config->border > 0) {
        const lilac_transformer_pass_config whole = whole_pass(run);
        LILAC_TRY(lilac_transformer_pass_count(run->context, run->model, &whole, &whole_activations));
    }
    LILAC_TRY(choose_optimiser(run, &optimiser, &matrices));
    *out = (lilac_training_memory){.activations = activations + whole_activations,
                                   .gradient = run->count * sizeof(float),
                                   .optimiser = lilac_optimiser_bytes(&optimiser, run->count),
                                   .precision = run->pass_config.precision};
    lilac_memory_free(matrices);
    return LILAC_OK;
}

lilac_status lilac_transformer_training_memory(lilac_context *context, const lilac_transformer_training *config,
                                               const lilac_transformer *model, const lilac_adapter *adapter,
                                               const lilac_token_source *training, lilac_training_memory *out) {
    if (context == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training memory: a null pointer");
    }
    training_run run = {.context = context, .config = config, .model = model};
    LILAC_TRY(check_arguments(context, config, model, adapter, training, NULL, &run));
    return count_memory(&run, adapter, out);
}
