/* SPDX-License-Identifier: MIT */
/* What `lilac reproduce all` leaves behind: results.json, and the page that is made of the same tree. */
#ifndef LILAC_CLI_REPRODUCE_RESULTS_H
#define LILAC_CLI_REPRODUCE_RESULTS_H

#include "reproduce_parts.h"

#include <cjson/cJSON.h>

/* Makes the folder and finds out whether the files can be written there. Errors: ARGUMENT, IO and its kin. */
LILAC_MUST_USE lilac_status lilac_reproduction_check_folder(lilac_session *session, const char *folder);

/*
 * Writes both files to the folder and, where old is not NULL, prints what changed since those results. Where the folder
 * holds results of a fuller run, these stay and the new files go to a folder `partial` in it. Figures are left out of
 * the page where gnuplot is not there. Errors: MEMORY, IO and its kin.
 */
LILAC_MUST_USE lilac_status lilac_reproduction_save(lilac_session *session, const lilac_reproduction *r,
                                                    const cJSON *old, const char *folder);

#endif
