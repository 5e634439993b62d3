/* SPDX-License-Identifier: MIT */
/* Checkpoint files: all that a training needs to go on. docs/format.md describes them. */
#ifndef LILAC_TRAIN_CHECKPOINT_H
#define LILAC_TRAIN_CHECKPOINT_H

#include "runtime/context.h"

#include <stdbool.h>

enum { LILAC_SETTINGS_MAX = 48 };

/* A setting that the result of the training depends on, as a text. */
typedef struct lilac_setting {
    const char *name;
    char value[96];
} lilac_setting;

typedef struct lilac_settings {
    size_t count;
    lilac_setting item[LILAC_SETTINGS_MAX];
} lilac_settings;

/* Append a setting; there must be room for it. */
void lilac_settings_add(lilac_settings *settings, const char *name, const char *value);
void lilac_settings_add_whole(lilac_settings *settings, const char *name, uint64_t value);
void lilac_settings_add_number(lilac_settings *settings, const char *name, double value);

typedef struct lilac_checkpoint {
    uint64_t step;
    double seconds; /* spent in these steps */
    size_t count;   /* trained weights */
    float *parameters, *moment1, *moment2;
} lilac_checkpoint;

/* Whether a checkpoint of that many weights can be written there: found out before a long training is. Errors: ARGUMENT
 * (too many for one file), those of lilac_file_writer_open. */
lilac_status lilac_checkpoint_check(lilac_context *context, size_t count, const char *path);

/* Writes a checkpoint in place of an older one. Errors: MEMORY, and those of lilac_file_writer. */
lilac_status lilac_checkpoint_write(lilac_context *context, const lilac_checkpoint *checkpoint,
                                    const lilac_settings *settings, const char *path);

/*
 * Reads a checkpoint of a training with these settings and at most that many steps into the memory that checkpoint,
 * whose count is set, points to; on failure nothing is changed. Errors: those of lilac_safetensors_open; UNSUPPORTED
 * (not a checkpoint file), FORMAT, SHAPE, ARGUMENT (another setting: the message names it).
 */
lilac_status lilac_checkpoint_read(lilac_context *context, const char *path, const lilac_settings *settings,
                                   uint64_t most_steps, lilac_checkpoint *checkpoint);

#endif
