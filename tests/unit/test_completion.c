/* SPDX-License-Identifier: MIT */
/* Tests of the completion experiment with tiny transformers and images: each figure, refusals, its results file. */
#include "experiments/completion.h"

#include "experiments/completion_published.h"
#include "report/completion_report.h"
#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/temporary_file.h"
#include "support/toy_images.h"

#include <cjson/cJSON.h>
#include <lilac/generation.h>
#include <lilac/train.h>
#include <lilac/train_transformer.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 3, TRAINING = 60, TEST = 40, IMAGES = 12, KEPT = 3 };

static const lilac_completion_config tiny = {.images = IMAGES,
                                             .keep_rows = KEPT,
                                             .training_images = 7,
                                             .bits_images = 5,
                                             .time_count = 3,
                                             .times = {4, 10, 5},
                                             .no_cache_images = 2,
                                             .epochs = 3,
                                             .batch = 16,
                                             .seed = 5};

static lilac_context *contexts[2]; /* with 1 and 2 threads */
static lilac_context *silent;      /* without progress callback */
static lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT];
static lilac_dataset *training, *test;
static char stages[24][64]; /* those reported, in order */
static size_t stage_count;
static const char *stop_at; /* stop when this stage is reported; NULL: never */

static int note_stage(void *user, const lilac_progress *progress) {
    (void)user;
    if (stage_count == 0 || strcmp(stages[stage_count - 1], progress->stage) != 0) {
        assert_in_range(stage_count, 0, 23);
        snprintf(stages[stage_count++], sizeof stages[0], "%s", progress->stage);
    }
    return stop_at != NULL && strcmp(progress->stage, stop_at) == 0;
}

static void reset_progress(void) {
    stage_count = 0;
    stop_at = NULL;
}

static lilac_transformer *create_model(lilac_transformer_attention attention, size_t length) {
    const lilac_transformer_config config = {.length = length,
                                             .layers = 1,
                                             .heads = 2,
                                             .head_size = 4,
                                             .feed_forward = 16,
                                             .value_width = 8,
                                             .position_width = 8,
                                             .attention = attention,
                                             .mixtures = 2,
                                             .seed = 1};
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(silent, &config, &model), LILAC_OK);
    return model;
}

static int set_up(void **state) {
    (void)state;
    contexts_create(2, note_stage, contexts);
    if (lilac_context_create(NULL, &silent) != LILAC_OK) {
        return 1;
    }
    models[0] = create_model(LILAC_TRANSFORMER_LINEAR, PIXELS - 1);
    models[1] = create_model(LILAC_TRANSFORMER_SOFTMAX, PIXELS - 1);
    training = toy_images_create(silent, 0, TRAINING, SIDE, CLASSES);
    test = toy_images_create(silent, 1, TEST, SIDE, CLASSES);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    lilac_dataset_destroy(training);
    lilac_dataset_destroy(test);
    for (int i = 0; i < 2; i++) {
        lilac_transformer_destroy(models[i]);
    }
    contexts_destroy(2, contexts);
    lilac_context_destroy(silent);
    return 0;
}

static lilac_status run_models(lilac_context *context, const lilac_completion_config *config,
                               const lilac_transformer *linear, const lilac_transformer *softmax,
                               lilac_completion *out) {
    const lilac_transformer *const both[] = {linear, softmax};
    return lilac_completion_run(context, config, both, training, test, out);
}

static lilac_completion run(lilac_context *context, const lilac_completion_config *config) {
    lilac_completion completion;
    reset_progress();
    assert_int_equal(run_models(context, config, models[0], models[1], &completion), LILAC_OK);
    return completion;
}

/* ---- The experiment's parts, done here with the library's public functions ---- */

static lilac_dataset *with_pixels(const lilac_dataset *labelled, size_t count, const uint8_t *pixels) {
    const lilac_dataset_shape shape = {.count = count, .rows = SIDE, .cols = SIDE, .classes = CLASSES};
    lilac_dataset *images = NULL;
    assert_int_equal(lilac_dataset_create(silent, &shape, pixels, lilac_dataset_labels(labelled), &images), LILAC_OK);
    return images;
}

