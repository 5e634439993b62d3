/* SPDX-License-Identifier: MIT */
/* lilac lora eval: one base with several adapters, switched between without loading anything twice. */
#include "evaluation.h"

#include "runtime/context.h"

#include <string.h>

typedef struct eval_settings {
    const char *model;
    lilac_named_values adapters, use;
    int variant;
} eval_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(eval_settings, model),
     .value = "FILE",
     .help = "the base model, a classifier or a transformer",
     .required = true},
    {.name = "adapter",
     .letter = 'a',
     .type = LILAC_OPTION_NAMED,
     .offset = offsetof(eval_settings, adapters),
     .value = "NAME=FILE",
     .help = "an adapter of that model, and what to call it",
     .required = true},
    {.name = "use",
     .letter = 'u',
     .type = LILAC_OPTION_NAMES,
     .offset = offsetof(eval_settings, use),
     .value = "NAME",
     .help = "an adapter to evaluate",
     .initial_note = "all"},
    {.name = "variant",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(eval_settings, variant),
     .help =
         "the form in which the model sees the images: pixels are 0 to 1, of mnist brought to mean 0 and deviation 1",
     .initial = "all",
     .choices = lilac_evaluation_choices},
};

/* The place of a name among the adapters; their count if it is not there. */
static size_t find_adapter(const lilac_named_values *adapters, const char *name) {
    size_t i = 0;
    while (i < adapters->count && strcmp(adapters->item[i].name, name) != 0) {
        i++;
    }
    return i;
}

static lilac_status check_names(lilac_session *session, const eval_settings *settings) {
    for (size_t i = 0; i < settings->use.count; i++) {
        if (find_adapter(&settings->adapters, settings->use.item[i].name) == settings->adapters.count) {
            return lilac_session_usage_error(session, "--use: no --adapter is called '%s'", settings->use.item[i].name);
        }
    }
    return LILAC_OK;
}

static lilac_status load_adapters(lilac_session *session, const eval_settings *settings, const lilac_model *model,
                                  lilac_adapter **adapters) {
    for (size_t i = 0; i < settings->adapters.count; i++) {
        LILAC_TRY(lilac_session_load_adapter(session, model, settings->adapters.item[i].value, &adapters[i]));
        LILAC_TRY(lilac_adapter_set_strength(adapters[i], session->common.strength));
    }
    return LILAC_OK;
}

/* The rows: the base alone, then each adapter that is used. */
static lilac_status fill_table(lilac_session *session, const eval_settings *settings, const lilac_model *model,
                               lilac_adapter *const *adapters, const lilac_dataset *images, lilac_table *table) {
    const size_t count = (size_t)session->common.test_images;
    LILAC_TRY(lilac_evaluation_row(session, table, settings->variant, "(base alone)", images, count, model, NULL));
    const lilac_named_values *used = settings->use.count > 0 ? &settings->use : &settings->adapters;
    for (size_t i = 0; i < used->count; i++) {
        const char *name = used->item[i].name;
        const lilac_adapter *adapter = adapters[find_adapter(&settings->adapters, name)];
        LILAC_TRY(lilac_evaluation_row(session, table, settings->variant, name, images, count, model, adapter));
    }
    return LILAC_OK;
}

static lilac_status evaluate(lilac_session *session, const eval_settings *settings, const lilac_model *model,
                             lilac_adapter *const *adapters) {
    lilac_dataset *images;
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &images));
    lilac_table *table = lilac_evaluation_table(settings->variant, model);
    const lilac_status status = fill_table(session, settings, model, adapters, images, table);
    lilac_dataset_destroy(images);
    return lilac_session_print_table(session, status, table);
}

static lilac_status run(lilac_session *session, const void *values) {
    const eval_settings *settings = values;
    LILAC_TRY(check_names(session, settings));
    lilac_model model;
    LILAC_TRY(lilac_session_load_model(session, settings->model, &model));
    lilac_adapter *adapters[LILAC_NAMED_MAX] = {0};
    lilac_status status = load_adapters(session, settings, &model, adapters);
    if (status == LILAC_OK) {
        status = evaluate(session, settings, &model, adapters);
    }
    for (size_t i = 0; i < LILAC_NAMED_MAX; i++) {
        lilac_adapter_destroy(adapters[i]);
    }
    lilac_model_free(&model);
    return status;
}

const lilac_command lilac_command_lora_eval = {
    .name = "lora eval",
    .summary = "measure a model with one adapter or several, switching between them",
    .description = "Loads a base model once and any number of its adapters, switches from one to the next, and prints "
                   "for the base and each of them the share of MNIST's test images that is classified correctly or, "
                   "where the model is a transformer, its bits a dimension on them.",
    .example = "lilac lora eval --model base.safetensors --adapter rotated=rotated.safetensors\n"
               "lilac lora eval --model base.safetensors --adapter r=rotated.safetensors \\\n"
               "    --adapter i=inverted.safetensors --use i --strength 0.5\n"
               "lilac lora eval --model models/linear.safetensors \\\n"
               "    --adapter t=turned.safetensors --images 500\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(eval_settings),
    .takes = LILAC_TAKES_TEST_IMAGES | LILAC_TAKES_STRENGTH | LILAC_TAKES_DATA | LILAC_TAKES_COMPUTE,
    .run = run,
};
