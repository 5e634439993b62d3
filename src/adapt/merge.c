/* SPDX-License-Identifier: MIT */
#include "adapt/merge.h"

#include "adapt/adapter.h"
#include "core/memory.h"

#include <string.h>

lilac_status lilac_pristine_copy(lilac_context *context, const float *pristine, size_t count, float **out) {
    float *copy = NULL;
    if (pristine != NULL) {
        copy = lilac_memory_allocate(count, sizeof *copy);
        if (copy == NULL) {
            return lilac_fail_memory(context, "the pristine weights", count * sizeof *copy);
        }
        memcpy(copy, pristine, count * sizeof *copy);
    }
    *out = copy;
    return LILAC_OK;
}

lilac_status lilac_merge(lilac_context *context, const lilac_mergeable *weights, const lilac_adapter *adapter,
                         const lilac_linear_layer *layers, size_t layer_count) {
    if (*weights->pristine != NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: an adapter is merged already; unmerge it first",
                          weights->model);
    }
    /* Before the copy: a refusal should not cost one. */
    LILAC_TRY(lilac_adapter_check_layers(context, adapter, layers, layer_count));
    LILAC_TRY(lilac_pristine_copy(context, weights->parameters, weights->count, weights->pristine));
    const lilac_status status = lilac_adapter_merge(context, adapter, layers, layer_count);
    if (status != LILAC_OK) {
        /* Some layers may have changed. */
        LILAC_TRY(lilac_unmerge(context, weights));
    }
    return status;
}

lilac_status lilac_unmerge(lilac_context *context, const lilac_mergeable *weights) {
    if (*weights->pristine == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: no adapter is merged", weights->model);
    }
    memcpy(weights->parameters, *weights->pristine, weights->count * sizeof *weights->parameters);
    lilac_memory_free(*weights->pristine);
    *weights->pristine = NULL;
    return LILAC_OK;
}
