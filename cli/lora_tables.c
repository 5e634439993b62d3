/* SPDX-License-Identifier: MIT */
#include "lora_tables.h"

#include "progress.h"
#include "table.h"

#include "experiments/lora_published.h"
#include "report/lora_report.h"
#include "runtime/context.h"

#include <math.h>
#include <stddef.h>

/* The rank that full fine-tuning is measured against: the largest. */
enum { FULL_RANK = 64 };

static const char *const variant_titles[] = {"MNIST", "Quantized", "Rotated", "Inverted"};

/* Two cells: "91.20 ± 0.12" with a star where it is far from the published figure, and that figure. */
static void add_pair(lilac_table *table, lilac_lora_cell cell) {
    const char *star = cell.differs ? "*" : " ";
    if (isnan(cell.spread)) {
        lilac_table_cell(table, "%.2f%s", cell.mean, star);
    } else {
        lilac_table_cell(table, "%.2f \u00b1 %.2f%s", cell.mean, cell.spread, star);
    }
    if (isnan(cell.published)) {
        lilac_table_cell(table, "-");
    } else {
        lilac_table_cell(table, "%.2f", cell.published);
    }
}

/* A row of pairs at consecutive offsets. */
static void add_pairs(lilac_table *out, const lilac_lora_table *table, size_t offset, size_t count, size_t rank) {
    for (size_t v = 0; v < count; v++) {
        add_pair(out, lilac_lora_table_cell(table, offset + v * sizeof(double), rank));
    }
}

/* The two lines above a table of pairs: the variants, and whose figure stands below. */
static void add_head(lilac_table *table, const char *first, const char *second, size_t variant, size_t count) {
    lilac_table_cell(table, "%s", "");
    lilac_table_cell(table, "%s", "");
    for (size_t v = variant; v < variant + count; v++) {
        lilac_table_cell(table, "%s", variant_titles[v]);
        lilac_table_cell(table, "%s", "");
    }
    lilac_table_cell(table, "%s", first);
    lilac_table_cell(table, "%s", second);
    for (size_t v = 0; v < count; v++) {
        lilac_table_cell(table, "here ");
        lilac_table_cell(table, "report");
    }
    lilac_table_rule(table);
}

static bool print_base(const lilac_lora_table *table, FILE *file) {
    lilac_table *out = lilac_table_create("lrr");
    lilac_table_cell(out, "Accuracy of the base in %%");
    lilac_table_cell(out, "here ");
    lilac_table_cell(out, "report");
    lilac_table_rule(out);
    lilac_table_cell(out, "validation images");
    add_pairs(out, table, offsetof(lilac_lora_figures, base_validation), 1, 0);
    lilac_table_cell(out, "test images");
    add_pairs(out, table, offsetof(lilac_lora_figures, base), 1, 0);
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        lilac_table_cell(out, "test images, %s", variant_titles[v + 1]);
        add_pairs(out, table, offsetof(lilac_lora_figures, base_on_variants) + v * sizeof(double), 1, 0);
    }
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        lilac_table_cell(out, "training images, %s", variant_titles[v + 1]);
        add_pairs(out, table, offsetof(lilac_lora_figures, base_on_training_images) + v * sizeof(double), 1, 0);
    }
    return lilac_table_finish(out, file);
}

static bool print_fine_tuning(const lilac_lora_table *table, FILE *file) {
    fputs("\nFine-tuning the base: accuracy on the test images in %\n", file);
    lilac_table *out = lilac_table_create("lrrrrrrr");
    add_head(out, "", "trained", 1, LILAC_LORA_VARIANT_COUNT);
    lilac_table_cell(out, "all weights");
    lilac_table_cell(out, "%zu", table->base_parameters);
    add_pairs(out, table, offsetof(lilac_lora_figures, full), LILAC_LORA_VARIANT_COUNT, FULL_RANK);
    for (size_t i = 0; i < LILAC_LORA_RANK_COUNT; i++) {
        lilac_table_cell(out, "LoRA, r = %zu", lilac_lora_ranks[i]);
        lilac_table_cell(out, "%zu", table->adapter_parameters[i]);
        add_pairs(out, table, offsetof(lilac_lora_figures, adapted) + i * sizeof table->figures->adapted[0],
                  LILAC_LORA_VARIANT_COUNT, lilac_lora_ranks[i]);
    }
    return lilac_table_finish(out, file);
}

