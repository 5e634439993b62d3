/* SPDX-License-Identifier: MIT */
/* The MLP's training passes: forward with dropout, loss, backward into the weights or into an adapter. */
#include "adapt/adapter.h"
#include "core/memory.h"
#include "model/mlp.h"
#include "nn/activation.h"
#include "nn/cross_entropy.h"
#include "nn/linear.h"
#include "runtime/workspace.h"

/* Each layer's dropout has room for this many groups in the stream: far more than any batch takes. */
static const uint64_t dropout_groups_per_layer = UINT64_C(1) << 40;

static size_t widest_layer(const lilac_mlp_config *config) {
    size_t widest = 0;
    for (size_t l = 1; l <= config->layer_count; l++) {
        widest = lilac_size_max(widest, config->sizes[l]);
    }
    return widest;
}

/* With w measuring only its size is counted. */
static void cut_block(lilac_workspace *w, const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B,
                      lilac_mlp_activations *a) {
    const lilac_mlp_config *config = &mlp->config;
    const size_t down = adapter == NULL ? 0 : adapter->config.rank * sizeof(float);
    const size_t widest = widest_layer(config) * sizeof(float);
    a->inputs = lilac_workspace_take(w, B, config->sizes[0] * sizeof(float));
    for (size_t l = 0; l < config->layer_count; l++) {
        a->outputs[l] = lilac_workspace_take(w, B, config->sizes[l + 1] * sizeof(float));
        a->down[l] = down == 0 ? NULL : lilac_workspace_take(w, B, down);
    }
    a->gradients[0] = lilac_workspace_take(w, B, widest);
    a->gradients[1] = lilac_workspace_take(w, B, widest);
    a->down_gradient = down == 0 ? NULL : lilac_workspace_take(w, B, down);
    a->losses = lilac_workspace_take(w, B, sizeof(float));
    a->labels = lilac_workspace_take(w, B, 1);
}

lilac_status lilac_mlp_activations_create(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                          size_t B, lilac_mlp_activations *out) {
    lilac_mlp_activations activations = {0};
    lilac_workspace measured = lilac_workspace_over(NULL);
    cut_block(&measured, mlp, adapter, B, &activations);
    if (!lilac_workspace_fits(&measured)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "mlp: a batch of %zu rows is too large", B);
    }
    activations.block = lilac_memory_allocate(measured.used, 1);
    if (activations.block == NULL) {
        return lilac_fail_memory(context, "a training pass", measured.used);
    }
    lilac_workspace w = lilac_workspace_over(activations.block);
    cut_block(&w, mlp, adapter, B, &activations);
    *out = activations;
    return LILAC_OK;
}

void lilac_mlp_activations_destroy(lilac_mlp_activations *activations) {
    lilac_memory_free(activations->block);
    *activations = (lilac_mlp_activations){0};
}

lilac_status lilac_mlp_training_forward(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                        size_t B, const lilac_random *dropout, lilac_mlp_activations *activations) {
    const size_t layer_count = mlp->config.layer_count;
    const float *x = activations->inputs;
    for (size_t l = 0; l < layer_count; l++) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        float *y = activations->outputs[l];
        if (l > 0 || !activations->first_product_given) {
            LILAC_TRY(lilac_linear_forward(context, B, layer->in, layer->out, lilac_operand_of(x),
                                           lilac_operand_of(layer->weight), y));
        }
        if (adapter != NULL) {
            const lilac_low_rank term = lilac_adapter_term(adapter, l);
            LILAC_TRY(lilac_low_rank_forward(context, &term, B, x, activations->down[l], y, layer->out));
        }
        if (l + 1 == layer_count) {
            lilac_add_bias(context, B, layer->out, mlp->biases[l], y);
        } else if (dropout == NULL || mlp->config.dropout == 0.0) {
            lilac_bias_relu_dropout_forward(context, B, layer->out, mlp->biases[l], NULL, y);
        } else {
            lilac_random random = *dropout;
            random.group += l * dropout_groups_per_layer;
            const lilac_dropout drop = lilac_dropout_create(mlp->config.dropout, random);
            lilac_bias_relu_dropout_forward(context, B, layer->out, mlp->biases[l], &drop, y);
        }
        x = y;
    }
    return LILAC_OK;
}

lilac_status lilac_mlp_training_backward(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                         size_t B, bool with_dropout, lilac_mlp_activations *activations,
                                         float *gradient) {
    const size_t layer_count = mlp->config.layer_count;
    const float scale = with_dropout ? (float)(1.0 / (1.0 - mlp->config.dropout)) : 1.0f;
    float *dy = activations->gradients[0], *dx = activations->gradients[1];
    lilac_cross_entropy(context, B, mlp->config.sizes[layer_count], activations->outputs[layer_count - 1],
                        activations->labels, 1.0f / (float)B, activations->losses, dy);
    for (size_t l = layer_count; l-- > 0;) {
        const lilac_linear_layer *layer = &mlp->layers[l];
        const float *x = l == 0 ? activations->inputs : activations->outputs[l - 1];
        float *dx_wanted = l == 0 ? NULL : dx;
        if (dx_wanted != NULL) {
            LILAC_TRY(lilac_linear_backward_input(context, B, layer->in, layer->out, lilac_operand_of(layer->weight),
                                                  lilac_operand_of(dy), false, dx));
        }
        if (adapter != NULL) {
            const lilac_low_rank term = lilac_adapter_term(adapter, l);
            const lilac_adapter_entry *entry = &adapter->entries[l];
            LILAC_TRY(lilac_low_rank_backward(context, &term, B, x, activations->down[l], dy, layer->out, false,
                                              activations->down_gradient, gradient + entry->A, gradient + entry->Bt,
                                              dx_wanted));
        } else {
            float *dW = gradient + (layer->weight - mlp->parameters);
            float *db = gradient + (mlp->biases[l] - mlp->parameters);
            LILAC_TRY(lilac_linear_backward_weight(context, B, layer->in, layer->out, lilac_operand_of(x),
                                                   lilac_operand_of(dy), false, dW));
            lilac_linear_backward_bias(context, B, layer->out, dy, false, db);
        }
        if (l > 0) {
            lilac_relu_dropout_backward(context, B, layer->in, x, scale, dx);
        }
        float *turn = dy;
        dy = dx;
        dx = turn;
    }
    return LILAC_OK;
}

double lilac_mlp_training_operations(const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B) {
    double products = 0.0; /* multiply-adds a row */
    for (size_t l = 0; l < mlp->config.layer_count; l++) {
        const double in = (double)mlp->layers[l].in, out = (double)mlp->layers[l].out;
        const double input_gradient = l == 0 ? 0.0 : 1.0;
        products += in * out * (1.0 + input_gradient);
        if (adapter == NULL) {
            products += in * out;
        } else {
            const double r = (double)adapter->config.rank;
            products += r * (in + out) + r * (out + in + out + input_gradient * in);
        }
    }
    return 2.0 * products * (double)B;
}
