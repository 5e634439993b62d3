/* SPDX-License-Identifier: MIT */
#include "train/transformer_settings.h"

#include "adapt/adapter.h"
#include "core/parameter_hash.h"
#include "model/transformer.h"
#include "nn/optimiser.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include <zlib.h>

void lilac_transformer_training_default(lilac_transformer_training *config) {
    *config = (lilac_transformer_training){.learning_rate = 6e-4,
                                           .final_fraction = 0.1,
                                           .output_rate = 1.0,
                                           .warm_up = 200,
                                           .steps = 1000,
                                           .batch = 16,
                                           .micro_batch = 2,
                                           .clip_norm = 1.0,
                                           .clip_outputs = 2.0,
                                           .weight_decay = 0.01,
                                           .beta1 = 0.9,
                                           .beta2 = 0.95,
                                           .epsilon = 1e-8,
                                           .report_interval = 10};
}

/* The settings that are numbers, with the range of each. */
static const struct {
    const char *name;
    size_t offset;
    double least, below;
} numbers[] = {{"learning rate", offsetof(lilac_transformer_training, learning_rate), 0.0, INFINITY},
               {"final fraction", offsetof(lilac_transformer_training, final_fraction), 0.0, INFINITY},
               {"output rate", offsetof(lilac_transformer_training, output_rate), 0.0, INFINITY},
               {"clip norm", offsetof(lilac_transformer_training, clip_norm), 0.0, INFINITY},
               {"clip outputs", offsetof(lilac_transformer_training, clip_outputs), 0.0, INFINITY},
               {"weight decay", offsetof(lilac_transformer_training, weight_decay), 0.0, INFINITY},
               {"beta1", offsetof(lilac_transformer_training, beta1), 0.0, LILAC_OPTIMISER_BETA_LIMIT},
               {"beta2", offsetof(lilac_transformer_training, beta2), 0.0, LILAC_OPTIMISER_BETA_LIMIT},
               {"epsilon", offsetof(lilac_transformer_training, epsilon), LILAC_OPTIMISER_LEAST_EPSILON, INFINITY}};
enum { MOST_SEQUENCES = 1 << 20, NUMBERS = sizeof numbers / sizeof *numbers };

static double number(const lilac_transformer_training *config, size_t index) {
    return *(const double *)(const void *)((const char *)config + numbers[index].offset);
}

lilac_status lilac_transformer_training_check(lilac_context *context, const lilac_transformer_training *config) {
    for (size_t i = 0; i < NUMBERS; i++) {
        const double value = number(config, i);
        if (!(value >= numbers[i].least && value < numbers[i].below)) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: %s is %g, expected at least %g and below %g",
                              numbers[i].name, value, numbers[i].least, numbers[i].below);
        }
    }
    if (config->final_fraction > 1.0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: final fraction is %g, expected 0 to 1",
                          config->final_fraction);
    }
    /* The numbers of sequences and passes must fit the 56 bits that a stream of random numbers is chosen by. */
    if (config->batch < 1 || config->batch > MOST_SEQUENCES || config->micro_batch < 1 ||
        config->micro_batch > MOST_SEQUENCES || config->steps < 1 || config->steps > UINT32_MAX) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "training: %" PRIu64
                          " steps of %zu sequences, %zu a pass; expected 1 to 2^32-1 steps of 1 to "
                          "2^20 sequences",
                          config->steps, config->batch, config->micro_batch);
    }
    if ((int)config->optimiser < 0 || config->optimiser > LILAC_TRAINING_MUON ||
        lilac_precision_name(config->precision) == NULL || !(config->seconds >= 0.0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "training: optimiser %d, precision %d, %g seconds",
                          (int)config->optimiser, (int)config->precision, config->seconds);
    }
    return LILAC_OK;
}

static const char *const optimiser_names[] = {
    [LILAC_TRAINING_ADAMW] = "adamw", [LILAC_TRAINING_RADAM] = "radam", [LILAC_TRAINING_MUON] = "muon"};

/* Tiles and dot products of bf16 sum in another order. */
static const char *const product_names[] = {[LILAC_MATMUL_F32] = "f32",
                                            [LILAC_MATMUL_BF16] = "bf16",
                                            [LILAC_MATMUL_F16] = "f16",
                                            [LILAC_MATMUL_TILES] = "bf16 in tiles"};

