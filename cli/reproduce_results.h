/* SPDX-License-Identifier: MIT */
/* What `lilac reproduce all` leaves behind: results.json, and the page that is made of the same tree. */
#ifndef LILAC_CLI_REPRODUCE_RESULTS_H
#define LILAC_CLI_REPRODUCE_RESULTS_H

#include "reproduce_parts.h"

#include <cjson/cJSON.h>

/*
 * Writes both files and, where old is not NULL, prints what changed since those results. Figures are left out of the
 * page where gnuplot is not there. Errors: MEMORY, IO and its kin.
 */
LILAC_MUST_USE lilac_status lilac_reproduction_save(lilac_session *session, const lilac_reproduction *r,
                                                    const cJSON *old, const char *results_path, const char *page_path);

#endif
