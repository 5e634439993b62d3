/* SPDX-License-Identifier: MIT */
#include "model/transformer.h"

#include "adapt/merge.h"
#include "core/memory.h"
#include "core/parameter_hash.h"
#include "model/transformer_initialise.h"

#include <math.h>
#include <string.h>

enum { MOST_RANDOM_NUMBERS = 1 << 20 };

void lilac_transformer_config_default(lilac_transformer_config *config) {
    *config = (lilac_transformer_config){.length = 783,
                                         .layers = 8,
                                         .heads = 8,
                                         .head_size = 32,
                                         .feed_forward = 1024,
                                         .value_width = 128,
                                         .position_width = 128,
                                         .attention = LILAC_TRANSFORMER_LINEAR,
                                         .features = LILAC_TRANSFORMER_ELU_PLUS_ONE,
                                         .norm = LILAC_TRANSFORMER_POST_NORM,
                                         .activation = LILAC_TRANSFORMER_RELU,
                                         .output = LILAC_TRANSFORMER_LOGISTIC_MIXTURE,
                                         .mixtures = 10,
                                         .dropout = 0.1};
}

size_t lilac_transformer_width(const lilac_transformer_config *config) {
    return config->value_width + config->position_width;
}

size_t lilac_transformer_output_size(const lilac_transformer_config *config) {
    return config->output == LILAC_TRANSFORMER_CATEGORICAL ? 256 : 3 * config->mixtures;
}

static bool has_random_features(const lilac_transformer_config *config) {
    return config->attention == LILAC_TRANSFORMER_LINEAR && (config->features == LILAC_TRANSFORMER_FOURIER_FEATURES ||
                                                             config->features == LILAC_TRANSFORMER_POSITIVE_FEATURES);
}

/* C of random features. */
static size_t random_feature_size(const lilac_transformer_config *config) {
    return config->feature_size == 0 ? 2 * config->head_size : config->feature_size;
}

static lilac_status check_sizes(lilac_context *context, const lilac_transformer_config *config) {
    /* Limits far beyond use, so that no product of a few sizes wraps. */
    static const size_t limit = (size_t)1 << 20;
    const struct {
        const char *name;
        size_t value, least, most;
    } sizes[] = {{"length", config->length, 1, (size_t)1 << 24},
                 {"layers", config->layers, 1, 256},
                 {"heads", config->heads, 1, limit},
                 {"head size", config->head_size, 1, limit},
                 {"feed-forward width", config->feed_forward, 1, limit},
                 {"value width", config->value_width, 1, limit},
                 {"position width", config->position_width, 0, limit},
                 {"feature size", config->feature_size, 0, (size_t)1 << 16},
                 {"mixtures", config->output == LILAC_TRANSFORMER_CATEGORICAL ? 1 : config->mixtures, 1, 1024},
                 {"heads x head size", config->heads * config->head_size, 1, limit}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].value < sizes[i].least || sizes[i].value > sizes[i].most) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: %s is %zu, expected %zu to %zu",
                              sizes[i].name, sizes[i].value, sizes[i].least, sizes[i].most);
        }
    }
    if (config->position_width % 2 != 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: position width is %zu, expected an even number",
                          config->position_width);
    }
    /* Random vectors come from the seed, not from a file: its size would not bound them. */
    if (has_random_features(config) && config->head_size * random_feature_size(config) > MOST_RANDOM_NUMBERS) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "transformer: head size x feature size is %zu x %zu, expected a product of at most %d",
                          config->head_size, random_feature_size(config), MOST_RANDOM_NUMBERS);
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_check_config(lilac_context *context, const lilac_transformer_config *config) {
    const struct {
        const char *name;
        int value, most;
    } choices[] = {{"attention", (int)config->attention, LILAC_TRANSFORMER_SOFTMAX},
                   {"features", (int)config->features, LILAC_TRANSFORMER_POSITIVE_FEATURES},
                   {"norm", (int)config->norm, LILAC_TRANSFORMER_PRE_NORM},
                   {"activation", (int)config->activation, LILAC_TRANSFORMER_GELU},
                   {"output", (int)config->output, LILAC_TRANSFORMER_CATEGORICAL}};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (choices[i].value < 0 || choices[i].value > choices[i].most) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: no %s number %d", choices[i].name,
                              choices[i].value);
        }
    }
    if (!(config->dropout >= 0.0 && config->dropout < 1.0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: dropout probability %g, expected 0 <= p < 1",
                          config->dropout);
    }
    return check_sizes(context, config);
}

