/* SPDX-License-Identifier: MIT */
#include "experiments/completion.h"

#include "core/clock.h"
#include "core/memory.h"
#include "model/transformer.h"
#include "runtime/context.h"

#include <lilac/train.h>
#include <lilac/train_transformer.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The report's classifier: hidden widths, and Adam's learning rate. */
enum { CLASSIFIER_LAYERS = 3, CLASSIFIER_FIRST = 128, CLASSIFIER_SECOND = 64 };
static const double classifier_rate = 1e-3;

/* Completed training images draw other random numbers than test images of the same number. */
static const uint64_t training_first_index = (uint64_t)1 << 32;

typedef struct experiment {
    lilac_context *outer;   /* the caller's */
    lilac_context *context; /* one that reports the experiment's stages to it */
    const lilac_completion_config *config;
    const lilac_transformer *const *models;
    const lilac_dataset *training, *test;
    size_t size, kept; /* pixels of an image, and those that a model sees */
    char stage[64];
    lilac_completion *out;
} experiment;

void lilac_completion_config_default(lilac_completion_config *config) {
    *config = (lilac_completion_config){.images = 600,
                                        .keep_rows = 14,
                                        .training_images = 500,
                                        .bits_images = 1000,
                                        .time_count = 3,
                                        .times = {100, 200, 300},
                                        .no_cache_images = 4,
                                        .precision = LILAC_PRECISION_F32,
                                        .epochs = 10,
                                        .batch = 64};
}

static int forward_progress(void *user, const lilac_progress *progress) {
    const experiment *e = user;
    return lilac_report_progress(e->outer, e->stage, progress->done, progress->total) != LILAC_OK;
}

/* ---- Classifiers ---- */

static lilac_status train_classifier(experiment *e, const lilac_dataset *images, lilac_mlp **out) {
    const size_t classes = lilac_dataset_get_shape(e->training).classes;
    const lilac_mlp_config network = {.layer_count = CLASSIFIER_LAYERS,
                                      .sizes = {e->size, CLASSIFIER_FIRST, CLASSIFIER_SECOND, classes},
                                      .seed = e->config->seed};
    lilac_training_config training;
    lilac_training_config_default(&training);
    training.batch = e->config->batch;
    training.epochs = e->config->epochs;
    training.patience = 0;
    training.learning_rate = classifier_rate;
    training.weight_decay = 0.0; /* AdamW without it is Adam */
    training.seed = e->config->seed;
    const lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_PLAIN);
    lilac_mlp *classifier;
    LILAC_TRY(lilac_mlp_create(e->context, &network, &classifier));
    const lilac_status status = lilac_train_mlp(e->context, &training, classifier, NULL, &view, NULL, NULL, NULL);
    if (status != LILAC_OK) {
        lilac_mlp_destroy(classifier);
        return status;
    }
    *out = classifier;
    return LILAC_OK;
}

/* The accuracy on the first count images, in per cent. */
static lilac_status measure(experiment *e, const lilac_mlp *classifier, const lilac_dataset *images, size_t count,
                            double *accuracy) {
    const lilac_data_view view = {.dataset = images, .count = count, .variant = LILAC_VARIANT_PLAIN};
    lilac_evaluation evaluation;
    LILAC_TRY(lilac_evaluate_mlp(e->context, classifier, NULL, &view, &evaluation));
    *accuracy = 100.0 * evaluation.accuracy;
    return LILAC_OK;
}

/* Data with other pixels (count x size) and the labels of the first images. */
static lilac_status relabel(experiment *e, const lilac_dataset *labelled, size_t count, const uint8_t *pixels,
                            lilac_dataset **out) {
    lilac_dataset_shape shape = lilac_dataset_get_shape(labelled);
    shape.count = count;
    return lilac_dataset_create(e->context, &shape, pixels, lilac_dataset_labels(labelled), out);
}

/* The accuracy on test images with other pixels. */
static lilac_status measure_pixels(experiment *e, const lilac_mlp *classifier, const uint8_t *pixels,
                                   double *accuracy) {
    lilac_dataset *images;
    LILAC_TRY(relabel(e, e->test, e->config->images, pixels, &images));
    const lilac_status status = measure(e, classifier, images, e->config->images, accuracy);
    lilac_dataset_destroy(images);
    return status;
}

/* Trains a classifier on the first training images, with other pixels, and measures it on all test images. */
static lilac_status measure_training_pixels(experiment *e, const uint8_t *pixels, double *accuracy) {
    lilac_dataset *images;
    lilac_mlp *classifier = NULL;
    LILAC_TRY(relabel(e, e->training, e->config->training_images, pixels, &images));
    lilac_status status = train_classifier(e, images, &classifier);
    if (status == LILAC_OK) {
        status = measure(e, classifier, e->test, lilac_dataset_get_shape(e->test).count, accuracy);
    }
    lilac_mlp_destroy(classifier);
    lilac_dataset_destroy(images);
    return status;
}

