/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing safetensors files: named tensors and text metadata in one container. docs/format.md describes the
 * bytes, what is refused, and the limits.
 */
#ifndef LILAC_FORMAT_SAFETENSORS_H
#define LILAC_FORMAT_SAFETENSORS_H

#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

enum {
    LILAC_SAFETENSORS_NAME_SIZE = 128, /* of a tensor that is written, with the terminating NUL */
    LILAC_SAFETENSORS_MAX_RANK = 8,
    LILAC_SAFETENSORS_MAX_HEADER = 100000000, /* bytes; the format's own limit */
    LILAC_SAFETENSORS_MAX_DEPTH = 3,          /* of the header: an object of objects of arrays */
    LILAC_SAFETENSORS_MAX_VALUES = 1 << 20,   /* JSON values in the header: bounds time and memory */
    LILAC_SAFETENSORS_MAX_FILE = INT32_MAX    /* bytes, of a file that is opened by path */
};

/* Element types, named as in the header. */
typedef enum lilac_safetensors_dtype {
    LILAC_SAFETENSORS_BOOL,
    LILAC_SAFETENSORS_U8,
    LILAC_SAFETENSORS_I8,
    LILAC_SAFETENSORS_F8_E5M2,
    LILAC_SAFETENSORS_F8_E4M3,
    LILAC_SAFETENSORS_I16,
    LILAC_SAFETENSORS_U16,
    LILAC_SAFETENSORS_F16,
    LILAC_SAFETENSORS_BF16,
    LILAC_SAFETENSORS_I32,
    LILAC_SAFETENSORS_U32,
    LILAC_SAFETENSORS_F32,
    LILAC_SAFETENSORS_I64,
    LILAC_SAFETENSORS_U64,
    LILAC_SAFETENSORS_F64
} lilac_safetensors_dtype;

/* The name in the header, such as "F32", and the bytes of one element. */
const char *lilac_safetensors_dtype_name(lilac_safetensors_dtype dtype);
size_t lilac_safetensors_dtype_size(lilac_safetensors_dtype dtype);

/* A tensor in an open file; the pointers are valid until the file is closed. */
typedef struct lilac_safetensors_tensor {
    const char *name;
    lilac_safetensors_dtype dtype;
    int rank;
    size_t shape[LILAC_SAFETENSORS_MAX_RANK]; /* the first rank sizes; the others are 1 */
    size_t count;                             /* elements */
    const unsigned char *data;                /* row major, little-endian, at any alignment */
    size_t bytes;
} lilac_safetensors_tensor;

typedef struct lilac_safetensors_file lilac_safetensors_file;

/*
 * Opens a file, which may hold any bytes: everything is checked here, nothing needs to be checked later. Close it with
 * lilac_safetensors_close.
 * Errors: those of lilac_file_read, and
 * MAGIC        byte 8 is not '{': not a safetensors file
 * TRUNCATED    the file ends within the length, the header or the data of a tensor
 * TRAILING     bytes follow the last tensor
 * OVERFLOW     a shape whose size in bytes cannot be addressed
 * UNSUPPORTED  an unknown dtype, a rank above LILAC_SAFETENSORS_MAX_RANK, more than LILAC_SAFETENSORS_MAX_VALUES values
 * FORMAT       all else that breaks the format's rules
 */
LILAC_MUST_USE lilac_status lilac_safetensors_open(lilac_context *context, const char *path,
                                                   lilac_safetensors_file **file);

/* The same for size bytes in memory, which must stay unchanged until the file is closed. name stands for the path in
 * messages and is copied. */
LILAC_MUST_USE lilac_status lilac_safetensors_open_memory(lilac_context *context, const char *name, const void *data,
                                                          size_t size, lilac_safetensors_file **file);

/* Closes the file; NULL is allowed. */
void lilac_safetensors_close(lilac_safetensors_file *file);

