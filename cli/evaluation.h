/* SPDX-License-Identifier: MIT */
/* Tables of accuracies or bits a dimension: a row for each model, a column for each variant of the test images. */
#ifndef LILAC_CLI_EVALUATION_H
#define LILAC_CLI_EVALUATION_H

#include "files.h"

/* Choices for an option: "all" (the first four variants), then the names of the variants; ends with NULL. */
extern const char *const lilac_evaluation_choices[LILAC_VARIANT_COUNT + 2];

/* A table with its head, for a value of that option and models of that kind. */
lilac_table *lilac_evaluation_table(int choice, const lilac_model *model);

/* Adds the row of a model, with an adapter where that is not NULL: its accuracy on the first count of the images or,
 * for a transformer, bits a dimension. count 0: all images. */
LILAC_MUST_USE lilac_status lilac_evaluation_row(lilac_session *session, lilac_table *table, int choice,
                                                 const char *name, const lilac_dataset *test_images, size_t count,
                                                 const lilac_model *model, const lilac_adapter *adapter);

/* After an evaluation that failed with NOT_FINITE: says of which model or adapter. */
void lilac_evaluation_not_finite(lilac_session *session, const char *name);

/* What bits are counted for, as the literature has it: "byte" of a file, "dimension" of an image. */
const char *lilac_bits_unit(bool bytes);

#endif
