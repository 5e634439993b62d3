/* SPDX-License-Identifier: MIT */
/*
 * The report as one page of HTML that needs nothing else: no network, no scripts. All its figures are read from the
 * tree that the results file is written from, so that both say the same.
 *
 * The tree has the members that lilac_json_begin_results adds and size ("full" or "quick"), machine, parts and, for
 * each part that was done, attention/layer, attention/inference (lilac_encoder_sweep_add), completion
 * (lilac_completion_results_add) and lora (lilac_lora_results_add).
 */
#ifndef LILAC_REPORT_PAGE_H
#define LILAC_REPORT_PAGE_H

#include "report/json.h"

typedef enum lilac_page_plot {
    LILAC_PAGE_LAYER,
    LILAC_PAGE_INFERENCE,
    LILAC_PAGE_COMPLETION_TIMES,
    LILAC_PAGE_LORA, /* fine-tuning, then from scratch, of each width */
    LILAC_PAGE_PLOT_COUNT = LILAC_PAGE_LORA + 4
} lilac_page_plot;

enum { LILAC_PAGE_PICTURES = 2 };

/* What the results cannot hold. */
typedef struct lilac_page_media {
    char *plots[LILAC_PAGE_PLOT_COUNT];     /* SVG as gnuplot draws it; NULL: left out */
    uint8_t *pictures[LILAC_PAGE_PICTURES]; /* PNG files of completed images; NULL: left out */
    size_t picture_sizes[LILAC_PAGE_PICTURES];
} lilac_page_media;

/* Writes the page to path, atomically. old is an earlier results tree to compare with, or NULL. Errors: MEMORY, IO and
 * its kin. */
LILAC_MUST_USE lilac_status lilac_page_write(lilac_context *context, const cJSON *results, const cJSON *old,
                                             const lilac_page_media *media, const char *path);

#endif
