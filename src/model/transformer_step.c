/* SPDX-License-Identifier: MIT */
/* Some tokens of some sequences on their way through a transformer's layers. */
#include "model/transformer_step.h"

#include "attention/linear.h"
#include "attention/softmax.h"
#include "core/clock.h"
#include "core/memory.h"
#include "model/transformer_attention.h"
#include "nn/activation.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"

#include <string.h>

/* ---- Linear layers ---- */

/* Adds the low-rank terms of one linear layer. */
static void add_terms(const lilac_state_part *p, size_t linear_layer, const float *x, float *y, size_t ldy) {
    const lilac_transformer_state *state = p->state;
    for (size_t g = 0; g < state->group_count; g++) {
        const lilac_state_group *group = &state->groups[g];
        const lilac_state_term *term = group->terms == NULL ? NULL : &group->terms[linear_layer];
        const size_t begin = lilac_size_max(group->first, p->first);
        const size_t end = lilac_size_min(group->first + group->count, p->first + p->count);
        if (term == NULL || term->A.panels == NULL || begin >= end) {
            continue;
        }
        const size_t row = (begin - p->first) * p->n, rows = (end - begin) * p->n;
        lilac_packed_matrix_multiply(p->context, &term->A, rows, x + row * term->A.in, false, p->a.low, term->A.out);
        lilac_packed_matrix_multiply(p->context, &term->B, rows, p->a.low, true, y + row * ldy, ldy);
    }
}

/* Adds the low-rank terms of `layers` neighbouring linear layers from number `first` on. */
static void add_all_terms(const lilac_state_part *p, size_t first, size_t layers, size_t out, const float *x,
                          float *y) {
    for (size_t i = 0; i < layers; i++) {
        add_terms(p, first + i, x, y + i * (out / layers), out);
    }
}

/* y = x W^T for the weights of linear layer number `layer`. */
static void project(lilac_state_part *p, const lilac_packed_matrix *packed, size_t layer, const float *x, float *y) {
    const double start = lilac_clock_seconds();
    lilac_packed_matrix_multiply(p->context, packed, p->T, x, false, y, packed->out);
    add_all_terms(p, layer, 1, packed->out, x, y);
    p->spent.projections += lilac_clock_seconds() - start;
}

/* The queries, keys and values of layer l. Meanwhile a thread that works alone has what it will attend with fetched. */
static void project_qkv(lilac_state_part *p, size_t l, const float *x) {
    const double start = lilac_clock_seconds();
    const lilac_state_layer *layer = &p->state->layers[l];
    const size_t each = p->state->attention_floats;
    const bool fetch = p->n == 1 && layer->linear != NULL && p->context->config.threads == 1;
    lilac_packed_matrix_multiply_ahead(p->context, &layer->qkv, p->T, x, p->a.qkv,
                                       fetch ? lilac_linear_attention_state_data(layer->linear) + p->first * each
                                             : NULL,
                                       fetch ? p->count * each * sizeof(float) : 0);
    add_all_terms(p, l * LILAC_PROJECTION_COUNT, 3, layer->qkv.out, x, p->a.qkv);
    p->spent.projections += lilac_clock_seconds() - start;
}

/* ---- Attention ---- */

typedef struct attention_tensors {
    lilac_attention_input query, key, value;
    lilac_attention_output output;
} attention_tensors;

static attention_tensors tensors_of(const lilac_state_part *p) {
    const lilac_transformer *model = p->state->model;
    return (attention_tensors){.query = lilac_transformer_qkv_input(model, p->n, p->a.qkv, 0),
                               .key = lilac_transformer_qkv_input(model, p->n, p->a.qkv, 1),
                               .value = lilac_transformer_qkv_input(model, p->n, p->a.qkv, 2),
                               .output = lilac_transformer_context_output(model, p->n, p->a.context)};
}

