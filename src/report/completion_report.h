/* SPDX-License-Identifier: MIT */
/* The results file of the completion experiment. */
#ifndef LILAC_REPORT_COMPLETION_REPORT_H
#define LILAC_REPORT_COMPLETION_REPORT_H

#include "experiments/completion.h"

/*
 * Writes the results as JSON to path, atomically, with the published figures beside them. All but the member "times" is
 * the same for the same seed at any number of threads on one cpu level. Errors: IO and its kin, MEMORY.
 */
lilac_status lilac_completion_results_write(lilac_context *context, const lilac_completion *completion,
                                            const char *path);

#endif
