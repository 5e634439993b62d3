/* SPDX-License-Identifier: MIT */
/* A contact sheet: a grey picture with some images of a data set beside their variants, as a model sees them. */
#ifndef LILAC_DATA_CONTACT_SHEET_H
#define LILAC_DATA_CONTACT_SHEET_H

#include "runtime/context.h"

#include <lilac/dataset.h>

/* Columns of a sheet, left to right: original, quantized, rotated, inverted. */
enum { LILAC_CONTACT_SHEET_COLUMNS = 4 };

typedef struct lilac_contact_sheet {
    const lilac_dataset *dataset;
    const uint32_t *images; /* count image numbers, one for each row of the sheet */
    size_t count;
    size_t zoom; /* the width of an image's pixel, and of the gaps around the images, in the sheet's pixels */
} lilac_contact_sheet;

/* Writes the number of the first image of each class that has any, in the order of the classes; returns how many. */
size_t lilac_first_of_each_class(const lilac_dataset *dataset, uint32_t images[256]);

/*
 * The sheet's size in pixels.
 * Errors: ARGUMENT (no images, an image beyond the data set's, zoom 0), OVERFLOW.
 */
lilac_status lilac_contact_sheet_size(lilac_context *context, const lilac_contact_sheet *sheet, size_t *width,
                                      size_t *height);

/* Draws the sheet, which lilac_contact_sheet_size has accepted: height x width bytes, 255 = white. */
void lilac_contact_sheet_draw(const lilac_contact_sheet *sheet, uint8_t *picture);

#endif