static void add_model(const lilac_transformer_config *config, lilac_settings *settings) {
    const struct {
        const char *name;
        uint64_t value;
    } sizes[] = {{"length", config->length},
                 {"layers", config->layers},
                 {"heads", config->heads},
                 {"head size", config->head_size},
                 {"feed-forward width", config->feed_forward},
                 {"value width", config->value_width},
                 {"position width", config->position_width},
                 {"feature size", config->feature_size},
                 {"mixtures", config->mixtures},
                 {"model's seed", config->seed}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        lilac_settings_add_whole(settings, sizes[i].name, sizes[i].value);
    }
    lilac_settings_add(settings, "attention", lilac_transformer_attention_names[config->attention]);
    lilac_settings_add(settings, "features", lilac_transformer_feature_names[config->features]);
    lilac_settings_add(settings, "norm", lilac_transformer_norm_names[config->norm]);
    lilac_settings_add(settings, "activation", lilac_transformer_activation_names[config->activation]);
    lilac_settings_add(settings, "output", lilac_transformer_output_names[config->output]);
    lilac_settings_add_number(settings, "dropout", config->dropout);
}

/* The layers are those of the base, by their names; the base's weights do not change. */
static void add_adapter(const lilac_adapter *adapter, lilac_settings *settings) {
    char base[LILAC_HASH_TEXT_SIZE];
    lilac_hash_text(adapter->base_hash, LILAC_HASH_SIZE, base);
    lilac_settings_add(settings, "base", base);
    uLong names = crc32(0, NULL, 0);
    for (size_t i = 0; i < adapter->entry_count; i++) {
        names = crc32_z(names, (const Bytef *)adapter->entries[i].name, strlen(adapter->entries[i].name) + 1);
    }
    lilac_settings_add_whole(settings, "checksum of the layers' names", names);
    lilac_settings_add_whole(settings, "rank", adapter->config.rank);
    lilac_settings_add_number(settings, "scale", lilac_adapter_scale(adapter));
}

static void add_first_weights(const float *weights, size_t count, lilac_settings *settings) {
    const uLong sum = crc32_z(crc32(0, NULL, 0), (const Bytef *)(const void *)weights, count * sizeof *weights);
    lilac_settings_add_whole(settings, "checksum of the first weights", sum);
}

void lilac_transformer_training_settings(const lilac_transformer_training *config, lilac_matmul_type products,
                                         const lilac_transformer *model, const lilac_adapter *adapter,
                                         const lilac_tokens *tokens, lilac_settings *settings) {
    settings->count = 0;
    add_model(&model->config, settings);
    lilac_settings_add(settings, "trained", adapter == NULL ? "model" : "adapter");
    if (adapter != NULL) {
        add_adapter(adapter, settings);
        add_first_weights(adapter->parameters, adapter->parameter_count, settings);
    } else {
        add_first_weights(model->parameters, model->parameter_count, settings);
    }
    char text[LILAC_TOKENS_TEXT_SIZE];
    lilac_tokens_text(tokens, text);
    lilac_settings_add(settings, "training set", text);
    lilac_settings_add(settings, "optimiser", optimiser_names[config->optimiser]);
    lilac_settings_add(settings, "precision", product_names[products]);
    lilac_settings_add_whole(settings, "number of steps", config->steps);
    lilac_settings_add_whole(settings, "warm-up", config->warm_up);
    lilac_settings_add_whole(settings, "batch", config->batch);
    lilac_settings_add_whole(settings, "micro-batch", config->micro_batch);
    lilac_settings_add_whole(settings, "seed", config->seed);
    lilac_settings_add_whole(settings, "border", config->border);
    if (config->border > 0) {
        const lilac_dataset_shape shape = lilac_dataset_get_shape(tokens->source.images->dataset);
        lilac_settings_add_whole(settings, "number of rows of an image", shape.rows);
    }
    for (size_t i = 0; i < NUMBERS; i++) {
        lilac_settings_add_number(settings, numbers[i].name, number(config, i));
    }
}
