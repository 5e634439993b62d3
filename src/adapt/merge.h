/* SPDX-License-Identifier: MIT */
/* Merging an adapter into a model of Lilac's, with the way back: what models have in common there. */
#ifndef LILAC_ADAPT_MERGE_H
#define LILAC_ADAPT_MERGE_H

#include <lilac/lora.h>

/* A model's block of weights, and where the model keeps a copy of them as they were before a merge. */
typedef struct lilac_mergeable {
    const char *model; /* its kind, with which messages begin */
    size_t count;
    float *parameters;
    float **pristine; /* *pristine is NULL while nothing is merged */
} lilac_mergeable;

/*
 * Adds the adapter to these layers, whose weights lie in the block, and keeps the block aside as it was. Errors:
 * ARGUMENT (one is merged already), MEMORY, those of lilac_adapter_merge; nothing is changed then.
 */
lilac_status lilac_merge(lilac_context *context, const lilac_mergeable *weights, const lilac_adapter *adapter,
                         const lilac_linear_layer *layers, size_t layer_count);

/* Brings the block back. Errors: ARGUMENT (nothing is merged). */
lilac_status lilac_unmerge(lilac_context *context, const lilac_mergeable *weights);

/* *out = a copy of count pristine weights to be freed with lilac_memory_free, or NULL where they are NULL. Errors:
 * MEMORY. */
lilac_status lilac_pristine_copy(lilac_context *context, const float *pristine, size_t count, float **out);

#endif
