/* SPDX-License-Identifier: MIT */
/* How fast a LoRA training step runs. */
#ifndef LILAC_BENCH_LORA_H
#define LILAC_BENCH_LORA_H

#include <lilac/context.h>

typedef struct lilac_lora_step_config {
    size_t hidden; /* of the classifier 784-hidden-hidden-10 */
    size_t rank;   /* of the adapter on its three layers; 0: full fine-tuning */
    size_t batch;
} lilac_lora_step_config;

typedef struct lilac_lora_step_figures {
    double operations;        /* floating-point operations in the matrix products of a step */
    double forward_seconds;   /* of the fastest step: its forward pass, */
    double backward_seconds;  /* loss and backward pass, */
    double optimiser_seconds; /* and update of the trained weights */
    double step_seconds;      /* all three of the fastest step */
    double median_seconds;    /* of the median step */
} lilac_lora_step_figures;

/* Times steps on random images for about half a second. Errors: those of training. */
lilac_status lilac_bench_lora_step(lilac_context *context, const lilac_lora_step_config *config,
                                   lilac_lora_step_figures *out);

#endif
