/* SPDX-License-Identifier: MIT */
/* Tests of the LoRA experiment on small data of its shape: every cell, the same figures at any number of threads. */
#include "experiments/lora_table.h"

#include "experiments/lora_published.h"
#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"
#include "support/toy_images.h"

#include <lilac/train.h>

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* 5,000 images are set aside for validation; a run is then ten steps, one an epoch. */
enum {
    SIDE = 28,
    PIXELS = SIDE * SIDE,
    CLASSES = 10,
    TRAINING = 5300,
    VALIDATION = 5000,
    TEST = 1000,
    HIDDEN = 8,
    RUNS = 1 + 3 + 21 + 28,
    STEPS_A_RUN = 10,
    FIRST_SEED = 2
};

static lilac_context *contexts[2]; /* with 1 and 2 threads */
static lilac_context *silent;      /* without progress callback */
static lilac_dataset *training, *test;
static uint64_t stop_after; /* steps until the callback asks to stop; 0: never */
static uint64_t steps_reported, steps_announced;
static bool fine_tuning_reported;

/* Called from one thread at a time, so nothing here needs a lock. */
static int count_steps(void *user, const lilac_progress *progress) {
    (void)user;
    const bool fine_tuning = strcmp(progress->stage, "fine-tuning") == 0;
    assert_true(fine_tuning || strcmp(progress->stage, "base and from scratch") == 0);
    /* The stages follow each other. */
    assert_true(fine_tuning || !fine_tuning_reported);
    fine_tuning_reported = fine_tuning;
    steps_reported++;
    assert_int_equal(progress->done, steps_reported);
    steps_announced = progress->total;
    return steps_reported == stop_after;
}

static void reset_progress(void) {
    stop_after = steps_reported = steps_announced = 0;
    fine_tuning_reported = false;
}

/*
 * Noise of random brightness with random labels. There is nothing to learn, and so little training could not learn
 * much; but where a network goes over from one answer to another depends on its weights, and with labels like these
 * even a small shift of that border changes its accuracy: most runs of a table end in figures of their own.
 */
static lilac_dataset *create_images(uint64_t stream, size_t count) {
    float noise[PIXELS], brightness, label;
    uint8_t *images = malloc(count * PIXELS), *labels = malloc(count);
    assert_true(images != NULL && labels != NULL);
    for (size_t i = 0; i < count; i++) {
        const uint64_t streams = (stream * TRAINING + i) * 3;
        lilac_test_uniform(streams, PIXELS, 0, 255, noise);
        lilac_test_uniform(streams + 1, 1, 0, 1, &brightness);
        lilac_test_uniform(streams + 2, 1, 0, CLASSES, &label);
        labels[i] = (uint8_t)label;
        for (size_t p = 0; p < PIXELS; p++) {
            images[i * PIXELS + p] = (uint8_t)(brightness * noise[p]);
        }
    }
    const lilac_dataset_shape shape = {.count = count, .rows = SIDE, .cols = SIDE, .classes = CLASSES};
    lilac_dataset *dataset = NULL;
    assert_int_equal(lilac_dataset_create(contexts[0], &shape, images, labels, &dataset), LILAC_OK);
    free(images);
    free(labels);
    return dataset;
}

static int set_up(void **state) {
    (void)state;
    contexts_create(2, count_steps, contexts);
    if (lilac_context_create(NULL, &silent) != LILAC_OK) {
        return 1;
    }
    training = create_images(0, TRAINING);
    test = create_images(1, TEST);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    lilac_dataset_destroy(training);
    lilac_dataset_destroy(test);
    contexts_destroy(2, contexts);
    lilac_context_destroy(silent);
    return 0;
}

static void expect_share(double per_cent, size_t images) {
    const double correct = per_cent / 100 * (double)images;
    assert_true(per_cent >= 0 && per_cent <= 100);
    assert_true(fabs(correct - nearbyint(correct)) < 1e-6);
}

/* Every cell is a share of the images it was measured on, in per cent; and they are not all the same. */
static void expect_filled(const lilac_lora_figures *figures) {
    size_t different = 0;
    expect_share(figures->base_validation, VALIDATION);
    expect_share(figures->base, TEST);
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        expect_share(figures->base_on_variants[v], TEST);
        expect_share(figures->base_on_training_images[v], TRAINING);
        expect_share(figures->full[v], TEST);
        for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
            assert_in_range(figures->change_rank[v][l], 1, HIDDEN);
        }
    }
    for (size_t r = 0; r < LILAC_LORA_RANK_COUNT; r++) {
        for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
            expect_share(figures->adapted[r][v], TEST);
            different += figures->adapted[r][v] != figures->adapted[0][0];
        }
        for (size_t v = 0; v < LILAC_LORA_INPUT_COUNT; v++) {
            expect_share(figures->scratch[r][v], TEST);
            different += figures->scratch[r][v] != figures->scratch[0][0];
        }
    }
    assert_true(different >= 20);
}

