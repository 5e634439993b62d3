/* SPDX-License-Identifier: MIT */
/* Safetensors files with any metadata and tensors, to see whether those of a model or an adapter are refused. */
#ifndef LILAC_TESTS_TENSOR_FILE_H
#define LILAC_TESTS_TENSOR_FILE_H

#include <lilac/status.h>
#include <stddef.h>

enum { TENSOR_FILE_SIZE = 40 };

typedef struct file_metadata {
    const char *key; /* NULL ends the list */
    const char *value;
} file_metadata;

/* An F32 tensor of zeros. */
typedef struct file_tensor {
    const char *name; /* NULL ends the list */
    int rank;
    size_t shape[3];
} file_tensor;

typedef struct tensor_file {
    file_metadata metadata[TENSOR_FILE_SIZE];
    file_tensor tensors[TENSOR_FILE_SIZE];
} tensor_file;

/* A copy with another value for that key, or with the key added; without it where value is NULL. */
tensor_file tensor_file_with_metadata(const tensor_file *file, const char *key, const char *value);

/* A copy with another shape for that tensor, or with the tensor added; without it where rank is -1. */
tensor_file tensor_file_with_tensor(const tensor_file *file, file_tensor tensor);

/* Writes it to path. */
void tensor_file_write(const tensor_file *file, const char *path);

#endif
