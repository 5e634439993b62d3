/* SPDX-License-Identifier: MIT */
/* Adapter files: safetensors with the adapter's settings and the hash of its base as metadata. docs/format.md describes
 * them. */
#include "adapt/adapter.h"
#include "core/memory.h"
#include "core/parameter_hash.h"
#include "format/number_text.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <string.h>

static const char format_name[] = "lilac.lora";
static const char format_version[] = "1";
static const char suffix_A[] = ".lora_A.weight", suffix_B[] = ".lora_B.weight";

static void transpose(size_t rows, size_t cols, const float *from, float *to) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++) {
            to[j * rows + i] = from[i * cols + j];
        }
    }
}

static lilac_status add_metadata(lilac_context *context, const lilac_adapter *adapter,
                                 lilac_safetensors_writer *writer) {
    char rank[LILAC_NUMBER_TEXT_SIZE], alpha[LILAC_NUMBER_TEXT_SIZE], hash[LILAC_HASH_TEXT_SIZE], order[32];
    snprintf(rank, sizeof rank, "%zu", adapter->config.rank);
    lilac_number_text(adapter->config.alpha, alpha);
    lilac_hash_text(adapter->base_hash, LILAC_HASH_SIZE, hash);
    const char *const entries[][2] = {
        {"format", format_name},
        {"format_version", format_version},
        {"rank", rank},
        {"alpha", alpha},
        {"scale_rule", lilac_lora_scale_rule_name(adapter->config.scale_rule)},
        {"initialisation", lilac_lora_initialisation_name(adapter->config.initialisation)},
        {"base_sha256", hash},
    };
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, entries[i][0], entries[i][1]));
    }
    /* The container does not keep an order of tensors; the layers' order matters to the base. */
    for (size_t i = 0; i < adapter->entry_count; i++) {
        snprintf(order, sizeof order, "layer.%zu", i);
        LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, order, adapter->entries[i].name));
    }
    return LILAC_OK;
}

/* Adds all tensors; B is stored as out x r, so it is transposed back into the scratch block (as large as the
 * parameters). */
static lilac_status add_tensors(lilac_context *context, const lilac_adapter *adapter, float *scratch,
                                lilac_safetensors_writer *writer) {
    for (size_t i = 0; i < adapter->entry_count; i++) {
        const lilac_adapter_entry *entry = &adapter->entries[i];
        const size_t shape_A[] = {adapter->config.rank, entry->in}, shape_B[] = {entry->out, adapter->config.rank};
        char name[LILAC_SAFETENSORS_NAME_SIZE];
        transpose(adapter->config.rank, entry->out, adapter->parameters + entry->Bt, scratch + entry->Bt);
        snprintf(name, sizeof name, "%s%s", entry->name, suffix_A);
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, name, LILAC_SAFETENSORS_F32, 2, shape_A,
                                               adapter->parameters + entry->A));
        snprintf(name, sizeof name, "%s%s", entry->name, suffix_B);
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, name, LILAC_SAFETENSORS_F32, 2, shape_B,
                                               scratch + entry->Bt));
    }
    return LILAC_OK;
}

