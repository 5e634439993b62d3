/* SPDX-License-Identifier: MIT */
#include "nn/cross_entropy.h"

#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

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
                         float *losses, float *gradient) {
    loss_loop loop = {.context = context,
                      .classes = classes,
                      .scale = 1.0f / (float)B,
                      .logits = logits,
                      .labels = labels,
                      .losses = losses,
                      .gradient = gradient};
    lilac_parallel_for(context, B, ROW_BLOCK, loss_rows, &loop);
}

size_t lilac_count_correct(size_t B, size_t classes, const float *logits, const uint8_t *labels) {
    size_t correct = 0;
    for (size_t i = 0; i < B; i++) {
        const float *row = logits + i * classes;
        size_t best = 0;
        for (size_t c = 1; c < classes; c++) {
            best = row[c] > row[best] ? c : best;
        }
        correct += best == labels[i];
    }
    return correct;
}
