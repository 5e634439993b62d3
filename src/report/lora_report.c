/* SPDX-License-Identifier: MIT */
#include "report/lora_report.h"

#include "experiments/lora_published.h"

#include <math.h>
#include <stddef.h>

static double figure(const lilac_lora_figures *figures, size_t offset) {
    return *(const double *)(const void *)((const char *)figures + offset);
}

lilac_lora_cell lilac_lora_table_cell(const lilac_lora_table *table, size_t offset, size_t rank) {
    const size_t seeds = table->config.seed_count;
    const lilac_lora_figures *published = lilac_lora_published(table->config.hidden);
    double sum = 0.0, squares = 0.0;
    for (size_t s = 0; s < seeds; s++) {
        sum += figure(&table->figures[s], offset);
    }
    const double mean = sum / (double)seeds;
    for (size_t s = 0; s < seeds; s++) {
        const double deviation = figure(&table->figures[s], offset) - mean;
        squares += deviation * deviation;
    }
    lilac_lora_cell cell = {.mean = mean,
                            .spread = seeds > 1 ? sqrt(squares / (double)(seeds - 1)) : NAN,
                            .published = published == NULL ? NAN : figure(published, offset),
                            .tolerance = lilac_lora_tolerance(table->config.hidden, rank)};
    cell.differs = fabs(mean - cell.published) > cell.tolerance;
    return cell;
}

/* Adds the object `name` of a cell: every seed's value, mean, spread, and what was published. */
static void add_cell(lilac_json *json, cJSON *parent, const char *name, const lilac_lora_table *table, size_t offset,
                     size_t rank) {
    const lilac_lora_cell cell = lilac_lora_table_cell(table, offset, rank);
    cJSON *object = lilac_json_object(json, parent, name);
    cJSON *values = lilac_json_array(json, object, "values");
    for (size_t s = 0; s < table->config.seed_count; s++) {
        lilac_json_number(json, values, NULL, figure(&table->figures[s], offset));
    }
    lilac_json_number(json, object, "mean", cell.mean);
    lilac_json_number(json, object, "spread", cell.spread);
    lilac_json_number(json, object, "published", cell.published);
    lilac_json_number(json, object, "difference", cell.mean - cell.published);
    lilac_json_number(json, object, "tolerance", cell.tolerance);
}

/* Adds the object `name` of count cells at consecutive offsets, keyed by variant from `first` on. */
static void add_variants(lilac_json *json, cJSON *parent, const char *name, const lilac_lora_table *table,
                         lilac_variant first, size_t count, size_t offset, size_t rank) {
    cJSON *object = lilac_json_object(json, parent, name);
    for (size_t v = 0; v < count; v++) {
        add_cell(json, object, lilac_variant_name((lilac_variant)(first + v)), table, offset + v * sizeof(double),
                 rank);
    }
}

static void add_base(lilac_json *json, cJSON *parent, const lilac_lora_table *table) {
    cJSON *base = lilac_json_object(json, parent, "base");
    add_cell(json, base, "validation", table, offsetof(lilac_lora_figures, base_validation), 0);
    add_cell(json, base, "test", table, offsetof(lilac_lora_figures, base), 0);
    add_variants(json, base, "on_variants_of_test_images", table, LILAC_VARIANT_QUANTIZED, LILAC_LORA_VARIANT_COUNT,
                 offsetof(lilac_lora_figures, base_on_variants), 0);
    add_variants(json, base, "on_variants_of_training_images", table, LILAC_VARIANT_QUANTIZED, LILAC_LORA_VARIANT_COUNT,
                 offsetof(lilac_lora_figures, base_on_training_images), 0);
}

static void add_ranks(lilac_json *json, cJSON *parent, const lilac_lora_table *table) {
    cJSON *ranks = lilac_json_array(json, parent, "lora");
    for (size_t i = 0; i < LILAC_LORA_RANK_COUNT; i++) {
        const size_t rank = lilac_lora_ranks[i];
        cJSON *row = lilac_json_object(json, ranks, NULL);
        lilac_json_number(json, row, "rank", (double)rank);
        lilac_json_number(json, row, "parameters", (double)table->adapter_parameters[i]);
        add_variants(json, row, "fine_tuning", table, LILAC_VARIANT_QUANTIZED, LILAC_LORA_VARIANT_COUNT,
                     offsetof(lilac_lora_figures, adapted) + i * sizeof table->figures->adapted[0], rank);
        add_variants(json, row, "from_scratch", table, LILAC_VARIANT_ORIGINAL, LILAC_LORA_INPUT_COUNT,
                     offsetof(lilac_lora_figures, scratch) + i * sizeof table->figures->scratch[0], rank);
    }
}

