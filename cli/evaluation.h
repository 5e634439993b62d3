/* SPDX-License-Identifier: MIT */
/* Tables of accuracies: a row for each model, a column for each variant of the test images. */
#ifndef LILAC_CLI_EVALUATION_H
#define LILAC_CLI_EVALUATION_H

#include "session.h"

/* Choices for an option: "all" (the first four variants), then the names of the variants; ends with NULL. */
extern const char *const lilac_evaluation_choices[LILAC_VARIANT_COUNT + 2];

/* A table with its head, for a value of that option; first is the head of the column of names. */
lilac_table *lilac_evaluation_table(int choice, const char *first);

/* Adds the row of a model, with an adapter where that is not NULL. */
LILAC_MUST_USE lilac_status lilac_evaluation_row(lilac_session *session, lilac_table *table, int choice,
                                                 const char *name, const lilac_dataset *test_images,
                                                 const lilac_mlp *mlp, const lilac_adapter *adapter);

#endif
