/* SPDX-License-Identifier: MIT */
#ifndef LILAC_EXPERIMENTS_COMPLETION_PUBLISHED_H
#define LILAC_EXPERIMENTS_COMPLETION_PUBLISHED_H

#include <lilac/transformer.h>

/* MNIST's test images, on all of which the report measured bits a dimension. */
enum { LILAC_COMPLETION_PUBLISHED_BITS_IMAGES = 10000 };

/* The report's figures of one of its transformers, in the units of lilac_completion_figures. */
typedef struct lilac_completion_published {
    double accuracy, training_accuracy;
    double bits; /* a dimension, of the published weights that the report used */
} lilac_completion_published;

const lilac_completion_published *lilac_completion_get_published(lilac_transformer_attention attention);

/* The report's seconds on a GPU to complete so many images, or NaN: it gives them for 100, 200 and 300. */
double lilac_completion_published_seconds(lilac_transformer_attention attention, size_t images);

#endif
