/* SPDX-License-Identifier: MIT */
#include "data/idx.h"

#include "core/memory.h"
#include "runtime/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <zlib.h>

enum {
    DEFLATE_MAX_RATIO = 1032, /* 258 bytes, the longest match, for the 2 bits of two one-bit codes */
    GZIP_WINDOW_BITS = 15 + 16,
    TYPE_UNSIGNED_BYTE = 0x08
};

/* The file's content, decompressed where it is gzip. */
typedef struct idx_source {
    lilac_context *context;
    const char *name;
    FILE *file;
    uint64_t file_size;
    bool gzip;
    bool ended; /* of gzip data: the last member is over */
    z_stream inflater;
    uint8_t input[16384];
} idx_source;

static lilac_status source_io_error(const idx_source *source) {
    return lilac_fail_system(source->context, source->name, "cannot read", errno);
}

static lilac_status source_open(idx_source *source) {
    if (fseeko(source->file, 0, SEEK_END) != 0) {
        return source_io_error(source);
    }
    const off_t size = ftello(source->file);
    if (size < 0 || fseeko(source->file, 0, SEEK_SET) != 0) {
        return source_io_error(source);
    }
    source->file_size = (uint64_t)size;
    uint8_t magic[2];
    const size_t got = fread(magic, 1, sizeof magic, source->file);
    if (ferror(source->file) || fseeko(source->file, 0, SEEK_SET) != 0) {
        return source_io_error(source);
    }
    if (got == sizeof magic && magic[0] == 0x1f && magic[1] == 0x8b) {
        if (inflateInit2(&source->inflater, GZIP_WINDOW_BITS) != Z_OK) {
            return lilac_fail(source->context, LILAC_ERROR_MEMORY, "%s: out of memory for the decompressor",
                              source->name);
        }
        source->gzip = true;
    }
    return LILAC_OK;
}

static void source_close(idx_source *source) {
    if (source->gzip) {
        inflateEnd(&source->inflater);
    }
}

/* Makes sure that there is compressed input unless the file is at its end. */
static lilac_status source_refill(idx_source *source) {
    if (source->inflater.avail_in == 0) {
        const size_t got = fread(source->input, 1, sizeof source->input, source->file);
        if (ferror(source->file)) {
            return source_io_error(source);
        }
        source->inflater.next_in = source->input;
        source->inflater.avail_in = (uInt)got;
    }
    return LILAC_OK;
}

/* Inflates into what is left of the output, and starts on the next member of the file where one is over. */
static lilac_status source_inflate(idx_source *source) {
    z_stream *inflater = &source->inflater;
    LILAC_TRY(source_refill(source));
    if (inflater->avail_in == 0) {
        return lilac_fail(source->context, LILAC_ERROR_TRUNCATED, "%s: the gzip data ends in the middle", source->name);
    }
    const int result = inflate(inflater, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) {
        return lilac_fail(source->context, LILAC_ERROR_MEMORY, "%s: out of memory for the decompressor", source->name);
    }
    if (result == Z_STREAM_END) {
        LILAC_TRY(source_refill(source));
        source->ended = inflater->avail_in == 0;
        inflateReset(inflater);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return lilac_fail(source->context, LILAC_ERROR_FORMAT, "%s: damaged gzip data: %s", source->name,
                          inflater->msg == NULL ? "no reason known" : inflater->msg);
    }
    return LILAC_OK;
}

/* Reads size bytes, fewer only where the content ends; size is at most LILAC_IDX_MAX_BYTES. */
static lilac_status source_read(idx_source *source, uint8_t *out, size_t size, size_t *got) {
    if (!source->gzip) {
        *got = fread(out, 1, size, source->file);
        return ferror(source->file) ? source_io_error(source) : LILAC_OK;
    }
    source->inflater.next_out = out;
    source->inflater.avail_out = (uInt)size;
    while (source->inflater.avail_out > 0 && !source->ended) {
        LILAC_TRY(source_inflate(source));
    }
    *got = size - source->inflater.avail_out;
    return LILAC_OK;
}

static lilac_status read_header_bytes(idx_source *source, uint8_t *out, size_t size) {
    size_t got = 0;
    LILAC_TRY(source_read(source, out, size, &got));
    if (got < size) {
        return lilac_fail(source->context, LILAC_ERROR_TRUNCATED, "%s: the file ends within its IDX header",
                          source->name);
    }
    return LILAC_OK;
}

static const char *element_type_name(uint8_t type) {
    switch (type) {
    case TYPE_UNSIGNED_BYTE:
        return "unsigned bytes";
    case 0x09:
        return "signed bytes";
    case 0x0B:
        return "16-bit integers";
    case 0x0C:
        return "32-bit integers";
    case 0x0D:
        return "32-bit floats";
    case 0x0E:
        return "64-bit floats";
    default:
        return NULL;
    }
}

