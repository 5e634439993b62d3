/* SPDX-License-Identifier: MIT */
/*
 * The report's completion experiment on MNIST: two transformers, one with linear and one with softmax attention, fill
 * in the lower part of images. How long that takes, how often a classifier recognises the completed digits, how well a
 * classifier learns from completed digits, and how well the transformers predict pixels.
 */
#ifndef LILAC_EXPERIMENTS_COMPLETION_H
#define LILAC_EXPERIMENTS_COMPLETION_H

#include <lilac/dataset.h>
#include <lilac/generation.h>

enum {
    LILAC_COMPLETION_MODEL_COUNT = 2, /* one for each lilac_transformer_attention, which is its index */
    LILAC_COMPLETION_TIMES_MAX = 32
};

typedef struct lilac_completion_config {
    size_t images;    /* test images to complete, the first ones */
    size_t keep_rows; /* rows of an image that a model sees */
    /* Training images to complete, the first ones, by softmax attention with keys and values in bf16; 0: leaves that
     * part out. */
    size_t training_images;
    size_t bits_images;                       /* test images whose pixels are predicted; 0: leaves that part out */
    size_t time_count;                        /* times taken, 0 .. LILAC_COMPLETION_TIMES_MAX */
    size_t times[LILAC_COMPLETION_TIMES_MAX]; /* numbers of images, each 1 .. images */
    /* Images that softmax attention completes without keeping keys and values; 0: leaves that part out. */
    size_t no_cache_images;
    lilac_precision precision; /* of the transformers' linear layers in generation */
    size_t epochs, batch;      /* of training a classifier */
    uint64_t seed;             /* of the completions and the classifiers */
} lilac_completion_config;

/* What one transformer gave. Accuracies are in per cent; what was left out is NaN. */
typedef struct lilac_completion_figures {
    size_t parameters;
    double accuracy;          /* of the classifier on the completed test images */
    double training_accuracy; /* on all test images, of the classifier trained on the completed training images */
    double bits;              /* a dimension, of the first bits_images test images */
    double seconds[LILAC_COMPLETION_TIMES_MAX];
    lilac_generation_times spent[LILAC_COMPLETION_TIMES_MAX]; /* and on what, but for preparing states */
    double no_cache_seconds; /* for no_cache_images; NaN for linear attention, which keeps no keys and values */
    /* The same as seconds and spent with keys and values in bf16: training images, as far as they go; else NaN. */
    double bf16_seconds[LILAC_COMPLETION_TIMES_MAX];
    lilac_generation_times bf16_spent[LILAC_COMPLETION_TIMES_MAX];
    uint8_t *completed; /* the test images, images x pixels */
} lilac_completion_figures;

typedef struct lilac_completion {
    lilac_completion_config config;
    /* Accuracies of the classifier trained on all training images. */
    double all;               /* on all test images */
    size_t test_images;       /* how many these are */
    double original;          /* on the first test images as they are: no completion can be expected to do better */
    double occluded;          /* on the same without their lower part, which is black */
    double training_original; /* as training_accuracy, of the classifier trained on the originals */
    bool present[LILAC_COMPLETION_MODEL_COUNT];
    lilac_completion_figures figures[LILAC_COMPLETION_MODEL_COUNT]; /* of those present */
    double total_seconds;
} lilac_completion;

/* The report's experiment: 600 test images of which 14 rows are kept, 500 training images, times for 100, 200 and 300
 * images, 4 without kept keys and values, bits over 1000 images, F32, classifiers of 10 epochs in batches of 64. */
void lilac_completion_config_default(lilac_completion_config *config);

/*
 * Checks what lilac_completion_run would refuse, so that it can be asked before other long work. Errors: ARGUMENT,
 * SHAPE.
 */
lilac_status lilac_completion_check(lilac_context *context, const lilac_completion_config *config,
                                    const lilac_transformer *const models[LILAC_COMPLETION_MODEL_COUNT],
                                    const lilac_dataset *training, const lilac_dataset *test);

/*
 * Runs the experiment. models: one for each attention, NULL where there is none. All figures but the times are the same
 * at any number of threads. Reports progress stage by stage. Free the result with lilac_completion_destroy. Errors:
 * ARGUMENT (no model, a model at the other's place, a number out of its range), SHAPE (images that do not fit a model
 * or each other), MEMORY, OVERFLOW, NOT_FINITE, CANCELLED.
 */
lilac_status lilac_completion_run(lilac_context *context, const lilac_completion_config *config,
                                  const lilac_transformer *const models[LILAC_COMPLETION_MODEL_COUNT],
                                  const lilac_dataset *training, const lilac_dataset *test, lilac_completion *out);

void lilac_completion_destroy(lilac_completion *completion);

/* The time for so many images if it is in proportion to that for no_cache_images; NaN where that was not taken. */
double lilac_completion_no_cache_estimate(const lilac_completion *completion, size_t images);

#endif
