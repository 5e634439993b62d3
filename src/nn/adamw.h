/* SPDX-License-Identifier: MIT */
/* AdamW over one flat block of parameters (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019). */
#ifndef LILAC_NN_ADAMW_H
#define LILAC_NN_ADAMW_H

#include "runtime/context.h"

typedef struct lilac_adamw_config {
    double learning_rate, weight_decay, beta1, beta2, epsilon;
} lilac_adamw_config;

typedef struct lilac_adamw {
    lilac_adamw_config config;
    size_t count;             /* parameters */
    uint64_t step;            /* updates made */
    float *moment1, *moment2; /* count each */
} lilac_adamw;

/* Zero moments for count parameters. Errors: MEMORY. */
lilac_status lilac_adamw_create(lilac_context *context, const lilac_adamw_config *config, size_t count,
                                lilac_adamw *out);
void lilac_adamw_destroy(lilac_adamw *optimiser);

/* One update of the count parameters. */
void lilac_adamw_update(lilac_context *context, lilac_adamw *optimiser, const float *gradient, float *parameters);

#endif
