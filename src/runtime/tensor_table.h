/* SPDX-License-Identifier: MIT */
/*
 * A table that cuts one block of floats into named tensors, so that all parameters (or gradients, or activations) of a
 * model are one allocation and one flat array.
 */
#ifndef LILAC_RUNTIME_TENSOR_TABLE_H
#define LILAC_RUNTIME_TENSOR_TABLE_H

#include "runtime/context.h"

#include <stddef.h>

enum {
    LILAC_TENSOR_MAX_RANK = 4,
    LILAC_TENSOR_NAME_SIZE = 128, /* with the terminating NUL */
    LILAC_TENSOR_ALIGNMENT = 16   /* floats: offsets are multiples of it, which makes 64 bytes */
};

typedef struct lilac_tensor_entry {
    char name[LILAC_TENSOR_NAME_SIZE];
    int rank;
    size_t shape[LILAC_TENSOR_MAX_RANK]; /* the first rank sizes; the others are 1 */
    size_t offset;                       /* of the first element, in floats from the start of the block */
    size_t count;                        /* elements: the product of the shape */
} lilac_tensor_entry;

typedef struct lilac_tensor_table {
    size_t capacity;
    size_t count;
    size_t total; /* floats in the block, a multiple of LILAC_TENSOR_ALIGNMENT */
    lilac_tensor_entry entries[];
} lilac_tensor_table;

/* Creates an empty table with room for capacity tensors. Errors: ARGUMENT, OVERFLOW, MEMORY. */
LILAC_MUST_USE lilac_status lilac_tensor_table_create(lilac_context *context, size_t capacity,
                                                      lilac_tensor_table **table);

/*
 * Appends a tensor behind those already there; rank is 0 (one element) to LILAC_TENSOR_MAX_RANK. The name is copied.
 * Errors: ARGUMENT (no room left, name empty, too long or taken, rank), OVERFLOW.
 */
LILAC_MUST_USE lilac_status lilac_tensor_table_append(lilac_context *context, lilac_tensor_table *table,
                                                      const char *name, int rank, const size_t *shape);

/* The number of floats the block needs. */
static inline size_t lilac_tensor_table_total(const lilac_tensor_table *table) {
    return table->total;
}

/* The tensor of that name, or NULL. */
const lilac_tensor_entry *lilac_tensor_table_find(const lilac_tensor_table *table, const char *name);

/* Frees the table; NULL is allowed. */
void lilac_tensor_table_destroy(lilac_tensor_table *table);

#endif