/* ---- Completions ---- */

/* A copy of the first count images. */
static lilac_status copy_images(experiment *e, const lilac_dataset *images, size_t count, uint8_t **out) {
    uint8_t *copy = lilac_memory_allocate(count, e->size);
    if (copy == NULL) {
        return lilac_fail_memory(e->context, "the images to complete", count * e->size);
    }
    memcpy(copy, lilac_dataset_image(images, 0), count * e->size);
    *out = copy;
    return LILAC_OK;
}

/* How images are completed. */
typedef struct completing {
    size_t model;
    bool no_cache;
    lilac_precision cache;
} completing;

/* Completes images, which draw the random numbers of index first_index and those that follow. spent may be NULL. */
static lilac_status complete(experiment *e, completing how, uint64_t first_index, size_t count, uint8_t *images,
                             double *seconds, lilac_generation_times *spent) {
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.count = count;
    config.prompt = e->kept;
    config.length = e->size;
    config.precision = e->config->precision;
    config.cache = how.cache;
    config.seed = e->config->seed;
    config.first_index = first_index;
    config.no_cache = how.no_cache;
    snprintf(e->stage, sizeof e->stage, "%s%s: completing %zu images", lilac_transformer_attention_names[how.model],
             how.no_cache                        ? " without cache"
             : how.cache == LILAC_PRECISION_BF16 ? ", cache in bf16"
                                                 : "",
             count);
    const double start = lilac_clock_seconds();
    LILAC_TRY(lilac_generate(e->context, e->models[how.model], &config, images, spent));
    *seconds = lilac_clock_seconds() - start;
    return LILAC_OK;
}

/* A set of images to complete, and the times to be taken. */
typedef struct image_set {
    uint64_t first_index;
    size_t count;
    uint8_t *images;
    double *seconds; /* of each of the config's times; NaN where there are not as many images */
    lilac_generation_times *spent;
} image_set;

/*
 * Completes a set of images. What is timed is part of that as far as it goes: each time, the last one first, takes the
 * images that follow those of the time before, or the first ones again where too few are left. An image is completed in
 * the same way whatever others it is completed with, so that this decides on nothing but the time it takes.
 */
static lilac_status complete_and_time(experiment *e, completing how, const image_set *set) {
    const lilac_completion_config *config = e->config;
    double unused;
    size_t done = 0;
    for (size_t t = config->time_count; t-- > 0;) {
        const size_t count = config->times[t];
        set->seconds[t] = NAN;
        if (count <= set->count) {
            const size_t first = count <= set->count - done ? done : 0;
            LILAC_TRY(complete(e, how, set->first_index + first, count, set->images + first * e->size, &set->seconds[t],
                               &set->spent[t]));
            done = lilac_size_max(done, first + count);
        }
    }
    return done == set->count ? LILAC_OK
                              : complete(e, how, set->first_index + done, set->count - done,
                                         set->images + done * e->size, &unused, NULL);
}

static lilac_status complete_test_images(experiment *e, size_t model) {
    lilac_completion_figures *figures = &e->out->figures[model];
    LILAC_TRY(copy_images(e, e->test, e->config->images, &figures->completed));
    const image_set set = {
        .count = e->config->images, .images = figures->completed, .seconds = figures->seconds, .spent = figures->spent};
    return complete_and_time(e, (completing){.model = model}, &set);
}

static lilac_status time_without_cache(experiment *e) {
    uint8_t *images = NULL;
    LILAC_TRY(copy_images(e, e->test, e->config->no_cache_images, &images));
    const completing how = {.model = LILAC_TRANSFORMER_SOFTMAX, .no_cache = true};
    const lilac_status status = complete(e, how, 0, e->config->no_cache_images, images,
                                         &e->out->figures[LILAC_TRANSFORMER_SOFTMAX].no_cache_seconds, NULL);
    lilac_memory_free(images);
    return status;
}

static lilac_status complete_training_images(experiment *e, size_t model, uint8_t *images) {
    lilac_completion_figures *figures = &e->out->figures[model];
    double unused;
    if (model == LILAC_TRANSFORMER_LINEAR) {
        return complete(e, (completing){.model = model}, training_first_index, e->config->training_images, images,
                        &unused, NULL);
    }
    const image_set set = {.first_index = training_first_index,
                           .count = e->config->training_images,
                           .images = images,
                           .seconds = figures->bf16_seconds,
                           .spent = figures->bf16_spent};
    return complete_and_time(e, (completing){.model = model, .cache = LILAC_PRECISION_BF16}, &set);
}

