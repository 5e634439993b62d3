/* SPDX-License-Identifier: MIT */
/* The backward pass of a transformer over whole sequences. */
#include "adapt/adapter.h"
#include "core/memory.h"
#include "model/transformer_activations.h"
#include "model/transformer_attention.h"
#include "nn/activation.h"
#include "nn/convert.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"

#include <string.h>

/* What all steps of a backward pass need. */
typedef struct {
    lilac_context *context;
    lilac_transformer_pass *pass;
    const lilac_transformer *model;
    size_t T;
    float *gradient; /* of the trained numbers */
} backward;

/* Where the gradient of the parameters at that offset is collected; NULL where they are frozen. */
static float *parameter_gradient(const backward *b, size_t offset) {
    return b->pass->config.adapter == NULL ? b->gradient + offset : NULL;
}

/* ---- Linear layers ---- */

/* The low-rank terms of `count` neighbouring linear layers: their gradients, and dx += their part. */
static lilac_status low_rank_terms(const backward *b, size_t first, size_t count, const float *x, const float *dy,
                                   size_t lddy, float *dx) {
    for (size_t i = first; i < first + count; i++) {
        lilac_low_rank term;
        size_t e;
        if (lilac_pass_low_rank(b->pass, i, &term, &e)) {
            const lilac_adapter_entry *entry = &b->pass->config.adapter->entries[e];
            LILAC_TRY(lilac_low_rank_backward(b->context, &term, b->T, x, b->pass->down[e], dy, lddy, true,
                                              b->pass->gradients.down, b->gradient + entry->A, b->gradient + entry->Bt,
                                              dx));
        }
        dy += b->model->linear_layers[i].out;
    }
    return LILAC_OK;
}

static bool has_low_rank(const backward *b, size_t first, size_t count) {
    lilac_low_rank term;
    size_t entry;
    bool any = false;
    for (size_t i = first; i < first + count; i++) {
        any = any || lilac_pass_low_rank(b->pass, i, &term, &entry);
    }
    return any;
}

/*
 * Backward through `count` neighbouring linear layers from number `first` on, whose weights and biases lie together at
 * these offsets: the gradients of weights and biases, and dx (added to where `add`).
 */
static lilac_status linear_layers(const backward *b, size_t first, size_t count, size_t weight, size_t bias,
                                  lilac_pass_matrix x, lilac_pass_matrix dy, bool add, float *dx) {
    const size_t in = b->model->linear_layers[first].in, out = b->model->linear_layers[first].out * count;
    const lilac_operand gradient = lilac_pass_operand(dy);
    if (b->pass->config.adapter == NULL) {
        LILAC_TRY(lilac_linear_backward_weight(b->context, b->T, in, out, lilac_pass_operand(x), gradient, true,
                                               b->gradient + weight));
        lilac_linear_backward_bias(b->context, b->T, out, dy.values, true, b->gradient + bias);
    }
    LILAC_TRY(
        lilac_linear_backward_input(b->context, b->T, in, out, lilac_pass_weight(b->pass, weight), gradient, add, dx));
    if (!has_low_rank(b, first, count)) {
        return LILAC_OK;
    }
    if (x.shared) {
        lilac_bf16_to_float(b->context, b->T, in, x.rounded, in, x.values, in);
    }
    return low_rank_terms(b, first, count, x.values, dy.values, out, dx);
}

/* ---- Attention ---- */

static lilac_status attention_gradients(const backward *b, const lilac_pass_layer *layer, float *dqkv) {
    lilac_transformer_pass *pass = b->pass;
    const lilac_transformer *model = b->model;
    const size_t N = pass->config.N;
    const lilac_attention_input query = lilac_transformer_qkv_input(model, N, layer->qkv, 0);
    const lilac_attention_input key = lilac_transformer_qkv_input(model, N, layer->qkv, 1);
    const lilac_attention_input value = lilac_transformer_qkv_input(model, N, layer->qkv, 2);
    const lilac_attention_input output = lilac_transformer_context_input(model, N, layer->context.values);
    const lilac_attention_input output_gradient = lilac_transformer_context_input(model, N, pass->gradients.context);
    const lilac_attention_output dquery = lilac_transformer_qkv_output(model, N, dqkv, 0);
    const lilac_attention_output dkey = lilac_transformer_qkv_output(model, N, dqkv, 1);
    const lilac_attention_output dvalue = lilac_transformer_qkv_output(model, N, dqkv, 2);
    if (model->config.attention == LILAC_TRANSFORMER_LINEAR) {
        const lilac_linear_attention_config config =
            lilac_transformer_linear_attention(model, pass->B, N, !pass->config.full);
        const lilac_linear_attention_backward_tensors tensors = {.query = query,
                                                                 .key = key,
                                                                 .value = value,
                                                                 .output = output,
                                                                 .saved = layer->saved,
                                                                 .output_gradient = output_gradient,
                                                                 .query_gradient = dquery,
                                                                 .key_gradient = dkey,
                                                                 .value_gradient = dvalue};
        return lilac_linear_attention_backward(b->context, &config, &tensors, pass->attention_workspace,
                                               pass->attention_bytes);
    }
    const lilac_softmax_attention_config config =
        lilac_transformer_softmax_attention(model, pass->B, N, !pass->config.full, pass->config.precision);
    const lilac_softmax_attention_backward_tensors tensors = {.query = query,
                                                              .key = key,
                                                              .value = value,
                                                              .output = output,
                                                              .log_sum_exp = layer->saved,
                                                              .output_gradient = output_gradient,
                                                              .query_gradient = dquery,
                                                              .key_gradient = dkey,
                                                              .value_gradient = dvalue};
    return lilac_softmax_attention_backward(b->context, &config, &tensors, pass->attention_workspace,
                                            pass->attention_bytes);
}

