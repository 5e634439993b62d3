/* SPDX-License-Identifier: MIT */
#include "data/contact_sheet.h"

#include "data/dataset.h"
#include "data/image_grid.h"
#include "data/variant.h"

enum { CLASSES = 256 };

static const lilac_variant columns[LILAC_CONTACT_SHEET_COLUMNS] = {LILAC_VARIANT_ORIGINAL, LILAC_VARIANT_QUANTIZED,
                                                                   LILAC_VARIANT_ROTATED, LILAC_VARIANT_INVERTED};

size_t lilac_first_of_each_class(const lilac_dataset *dataset, uint32_t images[256]) {
    uint32_t first[CLASSES];
    bool found[CLASSES] = {false};
    for (size_t i = 0; i < dataset->shape.count; i++) {
        const uint8_t label = dataset->labels[i];
        if (!found[label]) {
            found[label] = true;
            first[label] = (uint32_t)i;
        }
    }
    size_t count = 0;
    for (size_t label = 0; label < CLASSES; label++) {
        if (found[label]) {
            images[count++] = first[label];
        }
    }
    return count;
}

static lilac_image_grid grid_of(const lilac_contact_sheet *sheet) {
    return (lilac_image_grid){.across = LILAC_CONTACT_SHEET_COLUMNS,
                              .down = sheet->count,
                              .rows = sheet->dataset->shape.rows,
                              .cols = sheet->dataset->shape.cols,
                              .zoom = sheet->zoom};
}

lilac_status lilac_contact_sheet_size(lilac_context *context, const lilac_contact_sheet *sheet, size_t *width,
                                      size_t *height) {
    const lilac_dataset_shape *shape = &sheet->dataset->shape;
    for (size_t i = 0; i < sheet->count; i++) {
        if (sheet->images[i] >= shape->count) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "contact sheet, row %zu: image %lu of a data set of %zu",
                              i, (unsigned long)sheet->images[i], shape->count);
        }
    }
    const lilac_image_grid grid = grid_of(sheet);
    return lilac_image_grid_size(context, &grid, width, height);
}

void lilac_contact_sheet_draw(const lilac_contact_sheet *sheet, uint8_t *picture) {
    const lilac_image_grid grid = grid_of(sheet);
    lilac_image_grid_clear(&grid, picture);
    for (size_t cell = 0; cell < grid.across * grid.down; cell++) {
        const uint8_t *image = lilac_dataset_image(sheet->dataset, sheet->images[cell / grid.across]);
        for (size_t row = 0; row < grid.rows; row++) {
            uint8_t *to = lilac_image_grid_row(&grid, cell, row, picture);
            lilac_variant_bytes(columns[cell % grid.across], sheet->dataset->pixels, image, row * grid.cols, grid.cols,
                                to);
            lilac_image_grid_zoom(&grid, to);
        }
    }
}
