/* SPDX-License-Identifier: MIT */
/* Transformer files: safetensors with the model's settings as metadata. docs/format.md describes them. */
#include "format/number_text.h"
#include "format/safetensors.h"
#include "model/transformer.h"

#include <stdio.h>
#include <string.h>

static const char format_name[] = "lilac.transformer";
static const char format_version[] = "1";

const char *const lilac_transformer_attention_names[] = {"linear", "softmax", NULL};
const char *const lilac_transformer_feature_names[] = {"elu+1",    "relu", "squared-relu", "exp", "fourier",
                                                       "positive", NULL};
const char *const lilac_transformer_norm_names[] = {"post", "pre", NULL};
const char *const lilac_transformer_activation_names[] = {"relu", "gelu", NULL};
const char *const lilac_transformer_output_names[] = {"logistic-mixture", "categorical", NULL};

/* The settings that are sizes. */
static const struct {
    const char *key;
    size_t offset; /* within the config */
} sizes[] = {{"length", offsetof(lilac_transformer_config, length)},
             {"layers", offsetof(lilac_transformer_config, layers)},
             {"heads", offsetof(lilac_transformer_config, heads)},
             {"head_size", offsetof(lilac_transformer_config, head_size)},
             {"feed_forward", offsetof(lilac_transformer_config, feed_forward)},
             {"value_width", offsetof(lilac_transformer_config, value_width)},
             {"position_width", offsetof(lilac_transformer_config, position_width)},
             {"feature_size", offsetof(lilac_transformer_config, feature_size)},
             {"mixtures", offsetof(lilac_transformer_config, mixtures)}};

/* The settings that are one of several names. */
enum { ATTENTION, FEATURES, NORM, ACTIVATION, OUTPUT, CHOICES };

static const struct {
    const char *key;
    const char *const *names;
    const char *expected;
} choices[CHOICES] = {
    [ATTENTION] = {"attention", lilac_transformer_attention_names, "linear or softmax"},
    [FEATURES] = {"features", lilac_transformer_feature_names, "elu+1, relu, squared-relu, exp, fourier or positive"},
    [NORM] = {"norm", lilac_transformer_norm_names, "post or pre"},
    [ACTIVATION] = {"activation", lilac_transformer_activation_names, "relu or gelu"},
    [OUTPUT] = {"output", lilac_transformer_output_names, "logistic-mixture or categorical"}};

static lilac_status add_whole(lilac_context *context, lilac_safetensors_writer *writer, const char *key,
                              uint64_t value) {
    char text[LILAC_NUMBER_TEXT_SIZE];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return lilac_safetensors_writer_add_metadata(context, writer, key, text);
}

static lilac_status add_settings(lilac_context *context, const lilac_transformer_config *config,
                                 lilac_safetensors_writer *writer) {
    const int chosen[CHOICES] = {[ATTENTION] = (int)config->attention,
                                 [FEATURES] = (int)config->features,
                                 [NORM] = (int)config->norm,
                                 [ACTIVATION] = (int)config->activation,
                                 [OUTPUT] = (int)config->output};
    char dropout[LILAC_NUMBER_TEXT_SIZE];
    lilac_number_text(config->dropout, dropout);
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format", format_name));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format_version", format_version));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t value;
        memcpy(&value, (const char *)config + sizes[i].offset, sizeof value);
        LILAC_TRY(add_whole(context, writer, sizes[i].key, value));
    }
    for (size_t i = 0; i < CHOICES; i++) {
        LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, choices[i].key, choices[i].names[chosen[i]]));
    }
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "dropout", dropout));
    return add_whole(context, writer, "seed", config->seed);
}

