/* SPDX-License-Identifier: MIT */
/* What `lilac train` learns from. */
#ifndef LILAC_CLI_TRAIN_DATA_H
#define LILAC_CLI_TRAIN_DATA_H

#include "train_run.h"
#include "training.h"

typedef struct lilac_train_data {
    lilac_training_data images; /* with --bytes empty */
    size_t pixels, columns;     /* of an image, and of a row of it */
    unsigned char *bytes;       /* NULL without --bytes */
    size_t byte_count;

    /* Set by lilac_train_data_split */
    lilac_token_source training, validation;
    bool has_validation;
    size_t sequences; /* an epoch */
} lilac_train_data;

/* Loads MNIST or the file. Free it with lilac_train_data_free. */
LILAC_MUST_USE lilac_status lilac_train_data_load(lilac_session *session, const lilac_train_settings *settings,
                                                  lilac_train_data *out);
void lilac_train_data_free(lilac_train_data *data);

/* Cuts the data, which stay where they are, in two for a model of that length. */
LILAC_MUST_USE lilac_status lilac_train_data_split(lilac_session *session, const lilac_train_settings *settings,
                                                   size_t length, lilac_train_data *data);

#endif
