/* SPDX-License-Identifier: MIT */
#include "model/mlp.h"

#include "adapt/adapter.h"
#include "adapt/merge.h"
#include "core/memory.h"
#include "core/parameter_hash.h"
#include "nn/activation.h"
#include "nn/initialise.h"
#include "nn/linear.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CLASSES = 256 };

void lilac_mlp_config_default(lilac_mlp_config *config) {
    *config = (lilac_mlp_config){.layer_count = 3, .sizes = {784, 64, 64, 10}, .dropout = 0.1};
}

static lilac_status check_config(lilac_context *context, const lilac_mlp_config *config) {
    if (config->layer_count < 1 || config->layer_count > LILAC_MLP_MAX_LAYERS) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: %zu layers, expected 1 to %d", config->layer_count,
                          LILAC_MLP_MAX_LAYERS);
    }
    for (size_t l = 0; l <= config->layer_count; l++) {
        if (config->sizes[l] == 0) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: size %zu is 0, expected at least 1", l);
        }
    }
    if (config->sizes[config->layer_count] > MAX_CLASSES) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: %zu classes, expected at most %d",
                          config->sizes[config->layer_count], MAX_CLASSES);
    }
    if (!(config->dropout >= 0.0 && config->dropout < 1.0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: dropout probability %g, expected 0 <= p < 1",
                          config->dropout);
    }
    return LILAC_OK;
}

static bool count_parameters(const lilac_mlp_config *config, size_t *count) {
    size_t total = 0, weight;
    for (size_t l = 0; l < config->layer_count; l++) {
        if (!lilac_size_multiply(config->sizes[l], config->sizes[l + 1], &weight) ||
            !lilac_size_add(total, weight, &total) || !lilac_size_add(total, config->sizes[l + 1], &total)) {
            return false;
        }
    }
    *count = total;
    return true;
}

static void lay_out(lilac_mlp *mlp) {
    float *next = mlp->parameters;
    for (size_t l = 0; l < mlp->config.layer_count; l++) {
        const size_t in = mlp->config.sizes[l], out = mlp->config.sizes[l + 1];
        snprintf(mlp->names[l], sizeof mlp->names[l], "layers.%u", (unsigned)l);
        mlp->layers[l] = (lilac_linear_layer){.name = mlp->names[l], .in = in, .out = out, .weight = next};
        mlp->biases[l] = next + in * out;
        next += in * out + out;
    }
}

/* A model of that shape with all weights 0. */
static lilac_status create_empty(lilac_context *context, const lilac_mlp_config *config, lilac_mlp **out) {
    LILAC_TRY(check_config(context, config));
    size_t count;
    if (!count_parameters(config, &count)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "mlp: the number of weights cannot be counted");
    }
    lilac_mlp *mlp = lilac_memory_allocate(1, sizeof *mlp);
    float *parameters = lilac_memory_allocate(count, sizeof *parameters);
    if (mlp == NULL || parameters == NULL) {
        lilac_memory_free(mlp);
        lilac_memory_free(parameters);
        return lilac_fail_memory(context, "a model's weights", count * sizeof *parameters);
    }
    mlp->config = *config;
    mlp->parameter_count = count;
    mlp->parameters = parameters;
    lay_out(mlp);
    *out = mlp;
    return LILAC_OK;
}

lilac_status lilac_mlp_create(lilac_context *context, const lilac_mlp_config *config, lilac_mlp **out) {
    if (context == NULL || config == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    lilac_mlp *mlp;
    LILAC_TRY(create_empty(context, config, &mlp));
    for (size_t l = 0; l < config->layer_count; l++) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        lilac_initialise_uniform(context, layer->in * layer->out, layer->in,
                                 lilac_random_stream(config->seed, LILAC_RANDOM_INITIALISE, 2 * l), layer->weight);
        lilac_initialise_uniform(context, layer->out, layer->in,
                                 lilac_random_stream(config->seed, LILAC_RANDOM_INITIALISE, 2 * l + 1), mlp->biases[l]);
    }
    *out = mlp;
    return LILAC_OK;
}

