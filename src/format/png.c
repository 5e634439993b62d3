/* SPDX-License-Identifier: MIT */
#include "format/png.h"

#include "runtime/file.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>

enum { MAX_SIDE = 1000000 }; /* what libpng itself accepts by default */

/* What libpng's callbacks need. Lives outside the function that calls setjmp, so that longjmp cannot spoil it. */
typedef struct png_output {
    lilac_context *context;
    const char *path;
    lilac_file_writer *writer;
    lilac_status status; /* the first failure */
} png_output;

/* libpng requires this not to return. */
static _Noreturn void handle_error(png_structp png, png_const_charp message) {
    png_output *output = png_get_error_ptr(png);
    if (output->status == LILAC_OK) {
        output->status = lilac_fail(output->context, LILAC_ERROR_IO, "%s: libpng: %s", output->path, message);
    }
    png_longjmp(png, 1);
}

/* Without this libpng prints. */
static void ignore_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static void *allocate(png_structp png, png_alloc_size_t size) {
    void *memory = malloc(size);
    if (memory == NULL) {
        png_output *output = png_get_mem_ptr(png);
        output->status = lilac_fail_memory(output->context, output->path, size);
    }
    return memory;
}

static void release(png_structp png, void *memory) {
    (void)png;
    free(memory);
}

static void write_bytes(png_structp png, png_bytep bytes, size_t size) {
    png_output *output = png_get_io_ptr(png);
    output->status = lilac_file_writer_write(output->context, output->writer, bytes, size);
    if (output->status != LILAC_OK) {
        png_error(png, "cannot write");
    }
}

static void flush_nothing(png_structp png) {
    (void)png;
}

/*
 * Runs libpng, which leaves by longjmp to here when anything fails. Nothing that is read after the jump changes between
 * setjmp and the jump: all state is behind the pointers.
 */
static void encode(png_structp png, png_infop info, size_t width, size_t height, const uint8_t *pixels) {
    if (setjmp(png_jmpbuf(png)) != 0) {
        return;
    }
    png_set_write_fn(png, png_get_error_ptr(png), write_bytes, flush_nothing);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (size_t row = 0; row < height; row++) {
        png_write_row(png, pixels + row * width);
    }
    png_write_end(png, NULL);
}

static lilac_status write_image(png_output *output, size_t width, size_t height, const uint8_t *pixels) {
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, output, handle_error, ignore_warning, output,
                                                allocate, release);
    png_infop info = png == NULL ? NULL : png_create_info_struct(png);
    if (info != NULL) {
        encode(png, info, width, height, pixels);
    } else if (output->status == LILAC_OK) {
        output->status = lilac_fail(output->context, LILAC_ERROR_MEMORY, "%s: libpng cannot start", output->path);
    }
    png_destroy_write_struct(&png, &info);
    return output->status;
}

lilac_status lilac_png_write(lilac_context *context, const char *path, size_t width, size_t height,
                             const uint8_t *pixels) {
    if (path == NULL || pixels == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "writing an image: a null pointer");
    }
    if (width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW,
                          "%s: expected an image of 1 to %d pixels a side, got %zu x %zu", path, MAX_SIDE, width,
                          height);
    }
    png_output output = {.context = context, .path = path, .status = LILAC_OK};
    LILAC_TRY(lilac_file_writer_open(context, path, &output.writer));
    const lilac_status status = write_image(&output, width, height, pixels);
    if (status != LILAC_OK) {
        lilac_file_writer_abort(output.writer);
        return status;
    }
    return lilac_file_writer_commit(context, output.writer);
}
