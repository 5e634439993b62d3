/* SPDX-License-Identifier: MIT */
/* Where a transformer's weights lie in its block of parameters, and what they are called. */
#include "core/memory.h"
#include "model/transformer.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { TENSORS_PER_LAYER = 16, OTHER_TENSORS = 5 };

static size_t add_tensor(lilac_transformer *model, const char *prefix, const char *part, size_t rows, size_t cols) {
    lilac_transformer_tensor *tensor = &model->tensors[model->tensor_count++];
    snprintf(tensor->name, sizeof tensor->name, "%s%s", prefix, part);
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->offset = model->parameter_count;
    model->parameter_count += rows * lilac_size_max(cols, 1);
    return tensor->offset;
}

static void lay_out_layer(lilac_transformer *model, size_t index) {
    const size_t F = model->F, HD = model->HD, feed_forward = model->config.feed_forward;
    lilac_transformer_layer *layer = &model->layers[index];
    char prefix[32];
    snprintf(prefix, sizeof prefix, "layers.%zu.", index);
    layer->qkv_weight = add_tensor(model, prefix, "attention.query.weight", HD, F);
    add_tensor(model, prefix, "attention.key.weight", HD, F);
    add_tensor(model, prefix, "attention.value.weight", HD, F);
    layer->qkv_bias = add_tensor(model, prefix, "attention.query.bias", HD, 0);
    add_tensor(model, prefix, "attention.key.bias", HD, 0);
    add_tensor(model, prefix, "attention.value.bias", HD, 0);
    layer->output_weight = add_tensor(model, prefix, "attention.output.weight", F, HD);
    layer->output_bias = add_tensor(model, prefix, "attention.output.bias", F, 0);
    layer->norm1_weight = add_tensor(model, prefix, "norm1.weight", F, 0);
    layer->norm1_bias = add_tensor(model, prefix, "norm1.bias", F, 0);
    layer->up_weight = add_tensor(model, prefix, "feed_forward.up.weight", feed_forward, F);
    layer->up_bias = add_tensor(model, prefix, "feed_forward.up.bias", feed_forward, 0);
    layer->down_weight = add_tensor(model, prefix, "feed_forward.down.weight", F, feed_forward);
    layer->down_bias = add_tensor(model, prefix, "feed_forward.down.bias", F, 0);
    layer->norm2_weight = add_tensor(model, prefix, "norm2.weight", F, 0);
    layer->norm2_bias = add_tensor(model, prefix, "norm2.bias", F, 0);
}

/* The linear layers are the tensors with columns but for the first, the embedding. */
static void list_linear_layers(lilac_transformer *model) {
    size_t count = 0;
    for (size_t i = 1; i < model->tensor_count; i++) {
        const lilac_transformer_tensor *tensor = &model->tensors[i];
        if (tensor->cols > 0) {
            char *name = model->linear_names[count];
            memcpy(name, tensor->name, sizeof tensor->name);
            *strrchr(name, '.') = '\0';
            model->linear_layers[count++] = (lilac_linear_layer){
                .name = name, .in = tensor->cols, .out = tensor->rows, .weight = model->parameters + tensor->offset};
        }
    }
}

double lilac_transformer_weight_count(const lilac_transformer_config *config) {
    const double F = (double)config->value_width + (double)config->position_width;
    const double HD = (double)config->heads * (double)config->head_size, feed_forward = (double)config->feed_forward;
    const double O = config->output == LILAC_TRANSFORMER_CATEGORICAL ? 256.0 : 3.0 * (double)config->mixtures;
    const double attention = (F + 1) * 3 * HD + (HD + 1) * F, network = (F + 1) * feed_forward + (feed_forward + 1) * F;
    return (double)config->layers * (attention + network + 4 * F) + 256.0 * (double)config->value_width + 2 * F +
           (F + 1) * O;
}

