/* SPDX-License-Identifier: MIT */
/* The forward pass of a transformer over whole sequences, and its losses. */
#include "core/memory.h"
#include "model/transformer_activations.h"
#include "model/transformer_attention.h"
#include "nn/activation.h"
#include "nn/cross_entropy.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/logistic_mixture.h"
#include "runtime/parallel.h"
#include "runtime/workspace.h"

#include <string.h>

enum { ROW_BLOCK = 64 };

/* ---- Linear layers ---- */

/* The low-rank terms of `count` neighbouring linear layers whose outputs are neighbours in y too. */
static lilac_status add_low_rank(lilac_context *context, const lilac_transformer_pass *pass, size_t first, size_t count,
                                 const float *x, float *y, size_t ldy) {
    const size_t T = pass->B * pass->config.N;
    for (size_t i = first; i < first + count; i++) {
        lilac_low_rank term;
        size_t entry;
        if (lilac_pass_low_rank(pass, i, &term, &entry)) {
            LILAC_TRY(lilac_low_rank_forward(context, &term, T, x, pass->down[entry], y, ldy));
        }
        y += pass->model->linear_layers[i].out;
    }
    return LILAC_OK;
}

/* y = x W^T for the weight at that offset, which is that of `count` linear layers from number `first` on. */
static lilac_status multiply(lilac_context *context, const lilac_transformer_pass *pass, lilac_pass_matrix x,
                             size_t weight, size_t first, size_t count, float *y) {
    const lilac_linear_layer *layer = &pass->model->linear_layers[first];
    const size_t T = pass->B * pass->config.N, out = layer->out * count;
    LILAC_TRY(
        lilac_linear_forward(context, T, layer->in, out, lilac_pass_operand(x), lilac_pass_weight(pass, weight), y));
    return add_low_rank(context, pass, first, count, x.values, y, out);
}

/* ---- Attention ---- */

static lilac_status attend(lilac_context *context, const lilac_transformer_pass *pass, const lilac_pass_layer *layer) {
    const lilac_transformer *model = pass->model;
    const size_t N = pass->config.N;
    const lilac_attention_input query = lilac_transformer_qkv_input(model, N, layer->qkv, 0);
    const lilac_attention_input key = lilac_transformer_qkv_input(model, N, layer->qkv, 1);
    const lilac_attention_input value = lilac_transformer_qkv_input(model, N, layer->qkv, 2);
    const lilac_attention_output output = lilac_transformer_context_output(model, N, layer->context.values);
    if (model->config.attention == LILAC_TRANSFORMER_LINEAR) {
        const lilac_linear_attention_config config =
            lilac_transformer_linear_attention(model, pass->B, N, !pass->config.full);
        const lilac_linear_attention_forward_tensors tensors = {
            .query = query, .key = key, .value = value, .output = output, .saved = layer->saved};
        return lilac_linear_attention_forward(context, &config, &tensors, pass->attention_workspace,
                                              pass->attention_bytes);
    }
    const lilac_softmax_attention_config config =
        lilac_transformer_softmax_attention(model, pass->B, N, !pass->config.full, pass->config.precision);
    const lilac_softmax_attention_forward_tensors tensors = {
        .query = query, .key = key, .value = value, .output = output, .log_sum_exp = layer->saved};
    return lilac_softmax_attention_forward(context, &config, &tensors, pass->attention_workspace,
                                           pass->attention_bytes);
}

static lilac_status attention_branch(lilac_context *context, lilac_transformer_pass *pass, size_t l) {
    const lilac_transformer *model = pass->model;
    const lilac_pass_layer *layer = &pass->layers[l];
    const lilac_transformer_layer *weights = &model->layers[l];
    const size_t T = pass->B * pass->config.N, HD = model->HD, first = l * LILAC_PROJECTION_COUNT;
    LILAC_TRY(multiply(context, pass, layer->attention.input, weights->qkv_weight, first, 3, layer->qkv));
    lilac_add_bias(context, T, 3 * HD, model->parameters + weights->qkv_bias, layer->qkv);
    LILAC_TRY(attend(context, pass, layer));
    lilac_pass_round(context, layer->context, T, HD);
    return multiply(context, pass, layer->context, weights->output_weight, first + LILAC_PROJECTION_OUTPUT, 1,
                    layer->attention.sum);
}

/* ---- Feed-forward network ---- */

