/* SPDX-License-Identifier: MIT */
/*
 * The report's LoRA experiment on MNIST: a base classifier, its accuracy on three variants of the digits, full
 * fine-tuning to each variant, LoRA at ranks 1 to 64 to each variant, and LoRA on a frozen random network ("from
 * scratch").
 */
#ifndef LILAC_EXPERIMENTS_LORA_TABLE_H
#define LILAC_EXPERIMENTS_LORA_TABLE_H

#include <lilac/dataset.h>
#include <lilac/mlp.h>

enum {
    LILAC_LORA_RANK_COUNT = 7,    /* 1, 2, 4, 8, 16, 32, 64 */
    LILAC_LORA_VARIANT_COUNT = 3, /* Quantized, Rotated, Inverted: LILAC_VARIANT_QUANTIZED + index */
    LILAC_LORA_INPUT_COUNT = 4,   /* those of the training from scratch: LILAC_VARIANT_ORIGINAL + index */
    LILAC_LORA_LAYER_COUNT = 3
};

extern const size_t lilac_lora_ranks[LILAC_LORA_RANK_COUNT];

typedef struct lilac_lora_table_config {
    size_t hidden;     /* width of both hidden layers */
    size_t seed_count; /* independent repetitions, at least 1 */
    uint64_t seed;     /* of the first; the others follow */
} lilac_lora_table_config;

/* The figures of one seed, or the published ones. Accuracies are in per cent, on the test images unless another set is
 * named. */
typedef struct lilac_lora_figures {
    double base_validation;
    double base;
    double base_on_variants[LILAC_LORA_VARIANT_COUNT];
    double base_on_training_images[LILAC_LORA_VARIANT_COUNT]; /* the variants of the 60,000 training images */
    double full[LILAC_LORA_VARIANT_COUNT];
    double adapted[LILAC_LORA_RANK_COUNT][LILAC_LORA_VARIANT_COUNT];
    double scratch[LILAC_LORA_RANK_COUNT][LILAC_LORA_INPUT_COUNT];
    /* Singular values of (weight after full fine-tuning - base weight) above LILAC_LORA_SINGULAR_VALUE_FLOOR. */
    size_t change_rank[LILAC_LORA_VARIANT_COUNT][LILAC_LORA_LAYER_COUNT];
} lilac_lora_figures;

#define LILAC_LORA_SINGULAR_VALUE_FLOOR 1e-4

typedef struct lilac_lora_table {
    lilac_lora_table_config config;
    size_t base_parameters;                           /* of the base */
    size_t adapter_parameters[LILAC_LORA_RANK_COUNT]; /* trained at each rank */
    lilac_lora_figures *figures;                      /* one for each seed */
    double seconds;                                   /* wall time of the whole table */
} lilac_lora_table;

/* The seeds that a table takes unless told otherwise: at width 64, where they differ most, 3; else 1. */
size_t lilac_lora_table_usual_seeds(size_t hidden);

/*
 * Checks what lilac_lora_table_run would refuse, so that it can be asked before other long work. Errors: ARGUMENT,
 * SHAPE.
 */
lilac_status lilac_lora_table_check(lilac_context *context, const lilac_lora_table_config *config,
                                    const lilac_dataset *training, const lilac_dataset *test);

/*
 * Runs the experiment on the two parts of MNIST (784 pixels, 10 classes). The runs are independent and go one to a
 * thread; their results do not depend on the number of threads. Reports progress in training steps. Free the table with
 * lilac_lora_table_destroy. Errors: ARGUMENT, SHAPE, MEMORY, NOT_FINITE, CANCELLED.
 */
lilac_status lilac_lora_table_run(lilac_context *context, const lilac_lora_table_config *config,
                                  const lilac_dataset *training, const lilac_dataset *test, lilac_lora_table *out);

void lilac_lora_table_destroy(lilac_lora_table *table);

#endif