/* For each variant and seed the rank of the change of each layer's weight. */
static void add_change_ranks(lilac_json *json, cJSON *parent, const lilac_lora_table *table) {
    const lilac_lora_figures *published = lilac_lora_published(table->config.hidden);
    cJSON *change = lilac_json_object(json, parent, "rank_of_change_by_full_fine_tuning");
    lilac_json_number(json, change, "singular_values_above", LILAC_LORA_SINGULAR_VALUE_FLOOR);
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        cJSON *seeds = lilac_json_array(json, change, lilac_variant_name((lilac_variant)(LILAC_VARIANT_QUANTIZED + v)));
        for (size_t s = 0; s < table->config.seed_count; s++) {
            cJSON *layers = lilac_json_array(json, seeds, NULL);
            for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
                lilac_json_number(json, layers, NULL, (double)table->figures[s].change_rank[v][l]);
            }
        }
    }
    cJSON *layers = lilac_json_array(json, change, "published");
    for (size_t l = 0; published != NULL && published->change_rank[0][0] > 0 && l < LILAC_LORA_LAYER_COUNT; l++) {
        lilac_json_number(json, layers, NULL, (double)published->change_rank[0][l]);
    }
}

typedef struct agreement {
    size_t compared, within;
} agreement;

/* Counts the cells below an item that have a published figure, and those that are within tolerance of it. */
static void count_agreement(const cJSON *item, agreement *counts) {
    const double difference = lilac_json_number_at(item, "difference");
    const cJSON *child;
    if (isfinite(difference)) {
        counts->compared++;
        counts->within += fabs(difference) <= lilac_json_number_at(item, "tolerance");
    }
    cJSON_ArrayForEach(child, item) {
        count_agreement(child, counts);
    }
}

static void add_agreement(lilac_json *json, cJSON *parent) {
    agreement all = {0}, tuning = {0};
    const cJSON *row;
    count_agreement(parent, &all);
    count_agreement(lilac_json_at(parent, "full_fine_tuning"), &tuning);
    cJSON_ArrayForEach(row, lilac_json_at(parent, "lora")) {
        count_agreement(lilac_json_at(row, "fine_tuning"), &tuning);
    }
    cJSON *object = lilac_json_object(json, parent, "agreement");
    lilac_json_number(json, object, "compared", (double)all.compared);
    lilac_json_number(json, object, "within_tolerance", (double)all.within);
    lilac_json_number(json, object, "fine_tuning_compared", (double)tuning.compared);
    lilac_json_number(json, object, "fine_tuning_within_tolerance", (double)tuning.within);
}

static void add_table(lilac_json *json, cJSON *tables, const lilac_lora_table *table) {
    cJSON *object = lilac_json_object(json, tables, NULL);
    lilac_json_number(json, object, "hidden", (double)table->config.hidden);
    lilac_json_number(json, object, "parameters", (double)table->base_parameters);
    lilac_json_whole(json, object, "first_seed", table->config.seed);
    lilac_json_number(json, object, "seeds", (double)table->config.seed_count);
    add_base(json, object, table);
    add_variants(json, object, "full_fine_tuning", table, LILAC_VARIANT_QUANTIZED, LILAC_LORA_VARIANT_COUNT,
                 offsetof(lilac_lora_figures, full), 64);
    add_ranks(json, object, table);
    add_change_ranks(json, object, table);
    add_agreement(json, object);
}

void lilac_lora_results_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                            const lilac_lora_table *tables, size_t table_count) {
    lilac_json_string(json, parent, "unit", "per cent of images classified correctly");
    cJSON *widths = lilac_json_array(json, parent, "widths");
    for (size_t i = 0; i < table_count; i++) {
        add_table(json, widths, &tables[i]);
    }
    cJSON *times = lilac_json_object(json, parent, "times");
    lilac_json_number(json, times, "threads", (double)lilac_context_threads(context));
    cJSON *seconds = lilac_json_array(json, times, "seconds");
    for (size_t i = 0; i < table_count; i++) {
        lilac_json_number(json, seconds, NULL, tables[i].seconds);
    }
}

lilac_status lilac_lora_results_write(lilac_context *context, const lilac_lora_table *tables, size_t table_count,
                                      const char *path) {
    lilac_json json = lilac_json_begin_results(context, "lora");
    lilac_lora_results_add(&json, json.root, context, tables, table_count);
    const lilac_status status = lilac_json_write(context, &json, path);
    lilac_json_end(&json);
    return status;
}
