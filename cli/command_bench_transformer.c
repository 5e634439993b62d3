/* SPDX-License-Identifier: MIT */
/* lilac bench transformer: how fast transformers are trained and generate, and what memory that takes. */
#include "files.h"
#include "transformer_tables.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct bench_settings {
    int layers, heads, head_size, feed_forward, tokens;
    int batch, micro_batch, optimiser, steps;
    lilac_sizes sequences;
    int at_a_time, generated;
    const char *json;
} bench_settings;

static const lilac_option options[] = {
    {.name = "layers",
     .heading = "Model",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, layers),
     .value = "N",
     .help = "layers",
     .initial = "8",
     .minimum = 1,
     .maximum = 256},
    {.name = "heads",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, heads),
     .value = "N",
     .help = "heads of attention",
     .initial = "8",
     .minimum = 1,
     .maximum = 1024},
    {.name = "head-size",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, head_size),
     .value = "N",
     .help = "size of a head; the model is as wide as its heads together",
     .initial = "32",
     .minimum = 4,
     .maximum = 1024},
    {.name = "feed-forward",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, feed_forward),
     .value = "N",
     .help = "width of the feed-forward networks",
     .initial = "1024",
     .minimum = 1,
     .maximum = 65536},
    {.name = "tokens",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, tokens),
     .value = "N",
     .help = "tokens of a sequence",
     .initial = "783",
     .minimum = 3,
     .maximum = 1 << 20},
    {.name = "batch",
     .heading = "Training",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, batch),
     .value = "N",
     .help = "sequences a step",
     .initial = "16",
     .minimum = 1,
     .maximum = 65536},
    {.name = "micro-batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, micro_batch),
     .value = "N",
     .help = "sequences worked on at a time",
     .initial = "2",
     .minimum = 1,
     .maximum = 65536},
    {.name = "optimiser",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(bench_settings, optimiser),
     .help = "the optimiser",
     .initial = "adamw",
     .choices = lilac_optimiser_choices},
    {.name = "steps",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, steps),
     .value = "N",
     .help = "steps that are timed, after one that is not",
     .initial = "3",
     .minimum = 1,
     .maximum = 1000},
    {.name = "sequences",
     .heading = "Generation",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(bench_settings, sequences),
     .value = "N,...",
     .help = "numbers of sequences to generate",
     .initial = "1,300",
     .minimum = 1,
     .maximum = 65536},
    {.name = "at-a-time",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, at_a_time),
     .value = "N",
     .help = "how many of them share a step",
     .initial = "0",
     .initial_note = "as many as are fast",
     .minimum = 0,
     .maximum = 65536},
    {.name = "generated",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(bench_settings, generated),
     .value = "N",
     .help = "steps that are timed; 0: all that complete the second half of the sequences",
     .initial = "32",
     .minimum = 0,
     .maximum = 1 << 20},
    {.name = "json",
     .heading = "Output",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(bench_settings, json),
     .value = "FILE",
     .help = "save the figures as JSON"},
};

static lilac_transformer_sweep_config sweep_config(const bench_settings *settings) {
    lilac_transformer_sweep_config config = {.count_count = settings->sequences.count,
                                             .batch = (size_t)settings->at_a_time,
                                             .steps = (size_t)settings->generated};
    for (size_t i = 0; i < settings->sequences.count; i++) {
        config.counts[i] = (size_t)settings->sequences.item[i];
    }
    lilac_transformer_config_default(&config.model);
    config.model.length = (size_t)settings->tokens;
    config.model.layers = (size_t)settings->layers;
    config.model.heads = (size_t)settings->heads;
    config.model.head_size = (size_t)settings->head_size;
    config.model.feed_forward = (size_t)settings->feed_forward;
    /* Half of the width, which an encoding of positions needs to be even. */
    const size_t width = config.model.heads * config.model.head_size;
    config.model.position_width = width / 4 * 2;
    config.model.value_width = width - config.model.position_width;
    config.model.dropout = 0.0;
    lilac_transformer_training_default(&config.training);
    config.training.optimiser = (lilac_training_optimiser)settings->optimiser;
    config.training.batch = (size_t)settings->batch;
    config.training.micro_batch = (size_t)settings->micro_batch;
    config.training.steps = (uint64_t)settings->steps;
    return config;
}

static lilac_status save(lilac_session *session, const lilac_transformer_sweep *sweep, const char *path) {
    lilac_json json = lilac_json_begin();
    lilac_transformer_sweep_add(&json, json.root, session->context, sweep);
    const lilac_status status = lilac_json_write(session->context, &json, path);
    lilac_json_end(&json);
    LILAC_TRY(status);
    printf("Saved %s\n", path);
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    const bench_settings *settings = values;
    LILAC_TRY(lilac_session_check_figures(session, settings->json, NULL));
    const lilac_transformer_sweep_config config = sweep_config(settings);
    lilac_transformer_sweep *sweep = malloc(sizeof *sweep);
    if (sweep == NULL) {
        return lilac_fail_memory(session->context, "the figures", sizeof *sweep);
    }
    lilac_status status = lilac_transformer_sweep_run(session->context, &config, sweep);
    if (status == LILAC_OK) {
        status = lilac_transformer_tables_print(session, sweep);
    }
    if (status == LILAC_OK && settings->json != NULL) {
        status = save(session, sweep, settings->json);
    }
    free(sweep);
    return status;
}

const lilac_command lilac_command_bench_transformer = {
    .name = "bench transformer",
    .summary = "time training and generation of transformers, and count their memory",
    .description =
        "Times training steps and steps of generation of the reproduced report's transformer, with new weights and "
        "random sequences, for both kinds of attention. Of training the fastest step counts, in f32 and with matrix "
        "products in bf16 and in f16, '-' where the processor has no fast ones; GFLOP/s are those that the products "
        "and the attention ask for, their share is of the peak that the same threads reach in registers in that "
        "precision, and 'speed-up' tells how many times as fast as in f32 the step is. Memory is in MB (10^6 bytes): a "
        "pass's activations with their gradients, weights, their gradient, and the optimiser. Of generation a few "
        "steps in the middle of completing the second half of a sequence count, where softmax attention takes what it "
        "does on average; --generated 0 times all. A step adds a token to each sequence; weights in bf16 are "
        "multiplied in f32, whose peak their share is of. Its time is that of projections, attention and the rest: "
        "norms, activations, sampling. 'state' is what attention remembers of the sequences that share a step.",
    .example = "lilac bench transformer\n"
               "lilac bench transformer --batch 8 --micro-batch 4 --sequences 1\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(bench_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
