/* SPDX-License-Identifier: MIT */
#include "nn/cross_entropy.h"

#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <math.h>

enum { ROW_BLOCK = 64 };

typedef struct {
    const lilac_context *context;
    size_t classes;
    float scale;
    const float *logits;
    const uint8_t *labels;
    float *losses, *gradient;
} loss_loop;

static void loss_rows(void *argument, size_t begin, size_t end) {
    const loss_loop *loop = argument;
    const size_t offset = begin * loop->classes;
    loop->context->kernels->elementwise.softmax_cross_entropy(
        end - begin, loop->classes, loop->logits + offset, loop->classes, loop->labels + begin, loop->scale,
        loop->losses + begin, loop->gradient == NULL ? NULL : loop->gradient + offset);
}

void lilac_cross_entropy(lilac_context *context, size_t B, size_t classes, const float *logits, const uint8_t *labels,
                         float scale, float *losses, float *gradient) {
    loss_loop loop = {.context = context,
                      .classes = classes,
                      .scale = scale,
                      .logits = logits,
                      .labels = labels,
                      .losses = losses,
                      .gradient = gradient};
    lilac_parallel_for(context, B, ROW_BLOCK, loss_rows, &loop);
}

static size_t first_largest(size_t classes, const float *row) {
    size_t best = 0;
    for (size_t c = 1; c < classes; c++) {
        best = row[c] > row[best] ? c : best;
    }
    return best;
}

size_t lilac_count_correct(size_t B, size_t classes, const float *logits, const uint8_t *labels) {
    size_t correct = 0;
    for (size_t i = 0; i < B; i++) {
        correct += first_largest(classes, logits + i * classes) == labels[i];
    }
    return correct;
}

size_t lilac_categorical_choose(size_t classes, const float *logits, double temperature, double u) {
    const size_t best = first_largest(classes, logits);
    const double max = (double)logits[best];
    double sum = 0.0;
    for (size_t c = 0; c < classes; c++) {
        sum += exp(((double)logits[c] - max) / temperature);
    }
    double left = u * sum;
    for (size_t c = 0; c < classes; c++) {
        left -= exp(((double)logits[c] - max) / temperature);
        if (left < 0.0) {
            return c;
        }
    }
    return best; /* rounding, or a NaN */
}

void lilac_categorical_sample(size_t rows, size_t classes, const float *logits, float temperature,
                              const lilac_random *randoms, uint8_t *out) {
    for (size_t i = 0; i < rows; i++) {
        const float *row = logits + i * classes;
        uint32_t words[4];
        lilac_random_block(&randoms[i], 0, words);
        const double u = lilac_random_open_uniform(words[0]);
        out[i] = (uint8_t)(temperature == 0.0f ? first_largest(classes, row)
                                               : lilac_categorical_choose(classes, row, (double)temperature, u));
    }
}
