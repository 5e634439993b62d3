/* SPDX-License-Identifier: MIT */
/* The parts of the report, run one after the other by `lilac reproduce all`. */
#ifndef LILAC_CLI_REPRODUCE_PARTS_H
#define LILAC_CLI_REPRODUCE_PARTS_H

#include "session.h"

#include "bench/encoder_sweep.h"
#include "bench/peak.h"
#include "experiments/completion.h"
#include "experiments/lora_table.h"

/* In the order in which they run. */
typedef enum lilac_part {
    LILAC_PART_PEAK,
    LILAC_PART_LAYER,
    LILAC_PART_INFERENCE,
    LILAC_PART_COMPLETION,
    LILAC_PART_LORA_64,
    LILAC_PART_LORA_512,
    LILAC_PART_COUNT
} lilac_part;

typedef enum lilac_part_state {
    LILAC_PART_NOT_REACHED,
    LILAC_PART_LEFT_OUT, /* the reason says why */
    LILAC_PART_DONE,
    LILAC_PART_INTERRUPTED,
    LILAC_PART_FAILED
} lilac_part_state;

typedef struct lilac_part_outcome {
    lilac_part_state state;
    char reason[512]; /* why it, or something of it, is missing */
    double seconds;
} lilac_part_outcome;

/* The parts' settings, what they work on, and what came out. */
typedef struct lilac_reproduction {
    bool quick;
    lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT]; /* NULL: missing */
    lilac_dataset *training, *test;                          /* NULL: not needed */
    lilac_part_outcome outcomes[LILAC_PART_COUNT];
    /* Results of the parts that are done. */
    lilac_peak_figures peak;
    lilac_encoder_sweep sweeps[2]; /* by lilac_encoder_experiment */
    lilac_completion completion;
    lilac_lora_table tables[2]; /* width 64 and 512 */
} lilac_reproduction;

/* "layer", and a title for people. */
const char *lilac_part_name(lilac_part part);
const char *lilac_part_title(lilac_part part);

/* Refuses now what the parts not left out would refuse when their turn comes. Errors: theirs. */
LILAC_MUST_USE lilac_status lilac_parts_check(lilac_session *session, const lilac_reproduction *r);

/*
 * Runs the parts that are not left out, prints their tables, and fills in their outcomes. A part that fails does not
 * keep the others from running; an interrupt does. Returns the first failure, or CANCELLED.
 */
LILAC_MUST_USE lilac_status lilac_parts_run(lilac_session *session, lilac_reproduction *r);

void lilac_reproduction_free(lilac_reproduction *r);

#endif
