/* SPDX-License-Identifier: MIT */
/* The figures' plots, as scripts for gnuplot that draw SVG. */
#ifndef LILAC_REPORT_PLOTS_H
#define LILAC_REPORT_PLOTS_H

#include "report/json.h"

#include <stdio.h>

/* What is drawn. */
typedef struct lilac_plot {
    const cJSON *results; /* what the functions below take */
    size_t width;         /* of the LoRA table: its index */
    bool inlined;         /* to stand in a page: transparent, without fixed size; else white */
} lilac_plot;

/* Each writes a script; argument is a lilac_plot. */

/* Time over length: of what lilac_encoder_sweep_add adds. */
void lilac_plot_encoder(FILE *script, const void *argument);
/* Time over the number of images, of which there must be two at least, beside the published times: of what
 * lilac_completion_results_add adds. */
void lilac_plot_completion_times(FILE *script, const void *argument);
/* Accuracy over rank, beside the published ones: of what lilac_lora_results_add adds. */
void lilac_plot_fine_tuning(FILE *script, const void *argument);
void lilac_plot_from_scratch(FILE *script, const void *argument);

#endif
