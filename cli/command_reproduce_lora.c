/* SPDX-License-Identifier: MIT */
/* lilac reproduce lora: the report's LoRA tables from real data. */
#include "files.h"
#include "lora_tables.h"

#include "report/lora_report.h"
#include "runtime/context.h"

#include <stdlib.h>

typedef struct reproduce_settings {
    lilac_sizes hidden;
    int seeds;
    const char *output;
} reproduce_settings;

static const lilac_option options[] = {
    {.name = "hidden",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(reproduce_settings, hidden),
     .value = "N,...",
     .help = "width of the two hidden layers; the report has 64 and 512",
     .initial = "64,512",
     .minimum = 1,
     .maximum = 8192},
    {.name = "seeds",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(reproduce_settings, seeds),
     .value = "N",
     .help = "repeat everything with N seeds and give mean and spread",
     .initial_note = "3 at width 64, else 1",
     .minimum = 1,
     .maximum = 1000},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(reproduce_settings, output),
     .value = "DIR",
     .help = "folder for results.json, made where it does not exist",
     .initial = "out/lora"},
};

/* The data and the tables made so far. */
typedef struct reproduction {
    lilac_dataset *training, *test;
    lilac_lora_table tables[LILAC_SIZES_MAX];
    size_t table_count;
} reproduction;

static lilac_status run_tables(lilac_session *session, const reproduce_settings *settings, reproduction *r) {
    for (size_t i = 0; i < settings->hidden.count; i++) {
        LILAC_TRY(lilac_lora_table_make(session, (size_t)settings->hidden.item[i], (size_t)settings->seeds, r->training,
                                        r->test, &r->tables[r->table_count]));
        r->table_count++;
    }
    return LILAC_OK;
}

static lilac_status reproduce(lilac_session *session, const reproduce_settings *settings, reproduction *r) {
    char path[LILAC_PATH_SIZE];
    LILAC_TRY(lilac_session_output_path(session, settings->output, "results.json", path));
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TRAIN, &r->training));
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &r->test));
    LILAC_TRY(lilac_session_make_folder(session, settings->output));
    LILAC_TRY(lilac_session_check_output(session, path));
    LILAC_TRY(run_tables(session, settings, r));
    LILAC_TRY(lilac_lora_results_write(session->context, r->tables, r->table_count, path));
    printf("Saved %s\n", path);
    return LILAC_OK;
}

static lilac_status run(lilac_session *session, const void *values) {
    reproduction *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return lilac_fail_memory(session->context, "the tables", sizeof *r);
    }
    const lilac_status status = reproduce(session, values, r);
    for (size_t i = 0; i < r->table_count; i++) {
        lilac_lora_table_destroy(&r->tables[i]);
    }
    lilac_dataset_destroy(r->test);
    lilac_dataset_destroy(r->training);
    free(r);
    return status;
}

const lilac_command lilac_command_reproduce_lora = {
    .name = "reproduce lora",
    .summary = "reproduce the report's tables of LoRA on MNIST",
    .description =
        "Trains the report's classifier on MNIST, measures it on three variants of the digits, adapts it to "
        "each by full fine-tuning and by LoRA at ranks 1 to 64, trains adapters of a frozen random network "
        "from scratch, and takes the rank of the change that full fine-tuning makes. Prints the tables beside "
        "the published ones and saves all figures as DIR/results.json.",
    .example = "lilac reproduce lora\n"
               "lilac reproduce lora --hidden 64 --seeds 5 --output out/five-seeds\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(reproduce_settings),
    .takes = LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
