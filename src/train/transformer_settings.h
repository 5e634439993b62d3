/* SPDX-License-Identifier: MIT */
/* The settings of a transformer's training: their check, and the list that a checkpoint is compared by. */
#ifndef LILAC_TRAIN_TRANSFORMER_SETTINGS_H
#define LILAC_TRAIN_TRANSFORMER_SETTINGS_H

#include "train/checkpoint.h"
#include "train/tokens.h"

/* Errors: ARGUMENT. */
lilac_status lilac_transformer_training_check(lilac_context *context, const lilac_transformer_training *config);

/* All that the trained weights depend on but the cpu level; precision is that which is used. adapter may be NULL. */
void lilac_transformer_training_settings(const lilac_transformer_training *config, lilac_precision precision,
                                         const lilac_transformer *model, const lilac_adapter *adapter,
                                         const lilac_tokens *tokens, lilac_settings *settings);

#endif
