/* SPDX-License-Identifier: MIT */
/* Model files: safetensors with the model's settings as metadata. docs/format.md describes them. */
#include "core/memory.h"
#include "format/number_text.h"
#include "format/safetensors.h"
#include "model/mlp.h"

#include <stdio.h>

static const char format_name[] = "lilac.mlp";
static const char format_version[] = "1";

static lilac_status add_tensors(lilac_context *context, const lilac_mlp *mlp, lilac_safetensors_writer *writer) {
    for (size_t l = 0; l < mlp->config.layer_count; l++) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        const size_t shape[] = {layer->out, layer->in};
        char name[LILAC_SAFETENSORS_NAME_SIZE];
        snprintf(name, sizeof name, "%s.weight", layer->name);
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, name, LILAC_SAFETENSORS_F32, 2, shape, layer->weight));
        snprintf(name, sizeof name, "%s.bias", layer->name);
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, name, LILAC_SAFETENSORS_F32, 1, shape, mlp->biases[l]));
    }
    return LILAC_OK;
}

static lilac_status add_all(lilac_context *context, const lilac_mlp *mlp, lilac_safetensors_writer *writer) {
    char dropout[LILAC_NUMBER_TEXT_SIZE], seed[LILAC_NUMBER_TEXT_SIZE];
    lilac_number_text(mlp->config.dropout, dropout);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)mlp->config.seed);
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format", format_name));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format_version", format_version));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "dropout", dropout));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "seed", seed));
    return add_tensors(context, mlp, writer);
}

lilac_status lilac_mlp_save(lilac_context *context, const lilac_mlp *mlp, const char *path) {
    if (context == NULL || mlp == NULL || path == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    lilac_safetensors_writer *writer = NULL;
    LILAC_TRY(lilac_safetensors_writer_create(context, &writer));
    lilac_status status = add_all(context, mlp, writer);
    if (status == LILAC_OK) {
        status = lilac_safetensors_writer_write(context, writer, path);
    }
    lilac_safetensors_writer_destroy(writer);
    return status;
}

static lilac_status find_tensor(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                                size_t layer, const char *part, const lilac_safetensors_tensor **tensor) {
    char name[LILAC_SAFETENSORS_NAME_SIZE];
    snprintf(name, sizeof name, "layers.%zu.%s", layer, part);
    *tensor = lilac_safetensors_find(file, name);
    if (*tensor == NULL) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: tensor \"%s\" is missing", path, name);
    }
    return LILAC_OK;
}

/* The sizes of the layers, from the shapes of their weights. */
static lilac_status read_sizes(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                               lilac_mlp_config *config) {
    const size_t tensors = lilac_safetensors_count(file);
    if (tensors == 0 || tensors % 2 != 0 || tensors > 2 * LILAC_MLP_MAX_LAYERS) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: %zu tensors, expected two for each of 1 to %d layers", path,
                          tensors, LILAC_MLP_MAX_LAYERS);
    }
    config->layer_count = tensors / 2;
    for (size_t l = 0; l < config->layer_count; l++) {
        const lilac_safetensors_tensor *weight, *bias;
        LILAC_TRY(find_tensor(context, path, file, l, "weight", &weight));
        LILAC_TRY(find_tensor(context, path, file, l, "bias", &bias));
        if (weight->rank != 2) {
            return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: tensor \"%s\" has %d dimensions, expected 2", path,
                              weight->name, weight->rank);
        }
        if (l > 0 && weight->shape[1] != config->sizes[l]) {
            return lilac_fail(context, LILAC_ERROR_SHAPE,
                              "%s: tensor \"%s\" has %zu inputs, the layer before %zu outputs", path, weight->name,
                              weight->shape[1], config->sizes[l]);
        }
        config->sizes[l] = weight->shape[1];
        config->sizes[l + 1] = weight->shape[0];
    }
    return LILAC_OK;
}

static lilac_status read_weights(lilac_context *context, const lilac_safetensors_file *file, lilac_mlp *mlp) {
    for (size_t l = 0; l < mlp->config.layer_count; l++) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        const size_t shape[] = {layer->out, layer->in};
        char name[LILAC_SAFETENSORS_NAME_SIZE];
        snprintf(name, sizeof name, "%s.weight", layer->name);
        LILAC_TRY(lilac_safetensors_read_f32(context, file, name, 2, shape, layer->weight));
        snprintf(name, sizeof name, "%s.bias", layer->name);
        LILAC_TRY(lilac_safetensors_read_f32(context, file, name, 1, shape, mlp->biases[l]));
    }
    return LILAC_OK;
}

static lilac_status read_model(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                               lilac_mlp **out) {
    lilac_mlp_config config = {0};
    LILAC_TRY(lilac_safetensors_check_kind(context, file, "an MLP model file", format_name, format_version));
    LILAC_TRY(lilac_safetensors_read_number(context, file, "dropout", &config.dropout));
    LILAC_TRY(lilac_safetensors_read_whole(context, file, "seed", UINT64_MAX, &config.seed));
    LILAC_TRY(read_sizes(context, path, file, &config));
    lilac_mlp *mlp;
    const lilac_status created = lilac_mlp_create(context, &config, &mlp);
    if (created != LILAC_OK) {
        /* The impossible argument is the file's. */
        return lilac_fail(context, created == LILAC_ERROR_ARGUMENT ? LILAC_ERROR_FORMAT : created, "%s: %s", path,
                          lilac_context_message(context));
    }
    const lilac_status status = read_weights(context, file, mlp);
    if (status != LILAC_OK) {
        lilac_mlp_destroy(mlp);
        return status;
    }
    *out = mlp;
    return LILAC_OK;
}

lilac_status lilac_mlp_load(lilac_context *context, const char *path, lilac_mlp **out) {
    if (context == NULL || path == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "mlp: a null pointer");
    }
    lilac_safetensors_file *file;
    LILAC_TRY(lilac_safetensors_open(context, path, &file));
    const lilac_status status = read_model(context, path, file, out);
    lilac_safetensors_close(file);
    return status;
}