/* The number of tensors, and tensor 0 .. count-1 in the byte order of their names. */
size_t lilac_safetensors_count(const lilac_safetensors_file *file);
const lilac_safetensors_tensor *lilac_safetensors_tensor_at(const lilac_safetensors_file *file, size_t index);

/* The tensor of that name, or NULL. */
const lilac_safetensors_tensor *lilac_safetensors_find(const lilac_safetensors_file *file, const char *name);

/* The metadata stored under key, or NULL. */
const char *lilac_safetensors_metadata(const lilac_safetensors_file *file, const char *key);

/*
 * Whether the metadata "format" and "format_version" have these values: the file is then what kind says, such as "an
 * adapter file", in a form that this version reads.
 * Errors: UNSUPPORTED (another format or none, another version), FORMAT (no version).
 */
LILAC_MUST_USE lilac_status lilac_safetensors_check_kind(lilac_context *context, const lilac_safetensors_file *file,
                                                         const char *kind, const char *format, const char *version);

/* The metadata stored under key as a whole number of at most limit, and as a finite number. Errors: FORMAT (there is
 * none, or it is something else); *out is untouched then. */
LILAC_MUST_USE lilac_status lilac_safetensors_read_whole(lilac_context *context, const lilac_safetensors_file *file,
                                                         const char *key, uint64_t limit, uint64_t *out);
LILAC_MUST_USE lilac_status lilac_safetensors_read_number(lilac_context *context, const lilac_safetensors_file *file,
                                                          const char *key, double *out);

/* FORMAT, saying what is stored under key, if anything, and what was expected. */
LILAC_MUST_USE lilac_status lilac_safetensors_bad_metadata(lilac_context *context, const lilac_safetensors_file *file,
                                                           const char *key, const char *expected);

/*
 * Copies a tensor of dtype F32, BF16, F16 or F64 into out (the product of shape floats, not inside the file's memory),
 * rounding F64 to nearest.
 * Errors: NOT_FOUND (no such tensor), SHAPE (it has another shape), UNSUPPORTED (it has another dtype).
 */
LILAC_MUST_USE lilac_status lilac_safetensors_read_f32(lilac_context *context, const lilac_safetensors_file *file,
                                                       const char *name, int rank, const size_t *shape, float *out);

/* Collects tensors and metadata, then writes them. */
typedef struct lilac_safetensors_writer lilac_safetensors_writer;

/* Creates an empty writer. Errors: ARGUMENT, MEMORY. */
LILAC_MUST_USE lilac_status lilac_safetensors_writer_create(lilac_context *context, lilac_safetensors_writer **writer);

/*
 * Adds a tensor to be stored as F32 or BF16 (rounded to nearest, ties to even). name and shape are copied; data, the
 * product of shape floats, is read by lilac_safetensors_writer_write.
 * Errors: ARGUMENT (name empty, too long or taken; dtype; rank), OVERFLOW, MEMORY.
 */
LILAC_MUST_USE lilac_status lilac_safetensors_writer_add(lilac_context *context, lilac_safetensors_writer *writer,
                                                         const char *name, lilac_safetensors_dtype dtype, int rank,
                                                         const size_t *shape, const float *data);

/* Adds metadata; key and value are copied. Errors: ARGUMENT (key taken), MEMORY. */
LILAC_MUST_USE lilac_status lilac_safetensors_writer_add_metadata(lilac_context *context,
                                                                  lilac_safetensors_writer *writer, const char *key,
                                                                  const char *value);

/*
 * Writes the file at path, atomically (see runtime/file.h). The bytes depend on the content only, not on the order in
 * which it was added. Errors: those of lilac_file_writer, MEMORY, ARGUMENT (a name or metadata is not UTF-8, or all of
 * it is beyond a limit).
 */
LILAC_MUST_USE lilac_status lilac_safetensors_writer_write(lilac_context *context, lilac_safetensors_writer *writer,
                                                           const char *path);

/* Frees the writer; NULL is allowed. */
void lilac_safetensors_writer_destroy(lilac_safetensors_writer *writer);

#endif
