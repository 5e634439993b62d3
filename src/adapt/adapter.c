/* SPDX-License-Identifier: MIT */
#include "adapt/adapter.h"

#include "core/memory.h"
#include "core/parameter_hash.h"
#include "nn/initialise.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void lilac_lora_config_default(lilac_lora_config *config) {
    *config = (lilac_lora_config){.rank = 8,
                                  .alpha = 8.0,
                                  .scale_rule = LILAC_LORA_SCALE_ALPHA_OVER_RANK,
                                  .initialisation = LILAC_LORA_INITIALISE_STANDARD};
}

static lilac_status check_config(lilac_context *context, const lilac_lora_config *config) {
    if (config->rank == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: the rank is 0, expected at least 1");
    }
    /* The scale is a float, and at most alpha. */
    if (!(fabs(config->alpha) <= (double)FLT_MAX)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: alpha is %g, expected a finite number",
                          config->alpha);
    }
    if ((unsigned)config->scale_rule > LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK ||
        (unsigned)config->initialisation > LILAC_LORA_INITIALISE_REPORT) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: unknown scale rule %d or initialisation %d",
                          (int)config->scale_rule, (int)config->initialisation);
    }
    return LILAC_OK;
}

static lilac_status check_layer(lilac_context *context, const lilac_lora_base *base, size_t index) {
    const lilac_linear_layer *layer = &base->layers[index];
    if (layer->name == NULL || strlen(layer->name) == 0 || strlen(layer->name) >= LILAC_LAYER_NAME_SIZE) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: layer %zu needs a name of 1 to %d bytes", index,
                          LILAC_LAYER_NAME_SIZE - 1);
    }
    for (const char *byte = layer->name; *byte != '\0'; byte++) {
        if (lilac_control_character(byte) > 0) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: layer %zu has a control character in its name",
                              index);
        }
    }
    if (layer->in == 0 || layer->out == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: layer %s is %zu x %zu, expected at least 1 x 1",
                          layer->name, layer->out, layer->in);
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(base->layers[i].name, layer->name) == 0) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: two layers are named %s", layer->name);
        }
    }
    return LILAC_OK;
}

/* Copies names and shapes and lays out the parameter block. */
static lilac_status fill_entries(lilac_context *context, const lilac_lora_base *base, lilac_adapter *adapter) {
    size_t total = 0;
    for (size_t i = 0; i < base->layer_count; i++) {
        LILAC_TRY(check_layer(context, base, i));
        const lilac_linear_layer *layer = &base->layers[i];
        lilac_adapter_entry *entry = &adapter->entries[i];
        size_t A, Bt;
        snprintf(entry->name, sizeof entry->name, "%s", layer->name);
        entry->in = layer->in;
        entry->out = layer->out;
        entry->A = total;
        if (!lilac_size_multiply(adapter->config.rank, layer->in, &A) ||
            !lilac_size_multiply(adapter->config.rank, layer->out, &Bt) || !lilac_size_add(total, A, &entry->Bt) ||
            !lilac_size_add(entry->Bt, Bt, &total)) {
            return lilac_fail(context, LILAC_ERROR_OVERFLOW, "adapter: rank %zu is too large for layer %s (%zu x %zu)",
                              adapter->config.rank, layer->name, layer->out, layer->in);
        }
    }
    adapter->parameter_count = total;
    return LILAC_OK;
}

static void initialise(const lilac_context *context, lilac_adapter *adapter) {
    for (size_t i = 0; i < adapter->entry_count; i++) {
        const lilac_adapter_entry *entry = &adapter->entries[i];
        const bool report = adapter->config.initialisation == LILAC_LORA_INITIALISE_REPORT;
        lilac_initialise_uniform(context, adapter->config.rank * entry->in, report ? adapter->config.rank : entry->in,
                                 lilac_random_stream(adapter->config.seed, LILAC_RANDOM_ADAPTER, i),
                                 adapter->parameters + entry->A);
    }
}

