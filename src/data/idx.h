/* SPDX-License-Identifier: MIT */
/*
 * Reader of the IDX format, the one MNIST is published in: two zero bytes, the element type, the number of dimensions,
 * each dimension as a big-endian 32-bit number, then the elements with the last dimension running fastest. Only
 * unsigned bytes are read. The content may be compressed by gzip, which is told by its first two bytes. Files are not
 * trusted.
 */
#ifndef LILAC_DATA_IDX_H
#define LILAC_DATA_IDX_H

#include "runtime/context.h"

#include <stdio.h>

enum {
    LILAC_IDX_MAX_DIMENSIONS = 3,
    LILAC_IDX_MAX_BYTES = 1 << 30 /* of content: bounds what a file can make the reader allocate */
};

typedef struct lilac_idx {
    size_t dimensions[LILAC_IDX_MAX_DIMENSIONS]; /* those beyond the file's number are 1 */
    size_t size;                                 /* their product */
    uint8_t *data;                               /* size bytes; free with lilac_memory_free */
} lilac_idx;

/*
 * Reads the file from its start; it must be seekable. dimensions (1 .. LILAC_IDX_MAX_DIMENSIONS) is the number of
 * dimensions it must have; name stands for it in messages. The file stays open.
 *
 * Errors: IO, MEMORY; MAGIC (not an IDX file), UNSUPPORTED (another element type), SHAPE (another number of
 * dimensions), OVERFLOW (content above LILAC_IDX_MAX_BYTES), TRUNCATED, TRAILING, FORMAT (damaged gzip data).
 */
lilac_status lilac_idx_read_stream(lilac_context *context, FILE *file, const char *name, int dimensions,
                                   lilac_idx *out);

/* The same for the regular file at path. Also NOT_FOUND, and UNSUPPORTED for what is not a regular file. */
lilac_status lilac_idx_read(lilac_context *context, const char *path, int dimensions, lilac_idx *out);

#endif
