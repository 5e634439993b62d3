/* SPDX-License-Identifier: MIT */
#include "core/bf16.h"
#include "core/memory.h"
#include "format/json_check.h"
#include "format/safetensors.h"
#include "runtime/file.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DATA_ALIGNMENT = 8,     /* of the first tensor within the file */
    CONVERT_ELEMENTS = 4096 /* rounded to bf16 at a time */
};

typedef struct writer_tensor {
    char name[LILAC_SAFETENSORS_NAME_SIZE];
    lilac_safetensors_dtype dtype;
    int rank;
    size_t shape[LILAC_SAFETENSORS_MAX_RANK];
    size_t count;
    const float *data;
} writer_tensor;

/* Key and value lie behind each other in one allocation, which begins at key. */
typedef struct writer_pair {
    char *key;
    const char *value;
} writer_pair;

struct lilac_safetensors_writer {
    writer_tensor *tensors;
    size_t tensor_count;
    size_t tensor_capacity;
    writer_pair *metadata;
    size_t metadata_count;
    size_t metadata_capacity;
};

lilac_status lilac_safetensors_writer_create(lilac_context *context, lilac_safetensors_writer **writer) {
    if (writer == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "safetensors writer: null pointer");
    }
    lilac_safetensors_writer *created = lilac_memory_allocate(1, sizeof *created);
    if (created == NULL) {
        return lilac_fail_memory(context, "a safetensors writer", sizeof *created);
    }
    *writer = created;
    return LILAC_OK;
}

void lilac_safetensors_writer_destroy(lilac_safetensors_writer *writer) {
    if (writer == NULL) {
        return;
    }
    for (size_t i = 0; i < writer->metadata_count; i++) {
        lilac_memory_free(writer->metadata[i].key);
    }
    lilac_memory_free(writer->metadata);
    lilac_memory_free(writer->tensors);
    lilac_memory_free(writer);
}

/* Makes room for one more item of size bytes in an array: the array itself or a larger copy of it, or NULL. */
static void *make_room(void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) {
        return array;
    }
    const size_t larger = *capacity == 0 ? 16 : 2 * *capacity;
    void *copy = lilac_memory_allocate(larger, size);
    if (copy != NULL) {
        if (count > 0) {
            memcpy(copy, array, count * size);
        }
        lilac_memory_free(array);
        *capacity = larger;
    }
    return copy;
}

static lilac_status check_name(lilac_context *context, const lilac_safetensors_writer *writer, const char *name) {
    const size_t length = strnlen(name, LILAC_SAFETENSORS_NAME_SIZE);
    if (length == 0 || length == LILAC_SAFETENSORS_NAME_SIZE || strcmp(name, "__metadata__") == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "tensor name \"%.*s\": expected 1 to %d bytes other than __metadata__", (int)length, name,
                          LILAC_SAFETENSORS_NAME_SIZE - 1);
    }
    for (size_t i = 0; i < writer->tensor_count; i++) {
        if (strcmp(writer->tensors[i].name, name) == 0) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\" is in the file already", name);
        }
    }
    return LILAC_OK;
}

lilac_status lilac_safetensors_writer_add(lilac_context *context, lilac_safetensors_writer *writer, const char *name,
                                          lilac_safetensors_dtype dtype, int rank, const size_t *shape,
                                          const float *data) {
    if (writer == NULL || name == NULL || (rank > 0 && shape == NULL) || data == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "safetensors writer: null pointer");
    }
    LILAC_TRY(check_name(context, writer, name));
    if (dtype != LILAC_SAFETENSORS_F32 && dtype != LILAC_SAFETENSORS_BF16) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\": only F32 and BF16 can be written", name);
    }
    if (rank < 0 || rank > LILAC_SAFETENSORS_MAX_RANK) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\": expected a rank of 0 to %d, got %d", name,
                          LILAC_SAFETENSORS_MAX_RANK, rank);
    }
    writer_tensor tensor = {.dtype = dtype, .rank = rank, .count = 1, .data = data};
    memcpy(tensor.name, name, strlen(name));
    for (int i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
        if (!lilac_size_multiply(tensor.count, shape[i], &tensor.count)) {
            return lilac_fail(context, LILAC_ERROR_OVERFLOW, "tensor \"%s\": its shape is too large", name);
        }
    }
    writer_tensor *tensors =
        make_room(writer->tensors, writer->tensor_count, &writer->tensor_capacity, sizeof *tensors);
    if (tensors == NULL) {
        return lilac_fail_memory(context, name, sizeof *tensors);
    }
    writer->tensors = tensors;
    tensors[writer->tensor_count] = tensor;
    writer->tensor_count++;
    return LILAC_OK;
}