static lilac_mlp *train_classifier(const lilac_dataset *images) {
    const lilac_mlp_config network = {.layer_count = 3, .sizes = {PIXELS, 128, 64, CLASSES}, .seed = tiny.seed};
    const lilac_training_config config = {.batch = tiny.batch,
                                          .epochs = tiny.epochs,
                                          .learning_rate = 1e-3,
                                          .beta1 = 0.9,
                                          .beta2 = 0.999,
                                          .epsilon = 1e-8,
                                          .seed = tiny.seed};
    const lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_PLAIN);
    lilac_mlp *classifier = NULL;
    assert_int_equal(lilac_mlp_create(silent, &network, &classifier), LILAC_OK);
    assert_int_equal(lilac_train_mlp(silent, &config, classifier, NULL, &view, NULL, NULL, NULL), LILAC_OK);
    return classifier;
}

static double accuracy(const lilac_mlp *classifier, const lilac_dataset *images, size_t count) {
    const lilac_data_view view = {.dataset = images, .count = count, .variant = LILAC_VARIANT_PLAIN};
    lilac_evaluation evaluation;
    assert_int_equal(lilac_evaluate_mlp(silent, classifier, NULL, &view, &evaluation), LILAC_OK);
    return 100 * evaluation.accuracy;
}

static double accuracy_of_pixels(const lilac_mlp *classifier, const uint8_t *pixels) {
    lilac_dataset *images = with_pixels(test, IMAGES, pixels);
    const double result = accuracy(classifier, images, IMAGES);
    lilac_dataset_destroy(images);
    return result;
}

static double accuracy_trained_on(size_t count, const uint8_t *pixels) {
    lilac_dataset *images = with_pixels(training, count, pixels);
    lilac_mlp *classifier = train_classifier(images);
    const double result = accuracy(classifier, test, TEST);
    lilac_mlp_destroy(classifier);
    lilac_dataset_destroy(images);
    return result;
}

/* The first images completed in one go; the caller frees them. */
static uint8_t *complete(const lilac_transformer *model, const lilac_dataset *images, size_t count, uint64_t first,
                         lilac_precision cache) {
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.count = count;
    config.prompt = KEPT * SIDE;
    config.length = PIXELS;
    config.seed = tiny.seed;
    config.first_index = first;
    config.cache = cache;
    uint8_t *pixels = malloc(count * PIXELS);
    assert_non_null(pixels);
    memcpy(pixels, lilac_dataset_image(images, 0), count * PIXELS);
    assert_int_equal(lilac_generate(silent, model, &config, pixels, NULL), LILAC_OK);
    return pixels;
}

static void expect_figures_of_model(const lilac_completion_figures *figures, const lilac_transformer *model,
                                    const lilac_mlp *classifier) {
    uint8_t *completed = complete(model, test, IMAGES, 0, LILAC_PRECISION_F32);
    const lilac_precision cache = model == models[1] ? LILAC_PRECISION_BF16 : LILAC_PRECISION_F32;
    uint8_t *learnt = complete(model, training, tiny.training_images, (uint64_t)1 << 32, cache);
    const lilac_data_view view = {.dataset = test, .count = tiny.bits_images};
    const lilac_token_source source = {.images = &view};
    lilac_token_evaluation evaluation;
    assert_int_equal(lilac_evaluate_transformer(silent, model, NULL, &source, LILAC_PRECISION_F32, &evaluation),
                     LILAC_OK);
    assert_int_equal(figures->parameters, lilac_transformer_parameter_count(model));
    assert_memory_equal(figures->completed, completed, IMAGES * PIXELS);
    assert_true(figures->accuracy == accuracy_of_pixels(classifier, completed));
    assert_true(figures->training_accuracy == accuracy_trained_on(tiny.training_images, learnt));
    assert_true(figures->bits == evaluation.bits);
    for (size_t t = 0; t < tiny.time_count; t++) {
        const bool taken = model == models[1] && tiny.times[t] <= tiny.training_images;
        assert_true(taken ? figures->bf16_spent[t].attention > 0 && figures->bf16_seconds[t] > 0
                          : isnan(figures->bf16_seconds[t]));
        const lilac_generation_times *spent = &figures->spent[t];
        assert_true(spent->prompt > 0 && spent->projections > 0 && spent->attention > 0);
        assert_true(spent->projections + spent->attention <= spent->steps);
        assert_true(spent->prompt + spent->steps <= figures->seconds[t]);
    }
    free(completed);
    free(learnt);
}

