/* SPDX-License-Identifier: MIT */
#include "support/mlp_reference.h"

#include <lilac/lora.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static double *to_doubles(size_t count, const float *values) {
    double *doubles = calloc(count + 1, sizeof *doubles);
    assert_non_null(doubles);
    for (size_t i = 0; i < count; i++) {
        doubles[i] = (double)values[i];
    }
    return doubles;
}

mlp_reference mlp_reference_create(lilac_mlp *mlp, lilac_adapter *adapter, size_t B, const float *inputs,
                                   const uint8_t *labels) {
    mlp_reference reference = {.config = *lilac_mlp_get_config(mlp), .B = B, .labels = labels};
    const size_t classes = reference.config.sizes[reference.config.layer_count];
    reference.parameter_count = lilac_mlp_parameter_count(mlp);
    reference.parameters = to_doubles(reference.parameter_count, lilac_mlp_parameters(mlp));
    reference.inputs = to_doubles(B * reference.config.sizes[0], inputs);
    reference.logits = calloc(B * classes, sizeof(double));
    assert_non_null(reference.logits);
    if (adapter != NULL) {
        reference.rank = lilac_adapter_config(adapter)->rank;
        reference.scale = lilac_adapter_scale(adapter);
        reference.adapter_count = lilac_adapter_parameter_count(adapter);
        reference.adapter = to_doubles(reference.adapter_count, lilac_adapter_parameters(adapter));
    }
    return reference;
}

void mlp_reference_destroy(mlp_reference *reference) {
    free(reference->parameters);
    free(reference->adapter);
    free(reference->inputs);
    free(reference->logits);
}

/* What dropout multiplies element [row, column] of a hidden layer's output by. */
static double mask(const mlp_reference *reference, size_t layer, size_t row, size_t column) {
    if (reference->dropout == NULL) {
        return 1;
    }
    const size_t width = reference->config.sizes[layer + 1];
    const size_t groups = (width + LILAC_RANDOM_GROUP - 1) / LILAC_RANDOM_GROUP;
    lilac_random place = *reference->dropout;
    place.group += ((uint64_t)layer << 40) + row * groups + column / LILAC_RANDOM_GROUP;
    uint32_t words[LILAC_RANDOM_GROUP];
    lilac_random_group(&place, words);
    const double p = reference->config.dropout;
    return (double)words[column % LILAC_RANDOM_GROUP] < p * 0x1p32 ? 0 : 1 / (1 - p);
}

/* Element [o, i] of W + scale B A, where A (r x in) is followed by B transposed (r x out). */
static double weight(const mlp_reference *reference, const double *W, const double *A, size_t in, size_t out, size_t o,
                     size_t i) {
    double sum = 0;
    for (size_t k = 0; k < reference->rank; k++) {
        sum += A[reference->rank * in + k * out + o] * A[k * in + i];
    }
    return W[o * in + i] + reference->scale * sum;
}

static void forward_layer(const mlp_reference *reference, size_t layer, const double *W, const double *A,
                          const double *x, double *y) {
    const size_t in = reference->config.sizes[layer], out = reference->config.sizes[layer + 1];
    const bool last = layer + 1 == reference->config.layer_count;
    for (size_t o = 0; o < out; o++) {
        for (size_t row = 0; row < reference->B; row++) {
            y[row * out + o] = W[in * out + o];
        }
        for (size_t i = 0; i < in; i++) {
            const double w = weight(reference, W, A, in, out, o, i);
            for (size_t row = 0; row < reference->B; row++) {
                y[row * out + o] += w * x[row * in + i];
            }
        }
        for (size_t row = 0; !last && row < reference->B; row++) {
            double *value = &y[row * out + o];
            *value = *value > 0 ? *value * mask(reference, layer, row, o) : 0;
        }
    }
}

void mlp_reference_forward(mlp_reference *reference) {
    const lilac_mlp_config *config = &reference->config;
    const double *W = reference->parameters, *A = reference->adapter;
    double *x = reference->inputs;
    for (size_t layer = 0; layer < config->layer_count; layer++) {
        const size_t in = config->sizes[layer], out = config->sizes[layer + 1];
        double *y = layer + 1 == config->layer_count ? reference->logits : calloc(reference->B * out, sizeof *y);
        assert_non_null(y);
        forward_layer(reference, layer, W, A, x, y);
        if (layer > 0) {
            free(x);
        }
        x = y;
        W += in * out + out;
        A = A == NULL ? NULL : A + reference->rank * (in + out);
    }
}

double mlp_reference_loss(void *argument) {
    mlp_reference *reference = argument;
    const size_t classes = reference->config.sizes[reference->config.layer_count];
    double loss = 0;
    mlp_reference_forward(reference);
    for (size_t row = 0; row < reference->B; row++) {
        const double *logits = reference->logits + row * classes;
        double sum = 0;
        for (size_t c = 0; c < classes; c++) {
            sum += exp(logits[c]);
        }
        loss += log(sum) - logits[reference->labels[row]];
    }
    return loss / (double)reference->B;
}