lilac_status lilac_safetensors_writer_add_metadata(lilac_context *context, lilac_safetensors_writer *writer,
                                                   const char *key, const char *value) {
    if (writer == NULL || key == NULL || value == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "safetensors writer: null pointer");
    }
    for (size_t i = 0; i < writer->metadata_count; i++) {
        if (strcmp(writer->metadata[i].key, key) == 0) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "metadata \"%.100s\" is in the file already", key);
        }
    }
    writer_pair *metadata =
        make_room(writer->metadata, writer->metadata_count, &writer->metadata_capacity, sizeof *metadata);
    if (metadata == NULL) {
        return lilac_fail_memory(context, "metadata", sizeof *metadata);
    }
    writer->metadata = metadata;
    const size_t key_size = strlen(key) + 1;
    const size_t value_size = strlen(value) + 1;
    char *copy = lilac_memory_allocate(1, key_size + value_size);
    if (copy == NULL) {
        return lilac_fail_memory(context, "metadata", key_size + value_size);
    }
    memcpy(copy, key, key_size);
    memcpy(copy + key_size, value, value_size);
    metadata[writer->metadata_count] = (writer_pair){.key = copy, .value = copy + key_size};
    writer->metadata_count++;
    return LILAC_OK;
}

/* The larger dtype first, so that every tensor is aligned to its elements; then by name. */
static int compare_tensors(const void *a, const void *b) {
    const writer_tensor *left = a;
    const writer_tensor *right = b;
    const size_t left_size = lilac_safetensors_dtype_size(left->dtype);
    const size_t right_size = lilac_safetensors_dtype_size(right->dtype);
    if (left_size != right_size) {
        return left_size > right_size ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

static int compare_pairs(const void *a, const void *b) {
    return strcmp(((const writer_pair *)a)->key, ((const writer_pair *)b)->key);
}

/* As text: the library prints numbers above 10^15 with an exponent. */
static bool add_integers(cJSON *object, const char *key, const size_t *values, int count) {
    cJSON *array = cJSON_AddArrayToObject(object, key);
    bool added = array != NULL;
    for (int i = 0; added && i < count; i++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", values[i]);
        added = cJSON_AddItemToArray(array, cJSON_CreateRaw(text));
    }
    return added;
}

/* Builds the header in the parser's tree; false when memory is short. */
static bool fill_header(cJSON *header, const lilac_safetensors_writer *writer) {
    if (writer->metadata_count > 0) {
        cJSON *metadata = cJSON_AddObjectToObject(header, "__metadata__");
        for (size_t i = 0; i < writer->metadata_count; i++) {
            if (cJSON_AddStringToObject(metadata, writer->metadata[i].key, writer->metadata[i].value) == NULL) {
                return false;
            }
        }
    }
    size_t offset = 0;
    for (size_t i = 0; i < writer->tensor_count; i++) {
        const writer_tensor *tensor = &writer->tensors[i];
        const size_t end = offset + tensor->count * lilac_safetensors_dtype_size(tensor->dtype);
        const size_t offsets[2] = {offset, end};
        cJSON *entry = cJSON_AddObjectToObject(header, tensor->name);
        if (cJSON_AddStringToObject(entry, "dtype", lilac_safetensors_dtype_name(tensor->dtype)) == NULL ||
            !add_integers(entry, "shape", tensor->shape, tensor->rank) ||
            !add_integers(entry, "data_offsets", offsets, 2)) {
            return false;
        }
        offset = end;
    }
    return true;
}

/* The header as text, to be freed with cJSON_free; NULL when memory is short. */
static char *print_header(lilac_safetensors_writer *writer) {
    if (writer->tensor_count > 0) {
        qsort(writer->tensors, writer->tensor_count, sizeof *writer->tensors, compare_tensors);
    }
    if (writer->metadata_count > 0) {
        qsort(writer->metadata, writer->metadata_count, sizeof *writer->metadata, compare_pairs);
    }
    cJSON *header = cJSON_CreateObject();
    char *text = header != NULL && fill_header(header, writer) ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    return text;
}

/* The total must be what the reader opens by path. */
static lilac_status check_limits(lilac_context *context, const lilac_safetensors_writer *writer, const char *path,
                                 const char *header) {
    size_t total = lilac_round_up(strlen(header), DATA_ALIGNMENT) + DATA_ALIGNMENT;
    bool fits = total <= LILAC_SAFETENSORS_MAX_HEADER;
    for (size_t i = 0; fits && i < writer->tensor_count; i++) {
        size_t bytes;
        fits = lilac_size_multiply(writer->tensors[i].count, sizeof(float), &bytes) &&
               lilac_size_add(total, bytes, &total) && total <= LILAC_SAFETENSORS_MAX_FILE;
    }
    if (!fits) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: the tensors are too large for one file", path);
    }
    const lilac_json_limits limits = {.depth = LILAC_SAFETENSORS_MAX_DEPTH, .values = LILAC_SAFETENSORS_MAX_VALUES};
    lilac_json_problem problem;
    if (lilac_json_check(header, strlen(header), limits, &problem) != LILAC_JSON_VALID) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: the names and metadata give no valid header: %s", path,
                          problem.what);
    }
    return LILAC_OK;
}