static lilac_status add_all(lilac_context *context, const lilac_transformer *model, lilac_precision precision,
                            lilac_safetensors_writer *writer) {
    LILAC_TRY(add_settings(context, &model->config, writer));
    for (size_t i = 0; i < model->tensor_count; i++) {
        const lilac_transformer_tensor *tensor = &model->tensors[i];
        const size_t shape[] = {tensor->rows, tensor->cols};
        const bool rounded = precision == LILAC_PRECISION_BF16 && !lilac_transformer_is_exact(model, tensor->offset);
        const lilac_safetensors_dtype dtype = rounded ? LILAC_SAFETENSORS_BF16 : LILAC_SAFETENSORS_F32;
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, tensor->name, dtype, tensor->cols > 0 ? 2 : 1, shape,
                                               model->parameters + tensor->offset));
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_save(lilac_context *context, const lilac_transformer *model, lilac_precision precision,
                                    const char *path) {
    if (context == NULL || model == NULL || path == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    if (!lilac_precision_stores(precision)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: no precision number %d", (int)precision);
    }
    lilac_safetensors_writer *writer = NULL;
    LILAC_TRY(lilac_safetensors_writer_create(context, &writer));
    lilac_status status = add_all(context, model, precision, writer);
    if (status == LILAC_OK) {
        status = lilac_safetensors_writer_write(context, writer, path);
    }
    lilac_safetensors_writer_destroy(writer);
    return status;
}

static lilac_status read_choice(lilac_context *context, const lilac_safetensors_file *file, int choice, int *out) {
    const char *text = lilac_safetensors_metadata(file, choices[choice].key);
    for (int i = 0; text != NULL && choices[choice].names[i] != NULL; i++) {
        if (strcmp(text, choices[choice].names[i]) == 0) {
            *out = i;
            return LILAC_OK;
        }
    }
    return lilac_safetensors_bad_metadata(context, file, choices[choice].key, choices[choice].expected);
}

static lilac_status read_settings(lilac_context *context, const lilac_safetensors_file *file,
                                  lilac_transformer_config *config) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t value;
        LILAC_TRY(lilac_safetensors_read_whole(context, file, sizes[i].key, SIZE_MAX, &value));
        const size_t size = (size_t)value;
        memcpy((char *)config + sizes[i].offset, &size, sizeof size);
    }
    int chosen[CHOICES];
    for (int i = 0; i < CHOICES; i++) {
        LILAC_TRY(read_choice(context, file, i, &chosen[i]));
    }
    config->attention = (lilac_transformer_attention)chosen[ATTENTION];
    config->features = (lilac_transformer_features)chosen[FEATURES];
    config->norm = (lilac_transformer_norm)chosen[NORM];
    config->activation = (lilac_transformer_activation)chosen[ACTIVATION];
    config->output = (lilac_transformer_output)chosen[OUTPUT];
    LILAC_TRY(lilac_safetensors_read_number(context, file, "dropout", &config->dropout));
    return lilac_safetensors_read_whole(context, file, "seed", UINT64_MAX, &config->seed);
}

/* Settings that call for more weights than the file holds must not cost memory. */
static lilac_status check_weight_count(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                                       const lilac_transformer_config *config) {
    double found = 0;
    for (size_t i = 0; i < lilac_safetensors_count(file); i++) {
        found += (double)lilac_safetensors_tensor_at(file, i)->count;
    }
    const double expected = lilac_transformer_weight_count(config);
    if (found != expected) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: holds %.0f weights, its settings call for %.0f", path, found,
                          expected);
    }
    return LILAC_OK;
}

static lilac_status read_weights(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                                 lilac_transformer *model) {
    for (size_t i = 0; i < model->tensor_count; i++) {
        const lilac_transformer_tensor *tensor = &model->tensors[i];
        const size_t shape[] = {tensor->rows, tensor->cols};
        if (lilac_safetensors_find(file, tensor->name) == NULL) {
            return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: tensor \"%s\" is missing", path, tensor->name);
        }
        LILAC_TRY(lilac_safetensors_read_f32(context, file, tensor->name, tensor->cols > 0 ? 2 : 1, shape,
                                             model->parameters + tensor->offset));
    }
    /* All that should be there is there: whatever is beyond that is surplus. */
    if (lilac_safetensors_count(file) != model->tensor_count) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: %zu tensors, expected %zu", path,
                          lilac_safetensors_count(file), model->tensor_count);
    }
    return LILAC_OK;
}

/* An impossible argument of the model's creation is the file's. */
static lilac_status refuse_settings(lilac_context *context, const char *path, lilac_status status) {
    return lilac_fail(context, status == LILAC_ERROR_ARGUMENT ? LILAC_ERROR_FORMAT : status, "%s: %s", path,
                      lilac_context_message(context));
}

static lilac_status read_model(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                               lilac_transformer **out) {
    lilac_transformer_config config = {0};
    LILAC_TRY(lilac_safetensors_check_kind(context, file, "a transformer file", format_name, format_version));
    LILAC_TRY(read_settings(context, file, &config));
    const lilac_status checked = lilac_transformer_check_config(context, &config);
    if (checked != LILAC_OK) {
        return refuse_settings(context, path, checked);
    }
    LILAC_TRY(check_weight_count(context, path, file, &config));
    lilac_transformer *model;
    const lilac_status created = lilac_transformer_create_empty(context, &config, &model);
    if (created != LILAC_OK) {
        return refuse_settings(context, path, created);
    }
    const lilac_status status = read_weights(context, path, file, model);
    if (status != LILAC_OK) {
        lilac_transformer_destroy(model);
        return status;
    }
    *out = model;
    return LILAC_OK;
}

lilac_status lilac_transformer_load(lilac_context *context, const char *path, lilac_transformer **out) {
    if (context == NULL || path == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    lilac_safetensors_file *file;
    LILAC_TRY(lilac_safetensors_open(context, path, &file));
    const lilac_status status = read_model(context, path, file, out);
    lilac_safetensors_close(file);
    return status;
}
