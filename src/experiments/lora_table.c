/* SPDX-License-Identifier: MIT */
#include "experiments/lora_table.h"

#include "core/clock.h"
#include "core/memory.h"
#include "linalg/singular_values.h"
#include "runtime/context.h"
#include "runtime/parallel.h"

#include <lilac/train.h>
#include <pthread.h>
#include <string.h>

enum { VALIDATION_COUNT = 5000 };

const size_t lilac_lora_ranks[LILAC_LORA_RANK_COUNT] = {1, 2, 4, 8, 16, 32, 64};

/* One training run of the table. Its number is part of its seed, so it must not depend on the order of the runs. */
typedef enum { RUN_BASE, RUN_FULL, RUN_ADAPTED, RUN_SCRATCH } run_kind;

typedef struct {
    run_kind kind;
    size_t rank_index;
    lilac_variant variant;
} run_description;

enum {
    RUNS_BASE = 1,
    RUNS_FULL = LILAC_LORA_VARIANT_COUNT,
    RUNS_ADAPTED = LILAC_LORA_RANK_COUNT * LILAC_LORA_VARIANT_COUNT,
    RUNS_SCRATCH = LILAC_LORA_RANK_COUNT * LILAC_LORA_INPUT_COUNT,
    /* The first phase needs nothing, the second the trained base. */
    RUNS_FIRST = RUNS_BASE + RUNS_SCRATCH,
    RUNS_SECOND = RUNS_FULL + RUNS_ADAPTED
};

/* The runs of each phase, the longest first so that the threads end together. */
static run_description describe_first(size_t index) {
    if (index == 0) {
        return (run_description){.kind = RUN_BASE};
    }
    index--;
    return (run_description){.kind = RUN_SCRATCH,
                             .rank_index = LILAC_LORA_RANK_COUNT - 1 - index / LILAC_LORA_INPUT_COUNT,
                             .variant = (lilac_variant)(LILAC_VARIANT_ORIGINAL + index % LILAC_LORA_INPUT_COUNT)};
}

static run_description describe_second(size_t index) {
    if (index < RUNS_FULL) {
        return (run_description){.kind = RUN_FULL, .variant = (lilac_variant)(LILAC_VARIANT_QUANTIZED + index)};
    }
    index -= RUNS_FULL;
    return (run_description){.kind = RUN_ADAPTED,
                             .rank_index = LILAC_LORA_RANK_COUNT - 1 - index / LILAC_LORA_VARIANT_COUNT,
                             .variant = (lilac_variant)(LILAC_VARIANT_QUANTIZED + index % LILAC_LORA_VARIANT_COUNT)};
}

/* What all runs of a table share. */
typedef struct {
    lilac_context *context;
    const lilac_lora_table_config *config;
    const lilac_dataset *training, *test;
    uint32_t *split;   /* for each seed: training images, then validation images */
    lilac_mlp **bases; /* for each seed */
    lilac_lora_table *table;
    bool second_phase;
    pthread_mutex_t lock; /* guards what follows, and calls of the context's own callback */
    uint64_t steps_done, steps_total;
    lilac_status status; /* the first failure */
} table_run;

/* One run at work: its place in the table, and a context of its own. */
typedef struct {
    table_run *table;
    run_description description;
    size_t seed_index;
    lilac_context *context;
    lilac_training_config training_config;
    lilac_data_view training, validation, test;
} single_run;

static int forward_progress(void *user, const lilac_progress *progress) {
    table_run *run = user;
    (void)progress;
    pthread_mutex_lock(&run->lock);
    run->steps_done++;
    if (run->status == LILAC_OK) {
        run->status = lilac_report_progress(run->context, run->second_phase ? "fine-tuning" : "base and from scratch",
                                            run->steps_done, run->steps_total);
    }
    const int stop = run->status != LILAC_OK;
    pthread_mutex_unlock(&run->lock);
    return stop;
}

static uint64_t model_seed(const single_run *run) {
    return run->table->config->seed + run->seed_index;
}

/* The accuracy in per cent. */
static lilac_status measure(const single_run *run, const lilac_mlp *mlp, const lilac_adapter *adapter,
                            const lilac_data_view *view, double *accuracy) {
    lilac_evaluation evaluation;
    LILAC_TRY(lilac_evaluate_mlp(run->context, mlp, adapter, view, &evaluation));
    *accuracy = 100.0 * evaluation.accuracy;
    return LILAC_OK;
}