lilac_status lilac_adapter_save(lilac_context *context, const lilac_adapter *adapter, const char *path) {
    if (context == NULL || adapter == NULL || path == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    float *scratch = lilac_memory_allocate(adapter->parameter_count, sizeof *scratch);
    if (scratch == NULL) {
        return lilac_fail_memory(context, "writing an adapter", adapter->parameter_count * sizeof *scratch);
    }
    lilac_safetensors_writer *writer = NULL;
    lilac_status status = lilac_safetensors_writer_create(context, &writer);
    if (status == LILAC_OK) {
        status = add_metadata(context, adapter, writer);
    }
    if (status == LILAC_OK) {
        status = add_tensors(context, adapter, scratch, writer);
    }
    if (status == LILAC_OK) {
        status = lilac_safetensors_writer_write(context, writer, path);
    }
    lilac_safetensors_writer_destroy(writer);
    lilac_memory_free(scratch);
    return status;
}

/* What loading carries from step to step. */
typedef struct {
    lilac_context *context;
    const char *path;
    lilac_safetensors_file *file;
    lilac_lora_config config;
    lilac_lora_base base; /* as the file describes it */
    lilac_linear_layer *layers;
} loading;

static lilac_status metadata(const loading *load, const char *key, const char **value) {
    *value = lilac_safetensors_metadata(load->file, key);
    if (*value == NULL) {
        return lilac_fail(load->context, LILAC_ERROR_FORMAT, "%s: the metadata lacks \"%s\"", load->path, key);
    }
    return LILAC_OK;
}

static lilac_status read_config(loading *load) {
    const char *rank, *alpha, *rule, *initialisation;
    LILAC_TRY(metadata(load, "rank", &rank));
    LILAC_TRY(metadata(load, "alpha", &alpha));
    LILAC_TRY(metadata(load, "scale_rule", &rule));
    LILAC_TRY(metadata(load, "initialisation", &initialisation));
    uint64_t r;
    if (!lilac_number_parse_whole(rank, &r) || r == 0 || r > INT32_MAX) {
        return lilac_safetensors_bad_metadata(load->context, load->file, "rank", "a whole number from 1 to 2147483647");
    }
    load->config.rank = (size_t)r;
    if (!lilac_number_parse(alpha, &load->config.alpha)) {
        return lilac_safetensors_bad_metadata(load->context, load->file, "alpha", "a finite number");
    }
    if (lilac_lora_scale_rule_parse(rule, &load->config.scale_rule) != LILAC_OK) {
        return lilac_safetensors_bad_metadata(load->context, load->file, "scale_rule",
                                              "fixed, alpha/r or alpha/sqrt(r)");
    }
    if (lilac_lora_initialisation_parse(initialisation, &load->config.initialisation) != LILAC_OK) {
        return lilac_safetensors_bad_metadata(load->context, load->file, "initialisation", "standard or report");
    }
    return LILAC_OK;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static lilac_status read_hash(loading *load) {
    const char *text;
    LILAC_TRY(metadata(load, "base_sha256", &text));
    bool valid = strlen(text) == 2 * LILAC_HASH_SIZE;
    for (size_t i = 0; valid && i < LILAC_HASH_SIZE; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        valid = high >= 0 && low >= 0;
        load->base.hash[i] = (uint8_t)(valid ? high * 16 + low : 0);
    }
    return valid ? LILAC_OK
                 : lilac_safetensors_bad_metadata(load->context, load->file, "base_sha256", "64 hexadecimal digits");
}

/* One layer's name and shape, from its two tensors. */
static lilac_status read_layer(loading *load, size_t index) {
    char key[32], name_A[LILAC_SAFETENSORS_NAME_SIZE], name_B[LILAC_SAFETENSORS_NAME_SIZE];
    const char *name;
    snprintf(key, sizeof key, "layer.%zu", index);
    LILAC_TRY(metadata(load, key, &name));
    if (strlen(name) == 0 || strlen(name) >= LILAC_LAYER_NAME_SIZE) {
        return lilac_safetensors_bad_metadata(load->context, load->file, key, "a layer's name of 1 to 95 bytes");
    }
    snprintf(name_A, sizeof name_A, "%s%s", name, suffix_A);
    snprintf(name_B, sizeof name_B, "%s%s", name, suffix_B);
    const lilac_safetensors_tensor *A = lilac_safetensors_find(load->file, name_A);
    const lilac_safetensors_tensor *B = lilac_safetensors_find(load->file, name_B);
    if (A == NULL || B == NULL) {
        return lilac_fail(load->context, LILAC_ERROR_FORMAT, "%s: tensor \"%s\" is missing", load->path,
                          A == NULL ? name_A : name_B);
    }
    if (A->rank != 2 || B->rank != 2) {
        return lilac_fail(load->context, LILAC_ERROR_SHAPE, "%s: tensor \"%s\" has %d dimensions, expected 2",
                          load->path, A->rank != 2 ? name_A : name_B, A->rank != 2 ? A->rank : B->rank);
    }
    const size_t r = load->config.rank;
    if (A->shape[0] != r || B->shape[1] != r || A->shape[1] == 0 || B->shape[0] == 0) {
        return lilac_fail(load->context, LILAC_ERROR_SHAPE,
                          "%s: layer \"%s\": A is %zu x %zu and B is %zu x %zu, expected %zu x in and out x %zu",
                          load->path, name, A->shape[0], A->shape[1], B->shape[0], B->shape[1], r, r);
    }
    load->layers[index] = (lilac_linear_layer){.name = name, .in = A->shape[1], .out = B->shape[0]};
    return LILAC_OK;
}

static lilac_status read_layers(loading *load) {
    const size_t tensors = lilac_safetensors_count(load->file);
    if (tensors == 0 || tensors % 2 != 0) {
        return lilac_fail(load->context, LILAC_ERROR_FORMAT, "%s: %zu tensors, expected two for each layer", load->path,
                          tensors);
    }
    load->layers = lilac_memory_allocate(tensors / 2, sizeof *load->layers);
    if (load->layers == NULL) {
        return lilac_fail_memory(load->context, "an adapter's layers", tensors / 2 * sizeof *load->layers);
    }
    load->base.layers = load->layers;
    load->base.layer_count = tensors / 2;
    for (size_t i = 0; i < load->base.layer_count; i++) {
        LILAC_TRY(read_layer(load, i));
    }
    char key[32], expected[64];
    snprintf(key, sizeof key, "layer.%zu", load->base.layer_count);
    const char *name = lilac_safetensors_metadata(load->file, key);
    if (name != NULL) {
        snprintf(expected, sizeof expected, "none: there are tensors for %zu layers", load->base.layer_count);
        return lilac_safetensors_bad_metadata(load->context, load->file, key, expected);
    }
    return LILAC_OK;
}

static lilac_status read_weights(const loading *load, lilac_adapter *adapter) {
    /* B arrives as out x r where its transpose will stand, and needs room to be turned in. */
    float *scratch = lilac_memory_allocate(adapter->parameter_count, sizeof *scratch);
    if (scratch == NULL) {
        return lilac_fail_memory(load->context, "reading an adapter", adapter->parameter_count * sizeof *scratch);
    }
    lilac_status status = LILAC_OK;
    for (size_t i = 0; status == LILAC_OK && i < adapter->entry_count; i++) {
        const lilac_adapter_entry *entry = &adapter->entries[i];
        const size_t shape_A[] = {adapter->config.rank, entry->in}, shape_B[] = {entry->out, adapter->config.rank};
        char name[LILAC_SAFETENSORS_NAME_SIZE];
        snprintf(name, sizeof name, "%s%s", entry->name, suffix_A);
        status =
            lilac_safetensors_read_f32(load->context, load->file, name, 2, shape_A, adapter->parameters + entry->A);
        if (status == LILAC_OK) {
            snprintf(name, sizeof name, "%s%s", entry->name, suffix_B);
            status = lilac_safetensors_read_f32(load->context, load->file, name, 2, shape_B, scratch + entry->Bt);
            transpose(entry->out, adapter->config.rank, scratch + entry->Bt, adapter->parameters + entry->Bt);
        }
    }
    lilac_memory_free(scratch);
    return status;
}

static lilac_status read_adapter(loading *load, const lilac_lora_base *base, lilac_adapter **out) {
    LILAC_TRY(lilac_safetensors_check_kind(load->context, load->file, "an adapter file", format_name, format_version));
    LILAC_TRY(read_config(load));
    LILAC_TRY(read_hash(load));
    LILAC_TRY(read_layers(load));
    lilac_adapter *adapter;
    const lilac_status created = lilac_adapter_create(load->context, &load->config, &load->base, &adapter);
    if (created != LILAC_OK) {
        /* The impossible argument is the file's. */
        return lilac_fail(load->context, created == LILAC_ERROR_ARGUMENT ? LILAC_ERROR_FORMAT : created, "%s: %s",
                          load->path, lilac_context_message(load->context));
    }
    lilac_status status = read_weights(load, adapter);
    if (status == LILAC_OK && base != NULL) {
        status = lilac_adapter_check_base(load->context, adapter, base);
        if (status != LILAC_OK) {
            status = lilac_fail(load->context, status, "%s: %s", load->path, lilac_context_message(load->context));
        }
    }
    if (status != LILAC_OK) {
        lilac_adapter_destroy(adapter);
        return status;
    }
    *out = adapter;
    return LILAC_OK;
}

lilac_status lilac_adapter_load(lilac_context *context, const char *path, const lilac_lora_base *base,
                                lilac_adapter **out) {
    if (context == NULL || path == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "adapter: a null pointer");
    }
    loading load = {.context = context, .path = path};
    LILAC_TRY(lilac_safetensors_open(context, path, &load.file));
    const lilac_status status = read_adapter(&load, base, out);
    lilac_memory_free(load.layers);
    lilac_safetensors_close(load.file);
    return status;
}
