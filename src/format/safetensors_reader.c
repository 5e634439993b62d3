/* SPDX-License-Identifier: MIT */
#include "format/safetensors.h"

#include "core/bf16.h"
#include "core/f16.h"
#include "core/memory.h"
#include "format/json_check.h"
#include "format/number_text.h"
#include "runtime/file.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the data of a file is used as it is: little-endian");
_Static_assert(LILAC_SAFETENSORS_MAX_RANK == 8, "the initialiser in parse_tensor has a 1 for every dimension");

enum {
    LENGTH_SIZE = 8, /* bytes of the header's length */
    SHAPE_TEXT = 22 * LILAC_SAFETENSORS_MAX_RANK + 4
};

/* In the order of lilac_safetensors_dtype. */
static const struct {
    const char *name;
    size_t size;
} dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
              {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};

typedef struct metadata_pair {
    const char *key;
    const char *value;
} metadata_pair;

struct lilac_safetensors_file {
    unsigned char *owned;      /* the file's bytes; NULL when the caller keeps them */
    const unsigned char *data; /* behind the header */
    size_t data_size;
    cJSON *header; /* names and metadata point into it */
    lilac_safetensors_tensor *tensors;
    size_t tensor_count;
    metadata_pair *metadata;
    size_t metadata_count;
    char name[];
};

const char *lilac_safetensors_dtype_name(lilac_safetensors_dtype dtype) {
    return dtypes[dtype].name;
}

size_t lilac_safetensors_dtype_size(lilac_safetensors_dtype dtype) {
    return dtypes[dtype].size;
}

static lilac_status fail_tensor(lilac_context *context, const lilac_safetensors_file *file, const char *tensor,
                                lilac_status status, const char *why) {
    return lilac_fail(context, status, "%s: tensor \"%.100s\": %s", file->name, tensor, why);
}

static lilac_status parse_dtype(lilac_context *context, const lilac_safetensors_file *file, const cJSON *value,
                                lilac_safetensors_tensor *tensor) {
    if (!cJSON_IsString(value)) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT, "its dtype is missing or not a string");
    }
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(value->valuestring, dtypes[i].name) == 0) {
            tensor->dtype = (lilac_safetensors_dtype)i;
            return LILAC_OK;
        }
    }
    return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: tensor \"%.100s\": unknown dtype \"%.20s\"", file->name,
                      tensor->name, value->valuestring);
}

/* Numbers are integers from 0 to 2^53 already, thanks to lilac_json_check. */
static lilac_status parse_shape(lilac_context *context, const lilac_safetensors_file *file, const cJSON *value,
                                lilac_safetensors_tensor *tensor) {
    if (!cJSON_IsArray(value)) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT, "its shape is missing or not an array");
    }
    for (const cJSON *item = value->child; item != NULL; item = item->next) {
        if (!cJSON_IsNumber(item)) {
            return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT,
                               "its shape holds something other than integers");
        }
        if (tensor->rank == LILAC_SAFETENSORS_MAX_RANK) {
            return fail_tensor(context, file, tensor->name, LILAC_ERROR_UNSUPPORTED, "it has more than 8 dimensions");
        }
        const size_t size = (size_t)item->valuedouble;
        tensor->shape[tensor->rank] = size;
        tensor->rank++;
        if (!lilac_size_multiply(tensor->count, size, &tensor->count)) {
            return fail_tensor(context, file, tensor->name, LILAC_ERROR_OVERFLOW, "its shape is too large");
        }
    }
    if (!lilac_size_multiply(tensor->count, dtypes[tensor->dtype].size, &tensor->bytes)) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_OVERFLOW, "its shape is too large");
    }
    return LILAC_OK;
}

