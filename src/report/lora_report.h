/* SPDX-License-Identifier: MIT */
/* What the LoRA experiment found, beside what was published: the cells of its tables, and its results file. */
#ifndef LILAC_REPORT_LORA_REPORT_H
#define LILAC_REPORT_LORA_REPORT_H

#include "experiments/lora_table.h"
#include "report/json.h"

#include <stdbool.h>

/* One cell of a table, over the seeds, in per cent. */
typedef struct lilac_lora_cell {
    double mean;
    double spread;    /* sample standard deviation; NaN with one seed */
    double published; /* NaN where nothing was published */
    double tolerance; /* lilac_lora_tolerance */
    bool differs;     /* the mean is further than that from what was published */
} lilac_lora_cell;

/* The cell of the double at that offset in lilac_lora_figures; rank as for lilac_lora_tolerance. */
lilac_lora_cell lilac_lora_table_cell(const lilac_lora_table *table, size_t offset, size_t rank);

/* Adds the results of table_count tables to an object, with the published figures beside them. */
void lilac_lora_results_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                            const lilac_lora_table *tables, size_t table_count);

/*
 * Writes the same as a file at path, atomically. All but the member "times" is the same for the
 * same seeds at any number of threads on one cpu level. Errors: IO and its kin, MEMORY.
 */
lilac_status lilac_lora_results_write(lilac_context *context, const lilac_lora_table *tables, size_t table_count,
                                      const char *path);

#endif
