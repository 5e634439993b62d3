/* SPDX-License-Identifier: MIT */
/*
 * The discretised mixture of logistics over bytes (Salimans et al., "PixelCNN++", 2017): its loss, with the gradient,
 * and sampling.
 *
 * A row of parameters is K logits l, K means m and K raw scales r. Byte v stands for x = v / 127.5 - 1 and the bin from
 * x - 1/255 to x + 1/255; the bins of 0 and 255 reach to infinity. With s = elu(r) + 1.0001,
 *   P(v) = sum_k softmax(l)_k (sigmoid((x + 1/255 - m_k) / s_k) - sigmoid((x - 1/255 - m_k) / s_k)).
 */
#ifndef LILAC_NN_LOGISTIC_MIXTURE_H
#define LILAC_NN_LOGISTIC_MIXTURE_H

#include "core/random.h"
#include "runtime/context.h"

#include <stddef.h>
#include <stdint.h>

enum { LILAC_LOGISTIC_MIXTURE_MAX = 1024 }; /* components at most */

/*
 * losses[i] = -log P(targets[i]) in nats for the T rows of parameters (T x 3K, contiguous, 1 <= K <=
 * LILAC_LOGISTIC_MIXTURE_MAX). gradient (T x 3K; may be parameters; may be NULL): scale times the gradient of the row's
 * loss. Computed in double: finite for all finite parameters up to 1e4 in size. Same bytes at any thread count and
 * level.
 */
void lilac_logistic_mixture_loss(lilac_context *context, size_t T, size_t K, const float *parameters,
                                 const uint8_t *targets, float scale, float *losses, float *gradient);

/*
 * Draws a byte for each row of parameters (rows x 3K): a component k by softmax(l), then x = m_k + temperature s_k
 * (log u - log(1 - u)) with u uniform in (0, 1), rounded to the nearest byte and clamped. temperature >= 0; at 0 it is
 * the byte nearest to m_k. Row i takes its numbers from the group that randoms[i] stands at.
 */
void lilac_logistic_mixture_sample(size_t rows, size_t K, const float *parameters, float temperature,
                                   const lilac_random *randoms, uint8_t *out);

#endif