static void test_figures(void **state) {
    (void)state;
    lilac_completion completion = run(contexts[0], &tiny);
    lilac_mlp *classifier = train_classifier(training);
    uint8_t occluded[IMAGES * PIXELS];
    memcpy(occluded, lilac_dataset_image(test, 0), sizeof occluded);
    for (size_t i = 0; i < IMAGES; i++) {
        memset(occluded + i * PIXELS + KEPT * SIDE, 0, PIXELS - KEPT * SIDE);
    }
    assert_memory_equal(&completion.config, &tiny, sizeof tiny);
    assert_true(completion.all == accuracy(classifier, test, TEST));
    assert_true(completion.original == accuracy(classifier, test, IMAGES));
    assert_true(completion.occluded == accuracy_of_pixels(classifier, occluded));
    assert_true(completion.occluded < completion.original);
    assert_true(completion.training_original ==
                accuracy_trained_on(tiny.training_images, lilac_dataset_image(training, 0)));
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        assert_true(completion.present[model]);
        expect_figures_of_model(&completion.figures[model], models[model], classifier);
    }
    assert_true(isnan(completion.figures[0].no_cache_seconds) && completion.figures[1].no_cache_seconds > 0);
    const double expected = completion.figures[1].no_cache_seconds * 150;
    assert_true(fabs(lilac_completion_no_cache_estimate(&completion, 300) - expected) < 1e-9 * expected);
    assert_true(completion.total_seconds > completion.figures[0].seconds[0]);
    lilac_mlp_destroy(classifier);
    lilac_completion_destroy(&completion);
    assert_null(completion.figures[0].completed);
}

static void test_stages(void **state) {
    (void)state;
    /* 5 images, then the first 10 again for there are only 7 left, then the first 4 and the last 2. Of the 7 training
     * images the first 5, the first 4 again, and the last 2. */
    static const char *const expected[] = {"training the classifier",
                                           "linear: completing 5 images",
                                           "linear: completing 10 images",
                                           "linear: completing 4 images",
                                           "linear: completing 2 images",
                                           "linear: completing 7 images",
                                           "linear: training a classifier",
                                           "linear: bits a dimension",
                                           "softmax: completing 5 images",
                                           "softmax: completing 10 images",
                                           "softmax: completing 4 images",
                                           "softmax: completing 2 images",
                                           "softmax without cache: completing 2 images",
                                           "softmax, cache in bf16: completing 5 images",
                                           "softmax, cache in bf16: completing 4 images",
                                           "softmax, cache in bf16: completing 2 images",
                                           "softmax: training a classifier",
                                           "softmax: bits a dimension"};
    lilac_completion completion = run(contexts[0], &tiny);
    for (size_t s = 0; s < sizeof expected / sizeof expected[0]; s++) {
        assert_string_equal(stages[s], expected[s]);
    }
    assert_int_equal(stage_count, sizeof expected / sizeof expected[0]);
    lilac_completion_destroy(&completion);
}

/* All but the times. */
static void expect_same(const lilac_completion *a, const lilac_completion *b) {
    assert_true(a->all == b->all && a->original == b->original && a->occluded == b->occluded);
    assert_true(a->training_original == b->training_original);
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *x = &a->figures[model], *y = &b->figures[model];
        assert_true(x->accuracy == y->accuracy && x->training_accuracy == y->training_accuracy && x->bits == y->bits);
        assert_memory_equal(x->completed, y->completed, IMAGES * PIXELS);
    }
}

static void test_same_at_any_thread_count(void **state) {
    (void)state;
    lilac_completion one = run(contexts[0], &tiny), two = run(contexts[1], &tiny);
    expect_same(&one, &two);
    lilac_completion_config other = tiny;
    other.seed++;
    lilac_completion third = run(contexts[1], &other);
    assert_memory_not_equal(one.figures[0].completed, third.figures[0].completed, IMAGES * PIXELS);
    lilac_completion_destroy(&one);
    lilac_completion_destroy(&two);
    lilac_completion_destroy(&third);
}