static lilac_status create_feature_map(lilac_context *context, lilac_transformer *model) {
    const lilac_transformer_config *config = &model->config;
    if (has_random_features(config)) {
        const size_t D = config->head_size, C = random_feature_size(config);
        const lilac_random_features kind = config->features == LILAC_TRANSFORMER_FOURIER_FEATURES
                                               ? LILAC_RANDOM_FEATURES_FOURIER
                                               : LILAC_RANDOM_FEATURES_POSITIVE;
        /* With this scale the kernel of the positive features is that of softmax attention. */
        LILAC_TRY(lilac_feature_map_create_random(context, kind, D, C, (float)pow((double)D, -0.25), config->seed,
                                                  &model->random_features));
        model->feature_map = model->random_features;
    } else if (config->attention == LILAC_TRANSFORMER_LINEAR) {
        const lilac_feature_map *maps[] = {[LILAC_TRANSFORMER_ELU_PLUS_ONE] = lilac_feature_map_elu_plus_one(),
                                           [LILAC_TRANSFORMER_RELU_FEATURES] = lilac_feature_map_relu(),
                                           [LILAC_TRANSFORMER_SQUARED_RELU_FEATURES] = lilac_feature_map_squared_relu(),
                                           [LILAC_TRANSFORMER_EXP_FEATURES] = lilac_feature_map_exp()};
        model->feature_map = maps[config->features];
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_create_empty(lilac_context *context, const lilac_transformer_config *config,
                                            lilac_transformer **out) {
    LILAC_TRY(lilac_transformer_check_config(context, config));
    lilac_transformer *model = lilac_memory_allocate(1, sizeof *model);
    if (model == NULL) {
        return lilac_fail_memory(context, "a model", sizeof *model);
    }
    model->config = *config;
    lilac_status status = lilac_transformer_lay_out(context, model);
    if (status == LILAC_OK) {
        status = create_feature_map(context, model);
    }
    if (status != LILAC_OK) {
        lilac_transformer_destroy(model);
        return status;
    }
    *out = model;
    return LILAC_OK;
}

void lilac_transformer_destroy(lilac_transformer *model) {
    if (model != NULL) {
        lilac_feature_map_destroy(model->random_features);
        lilac_memory_free(model->linear_names);
        lilac_memory_free(model->linear_layers);
        lilac_memory_free(model->tensors);
        lilac_memory_free(model->layers);
        lilac_memory_free(model->pristine);
        lilac_memory_free(model->parameters);
        lilac_memory_free(model);
    }
}

lilac_status lilac_transformer_create(lilac_context *context, const lilac_transformer_config *config,
                                      lilac_transformer **out) {
    if (context == NULL || config == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    lilac_transformer *model = NULL;
    LILAC_TRY(lilac_transformer_create_empty(context, config, &model));
    lilac_transformer_initialise(context, model);
    *out = model;
    return LILAC_OK;
}

lilac_status lilac_transformer_clone(lilac_context *context, const lilac_transformer *model, lilac_transformer **out) {
    if (context == NULL || model == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    lilac_transformer *copy = NULL;
    LILAC_TRY(lilac_transformer_create_empty(context, &model->config, &copy));
    memcpy(copy->parameters, model->parameters, model->parameter_count * sizeof *copy->parameters);
    const lilac_status status = lilac_pristine_copy(context, model->pristine, model->parameter_count, &copy->pristine);
    if (status != LILAC_OK) {
        lilac_transformer_destroy(copy);
        return status;
    }
    *out = copy;
    return LILAC_OK;
}

lilac_status lilac_transformer_with_output(lilac_context *context, const lilac_transformer *model,
                                           lilac_transformer_output output, size_t mixtures, lilac_transformer **out) {
    if (context == NULL || model == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    if (model->pristine != NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: an adapter is merged, expected none");
    }
    lilac_transformer_config config = model->config;
    lilac_transformer *made = NULL;
    config.output = output;
    config.mixtures = mixtures;
    LILAC_TRY(lilac_transformer_create(context, &config, &made));
    /* The output layer is the last. */
    memcpy(made->parameters, model->parameters, model->output_weight * sizeof *made->parameters);
    *out = made;
    return LILAC_OK;
}

const lilac_transformer_config *lilac_transformer_get_config(const lilac_transformer *model) {
    return &model->config;
}

size_t lilac_transformer_tensor_count(const lilac_transformer *model) {
    return model->tensor_count;
}

lilac_transformer_tensor lilac_transformer_get_tensor(const lilac_transformer *model, size_t index) {
    return model->tensors[index];
}

size_t lilac_transformer_parameter_count(const lilac_transformer *model) {
    return model->parameter_count;
}

float *lilac_transformer_parameters(lilac_transformer *model) {
    return model->parameters;
}

void lilac_transformer_hash(const lilac_transformer *model, uint8_t *hash) {
    const float *parameters = model->pristine != NULL ? model->pristine : model->parameters;
    lilac_hash_floats(parameters, model->parameter_count, hash);
}

static const char *const precision_names[] = {"f32", "bf16", "f16"};

const char *lilac_precision_name(lilac_precision precision) {
    return (unsigned)precision <= LILAC_PRECISION_F16 ? precision_names[precision] : NULL;
}

bool lilac_precision_stores(lilac_precision precision) {
    return precision == LILAC_PRECISION_F32 || precision == LILAC_PRECISION_BF16;
}

lilac_status lilac_precision_parse(const char *name, lilac_precision *precision) {
    for (int i = 0; name != NULL && precision != NULL && i <= LILAC_PRECISION_F16; i++) {
        if (strcmp(name, precision_names[i]) == 0) {
            *precision = (lilac_precision)i;
            return LILAC_OK;
        }
    }
    return LILAC_ERROR_ARGUMENT;
}
