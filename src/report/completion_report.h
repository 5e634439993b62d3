/* SPDX-License-Identifier: MIT */
/* The results file of the completion experiment. */
#ifndef LILAC_REPORT_COMPLETION_REPORT_H
#define LILAC_REPORT_COMPLETION_REPORT_H

#include "experiments/completion.h"
#include "report/json.h"

/* Adds the results to an object, with the published figures beside them. */
void lilac_completion_results_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                                  const lilac_completion *completion);

/*
 * Writes the same as a file at path, atomically. All but the member "times" is
 * the same for the same seed at any number of threads on one cpu level. Errors: IO and its kin, MEMORY.
 */
lilac_status lilac_completion_results_write(lilac_context *context, const lilac_completion *completion,
                                            const char *path);

#endif
