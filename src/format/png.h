/* SPDX-License-Identifier: MIT */
/* Grey PNG images. */
#ifndef LILAC_FORMAT_PNG_H
#define LILAC_FORMAT_PNG_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

enum { LILAC_PNG_MAX_SIDE = 1000000 }; /* pixels, what libpng accepts by default */

/*
 * Writes a grey image at path, atomically (see runtime/file.h). pixels holds height rows of width bytes, 0 = black and
 * 255 = white, top row first, without gaps. The same pixels give the same file. Errors: those of lilac_file_writer,
 * ARGUMENT (null pointer), OVERFLOW (width or height is 0 or above LILAC_PNG_MAX_SIDE), MEMORY.
 */
LILAC_MUST_USE lilac_status lilac_png_write(lilac_context *context, const char *path, size_t width, size_t height,
                                            const uint8_t *pixels);

/* The same as bytes in memory; free *bytes with lilac_memory_free. Errors: ARGUMENT, OVERFLOW, MEMORY. */
LILAC_MUST_USE lilac_status lilac_png_encode(lilac_context *context, size_t width, size_t height, const uint8_t *pixels,
                                             uint8_t **bytes, size_t *size);

#endif