lilac_status lilac_transformer_lay_out(lilac_context *context, lilac_transformer *model) {
    const lilac_transformer_config *config = &model->config;
    const size_t tensors = TENSORS_PER_LAYER * config->layers + OTHER_TENSORS;
    model->F = lilac_transformer_width(config);
    model->HD = config->heads * config->head_size;
    model->O = lilac_transformer_output_size(config);
    model->linear_count = LILAC_PROJECTION_COUNT * config->layers + 1;
    if (lilac_transformer_weight_count(config) >= (double)(SIZE_MAX / 16)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "transformer: the number of weights cannot be counted");
    }
    model->layers = lilac_memory_allocate(config->layers, sizeof *model->layers);
    model->tensors = lilac_memory_allocate(tensors, sizeof *model->tensors);
    model->linear_layers = lilac_memory_allocate(model->linear_count, sizeof *model->linear_layers);
    model->linear_names = lilac_memory_allocate(model->linear_count, sizeof *model->linear_names);
    if (model->layers == NULL || model->tensors == NULL || model->linear_layers == NULL ||
        model->linear_names == NULL) {
        return lilac_fail_memory(context, "a model's list of weights", tensors * sizeof *model->tensors);
    }
    add_tensor(model, "", "embedding.weight", 256, config->value_width);
    for (size_t l = 0; l < config->layers; l++) {
        lay_out_layer(model, l);
    }
    model->norm_weight = add_tensor(model, "", "norm.weight", model->F, 0);
    model->norm_bias = add_tensor(model, "", "norm.bias", model->F, 0);
    model->output_weight = add_tensor(model, "", "output.weight", model->O, model->F);
    model->output_bias = add_tensor(model, "", "output.bias", model->O, 0);
    model->parameters = lilac_memory_allocate(model->parameter_count, sizeof *model->parameters);
    if (model->parameters == NULL) {
        return lilac_fail_memory(context, "a model's weights", model->parameter_count * sizeof *model->parameters);
    }
    list_linear_layers(model);
    return LILAC_OK;
}

lilac_norm_offsets lilac_transformer_norm_at(const lilac_transformer *model, size_t index) {
    if (index == 2 * model->config.layers) {
        return (lilac_norm_offsets){.weight = model->norm_weight, .bias = model->norm_bias};
    }
    const lilac_transformer_layer *layer = &model->layers[index / 2];
    return index % 2 == 0 ? (lilac_norm_offsets){.weight = layer->norm1_weight, .bias = layer->norm1_bias}
                          : (lilac_norm_offsets){.weight = layer->norm2_weight, .bias = layer->norm2_bias};
}

/* Copies the pattern that *patterns begins with and moves on to the next; false when none is left. */
static bool next_pattern(const char **patterns, size_t size, char *pattern) {
    if (**patterns == '\0') {
        return false;
    }
    const size_t length = strcspn(*patterns, ",");
    snprintf(pattern, size, "%.*s", (int)lilac_size_min(length, size - 1), *patterns);
    *patterns += length + ((*patterns)[length] == ',' ? 1 : 0);
    return true;
}

static bool matches(const char *patterns, const char *name) {
    char pattern[sizeof(lilac_transformer_name)];
    while (next_pattern(&patterns, sizeof pattern, pattern)) {
        if (fnmatch(pattern, name, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* A pattern that matches nothing is most likely a mistyped one. */
static lilac_status check_patterns(lilac_context *context, const lilac_transformer *model, const char *patterns) {
    char pattern[sizeof(lilac_transformer_name)];
    for (size_t length = strcspn(patterns, ","); next_pattern(&patterns, sizeof pattern, pattern);
         length = strcspn(patterns, ",")) {
        if (length >= sizeof pattern) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "'%s...': a pattern of %zu characters, at most %zu can be",
                              pattern, length, sizeof pattern - 1);
        }
        size_t l = 0;
        while (l < model->linear_count && fnmatch(pattern, model->linear_names[l], 0) != 0) {
            l++;
        }
        if (l == model->linear_count) {
            return lilac_fail(context, LILAC_ERROR_NOT_FOUND, "no linear layer matches '%s'; there are %s to %s and %s",
                              pattern, model->linear_names[0], model->linear_names[model->linear_count - 2],
                              model->linear_names[model->linear_count - 1]);
        }
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_linear_layers(lilac_context *context, const lilac_transformer *model,
                                             const char *patterns, size_t capacity, lilac_linear_layer *layers,
                                             size_t *count) {
    if (context == NULL || model == NULL || count == NULL || (layers == NULL && capacity > 0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    if (patterns == NULL || *patterns == '\0') {
        patterns = "*";
    }
    LILAC_TRY(check_patterns(context, model, patterns));
    size_t found = 0;
    for (size_t l = 0; l < model->linear_count; l++) {
        if (matches(patterns, model->linear_names[l])) {
            if (found < capacity) {
                layers[found] = model->linear_layers[l];
            }
            found++;
        }
    }
    *count = found;
    return LILAC_OK;
}
