/* SPDX-License-Identifier: MIT */
#include "experiments/completion_published.h"

#include <math.h>

enum { TIME_COUNT = 3 };

static const size_t time_images[TIME_COUNT] = {100, 200, 300};
static const double seconds[][TIME_COUNT] = {
    [LILAC_TRANSFORMER_LINEAR] = {33.45, 67.46, 76.46}, [LILAC_TRANSFORMER_SOFTMAX] = {367.91, 811.99, 1248.15}};

static const lilac_completion_published figures[] = {
    [LILAC_TRANSFORMER_LINEAR] = {.accuracy = 87.0, .training_accuracy = 63.7, .bits = 0.644},
    [LILAC_TRANSFORMER_SOFTMAX] = {.accuracy = 86.3, .training_accuracy = 75.0, .bits = 0.621}};

const lilac_completion_published *lilac_completion_get_published(lilac_transformer_attention attention) {
    return &figures[attention];
}

double lilac_completion_published_seconds(lilac_transformer_attention attention, size_t images) {
    for (size_t t = 0; t < TIME_COUNT; t++) {
        if (time_images[t] == images) {
            return seconds[attention][t];
        }
    }
    return NAN;
}
