/* SPDX-License-Identifier: MIT */
/* Printing the LoRA experiment's tables beside the published ones. */
#ifndef LILAC_CLI_LORA_TABLES_H
#define LILAC_CLI_LORA_TABLES_H

#include "experiments/lora_table.h"

#include <stdio.h>

/* Prints all tables of one width. Errors: MEMORY. */
LILAC_MUST_USE lilac_status lilac_lora_tables_print(lilac_context *context, const lilac_lora_table *table, FILE *file);

#endif
