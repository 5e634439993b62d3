/* SPDX-License-Identifier: MIT */
/* Some tokens of some sequences on their way through a transformer's layers. */
#ifndef LILAC_MODEL_TRANSFORMER_STEP_H
#define LILAC_MODEL_TRANSFORMER_STEP_H

#include "model/transformer_state.h"

/* n tokens each of the sequences first .. first + count - 1 of a state. */
typedef struct lilac_state_part {
    lilac_context *context; /* whose threads share the work */
    lilac_transformer_state *state;
    lilac_state_activations a; /* for count * n rows, the positions filled in */
    size_t first, count, n, T; /* T: rows, set by lilac_state_take_in */
    lilac_state_outcome spent; /* the seconds are added to */
} lilac_state_part;

/*
 * Takes the tokens through all layers; those of the caller's row b begin at tokens + b * stride. outputs (B x O): the
 * caller's rows of the part's sequences get the outputs of their last tokens; may be NULL. Parts of other sequences of
 * the state may be taken in at the same time, each with a context and activations of its own. What a sequence gives
 * does not depend on the others of its part. state->position is left to the caller.
 */
lilac_status lilac_state_take_in(lilac_state_part *part, const uint8_t *tokens, size_t stride, float *outputs);

#endif
