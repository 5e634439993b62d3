/* SPDX-License-Identifier: MIT */
#include "format/png.h"

#include "core/memory.h"
#include "runtime/file.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

/* What libpng's callbacks need. Lives outside the function that calls setjmp, so that longjmp cannot spoil it. */
typedef struct png_output {
    lilac_context *context;
    uint8_t *bytes; /* what has been written so far: size of capacity bytes */
    size_t size, capacity;
    lilac_status status; /* the first failure */
} png_output;

static const char what[] = "an image as PNG";

/* libpng requires this not to return. */
static _Noreturn void handle_error(png_structp png, png_const_charp message) {
    png_output *output = png_get_error_ptr(png);
    if (output->status == LILAC_OK) {
        output->status = lilac_fail(output->context, LILAC_ERROR_ARGUMENT, "%s: libpng: %s", what, message);
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
        output->status = lilac_fail_memory(output->context, what, size);
    }
    return memory;
}

static void release(png_structp png, void *memory) {
    (void)png;
    free(memory);
}

static void write_bytes(png_structp png, png_bytep bytes, size_t size) {
    png_output *output = png_get_io_ptr(png);
    if (size > output->capacity - output->size) {
        const size_t capacity = 2 * (output->size + size);
        uint8_t *larger = lilac_memory_allocate(capacity, 1);
        if (larger == NULL) {
            output->status = lilac_fail_memory(output->context, what, capacity);
            png_error(png, "out of memory");
        }
        if (output->size > 0) {
            memcpy(larger, output->bytes, output->size);
        }
        lilac_memory_free(output->bytes);
        output->bytes = larger;
        output->capacity = capacity;
    }
    memcpy(output->bytes + output->size, bytes, size);
    output->size += size;
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

static lilac_status encode_image(png_output *output, size_t width, size_t height, const uint8_t *pixels) {
    png_structp png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, output, handle_error, ignore_warning, output,
                                                allocate, release);
    png_infop info = png == NULL ? NULL : png_create_info_struct(png);
    if (info != NULL) {
        encode(png, info, width, height, pixels);
    } else if (output->status == LILAC_OK) {
        output->status = lilac_fail(output->context, LILAC_ERROR_MEMORY, "%s: libpng cannot start", what);
    }
    png_destroy_write_struct(&png, &info);
    return output->status;
}

lilac_status lilac_png_encode(lilac_context *context, size_t width, size_t height, const uint8_t *pixels,
                              uint8_t **bytes, size_t *size) {
    if (pixels == NULL || bytes == NULL || size == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: a null pointer", what);
    }
    if (width == 0 || height == 0 || width > LILAC_PNG_MAX_SIDE || height > LILAC_PNG_MAX_SIDE) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "%s: expected 1 to %d pixels a side, got %zu x %zu", what,
                          LILAC_PNG_MAX_SIDE, width, height);
    }
    png_output output = {.context = context, .status = LILAC_OK};
    const lilac_status status = encode_image(&output, width, height, pixels);
    if (status != LILAC_OK) {
        lilac_memory_free(output.bytes);
        return status;
    }
    *bytes = output.bytes;
    *size = output.size;
    return LILAC_OK;
}

lilac_status lilac_png_write(lilac_context *context, const char *path, size_t width, size_t height,
                             const uint8_t *pixels) {
    if (path == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "writing an image: a null pointer");
    }
    uint8_t *bytes = NULL;
    size_t size = 0;
    LILAC_TRY(lilac_png_encode(context, width, height, pixels, &bytes, &size));
    const lilac_status status = lilac_file_write(context, path, bytes, size);
    lilac_memory_free(bytes);
    return status;
}
