/* SPDX-License-Identifier: MIT */
/* Training and evaluating a model on a data set. */
#ifndef LILAC_TRAIN_H
#define LILAC_TRAIN_H

#include <lilac/dataset.h>
#include <lilac/mlp.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Training by AdamW on the mean cross-entropy of shuffled batches; the last batch of an epoch may be smaller. */
typedef struct lilac_training_config {
    size_t batch;  /* rows a step, at least 1 */
    size_t epochs; /* at most this many passes over the training set, at least 1 */
    /* Stop after this many epochs in a row without a lower validation loss; 0: never. The last weights stay. */
    size_t patience;
    double learning_rate;
    double weight_decay; /* decoupled: multiplied by the learning rate */
    double beta1, beta2; /* of AdamW, 0 <= beta < 1, also as a float */
    double epsilon;      /* of AdamW, at least 1e-37 */
    uint64_t seed;       /* of the shuffling and the dropout */
} lilac_training_config;

/* What one epoch gave; losses in nats a row. Without a validation set the last two are NaN. */
typedef struct lilac_epoch_metrics {
    double training_loss; /* mean over the epoch's rows, with dropout, as the weights were at each step */
    double validation_loss;
    double validation_accuracy; /* 0 .. 1 */
} lilac_epoch_metrics;

/* How a model does on a data set: the mean cross-entropy in nats, and the share of rows classified correctly. */
typedef struct lilac_evaluation {
    double loss;
    double accuracy; /* 0 .. 1 */
} lilac_evaluation;

/* The reproduced report's protocol: batch 1024, 10 epochs, patience 10, learning rate 2e-4, weight decay 0.01, seed 0.
 */
LILAC_API void lilac_training_config_default(lilac_training_config *config);

/*
 * Trains all weights of mlp or, where adapter is not NULL, only the adapter (the model is then read only).
 * metrics (config->epochs entries) and epochs_run may be NULL. validation may be NULL.
 *
 * The same seed gives the same weights, byte for byte, at any number of threads on one cpu level. Memory: a few batches
 * as floats and, beside the trained weights, three times their size. With an adapter also the first layer's products
 * for all training images, up to 256 MiB, which then need not be computed again in each epoch.
 *
 * Reports progress in steps. Errors: ARGUMENT (also: an adapter is merged into the model, a view of images that do not
 * exist), OVERFLOW, SHAPE (the data set does not fit the model), BASE_MISMATCH (the adapter's layers do not fit the
 * model's), MEMORY, NOT_FINITE (a loss or a weight diverged), CANCELLED. After the last three the trained weights are
 * those of the moment it stopped, and metrics holds the epochs before; after the others all is untouched.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_train_mlp(lilac_context *context, const lilac_training_config *config,
                                                      lilac_mlp *mlp, lilac_adapter *adapter,
                                                      const lilac_data_view *training,
                                                      const lilac_data_view *validation, lilac_epoch_metrics *metrics,
                                                      size_t *epochs_run);

/*
 * Evaluates the model, with the adapter if it is not NULL, without dropout. Errors: ARGUMENT, OVERFLOW, SHAPE,
 * BASE_MISMATCH, MEMORY, NOT_FINITE (the loss: a weight is not a finite number, or too large).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_evaluate_mlp(lilac_context *context, const lilac_mlp *mlp,
                                                         const lilac_adapter *adapter, const lilac_data_view *view,
                                                         lilac_evaluation *out);

#ifdef __cplusplus
}
#endif
#endif