lilac_status lilac_mlp_clone(lilac_context *context, const lilac_mlp *mlp, lilac_mlp **out) {
    if (context == NULL || mlp == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    lilac_mlp *copy;
    LILAC_TRY(create_empty(context, &mlp->config, &copy));
    memcpy(copy->parameters, mlp->parameters, mlp->parameter_count * sizeof *copy->parameters);
    const lilac_status status = lilac_pristine_copy(context, mlp->pristine, mlp->parameter_count, &copy->pristine);
    if (status != LILAC_OK) {
        lilac_mlp_destroy(copy);
        return status;
    }
    *out = copy;
    return LILAC_OK;
}

void lilac_mlp_destroy(lilac_mlp *mlp) {
    if (mlp != NULL) {
        lilac_memory_free(mlp->pristine);
        lilac_memory_free(mlp->parameters);
        lilac_memory_free(mlp);
    }
}

const lilac_mlp_config *lilac_mlp_get_config(const lilac_mlp *mlp) {
    return &mlp->config;
}

size_t lilac_mlp_parameter_count(const lilac_mlp *mlp) {
    return mlp->parameter_count;
}

float *lilac_mlp_parameters(lilac_mlp *mlp) {
    return mlp->parameters;
}

lilac_linear_layer lilac_mlp_layer(const lilac_mlp *mlp, size_t index) {
    return mlp->layers[index];
}

float *lilac_mlp_bias(const lilac_mlp *mlp, size_t index) {
    return mlp->biases[index];
}

lilac_lora_base lilac_mlp_lora_base(const lilac_mlp *mlp) {
    lilac_lora_base base = {.layers = mlp->layers, .layer_count = mlp->config.layer_count};
    const float *parameters = mlp->pristine != NULL ? mlp->pristine : mlp->parameters;
    lilac_hash_floats(parameters, mlp->parameter_count, base.hash);
    return base;
}

static size_t widest_hidden(const lilac_mlp_config *config) {
    size_t widest = 0;
    for (size_t l = 1; l < config->layer_count; l++) {
        widest = lilac_size_max(widest, config->sizes[l]);
    }
    return widest;
}

size_t lilac_mlp_workspace_size(const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B) {
    /* Two hidden layers' outputs, taking turns, and the adapter's x A^T. */
    size_t row = 2 * widest_hidden(&mlp->config), size;
    if (adapter != NULL && !lilac_size_add(row, adapter->config.rank, &row)) {
        return SIZE_MAX;
    }
    return lilac_size_multiply(row, B, &size) ? size : SIZE_MAX;
}

lilac_status lilac_mlp_forward(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B,
                               const float *inputs, float *logits, float *workspace) {
    if (context == NULL || mlp == NULL || inputs == NULL || logits == NULL ||
        (workspace == NULL && lilac_mlp_workspace_size(mlp, adapter, B) > 0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    const size_t layer_count = mlp->config.layer_count;
    if (adapter != NULL) {
        LILAC_TRY(lilac_adapter_check_layers(context, adapter, mlp->layers, layer_count));
    }
    const size_t hidden = B * widest_hidden(&mlp->config);
    const float *x = inputs;
    for (size_t l = 0; l < layer_count; l++) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        const bool last = l + 1 == layer_count;
        float *y = last ? logits : workspace + (l % 2) * hidden;
        LILAC_TRY(lilac_linear_forward(context, B, layer->in, layer->out, lilac_operand_of(x),
                                       lilac_operand_of(layer->weight), y));
        if (adapter != NULL) {
            const lilac_low_rank term = lilac_adapter_term(adapter, l);
            LILAC_TRY(lilac_low_rank_forward(context, &term, B, x, workspace + 2 * hidden, y, layer->out));
        }
        if (last) {
            lilac_add_bias(context, B, layer->out, mlp->biases[l], y);
        } else {
            lilac_bias_relu_dropout_forward(context, B, layer->out, mlp->biases[l], NULL, y);
        }
        x = y;
    }
    return LILAC_OK;
}

static lilac_mergeable mergeable(lilac_mlp *mlp) {
    return (lilac_mergeable){
        .model = "mlp", .count = mlp->parameter_count, .parameters = mlp->parameters, .pristine = &mlp->pristine};
}

lilac_status lilac_mlp_merge(lilac_context *context, lilac_mlp *mlp, const lilac_adapter *adapter) {
    if (context == NULL || mlp == NULL || adapter == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    const lilac_mergeable weights = mergeable(mlp);
    return lilac_merge(context, &weights, adapter, mlp->layers, mlp->config.layer_count);
}

lilac_status lilac_mlp_unmerge(lilac_context *context, lilac_mlp *mlp) {
    if (mlp == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    const lilac_mergeable weights = mergeable(mlp);
    return lilac_unmerge(context, &weights);
}
