/* SPDX-License-Identifier: MIT */
/* Tests of the LoRA experiment's results: the cells of its tables and its results file. */
#include "report/lora_report.h"
#include "report/plots.h"

#include "experiments/lora_published.h"
#include "support/contexts.h"
#include "support/temporary_file.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { MAX_SEEDS = 3, CELLS = offsetof(lilac_lora_figures, change_rank) / sizeof(double) };

static lilac_context *contexts[2]; /* with 1 and 2 threads */
static temporary_file file;

static int set_up(void **state) {
    (void)state;
    temporary_file_create(&file);
    contexts_create(2, NULL, contexts);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temporary_file_destroy(&file);
    contexts_destroy(2, contexts);
    return 0;
}

/* A table whose cell number c is c + seed * 1000 + 0.5 for each seed, and whose ranks of change count up too. */
static lilac_lora_table create_table(size_t hidden, size_t seeds, lilac_lora_figures figures[MAX_SEEDS]) {
    for (size_t s = 0; s < seeds; s++) {
        double *cells = &figures[s].base_validation;
        for (size_t c = 0; c < CELLS; c++) {
            cells[c] = (double)(c + s * 1000) + 0.5;
        }
        for (size_t i = 0; i < (size_t)LILAC_LORA_VARIANT_COUNT * LILAC_LORA_LAYER_COUNT; i++) {
            figures[s].change_rank[i / LILAC_LORA_LAYER_COUNT][i % LILAC_LORA_LAYER_COUNT] = i + s * 100;
        }
    }
    lilac_lora_table table = {.config = {.hidden = hidden, .seed_count = seeds, .seed = 7},
                              .base_parameters = 55050,
                              .figures = figures,
                              .seconds = 12.25};
    for (size_t r = 0; r < LILAC_LORA_RANK_COUNT; r++) {
        table.adapter_parameters[r] = 1000 + r;
    }
    return table;
}

static void test_cell(void **state) {
    (void)state;
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    lilac_lora_table table = create_table(64, 3, figures);
    const size_t offset = offsetof(lilac_lora_figures, base);
    figures[0].base = 90;
    figures[1].base = 92;
    figures[2].base = 97;
    lilac_lora_cell cell = lilac_lora_table_cell(&table, offset, 0);
    assert_true(fabs(cell.mean - 93) < 1e-12);
    /* Deviations 3, 1, 4: (9 + 1 + 16) / 2 */
    assert_true(fabs(cell.spread - sqrt(13)) < 1e-12);
    assert_true(cell.published == 93.2);
    assert_false(cell.differs);
    table.config.seed_count = 1;
    cell = lilac_lora_table_cell(&table, offset, 0);
    assert_true(cell.mean == 90 && isnan(cell.spread));
    assert_true(cell.differs);
}

/* At width 512 rank 2 may differ by 5 points, rank 4 by 2. */
static void test_cell_differs_beyond_the_tolerance(void **state) {
    (void)state;
    static const struct {
        size_t rank_index;
        double difference;
        bool differs;
    } cases[] = {{1, 4.9, false}, {1, -4.9, false}, {1, 5.1, true}, {1, -5.1, true},
                 {2, 1.9, false}, {2, -1.9, false}, {2, 2.1, true}, {2, -2.1, true}};
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    const lilac_lora_table table = create_table(512, 1, figures);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t r = cases[i].rank_index;
        const size_t offset =
            offsetof(lilac_lora_figures, adapted) + (r * LILAC_LORA_VARIANT_COUNT + 1) * sizeof(double);
        const double published = lilac_lora_published(512)->adapted[r][1];
        figures[0].adapted[r][1] = published + cases[i].difference;
        const lilac_lora_cell cell = lilac_lora_table_cell(&table, offset, lilac_lora_ranks[r]);
        assert_true(cell.published == published);
        assert_int_equal(cell.differs, cases[i].differs);
    }
}

static void test_cell_without_published_figure(void **state) {
    (void)state;
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    const lilac_lora_table other = create_table(100, 2, figures);
    lilac_lora_cell cell = lilac_lora_table_cell(&other, offsetof(lilac_lora_figures, base), 0);
    assert_true(isnan(cell.published) && !cell.differs);
    const lilac_lora_table wide = create_table(512, 2, figures);
    cell = lilac_lora_table_cell(&wide, offsetof(lilac_lora_figures, base), 0);
    assert_true(isnan(cell.published) && !cell.differs);
}

/* The file as a tree; the caller deletes it. */
static cJSON *read_results(void) {
    FILE *opened = fopen(file.path, "r");
    assert_non_null(opened);
    static char text[1 << 20];
    const size_t size = fread(text, 1, sizeof text - 1, opened);
    fclose(opened);
    text[size] = '\0';
    assert_true(size > 0 && text[size - 1] == '\n');
    cJSON *root = cJSON_ParseWithOpts(text, NULL, true);
    assert_non_null(root);
    return root;
}

static cJSON *write_and_read(lilac_context *context, const lilac_lora_table *tables, size_t count) {
    assert_int_equal(lilac_lora_results_write(context, tables, count, file.path), LILAC_OK);
    return read_results();
}

