/* SPDX-License-Identifier: MIT */
/* The settings of a transformer's training: their check, and the list that a checkpoint is compared by. */
#ifndef LILAC_TRAIN_TRANSFORMER_SETTINGS_H
#define LILAC_TRAIN_TRANSFORMER_SETTINGS_H

#include "linalg/matmul.h"
#include "train/checkpoint.h"
#include "train/tokens.h"

/* Errors: ARGUMENT. */
lilac_status lilac_transformer_training_check(lilac_context *context, const lilac_transformer_training *config);

/* All that the trained weights depend on but the cpu level; products are those of the pass. adapter may be NULL. To be
 * called before the first step: what training begins with is one of them. */
void lilac_transformer_training_settings(const lilac_transformer_training *config, lilac_matmul_type products,
                                         const lilac_transformer *model, const lilac_adapter *adapter,
                                         const lilac_tokens *tokens, lilac_settings *settings);

#endif
