/* SPDX-License-Identifier: MIT */
/* A grey picture made of images of one size, in cells with gaps around them. */
#ifndef LILAC_DATA_IMAGE_GRID_H
#define LILAC_DATA_IMAGE_GRID_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

typedef struct lilac_image_grid {
    size_t across, down; /* cells */
    size_t rows, cols;   /* of an image */
    size_t zoom;         /* the width of an image's pixel, and of the gaps, in the picture's pixels */
} lilac_image_grid;

/* The picture's size in pixels. Errors: ARGUMENT (a size of 0), OVERFLOW. */
lilac_status lilac_image_grid_size(lilac_context *context, const lilac_image_grid *grid, size_t *width, size_t *height);

/* Makes the picture, whose size lilac_image_grid_size has given, grey. */
void lilac_image_grid_clear(const lilac_image_grid *grid, uint8_t *picture);

/*
 * Draws a row of the image in a cell; cells are numbered along the lines. The caller writes the row's pixels (cols) to
 * what lilac_image_grid_row returns, and then calls lilac_image_grid_zoom with it.
 */
uint8_t *lilac_image_grid_row(const lilac_image_grid *grid, size_t cell, size_t row, uint8_t *picture);
void lilac_image_grid_zoom(const lilac_image_grid *grid, uint8_t *row);

/* Draws count images (count x rows x cols), the first in the given cell, the others in those that follow. */
void lilac_image_grid_draw(const lilac_image_grid *grid, size_t first, size_t count, const uint8_t *images,
                           uint8_t *picture);

#endif
