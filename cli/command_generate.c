/* SPDX-License-Identifier: MIT */
/* lilac generate: sequences from a transformer, drawn as images or written as bytes. */
#include "files.h"
#include "generation.h"

#include "core/memory.h"
#include "runtime/context.h"
#include "runtime/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct generate_settings {
    const char *model, *png, *prompt, *output;
    int count, length, columns, zoom;
} generate_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(generate_settings, model),
     .value = "FILE",
     .help = "the transformer",
     .required = true},
    {.name = "png",
     .letter = 'p',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(generate_settings, png),
     .value = "FILE",
     .help = "draw the sequences as images and save the picture there"},
    {.name = "prompt",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(generate_settings, prompt),
     .value = "TEXT",
     .help = "write bytes that continue this text"},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(generate_settings, output),
     .value = "FILE",
     .help = "where the bytes go",
     .initial_note = "standard output",
     .with = "prompt"},
    {.name = "count",
     .letter = 'n',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(generate_settings, count),
     .value = "N",
     .help = "how many images, or continuations",
     .initial = "1",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "length",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(generate_settings, length),
     .value = "N",
     .help = "bytes of a sequence, the prompt among them",
     .initial_note = "as many as the model allows",
     .minimum = 2,
     .maximum = 1 << 25},
    {.name = "columns",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(generate_settings, columns),
     .value = "N",
     .help = "pixels in a row of an image",
     .initial_note = "as many as there are rows",
     .minimum = 1,
     .maximum = 1 << 25,
     .with = "png"},
    {.name = "zoom",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(generate_settings, zoom),
     .value = "N",
     .help = "draw each pixel of an image N pixels wide",
     .initial = "2",
     .minimum = 1,
     .maximum = 32,
     .with = "png"},
};

/* The smallest number whose square is at least n. */
static size_t root_above(size_t n) {
    size_t root = 1;
    while (root * root < n) {
        root++;
    }
    return root;
}

/* Images in a picture that is about as wide as high. */
static lilac_status plan_grid(lilac_session *session, const generate_settings *settings, size_t length,
                              lilac_image_grid *grid) {
    const size_t columns = settings->columns > 0 ? (size_t)settings->columns : root_above(length);
    if (length % columns != 0 || (settings->columns == 0 && columns * columns != length)) {
        return lilac_session_usage_error(
            session, "--columns: an image of %zu pixels has no rows of %zu; give what divides it", length, columns);
    }
    const size_t count = (size_t)settings->count, across = root_above(count);
    *grid = (lilac_image_grid){.across = across,
                               .down = (count + across - 1) / across,
                               .rows = length / columns,
                               .cols = columns,
                               .zoom = (size_t)settings->zoom};
    return LILAC_OK;
}

/* Continuations to standard output end with a line break each; a file holds nothing but their bytes. */
static lilac_status give_bytes(lilac_session *session, const generate_settings *settings, size_t length,
                               const uint8_t *bytes) {
    if (settings->output != NULL) {
        LILAC_TRY(lilac_file_write(session->context, settings->output, bytes, (size_t)settings->count * length));
        lilac_progress_bar_clear(&session->bar);
        printf("Saved %s: %d x %zu bytes\n", settings->output, settings->count, length);
        return LILAC_OK;
    }
    lilac_progress_bar_clear(&session->bar);
    for (int i = 0; i < settings->count; i++) {
        fwrite(bytes + (size_t)i * length, 1, length, stdout);
        putchar('\n');
    }
    return LILAC_OK;
}