static const cJSON *member(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (item == NULL) {
        fail_msg("there is no member \"%s\"", name);
    }
    return item;
}

static void expect_number(const cJSON *item, double expected) {
    if (isnan(expected)) {
        assert_true(cJSON_IsNull(item));
    } else {
        assert_true(cJSON_IsNumber(item) && fabs(item->valuedouble - expected) < 1e-6);
    }
}

/* Cell number c of create_table's. */
static void expect_cell(const cJSON *object, size_t c, size_t seeds, double published) {
    const cJSON *values = member(object, "values");
    double mean = 0;
    assert_int_equal(cJSON_GetArraySize(values), seeds);
    for (size_t s = 0; s < seeds; s++) {
        expect_number(cJSON_GetArrayItem(values, (int)s), (double)(c + s * 1000) + 0.5);
        mean += ((double)(c + s * 1000) + 0.5) / (double)seeds;
    }
    expect_number(member(object, "mean"), mean);
    expect_number(member(object, "spread"), seeds == 1 ? NAN : seeds == 2 ? sqrt(500000) : 1000);
    expect_number(member(object, "published"), published);
    expect_number(member(object, "difference"), mean - published);
    assert_true(member(object, "tolerance")->valuedouble >= 1.0);
    assert_int_equal(cJSON_GetArraySize(object), 6);
}

static void expect_variants(const cJSON *object, size_t first_variant, size_t count, size_t first_cell, size_t seeds,
                            const double *published) {
    static const char *const names[] = {"mnist", "quantized", "rotated", "inverted"};
    assert_int_equal(cJSON_GetArraySize(object), count);
    for (size_t v = 0; v < count; v++) {
        expect_cell(member(object, names[first_variant + v]), first_cell + v, seeds,
                    published == NULL ? NAN : published[v]);
    }
}

/* The position of a figure among the cells. */
#define CELL(field) (offsetof(lilac_lora_figures, field) / sizeof(double))

static void expect_ranks_of_change(const cJSON *change, size_t seeds, const lilac_lora_figures *published) {
    static const char *const names[] = {"quantized", "rotated", "inverted"};
    expect_number(member(change, "singular_values_above"), 1e-4);
    for (size_t v = 0; v < 3; v++) {
        const cJSON *of_seeds = member(change, names[v]);
        assert_int_equal(cJSON_GetArraySize(of_seeds), seeds);
        for (size_t i = 0; i < seeds * 3; i++) {
            const cJSON *layers = cJSON_GetArrayItem(of_seeds, (int)(i / 3));
            assert_int_equal(cJSON_GetArraySize(layers), 3);
            expect_number(cJSON_GetArrayItem(layers, (int)(i % 3)), (double)(v * 3 + i % 3 + i / 3 * 100));
        }
    }
    const cJSON *layers = member(change, "published");
    const bool given = published != NULL && published->change_rank[0][0] > 0;
    assert_int_equal(cJSON_GetArraySize(layers), given ? 3 : 0);
    for (size_t l = 0; given && l < 3; l++) {
        expect_number(cJSON_GetArrayItem(layers, (int)l), (double)published->change_rank[0][l]);
    }
}

static void expect_table(const cJSON *object, size_t hidden, size_t seeds) {
    const lilac_lora_figures *published = lilac_lora_published(hidden);
    expect_number(member(object, "hidden"), (double)hidden);
    expect_number(member(object, "parameters"), 55050);
    expect_number(member(object, "first_seed"), 7);
    expect_number(member(object, "seeds"), (double)seeds);
    const cJSON *base = member(object, "base");
    expect_cell(member(base, "validation"), CELL(base_validation), seeds,
                published == NULL ? NAN : published->base_validation);
    expect_cell(member(base, "test"), CELL(base), seeds, published == NULL ? NAN : published->base);
    expect_variants(member(base, "on_variants_of_test_images"), 1, 3, CELL(base_on_variants), seeds,
                    published == NULL ? NULL : published->base_on_variants);
    expect_variants(member(base, "on_variants_of_training_images"), 1, 3, CELL(base_on_training_images), seeds,
                    published == NULL ? NULL : published->base_on_training_images);
    expect_variants(member(object, "full_fine_tuning"), 1, 3, CELL(full), seeds,
                    published == NULL ? NULL : published->full);
    const cJSON *ranks = member(object, "lora");
    assert_int_equal(cJSON_GetArraySize(ranks), LILAC_LORA_RANK_COUNT);
    for (size_t r = 0; r < LILAC_LORA_RANK_COUNT; r++) {
        const cJSON *row = cJSON_GetArrayItem(ranks, (int)r);
        expect_number(member(row, "rank"), (double)(1 << r));
        expect_number(member(row, "parameters"), (double)(1000 + r));
        expect_variants(member(row, "fine_tuning"), 1, 3, CELL(adapted) + 3 * r, seeds,
                        published == NULL ? NULL : published->adapted[r]);
        expect_variants(member(row, "from_scratch"), 0, 4, CELL(scratch) + 4 * r, seeds,
                        published == NULL ? NULL : published->scratch[r]);
    }
    const cJSON *agreement = member(object, "agreement");
    expect_number(member(agreement, "compared"), hidden == 64 ? 49 : hidden == 512 ? 56 : 0);
    expect_number(member(agreement, "fine_tuning_compared"), published == NULL ? 0 : 24);
    expect_ranks_of_change(member(object, "rank_of_change_by_full_fine_tuning"), seeds, published);
}

