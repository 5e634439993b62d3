/* SPDX-License-Identifier: MIT */
#ifndef LILAC_MODEL_TRANSFORMER_INITIALISE_H
#define LILAC_MODEL_TRANSFORMER_INITIALISE_H

#include "model/transformer.h"

/* The initial weights that lilac_transformer_create describes; the model's weights are 0 before. */
void lilac_transformer_initialise(const lilac_context *context, lilac_transformer *model);

#endif