/* What one run of the table is, done here step by step with the library's public functions. */
typedef enum { BASE, FULL, ADAPTED, SCRATCH } run_kind;

static double accuracy(const lilac_mlp *mlp, const lilac_adapter *adapter, lilac_data_view view) {
    lilac_evaluation evaluation;
    assert_int_equal(lilac_evaluate_mlp(silent, mlp, adapter, &view, &evaluation), LILAC_OK);
    return 100 * evaluation.accuracy;
}

static void train(uint64_t seed, run_kind kind, size_t rank_index, lilac_variant variant, lilac_mlp *mlp,
                  lilac_adapter **adapter) {
    uint32_t split[TRAINING];
    lilac_training_config config;
    lilac_training_config_default(&config);
    config.seed = seed << 16 | (uint64_t)kind << 8 | rank_index << 4 | variant;
    if (adapter != NULL) {
        const lilac_lora_config lora = {.rank = (size_t)1 << rank_index,
                                        .alpha = 1,
                                        .scale_rule = LILAC_LORA_SCALE_FIXED,
                                        .initialisation = LILAC_LORA_INITIALISE_REPORT,
                                        .seed = config.seed};
        const lilac_lora_base base = lilac_mlp_lora_base(mlp);
        assert_int_equal(lilac_adapter_create(silent, &lora, &base, adapter), LILAC_OK);
    }
    lilac_split(seed, TRAINING, split);
    const lilac_data_view view = {
        .dataset = training, .indices = split, .count = TRAINING - VALIDATION, .variant = variant};
    assert_int_equal(lilac_train_mlp(silent, &config, mlp, adapter == NULL ? NULL : *adapter, &view, NULL, NULL, NULL),
                     LILAC_OK);
}

static void expect_adapted(uint64_t seed, run_kind kind, size_t rank_index, lilac_variant variant, lilac_mlp *mlp,
                           double figure) {
    lilac_adapter *adapter = NULL;
    train(seed, kind, rank_index, variant, mlp, &adapter);
    assert_true(accuracy(mlp, adapter, lilac_data_view_all(test, variant)) == figure);
    lilac_adapter_destroy(adapter);
}

/* Runs of every kind, at some ranks and variants. */
static void expect_figures_of_runs(uint64_t seed, const lilac_lora_figures *figures) {
    const lilac_mlp_config config = {
        .layer_count = 3, .sizes = {PIXELS, HIDDEN, HIDDEN, CLASSES}, .dropout = 0.1, .seed = seed};
    lilac_mlp *random = NULL, *base = NULL, *full = NULL;
    assert_int_equal(lilac_mlp_create(silent, &config, &random), LILAC_OK);
    assert_int_equal(lilac_mlp_clone(silent, random, &base), LILAC_OK);
    train(seed, BASE, 0, LILAC_VARIANT_ORIGINAL, base, NULL);
    assert_true(accuracy(base, NULL, lilac_data_view_all(test, LILAC_VARIANT_ORIGINAL)) == figures->base);
    uint32_t split[TRAINING];
    lilac_split(seed, TRAINING, split);
    const lilac_data_view validation = {
        .dataset = training, .indices = split + TRAINING - VALIDATION, .count = VALIDATION};
    assert_true(accuracy(base, NULL, validation) == figures->base_validation);
    for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
        const lilac_variant variant = (lilac_variant)(LILAC_VARIANT_QUANTIZED + v);
        assert_true(accuracy(base, NULL, lilac_data_view_all(test, variant)) == figures->base_on_variants[v]);
        assert_true(accuracy(base, NULL, lilac_data_view_all(training, variant)) ==
                    figures->base_on_training_images[v]);
    }
    assert_int_equal(lilac_mlp_clone(silent, base, &full), LILAC_OK);
    train(seed, FULL, 0, LILAC_VARIANT_INVERTED, full, NULL);
    assert_true(accuracy(full, NULL, lilac_data_view_all(test, LILAC_VARIANT_INVERTED)) == figures->full[2]);
    expect_adapted(seed, ADAPTED, 0, LILAC_VARIANT_INVERTED, base, figures->adapted[0][2]);
    expect_adapted(seed, ADAPTED, 5, LILAC_VARIANT_ROTATED, base, figures->adapted[5][1]);
    expect_adapted(seed, SCRATCH, 1, LILAC_VARIANT_ORIGINAL, random, figures->scratch[1][0]);
    expect_adapted(seed, SCRATCH, 6, LILAC_VARIANT_QUANTIZED, random, figures->scratch[6][1]);
    lilac_mlp_destroy(random);
    lilac_mlp_destroy(base);
    lilac_mlp_destroy(full);
}