lilac_status lilac_adapter_create(lilac_context *context, const lilac_lora_config *config, const lilac_lora_base *base,
                                  lilac_adapter **out) {
    if (context == NULL || config == NULL || base == NULL || base->layers == NULL || base->layer_count == 0 ||
        out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer or a base without layers");
    }
    /* Bounds what a file can cost: the names are compared in pairs. */
    if (base->layer_count > LILAC_LORA_MAX_LAYERS) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: %zu layers, expected 1 to %d", base->layer_count,
                          LILAC_LORA_MAX_LAYERS);
    }
    LILAC_TRY(check_config(context, config));
    lilac_adapter *adapter = lilac_memory_allocate(1, sizeof *adapter);
    if (adapter == NULL) {
        return lilac_fail_memory(context, "an adapter", sizeof *adapter);
    }
    adapter->config = *config;
    adapter->strength = 1.0;
    memcpy(adapter->base_hash, base->hash, sizeof adapter->base_hash);
    adapter->entry_count = base->layer_count;
    adapter->entries = lilac_memory_allocate(base->layer_count, sizeof *adapter->entries);
    lilac_status status = adapter->entries == NULL
                              ? lilac_fail_memory(context, "an adapter", base->layer_count * sizeof *adapter->entries)
                              : fill_entries(context, base, adapter);
    if (status == LILAC_OK) {
        adapter->parameters = lilac_memory_allocate(adapter->parameter_count, sizeof(float));
        if (adapter->parameters == NULL) {
            status = lilac_fail_memory(context, "an adapter's weights", adapter->parameter_count * sizeof(float));
        }
    }
    if (status != LILAC_OK) {
        lilac_adapter_destroy(adapter);
        return status;
    }
    initialise(context, adapter);
    *out = adapter;
    return LILAC_OK;
}

void lilac_adapter_destroy(lilac_adapter *adapter) {
    if (adapter != NULL) {
        lilac_memory_free(adapter->parameters);
        lilac_memory_free(adapter->entries);
        lilac_memory_free(adapter);
    }
}

const lilac_lora_config *lilac_adapter_config(const lilac_adapter *adapter) {
    return &adapter->config;
}

double lilac_adapter_scale(const lilac_adapter *adapter) {
    const double alpha = adapter->config.alpha, rank = (double)adapter->config.rank;
    switch (adapter->config.scale_rule) {
    case LILAC_LORA_SCALE_FIXED:
        return adapter->strength * alpha;
    case LILAC_LORA_SCALE_ALPHA_OVER_RANK:
        return adapter->strength * alpha / rank;
    case LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK:
        return adapter->strength * alpha / sqrt(rank);
    }
    return 0.0;
}

lilac_status lilac_adapter_set_strength(lilac_adapter *adapter, double strength) {
    if (adapter == NULL) {
        return LILAC_ERROR_ARGUMENT;
    }
    const double before = adapter->strength;
    adapter->strength = strength;
    if (!isfinite(strength) || fabs(lilac_adapter_scale(adapter)) > (double)FLT_MAX) {
        adapter->strength = before;
        return LILAC_ERROR_ARGUMENT;
    }
    return LILAC_OK;
}

const uint8_t *lilac_adapter_base_hash(const lilac_adapter *adapter) {
    return adapter->base_hash;
}

size_t lilac_adapter_layer_count(const lilac_adapter *adapter) {
    return adapter->entry_count;
}

lilac_linear_layer lilac_adapter_layer(const lilac_adapter *adapter, size_t index) {
    const lilac_adapter_entry *entry = &adapter->entries[index];
    return (lilac_linear_layer){.name = entry->name, .in = entry->in, .out = entry->out};
}

size_t lilac_adapter_parameter_count(const lilac_adapter *adapter) {
    return adapter->parameter_count;
}

float *lilac_adapter_parameters(lilac_adapter *adapter) {
    return adapter->parameters;
}

lilac_low_rank lilac_adapter_term(const lilac_adapter *adapter, size_t index) {
    const lilac_adapter_entry *entry = &adapter->entries[index];
    return (lilac_low_rank){.rank = adapter->config.rank,
                            .in = entry->in,
                            .out = entry->out,
                            .scale = (float)lilac_adapter_scale(adapter),
                            .A = adapter->parameters + entry->A,
                            .Bt = adapter->parameters + entry->Bt};
}

