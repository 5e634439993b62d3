/* SPDX-License-Identifier: MIT */
/* Patterns of layers to adapt, and names of settings. */
#include "fuzz.h"

#include <lilac/lora.h>
#include <lilac/transformer.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 16 };

static lilac_transformer *model;

static void destroy_model(void) {
    lilac_transformer_destroy(model);
}

static void create_model(void) {
    const lilac_transformer_config config = {
        .length = 2, .layers = 2, .heads = 1, .head_size = 1, .feed_forward = 1, .value_width = 1, .mixtures = 1};
    fuzz_require(lilac_transformer_create(fuzz_context(), &config, &model) == LILAC_OK, "a model can be created");
    atexit(destroy_model);
}

static void check_names(const char *text) {
    lilac_precision precision;
    lilac_cpu_level level;
    lilac_lora_scale_rule rule;
    lilac_lora_initialisation initialisation;
    if (lilac_precision_parse(text, &precision) == LILAC_OK) {
        fuzz_require(strcmp(lilac_precision_name(precision), text) == 0, "a precision is read as written");
    }
    if (lilac_cpu_level_parse(text, &level) == LILAC_OK) {
        fuzz_require(strcmp(lilac_cpu_level_name(level), text) == 0, "a level is read as written");
    }
    if (lilac_lora_scale_rule_parse(text, &rule) == LILAC_OK) {
        fuzz_require(strcmp(lilac_lora_scale_rule_name(rule), text) == 0, "a scale rule is read as written");
    }
    if (lilac_lora_initialisation_parse(text, &initialisation) == LILAC_OK) {
        fuzz_require(strcmp(lilac_lora_initialisation_name(initialisation), text) == 0,
                     "an initialisation is read as written");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (model == NULL) {
        create_model();
    }
    char *text = malloc(size + 1);
    fuzz_require(text != NULL, "there is memory");
    memcpy(text, data, size);
    text[size] = '\0';
    check_names(text);
    lilac_linear_layer layers[MAX_LAYERS];
    size_t count = 0, counted = 0;
    const lilac_status status =
        lilac_transformer_linear_layers(fuzz_context(), model, text, MAX_LAYERS, layers, &count);
    fuzz_require(lilac_transformer_linear_layers(fuzz_context(), model, text, 0, NULL, &counted) == status,
                 "counting is like listing");
    if (fuzz_succeeded(status)) {
        fuzz_require(count == counted && count >= 1 && count <= MAX_LAYERS, "the layers are some of the model's");
        for (size_t i = 0; i < count; i++) {
            fuzz_require(layers[i].name != NULL && layers[i].weight != NULL, "a layer has a name and weights");
        }
    }
    free(text);
    return 0;
}
