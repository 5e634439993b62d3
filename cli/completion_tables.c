/* SPDX-License-Identifier: MIT */
#include "completion_tables.h"

#include "command.h"
#include "progress.h"
#include "table.h"

#include "experiments/completion_published.h"
#include "runtime/context.h"

#include <math.h>

static const char *const model_names[LILAC_COMPLETION_MODEL_COUNT] = {"linear", "softmax"};

static void add_times_of_model(lilac_table *table, const lilac_completion *completion, const char *name,
                               const double *seconds) {
    lilac_table_cell(table, "%s", name);
    for (size_t t = 0; t < completion->config.time_count; t++) {
        lilac_table_number(table, 2, "", seconds == NULL ? NAN : seconds[t]);
    }
}

/* What of these the prompts took and, of the steps behind them, the projections and the attention. */
static void add_spent(lilac_table *table, const lilac_completion *completion, const double *seconds,
                      const lilac_generation_times *spent) {
    static const char *const parts[] = {"  prompts", "  steps: projections", "  steps: attention"};
    for (size_t i = 0; i < LILAC_COUNT(parts); i++) {
        lilac_table_cell(table, "%s", parts[i]);
        for (size_t t = 0; t < completion->config.time_count; t++) {
            const double each[] = {spent[t].prompt, spent[t].projections, spent[t].attention};
            lilac_table_number(table, 2, "", isnan(seconds[t]) ? NAN : each[i]);
        }
    }
}

/* The times with keys and values in bf16, where some were taken. */
static void add_bf16_times(lilac_table *table, const lilac_completion *completion) {
    const lilac_completion_figures *figures = &completion->figures[LILAC_TRANSFORMER_SOFTMAX];
    bool any = false;
    for (size_t t = 0; completion->present[LILAC_TRANSFORMER_SOFTMAX] && t < completion->config.time_count; t++) {
        any = any || !isnan(figures->bf16_seconds[t]);
    }
    if (any) {
        add_times_of_model(table, completion, "softmax, cache in bf16", figures->bf16_seconds);
        add_spent(table, completion, figures->bf16_seconds, figures->bf16_spent);
    }
}

static void add_published_times(lilac_table *table, const lilac_completion *completion, size_t model) {
    lilac_table_cell(table, "report, on a GPU: %s", model_names[model]);
    for (size_t t = 0; t < completion->config.time_count; t++) {
        lilac_table_number(
            table, 2, "",
            lilac_completion_published_seconds((lilac_transformer_attention)model, completion->config.times[t]));
    }
}

static bool print_times(const lilac_completion *completion, int threads, FILE *file) {
    const lilac_completion_config *config = &completion->config;
    char alignment[LILAC_COMPLETION_TIMES_MAX + 2] = "l";
    for (size_t t = 0; t < config->time_count; t++) {
        alignment[t + 1] = 'r';
    }
    lilac_table *table = lilac_table_create(alignment);
    lilac_table_cell(table, "Seconds to complete n images");
    for (size_t t = 0; t < config->time_count; t++) {
        lilac_table_cell(table, "n = %zu", config->times[t]);
    }
    lilac_table_rule(table);
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *figures = completion->present[model] ? &completion->figures[model] : NULL;
        add_times_of_model(table, completion, model_names[model], figures == NULL ? NULL : figures->seconds);
        if (figures != NULL) {
            add_spent(table, completion, figures->seconds, figures->spent);
        }
    }
    add_bf16_times(table, completion);
    lilac_table_cell(table, "softmax without cache");
    for (size_t t = 0; t < config->time_count; t++) {
        const double estimate = lilac_completion_no_cache_estimate(completion, config->times[t]);
        if (isnan(estimate)) {
            lilac_table_cell(table, "-");
        } else {
            lilac_table_cell(table, "~ %.0f", estimate);
        }
    }
    add_published_times(table, completion, LILAC_TRANSFORMER_LINEAR);
    add_published_times(table, completion, LILAC_TRANSFORMER_SOFTMAX);
    fprintf(file, "%d thread%s, %s\n\n", threads, threads == 1 ? "" : "s", lilac_precision_name(config->precision));
    const bool printed = lilac_table_finish(table, file);
    if (!isnan(lilac_completion_no_cache_estimate(completion, 1))) {
        fprintf(file, "\n~ measured on %zu image%s, %.2f s, and scaled\n", config->no_cache_images,
                config->no_cache_images == 1 ? "" : "s",
                completion->figures[LILAC_TRANSFORMER_SOFTMAX].no_cache_seconds);
    }
    return printed;
}