/* dy is the gradient of the branch's output, dx that of its input (added to where `add`). */
static lilac_status attention_branch(const backward *b, size_t l, lilac_pass_matrix dy, bool add, float *dx) {
    const lilac_pass_layer *layer = &b->pass->layers[l];
    const lilac_transformer_layer *weights = &b->model->layers[l];
    const size_t first = l * LILAC_PROJECTION_COUNT;
    const lilac_pass_matrix dqkv = b->pass->gradients.wide;
    LILAC_TRY(linear_layers(b, first + LILAC_PROJECTION_OUTPUT, 1, weights->output_weight, weights->output_bias,
                            layer->context, dy, false, b->pass->gradients.context));
    LILAC_TRY(attention_gradients(b, layer, dqkv.values));
    lilac_pass_round(b->context, dqkv, b->T, 3 * b->model->HD);
    return linear_layers(b, first, 3, weights->qkv_weight, weights->qkv_bias, layer->attention.input, dqkv, add, dx);
}

/* ---- Feed-forward network ---- */

static lilac_status feed_forward_branch(const backward *b, size_t l, lilac_pass_matrix dy, bool add, float *dx) {
    const lilac_pass_layer *layer = &b->pass->layers[l];
    const lilac_transformer_layer *weights = &b->model->layers[l];
    const size_t first = l * LILAC_PROJECTION_COUNT, width = b->model->config.feed_forward;
    const lilac_pass_matrix dhidden = b->pass->gradients.wide;
    lilac_dropout dropout;
    const lilac_dropout *drop = lilac_pass_dropout(b->pass, 3 * l + 1, &dropout);
    LILAC_TRY(linear_layers(b, first + LILAC_PROJECTION_DOWN, 1, weights->down_weight, weights->down_bias,
                            layer->hidden, dy, false, dhidden.values));
    if (b->model->config.activation == LILAC_TRANSFORMER_GELU) {
        lilac_gelu_dropout_backward(b->context, b->T, width, layer->pre_activation, drop, dhidden.values);
    } else {
        if (layer->hidden.shared) {
            lilac_bf16_to_float(b->context, b->T, width, layer->hidden.rounded, width, layer->hidden.values, width);
        }
        lilac_relu_dropout_backward(b->context, b->T, width, layer->hidden.values, drop == NULL ? 1.0f : drop->scale,
                                    dhidden.values);
    }
    lilac_pass_round(b->context, dhidden, b->T, width);
    return linear_layers(b, first + LILAC_PROJECTION_UP, 1, weights->up_weight, weights->up_bias,
                         layer->feed_forward.input, dhidden, add, dx);
}

/* ---- The whole ---- */

/* ds (T x F) = the gradient through a norm, dout being that of its output, plus `extra`. */
static void norm_backward(const backward *b, const lilac_pass_sublayer *sublayer, size_t norm, const float *dout,
                          const float *extra, float *ds) {
    const lilac_norm_offsets at = lilac_transformer_norm_at(b->model, norm);
    lilac_layer_norm_backward(b->context, b->T, b->model->F, sublayer->sum, sublayer->mean, sublayer->rstd,
                              b->model->parameters + at.weight, dout, extra, ds, parameter_gradient(b, at.weight),
                              parameter_gradient(b, at.bias), b->pass->gradients.norm_scratch);
}

/* The gradient of a branch's output from that of the sum it was added to: through dropout, and rounded. */
static lilac_pass_matrix branch_gradient(const backward *b, size_t place, float *dsum) {
    const size_t F = b->model->F;
    lilac_dropout dropout;
    const lilac_dropout *drop = lilac_pass_dropout(b->pass, place, &dropout);
    lilac_pass_matrix dy = b->pass->gradients.branch;
    if (drop != NULL) {
        lilac_dropout_backward(b->context, b->T, F, drop, dsum, dy.values);
    } else {
        dy.values = dsum;
    }
    lilac_pass_round(b->context, dy, b->T, F);
    return dy;
}

/*
 * Through the layers, last to first. Post-norm: `stream` is the gradient of a norm's output, which is both the residual
 * and the input of what follows; a branch adds to it. Pre-norm: `stream` is the gradient of the residual alone and
 * `input` that of a norm's output.
 */