static lilac_status attend_linear(const lilac_state_part *p, const lilac_state_layer *layer) {
    const attention_tensors t = tensors_of(p);
    if (p->n == 1) {
        return lilac_linear_attention_step_some(p->context, layer->linear, p->first, p->count, &t.query, &t.key,
                                                &t.value, &t.output);
    }
    const lilac_linear_attention_config config =
        lilac_transformer_linear_attention(p->state->model, p->count, p->n, true);
    float *data = lilac_linear_attention_state_data(layer->linear) + p->first * p->state->attention_floats;
    const lilac_linear_attention_forward_tensors tensors = {.query = t.query,
                                                            .key = t.key,
                                                            .value = t.value,
                                                            .initial_state = data,
                                                            .output = t.output,
                                                            .final_state = data};
    return lilac_linear_attention_forward(p->context, &config, &tensors, p->a.attention_workspace,
                                          p->a.attention_bytes);
}

static lilac_status attend_softmax(const lilac_state_part *p, const lilac_state_layer *layer) {
    const attention_tensors t = tensors_of(p);
    if (p->n == 1) {
        return lilac_softmax_attention_step_some(p->context, layer->softmax, p->first, p->count, &t.query, &t.key,
                                                 &t.value, &t.output);
    }
    return lilac_softmax_attention_extend_some(p->context, layer->softmax, p->first, p->count, p->n, &t.query, &t.key,
                                               &t.value, &t.output, p->a.attention_workspace, p->a.attention_bytes);
}

/* a->context = the attention of layer l. */
static lilac_status attend(lilac_state_part *p, size_t l, const float *input) {
    const lilac_transformer *model = p->state->model;
    const lilac_state_layer *layer = &p->state->layers[l];
    project_qkv(p, l, input);
    lilac_add_bias(p->context, p->T, 3 * model->HD, model->parameters + model->layers[l].qkv_bias, p->a.qkv);
    const double start = lilac_clock_seconds();
    LILAC_TRY(layer->linear != NULL ? attend_linear(p, layer) : attend_softmax(p, layer));
    p->spent.attention += lilac_clock_seconds() - start;
    return LILAC_OK;
}

/* Behind the last attention only the last token of each sequence matters: the part becomes one of these. */
static void keep_last_tokens(lilac_state_part *p) {
    const size_t F = p->state->model->F, HD = p->state->model->HD;
    for (size_t i = 0; i < p->count; i++) {
        const size_t row = (i + 1) * p->n - 1;
        memmove(p->a.stream + i * F, p->a.stream + row * F, F * sizeof(float));
        memmove(p->a.context + i * HD, p->a.context + row * HD, HD * sizeof(float));
    }
    p->n = 1;
    p->T = p->count;
}

/* a->branch = what the attention of layer l adds, without the output's bias. */
static lilac_status attention_branch(lilac_state_part *p, size_t l, const float *input) {
    LILAC_TRY(attend(p, l, input));
    if (l + 1 == p->state->model->config.layers) {
        keep_last_tokens(p);
    }
    project(p, &p->state->layers[l].output, l * LILAC_PROJECTION_COUNT + LILAC_PROJECTION_OUTPUT, p->a.context,
            p->a.branch);
    return LILAC_OK;
}

/* ---- Feed-forward network ---- */

static void feed_forward_branch(lilac_state_part *p, size_t l, const float *input) {
    const lilac_transformer *model = p->state->model;
    const lilac_state_layer *layer = &p->state->layers[l];
    const size_t first = l * LILAC_PROJECTION_COUNT, width = model->config.feed_forward;
    const float *bias = model->parameters + model->layers[l].up_bias;
    project(p, &layer->up, first + LILAC_PROJECTION_UP, input, p->a.hidden);
    if (model->config.activation == LILAC_TRANSFORMER_GELU) {
        lilac_bias_gelu_dropout_forward(p->context, p->T, width, bias, NULL, p->a.hidden, p->a.activated);
    } else {
        lilac_bias_relu_dropout_forward(p->context, p->T, width, bias, NULL, p->a.hidden);
    }
    project(p, &layer->down, first + LILAC_PROJECTION_DOWN, p->a.activated, p->a.branch);
}

