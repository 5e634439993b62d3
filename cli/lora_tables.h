/* SPDX-License-Identifier: MIT */
/* Printing the LoRA experiment's tables beside the published ones. */
#ifndef LILAC_CLI_LORA_TABLES_H
#define LILAC_CLI_LORA_TABLES_H

#include "session.h"

#include "experiments/lora_table.h"

#include <stdio.h>

/* Prints all tables of one width. Errors: MEMORY. */
LILAC_MUST_USE lilac_status lilac_lora_tables_print(lilac_context *context, const lilac_lora_table *table, FILE *file);

/*
 * Runs the experiment at one width from the session's seed on, seeds 0 for the usual number, and prints its tables.
 * Errors: those of lilac_lora_table_run.
 */
LILAC_MUST_USE lilac_status lilac_lora_table_make(lilac_session *session, size_t hidden, size_t seeds,
                                                  const lilac_dataset *training, const lilac_dataset *test,
                                                  lilac_lora_table *out);

#endif