static lilac_status parse_offsets(lilac_context *context, const lilac_safetensors_file *file, const cJSON *value,
                                  lilac_safetensors_tensor *tensor) {
    const cJSON *first = cJSON_IsArray(value) ? value->child : NULL;
    const cJSON *second = first != NULL ? first->next : NULL;
    if (!cJSON_IsNumber(first) || !cJSON_IsNumber(second) || second->next != NULL) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT,
                           "its data_offsets are missing or not two integers");
    }
    const uint64_t begin = (uint64_t)first->valuedouble;
    const uint64_t end = (uint64_t)second->valuedouble;
    if (begin > end) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT, "its data ends before it begins");
    }
    if (end > file->data_size) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED,
                          "%s: tensor \"%.100s\": its data ends at byte %ju of the %zu bytes behind the header",
                          file->name, tensor->name, (uintmax_t)end, file->data_size);
    }
    if (end - begin != tensor->bytes) {
        return lilac_fail(context, LILAC_ERROR_FORMAT,
                          "%s: tensor \"%.100s\": its shape and dtype need %zu bytes, its data_offsets give %ju",
                          file->name, tensor->name, tensor->bytes, (uintmax_t)(end - begin));
    }
    tensor->data = file->data + begin;
    return LILAC_OK;
}

static lilac_status parse_tensor(lilac_context *context, const lilac_safetensors_file *file, const cJSON *item,
                                 lilac_safetensors_tensor *tensor) {
    *tensor = (lilac_safetensors_tensor){.name = item->string, .shape = {1, 1, 1, 1, 1, 1, 1, 1}, .count = 1};
    if (!cJSON_IsObject(item)) {
        return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT, "its description is not an object");
    }
    static const char *const keys[3] = {"dtype", "shape", "data_offsets"};
    const cJSON *values[3] = {NULL, NULL, NULL};
    for (const cJSON *child = item->child; child != NULL; child = child->next) {
        size_t key = 0;
        while (key < 3 && strcmp(child->string, keys[key]) != 0) {
            key++;
        }
        if (key == 3 || values[key] != NULL) {
            return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: tensor \"%.100s\": %s key \"%.40s\"", file->name,
                              tensor->name, key == 3 ? "unknown" : "duplicate", child->string);
        }
        values[key] = child;
    }
    LILAC_TRY(parse_dtype(context, file, values[0], tensor));
    LILAC_TRY(parse_shape(context, file, values[1], tensor));
    return parse_offsets(context, file, values[2], tensor);
}

/* Both kinds start with their name. */
static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

_Static_assert(offsetof(lilac_safetensors_tensor, name) == 0 && offsetof(metadata_pair, key) == 0, "compare_names");

static int compare_places(const void *a, const void *b) {
    const lilac_safetensors_tensor *left = a;
    const lilac_safetensors_tensor *right = b;
    if (left->data != right->data) {
        return left->data < right->data ? -1 : 1;
    }
    /* An empty tensor comes before the one that begins at the same byte. */
    return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

static lilac_status parse_metadata(lilac_context *context, lilac_safetensors_file *file, const cJSON *item) {
    if (!cJSON_IsObject(item)) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: __metadata__ is not an object", file->name);
    }
    size_t count = 0;
    for (const cJSON *child = item->child; child != NULL; child = child->next) {
        if (!cJSON_IsString(child)) {
            return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: __metadata__: the value of \"%.100s\" is not a string",
                              file->name, child->string);
        }
        count++;
    }
    file->metadata = lilac_memory_allocate(count, sizeof *file->metadata);
    if (file->metadata == NULL) {
        return lilac_fail_memory(context, file->name, count * sizeof *file->metadata);
    }
    for (const cJSON *child = item->child; child != NULL; child = child->next) {
        file->metadata[file->metadata_count] = (metadata_pair){.key = child->string, .value = child->valuestring};
        file->metadata_count++;
    }
    qsort(file->metadata, count, sizeof *file->metadata, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0) {
            return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: __metadata__: duplicate key \"%.100s\"", file->name,
                              file->metadata[i].key);
        }
    }
    return LILAC_OK;
}

static lilac_status parse_entries(lilac_context *context, lilac_safetensors_file *file) {
    size_t count = 0;
    for (const cJSON *item = file->header->child; item != NULL; item = item->next) {
        count++;
    }
    file->tensors = lilac_memory_allocate(count, sizeof *file->tensors);
    if (file->tensors == NULL) {
        return lilac_fail_memory(context, file->name, count * sizeof *file->tensors);
    }
    for (const cJSON *item = file->header->child; item != NULL; item = item->next) {
        if (strcmp(item->string, "__metadata__") != 0) {
            LILAC_TRY(parse_tensor(context, file, item, &file->tensors[file->tensor_count]));
            file->tensor_count++;
        } else if (file->metadata != NULL) {
            return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: duplicate __metadata__", file->name);
        } else {
            LILAC_TRY(parse_metadata(context, file, item));
        }
    }
    return LILAC_OK;
}