static lilac_status measure_base(const single_run *run, const lilac_mlp *mlp, lilac_lora_figures *figures) {
    LILAC_TRY(measure(run, mlp, NULL, &run->validation, &figures->base_validation));
    LILAC_TRY(measure(run, mlp, NULL, &run->test, &figures->base));
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        const lilac_variant variant = (lilac_variant)(LILAC_VARIANT_QUANTIZED + v);
        const lilac_data_view test = lilac_data_view_all(run->table->test, variant);
        const lilac_data_view training = lilac_data_view_all(run->table->training, variant);
        LILAC_TRY(measure(run, mlp, NULL, &test, &figures->base_on_variants[v]));
        LILAC_TRY(measure(run, mlp, NULL, &training, &figures->base_on_training_images[v]));
    }
    return LILAC_OK;
}

static lilac_status create_network(const single_run *run, lilac_mlp **out) {
    lilac_mlp_config config;
    lilac_mlp_config_default(&config);
    config.sizes[1] = config.sizes[2] = run->table->config->hidden;
    config.seed = model_seed(run);
    return lilac_mlp_create(run->context, &config, out);
}

static lilac_status run_base(single_run *run, lilac_lora_figures *figures) {
    lilac_mlp *mlp;
    LILAC_TRY(create_network(run, &mlp));
    run->table->bases[run->seed_index] = mlp;
    LILAC_TRY(
        lilac_train_mlp(run->context, &run->training_config, mlp, NULL, &run->training, &run->validation, NULL, NULL));
    return measure_base(run, mlp, figures);
}

static lilac_status measure_change(const single_run *run, const lilac_mlp *base, const lilac_mlp *tuned,
                                   size_t *ranks) {
    for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
        const lilac_linear_layer before = lilac_mlp_layer(base, l), after = lilac_mlp_layer(tuned, l);
        const size_t count = before.in * before.out, least = lilac_size_min(before.in, before.out);
        float *change = lilac_memory_allocate(count, sizeof *change);
        double *values = lilac_memory_allocate(least, sizeof *values);
        lilac_status status;
        if (change == NULL || values == NULL) {
            status = lilac_fail_memory(run->context, "the change of a weight", count * sizeof *change);
        } else {
            for (size_t i = 0; i < count; i++) {
                change[i] = after.weight[i] - before.weight[i];
            }
            status = lilac_singular_values(run->context, before.out, before.in, change, values);
        }
        ranks[l] = 0;
        for (size_t i = 0; status == LILAC_OK && i < least; i++) {
            ranks[l] += values[i] > LILAC_LORA_SINGULAR_VALUE_FLOOR;
        }
        lilac_memory_free(values);
        lilac_memory_free(change);
        LILAC_TRY(status);
    }
    return LILAC_OK;
}

static lilac_status run_full(single_run *run, lilac_lora_figures *figures) {
    const size_t v = (size_t)(run->description.variant - LILAC_VARIANT_QUANTIZED);
    const lilac_mlp *base = run->table->bases[run->seed_index];
    lilac_mlp *mlp;
    LILAC_TRY(lilac_mlp_clone(run->context, base, &mlp));
    lilac_status status =
        lilac_train_mlp(run->context, &run->training_config, mlp, NULL, &run->training, &run->validation, NULL, NULL);
    if (status == LILAC_OK) {
        status = measure(run, mlp, NULL, &run->test, &figures->full[v]);
    }
    if (status == LILAC_OK) {
        status = measure_change(run, base, mlp, figures->change_rank[v]);
    }
    lilac_mlp_destroy(mlp);
    return status;
}

/* Trains a new adapter on the model, which stays as it is, and measures it. */
static lilac_status run_adapter(single_run *run, lilac_mlp *mlp, double *accuracy) {
    /* The report's LoRA: scale 1 whatever the rank, A uniform in (-1/sqrt(r), 1/sqrt(r)). */
    const lilac_lora_config config = {.rank = lilac_lora_ranks[run->description.rank_index],
                                      .alpha = 1.0,
                                      .scale_rule = LILAC_LORA_SCALE_FIXED,
                                      .initialisation = LILAC_LORA_INITIALISE_REPORT,
                                      .seed = run->training_config.seed};
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter;
    LILAC_TRY(lilac_adapter_create(run->context, &config, &base, &adapter));
    lilac_status status = lilac_train_mlp(run->context, &run->training_config, mlp, adapter, &run->training,
                                          &run->validation, NULL, NULL);
    if (status == LILAC_OK) {
        status = measure(run, mlp, adapter, &run->test, accuracy);
    }
    lilac_adapter_destroy(adapter);
    return status;
}