lilac_status lilac_adapter_check_layers(lilac_context *context, const lilac_adapter *adapter,
                                        const lilac_linear_layer *layers, size_t layer_count) {
    if (layer_count != adapter->entry_count) {
        return lilac_fail(context, LILAC_ERROR_BASE_MISMATCH, "the adapter has %zu layers, this base has %zu",
                          adapter->entry_count, layer_count);
    }
    for (size_t i = 0; i < layer_count; i++) {
        const lilac_adapter_entry *entry = &adapter->entries[i];
        const lilac_linear_layer *layer = &layers[i];
        const char *name = layer->name == NULL ? "(no name)" : layer->name;
        if (strcmp(entry->name, name) != 0 || entry->in != layer->in || entry->out != layer->out) {
            return lilac_fail(context, LILAC_ERROR_BASE_MISMATCH,
                              "the adapter's layer %zu is %s (%zu x %zu), this base's is %s (%zu x %zu)", i,
                              entry->name, entry->out, entry->in, name, layer->out, layer->in);
        }
    }
    return LILAC_OK;
}

lilac_status lilac_adapter_check_base(lilac_context *context, const lilac_adapter *adapter,
                                      const lilac_lora_base *base) {
    if (adapter == NULL || base == NULL || base->layers == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    LILAC_TRY(lilac_adapter_check_layers(context, adapter, base->layers, base->layer_count));
    if (memcmp(adapter->base_hash, base->hash, sizeof base->hash) != 0) {
        /* The first 8 bytes are enough to tell two bases apart. */
        char made_for[LILAC_HASH_TEXT_SIZE], given[LILAC_HASH_TEXT_SIZE];
        lilac_hash_text(adapter->base_hash, 8, made_for);
        lilac_hash_text(base->hash, 8, given);
        return lilac_fail(context, LILAC_ERROR_BASE_MISMATCH,
                          "the adapter was made for the base with hash %s..., this base has hash %s...", made_for,
                          given);
    }
    return LILAC_OK;
}

lilac_status lilac_adapter_merge(lilac_context *context, const lilac_adapter *adapter, const lilac_linear_layer *layers,
                                 size_t layer_count) {
    if (context == NULL || adapter == NULL || layers == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    LILAC_TRY(lilac_adapter_check_layers(context, adapter, layers, layer_count));
    for (size_t i = 0; i < layer_count; i++) {
        if (layers[i].weight == NULL) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: layer %s has no weight to merge into",
                              layers[i].name);
        }
    }
    for (size_t i = 0; i < layer_count; i++) {
        const lilac_low_rank term = lilac_adapter_term(adapter, i);
        LILAC_TRY(lilac_low_rank_merge(context, &term, layers[i].weight));
    }
    return LILAC_OK;
}

static const char *const rule_names[] = {"fixed", "alpha/r", "alpha/sqrt(r)"};
static const char *const initialisation_names[] = {"standard", "report"};

const char *lilac_lora_scale_rule_name(lilac_lora_scale_rule rule) {
    return (unsigned)rule < 3 ? rule_names[rule] : "unknown";
}

lilac_status lilac_lora_scale_rule_parse(const char *name, lilac_lora_scale_rule *rule) {
    for (int i = 0; name != NULL && rule != NULL && i < 3; i++) {
        if (strcmp(name, rule_names[i]) == 0) {
            *rule = (lilac_lora_scale_rule)i;
            return LILAC_OK;
        }
    }
    return LILAC_ERROR_ARGUMENT;
}

const char *lilac_lora_initialisation_name(lilac_lora_initialisation initialisation) {
    return (unsigned)initialisation < 2 ? initialisation_names[initialisation] : "unknown";
}

lilac_status lilac_lora_initialisation_parse(const char *name, lilac_lora_initialisation *initialisation) {
    for (int i = 0; name != NULL && initialisation != NULL && i < 2; i++) {
        if (strcmp(name, initialisation_names[i]) == 0) {
            *initialisation = (lilac_lora_initialisation)i;
            return LILAC_OK;
        }
    }
    return LILAC_ERROR_ARGUMENT;
}
