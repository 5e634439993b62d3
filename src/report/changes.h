/* SPDX-License-Identifier: MIT */
/* What differs between the results of two runs. */
#ifndef LILAC_REPORT_CHANGES_H
#define LILAC_REPORT_CHANGES_H

#include "report/json.h"

typedef struct lilac_change {
    const char *label;    /* what it is, in words */
    const char *was, *is; /* of texts; NULL: numbers */
    double before, after; /* of numbers */
    bool timed;           /* a time or speed, which no two runs have in common */
} lilac_change;

typedef struct lilac_changes_count {
    size_t changed;
    size_t only_old, only_new; /* figures that the other does not hold, and which are not compared */
} lilac_changes_count;

/*
 * Calls visit for each figure and text that both hold and that differs, times and speeds where they differ by more than
 * a tenth; elements of arrays are matched by what they are of (a rank, a width, a length). Returns how many there are,
 * and how many figures are in one of the two alone.
 */
lilac_changes_count lilac_changes_visit(const cJSON *old, const cJSON *results,
                                        void (*visit)(void *user, const lilac_change *change), void *user);

/*
 * Reads a results file of all experiments to compare with; free it with cJSON_Delete. Errors: those of lilac_file_read,
 * FORMAT (not such a file).
 */
LILAC_MUST_USE lilac_status lilac_results_read(lilac_context *context, const char *path, cJSON **out);

#endif