static lilac_status read_header(idx_source *source, int dimensions, lilac_idx *idx) {
    uint8_t magic[4];
    LILAC_TRY(read_header_bytes(source, magic, sizeof magic));
    const char *type = element_type_name(magic[2]);
    if (magic[0] != 0 || magic[1] != 0 || type == NULL) {
        return lilac_fail(source->context, LILAC_ERROR_MAGIC,
                          "%s: not an IDX file: expected it to start with 00 00 08 %02x, got %02x %02x %02x %02x",
                          source->name, (unsigned)dimensions, (unsigned)magic[0], (unsigned)magic[1],
                          (unsigned)magic[2], (unsigned)magic[3]);
    }
    if (magic[2] != TYPE_UNSIGNED_BYTE) {
        return lilac_fail(source->context, LILAC_ERROR_UNSUPPORTED,
                          "%s: expected elements of type unsigned bytes, got %s", source->name, type);
    }
    if (magic[3] != dimensions) {
        return lilac_fail(source->context, LILAC_ERROR_SHAPE, "%s: expected %d dimensions, got %u", source->name,
                          dimensions, (unsigned)magic[3]);
    }
    uint8_t bytes[4 * LILAC_IDX_MAX_DIMENSIONS];
    LILAC_TRY(read_header_bytes(source, bytes, 4 * (size_t)dimensions));
    bool fits = true;
    idx->size = 1;
    for (int i = 0; i < LILAC_IDX_MAX_DIMENSIONS; i++) {
        const uint8_t *b = bytes + 4 * i;
        idx->dimensions[i] =
            i < dimensions ? (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | (size_t)b[3] : 1;
        fits = fits && lilac_size_multiply(idx->size, idx->dimensions[i], &idx->size);
    }
    if (!fits || idx->size > LILAC_IDX_MAX_BYTES) {
        return lilac_fail(source->context, LILAC_ERROR_OVERFLOW,
                          "%s: dimensions %zu x %zu x %zu: expected at most %d bytes of content", source->name,
                          idx->dimensions[0], idx->dimensions[1], idx->dimensions[2], LILAC_IDX_MAX_BYTES);
    }
    return LILAC_OK;
}

static lilac_status fail_truncated(const idx_source *source, uint64_t expected, uint64_t got) {
    return lilac_fail(source->context, LILAC_ERROR_TRUNCATED, "%s: expected %llu bytes after the IDX header, got %llu",
                      source->name, (unsigned long long)expected, (unsigned long long)got);
}

static lilac_status fail_trailing(const idx_source *source, uint64_t expected) {
    return lilac_fail(source->context, LILAC_ERROR_TRAILING, "%s: expected %llu bytes after the IDX header, got more",
                      source->name, (unsigned long long)expected);
}

/* Refuses what cannot hold its content before memory is spent on it. */
static lilac_status check_file_size(const idx_source *source, int dimensions, const lilac_idx *idx) {
    const uint64_t header = 4 + 4 * (uint64_t)dimensions;
    if (source->gzip) {
        if ((header + idx->size) / DEFLATE_MAX_RATIO > source->file_size) {
            return lilac_fail(source->context, LILAC_ERROR_TRUNCATED,
                              "%s: expected %zu bytes after the IDX header, more than %llu bytes of gzip data can hold",
                              source->name, idx->size, (unsigned long long)source->file_size);
        }
        return LILAC_OK;
    }
    const uint64_t content = source->file_size < header ? 0 : source->file_size - header;
    if (content < idx->size) {
        return fail_truncated(source, idx->size, content);
    }
    return content > idx->size ? fail_trailing(source, idx->size) : LILAC_OK;
}

/* Reads the content and makes sure that nothing follows it; of gzip data that also checks the sum at its end. */
static lilac_status read_content(idx_source *source, const lilac_idx *idx) {
    size_t got = 0;
    LILAC_TRY(source_read(source, idx->data, idx->size, &got));
    if (got < idx->size) {
        return fail_truncated(source, idx->size, got);
    }
    uint8_t more;
    LILAC_TRY(source_read(source, &more, 1, &got));
    return got != 0 ? fail_trailing(source, idx->size) : LILAC_OK;
}

static lilac_status read_source(idx_source *source, int dimensions, lilac_idx *out) {
    lilac_idx idx;
    LILAC_TRY(read_header(source, dimensions, &idx));
    LILAC_TRY(check_file_size(source, dimensions, &idx));
    idx.data = lilac_memory_allocate(idx.size, 1);
    if (idx.data == NULL) {
        return lilac_fail_memory(source->context, source->name, idx.size);
    }
    const lilac_status status = read_content(source, &idx);
    if (status != LILAC_OK) {
        lilac_memory_free(idx.data);
        return status;
    }
    *out = idx;
    return LILAC_OK;
}

lilac_status lilac_idx_read_stream(lilac_context *context, FILE *file, const char *name, int dimensions,
                                   lilac_idx *out) {
    idx_source source = {.context = context, .name = name, .file = file};
    lilac_status status = source_open(&source);
    if (status == LILAC_OK) {
        status = read_source(&source, dimensions, out);
    }
    source_close(&source);
    return status;
}

lilac_status lilac_idx_read(lilac_context *context, const char *path, int dimensions, lilac_idx *out) {
    /* Looked at first because opening a named pipe would wait for somebody to write to it. */
    struct stat kind;
    FILE *file = NULL;
    if (stat(path, &kind) == 0) {
        if (!S_ISREG(kind.st_mode)) {
            return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: expected a regular file", path);
        }
        file = fopen(path, "rb");
    }
    if (file == NULL) {
        return lilac_fail_system(context, path, "cannot open", errno);
    }
    const lilac_status status = lilac_idx_read_stream(context, file, path, dimensions, out);
    fclose(file);
    return status;
}