static lilac_status feed_forward_branch(lilac_context *context, lilac_transformer_pass *pass, size_t l) {
    const lilac_transformer *model = pass->model;
    const lilac_pass_layer *layer = &pass->layers[l];
    const lilac_transformer_layer *weights = &model->layers[l];
    const size_t T = pass->B * pass->config.N, first = l * LILAC_PROJECTION_COUNT, width = model->config.feed_forward;
    const bool gelu = model->config.activation == LILAC_TRANSFORMER_GELU;
    lilac_dropout dropout;
    const lilac_dropout *drop = lilac_pass_dropout(pass, 3 * l + 1, &dropout);
    const float *bias = model->parameters + weights->up_bias;
    float *before = gelu ? layer->pre_activation : layer->hidden.values;
    LILAC_TRY(
        multiply(context, pass, layer->feed_forward.input, weights->up_weight, first + LILAC_PROJECTION_UP, 1, before));
    if (gelu) {
        lilac_bias_gelu_dropout_forward(context, T, width, bias, drop, before, layer->hidden.values);
    } else {
        lilac_bias_relu_dropout_forward(context, T, width, bias, drop, before);
    }
    lilac_pass_round(context, layer->hidden, T, width);
    return multiply(context, pass, layer->hidden, weights->down_weight, first + LILAC_PROJECTION_DOWN, 1,
                    layer->feed_forward.sum);
}

/* ---- The whole ---- */

/* sum = residual + dropout(sum + bias), then the norm of that number into the input of what follows. */
static void residual_norm(lilac_context *context, const lilac_transformer_pass *pass, const float *residual,
                          const float *bias, const lilac_dropout *dropout, const lilac_pass_sublayer *sublayer,
                          size_t norm, float *out) {
    const lilac_norm_offsets at = lilac_transformer_norm_at(pass->model, norm);
    const float *parameters = pass->model->parameters;
    lilac_residual_norm_forward(context, pass->B * pass->config.N, pass->model->F, residual, bias, dropout,
                                sublayer->sum, parameters + at.weight, parameters + at.bias, sublayer->mean,
                                sublayer->rstd, out);
}

static lilac_status through_layers(lilac_context *context, lilac_transformer_pass *pass) {
    const lilac_transformer *model = pass->model;
    const size_t T = pass->B * pass->config.N, layers = model->config.layers;
    const bool pre_norm = model->config.norm == LILAC_TRANSFORMER_PRE_NORM;
    const float *residual = pass->first.sum;
    if (pre_norm) {
        residual_norm(context, pass, NULL, NULL, NULL, &pass->first, 0, pass->layers[0].attention.input.values);
    }
    lilac_pass_round(context, pass->layers[0].attention.input, T, model->F);
    for (size_t k = 0; k < 2 * layers; k++) {
        const size_t l = k / 2;
        const lilac_pass_layer *layer = &pass->layers[l];
        const bool attention = k % 2 == 0, last = k + 1 == 2 * layers;
        const lilac_pass_sublayer *here = attention ? &layer->attention : &layer->feed_forward;
        const lilac_pass_sublayer *next = attention ? &layer->feed_forward
                                          : last    ? &pass->last
                                                    : &pass->layers[l + 1].attention;
        LILAC_TRY(attention ? attention_branch(context, pass, l) : feed_forward_branch(context, pass, l));
        const float *bias = model->parameters + (attention ? model->layers[l].output_bias : model->layers[l].down_bias);
        lilac_dropout dropout;
        const lilac_dropout *drop = lilac_pass_dropout(pass, 3 * l + (attention ? 0 : 2), &dropout);
        if (pre_norm) {
            residual_norm(context, pass, residual, bias, drop, here, k + 1, next->input.values);
            residual = here->sum;
        } else {
            residual_norm(context, pass, here->input.values, bias, drop, here, k,
                          last ? pass->last.sum : next->input.values);
        }
        if (pre_norm || !last) {
            lilac_pass_round(context, next->input, T, model->F);
        }
    }
    if (!pre_norm) {
        residual_norm(context, pass, NULL, NULL, NULL, &pass->last, 2 * layers, pass->last.input.values);
    }
    return LILAC_OK;
}

typedef struct {
    const lilac_transformer_pass *pass;
    float *x;
} position_loop;

static void place_positions(void *argument, size_t begin, size_t end) {
    const position_loop *loop = argument;
    const lilac_transformer_config *config = &loop->pass->model->config;
    const size_t F = loop->pass->model->F, N = loop->pass->config.N, width = config->position_width;
    for (size_t t = begin; t < end; t++) {
        memcpy(loop->x + t * F + config->value_width, loop->pass->positions + t % N * width, width * sizeof(float));
    }
}

/* Where the layers find what they are applied to: T x F. */
static float *layers_input(lilac_transformer_pass *pass) {
    return pass->model->config.norm == LILAC_TRANSFORMER_PRE_NORM ? pass->first.sum
                                                                  : pass->layers[0].attention.input.values;
}

/* The tokens that the pass sees, B x N, from rows of longer sequences. */
static void gather(const lilac_transformer_pass *pass, const uint8_t *tokens, size_t stride, uint8_t *out) {
    const size_t N = pass->config.N;
    const uint32_t *places = pass->config.places;
    for (size_t b = 0; b < pass->B; b++) {
        if (places == NULL) {
            memcpy(out + b * N, tokens + b * stride, N);
            continue;
        }
        for (size_t t = 0; t < N; t++) {
            out[b * N + t] = tokens[b * stride + places[t]];
        }
    }
}