/* The tensors must cover the data without overlap and without a hole, where something could hide. */
static lilac_status check_places(lilac_context *context, const lilac_safetensors_file *file) {
    qsort(file->tensors, file->tensor_count, sizeof *file->tensors, compare_places);
    const unsigned char *next = file->data;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const lilac_safetensors_tensor *tensor = &file->tensors[i];
        if (tensor->data != next) {
            return fail_tensor(context, file, tensor->name, LILAC_ERROR_FORMAT,
                               tensor->data < next ? "its data overlaps that of another tensor"
                                                   : "bytes that belong to no tensor lie before its data");
        }
        next += tensor->bytes;
    }
    const size_t used = (size_t)(next - file->data);
    if (used != file->data_size) {
        return lilac_fail(context, LILAC_ERROR_TRAILING, "%s: %zu bytes follow the last tensor", file->name,
                          file->data_size - used);
    }
    return LILAC_OK;
}

static lilac_status sort_names(lilac_context *context, const lilac_safetensors_file *file) {
    qsort(file->tensors, file->tensor_count, sizeof *file->tensors, compare_names);
    for (size_t i = 1; i < file->tensor_count; i++) {
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0) {
            return fail_tensor(context, file, file->tensors[i].name, LILAC_ERROR_FORMAT, "its name is not unique");
        }
    }
    return LILAC_OK;
}

/* Finds the header; *length gets its bytes. */
static lilac_status check_frame(lilac_context *context, const char *name, const unsigned char *bytes, size_t size,
                                size_t *length) {
    if (size < LENGTH_SIZE) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED, "%s: %zu bytes are too few for a safetensors file", name,
                          size);
    }
    uint64_t announced;
    memcpy(&announced, bytes, LENGTH_SIZE);
    if (size > LENGTH_SIZE && bytes[LENGTH_SIZE] != '{') {
        return lilac_fail(context, LILAC_ERROR_MAGIC, "%s: not a safetensors file: expected '{' at byte 8, got 0x%02x",
                          name, (unsigned)bytes[LENGTH_SIZE]);
    }
    if (announced == 0 || announced > LILAC_SAFETENSORS_MAX_HEADER) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: header length: expected 1 to %d bytes, got %ju", name,
                          LILAC_SAFETENSORS_MAX_HEADER, (uintmax_t)announced);
    }
    if (announced > size - LENGTH_SIZE) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED, "%s: the header takes %ju bytes, only %zu follow its length",
                          name, (uintmax_t)announced, size - LENGTH_SIZE);
    }
    *length = (size_t)announced;
    return LILAC_OK;
}

static lilac_status parse_json(lilac_context *context, lilac_safetensors_file *file, const char *text, size_t length) {
    const lilac_json_limits limits = {.depth = LILAC_SAFETENSORS_MAX_DEPTH, .values = LILAC_SAFETENSORS_MAX_VALUES};
    lilac_json_problem problem;
    const lilac_json_verdict verdict = lilac_json_check(text, length, limits, &problem);
    if (verdict != LILAC_JSON_VALID) {
        const lilac_status status = verdict == LILAC_JSON_MALFORMED ? LILAC_ERROR_FORMAT : LILAC_ERROR_UNSUPPORTED;
        if (problem.entry == NULL) {
            return lilac_fail(context, status, "%s: header, byte %zu: %s", file->name, problem.offset, problem.what);
        }
        return lilac_fail(context, status, "%s: header, byte %zu, at or after entry \"%.*s\": %s", file->name,
                          problem.offset, problem.entry_length, problem.entry, problem.what);
    }
    /* The check accepts nothing that the parser refuses: only memory can be short. */
    file->header = cJSON_ParseWithLength(text, length);
    return file->header == NULL ? lilac_fail_memory(context, file->name, length) : LILAC_OK;
}