static lilac_status learn_from_completions(experiment *e, size_t model) {
    uint8_t *images = NULL;
    LILAC_TRY(copy_images(e, e->training, e->config->training_images, &images));
    lilac_status status = complete_training_images(e, model, images);
    if (status == LILAC_OK) {
        snprintf(e->stage, sizeof e->stage, "%s: training a classifier", lilac_transformer_attention_names[model]);
        status = measure_training_pixels(e, images, &e->out->figures[model].training_accuracy);
    }
    lilac_memory_free(images);
    return status;
}

static lilac_status measure_bits(experiment *e, size_t model) {
    const lilac_data_view view = {
        .dataset = e->test, .count = e->config->bits_images, .variant = LILAC_VARIANT_ORIGINAL};
    const lilac_token_source source = {.images = &view};
    lilac_token_evaluation evaluation;
    snprintf(e->stage, sizeof e->stage, "%s: bits a dimension", lilac_transformer_attention_names[model]);
    /* In f32: a figure to compare with others' must not hang on what the processor can do. */
    LILAC_TRY(
        lilac_evaluate_transformer(e->context, e->models[model], NULL, &source, LILAC_PRECISION_F32, &evaluation));
    e->out->figures[model].bits = evaluation.bits;
    return LILAC_OK;
}

/* ---- The experiment ---- */

static lilac_status run_model(experiment *e, const lilac_mlp *classifier, size_t model) {
    lilac_completion_figures *figures = &e->out->figures[model];
    e->out->present[model] = true;
    figures->parameters = lilac_transformer_parameter_count(e->models[model]);
    figures->training_accuracy = figures->bits = figures->no_cache_seconds = NAN;
    for (size_t t = 0; t < e->config->time_count; t++) {
        figures->bf16_seconds[t] = NAN;
    }
    LILAC_TRY(complete_test_images(e, model));
    LILAC_TRY(measure_pixels(e, classifier, figures->completed, &figures->accuracy));
    if (model == LILAC_TRANSFORMER_SOFTMAX && e->config->no_cache_images > 0) {
        LILAC_TRY(time_without_cache(e));
    }
    if (e->config->training_images > 0) {
        LILAC_TRY(learn_from_completions(e, model));
    }
    return e->config->bits_images > 0 ? measure_bits(e, model) : LILAC_OK;
}

/* Without any transformer: images as they are, and without their lower part. */
static lilac_status measure_bounds(experiment *e, const lilac_mlp *classifier) {
    const size_t count = e->config->images;
    uint8_t *occluded = NULL;
    e->out->test_images = lilac_dataset_get_shape(e->test).count;
    LILAC_TRY(measure(e, classifier, e->test, e->out->test_images, &e->out->all));
    LILAC_TRY(measure(e, classifier, e->test, count, &e->out->original));
    LILAC_TRY(copy_images(e, e->test, count, &occluded));
    for (size_t i = 0; i < count; i++) {
        memset(occluded + i * e->size + e->kept, 0, e->size - e->kept);
    }
    const lilac_status status = measure_pixels(e, classifier, occluded, &e->out->occluded);
    lilac_memory_free(occluded);
    LILAC_TRY(status);
    e->out->training_original = NAN;
    if (e->config->training_images == 0) {
        return LILAC_OK;
    }
    return measure_training_pixels(e, lilac_dataset_image(e->training, 0), &e->out->training_original);
}

static lilac_status run_stages(experiment *e) {
    lilac_mlp *classifier;
    snprintf(e->stage, sizeof e->stage, "training the classifier");
    LILAC_TRY(train_classifier(e, e->training, &classifier));
    lilac_status status = measure_bounds(e, classifier);
    for (size_t model = 0; status == LILAC_OK && model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        if (e->models[model] != NULL) {
            status = run_model(e, classifier, model);
        }
    }
    lilac_mlp_destroy(classifier);
    return status;
}

static lilac_status check_models(lilac_context *context, const lilac_transformer *const *models, size_t size) {
    bool any = false;
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        if (models[model] == NULL) {
            continue;
        }
        const lilac_transformer_config *config = lilac_transformer_get_config(models[model]);
        any = true;
        if ((size_t)config->attention != model) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                              "completion: the transformer with %s attention, expected one with %s attention",
                              lilac_transformer_attention_names[config->attention],
                              lilac_transformer_attention_names[model]);
        }
        if (config->length + 1 != size) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "completion: the %s transformer is for %zu pixels, expected the images' %zu",
                              lilac_transformer_attention_names[model], config->length + 1, size);
        }
    }
    return any ? LILAC_OK
               : lilac_fail(context, LILAC_ERROR_ARGUMENT, "completion: no transformer, expected at least 1");
}

