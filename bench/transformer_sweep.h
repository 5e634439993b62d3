/* SPDX-License-Identifier: MIT */
/* Training and generation with both kinds of attention, in each precision. */
#ifndef LILAC_BENCH_TRANSFORMER_SWEEP_H
#define LILAC_BENCH_TRANSFORMER_SWEEP_H

#include "transformer.h"

#include "report/json.h"

/* The precisions are the first values of lilac_precision: no weights are held in f16. */
enum {
    LILAC_TRANSFORMER_SWEEP_COUNTS = 32,
    LILAC_TRANSFORMER_KINDS = 2,
    LILAC_TRAINING_PRECISIONS = LILAC_PRECISION_F16 + 1,
    LILAC_GENERATION_PRECISIONS = LILAC_PRECISION_BF16 + 1
};

typedef struct lilac_transformer_sweep_config {
    lilac_transformer_config model;      /* its attention is not looked at */
    lilac_transformer_training training; /* its precision is not looked at */
    size_t count_count;
    size_t counts[LILAC_TRANSFORMER_SWEEP_COUNTS]; /* of sequences to generate */
    size_t batch, steps;                           /* as in lilac_bench_generation_config */
} lilac_transformer_sweep_config;

/* Figures by lilac_transformer_attention and lilac_precision. */
typedef struct lilac_transformer_sweep {
    lilac_transformer_sweep_config config;
    double peak[LILAC_TRAINING_PRECISIONS]; /* GFLOP/s; of bf16 and f16 0 where the processor has none */
    lilac_bench_training_figures training[LILAC_TRANSFORMER_KINDS][LILAC_TRAINING_PRECISIONS];
    lilac_bench_generation_figures generation[LILAC_TRANSFORMER_KINDS][LILAC_GENERATION_PRECISIONS]
                                             [LILAC_TRANSFORMER_SWEEP_COUNTS];
} lilac_transformer_sweep;

/* Times all of it and the peaks. Errors: those of creating, training and using the model. */
LILAC_MUST_USE lilac_status lilac_transformer_sweep_run(lilac_context *context,
                                                        const lilac_transformer_sweep_config *config,
                                                        lilac_transformer_sweep *out);

/* GFLOP/s, and the share of the peak: of training that of its precision, of generation that of f32, for weights in bf16
 * are widened and multiplied in f32. NaN where there is none. */
double lilac_transformer_sweep_training_rate(const lilac_transformer_sweep *sweep, size_t kind, size_t precision);
double lilac_transformer_sweep_training_share(const lilac_transformer_sweep *sweep, size_t kind, size_t precision);
double lilac_transformer_sweep_generation_rate(const lilac_transformer_sweep *sweep, size_t kind, size_t precision,
                                               size_t count);

/* How many times as fast as in f32 a training step is. */
double lilac_transformer_sweep_gain(const lilac_transformer_sweep *sweep, size_t kind, size_t precision);

/* Adds the figures to an object. */
void lilac_transformer_sweep_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                                 const lilac_transformer_sweep *sweep);

#endif