static lilac_status write_tensor(lilac_context *context, lilac_file_writer *file, const writer_tensor *tensor) {
    if (tensor->dtype == LILAC_SAFETENSORS_F32) {
        return lilac_file_writer_write(context, file, tensor->data, tensor->count * sizeof(float));
    }
    uint16_t converted[CONVERT_ELEMENTS];
    for (size_t begin = 0; begin < tensor->count; begin += CONVERT_ELEMENTS) {
        const size_t count = lilac_size_min(tensor->count - begin, CONVERT_ELEMENTS);
        for (size_t i = 0; i < count; i++) {
            converted[i] = lilac_bf16_from_float(tensor->data[begin + i]);
        }
        LILAC_TRY(lilac_file_writer_write(context, file, converted, count * sizeof converted[0]));
    }
    return LILAC_OK;
}

static lilac_status write_content(lilac_context *context, lilac_file_writer *file,
                                  const lilac_safetensors_writer *writer, const char *header) {
    const size_t length = strlen(header);
    const uint64_t padded = lilac_round_up(length, DATA_ALIGNMENT);
    LILAC_TRY(lilac_file_writer_write(context, file, &padded, sizeof padded));
    LILAC_TRY(lilac_file_writer_write(context, file, header, length));
    LILAC_TRY(lilac_file_writer_write(context, file, "       ", (size_t)padded - length));
    for (size_t i = 0; i < writer->tensor_count; i++) {
        LILAC_TRY(write_tensor(context, file, &writer->tensors[i]));
    }
    return LILAC_OK;
}

lilac_status lilac_safetensors_writer_write(lilac_context *context, lilac_safetensors_writer *writer,
                                            const char *path) {
    if (writer == NULL || path == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "safetensors writer: null pointer");
    }
    char *header = print_header(writer);
    if (header == NULL) {
        return lilac_fail(context, LILAC_ERROR_MEMORY, "%s: out of memory for its header", path);
    }
    lilac_file_writer *file = NULL;
    lilac_status status = check_limits(context, writer, path, header);
    if (status == LILAC_OK) {
        status = lilac_file_writer_open(context, path, &file);
    }
    if (status == LILAC_OK) {
        status = write_content(context, file, writer, header);
        if (status == LILAC_OK) {
            status = lilac_file_writer_commit(context, file);
        } else {
            lilac_file_writer_abort(file);
        }
    }
    cJSON_free(header);
    return status;
}