static void test_parts_left_out(void **state) {
    (void)state;
    lilac_completion_config config = tiny;
    config.training_images = config.bits_images = config.no_cache_images = config.time_count = 0;
    lilac_completion bare = run(contexts[0], &config), whole = run(contexts[0], &tiny);
    assert_true(isnan(bare.training_original) && isnan(lilac_completion_no_cache_estimate(&bare, 1)));
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const lilac_completion_figures *figures = &bare.figures[model];
        assert_true(isnan(figures->training_accuracy) && isnan(figures->bits) && isnan(figures->no_cache_seconds));
        assert_true(figures->accuracy == whole.figures[model].accuracy);
    }
    lilac_completion_destroy(&bare);
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        lilac_completion single;
        assert_int_equal(
            run_models(silent, &tiny, model == 0 ? models[0] : NULL, model == 1 ? models[1] : NULL, &single), LILAC_OK);
        assert_true(single.present[model] && !single.present[1 - model]);
        assert_null(single.figures[1 - model].completed);
        assert_true(single.figures[model].accuracy == whole.figures[model].accuracy);
        assert_true(single.figures[model].bits == whole.figures[model].bits);
        assert_int_equal(isnan(lilac_completion_no_cache_estimate(&single, 1)) != 0, model == 0);
        lilac_completion_destroy(&single);
    }
    lilac_completion_destroy(&whole);
}

