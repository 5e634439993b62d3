/* SPDX-License-Identifier: MIT */
/* lilac reproduce completion: the report's completion of occluded images, timed and judged. */
#include "completion_models.h"
#include "completion_tables.h"
#include "files.h"
#include "generation.h"

#include "report/completion_report.h"
#include "runtime/context.h"

enum { PICTURE_IMAGES = 60, PICTURE_ZOOM = 2 };

typedef struct reproduce_settings {
    int images, training_images, bits_images, no_cache_images;
    int epochs, batch, precision;
    lilac_sizes times;
    const char *output;
} reproduce_settings;

static const lilac_option options[] = {
    {.name = "images",
     .letter = 'n',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, images),
     .value = "N",
     .help = "test images to complete",
     .initial = "600",
     .minimum = 1,
     .maximum = 1e9},
    {.name = "times",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(reproduce_settings, times),
     .value = "N,...",
     .help = "numbers of images to take the time for",
     .initial = "100,200,300",
     .minimum = 1,
     .maximum = 1e9},
    {.name = "no-cache-images",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, no_cache_images),
     .value = "N",
     .help = "images to complete by softmax attention without cache, which is slow; its times are scaled from these; "
             "0: none",
     .initial = "4",
     .minimum = 0,
     .maximum = 1e9},
    {.name = "training-images",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, training_images),
     .value = "N",
     .help = "training images to complete and to train a classifier on; 0: leave that out",
     .initial = "500",
     .minimum = 0,
     .maximum = 1e9},
    {.name = "bits-images",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, bits_images),
     .value = "N",
     .help = "test images to measure bits a dimension on; 0: leave that out",
     .initial = "1000",
     .minimum = 0,
     .maximum = 1e9},
    {.name = "epochs",
     .letter = 'e',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, epochs),
     .value = "N",
     .help = "passes over its training images that a classifier learns from",
     .initial = "10",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "batch",
     .letter = 'b',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, batch),
     .value = "N",
     .help = "images in a step of a classifier's training",
     .initial = "64",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "precision",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(reproduce_settings, precision),
     .help = "how the transformers' weights are held while they complete",
     .initial = "f32",
     .choices = lilac_storage_choices},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(reproduce_settings, output),
     .value = "DIR",
     .help = "folder for results.json and the pictures, made where it does not exist",
     .initial = "out/completion"},
};

/* The files written: results and, for each transformer, a picture. */
enum { OUTPUT_RESULTS = LILAC_COMPLETION_MODEL_COUNT, OUTPUT_COUNT };
static const char *const output_names[OUTPUT_COUNT] = {"linear.png", "softmax.png", "results.json"};

typedef struct reproduction {
    lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT];
    lilac_dataset *training, *test;
    lilac_completion completion;
    char outputs[OUTPUT_COUNT][LILAC_PATH_SIZE];
} reproduction;

static lilac_status load_models(lilac_session *session, reproduction *r) {
    size_t count;
    LILAC_TRY(lilac_completion_models_load(session, r->models, &count));
    return count > 0 ? LILAC_OK
                     : lilac_session_usage_error(session, "neither %s nor %s is there: give --linear or --softmax",
                                                 lilac_completion_model_files[0], lilac_completion_model_files[1]);
}

static lilac_status prepare_outputs(lilac_session *session, const reproduce_settings *settings, reproduction *r) {
    LILAC_TRY(lilac_session_make_folder(session, settings->output));
    for (size_t i = 0; i < OUTPUT_COUNT; i++) {
        LILAC_TRY(lilac_session_output_path(session, settings->output, output_names[i], r->outputs[i]));
        if (i == OUTPUT_RESULTS || r->models[i] != NULL) {
            LILAC_TRY(lilac_session_check_output(session, r->outputs[i]));
        }
    }
    return LILAC_OK;
}

static lilac_completion_config experiment_config(const lilac_session *session, const reproduce_settings *settings) {
    lilac_completion_config config;
    lilac_completion_config_default(&config);
    config.images = (size_t)settings->images;
    config.training_images = (size_t)settings->training_images;
    config.bits_images = (size_t)settings->bits_images;
    config.no_cache_images = (size_t)settings->no_cache_images;
    config.time_count = settings->times.count;
    for (size_t t = 0; t < settings->times.count; t++) {
        config.times[t] = (size_t)settings->times.item[t];
    }
    config.precision = (lilac_precision)settings->precision;
    config.epochs = (size_t)settings->epochs;
    config.batch = (size_t)settings->batch;
    config.seed = session->common.seed;
    return config;
}

static lilac_status save(lilac_session *session, const reproduction *r) {
    const lilac_dataset_shape shape = lilac_dataset_get_shape(r->test);
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        if (r->models[model] == NULL) {
            continue;
        }
        const size_t images = r->completion.config.images;
        const lilac_completed_images picture = {.count = images < PICTURE_IMAGES ? images : PICTURE_IMAGES,
                                                .rows = shape.rows,
                                                .cols = shape.cols,
                                                .keep_rows = r->completion.config.keep_rows,
                                                .originals = lilac_dataset_image(r->test, 0),
                                                .completed = r->completion.figures[model].completed};
        LILAC_TRY(lilac_save_completed_images(session, r->outputs[model], &picture, PICTURE_ZOOM));
    }
    LILAC_TRY(lilac_completion_results_write(session->context, &r->completion, r->outputs[OUTPUT_RESULTS]));
    printf("Saved %s\n", r->outputs[OUTPUT_RESULTS]);
    return LILAC_OK;
}

static lilac_status reproduce(lilac_session *session, const reproduce_settings *settings, reproduction *r) {
    LILAC_TRY(load_models(session, r));
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TRAIN, &r->training));
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &r->test));
    const lilac_completion_config config = experiment_config(session, settings);
    const lilac_transformer *const models[] = {r->models[0], r->models[1]};
    /* What is refused leaves no folder. */
    LILAC_TRY(lilac_completion_check(session->context, &config, models, r->training, r->test));
    LILAC_TRY(prepare_outputs(session, settings, r));
    LILAC_TRY(lilac_completion_run(session->context, &config, models, r->training, r->test, &r->completion));
    lilac_progress_bar_clear(&session->bar);
    LILAC_TRY(lilac_completion_tables_print(session->context, &r->completion, lilac_dataset_get_shape(r->test).count,
                                            stdout));
    printf("\n");
    return save(session, r);
}

static lilac_status run(lilac_session *session, const void *values) {
    reproduction r = {.training = NULL};
    const lilac_status status = reproduce(session, values, &r);
    lilac_completion_destroy(&r.completion);
    lilac_dataset_destroy(r.test);
    lilac_dataset_destroy(r.training);
    lilac_completion_models_free(r.models);
    return status;
}

const lilac_command lilac_command_reproduce_completion = {
    .name = "reproduce completion",
    .summary = "reproduce the report's completion of occluded images",
    .description =
        "Two transformers, with linear and with softmax attention, complete the lower half of MNIST's first test "
        "images. Takes the time, judges the completed digits by a classifier trained on MNIST, trains another "
        "classifier on completed training images, and measures bits a dimension. Prints tables beside the published "
        "figures and saves all figures as DIR/results.json and pictures as DIR/linear.png and DIR/softmax.png. A "
        "transformer that is missing is left out.",
    .example = "lilac reproduce completion\n"
               "lilac reproduce completion --linear my.safetensors --images 100 \\\n"
               "    --times 50,100 --bits-images 0\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(reproduce_settings),
    .takes = LILAC_TAKES_MODELS | LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
