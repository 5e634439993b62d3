/* SPDX-License-Identifier: MIT */
#include "data/image_grid.h"

#include "core/memory.h"

#include <string.h>

enum { GAP_GREY = 128 };

/* *out = (cells images of size pixels with a gap of one pixel before, between and after them) * zoom. */
static bool grid_side(size_t cells, size_t size, size_t zoom, size_t *out) {
    size_t side;
    return lilac_size_add(size, 1, &side) && lilac_size_multiply(cells, side, &side) &&
           lilac_size_add(side, 1, &side) && lilac_size_multiply(side, zoom, out);
}

lilac_status lilac_image_grid_size(lilac_context *context, const lilac_image_grid *grid, size_t *width,
                                   size_t *height) {
    if (grid->across == 0 || grid->down == 0 || grid->rows == 0 || grid->cols == 0 || grid->zoom == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "image grid: %zu x %zu images of %zu x %zu pixels at zoom %zu, expected at least 1 of each",
                          grid->down, grid->across, grid->rows, grid->cols, grid->zoom);
    }
    size_t w, h, bytes;
    if (!grid_side(grid->across, grid->cols, grid->zoom, &w) || !grid_side(grid->down, grid->rows, grid->zoom, &h) ||
        !lilac_size_multiply(w, h, &bytes)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "image grid: %zu x %zu images at zoom %zu are too many bytes",
                          grid->down, grid->across, grid->zoom);
    }
    *width = w;
    *height = h;
    return LILAC_OK;
}

static size_t width_of(const lilac_image_grid *grid) {
    return (grid->across * (grid->cols + 1) + 1) * grid->zoom;
}

void lilac_image_grid_clear(const lilac_image_grid *grid, uint8_t *picture) {
    memset(picture, GAP_GREY, width_of(grid) * (grid->down * (grid->rows + 1) + 1) * grid->zoom);
}

uint8_t *lilac_image_grid_row(const lilac_image_grid *grid, size_t cell, size_t row, uint8_t *picture) {
    const size_t y = (cell / grid->across * (grid->rows + 1) + 1 + row) * grid->zoom;
    const size_t x = (cell % grid->across * (grid->cols + 1) + 1) * grid->zoom;
    return picture + y * width_of(grid) + x;
}

void lilac_image_grid_zoom(const lilac_image_grid *grid, uint8_t *row) {
    const size_t zoom = grid->zoom, width = width_of(grid);
    /* Widened in place: from the right, a pixel is read before anything is written over it. */
    for (size_t c = grid->cols; c-- > 0;) {
        memset(row + c * zoom, row[c], zoom);
    }
    for (size_t line = 1; line < zoom; line++) {
        memcpy(row + line * width, row, grid->cols * zoom);
    }
}

void lilac_image_grid_draw(const lilac_image_grid *grid, size_t first, size_t count, const uint8_t *images,
                           uint8_t *picture) {
    for (size_t i = 0; i < count * grid->rows; i++) {
        uint8_t *row = lilac_image_grid_row(grid, first + i / grid->rows, i % grid->rows, picture);
        memcpy(row, images + i * grid->cols, grid->cols);
        lilac_image_grid_zoom(grid, row);
    }
}
