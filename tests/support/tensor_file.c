/* SPDX-License-Identifier: MIT */
#include "support/tensor_file.h"

#include "format/safetensors.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

tensor_file tensor_file_with_metadata(const tensor_file *file, const char *key, const char *value) {
    tensor_file changed = {0};
    size_t count = 0;
    memcpy(changed.tensors, file->tensors, sizeof changed.tensors);
    for (const file_metadata *entry = file->metadata; entry->key != NULL; entry++) {
        if (strcmp(entry->key, key) != 0) {
            changed.metadata[count] = *entry;
            count++;
        }
    }
    if (value != NULL) {
        changed.metadata[count] = (file_metadata){key, value};
    }
    return changed;
}

tensor_file tensor_file_with_tensor(const tensor_file *file, file_tensor tensor) {
    tensor_file changed = {0};
    size_t count = 0;
    memcpy(changed.metadata, file->metadata, sizeof changed.metadata);
    for (const file_tensor *entry = file->tensors; entry->name != NULL; entry++) {
        if (strcmp(entry->name, tensor.name) != 0) {
            changed.tensors[count] = *entry;
            count++;
        }
    }
    if (tensor.rank >= 0) {
        changed.tensors[count] = tensor;
    }
    return changed;
}

void tensor_file_write(const tensor_file *file, const char *path) {
    enum { MAX_ELEMENTS = 4096 };
    static const float zeros[MAX_ELEMENTS];
    lilac_safetensors_writer *writer = NULL;
    assert_int_equal(lilac_safetensors_writer_create(NULL, &writer), LILAC_OK);
    for (const file_metadata *entry = file->metadata; entry->key != NULL; entry++) {
        assert_int_equal(lilac_safetensors_writer_add_metadata(NULL, writer, entry->key, entry->value), LILAC_OK);
    }
    for (const file_tensor *tensor = file->tensors; tensor->name != NULL; tensor++) {
        size_t count = 1;
        for (int i = 0; i < tensor->rank; i++) {
            count *= tensor->shape[i];
        }
        assert_true(count <= MAX_ELEMENTS);
        assert_int_equal(lilac_safetensors_writer_add(NULL, writer, tensor->name, LILAC_SAFETENSORS_F32, tensor->rank,
                                                      tensor->shape, zeros),
                         LILAC_OK);
    }
    assert_int_equal(lilac_safetensors_writer_write(NULL, writer, path), LILAC_OK);
    lilac_safetensors_writer_destroy(writer);
}
