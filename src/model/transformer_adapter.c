/* SPDX-License-Identifier: MIT */
/* Adapters of a transformer: new ones for the layers that a pattern names, those of files, which layer is whose, and
 * merging. */
#include "adapt/adapter.h"
#include "adapt/merge.h"
#include "core/memory.h"
#include "model/transformer.h"

#include <string.h>

static lilac_lora_base make_base(const lilac_transformer *model, const lilac_linear_layer *layers, size_t count) {
    lilac_lora_base base = {.layers = layers, .layer_count = count};
    lilac_transformer_hash(model, base.hash);
    return base;
}

static lilac_status fail_layers(lilac_context *context, size_t count) {
    return lilac_fail_memory(context, "the layers to adapt", count * sizeof(lilac_linear_layer));
}

lilac_status lilac_transformer_adapter_create(lilac_context *context, const lilac_transformer *model,
                                              const char *patterns, const lilac_lora_config *config,
                                              lilac_adapter **out) {
    if (context == NULL || model == NULL || config == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    size_t count;
    LILAC_TRY(lilac_transformer_linear_layers(context, model, patterns, 0, NULL, &count));
    lilac_linear_layer *layers = lilac_memory_allocate(count, sizeof *layers);
    if (layers == NULL) {
        return fail_layers(context, count);
    }
    lilac_status status = lilac_transformer_linear_layers(context, model, patterns, count, layers, &count);
    if (status == LILAC_OK) {
        const lilac_lora_base base = make_base(model, layers, count);
        status = lilac_adapter_create(context, config, &base, out);
    }
    lilac_memory_free(layers);
    return status;
}

/* NULL: the model has no linear layer of that name. */
static const lilac_linear_layer *find_layer(const lilac_transformer *model, const char *name) {
    for (size_t l = 0; l < model->linear_count; l++) {
        if (strcmp(model->linear_layers[l].name, name) == 0) {
            return &model->linear_layers[l];
        }
    }
    return NULL;
}

/* *out = the layers of the model that the adapter's are called like, in the adapter's order, to be freed with
 * lilac_memory_free. Their shapes are not compared. */
static lilac_status find_layers(lilac_context *context, const lilac_transformer *model, const lilac_adapter *adapter,
                                lilac_linear_layer **out) {
    const size_t count = adapter->entry_count;
    lilac_linear_layer *layers = lilac_memory_allocate(count, sizeof *layers);
    if (layers == NULL) {
        return fail_layers(context, count);
    }
    for (size_t e = 0; e < count; e++) {
        const lilac_linear_layer *layer = find_layer(model, adapter->entries[e].name);
        if (layer == NULL) {
            lilac_memory_free(layers);
            return lilac_fail(context, LILAC_ERROR_BASE_MISMATCH, "the adapter's layer %s is none of this base's",
                              adapter->entries[e].name);
        }
        layers[e] = *layer;
    }
    *out = layers;
    return LILAC_OK;
}

/* Whether an adapter that was read belongs to the model: all of its layers are the model's, and the weights are those
 * that it was made for. */
static lilac_status check_adapter(lilac_context *context, const lilac_transformer *model,
                                  const lilac_adapter *adapter) {
    lilac_linear_layer *layers;
    LILAC_TRY(find_layers(context, model, adapter, &layers));
    const lilac_lora_base base = make_base(model, layers, adapter->entry_count);
    const lilac_status status = lilac_adapter_check_base(context, adapter, &base);
    lilac_memory_free(layers);
    return status;
}

lilac_status lilac_transformer_adapter_load(lilac_context *context, const lilac_transformer *model, const char *path,
                                            lilac_adapter **out) {
    if (context == NULL || model == NULL || path == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    lilac_adapter *adapter;
    LILAC_TRY(lilac_adapter_load(context, path, NULL, &adapter));
    const lilac_status status = check_adapter(context, model, adapter);
    if (status != LILAC_OK) {
        lilac_adapter_destroy(adapter);
        return lilac_fail(context, status, "%s: %s", path, lilac_context_message(context));
    }
    *out = adapter;
    return LILAC_OK;
}

lilac_status lilac_transformer_match_adapter(lilac_context *context, const lilac_transformer *model,
                                             const lilac_adapter *adapter, int *entries) {
    size_t matched = 0;
    for (size_t l = 0; l < model->linear_count; l++) {
        const lilac_linear_layer *layer = &model->linear_layers[l];
        entries[l] = -1;
        for (size_t e = 0; e < adapter->entry_count; e++) {
            const lilac_adapter_entry *entry = &adapter->entries[e];
            if (strcmp(entry->name, layer->name) == 0 && entry->in == layer->in && entry->out == layer->out) {
                entries[l] = (int)e;
                matched++;
            }
        }
    }
    if (matched != adapter->entry_count) {
        return lilac_fail(context, LILAC_ERROR_BASE_MISMATCH,
                          "the adapter has %zu layers of which the transformer has %zu of the same name and shape",
                          adapter->entry_count, matched);
    }
    return LILAC_OK;
}

static lilac_mergeable mergeable(lilac_transformer *model) {
    return (lilac_mergeable){.model = "transformer",
                             .count = model->parameter_count,
                             .parameters = model->parameters,
                             .pristine = &model->pristine};
}

lilac_status lilac_transformer_merge(lilac_context *context, lilac_transformer *model, const lilac_adapter *adapter) {
    if (context == NULL || model == NULL || adapter == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    lilac_linear_layer *layers;
    LILAC_TRY(find_layers(context, model, adapter, &layers));
    const lilac_mergeable weights = mergeable(model);
    const lilac_status status = lilac_merge(context, &weights, adapter, layers, adapter->entry_count);
    lilac_memory_free(layers);
    return status;
}

lilac_status lilac_transformer_unmerge(lilac_context *context, lilac_transformer *model) {
    if (model == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    const lilac_mergeable weights = mergeable(model);
    return lilac_unmerge(context, &weights);
}
