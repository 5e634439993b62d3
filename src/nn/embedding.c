/* SPDX-License-Identifier: MIT */
#include "nn/embedding.h"

#include "runtime/parallel.h"

#include <math.h>
#include <string.h>

/* Rows, and columns of a gradient, that one thread takes at a time. */
enum { ROW_BLOCK = 256, COLUMN_BLOCK = 32 };

void lilac_sinusoidal_positions(size_t first, size_t count, size_t width, float *out, size_t ld) {
    for (size_t c = 0; c < width; c += 2) {
        const double frequency = pow(10000.0, -(double)c / (double)width);
        for (size_t t = 0; t < count; t++) {
            const double angle = (double)(first + t) * frequency;
            out[t * ld + c] = (float)sin(angle);
            if (c + 1 < width) {
                out[t * ld + c + 1] = (float)cos(angle);
            }
        }
    }
}

typedef struct {
    size_t T, E, stride; /* of x or dx */
    const uint8_t *tokens;
    const float *from; /* the table, or dx */
    float *to;         /* x, or the table's gradient */
} embedding_loop;

static void copy_rows(void *argument, size_t begin, size_t end) {
    const embedding_loop *loop = argument;
    for (size_t t = begin; t < end; t++) {
        memcpy(loop->to + t * loop->stride, loop->from + loop->tokens[t] * loop->E, loop->E * sizeof(float));
    }
}

void lilac_embedding_forward(lilac_context *context, size_t T, size_t E, const uint8_t *tokens, const float *table,
                             float *x, size_t ldx) {
    embedding_loop loop = {.E = E, .stride = ldx, .tokens = tokens, .from = table, .to = x};
    lilac_parallel_for(context, T, ROW_BLOCK, copy_rows, &loop);
}

/* Columns rather than rows are shared out: then no two threads add to the same numbers. */
static void add_columns(void *argument, size_t begin, size_t end) {
    const embedding_loop *loop = argument;
    for (size_t t = 0; t < loop->T; t++) {
        const float *from = loop->from + t * loop->stride;
        float *to = loop->to + loop->tokens[t] * loop->E;
        for (size_t c = begin; c < end; c++) {
            to[c] += from[c];
        }
    }
}

void lilac_embedding_backward(lilac_context *context, size_t T, size_t E, const uint8_t *tokens, const float *dx,
                              size_t lddx, float *dtable) {
    embedding_loop loop = {.T = T, .E = E, .stride = lddx, .tokens = tokens, .from = dx, .to = dtable};
    lilac_parallel_for(context, E, COLUMN_BLOCK, add_columns, &loop);
}