/* "87.00 ± 1.37": the second number is the standard error that so few images leave. */
static void add_accuracy(lilac_table *table, double per_cent, size_t images) {
    if (isnan(per_cent)) {
        lilac_table_cell(table, "-");
    } else {
        lilac_table_cell(table, "%.2f \u00b1 %.2f", per_cent, sqrt(per_cent * (100.0 - per_cent) / (double)images));
    }
}

/* Rows of both transformers: here and in the report. */
static bool print_completed(const lilac_completion *completion, size_t test_count, FILE *file) {
    const size_t images = completion->config.images;
    lilac_table *table = lilac_table_create("lrr");
    lilac_table_cell(table, "Accuracy on %zu test images in %%", images);
    lilac_table_cell(table, "here");
    lilac_table_cell(table, "report");
    lilac_table_rule(table);
    lilac_table_cell(table, "as they are");
    add_accuracy(table, completion->original, images);
    lilac_table_cell(table, "-");
    lilac_table_cell(table, "%zu rows, the others black", completion->config.keep_rows);
    add_accuracy(table, completion->occluded, images);
    lilac_table_cell(table, "-");
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_table_cell(table, "completed, %s", model_names[model]);
        add_accuracy(table, completion->present[model] ? completion->figures[model].accuracy : NAN, images);
        lilac_table_number(table, 2, "", lilac_completion_get_published((lilac_transformer_attention)model)->accuracy);
    }
    fputc('\n', file);
    const bool printed = lilac_table_finish(table, file);
    fprintf(file, "\nThe classifier learnt from all training images; on all %zu test images it reaches %.2f %%\n",
            test_count, completion->all);
    return printed;
}

static bool print_trained(const lilac_completion *completion, size_t test_count, FILE *file) {
    lilac_table *table = lilac_table_create("lrr");
    lilac_table_cell(table, "Accuracy on %zu test images in %%", test_count);
    lilac_table_cell(table, "here");
    lilac_table_cell(table, "report");
    lilac_table_rule(table);
    lilac_table_cell(table, "trained on %zu originals", completion->config.training_images);
    add_accuracy(table, completion->training_original, test_count);
    lilac_table_cell(table, "-");
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_table_cell(table, "on their completions, %s%s", model_names[model],
                         model == LILAC_TRANSFORMER_SOFTMAX ? ", cache in bf16" : "");
        add_accuracy(table, completion->present[model] ? completion->figures[model].training_accuracy : NAN,
                     test_count);
        lilac_table_number(table, 2, "",
                           lilac_completion_get_published((lilac_transformer_attention)model)->training_accuracy);
    }
    fputc('\n', file);
    return lilac_table_finish(table, file);
}

static bool print_bits(const lilac_completion *completion, FILE *file) {
    lilac_table *table = lilac_table_create("lrrr");
    lilac_table_cell(table, "Bits a dimension, test images");
    lilac_table_cell(table, "weights");
    lilac_table_cell(table, "here");
    lilac_table_cell(table, "report");
    lilac_table_rule(table);
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *figures = &completion->figures[model];
        lilac_table_cell(table, "%s", model_names[model]);
        lilac_table_number(table, 0, "", completion->present[model] ? (double)figures->parameters : NAN);
        lilac_table_number(table, 4, "", completion->present[model] ? figures->bits : NAN);
        lilac_table_number(table, 3, "", lilac_completion_get_published((lilac_transformer_attention)model)->bits);
    }
    fputc('\n', file);
    const bool printed = lilac_table_finish(table, file);
    fprintf(file, "\nThe first %zu test images here, all %d in the report\n", completion->config.bits_images,
            LILAC_COMPLETION_PUBLISHED_BITS_IMAGES);
    return printed;
}

lilac_status lilac_completion_tables_print(lilac_context *context, const lilac_completion *completion,
                                           size_t test_count, FILE *file) {
    const lilac_completion_config *config = &completion->config;
    if ((config->time_count > 0 && !print_times(completion, lilac_context_threads(context), file)) ||
        !print_completed(completion, test_count, file) ||
        (config->training_images > 0 && !print_trained(completion, test_count, file)) ||
        (config->bits_images > 0 && !print_bits(completion, file))) {
        return lilac_fail_memory(context, "printing the tables", sizeof *completion);
    }
    char duration[32];
    lilac_duration_text(completion->total_seconds, duration, sizeof duration);
    fprintf(file, "\n\u00b1 the standard error of a share of so many images. All of it took %s\n", duration);
    return LILAC_OK;
}