static void embed(lilac_context *context, lilac_transformer_pass *pass, const uint8_t *tokens, size_t stride) {
    const lilac_transformer *model = pass->model;
    const size_t T = pass->B * pass->config.N;
    float *x = layers_input(pass);
    gather(pass, tokens, stride, pass->tokens);
    lilac_embedding_forward(context, T, model->config.value_width, pass->tokens, model->parameters, x, model->F);
    position_loop loop = {.pass = pass, .x = x};
    lilac_parallel_for(context, T, ROW_BLOCK, place_positions, &loop);
}

static void begin(lilac_transformer_pass *pass, size_t B, const lilac_random *dropout) {
    pass->B = B;
    pass->has_dropout = dropout != NULL && pass->model->config.dropout > 0.0;
    pass->dropout = dropout != NULL ? *dropout : (lilac_random){0};
}

lilac_status lilac_transformer_pass_forward(lilac_context *context, lilac_transformer_pass *pass, size_t B,
                                            const uint8_t *tokens, size_t stride, const lilac_random *dropout,
                                            const float **outputs) {
    const lilac_transformer *model = pass->model;
    begin(pass, B, dropout);
    *outputs = pass->outputs;
    if (B == 0 || pass->config.N == 0) {
        return LILAC_OK;
    }
    embed(context, pass, tokens, stride);
    LILAC_TRY(through_layers(context, pass));
    LILAC_TRY(
        multiply(context, pass, pass->last.input, model->output_weight, model->linear_count - 1, 1, pass->outputs));
    lilac_add_bias(context, B * pass->config.N, model->O, model->parameters + model->output_bias, pass->outputs);
    return LILAC_OK;
}

lilac_status lilac_transformer_pass_encode(lilac_context *context, lilac_transformer_pass *pass, size_t B,
                                           const float *input, const lilac_random *dropout, const float **outputs) {
    begin(pass, B, dropout);
    *outputs = pass->last.input.values;
    const size_t count = B * pass->config.N * pass->model->F;
    if (count == 0) {
        return LILAC_OK;
    }
    memcpy(layers_input(pass), input, count * sizeof(float));
    return through_layers(context, pass);
}

void lilac_transformer_pass_loss(lilac_context *context, lilac_transformer_pass *pass, const uint8_t *tokens,
                                 size_t stride, float scale, float *losses) {
    const lilac_transformer *model = pass->model;
    const size_t T = pass->B * pass->config.N;
    uint8_t *targets = pass->targets;
    gather(pass, tokens + 1, stride, targets);
    float *gradient = pass->config.backward ? pass->outputs : NULL;
    if (model->config.output == LILAC_TRANSFORMER_CATEGORICAL) {
        lilac_cross_entropy(context, T, model->O, pass->outputs, targets, scale, losses, gradient);
    } else {
        lilac_logistic_mixture_loss(context, T, model->config.mixtures, pass->outputs, targets, scale, losses,
                                    gradient);
    }
}

typedef struct {
    float limit, *values;
} clip_loop;

static void clip_values(void *argument, size_t begin, size_t end) {
    const clip_loop *loop = argument;
    for (size_t i = begin; i < end; i++) {
        /* Written so that a NaN stays one. */
        const float value = loop->values[i];
        loop->values[i] = value > loop->limit ? loop->limit : value < -loop->limit ? -loop->limit : value;
    }
}

void lilac_transformer_pass_clip_outputs(lilac_context *context, lilac_transformer_pass *pass, float limit) {
    clip_loop loop = {.limit = limit, .values = pass->outputs};
    lilac_parallel_for(context, pass->B * pass->config.N * pass->model->O, 4096, clip_values, &loop);
}

/* ---- The public form ---- */

lilac_status lilac_transformer_workspace_size(lilac_context *context, const lilac_transformer *model,
                                              const lilac_adapter *adapter, size_t B, size_t N, size_t *bytes) {
    if (context == NULL || model == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    const lilac_transformer_pass_config config = {.B = B, .N = N, .adapter = adapter};
    lilac_transformer_pass pass;
    LILAC_TRY(lilac_transformer_pass_place(context, model, &config, NULL, &pass));
    *bytes = pass.bytes;
    return LILAC_OK;
}

lilac_status lilac_transformer_forward(lilac_context *context, const lilac_transformer *model,
                                       const lilac_adapter *adapter, size_t B, size_t N, const uint8_t *tokens,
                                       float *outputs, void *workspace, size_t workspace_bytes) {
    if (context == NULL || model == NULL || (B > 0 && N > 0 && (tokens == NULL || outputs == NULL))) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer: a null pointer");
    }
    size_t needed;
    LILAC_TRY(lilac_transformer_workspace_size(context, model, adapter, B, N, &needed));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    const lilac_transformer_pass_config config = {.B = B, .N = N, .adapter = adapter};
    lilac_transformer_pass pass;
    LILAC_TRY(lilac_transformer_pass_place(context, model, &config, workspace, &pass));
    pass.outputs = outputs;
    const float *result;
    return lilac_transformer_pass_forward(context, &pass, B, tokens, N, NULL, &result);
}