static lilac_status parse_file(lilac_context *context, lilac_safetensors_file *file, const unsigned char *bytes,
                               size_t size) {
    size_t length = 0;
    LILAC_TRY(check_frame(context, file->name, bytes, size, &length));
    file->data = bytes + LENGTH_SIZE + length;
    file->data_size = size - LENGTH_SIZE - length;
    LILAC_TRY(parse_json(context, file, (const char *)bytes + LENGTH_SIZE, length));
    LILAC_TRY(parse_entries(context, file));
    LILAC_TRY(check_places(context, file));
    return sort_names(context, file);
}

lilac_status lilac_safetensors_open_memory(lilac_context *context, const char *name, const void *data, size_t size,
                                           lilac_safetensors_file **file) {
    if (name == NULL || data == NULL || file == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "opening a safetensors file: null pointer");
    }
    const size_t name_size = strlen(name) + 1;
    lilac_safetensors_file *opened = lilac_memory_allocate(1, sizeof *opened + name_size);
    if (opened == NULL) {
        return lilac_fail_memory(context, name, sizeof *opened + name_size);
    }
    memcpy(opened->name, name, name_size);
    const lilac_status status = parse_file(context, opened, data, size);
    if (status != LILAC_OK) {
        lilac_safetensors_close(opened);
        return status;
    }
    *file = opened;
    return LILAC_OK;
}

lilac_status lilac_safetensors_open(lilac_context *context, const char *path, lilac_safetensors_file **file) {
    if (file == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "opening a safetensors file: null pointer");
    }
    unsigned char *bytes = NULL;
    size_t size = 0;
    LILAC_TRY(lilac_file_read(context, path, LILAC_SAFETENSORS_MAX_FILE, &bytes, &size));
    lilac_safetensors_file *opened = NULL;
    const lilac_status status = lilac_safetensors_open_memory(context, path, bytes, size, &opened);
    if (status != LILAC_OK) {
        lilac_memory_free(bytes);
        return status;
    }
    opened->owned = bytes;
    *file = opened;
    return LILAC_OK;
}

void lilac_safetensors_close(lilac_safetensors_file *file) {
    if (file == NULL) {
        return;
    }
    cJSON_Delete(file->header);
    lilac_memory_free(file->tensors);
    lilac_memory_free(file->metadata);
    lilac_memory_free(file->owned);
    lilac_memory_free(file);
}

size_t lilac_safetensors_count(const lilac_safetensors_file *file) {
    return file->tensor_count;
}

const lilac_safetensors_tensor *lilac_safetensors_tensor_at(const lilac_safetensors_file *file, size_t index) {
    return &file->tensors[index];
}

const lilac_safetensors_tensor *lilac_safetensors_find(const lilac_safetensors_file *file, const char *name) {
    return bsearch(&name, file->tensors, file->tensor_count, sizeof *file->tensors, compare_names);
}

const char *lilac_safetensors_metadata(const lilac_safetensors_file *file, const char *key) {
    if (file->metadata == NULL) {
        return NULL;
    }
    const metadata_pair *pair =
        bsearch(&key, file->metadata, file->metadata_count, sizeof *file->metadata, compare_names);
    return pair == NULL ? NULL : pair->value;
}

lilac_status lilac_safetensors_check_kind(lilac_context *context, const lilac_safetensors_file *file, const char *kind,
                                          const char *format, const char *version) {
    const char *found = lilac_safetensors_metadata(file, "format");
    if (found == NULL || strcmp(found, format) != 0) {
        const char *quote = found == NULL ? "" : "\"";
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED,
                          "%s: not %s: metadata \"format\" is %s%.40s%s, expected \"%s\"", file->name, kind, quote,
                          found == NULL ? "missing" : found, quote, format);
    }
    found = lilac_safetensors_metadata(file, "format_version");
    if (found == NULL) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: the metadata lacks \"format_version\"", file->name);
    }
    if (strcmp(found, version) != 0) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: format version \"%.40s\", this program reads \"%s\"",
                          file->name, found, version);
    }
    return LILAC_OK;
}

