/* SPDX-License-Identifier: MIT */
#include "generation.h"

#include "files.h"

#include "core/memory.h"
#include "format/png.h"
#include "runtime/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PICTURE_ROWS = 20, /* completed images below each other in a picture; more go to its right */
    OCCLUDED_GREY = 128
};

static void add_row(lilac_table *table, const char *part, double seconds, double sequences, double tokens) {
    lilac_table_cell(table, "%s", part);
    lilac_table_cell(table, "%.3f", seconds);
    lilac_table_cell(table, "%.2f", 1e3 * seconds / sequences);
    lilac_table_number(table, 0, "", tokens > 0.0 && seconds > 0.0 ? tokens / seconds : NAN);
}

lilac_status lilac_print_generation_times(lilac_session *session, const lilac_generation_config *config,
                                          const lilac_generation_times *times) {
    const double sequences = (double)config->count;
    const double prompt = sequences * (double)config->prompt;
    const double drawn = sequences * (double)(config->length - config->prompt);
    lilac_table *table = lilac_table_create("lrrr");
    lilac_table_cell(table, "time of");
    lilac_table_cell(table, "seconds");
    lilac_table_cell(table, "ms a sequence");
    lilac_table_cell(table, "tokens/s");
    lilac_table_rule(table);
    add_row(table, "prompts", times->prompt, sequences, prompt);
    add_row(table, "steps", times->steps, sequences, drawn);
    add_row(table, "  projections", times->projections, sequences, 0.0);
    add_row(table, "  attention", times->attention, sequences, 0.0);
    add_row(table, "  the rest", times->steps - times->projections - times->attention, sequences, 0.0);
    add_row(table, "all", times->prompt + times->steps, sequences, prompt + drawn);
    return lilac_session_print_table(session, LILAC_OK, table);
}

lilac_status lilac_sequence_adapters_load(lilac_session *session, const lilac_transformer *model, size_t first,
                                          size_t count, lilac_sequence_adapters *out) {
    const lilac_named_values *files = &session->common.sampling.adapters;
    *out = (lilac_sequence_adapters){.each = NULL};
    for (size_t i = 0; i < files->count; i++) {
        LILAC_TRY(lilac_transformer_adapter_load(session->context, model, files->item[i].name, &out->loaded[i]));
        LILAC_TRY(lilac_adapter_set_strength(out->loaded[i], session->common.strength));
    }
    if (files->count > 0) {
        out->each = calloc(count, sizeof *out->each);
        if (out->each == NULL) {
            return lilac_fail_memory(session->context, "the sequences' adapters", count * sizeof *out->each);
        }
        for (size_t i = 0; i < count; i++) {
            out->each[i] = out->loaded[(first + i) % files->count];
        }
    }
    return LILAC_OK;
}

void lilac_sequence_adapters_free(lilac_sequence_adapters *adapters) {
    free(adapters->each);
    for (size_t i = 0; i < LILAC_NAMED_MAX; i++) {
        lilac_adapter_destroy(adapters->loaded[i]);
    }
}

lilac_status lilac_session_check_sampling_output(lilac_session *session, const char *output, const char *model) {
    const lilac_named_values *adapters = &session->common.sampling.adapters;
    LILAC_TRY(lilac_session_check_keeps(session, output, model));
    for (size_t i = 0; i < adapters->count; i++) {
        LILAC_TRY(lilac_session_check_keeps(session, output, adapters->item[i].name));
    }
    return lilac_session_check_output(session, output);
}

lilac_status lilac_session_check_sampling_model(lilac_session *session, const lilac_transformer *model) {
    if (session->common.sampling.cache != LILAC_PRECISION_F32 &&
        lilac_transformer_get_config(model)->attention == LILAC_TRANSFORMER_LINEAR) {
        return lilac_session_usage_error(
            session, "--cache does nothing: a model with linear attention keeps no keys and values; leave it out");
    }
    return LILAC_OK;
}

lilac_generation_config lilac_session_generation_config(const lilac_session *session,
                                                        const lilac_sequence_adapters *adapters) {
    const lilac_sampling_settings *settings = &session->common.sampling;
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.batch = (size_t)settings->batch;
    config.precision = (lilac_precision)settings->precision;
    config.cache = (lilac_precision)settings->cache;
    config.temperature = settings->temperature;
    config.seed = session->common.seed;
    config.adapters = adapters->each;
    config.no_cache = settings->no_cache;
    return config;
}

lilac_status lilac_check_image_grid(lilac_session *session, const char *path, const lilac_image_grid *grid) {
    size_t width, height;
    LILAC_TRY(lilac_image_grid_size(session->context, grid, &width, &height));
    if (width > LILAC_PNG_MAX_SIDE || height > LILAC_PNG_MAX_SIDE) {
        return lilac_session_usage_error(session, "%s: a picture of %zu x %zu pixels, at most %d a side can be saved",
                                         path, width, height, LILAC_PNG_MAX_SIDE);
    }
    return LILAC_OK;
}

lilac_status lilac_save_image_grid(lilac_session *session, const char *path, const lilac_image_grid *grid, size_t count,
                                   const uint8_t *images) {
    size_t width, height;
    LILAC_TRY(lilac_image_grid_size(session->context, grid, &width, &height));
    uint8_t *picture = malloc(width * height);
    if (picture == NULL) {
        return lilac_fail_memory(session->context, "the picture", width * height);
    }
    lilac_image_grid_clear(grid, picture);
    lilac_image_grid_draw(grid, 0, count, images, picture);
    const lilac_status status = lilac_png_write(session->context, path, width, height, picture);
    free(picture);
    LILAC_TRY(status);
    lilac_progress_bar_clear(&session->bar);
    printf("Saved %s: %zu x %zu pixels\n", path, width, height);
    return LILAC_OK;
}

lilac_image_grid lilac_completed_images_grid(const lilac_completed_images *images, size_t zoom) {
    const size_t down = lilac_size_min(images->count, PICTURE_ROWS), groups = (images->count + down - 1) / down;
    return (lilac_image_grid){
        .across = 3 * groups, .down = down, .rows = images->rows, .cols = images->cols, .zoom = zoom};
}

lilac_status lilac_save_completed_images(lilac_session *session, const char *path, const lilac_completed_images *images,
                                         size_t zoom) {
    const lilac_image_grid grid = lilac_completed_images_grid(images, zoom);
    const size_t count = images->count, down = grid.down, size = images->rows * images->cols;
    const size_t kept = images->keep_rows * images->cols, cells = grid.across * down;
    uint8_t *cell_pixels = malloc(cells * size);
    if (cell_pixels == NULL) {
        return lilac_fail_memory(session->context, "the picture's images", cells * size);
    }
    memset(cell_pixels, OCCLUDED_GREY, cells * size);
    for (size_t i = 0; i < count; i++) {
        uint8_t *cell = cell_pixels + (i % down * grid.across + i / down * 3) * size;
        const uint8_t *original = images->originals + i * size;
        memcpy(cell, original, size);
        memcpy(cell + size, original, kept);
        memcpy(cell + 2 * size, images->completed + i * size, size);
    }
    const lilac_status status = lilac_save_image_grid(session, path, &grid, cells, cell_pixels);
    free(cell_pixels);
    return status;
}
