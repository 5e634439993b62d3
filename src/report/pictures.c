/* SPDX-License-Identifier: MIT */
#include "report/pictures.h"

#include "core/memory.h"
#include "data/image_grid.h"
#include "format/png.h"

#include <string.h>

enum { ACROSS = 10, ROWS_MAX = 2 + LILAC_COMPLETION_MODEL_COUNT, ZOOM = 1, OCCLUDED_GREY = 128 };

/* The images of one block, row by row; rows is set to their number. */
static lilac_status collect(lilac_context *context, const lilac_completion *completion, const lilac_dataset *test,
                            size_t first, size_t count, uint8_t **out, size_t *rows) {
    const lilac_dataset_shape shape = lilac_dataset_get_shape(test);
    const size_t size = shape.rows * shape.cols, kept = completion->config.keep_rows * shape.cols;
    uint8_t *images = lilac_memory_allocate(ROWS_MAX * ACROSS, size);
    if (images == NULL) {
        return lilac_fail_memory(context, "a picture of completed images", ROWS_MAX * ACROSS * size);
    }
    memset(images, OCCLUDED_GREY, ROWS_MAX * ACROSS * size);
    *rows = 2;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *original = lilac_dataset_image(test, first + i);
        memcpy(images + i * size, original, size);
        memcpy(images + (ACROSS + i) * size, original, kept);
    }
    for (size_t model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
        if (completion->present[model]) {
            memcpy(images + *rows * ACROSS * size, completion->figures[model].completed + first * size, count * size);
            *rows += 1;
        }
    }
    *out = images;
    return LILAC_OK;
}

static lilac_status draw(lilac_context *context, const lilac_completion *completion, const lilac_dataset *test,
                         size_t first, size_t count, uint8_t **bytes, size_t *size) {
    const lilac_dataset_shape shape = lilac_dataset_get_shape(test);
    lilac_image_grid grid = {.across = ACROSS, .rows = shape.rows, .cols = shape.cols, .zoom = ZOOM};
    uint8_t *images = NULL;
    size_t width, height;
    LILAC_TRY(collect(context, completion, test, first, count, &images, &grid.down));
    lilac_status status = lilac_image_grid_size(context, &grid, &width, &height);
    uint8_t *picture = status == LILAC_OK ? lilac_memory_allocate(width, height) : NULL;
    if (status == LILAC_OK && picture == NULL) {
        status = lilac_fail_memory(context, "a picture of completed images", width * height);
    }
    if (status == LILAC_OK) {
        lilac_image_grid_clear(&grid, picture);
        lilac_image_grid_draw(&grid, 0, grid.across * grid.down, images, picture);
        status = lilac_png_encode(context, width, height, picture, bytes, size);
    }
    lilac_memory_free(picture);
    lilac_memory_free(images);
    return status;
}

lilac_status lilac_page_pictures_draw(lilac_context *context, const lilac_completion *completion,
                                      const lilac_dataset *test, lilac_page_media *media) {
    for (size_t i = 0; i < LILAC_PAGE_PICTURES && i * ACROSS < completion->config.images; i++) {
        const size_t count = lilac_size_min(completion->config.images - i * ACROSS, ACROSS);
        LILAC_TRY(draw(context, completion, test, i * ACROSS, count, &media->pictures[i], &media->picture_sizes[i]));
    }
    return LILAC_OK;
}
