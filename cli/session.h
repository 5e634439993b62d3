/* SPDX-License-Identifier: MIT */
/* One run of a command: its common options, its context with progress and interrupts, its data folder. */
#ifndef LILAC_CLI_SESSION_H
#define LILAC_CLI_SESSION_H

#include "command.h"
#include "common_options.h"
#include "progress.h"
#include "table.h"

typedef struct lilac_session {
    const lilac_command *command;
    lilac_common_settings common;
    lilac_context *context;
    lilac_progress_bar bar;
    bool usage_error; /* the command line was wrong, and that was said */
} lilac_session;

enum { LILAC_EXIT_SUCCESS = 0, LILAC_EXIT_FAILURE = 1, LILAC_EXIT_USAGE = 2, LILAC_EXIT_SIGNAL = 128 };

/* Runs a command with the arguments that follow its name. Returns the program's exit code. */
int lilac_session_run(const lilac_command *command, int count, char **arguments);

/* For a run function: says what is wrong with the command line; returns LILAC_ERROR_ARGUMENT. */
lilac_status lilac_session_usage_error(lilac_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What the options of adapters and the seed say of a new one. */
lilac_lora_config lilac_session_lora_config(const lilac_session *session);

/* Prints a table to standard output where status is LILAC_OK, and frees it. Returns status, or MEMORY. */
LILAC_MUST_USE lilac_status lilac_session_print_table(lilac_session *session, lilac_status status, lilac_table *table);

/* What shares of the peak were taken of: GFLOP/s of the session's threads; 0 where there are none, or none matter. */
typedef struct lilac_peaks {
    double f32, bf16, f16;
} lilac_peaks;

void lilac_session_print_peak(const lilac_session *session, lilac_peaks peak);

/* Prints a note about the run to standard error, unless the user asked for quiet. */
void lilac_session_note(lilac_session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
