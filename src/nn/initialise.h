/* SPDX-License-Identifier: MIT */
#ifndef LILAC_NN_INITIALISE_H
#define LILAC_NN_INITIALISE_H

#include "core/random.h"
#include "runtime/context.h"

/*
 * Fills count floats uniformly from (-1/sqrt(fan), 1/sqrt(fan)). With fan = a layer's inputs this is the usual start of
 * a linear layer's weight and bias: He et al., "Delving Deep into Rectifiers", 2015, with slope sqrt(5).
 */
void lilac_initialise_uniform(const lilac_context *context, size_t count, size_t fan, lilac_random random,
                              float *values);

#endif
