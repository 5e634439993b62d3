/* SPDX-License-Identifier: MIT */
/* Printing the completion experiment's tables beside the published figures. */
#ifndef LILAC_CLI_COMPLETION_TABLES_H
#define LILAC_CLI_COMPLETION_TABLES_H

#include "experiments/completion.h"

#include <stdio.h>

/* Errors: MEMORY. */
LILAC_MUST_USE lilac_status lilac_completion_tables_print(lilac_context *context, const lilac_completion *completion,
                                                          size_t test_count, FILE *file);

#endif
