/* SPDX-License-Identifier: MIT */
/* How fast a transformer is trained and how fast it generates, and what memory either takes. */
#ifndef LILAC_BENCH_TRANSFORMER_H
#define LILAC_BENCH_TRANSFORMER_H

#include <lilac/generation.h>
#include <lilac/train_transformer.h>

typedef struct lilac_bench_training_figures {
    lilac_training_times times; /* of the fastest step; NaN throughout where the precision cannot be had */
    double operations;          /* floating-point operations that a step asks for */
    lilac_training_memory memory;
    size_t weight_bytes; /* of the model */
} lilac_bench_training_figures;

/*
 * Times as many steps as config->steps says, after one that does not count, on random sequences of the model's length.
 * The model is trained. Not looked at in config: reports, checkpoints, limits of time. Errors: those of training.
 */
LILAC_MUST_USE lilac_status lilac_bench_training(lilac_context *context, const lilac_transformer_training *config,
                                                 lilac_transformer *model, lilac_bench_training_figures *out);

typedef struct lilac_bench_generation_config {
    size_t count; /* sequences */
    size_t batch; /* at a time; 0: as many as are fast */
    size_t steps; /* timed; 0: all that complete the second half of a sequence */
    lilac_precision precision;
} lilac_bench_generation_config;

typedef struct lilac_bench_generation_figures {
    size_t batch;                 /* sequences at a time */
    size_t prompt, steps;         /* tokens of a prompt; steps that were timed */
    lilac_generation_times times; /* of the run whose steps were fastest: `steps` steps of all sequences */
    double operations;            /* of these steps */
    size_t weight_bytes;          /* of the packed weights */
    size_t state_bytes;           /* what attention remembers of the sequences at a time, of the model's length */
} lilac_bench_generation_figures;

/*
 * Times steps from the middle of completing the second half of sequences of the model's length + 1: softmax attention
 * takes the longer the more tokens there were, and there it takes what it does on average. Runs again until two seconds
 * are spent. Errors: those of generation, SHAPE (a model for fewer than 3 tokens).
 */
LILAC_MUST_USE lilac_status lilac_bench_generation(lilac_context *context, const lilac_transformer *model,
                                                   const lilac_bench_generation_config *config,
                                                   lilac_bench_generation_figures *out);

#endif