static bool print_scratch(const lilac_lora_table *table, FILE *file) {
    fputs("\nTraining adapters of a frozen random network: accuracy on the test images in %\n", file);
    lilac_table *out = lilac_table_create("rrrrrrrrrr");
    add_head(out, "r", "trained", 0, LILAC_LORA_INPUT_COUNT);
    for (size_t i = 0; i < LILAC_LORA_RANK_COUNT; i++) {
        lilac_table_cell(out, "%zu", lilac_lora_ranks[i]);
        lilac_table_cell(out, "%zu", table->adapter_parameters[i]);
        add_pairs(out, table, offsetof(lilac_lora_figures, scratch) + i * sizeof table->figures->scratch[0],
                  LILAC_LORA_INPUT_COUNT, lilac_lora_ranks[i]);
    }
    return lilac_table_finish(out, file);
}

/* The range over the seeds of one rank of change. */
static void add_rank_range(lilac_table *out, const lilac_lora_table *table, size_t variant, size_t layer) {
    size_t least = table->figures[0].change_rank[variant][layer], most = least;
    for (size_t s = 1; s < table->config.seed_count; s++) {
        const size_t rank = table->figures[s].change_rank[variant][layer];
        least = rank < least ? rank : least;
        most = rank > most ? rank : most;
    }
    if (least == most) {
        lilac_table_cell(out, "%zu", least);
    } else {
        lilac_table_cell(out, "%zu to %zu", least, most);
    }
}

static bool print_change(const lilac_lora_table *table, FILE *file) {
    const lilac_lora_figures *published = lilac_lora_published(table->config.hidden);
    fprintf(file, "\nRank of the change of each weight by full fine-tuning (singular values above %g)\n",
            LILAC_LORA_SINGULAR_VALUE_FLOOR);
    lilac_table *out = lilac_table_create("lrrrr");
    lilac_table_cell(out, "%s", "");
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        lilac_table_cell(out, "%s", variant_titles[v + 1]);
    }
    lilac_table_cell(out, "report");
    lilac_table_rule(out);
    for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
        lilac_table_cell(out, "layer %zu", l + 1);
        for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
            add_rank_range(out, table, v, l);
        }
        if (published != NULL && published->change_rank[0][l] > 0) {
            lilac_table_cell(out, "%zu", published->change_rank[0][l]);
        } else {
            lilac_table_cell(out, "-");
        }
    }
    return lilac_table_finish(out, file);
}

lilac_status lilac_lora_tables_print(lilac_context *context, const lilac_lora_table *table, FILE *file) {
    char duration[32];
    lilac_duration_text(table->seconds, duration, sizeof duration);
    fprintf(file, "Width %zu, %zu weights, %zu seed%s from %llu on; took %s\n\n", table->config.hidden,
            table->base_parameters, table->config.seed_count, table->config.seed_count == 1 ? "" : "s",
            (unsigned long long)table->config.seed, duration);
    if (!print_base(table, file) || !print_fine_tuning(table, file) || !print_scratch(table, file) ||
        !print_change(table, file)) {
        return lilac_fail_memory(context, "printing the tables", sizeof *table);
    }
    if (lilac_lora_published(table->config.hidden) != NULL) {
        fprintf(file,
                "\n* more than %g points from the report's figure, which is one run's (r = 1, 2: %g; base: %g)\n\n",
                lilac_lora_tolerance(table->config.hidden, FULL_RANK), lilac_lora_tolerance(table->config.hidden, 1),
                lilac_lora_tolerance(table->config.hidden, 0));
    }
    return LILAC_OK;
}

lilac_status lilac_lora_table_make(lilac_session *session, size_t hidden, size_t seeds, const lilac_dataset *training,
                                   const lilac_dataset *test, lilac_lora_table *out) {
    const lilac_lora_table_config config = {.hidden = hidden,
                                            .seed_count = seeds > 0 ? seeds : lilac_lora_table_usual_seeds(hidden),
                                            .seed = session->common.seed};
    lilac_lora_table table;
    LILAC_TRY(lilac_lora_table_run(session->context, &config, training, test, &table));
    lilac_progress_bar_clear(&session->bar);
    const lilac_status status = lilac_lora_tables_print(session->context, &table, stdout);
    if (status != LILAC_OK) {
        lilac_lora_table_destroy(&table);
        return status;
    }
    /* The figures are of use while other parts are still being worked on. */
    fflush(stdout);
    *out = table;
    return LILAC_OK;
}
