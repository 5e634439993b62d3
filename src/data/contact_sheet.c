/* SPDX-License-Identifier: MIT */
#include "data/contact_sheet.h"

#include "core/memory.h"
#include "data/dataset.h"
#include "data/variant.h"

#include <string.h>

enum { CLASSES = 256, GAP_GREY = 128 };

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

/* *out = (cells images of size pixels with a gap of one pixel before, between and after them) * zoom. */
static bool sheet_side(size_t cells, size_t size, size_t zoom, size_t *out) {
    size_t side;
    return lilac_size_add(size, 1, &side) && lilac_size_multiply(cells, side, &side) &&
           lilac_size_add(side, 1, &side) && lilac_size_multiply(side, zoom, out);
}

lilac_status lilac_contact_sheet_size(lilac_context *context, const lilac_contact_sheet *sheet, size_t *width,
                                      size_t *height) {
    const lilac_dataset_shape *shape = &sheet->dataset->shape;
    if (sheet->count == 0 || sheet->zoom == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "contact sheet: expected at least 1 image and zoom 1, got %zu and %zu", sheet->count,
                          sheet->zoom);
    }
    for (size_t i = 0; i < sheet->count; i++) {
        if (sheet->images[i] >= shape->count) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "contact sheet, row %zu: image %lu of a data set of %zu",
                              i, (unsigned long)sheet->images[i], shape->count);
        }
    }
    size_t w, h, bytes;
    if (!sheet_side(LILAC_CONTACT_SHEET_COLUMNS, shape->cols, sheet->zoom, &w) ||
        !sheet_side(sheet->count, shape->rows, sheet->zoom, &h) || !lilac_size_multiply(w, h, &bytes)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "contact sheet: %zu images at zoom %zu are too many bytes",
                          sheet->count, sheet->zoom);
    }
    *width = w;
    *height = h;
    return LILAC_OK;
}

/* Draws one row of an image's variant: zoom lines of the picture, the first of which starts at out. */
static void draw_row(const lilac_contact_sheet *sheet, lilac_variant variant, const uint8_t *image, size_t row,
                     size_t width, uint8_t *out) {
    const lilac_dataset *dataset = sheet->dataset;
    const size_t cols = dataset->shape.cols, zoom = sheet->zoom;
    lilac_variant_bytes(variant, dataset->pixels, image, row * cols, cols, out);
    /* Widened in place: from the right, a pixel is read before anything is written over it. */
    for (size_t c = cols; c-- > 0;) {
        memset(out + c * zoom, out[c], zoom);
    }
    for (size_t line = 1; line < zoom; line++) {
        memcpy(out + line * width, out, cols * zoom);
    }
}

void lilac_contact_sheet_draw(const lilac_contact_sheet *sheet, uint8_t *picture) {
    const lilac_dataset_shape *shape = &sheet->dataset->shape;
    const size_t zoom = sheet->zoom;
    const size_t width = (LILAC_CONTACT_SHEET_COLUMNS * (shape->cols + 1) + 1) * zoom;
    const size_t height = (sheet->count * (shape->rows + 1) + 1) * zoom;
    memset(picture, GAP_GREY, width * height);
    for (size_t i = 0; i < sheet->count; i++) {
        const uint8_t *image = lilac_dataset_image(sheet->dataset, sheet->images[i]);
        for (size_t column = 0; column < LILAC_CONTACT_SHEET_COLUMNS; column++) {
            for (size_t row = 0; row < shape->rows; row++) {
                const size_t y = (i * (shape->rows + 1) + 1 + row) * zoom;
                const size_t x = (column * (shape->cols + 1) + 1) * zoom;
                draw_row(sheet, columns[column], image, row, width, picture + y * width + x);
            }
        }
    }
}
