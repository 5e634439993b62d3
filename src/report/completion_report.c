/* SPDX-License-Identifier: MIT */
#include "report/completion_report.h"

#include "experiments/completion_published.h"
#include "model/transformer.h"

#include <math.h>

static void add_settings(lilac_json *json, cJSON *parent, const lilac_completion_config *config) {
    cJSON *object = lilac_json_object(json, parent, "settings");
    lilac_json_whole(json, object, "seed", config->seed);
    lilac_json_number(json, object, "test_images", (double)config->images);
    lilac_json_number(json, object, "rows_kept", (double)config->keep_rows);
    lilac_json_number(json, object, "training_images", (double)config->training_images);
    lilac_json_number(json, object, "test_images_for_bits", (double)config->bits_images);
    lilac_json_string(json, object, "precision_of_generation", lilac_precision_name(config->precision));
    lilac_json_string(json, object, "softmax_cache_for_test_images", lilac_precision_name(LILAC_PRECISION_F32));
    lilac_json_string(json, object, "softmax_cache_for_training_images", lilac_precision_name(LILAC_PRECISION_BF16));
    lilac_json_number(json, object, "classifier_epochs", (double)config->epochs);
    lilac_json_number(json, object, "classifier_batch", (double)config->batch);
}

/* Adds the object `name` of a figure beside the published one, and gives it. */
static cJSON *add_pair(lilac_json *json, cJSON *parent, const char *name, double value, double published) {
    cJSON *object = lilac_json_object(json, parent, name);
    lilac_json_number(json, object, "value", value);
    lilac_json_number(json, object, "published", published);
    lilac_json_number(json, object, "difference", value - published);
    return object;
}

/* A transformer that was not there has no member. */
static void add_models(lilac_json *json, cJSON *parent, const lilac_completion *completion) {
    cJSON *models = lilac_json_object(json, parent, "transformers");
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *figures = &completion->figures[model];
        const lilac_completion_published *published =
            lilac_completion_get_published((lilac_transformer_attention)model);
        if (completion->present[model]) {
            cJSON *object = lilac_json_object(json, models, lilac_transformer_attention_names[model]);
            lilac_json_number(json, object, "parameters", (double)figures->parameters);
            add_pair(json, object, "accuracy_on_completed_test_images", figures->accuracy, published->accuracy);
            add_pair(json, object, "accuracy_trained_on_completed_training_images", figures->training_accuracy,
                     published->training_accuracy);
            cJSON *bits = add_pair(json, object, "bits_a_dimension", figures->bits, published->bits);
            lilac_json_whole(json, bits, "test_images", completion->config.bits_images);
        }
    }
}

static void add_time(lilac_json *json, cJSON *object, double seconds, const lilac_generation_times *spent) {
    lilac_json_number(json, object, "seconds", seconds);
    lilac_json_number(json, object, "seconds_of_prompts", spent->prompt);
    lilac_json_number(json, object, "seconds_of_projections_in_steps", spent->projections);
    lilac_json_number(json, object, "seconds_of_attention_in_steps", spent->attention);
}

static void add_times_of_model(lilac_json *json, cJSON *times, const lilac_completion *completion, size_t model) {
    const lilac_completion_figures *figures = &completion->figures[model];
    cJSON *array = lilac_json_array(json, times, lilac_transformer_attention_names[model]);
    for (size_t t = 0; t < completion->config.time_count; t++) {
        const size_t images = completion->config.times[t];
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_number(json, object, "images", (double)images);
        add_time(json, object, figures->seconds[t], &figures->spent[t]);
        if (model == LILAC_TRANSFORMER_SOFTMAX) {
            if (!isnan(figures->bf16_seconds[t])) {
                add_time(json, lilac_json_object(json, object, "cache_in_bf16"), figures->bf16_seconds[t],
                         &figures->bf16_spent[t]);
            }
            lilac_json_number(json, object, "seconds_without_cache_estimated",
                              lilac_completion_no_cache_estimate(completion, images));
        }
        lilac_json_number(json, object, "published_seconds_on_a_gpu",
                          lilac_completion_published_seconds((lilac_transformer_attention)model, images));
    }
}

static void add_times(lilac_json *json, cJSON *parent, const lilac_context *context,
                      const lilac_completion *completion) {
    cJSON *times = lilac_json_object(json, parent, "times");
    lilac_json_number(json, times, "threads", (double)lilac_context_threads(context));
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        if (completion->present[model]) {
            add_times_of_model(json, times, completion, model);
        }
    }
    if (completion->present[LILAC_TRANSFORMER_SOFTMAX] && completion->config.no_cache_images > 0) {
        cJSON *object = lilac_json_object(json, times, "softmax_without_cache");
        lilac_json_number(json, object, "images", (double)completion->config.no_cache_images);
        lilac_json_number(json, object, "seconds", completion->figures[LILAC_TRANSFORMER_SOFTMAX].no_cache_seconds);
    }
    lilac_json_number(json, times, "whole_experiment_seconds", completion->total_seconds);
}

/* What a share of so many images can be off by. */
static void add_error(lilac_json *json, cJSON *parent, const char *name, double per_cent, size_t images) {
    lilac_json_number(json, parent, name, sqrt(per_cent * (100.0 - per_cent) / (double)images));
}

/* Of accuracies, under the names that these have. */
static void add_standard_errors(lilac_json *json, cJSON *parent, const lilac_completion *completion) {
    const size_t images = completion->config.images, all = completion->test_images;
    cJSON *errors = lilac_json_object(json, parent, "standard_errors");
    cJSON *classifier = lilac_json_object(json, errors, "without_transformer");
    add_error(json, classifier, "accuracy_on_all_test_images", completion->all, all);
    add_error(json, classifier, "accuracy_on_original_test_images", completion->original, images);
    add_error(json, classifier, "accuracy_on_occluded_test_images", completion->occluded, images);
    add_error(json, classifier, "accuracy_trained_on_original_training_images", completion->training_original, all);
    cJSON *models = lilac_json_object(json, errors, "transformers");
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *figures = &completion->figures[model];
        if (completion->present[model]) {
            cJSON *object = lilac_json_object(json, models, lilac_transformer_attention_names[model]);
            add_error(json, object, "accuracy_on_completed_test_images", figures->accuracy, images);
            add_error(json, object, "accuracy_trained_on_completed_training_images", figures->training_accuracy, all);
        }
    }
}

void lilac_completion_results_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                                  const lilac_completion *completion) {
    lilac_json_string(json, parent, "unit_of_accuracy", "per cent of images classified correctly");
    add_settings(json, parent, &completion->config);
    cJSON *classifier = lilac_json_object(json, parent, "without_transformer");
    lilac_json_number(json, classifier, "accuracy_on_all_test_images", completion->all);
    lilac_json_number(json, classifier, "accuracy_on_original_test_images", completion->original);
    lilac_json_number(json, classifier, "accuracy_on_occluded_test_images", completion->occluded);
    lilac_json_number(json, classifier, "accuracy_trained_on_original_training_images", completion->training_original);
    add_models(json, parent, completion);
    add_standard_errors(json, parent, completion);
    add_times(json, parent, context, completion);
}

lilac_status lilac_completion_results_write(lilac_context *context, const lilac_completion *completion,
                                            const char *path) {
    lilac_json json = lilac_json_begin_results(context, "completion");
    lilac_completion_results_add(&json, json.root, context, completion);
    const lilac_status status = lilac_json_write(context, &json, path);
    lilac_json_end(&json);
    return status;
}
