/* SPDX-License-Identifier: MIT */
/* The cross-entropy loss over softmaxed logits, with its gradient. */
#ifndef LILAC_NN_CROSS_ENTROPY_H
#define LILAC_NN_CROSS_ENTROPY_H

#include "runtime/context.h"

/*
 * losses[i] = -log softmax(logits[i])[labels[i]] for the B rows of logits (B x classes, contiguous; labels below
 * classes). With gradient (B x classes, may be logits, may be NULL): the gradient of the mean loss.
 */
void lilac_cross_entropy(lilac_context *context, size_t B, size_t classes, const float *logits, const uint8_t *labels,
                         float *losses, float *gradient);

/* How many of the B rows have their first largest logit at their label. */
size_t lilac_count_correct(size_t B, size_t classes, const float *logits, const uint8_t *labels);

#endif
