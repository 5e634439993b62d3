/* SPDX-License-Identifier: MIT */
#include "runtime/tensor_table.h"

#include "core/memory.h"

#include <stdint.h>
#include <string.h>

lilac_status lilac_tensor_table_create(lilac_context *context, size_t capacity, lilac_tensor_table **table) {
    if (table == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor table: null pointer");
    }
    size_t bytes;
    if (!lilac_size_multiply(capacity, sizeof(lilac_tensor_entry), &bytes) ||
        !lilac_size_add(bytes, sizeof(lilac_tensor_table), &bytes)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "tensor table: %zu entries are too many", capacity);
    }
    lilac_tensor_table *created = lilac_memory_allocate(1, bytes);
    if (created == NULL) {
        return lilac_fail_memory(context, "a tensor table", bytes);
    }
    created->capacity = capacity;
    *table = created;
    return LILAC_OK;
}

lilac_status lilac_tensor_table_append(lilac_context *context, lilac_tensor_table *table, const char *name, int rank,
                                       const size_t *shape) {
    if (table == NULL || name == NULL || (rank > 0 && shape == NULL)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor table: null pointer");
    }
    const size_t length = strnlen(name, LILAC_TENSOR_NAME_SIZE);
    if (length == 0 || length == LILAC_TENSOR_NAME_SIZE) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor name \"%.*s\": expected 1 to %d bytes", (int)length,
                          name, LILAC_TENSOR_NAME_SIZE - 1);
    }
    if (rank < 0 || rank > LILAC_TENSOR_MAX_RANK) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\": expected a rank of 0 to %d, got %d", name,
                          LILAC_TENSOR_MAX_RANK, rank);
    }
    if (table->count == table->capacity) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\": the table is full with %zu entries", name,
                          table->capacity);
    }
    if (lilac_tensor_table_find(table, name) != NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "tensor \"%s\" is in the table already", name);
    }
    lilac_tensor_entry entry = {.rank = rank, .shape = {1, 1, 1, 1}, .offset = table->total, .count = 1};
    memcpy(entry.name, name, length);
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        entry.shape[i] = shape[i];
        fits = fits && lilac_size_multiply(entry.count, shape[i], &entry.count);
    }
    /* The block must stay addressable in bytes after rounding up. */
    size_t end = 0;
    fits = fits && lilac_size_add(entry.offset, entry.count, &end) &&
           end <= PTRDIFF_MAX / sizeof(float) - LILAC_TENSOR_ALIGNMENT;
    if (!fits) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "tensor \"%s\": its shape is too large", name);
    }
    table->entries[table->count] = entry;
    table->count++;
    table->total = lilac_round_up(end, LILAC_TENSOR_ALIGNMENT);
    return LILAC_OK;
}

const lilac_tensor_entry *lilac_tensor_table_find(const lilac_tensor_table *table, const char *name) {
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->entries[i].name, name) == 0) {
            return &table->entries[i];
        }
    }
    return NULL;
}

void lilac_tensor_table_destroy(lilac_tensor_table *table) {
    lilac_memory_free(table);
}
