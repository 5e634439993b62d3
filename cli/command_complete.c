/* SPDX-License-Identifier: MIT */
/* lilac complete: a transformer fills in the lower part of images. */
#include "files.h"
#include "generation.h"

#include "core/memory.h"
#include "data/idx.h"
#include "runtime/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct complete_settings {
    const char *model, *images, *png;
    int count, first, keep_rows, zoom;
} complete_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(complete_settings, model),
     .value = "FILE",
     .help = "the transformer",
     .required = true},
    {.name = "images",
     .letter = 'i',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(complete_settings, images),
     .value = "FILE",
     .help = "the images, in the IDX format, plain or .gz",
     .initial_note = "MNIST's test images",
     .without = "data"},
    {.name = "count",
     .letter = 'n',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(complete_settings, count),
     .value = "N",
     .help = "how many images",
     .initial = "20",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "first",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(complete_settings, first),
     .value = "N",
     .help = "the number of the first image, counted from 0",
     .initial = "0",
     .minimum = 0,
     .maximum = 1e9},
    {.name = "keep-rows",
     .letter = 'k',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(complete_settings, keep_rows),
     .value = "N",
     .help = "rows of an image that the model sees",
     .initial = "14",
     .minimum = 1,
     .maximum = 1e9},
    {.name = "png",
     .letter = 'p',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(complete_settings, png),
     .value = "FILE",
     .help = "save a picture: original, what the model sees, completed"},
    {.name = "zoom",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(complete_settings, zoom),
     .value = "N",
     .help = "draw each pixel of an image N pixels wide",
     .initial = "2",
     .minimum = 1,
     .maximum = 32,
     .with = "png"},
};

/* The images to be completed; pixels points into whichever owns them. */
typedef struct source {
    lilac_dataset *dataset;
    lilac_idx idx;
    size_t count, rows, cols;
    const uint8_t *pixels;
} source;

static lilac_status load(lilac_session *session, const complete_settings *settings, source *out) {
    if (settings->images != NULL) {
        LILAC_TRY(lilac_idx_read(session->context, settings->images, 3, &out->idx));
        out->count = out->idx.dimensions[0];
        out->rows = out->idx.dimensions[1];
        out->cols = out->idx.dimensions[2];
        out->pixels = out->idx.data;
        return LILAC_OK;
    }
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &out->dataset));
    const lilac_dataset_shape shape = lilac_dataset_get_shape(out->dataset);
    out->count = shape.count;
    out->rows = shape.rows;
    out->cols = shape.cols;
    out->pixels = lilac_dataset_image(out->dataset, 0);
    return LILAC_OK;
}

static lilac_status check(lilac_session *session, const complete_settings *settings, const source *images,
                          size_t length) {
    const size_t pixels = images->rows * images->cols;
    if (pixels != length + 1) {
        return lilac_fail(session->context, LILAC_ERROR_SHAPE,
                          "%s: the model is for %zu pixels, the images have %zu x %zu", settings->model, length + 1,
                          images->rows, images->cols);
    }
    if ((size_t)settings->keep_rows >= images->rows) {
        return lilac_session_usage_error(session, "--keep-rows: the images have %zu rows, %d leave nothing to complete",
                                         images->rows, settings->keep_rows);
    }
    if ((size_t)settings->first + (size_t)settings->count > images->count) {
        return lilac_session_usage_error(
            session, "--count: there are only %zu images from number %d on",
            images->count > (size_t)settings->first ? images->count - (size_t)settings->first : 0, settings->first);
    }
    return LILAC_OK;
}

static lilac_status complete(lilac_session *session, const complete_settings *settings, const lilac_transformer *model,
                             const lilac_sequence_adapters *adapters, const source *images) {
    const size_t size = images->rows * images->cols, count = (size_t)settings->count;
    LILAC_TRY(check(session, settings, images, lilac_transformer_get_config(model)->length));
    lilac_completed_images all = {.count = count,
                                  .rows = images->rows,
                                  .cols = images->cols,
                                  .keep_rows = (size_t)settings->keep_rows,
                                  .originals = images->pixels + (size_t)settings->first * size};
    if (settings->png != NULL) {
        const lilac_image_grid grid = lilac_completed_images_grid(&all, (size_t)settings->zoom);
        LILAC_TRY(lilac_check_image_grid(session, settings->png, &grid));
    }
    uint8_t *completed = malloc(count * size);
    if (completed == NULL) {
        return lilac_fail_memory(session->context, "the images", count * size);
    }
    memcpy(completed, images->pixels + (size_t)settings->first * size, count * size);
    lilac_generation_config config = lilac_session_generation_config(session, adapters);
    config.count = count;
    config.prompt = (size_t)settings->keep_rows * images->cols;
    config.length = size;
    config.first_index = (uint64_t)settings->first;
    lilac_generation_times times;
    lilac_status status = lilac_generate(session->context, model, &config, completed, &times);
    if (status == LILAC_OK && settings->png != NULL) {
        all.completed = completed;
        status = lilac_save_completed_images(session, settings->png, &all, (size_t)settings->zoom);
    }
    if (status == LILAC_OK) {
        status = lilac_print_generation_times(session, &config, &times);
    }
    free(completed);
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const complete_settings *settings = values;
    if (settings->png != NULL) {
        LILAC_TRY(lilac_session_check_keeps(session, settings->png, settings->images));
        LILAC_TRY(lilac_session_check_sampling_output(session, settings->png, settings->model));
    }
    lilac_transformer *model;
    LILAC_TRY(lilac_transformer_load(session->context, settings->model, &model));
    source images = {.dataset = NULL};
    lilac_sequence_adapters adapters;
    lilac_status status =
        lilac_sequence_adapters_load(session, model, (size_t)settings->first, (size_t)settings->count, &adapters);
    if (status == LILAC_OK) {
        status = lilac_session_check_sampling_model(session, model);
    }
    if (status == LILAC_OK) {
        status = load(session, settings, &images);
    }
    if (status == LILAC_OK) {
        status = complete(session, settings, model, &adapters, &images);
    }
    lilac_sequence_adapters_free(&adapters);
    lilac_memory_free(images.idx.data);
    lilac_dataset_destroy(images.dataset);
    lilac_transformer_destroy(model);
    return status;
}

const lilac_command lilac_command_complete = {
    .name = "complete",
    .summary = "let a transformer fill in the lower part of images",
    .description = "Gives a transformer the first rows of images, lets it draw the rest pixel by pixel, and says how "
                   "long that took. An image is completed in the same way whatever others are asked for.",
    .example = "lilac complete --model models/linear.safetensors --count 100 \\\n"
               "    --png completed.png\n"
               "lilac complete --model models/softmax.safetensors --count 2 --no-cache\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(complete_settings),
    .takes = LILAC_TAKES_DATA | LILAC_TAKES_SAMPLING | LILAC_TAKES_STRENGTH | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