static lilac_status run_scratch(single_run *run, lilac_lora_figures *figures) {
    const size_t v = (size_t)(run->description.variant - LILAC_VARIANT_ORIGINAL);
    lilac_mlp *mlp;
    LILAC_TRY(create_network(run, &mlp));
    const lilac_status status = run_adapter(run, mlp, &figures->scratch[run->description.rank_index][v]);
    lilac_mlp_destroy(mlp);
    return status;
}

static lilac_status run_described(single_run *run) {
    lilac_lora_figures *figures = &run->table->table->figures[run->seed_index];
    const size_t v = (size_t)(run->description.variant - LILAC_VARIANT_QUANTIZED);
    switch (run->description.kind) {
    case RUN_BASE:
        return run_base(run, figures);
    case RUN_FULL:
        return run_full(run, figures);
    case RUN_ADAPTED:
        return run_adapter(run, run->table->bases[run->seed_index], &figures->adapted[run->description.rank_index][v]);
    case RUN_SCRATCH:
        return run_scratch(run, figures);
    }
    return LILAC_ERROR_ARGUMENT;
}

/* The views of one seed's split, and a training seed that no other run has. */
static void prepare(single_run *run) {
    table_run *table = run->table;
    const run_description *d = &run->description;
    const size_t count = lilac_dataset_get_shape(table->training).count;
    const uint32_t *split = table->split + run->seed_index * count;
    const uint64_t number = ((uint64_t)d->kind << 8) | (d->rank_index << 4) | (uint64_t)d->variant;
    lilac_training_config_default(&run->training_config);
    run->training_config.seed = (model_seed(run) << 16) | number;
    run->training = (lilac_data_view){
        .dataset = table->training, .indices = split, .count = count - VALIDATION_COUNT, .variant = d->variant};
    run->validation = (lilac_data_view){.dataset = table->training,
                                        .indices = split + count - VALIDATION_COUNT,
                                        .count = VALIDATION_COUNT,
                                        .variant = d->variant};
    run->test = lilac_data_view_all(table->test, d->variant);
}

static void run_tasks(void *argument, size_t begin, size_t end) {
    table_run *table = argument;
    for (size_t task = begin; task < end; task++) {
        /* All seeds' runs of one kind and rank stand together, so that the longest of all seeds come first. */
        const size_t index = task / table->config->seed_count;
        single_run run = {.table = table,
                          .description = table->second_phase ? describe_second(index) : describe_first(index),
                          .seed_index = task % table->config->seed_count};
        const lilac_context_config config = {.threads = 1,
                                             .max_cpu_level = lilac_context_cpu_level(table->context),
                                             .progress = forward_progress,
                                             .progress_user = table};
        pthread_mutex_lock(&table->lock);
        const bool stopped = table->status != LILAC_OK;
        pthread_mutex_unlock(&table->lock);
        if (stopped) {
            continue;
        }
        lilac_status status = lilac_context_create(&config, &run.context);
        if (status == LILAC_OK) {
            prepare(&run);
            status = run_described(&run);
        }
        if (status != LILAC_OK) {
            pthread_mutex_lock(&table->lock);
            if (table->status == LILAC_OK) {
                table->status = lilac_fail(table->context, status, "%s",
                                           run.context != NULL ? lilac_context_message(run.context)
                                                               : "out of memory for the context of a run");
            }
            pthread_mutex_unlock(&table->lock);
        }
        lilac_context_destroy(run.context);
    }
}

static void count_parameters(const lilac_mlp *base, lilac_lora_table *table) {
    table->base_parameters = lilac_mlp_parameter_count(base);
    for (size_t i = 0; i < LILAC_LORA_RANK_COUNT; i++) {
        for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
            const lilac_linear_layer layer = lilac_mlp_layer(base, l);
            table->adapter_parameters[i] += lilac_lora_ranks[i] * (layer.in + layer.out);
        }
    }
}

