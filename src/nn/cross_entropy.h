/* SPDX-License-Identifier: MIT */
/* Classes by the softmax of their logits: the cross-entropy loss with its gradient, and sampling. */
#ifndef LILAC_NN_CROSS_ENTROPY_H
#define LILAC_NN_CROSS_ENTROPY_H

#include "core/random.h"
#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

/*
 * losses[i] = -log softmax(logits[i])[labels[i]] for the B rows of logits (B x classes, contiguous; labels below
 * classes). gradient (B x classes; may be logits; may be NULL): scale times the gradient of the row's loss.
 */
void lilac_cross_entropy(lilac_context *context, size_t B, size_t classes, const float *logits, const uint8_t *labels,
                         float scale, float *losses, float *gradient);

/* How many of the B rows have their first largest logit at their label. */
size_t lilac_count_correct(size_t B, size_t classes, const float *logits, const uint8_t *labels);

/* The class that a number u strictly between 0 and 1 falls on where each takes a share of (0, 1) of its probability
 * softmax(logits / temperature). */
size_t lilac_categorical_choose(size_t classes, const float *logits, double temperature, double u);

/*
 * Draws a class (of at most 256) by softmax(logits / temperature) for each of the rows of logits (rows x classes);
 * temperature 0 takes the first largest. Row i takes its number from the group that randoms[i] stands at.
 */
void lilac_categorical_sample(size_t rows, size_t classes, const float *logits, float temperature,
                              const lilac_random *randoms, uint8_t *out);

#endif