static void test_results_file(void **state) {
    (void)state;
    lilac_lora_figures figures[3][MAX_SEEDS] = {{{0}}};
    const lilac_lora_table tables[] = {create_table(64, 3, figures[0]), create_table(512, 1, figures[1]),
                                       create_table(100, 2, figures[2])};
    cJSON *root = write_and_read(contexts[1], tables, 3);
    assert_string_equal(member(root, "experiment")->valuestring, "lora");
    assert_memory_equal(member(root, "program")->valuestring, "lilac ", 6);
    assert_string_equal(member(root, "cpu_level")->valuestring,
                        lilac_cpu_level_name(lilac_context_cpu_level(contexts[1])));
    assert_string_equal(member(root, "unit")->valuestring, "per cent of images classified correctly");
    const cJSON *widths = member(root, "widths");
    assert_int_equal(cJSON_GetArraySize(widths), 3);
    expect_table(cJSON_GetArrayItem(widths, 0), 64, 3);
    expect_table(cJSON_GetArrayItem(widths, 1), 512, 1);
    expect_table(cJSON_GetArrayItem(widths, 2), 100, 2);
    const cJSON *times = member(root, "times");
    expect_number(member(times, "threads"), 2);
    assert_int_equal(cJSON_GetArraySize(member(times, "seconds")), 3);
    expect_number(cJSON_GetArrayItem(member(times, "seconds"), 2), 12.25);
    cJSON_Delete(root);
}

/* Two runs that differ in threads and time give files that differ in "times" alone. */
static void test_only_times_differ(void **state) {
    (void)state;
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    lilac_lora_table table = create_table(64, 2, figures);
    cJSON *first = write_and_read(contexts[0], &table, 1);
    table.seconds = 99;
    cJSON *second = write_and_read(contexts[1], &table, 1);
    assert_false(cJSON_Compare(first, second, true));
    cJSON_DeleteItemFromObject(first, "times");
    cJSON_DeleteItemFromObject(second, "times");
    assert_true(cJSON_Compare(first, second, true));
    cJSON_Delete(first);
    cJSON_Delete(second);
}

/* Any seed stands in the file digit for digit, though JSON readers may round it. */
static void test_large_seeds(void **state) {
    (void)state;
    static const uint64_t seeds[] = {0, 1, 9007199255, 1099511627777, 9007199254740993, UINT64_MAX};
    static char text[1 << 18];
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    lilac_lora_table table = create_table(64, 1, figures);
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        char expected[64];
        table.config.seed = seeds[i];
        assert_int_equal(lilac_lora_results_write(contexts[0], &table, 1, file.path), LILAC_OK);
        FILE *opened = fopen(file.path, "r");
        assert_non_null(opened);
        text[fread(text, 1, sizeof text - 1, opened)] = '\0';
        fclose(opened);
        snprintf(expected, sizeof expected, "\"first_seed\":\t%llu,", (unsigned long long)seeds[i]);
        if (strstr(text, expected) == NULL) {
            fail_msg("there is no %s", expected);
        }
    }
}

static void test_rounding(void **state) {
    (void)state;
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    lilac_lora_table table = create_table(64, 1, figures);
    figures[0].base = 100.0 / 3;
    cJSON *root = write_and_read(contexts[0], &table, 1);
    const cJSON *base = member(cJSON_GetArrayItem(member(root, "widths"), 0), "base");
    assert_true(member(member(base, "test"), "mean")->valuedouble == 33.333333);
    cJSON_Delete(root);
}

/* gnuplot leaves out the mark of a point at the very end of a logarithmic axis. */
static void test_plot_marks_every_rank(void **state) {
    (void)state;
    lilac_lora_figures figures[MAX_SEEDS] = {{0}};
    const lilac_lora_table table = create_table(64, 1, figures);
    cJSON *root = write_and_read(contexts[0], &table, 1);
    const lilac_plot plot = {.results = root, .width = 0, .inlined = true};
    char *script = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&script, &size);
    assert_non_null(stream);
    lilac_plot_fine_tuning(stream, &plot);
    assert_int_equal(fclose(stream), 0);
    double first = 0, last = 0;
    const char *range = strstr(script, "set xrange [");
    assert_non_null(range);
    assert_int_equal(sscanf(range, "set xrange [%lf:%lf]", &first, &last), 2);
    assert_true(first < 1 && last > 64);
    assert_non_null(strstr(script, "set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64)"));
    free(script);
    cJSON_Delete(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cell, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cell_differs_beyond_the_tolerance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cell_without_published_figure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_results_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_times_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_seeds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rounding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plot_marks_every_rank, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