lilac_status lilac_safetensors_bad_metadata(lilac_context *context, const lilac_safetensors_file *file, const char *key,
                                            const char *expected) {
    const char *value = lilac_safetensors_metadata(file, key), *quote = value == NULL ? "" : "\"";
    return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: metadata \"%s\" is %s%.40s%s, expected %s", file->name, key,
                      quote, value == NULL ? "missing" : value, quote, expected);
}

lilac_status lilac_safetensors_read_whole(lilac_context *context, const lilac_safetensors_file *file, const char *key,
                                          uint64_t limit, uint64_t *out) {
    const char *text = lilac_safetensors_metadata(file, key);
    uint64_t value;
    if (text == NULL || !lilac_number_parse_whole(text, &value) || value > limit) {
        return lilac_safetensors_bad_metadata(context, file, key, "a whole number");
    }
    *out = value;
    return LILAC_OK;
}

lilac_status lilac_safetensors_read_number(lilac_context *context, const lilac_safetensors_file *file, const char *key,
                                           double *out) {
    const char *text = lilac_safetensors_metadata(file, key);
    if (text == NULL || !lilac_number_parse(text, out)) {
        return lilac_safetensors_bad_metadata(context, file, key, "a number");
    }
    return LILAC_OK;
}

static void convert(const lilac_safetensors_tensor *tensor, float *out) {
    for (size_t i = 0; i < tensor->count; i++) {
        if (tensor->dtype == LILAC_SAFETENSORS_F64) {
            double value;
            memcpy(&value, tensor->data + i * sizeof value, sizeof value);
            out[i] = (float)value;
        } else {
            uint16_t bits;
            memcpy(&bits, tensor->data + i * sizeof bits, sizeof bits);
            out[i] = tensor->dtype == LILAC_SAFETENSORS_BF16 ? lilac_float_from_bf16(bits) : lilac_float_from_f16(bits);
        }
    }
}

/* "(2, 3)", "(2,)" or "()". */
static const char *format_shape(int rank, const size_t *shape, char text[SHAPE_TEXT]) {
    size_t used = 0;
    text[used++] = '(';
    for (int i = 0; i < rank; i++) {
        used += (size_t)snprintf(text + used, SHAPE_TEXT - used, i == 0 ? "%zu" : ", %zu", shape[i]);
    }
    snprintf(text + used, SHAPE_TEXT - used, rank == 1 ? ",)" : ")");
    return text;
}

lilac_status lilac_safetensors_read_f32(lilac_context *context, const lilac_safetensors_file *file, const char *name,
                                        int rank, const size_t *shape, float *out) {
    if (file == NULL || name == NULL || (rank > 0 && shape == NULL) || out == NULL || rank < 0 ||
        rank > LILAC_SAFETENSORS_MAX_RANK) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "reading a tensor: a null pointer or an impossible rank");
    }
    const lilac_safetensors_tensor *tensor = lilac_safetensors_find(file, name);
    if (tensor == NULL) {
        return lilac_fail(context, LILAC_ERROR_NOT_FOUND, "%s: there is no tensor \"%.100s\"", file->name, name);
    }
    bool same = tensor->rank == rank;
    for (int i = 0; same && i < rank; i++) {
        same = tensor->shape[i] == shape[i];
    }
    if (!same) {
        char expected[SHAPE_TEXT];
        char found[SHAPE_TEXT];
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: tensor \"%.100s\": expected shape %s, found %s", file->name,
                          name, format_shape(rank, shape, expected), format_shape(tensor->rank, tensor->shape, found));
    }
    switch (tensor->dtype) {
    case LILAC_SAFETENSORS_F32:
        memcpy(out, tensor->data, tensor->bytes);
        return LILAC_OK;
    case LILAC_SAFETENSORS_BF16:
    case LILAC_SAFETENSORS_F16:
    case LILAC_SAFETENSORS_F64:
        convert(tensor, out);
        return LILAC_OK;
    default:
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED,
                          "%s: tensor \"%.100s\": expected dtype F32, BF16, F16 or F64, found %s", file->name, name,
                          dtypes[tensor->dtype].name);
    }
}