/* ---- The whole ---- */

/* sum = residual + sum + bias, of which both may be NULL; out = norm number `norm` of it, and may be the residual. */
static void residual_norm(const lilac_state_part *p, const float *residual, const float *bias, float *sum, size_t norm,
                          float *out) {
    const lilac_transformer *model = p->state->model;
    const lilac_norm_offsets at = lilac_transformer_norm_at(model, norm);
    lilac_residual_norm_forward(p->context, p->T, model->F, residual, bias, NULL, sum, model->parameters + at.weight,
                                model->parameters + at.bias, p->a.mean, p->a.rstd, out);
}

/* From the embedded tokens in a->stream to what the output layer (pre-norm, in a->input) or the last norm before it
 * (post-norm, in a->stream) is applied to: a row for each sequence. */
static lilac_status through_layers(lilac_state_part *p) {
    lilac_state_activations *a = &p->a;
    const lilac_transformer *model = p->state->model;
    const bool pre_norm = model->config.norm == LILAC_TRANSFORMER_PRE_NORM;
    if (pre_norm) {
        residual_norm(p, NULL, NULL, a->stream, 0, a->input);
    }
    for (size_t k = 0; k < 2 * model->config.layers; k++) {
        const lilac_transformer_layer *at = &model->layers[k / 2];
        const float *bias = model->parameters + (k % 2 == 0 ? at->output_bias : at->down_bias);
        const float *input = pre_norm ? a->input : a->stream;
        if (k % 2 == 0) {
            LILAC_TRY(attention_branch(p, k / 2, input));
        } else {
            feed_forward_branch(p, k / 2, input);
        }
        if (pre_norm) {
            residual_norm(p, a->stream, bias, a->branch, k + 1, a->input);
            float *const sum = a->branch;
            a->branch = a->stream;
            a->stream = sum;
        } else {
            residual_norm(p, a->stream, bias, a->branch, k, a->stream);
        }
    }
    return LILAC_OK;
}

/* a->stream = the embedded tokens, whose rows begin at tokens + (the caller's row) * stride. */
static void embed(const lilac_state_part *p, const uint8_t *tokens, size_t stride) {
    const lilac_transformer_state *state = p->state;
    const lilac_state_activations *a = &p->a;
    const size_t F = state->model->F, E = state->model->config.value_width, P = state->model->config.position_width;
    for (size_t i = 0; i < p->count; i++) {
        memcpy(a->tokens + i * p->n, tokens + state->order[p->first + i] * stride, p->n);
    }
    lilac_embedding_forward(p->context, p->T, E, a->tokens, state->model->parameters, a->stream, F);
    for (size_t t = 0; t < p->T && P > 0; t++) {
        memcpy(a->stream + t * F + E, a->positions + t % p->n * P, P * sizeof(float));
    }
}

/* The outputs of the last tokens, to the caller's rows. */
static void give_outputs(lilac_state_part *p, float *outputs) {
    const lilac_transformer *model = p->state->model;
    const size_t O = model->O;
    if (model->config.norm == LILAC_TRANSFORMER_POST_NORM) {
        residual_norm(p, NULL, NULL, p->a.stream, 2 * model->config.layers, p->a.input);
    }
    project(p, &p->state->output, model->linear_count - 1, p->a.input, p->a.outputs);
    lilac_add_bias(p->context, p->T, O, model->parameters + model->output_bias, p->a.outputs);
    for (size_t i = 0; i < p->count; i++) {
        memcpy(outputs + p->state->order[p->first + i] * O, p->a.outputs + i * O, O * sizeof(float));
    }
}

lilac_status lilac_state_take_in(lilac_state_part *part, const uint8_t *tokens, size_t stride, float *outputs) {
    part->T = part->count * part->n;
    embed(part, tokens, stride);
    LILAC_TRY(through_layers(part));
    if (outputs != NULL) {
        give_outputs(part, outputs);
    }
    return LILAC_OK;
}
