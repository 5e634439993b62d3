/* SPDX-License-Identifier: MIT */
/* lilac lora info: what an adapter file holds. */
#include "files.h"

#include "core/parameter_hash.h"
#include "runtime/context.h"

typedef struct info_settings {
    const char *adapter, *model;
} info_settings;

static const lilac_option options[] = {
    {.name = "adapter",
     .letter = 'a',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(info_settings, adapter),
     .value = "FILE",
     .help = "the adapter",
     .required = true},
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(info_settings, model),
     .value = "FILE",
     .help = "check that the adapter was made for this model"},
};

static lilac_status print_adapter(lilac_session *session, const lilac_adapter *adapter) {
    const lilac_lora_config *config = lilac_adapter_config(adapter);
    char hash[LILAC_HASH_TEXT_SIZE];
    lilac_hash_text(lilac_adapter_base_hash(adapter), LILAC_HASH_SIZE, hash);
    lilac_table *table = lilac_table_create("ll");
    lilac_table_cell(table, "Rank");
    lilac_table_cell(table, "%zu", config->rank);
    lilac_table_cell(table, "Scale");
    lilac_table_cell(table, "%g (%s, alpha %g)", lilac_adapter_scale(adapter),
                     lilac_lora_scale_rule_name(config->scale_rule), config->alpha);
    lilac_table_cell(table, "Initialisation");
    lilac_table_cell(table, "%s", lilac_lora_initialisation_name(config->initialisation));
    lilac_table_cell(table, "Weights");
    lilac_table_cell(table, "%zu", lilac_adapter_parameter_count(adapter));
    for (size_t i = 0; i < lilac_adapter_layer_count(adapter); i++) {
        const lilac_linear_layer layer = lilac_adapter_layer(adapter, i);
        lilac_table_cell(table, i == 0 ? "Layers" : "");
        lilac_table_cell(table, "%s: %zu to %zu", layer.name, layer.in, layer.out);
    }
    lilac_table_cell(table, "Made for");
    lilac_table_cell(table, "%s (SHA-256 of the base's weights)", hash);
    return lilac_session_print_table(session, LILAC_OK, table);
}

static lilac_status check_model(lilac_session *session, const info_settings *settings) {
    lilac_model model;
    LILAC_TRY(lilac_session_load_model(session, settings->model, &model));
    lilac_adapter *adapter = NULL;
    const lilac_status status = lilac_session_load_adapter(session, &model, settings->adapter, &adapter);
    lilac_adapter_destroy(adapter);
    lilac_model_free(&model);
    LILAC_TRY(status);
    printf("That is %s\n", settings->model);
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const info_settings *settings = values;
    lilac_adapter *adapter;
    LILAC_TRY(lilac_adapter_load(session->context, settings->adapter, NULL, &adapter));
    lilac_status status = print_adapter(session, adapter);
    if (status == LILAC_OK && settings->model != NULL) {
        status = check_model(session, settings);
    }
    lilac_adapter_destroy(adapter);
    return status;
}

const lilac_command lilac_command_lora_info = {
    .name = "lora info",
    .summary = "show what an adapter file holds, and whether it fits a model",
    .description = "Shows an adapter's rank, scale, layers and the base it was made for. With a model it also checks "
                   "that this is that base, and fails where it is not.",
    .example = "lilac lora info --adapter rotated.safetensors\n"
               "lilac lora info --adapter rotated.safetensors --model base.safetensors\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(info_settings),
    .run = run,
};
