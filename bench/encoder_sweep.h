/* SPDX-License-Identifier: MIT */
/* The report's two experiments with transformer layers: their time over sequences of growing length. */
#ifndef LILAC_BENCH_ENCODER_SWEEP_H
#define LILAC_BENCH_ENCODER_SWEEP_H

#include "encoder.h"

#include "report/json.h"

enum {
    LILAC_SWEEP_KINDS = 2, /* linear and softmax attention */
    LILAC_SWEEP_LENGTHS_MAX = 32,
    LILAC_SWEEP_SHORTEST_FITTED = 1000 /* growth is fitted over lengths from this on */
};

typedef enum lilac_encoder_experiment {
    LILAC_ENCODER_LAYER,    /* one layer, forward and backward */
    LILAC_ENCODER_INFERENCE /* the forward pass of eight layers */
} lilac_encoder_experiment;

/* "layer" and "inference"; ends with NULL. */
extern const char *const lilac_encoder_experiment_names[];

extern const char *const lilac_sweep_kind_names[LILAC_SWEEP_KINDS];

typedef struct lilac_encoder_sweep_config {
    lilac_encoder_experiment experiment;
    size_t length_count; /* 0: the experiment's lengths */
    int lengths[LILAC_SWEEP_LENGTHS_MAX];
    size_t batch; /* sequences at a time; 0: the experiment's */
    size_t runs;  /* that are timed, after one that is not */
} lilac_encoder_sweep_config;

/* All figures, in the order of the lengths, which are ascending. */
typedef struct lilac_encoder_sweep {
    lilac_encoder_sweep_config config; /* with the lengths in use */
    const char *title;
    double peak; /* GFLOP/s in f32 that the same threads reach at best */
    size_t batches[LILAC_SWEEP_LENGTHS_MAX];
    lilac_bench_encoder_figures figures[LILAC_SWEEP_KINDS][LILAC_SWEEP_LENGTHS_MAX];
    double per_sequence[LILAC_SWEEP_KINDS][LILAC_SWEEP_LENGTHS_MAX]; /* seconds */
} lilac_encoder_sweep;

/* Takes the times. Reports progress. Errors: those of lilac_bench_encoder, CANCELLED. */
LILAC_MUST_USE lilac_status lilac_encoder_sweep_run(lilac_context *context, const lilac_encoder_sweep_config *config,
                                                    lilac_encoder_sweep *out);

/* GFLOP/s of one kind at one length. */
double lilac_encoder_sweep_rate(const lilac_encoder_sweep *sweep, size_t kind, size_t length);

/* The power of N that the time of a sequence grows with; NaN where too few lengths are long enough. */
double lilac_encoder_sweep_exponent(const lilac_encoder_sweep *sweep, size_t kind);

/* The length from which on linear attention is faster; 0: none of them. */
int lilac_encoder_sweep_overtaking(const lilac_encoder_sweep *sweep);

/* Adds the figures to an object. */
void lilac_encoder_sweep_add(lilac_json *json, cJSON *parent, const lilac_context *context,
                             const lilac_encoder_sweep *sweep);

#endif