static lilac_status run_phases(table_run *run) {
    const size_t seeds = run->config->seed_count;
    run->second_phase = false;
    lilac_parallel_tasks(run->context, RUNS_FIRST * seeds, run_tasks, run);
    LILAC_TRY(run->status);
    run->second_phase = true;
    lilac_parallel_tasks(run->context, RUNS_SECOND * seeds, run_tasks, run);
    LILAC_TRY(run->status);
    count_parameters(run->bases[0], run->table);
    return LILAC_OK;
}

/* part is "training" or "test". */
static lilac_status check_images(lilac_context *context, const char *part, const lilac_dataset *images) {
    const lilac_dataset_shape shape = lilac_dataset_get_shape(images);
    lilac_mlp_config network;
    lilac_mlp_config_default(&network);
    const size_t pixels = network.sizes[0], classes = network.sizes[network.layer_count];
    if (shape.rows * shape.cols != pixels || shape.classes > classes) {
        return lilac_fail(
            context, LILAC_ERROR_SHAPE,
            "LoRA table: %s images of %zu x %zu pixels in %zu classes, expected %zu pixels in at most %zu", part,
            shape.rows, shape.cols, shape.classes, pixels, classes);
    }
    return LILAC_OK;
}

size_t lilac_lora_table_usual_seeds(size_t hidden) {
    return hidden == 64 ? 3 : 1;
}

lilac_status lilac_lora_table_check(lilac_context *context, const lilac_lora_table_config *config,
                                    const lilac_dataset *training, const lilac_dataset *test) {
    if (context == NULL || config == NULL || training == NULL || test == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "LoRA table: a null pointer");
    }
    const size_t count = lilac_dataset_get_shape(training).count;
    if (config->hidden == 0 || config->seed_count == 0 || config->seed_count > 1000) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "LoRA table: hidden width %zu, %zu seeds; expected >= 1, 1 .. 1000", config->hidden,
                          config->seed_count);
    }
    if (count <= VALIDATION_COUNT) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "LoRA table: %zu training images, expected more than the %d set aside", count,
                          VALIDATION_COUNT);
    }
    LILAC_TRY(check_images(context, "training", training));
    return check_images(context, "test", test);
}

lilac_status lilac_lora_table_run(lilac_context *context, const lilac_lora_table_config *config,
                                  const lilac_dataset *training, const lilac_dataset *test, lilac_lora_table *out) {
    if (out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "LoRA table: a null pointer");
    }
    LILAC_TRY(lilac_lora_table_check(context, config, training, test));
    const double start = lilac_clock_seconds();
    const size_t count = lilac_dataset_get_shape(training).count;
    lilac_training_config protocol;
    lilac_training_config_default(&protocol);
    const size_t steps_a_run = protocol.epochs * ((count - VALIDATION_COUNT + protocol.batch - 1) / protocol.batch);
    lilac_lora_table table = {.config = *config,
                              .figures = lilac_memory_allocate(config->seed_count, sizeof *table.figures)};
    table_run run = {.context = context,
                     .config = config,
                     .training = training,
                     .test = test,
                     .split = lilac_memory_allocate(config->seed_count * count, sizeof *run.split),
                     .bases = lilac_memory_allocate(config->seed_count, sizeof(lilac_mlp *)),
                     .table = &table,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .steps_total = (RUNS_FIRST + RUNS_SECOND) * config->seed_count * steps_a_run};
    if (table.figures == NULL || run.split == NULL || run.bases == NULL) {
        run.status = lilac_fail_memory(context, "the LoRA table", config->seed_count * count * sizeof *run.split);
    } else {
        for (size_t s = 0; s < config->seed_count; s++) {
            lilac_split(config->seed + s, count, run.split + s * count);
        }
        run.status = run_phases(&run);
    }
    for (size_t s = 0; run.bases != NULL && s < config->seed_count; s++) {
        lilac_mlp_destroy(run.bases[s]);
    }
    lilac_memory_free((void *)run.bases);
    lilac_memory_free(run.split);
    pthread_mutex_destroy(&run.lock);
    if (run.status != LILAC_OK) {
        lilac_lora_table_destroy(&table);
        return run.status;
    }
    table.seconds = lilac_clock_seconds() - start;
    *out = table;
    return LILAC_OK;
}

void lilac_lora_table_destroy(lilac_lora_table *table) {
    lilac_memory_free(table->figures);
    *table = (lilac_lora_table){0};
}
