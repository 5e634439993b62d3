/* SPDX-License-Identifier: MIT */
/* What a subcommand is: everything that dispatch, parser and help need to know of it. */
#ifndef LILAC_CLI_COMMAND_H
#define LILAC_CLI_COMMAND_H

#include <lilac/lilac.h>

#include "options.h"

#include <string.h>

struct lilac_session;

/* The common options that a command takes; --help is always one of them. */
enum {
    LILAC_TAKES_COMPUTE = 1,      /* --threads, --cpu, --quiet */
    LILAC_TAKES_SEED = 2,         /* --seed */
    LILAC_TAKES_DATA = 4,         /* --data */
    LILAC_TAKES_TRAINING = 8,     /* --epochs and its kin */
    LILAC_TAKES_LORA = 16,        /* --rank and its kin */
    LILAC_TAKES_SAMPLING = 32,    /* --adapter, --temperature, --batch, --precision, --cache and its kin */
    LILAC_TAKES_TEST_IMAGES = 64, /* --images */
    LILAC_TAKES_MODELS = 128,     /* --linear, --softmax */
    LILAC_TAKES_STRENGTH = 256    /* --strength */
};

/*
 * Does the work. A failure leaves its reason on the session's context, or has been told by lilac_session_usage_error.
 * Results go to standard output; whether they were written is checked when the program ends.
 */
typedef lilac_status lilac_command_run(struct lilac_session *session, const void *settings);

typedef struct lilac_command {
    const char *name;            /* one word or two: "info", "mlp train" */
    const char *heading;         /* a title above it in the list of commands, for it and those that follow, or NULL */
    const char *summary;         /* one line for the list of commands, no full stop */
    const char *description;     /* what else there is to know; sentences */
    const char *example;         /* command lines, each ended by a newline */
    const lilac_option *options; /* its own, beside the common ones */
    size_t option_count;
    size_t settings_size; /* of the struct that the options fill in; 0: none */
    unsigned takes;       /* LILAC_TAKES_... */
    lilac_command_run *run;
} lilac_command;

/* The length of the first word of a command's name. */
static inline size_t lilac_command_first_word(const lilac_command *command) {
    return strcspn(command->name, " ");
}

/* True if a command's name has two words and this one is the first: "mlp" of "mlp train". */
static inline bool lilac_command_in_group(const lilac_command *command, const char *group) {
    const size_t length = lilac_command_first_word(command);
    return command->name[length] == ' ' && strlen(group) == length && strncmp(group, command->name, length) == 0;
}

/* The number of elements of an array. */
#define LILAC_COUNT(array) (sizeof(array) / sizeof(array)[0])

extern const lilac_command lilac_command_bench_attention;
extern const lilac_command lilac_command_bench_encoder;
extern const lilac_command lilac_command_bench_lora;
extern const lilac_command lilac_command_bench_matmul;
extern const lilac_command lilac_command_bench_peak;
extern const lilac_command lilac_command_bench_transformer;
extern const lilac_command lilac_command_complete;
extern const lilac_command lilac_command_data_variants;
extern const lilac_command lilac_command_eval_bits;
extern const lilac_command lilac_command_generate;
extern const lilac_command lilac_command_info;
extern const lilac_command lilac_command_lora_eval;
extern const lilac_command lilac_command_lora_info;
extern const lilac_command lilac_command_lora_merge;
extern const lilac_command lilac_command_lora_train;
extern const lilac_command lilac_command_mlp_eval;
extern const lilac_command lilac_command_mlp_train;
extern const lilac_command lilac_command_reproduce_all;
extern const lilac_command lilac_command_reproduce_completion;
extern const lilac_command lilac_command_reproduce_lora;
extern const lilac_command lilac_command_train;

/* All of them, in the order of the help. */
extern const lilac_command *const lilac_commands[];
extern const size_t lilac_command_count;

#endif