static void test_stops_on_request(void **state) {
    (void)state;
    static const char *const where[] = {"training the classifier", "linear: completing 10 images",
                                        "linear: training a classifier", "softmax: bits a dimension"};
    for (size_t i = 0; i < sizeof where / sizeof where[0]; i++) {
        lilac_completion completion = {.total_seconds = -1};
        char message[96];
        const size_t live = lilac_test_live_allocations();
        reset_progress();
        stop_at = where[i];
        assert_int_equal(run_models(contexts[1], &tiny, models[0], models[1], &completion), LILAC_CANCELLED);
        snprintf(message, sizeof message, "stopped on request during: %s", where[i]);
        assert_string_equal(lilac_context_message(contexts[1]), message);
        assert_true(completion.total_seconds == -1);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
}

static void expect_refused(const lilac_completion_config *config, const lilac_transformer *linear,
                           const lilac_transformer *softmax, lilac_status status, const char *message) {
    lilac_completion completion = {.total_seconds = -1};
    reset_progress();
    assert_int_equal(run_models(contexts[0], config, linear, softmax, &completion), status);
    assert_string_equal(lilac_context_message(contexts[0]), message);
    assert_true(completion.total_seconds == -1 && stage_count == 0);
}

static void test_refusals(void **state) {
    (void)state;
    lilac_transformer *shorter = create_model(LILAC_TRANSFORMER_SOFTMAX, PIXELS - 2);
    const struct {
        lilac_completion_config config;
        const char *message;
    } cases[] = {
        {{.images = 0, .keep_rows = 1}, "completion: 0 test images to complete, expected 1 to 40"},
        {{.images = 41, .keep_rows = 1}, "completion: 41 test images to complete, expected 1 to 40"},
        {{.images = 1}, "completion: 0 rows to keep, expected 1 to 7"},
        {{.images = 1, .keep_rows = 8}, "completion: 8 rows to keep, expected 1 to 7"},
        {{.images = 1, .keep_rows = 1, .training_images = 61},
         "completion: 61 training images to complete, expected 0 to 60"},
        {{.images = 1, .keep_rows = 1, .bits_images = 41}, "completion: 41 images to predict, expected 0 to 40"},
        {{.images = 1, .keep_rows = 1, .no_cache_images = 41}, "completion: 41 images without cache, expected 0 to 40"},
        {{.images = 1, .keep_rows = 1, .time_count = 33}, "completion: 33 times, expected 0 to 32"},
        {{.images = 3, .keep_rows = 1, .time_count = 2, .times = {3, 4}},
         "completion: 4 images to time, expected 1 to 3"},
        {{.images = 1, .keep_rows = 1, .batch = 1}, "completion: 0 epochs, expected 1 to 2147483647"},
        {{.images = 1, .keep_rows = 1, .epochs = 1}, "completion: 0 images a step, expected 1 to 2147483647"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(&cases[i].config, models[0], models[1], LILAC_ERROR_ARGUMENT, cases[i].message);
    }
    expect_refused(&tiny, NULL, NULL, LILAC_ERROR_ARGUMENT, "completion: no transformer, expected at least 1");
    expect_refused(&tiny, models[1], models[0], LILAC_ERROR_ARGUMENT,
                   "completion: the transformer with softmax attention, expected one with linear attention");
    expect_refused(&tiny, NULL, shorter, LILAC_ERROR_SHAPE,
                   "completion: the softmax transformer is for 63 pixels, expected the images' 64");
    lilac_dataset *more = toy_images_create(silent, 1, TEST, SIDE, CLASSES + 1);
    const lilac_transformer *const both[] = {models[0], models[1]};
    lilac_completion completion;
    assert_int_equal(lilac_completion_run(contexts[0], &tiny, both, training, more, &completion), LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(contexts[0]), "completion: test images of 8 x 8 pixels in 4 classes, "
                                                            "expected 8 x 8 in 3 as for training");
    assert_int_equal(lilac_completion_run(contexts[0], &tiny, both, NULL, test, &completion), LILAC_ERROR_ARGUMENT);
    lilac_dataset_destroy(more);
    lilac_transformer_destroy(shorter);
}

static void test_published_figures(void **state) {
    (void)state;
    const lilac_completion_published *linear = lilac_completion_get_published(LILAC_TRANSFORMER_LINEAR);
    const lilac_completion_published *softmax = lilac_completion_get_published(LILAC_TRANSFORMER_SOFTMAX);
    assert_true(linear->accuracy == 87 && linear->training_accuracy == 63.7 && linear->bits == 0.644);
    assert_true(softmax->accuracy == 86.3 && softmax->training_accuracy == 75 && softmax->bits == 0.621);
    assert_true(lilac_completion_published_seconds(LILAC_TRANSFORMER_LINEAR, 200) == 67.46);
    assert_true(lilac_completion_published_seconds(LILAC_TRANSFORMER_SOFTMAX, 300) == 1248.15);
    assert_true(isnan(lilac_completion_published_seconds(LILAC_TRANSFORMER_SOFTMAX, 150)));
    lilac_completion_config config;
    lilac_completion_config_default(&config);
    assert_true(config.images == 600 && config.keep_rows == 14 && config.training_images == 500);
    assert_true(config.time_count == 3 && config.times[2] == 300 && config.epochs == 10);
}

/* ---- The results file ---- */

static const cJSON *member(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (item == NULL) {
        fail_msg("there is no member \"%s\"", name);
    }
    return item;
}

static void expect_number(const cJSON *object, const char *name, double expected) {
    const cJSON *item = member(object, name);
    if (isnan(expected)) {
        assert_true(cJSON_IsNull(item));
    } else {
        assert_true(cJSON_IsNumber(item) && fabs(item->valuedouble - expected) < 1e-6);
    }
}

static cJSON *write_and_read(const lilac_completion *completion, const char *path) {
    static char text[1 << 16];
    assert_int_equal(lilac_completion_results_write(contexts[1], completion, path), LILAC_OK);
    FILE *opened = fopen(path, "r");
    assert_non_null(opened);
    text[fread(text, 1, sizeof text - 1, opened)] = '\0';
    fclose(opened);
    cJSON *root = cJSON_ParseWithOpts(text, NULL, true);
    assert_non_null(root);
    return root;
}

/* Made up figures, each another. */
static lilac_completion invent(void) {
    lilac_completion completion = {.config = tiny,
                                   .all = 97,
                                   .original = 96,
                                   .occluded = 30.5,
                                   .training_original = 81,
                                   .present = {true, true},
                                   .total_seconds = 99};
    completion.config.time_count = 2;
    completion.config.times[1] = 100;
    completion.config.seed = UINT64_MAX;
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        const double d = (double)model;
        completion.figures[model] = (lilac_completion_figures){.parameters = 1000 + model,
                                                               .accuracy = 80 + d,
                                                               .training_accuracy = 60 + d,
                                                               .bits = 0.75 + d,
                                                               .seconds = {1.5 + d, 3.5 + d},
                                                               .spent = {{0}, {0.5 + d, 2.75, 2.25 - d, 0.25 + d}},
                                                               .no_cache_seconds = model == 0 ? NAN : 20,
                                                               .bf16_seconds = {NAN, 2.25},
                                                               .bf16_spent = {{0}, {0.75, 1.25, 0.5, 0.125}}};
    }
    return completion;
}

static void expect_pair(const cJSON *object, const char *name, double value, double published) {
    expect_number(member(object, name), "value", value);
    expect_number(member(object, name), "published", published);
    expect_number(member(object, name), "difference", value - published);
}

static void test_results_file(void **state) {
    (void)state;
    temporary_file file;
    temporary_file_create(&file);
    const lilac_completion completion = invent();
    cJSON *root = write_and_read(&completion, file.path);
    assert_string_equal(member(root, "experiment")->valuestring, "completion");
    assert_string_equal(member(root, "cpu_level")->valuestring,
                        lilac_cpu_level_name(lilac_context_cpu_level(contexts[1])));
    expect_number(member(root, "settings"), "test_images", IMAGES);
    expect_number(member(root, "settings"), "rows_kept", KEPT);
    expect_number(member(root, "settings"), "classifier_batch", 16);
    const cJSON *without = member(root, "without_transformer");
    expect_number(without, "accuracy_on_all_test_images", 97);
    expect_number(without, "accuracy_on_original_test_images", 96);
    expect_number(without, "accuracy_on_occluded_test_images", 30.5);
    expect_number(without, "accuracy_trained_on_original_training_images", 81);
    const cJSON *softmax = member(member(root, "transformers"), "softmax");
    expect_number(softmax, "parameters", 1001);
    expect_pair(softmax, "accuracy_on_completed_test_images", 81, 86.3);
    expect_pair(softmax, "accuracy_trained_on_completed_training_images", 61, 75);
    expect_pair(softmax, "bits_a_dimension", 1.75, 0.621);
    expect_number(member(softmax, "bits_a_dimension"), "test_images", 5);
    expect_pair(member(member(root, "transformers"), "linear"), "bits_a_dimension", 0.75, 0.644);
    const cJSON *times = member(root, "times");
    expect_number(times, "threads", 2);
    expect_number(times, "whole_experiment_seconds", 99);
    const cJSON *linear_time = cJSON_GetArrayItem(member(times, "linear"), 1);
    expect_number(linear_time, "seconds", 3.5);
    expect_number(linear_time, "seconds_of_prompts", 0.5);
    expect_number(linear_time, "seconds_of_projections_in_steps", 2.25);
    assert_null(cJSON_GetObjectItemCaseSensitive(linear_time, "cache_in_bf16"));
    const cJSON *first = cJSON_GetArrayItem(member(times, "softmax"), 0);
    const cJSON *second = cJSON_GetArrayItem(member(times, "softmax"), 1);
    assert_null(cJSON_GetObjectItemCaseSensitive(first, "cache_in_bf16"));
    expect_number(member(second, "cache_in_bf16"), "seconds", 2.25);
    expect_number(member(second, "cache_in_bf16"), "seconds_of_prompts", 0.75);
    expect_number(member(second, "cache_in_bf16"), "seconds_of_attention_in_steps", 0.125);
    assert_string_equal(member(member(root, "settings"), "softmax_cache_for_training_images")->valuestring, "bf16");
    expect_number(linear_time, "seconds_of_attention_in_steps", 0.25);
    expect_number(linear_time, "published_seconds_on_a_gpu", 33.45);
    const cJSON *softmax_times = member(times, "softmax");
    assert_int_equal(cJSON_GetArraySize(softmax_times), 2);
    expect_number(cJSON_GetArrayItem(softmax_times, 1), "images", 100);
    expect_number(cJSON_GetArrayItem(softmax_times, 1), "seconds_of_attention_in_steps", 1.25);
    expect_number(cJSON_GetArrayItem(softmax_times, 1), "seconds_without_cache_estimated", 1000);
    expect_number(cJSON_GetArrayItem(softmax_times, 0), "published_seconds_on_a_gpu", NAN);
    expect_number(member(times, "softmax_without_cache"), "images", 2);
    expect_number(member(times, "softmax_without_cache"), "seconds", 20);
    cJSON_Delete(root);
    temporary_file_destroy(&file);
}

static void test_results_file_without_a_transformer(void **state) {
    (void)state;
    temporary_file file;
    temporary_file_create(&file);
    lilac_completion completion = invent();
    completion.present[LILAC_TRANSFORMER_SOFTMAX] = false;
    cJSON *root = write_and_read(&completion, file.path);
    assert_int_equal(cJSON_GetArraySize(member(root, "transformers")), 1);
    member(member(root, "transformers"), "linear");
    assert_null(cJSON_GetObjectItemCaseSensitive(member(root, "times"), "softmax"));
    assert_null(cJSON_GetObjectItemCaseSensitive(member(root, "times"), "softmax_without_cache"));
    cJSON_Delete(root);
    temporary_file_destroy(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_same_at_any_thread_count),
        cmocka_unit_test(test_parts_left_out),
        cmocka_unit_test(test_stops_on_request),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_published_figures),
        cmocka_unit_test(test_results_file),
        cmocka_unit_test(test_results_file_without_a_transformer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