static void check_table(const lilac_lora_table *table, const lilac_lora_table_config *config) {
    assert_int_equal(steps_reported, config->seed_count * RUNS * STEPS_A_RUN);
    assert_int_equal(steps_announced, steps_reported);
    assert_true(fine_tuning_reported);
    assert_memory_equal(&table->config, config, sizeof *config);
    assert_int_equal(table->base_parameters, PIXELS * HIDDEN + HIDDEN + HIDDEN * HIDDEN + HIDDEN + HIDDEN * 10 + 10);
    for (size_t r = 0; r < LILAC_LORA_RANK_COUNT; r++) {
        assert_int_equal(lilac_lora_ranks[r], 1 << r);
        assert_int_equal(table->adapter_parameters[r], lilac_lora_ranks[r] * (PIXELS + 4 * HIDDEN + 10));
    }
    assert_true(table->seconds > 0);
}

/* Two seeds on two threads, and the second of them alone on one. */
static void test_same_figures_at_any_thread_count(void **state) {
    (void)state;
    const lilac_lora_table_config two_seeds = {.hidden = HIDDEN, .seed_count = 2, .seed = FIRST_SEED};
    const lilac_lora_table_config one_seed = {.hidden = HIDDEN, .seed_count = 1, .seed = FIRST_SEED + 1};
    lilac_lora_table both, second;
    reset_progress();
    assert_int_equal(lilac_lora_table_run(contexts[1], &two_seeds, training, test, &both), LILAC_OK);
    check_table(&both, &two_seeds);
    reset_progress();
    assert_int_equal(lilac_lora_table_run(contexts[0], &one_seed, training, test, &second), LILAC_OK);
    check_table(&second, &one_seed);
    assert_memory_equal(&both.figures[1], second.figures, sizeof *second.figures);
    expect_filled(&both.figures[0]);
    expect_filled(&both.figures[1]);
    assert_memory_not_equal(&both.figures[0], &both.figures[1], sizeof *both.figures);
    expect_figures_of_runs(FIRST_SEED, &both.figures[0]);
    expect_figures_of_runs(FIRST_SEED + 1, &both.figures[1]);
    lilac_lora_table_destroy(&both);
    lilac_lora_table_destroy(&second);
    assert_null(both.figures);
}

