/* SPDX-License-Identifier: MIT */
/* Options that several commands share. */
#ifndef LILAC_CLI_COMMON_OPTIONS_H
#define LILAC_CLI_COMMON_OPTIONS_H

#include "command.h"

enum { LILAC_CPU_NOT_GIVEN = -1 };

/* The values of --epochs and its kin. */
typedef struct lilac_training_settings {
    int epochs, batch, patience;
    int validation; /* images of the training set that are set aside */
    double learning_rate, weight_decay;
} lilac_training_settings;

/* The values of --rank and its kin. */
typedef struct lilac_lora_settings {
    int rank;
    double alpha;
    int scale_rule, initialisation;
} lilac_lora_settings;

/* How a transformer's sequences are drawn. */
typedef struct lilac_sampling_settings {
    lilac_named_values adapters; /* files */
    double temperature;
    int batch; /* 0: as many as are fast */
    int precision, cache;
    bool no_cache;
} lilac_sampling_settings;

typedef struct lilac_common_settings {
    int threads; /* 0: one for each processor */
    int cpu;     /* a lilac_cpu_level, or LILAC_CPU_NOT_GIVEN */
    bool quiet;
    uint64_t seed;
    const char *data;                                  /* NULL: look in the usual places */
    int test_images;                                   /* 0: all */
    double strength;                                   /* of adapters */
    const char *models[LILAC_TRANSFORMER_SOFTMAX + 1]; /* files; NULL: the usual one */
    lilac_training_settings training;
    lilac_lora_settings lora;
    lilac_sampling_settings sampling;
    bool help;
} lilac_common_settings;

/* Choices, in the order of lilac_precision: for --precision of products; for what is stored, or held in memory. */
extern const char *const lilac_precision_choices[];
extern const char *const lilac_storage_choices[];

/* Choices for --optimiser, in the order of lilac_training_optimiser. */
extern const char *const lilac_optimiser_choices[];

/* The groups of options that a command takes, its own first; their values go to settings and common. Returns how many.
 */
size_t lilac_option_groups(const lilac_command *command, void *settings, lilac_common_settings *common,
                           lilac_option_group groups[LILAC_GROUPS_MAX]);

#endif
