/* SPDX-License-Identifier: MIT */
/* IDX files: what is read has the announced size, and the same bytes compressed give the same. */
#include "fuzz.h"

#include "core/memory.h"
#include "data/idx.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

static lilac_status read_idx(const uint8_t *data, size_t size, int dimensions, lilac_idx *out) {
    FILE *file = fmemopen((void *)data, size, "rb");
    fuzz_require(file != NULL, "a stream can be opened");
    const lilac_status status = lilac_idx_read_stream(fuzz_context(), file, "input", dimensions, out);
    fclose(file);
    return status;
}

static uint8_t *compress_gzip(const uint8_t *data, size_t size, size_t *compressed_size) {
    z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)size};
    fuzz_require(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 1, Z_DEFAULT_STRATEGY) == Z_OK, "zlib can be started");
    const size_t bound = deflateBound(&stream, size);
    uint8_t *compressed = malloc(bound);
    fuzz_require(compressed != NULL, "there is memory");
    stream.next_out = compressed;
    stream.avail_out = (uInt)bound;
    fuzz_require(deflate(&stream, Z_FINISH) == Z_STREAM_END, "the input can be compressed");
    *compressed_size = bound - stream.avail_out;
    deflateEnd(&stream);
    return compressed;
}

static void check(const uint8_t *data, size_t size, int dimensions) {
    const bool plain = size < 2 || data[0] != 0x1f || data[1] != 0x8b;
    lilac_idx idx, same;
    const lilac_status status = read_idx(data, size, dimensions, &idx);
    if (fuzz_succeeded(status)) {
        fuzz_require(idx.size == idx.dimensions[0] * idx.dimensions[1] * idx.dimensions[2], "the size is the product");
        fuzz_require(!plain || memcmp(idx.data, data + (size - idx.size), idx.size) == 0, "the content is the file's");
    }
    if (plain) {
        size_t compressed_size;
        uint8_t *compressed = compress_gzip(data, size, &compressed_size);
        fuzz_require(read_idx(compressed, compressed_size, dimensions, &same) == status,
                     "compressed bytes are read like plain ones");
        free(compressed);
        if (status == LILAC_OK) {
            fuzz_require(idx.size == same.size && memcmp(idx.data, same.data, idx.size) == 0,
                         "compressed content is the same");
            lilac_memory_free(same.data);
        }
    }
    if (status == LILAC_OK) {
        lilac_memory_free(idx.data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0) {
        check(data, size, 1);
        check(data, size, 3);
    }
    return 0;
}
