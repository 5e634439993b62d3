/* SPDX-License-Identifier: MIT */
/* What the commands that train or evaluate a model have in common. */
#ifndef LILAC_CLI_TRAINING_H
#define LILAC_CLI_TRAINING_H

#include "session.h"

/* The names of the variants in the order of lilac_variant, for an option; ends with NULL. */
extern const char *const lilac_variant_choices[LILAC_VARIANT_COUNT + 1];

/* A data set cut in two, and the test images. */
typedef struct lilac_training_data {
    lilac_dataset *training_images, *test_images;
    uint32_t *split;
    lilac_data_view training, validation, test; /* validation.count may be 0 */
} lilac_training_data;

/* Loads MNIST and sets validation images aside as the session's options say. */
LILAC_MUST_USE lilac_status lilac_training_data_load(lilac_session *session, lilac_variant variant,
                                                     lilac_training_data *out);
void lilac_training_data_free(lilac_training_data *data);

/*
 * Trains mlp, or adapter where it is not NULL, as the session's options say, and prints what each epoch gave and how
 * the result does on the test images.
 */
LILAC_MUST_USE lilac_status lilac_train_and_print(lilac_session *session, const lilac_training_data *data,
                                                  lilac_mlp *mlp, lilac_adapter *adapter);

#endif