static lilac_status generate(lilac_session *session, const generate_settings *settings, const lilac_transformer *model,
                             const lilac_generation_config *config, uint8_t *sequences) {
    lilac_image_grid grid = {0};
    const size_t most = lilac_transformer_get_config(model)->length + 1;
    if (config->length > most) {
        return lilac_session_usage_error(session, "--length: %zu bytes, the model's sequences have at most %zu",
                                         config->length, most);
    }
    if (settings->png != NULL) {
        LILAC_TRY(plan_grid(session, settings, config->length, &grid));
        LILAC_TRY(lilac_check_image_grid(session, settings->png, &grid));
    }
    /* What does not fit the sequences must not be copied into them; what else is wrong lilac_generate says. */
    if (config->prompt >= config->length) {
        return lilac_session_usage_error(session,
                                         "--prompt: %zu bytes, expected fewer than a sequence's %zu (--length)",
                                         config->prompt, config->length);
    }
    for (size_t i = 0; i < config->count && settings->prompt != NULL; i++) {
        memcpy(sequences + i * config->length, settings->prompt, config->prompt);
    }
    lilac_generation_times times;
    LILAC_TRY(lilac_generate(session->context, model, config, sequences, &times));
    if (settings->png == NULL) {
        return give_bytes(session, settings, config->length, sequences);
    }
    LILAC_TRY(lilac_save_image_grid(session, settings->png, &grid, config->count, sequences));
    return lilac_print_generation_times(session, config, &times);
}

/* An image begins with a black pixel, as those of MNIST do. */
static lilac_generation_config config_of(const lilac_session *session, const generate_settings *settings,
                                         const lilac_transformer *model, const lilac_sequence_adapters *adapters) {
    lilac_generation_config config = lilac_session_generation_config(session, adapters);
    config.count = (size_t)settings->count;
    config.prompt = settings->prompt == NULL ? 1 : strlen(settings->prompt);
    config.length = settings->length > 0 ? (size_t)settings->length : lilac_transformer_get_config(model)->length + 1;
    return config;
}

static lilac_status run_model(lilac_session *session, const generate_settings *settings, const lilac_transformer *model,
                              const lilac_sequence_adapters *adapters) {
    const lilac_generation_config config = config_of(session, settings, model, adapters);
    size_t bytes;
    uint8_t *sequences = lilac_size_multiply(config.count, config.length, &bytes) ? calloc(bytes, 1) : NULL;
    if (sequences == NULL) {
        return lilac_fail(session->context, LILAC_ERROR_MEMORY, "no memory for %zu sequences of %zu bytes",
                          config.count, config.length);
    }
    const lilac_status status = generate(session, settings, model, &config, sequences);
    free(sequences);
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const generate_settings *settings = values;
    if ((settings->png == NULL) == (settings->prompt == NULL)) {
        return lilac_session_usage_error(session, "--png FILE draws images, --prompt TEXT writes bytes: give one");
    }
    const char *output = settings->png != NULL ? settings->png : settings->output;
    if (output != NULL) {
        LILAC_TRY(lilac_session_check_sampling_output(session, output, settings->model));
    }
    lilac_transformer *model;
    LILAC_TRY(lilac_transformer_load(session->context, settings->model, &model));
    lilac_sequence_adapters adapters;
    lilac_status status = lilac_sequence_adapters_load(session, model, 0, (size_t)settings->count, &adapters);
    if (status == LILAC_OK) {
        status = lilac_session_check_sampling_model(session, model);
    }
    if (status == LILAC_OK) {
        status = run_model(session, settings, model, &adapters);
    }
    lilac_sequence_adapters_free(&adapters);
    lilac_transformer_destroy(model);
    return status;
}

const lilac_command lilac_command_generate = {
    .name = "generate",
    .summary = "draw images or write bytes with a transformer",
    .description = "Lets a transformer write sequences, a byte at a time: images, a pixel a byte, from a first pixel "
                   "of 0 on, or bytes that continue a text. Sequence number i of a seed is the same however many are "
                   "asked for.",
    .example = "lilac generate --model models/linear.safetensors --count 64 --png digits.png\n"
               "lilac generate --model text.safetensors --prompt 'Once upon' --length 200\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(generate_settings),
    .takes = LILAC_TAKES_SAMPLING | LILAC_TAKES_STRENGTH | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