static lilac_status check_count(lilac_context *context, const char *what, size_t count, size_t least, size_t most) {
    if (count < least || count > most) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "completion: %zu %s, expected %zu to %zu", count, what, least,
                          most);
    }
    return LILAC_OK;
}

lilac_status lilac_completion_check(lilac_context *context, const lilac_completion_config *config,
                                    const lilac_transformer *const models[LILAC_COMPLETION_MODEL_COUNT],
                                    const lilac_dataset *training, const lilac_dataset *test) {
    if (context == NULL || config == NULL || models == NULL || training == NULL || test == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "completion: a null pointer");
    }
    const lilac_dataset_shape shape = lilac_dataset_get_shape(test), other = lilac_dataset_get_shape(training);
    if (shape.rows != other.rows || shape.cols != other.cols || shape.classes != other.classes) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "completion: test images of %zu x %zu pixels in %zu classes, expected %zu x %zu in %zu as "
                          "for training",
                          shape.rows, shape.cols, shape.classes, other.rows, other.cols, other.classes);
    }
    LILAC_TRY(check_models(context, models, shape.rows * shape.cols));
    LILAC_TRY(check_count(context, "test images to complete", config->images, 1, shape.count));
    LILAC_TRY(check_count(context, "rows to keep", config->keep_rows, 1, shape.rows - 1));
    LILAC_TRY(check_count(context, "training images to complete", config->training_images, 0, other.count));
    LILAC_TRY(check_count(context, "images to predict", config->bits_images, 0, shape.count));
    LILAC_TRY(check_count(context, "images without cache", config->no_cache_images, 0, shape.count));
    LILAC_TRY(check_count(context, "times", config->time_count, 0, LILAC_COMPLETION_TIMES_MAX));
    for (size_t t = 0; t < config->time_count; t++) {
        LILAC_TRY(check_count(context, "images to time", config->times[t], 1, config->images));
    }
    LILAC_TRY(check_count(context, "epochs", config->epochs, 1, INT32_MAX));
    if (!lilac_precision_stores(config->precision)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "completion: no precision number %d to hold weights in",
                          (int)config->precision);
    }
    return check_count(context, "images a step", config->batch, 1, INT32_MAX);
}

lilac_status lilac_completion_run(lilac_context *context, const lilac_completion_config *config,
                                  const lilac_transformer *const models[LILAC_COMPLETION_MODEL_COUNT],
                                  const lilac_dataset *training, const lilac_dataset *test, lilac_completion *out) {
    if (out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "completion: a null pointer");
    }
    LILAC_TRY(lilac_completion_check(context, config, models, training, test));
    const double start = lilac_clock_seconds();
    const lilac_dataset_shape shape = lilac_dataset_get_shape(test);
    lilac_completion completion = {.config = *config};
    experiment e = {.outer = context,
                    .config = config,
                    .models = models,
                    .training = training,
                    .test = test,
                    .size = shape.rows * shape.cols,
                    .kept = config->keep_rows * shape.cols,
                    .out = &completion};
    const lilac_context_config inner = {.threads = lilac_context_threads(context),
                                        .max_cpu_level = lilac_context_cpu_level(context),
                                        .progress = forward_progress,
                                        .progress_user = &e};
    if (lilac_context_create(&inner, &e.context) != LILAC_OK) {
        return lilac_fail(context, LILAC_ERROR_MEMORY, "out of memory for the context of the experiment");
    }
    const lilac_status status = run_stages(&e);
    /* Of a request to stop, the caller's context says more: the stage. */
    if (status != LILAC_OK && status != LILAC_CANCELLED) {
        lilac_fail(context, status, "%s", lilac_context_message(e.context));
    }
    lilac_context_destroy(e.context);
    if (status != LILAC_OK) {
        lilac_completion_destroy(&completion);
        return status;
    }
    completion.total_seconds = lilac_clock_seconds() - start;
    *out = completion;
    return LILAC_OK;
}

void lilac_completion_destroy(lilac_completion *completion) {
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_memory_free(completion->figures[model].completed);
    }
    *completion = (lilac_completion){0};
}

double lilac_completion_no_cache_estimate(const lilac_completion *completion, size_t images) {
    const size_t timed = completion->config.no_cache_images;
    if (!completion->present[LILAC_TRANSFORMER_SOFTMAX] || timed == 0) {
        return NAN;
    }
    return completion->figures[LILAC_TRANSFORMER_SOFTMAX].no_cache_seconds * (double)images / (double)timed;
}
