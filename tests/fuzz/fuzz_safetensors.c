/* SPDX-License-Identifier: MIT */
/* Safetensors files: every tensor lies in the file; what can be read as floats is written and read again. */
#include "fuzz.h"

#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

static bool is_float(const lilac_safetensors_tensor *tensor) {
    return tensor->dtype == LILAC_SAFETENSORS_F32 || tensor->dtype == LILAC_SAFETENSORS_BF16 ||
           tensor->dtype == LILAC_SAFETENSORS_F16 || tensor->dtype == LILAC_SAFETENSORS_F64;
}

static bool writable(const lilac_safetensors_tensor *tensor) {
    return is_float(tensor) && tensor->name[0] != '\0' && strlen(tensor->name) < LILAC_SAFETENSORS_NAME_SIZE;
}

static float *read_tensor(const lilac_safetensors_file *file, const lilac_safetensors_tensor *tensor) {
    float *values = malloc((tensor->count + 1) * sizeof *values);
    fuzz_require(values != NULL, "there is memory");
    const lilac_status status =
        lilac_safetensors_read_f32(fuzz_context(), file, tensor->name, tensor->rank, tensor->shape, values);
    fuzz_require((status == LILAC_OK) == is_float(tensor), "floats can be read and nothing else");
    return values;
}

/* Writes what of the file can be written; values gets the floats of each tensor, which must outlive the writer. */
static void write_file(const lilac_safetensors_file *file, float **values) {
    lilac_safetensors_writer *writer;
    fuzz_require(lilac_safetensors_writer_create(fuzz_context(), &writer) == LILAC_OK, "a writer can be created");
    const char *kind = lilac_safetensors_metadata(file, "format");
    if (kind != NULL) {
        fuzz_require(lilac_safetensors_writer_add_metadata(fuzz_context(), writer, "format", kind) == LILAC_OK,
                     "metadata can be written");
    }
    for (size_t i = 0; i < lilac_safetensors_count(file); i++) {
        const lilac_safetensors_tensor *tensor = lilac_safetensors_tensor_at(file, i);
        values[i] = read_tensor(file, tensor);
        if (writable(tensor)) {
            const lilac_safetensors_dtype dtype =
                tensor->dtype == LILAC_SAFETENSORS_BF16 ? LILAC_SAFETENSORS_BF16 : LILAC_SAFETENSORS_F32;
            fuzz_require(lilac_safetensors_writer_add(fuzz_context(), writer, tensor->name, dtype, tensor->rank,
                                                      tensor->shape, values[i]) == LILAC_OK,
                         "a tensor can be written");
        }
    }
    fuzz_require(lilac_safetensors_writer_write(fuzz_context(), writer, fuzz_output_file()) == LILAC_OK,
                 "the file can be written");
    lilac_safetensors_writer_destroy(writer);
}

/* NaNs stay NaNs, but rounding to bf16 may change their bits. */
static bool same_values(size_t count, const float *a, const float *b) {
    for (size_t i = 0; i < count; i++) {
        if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]))) {
            return false;
        }
    }
    return true;
}

static void compare(const lilac_safetensors_file *file, float *const *values) {
    lilac_safetensors_file *written;
    fuzz_require(lilac_safetensors_open(fuzz_context(), fuzz_output_file(), &written) == LILAC_OK,
                 "what was written can be opened");
    const char *before = lilac_safetensors_metadata(file, "format");
    const char *after = lilac_safetensors_metadata(written, "format");
    fuzz_require((before == NULL) == (after == NULL) && (before == NULL || strcmp(before, after) == 0),
                 "metadata is read as written");
    for (size_t i = 0; i < lilac_safetensors_count(file); i++) {
        const lilac_safetensors_tensor *tensor = lilac_safetensors_tensor_at(file, i);
        if (writable(tensor)) {
            float *read = read_tensor(written, lilac_safetensors_find(written, tensor->name));
            fuzz_require(same_values(tensor->count, values[i], read), "a tensor is read as written");
            free(read);
        }
    }
    lilac_safetensors_close(written);
}

static unsigned sum_of_bytes(const lilac_safetensors_tensor *tensor) {
    unsigned sum = 0;
    for (size_t i = 0; i < tensor->bytes; i++) {
        sum += tensor->data[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lilac_safetensors_file *file;
    if (!fuzz_succeeded(lilac_safetensors_open_memory(fuzz_context(), "input", data, size, &file))) {
        return 0;
    }
    const size_t count = lilac_safetensors_count(file);
    unsigned expected = 0, found = 0;
    for (size_t i = 0; i < count; i++) {
        const lilac_safetensors_tensor *tensor = lilac_safetensors_tensor_at(file, i);
        fuzz_require(lilac_safetensors_find(file, tensor->name) == tensor, "a tensor is found by its name");
        found += sum_of_bytes(tensor);
    }
    uint64_t header;
    memcpy(&header, data, sizeof header);
    for (size_t i = sizeof header + (size_t)header; i < size; i++) {
        expected += data[i];
    }
    fuzz_require(found == expected, "the tensors cover the data, each byte once");
    float **values = calloc(count + 1, sizeof *values);
    fuzz_require(values != NULL, "there is memory");
    write_file(file, values);
    compare(file, values);
    for (size_t i = 0; i < count; i++) {
        free(values[i]);
    }
    free(values);
    lilac_safetensors_close(file);
    return 0;
}
