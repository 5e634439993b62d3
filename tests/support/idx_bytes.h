/* SPDX-License-Identifier: MIT */
/* Builds IDX files in memory, and compresses them, for tests. */
#ifndef LILAC_TESTS_IDX_BYTES_H
#define LILAC_TESTS_IDX_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct bytes {
    uint8_t *data;
    size_t size;
} bytes;

static inline bytes bytes_of(const void *data, size_t size) {
    bytes copy = {.data = malloc(size + 1), .size = size};
    if (copy.data == NULL) {
        abort();
    }
    memcpy(copy.data, data, size);
    return copy;
}

/* Appends the second to the first and frees both. */
static inline bytes bytes_join(bytes first, bytes second) {
    bytes joined = {.data = malloc(first.size + second.size + 1), .size = first.size + second.size};
    if (joined.data == NULL) {
        abort();
    }
    memcpy(joined.data, first.data, first.size);
    memcpy(joined.data + first.size, second.data, second.size);
    free(first.data);
    free(second.data);
    return joined;
}

/* An IDX header: element type, then the dimensions. */
static inline bytes idx_header(uint8_t type, int dimensions, const uint32_t *sizes) {
    uint8_t header[4 + 4 * 255] = {0, 0, type, (uint8_t)dimensions};
    for (int i = 0; i < dimensions; i++) {
        for (int b = 0; b < 4; b++) {
            header[4 + 4 * i + b] = (uint8_t)(sizes[i] >> (24 - 8 * b));
        }
    }
    return bytes_of(header, 4 + 4 * (size_t)dimensions);
}

/* A whole file of unsigned bytes. */
static inline bytes idx_file(int dimensions, const uint32_t *sizes, const void *content, size_t size) {
    return bytes_join(idx_header(0x08, dimensions, sizes), bytes_of(content, size));
}

/* One gzip member with that content, which is freed. */
static inline bytes gzip_member(bytes content) {
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        abort();
    }
    const uLong bound = deflateBound(&stream, (uLong)content.size);
    bytes compressed = {.data = malloc(bound)};
    stream.next_in = content.data;
    stream.avail_in = (uInt)content.size;
    stream.next_out = compressed.data;
    stream.avail_out = (uInt)bound;
    if (compressed.data == NULL || deflate(&stream, Z_FINISH) != Z_STREAM_END) {
        abort();
    }
    compressed.size = stream.total_out;
    deflateEnd(&stream);
    free(content.data);
    return compressed;
}

#endif