static void test_stops_on_request(void **state) {
    (void)state;
    const lilac_lora_table_config config = {.hidden = HIDDEN, .seed_count = 2};
    for (int i = 0; i < 2; i++) {
        lilac_lora_table table = {.seconds = -1};
        const size_t live = lilac_test_live_allocations();
        reset_progress();
        stop_after = 25;
        assert_int_equal(lilac_lora_table_run(contexts[i], &config, training, test, &table), LILAC_CANCELLED);
        assert_string_equal(lilac_context_message(contexts[i]), "stopped on request during: base and from scratch");
        assert_int_equal(steps_reported, 25);
        assert_true(table.seconds == -1 && table.figures == NULL);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
}

static void expect_refused(lilac_lora_table_config config, const lilac_dataset *training_set,
                           const lilac_dataset *test_set, lilac_status status, const char *message) {
    lilac_lora_table table = {.seconds = -1};
    reset_progress();
    assert_int_equal(lilac_lora_table_run(contexts[1], &config, training_set, test_set, &table), status);
    assert_string_equal(lilac_context_message(contexts[1]), message);
    assert_int_equal(steps_reported, 0);
    assert_true(table.seconds == -1 && table.figures == NULL);
}

static void test_refusals(void **state) {
    (void)state;
    const lilac_lora_table_config good = {.hidden = HIDDEN, .seed_count = 1};
    lilac_lora_table_config config = good;
    config.hidden = 0;
    expect_refused(config, training, test, LILAC_ERROR_ARGUMENT,
                   "LoRA table: hidden width 0, 1 seeds; expected >= 1, 1 .. 1000");
    config = good;
    config.seed_count = 0;
    expect_refused(config, training, test, LILAC_ERROR_ARGUMENT,
                   "LoRA table: hidden width 8, 0 seeds; expected >= 1, 1 .. 1000");
    config.seed_count = 1001;
    expect_refused(config, training, test, LILAC_ERROR_ARGUMENT,
                   "LoRA table: hidden width 8, 1001 seeds; expected >= 1, 1 .. 1000");
    expect_refused(good, NULL, test, LILAC_ERROR_ARGUMENT, "LoRA table: a null pointer");
    expect_refused(good, training, NULL, LILAC_ERROR_ARGUMENT, "LoRA table: a null pointer");

    lilac_dataset *few = toy_images_create(contexts[0], 0, 5000, SIDE, CLASSES);
    lilac_dataset *small = toy_images_create(contexts[0], 0, TRAINING, 8, CLASSES);
    lilac_dataset *more = toy_images_create(contexts[0], 0, TEST, SIDE, 11);
    expect_refused(good, few, test, LILAC_ERROR_SHAPE,
                   "LoRA table: 5000 training images, expected more than the 5000 set aside");
    expect_refused(good, small, test, LILAC_ERROR_SHAPE,
                   "LoRA table: training images of 8 x 8 pixels in 10 classes, expected 784 pixels in at most 10");
    expect_refused(good, training, small, LILAC_ERROR_SHAPE,
                   "LoRA table: test images of 8 x 8 pixels in 10 classes, expected 784 pixels in at most 10");
    expect_refused(good, training, more, LILAC_ERROR_SHAPE,
                   "LoRA table: test images of 28 x 28 pixels in 11 classes, expected 784 pixels in at most 10");
    lilac_dataset_destroy(few);
    lilac_dataset_destroy(small);
    lilac_dataset_destroy(more);
}

/* Lets each allocation up to the third step of the first run fail; the table says why it stopped. */
static void test_failed_allocations(void **state) {
    (void)state;
    const lilac_lora_table_config config = {.hidden = HIDDEN, .seed_count = 1};
    lilac_lora_table table = {.seconds = -1};
    /* So that the context has what the products need, which it keeps. */
    reset_progress();
    stop_after = 3;
    assert_int_equal(lilac_lora_table_run(contexts[0], &config, training, test, &table), LILAC_CANCELLED);
    size_t n = 0;
    for (lilac_status status = LILAC_ERROR_MEMORY; status == LILAC_ERROR_MEMORY; n++) {
        const size_t live = lilac_test_live_allocations();
        reset_progress();
        stop_after = 3;
        lilac_test_fail_allocation(n);
        status = lilac_lora_table_run(contexts[0], &config, training, test, &table);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_memory_equal(lilac_context_message(contexts[0]), "out of memory", 13);
        } else {
            assert_int_equal(status, LILAC_CANCELLED);
        }
        assert_true(table.seconds == -1 && table.figures == NULL);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    assert_true(n > 15);
}

static void test_published_figures(void **state) {
    (void)state;
    assert_null(lilac_lora_published(HIDDEN));
    const lilac_lora_figures *narrow = lilac_lora_published(64), *wide = lilac_lora_published(512);
    assert_true(narrow->base == 93.2 && narrow->full[2] == 76.41);
    assert_true(narrow->adapted[0][0] == 91.20 && narrow->adapted[6][2] == 71.88 && narrow->adapted[3][1] == 77.49);
    assert_true(isnan(narrow->scratch[0][0]) && narrow->scratch[0][1] == 23.50 && narrow->scratch[6][3] == 86.01);
    assert_true(isnan(narrow->base_validation) && isnan(narrow->base_on_training_images[1]));
    assert_true(wide->base_validation == 97.2 && isnan(wide->base) && isnan(wide->base_on_variants[0]));
    assert_true(wide->adapted[4][2] == 91.42 && wide->scratch[2][0] == 84.33 && wide->scratch[6][3] == 95.01);
    assert_int_equal(wide->change_rank[1][1], 511);
    assert_int_equal(narrow->change_rank[0][0], 0);
    assert_true(lilac_lora_tolerance(64, 0) == 1 && lilac_lora_tolerance(64, 1) == 3);
    assert_true(lilac_lora_tolerance(512, 0) == 2 && lilac_lora_tolerance(512, 1) == 5);
    assert_true(lilac_lora_tolerance(512, 2) == 5 && lilac_lora_tolerance(512, 4) == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_figures_at_any_thread_count),
        cmocka_unit_test(test_stops_on_request),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failed_allocations),
        cmocka_unit_test(test_published_figures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
