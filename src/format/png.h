/* SPDX-License-Identifier: MIT */
/* Writing PNG images. */
#ifndef LILAC_FORMAT_PNG_H
#define LILAC_FORMAT_PNG_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

typedef enum lilac_png_colour {
    LILAC_PNG_GRAY = 1, /* one byte a pixel: 0 black, 255 white */
    LILAC_PNG_RGB = 3   /* three bytes a pixel: red, green, blue */
} lilac_png_colour;

/*
 * Writes an image of 8 bits a channel at path, atomically (see runtime/file.h). pixels holds height rows of width
 * pixels, top row first, without gaps. The same pixels give the same file. Errors: those of lilac_file_writer, ARGUMENT
 * (null pointer, colour), OVERFLOW (width or height is 0 or above 1,000,000), MEMORY.
 */
LILAC_MUST_USE lilac_status lilac_png_write(lilac_context *context, const char *path, lilac_png_colour colour,
                                            size_t width, size_t height, const uint8_t *pixels);

#endif
