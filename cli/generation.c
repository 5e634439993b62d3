/* SPDX-License-Identifier: MIT */
#include "generation.h"

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

lilac_status lilac_sequence_adapter_load(lilac_session *session, const lilac_transformer *model, const char *path,
                                         size_t count, lilac_sequence_adapter *out) {
    lilac_sequence_adapter loaded = {NULL, NULL};
    if (path != NULL) {
        LILAC_TRY(lilac_transformer_adapter_load(session->context, model, path, &loaded.adapter));
        loaded.each = calloc(count, sizeof *loaded.each);
        if (loaded.each == NULL) {
            lilac_sequence_adapter_free(&loaded);
            return lilac_fail_memory(session->context, "the sequences' adapters", count * sizeof *loaded.each);
        }
        for (size_t i = 0; i < count; i++) {
            loaded.each[i] = loaded.adapter;
        }
    }
    *out = loaded;
    return LILAC_OK;
}

void lilac_sequence_adapter_free(lilac_sequence_adapter *adapter) {
    free(adapter->each);
    lilac_adapter_destroy(adapter->adapter);
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

lilac_status lilac_save_completed_images(lilac_session *session, const char *path, const lilac_completed_images *images,
                                         size_t zoom) {
    const size_t count = images->count, size = images->rows * images->cols;
    const size_t down = lilac_size_min(count, PICTURE_ROWS), groups = (count + down - 1) / down;
    const size_t kept = images->keep_rows * images->cols, cells = 3 * groups * down;
    const lilac_image_grid grid = {
        .across = 3 * groups, .down = down, .rows = images->rows, .cols = images->cols, .zoom = zoom};
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