static lilac_status through_layers(const backward *b) {
    lilac_pass_gradients *gradients = &b->pass->gradients;
    const bool pre_norm = b->model->config.norm == LILAC_TRANSFORMER_PRE_NORM;
    float *stream = gradients->stream;
    for (size_t k = 2 * b->model->config.layers; k-- > 0;) {
        const size_t l = k / 2;
        const bool attention = k % 2 == 0;
        const lilac_pass_layer *layer = &b->pass->layers[l];
        const lilac_pass_sublayer *sublayer = attention ? &layer->attention : &layer->feed_forward;
        if (pre_norm) {
            const bool last = k + 1 == 2 * b->model->config.layers;
            norm_backward(b, sublayer, k + 1, gradients->input, last ? NULL : stream, stream);
        } else {
            norm_backward(b, sublayer, k, stream, NULL, stream);
        }
        const lilac_pass_matrix dy = branch_gradient(b, 3 * l + (attention ? 0 : 2), stream);
        float *dx = pre_norm ? gradients->input : stream;
        LILAC_TRY(attention ? attention_branch(b, l, dy, !pre_norm, dx) : feed_forward_branch(b, l, dy, !pre_norm, dx));
    }
    if (pre_norm) {
        norm_backward(b, &b->pass->first, 0, gradients->input, stream, stream);
    }
    return LILAC_OK;
}

static backward begin(lilac_context *context, lilac_transformer_pass *pass, float *gradient) {
    return (backward){
        .context = context, .pass = pass, .model = pass->model, .T = pass->B * pass->config.N, .gradient = gradient};
}

/* Where the gradient of what the final norm gives is expected: T x F. */
static float *last_gradient(const backward *b) {
    return b->model->config.norm == LILAC_TRANSFORMER_PRE_NORM ? b->pass->gradients.input : b->pass->gradients.stream;
}

/* From the gradient of what the final norm gives to that of the layers' input, which is in `stream`. */
static lilac_status through_norm_and_layers(const backward *b) {
    float *stream = b->pass->gradients.stream;
    if (b->model->config.norm == LILAC_TRANSFORMER_POST_NORM) {
        norm_backward(b, &b->pass->last, 2 * b->model->config.layers, stream, NULL, stream);
    }
    return through_layers(b);
}

lilac_status lilac_transformer_pass_backward(lilac_context *context, lilac_transformer_pass *pass, float *gradient) {
    const lilac_transformer *model = pass->model;
    const backward b = begin(context, pass, gradient);
    if (b.T == 0) {
        return LILAC_OK;
    }
    const lilac_pass_matrix doutputs = {.values = pass->outputs};
    LILAC_TRY(linear_layers(&b, model->linear_count - 1, 1, model->output_weight, model->output_bias, pass->last.input,
                            doutputs, false, last_gradient(&b)));
    LILAC_TRY(through_norm_and_layers(&b));
    if (pass->config.adapter == NULL) {
        lilac_embedding_backward(context, b.T, model->config.value_width, pass->tokens, pass->gradients.stream,
                                 model->F, gradient);
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_pass_encode_backward(lilac_context *context, lilac_transformer_pass *pass,
                                                    const float *output_gradient, float *gradient,
                                                    const float **input_gradient) {
    const backward b = begin(context, pass, gradient);
    *input_gradient = pass->gradients.stream;
    if (b.T == 0) {
        return LILAC_OK;
    }
    memcpy(last_gradient(&b), output_gradient, b.T * b.model->F * sizeof(float));
    return through_norm_and_layers(&b);
}

double lilac_transformer_operations(const lilac_transformer *model, const lilac_adapter *adapter, size_t N,
                                    bool with_backward) {
    const lilac_transformer_config *config = &model->config;
    const double n = (double)N, HD = (double)model->HD;
    double products = 0.0, terms = 0.0;
    for (size_t l = 0; l < model->linear_count; l++) {
        products += (double)model->linear_layers[l].in * (double)model->linear_layers[l].out;
    }
    for (size_t e = 0; adapter != NULL && e < adapter->entry_count; e++) {
        terms += (double)adapter->config.rank * (double)(adapter->entries[e].in + adapter->entries[e].out);
    }
    /* A head's operations a token: the causal half of 4 N D for softmax attention, 4 C M for linear attention. */
    double features = (double)config->head_size;
    if (model->feature_map != NULL) {
        features = (double)lilac_feature_map_output_size(model->feature_map, config->head_size);
    }
    const double attention = (double)config->layers * HD * 4.0 *
                             (config->attention == LILAC_TRANSFORMER_SOFTMAX ? 0.5 * (n + 1.0) : features);
    const double forward = 2.0 * (products + terms) + attention;
    /* Both gradients of a product cost as much as itself; with an adapter the base needs only the input's. */
    const double back = 2.0 * products * (adapter == NULL ? 2.0 : 1.0) + 4.0 * terms + 2.5 * attention;
    return n * (forward + (with_backward ? back : 0.0));
}
