/* SPDX-License-Identifier: MIT */
/* A transformer's state takes in tokens: one of each sequence, or prompts by the parallel form. */
#include "core/clock.h"
#include "core/memory.h"
#include "model/transformer_attention.h"
#include "model/transformer_state.h"
#include "nn/activation.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"

#include <string.h>

/* Rows that a part of a prompt has where that is a choice: enough for the products, few enough for the caches. */
enum { PROMPT_ROWS = 1024 };

/* n tokens of the sequences first .. first + count - 1 of a state, T rows in all. */
typedef struct part {
    lilac_transformer_state *state;
    const lilac_state_activations *a;
    size_t first, count, n, T;
} part;

/* ---- Linear layers ---- */

/* Adds the low-rank terms of one linear layer. */
static void add_terms(const lilac_context *context, const part *p, size_t linear_layer, const float *x, float *y,
                      size_t ldy) {
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
        lilac_packed_matrix_multiply(context, &term->A, rows, x + row * term->A.in, false, p->a->low, term->A.out);
        lilac_packed_matrix_multiply(context, &term->B, rows, p->a->low, true, y + row * ldy, ldy);
    }
}

/* y = x W^T for the weights of `layers` neighbouring linear layers from number `first` on. */
static void project(const lilac_context *context, const part *p, const lilac_packed_matrix *packed, size_t first,
                    size_t layers, const float *x, float *y) {
    const double start = lilac_clock_seconds();
    const size_t each = packed->out / layers;
    lilac_packed_matrix_multiply(context, packed, p->T, x, false, y, packed->out);
    for (size_t i = 0; i < layers; i++) {
        add_terms(context, p, first + i, x, y + i * each, packed->out);
    }
    p->state->projections += lilac_clock_seconds() - start;
}

/* ---- Attention ---- */

typedef struct attention_tensors {
    lilac_attention_input query, key, value;
    lilac_attention_output output;
} attention_tensors;

/* Those of the part's sequences from number `sequence` of it on. */
static attention_tensors tensors_from(const part *p, size_t sequence) {
    const lilac_transformer *model = p->state->model;
    const size_t row = sequence * p->n;
    const float *qkv = p->a->qkv + row * 3 * model->HD;
    return (attention_tensors){.query = lilac_transformer_qkv_input(model, p->n, qkv, 0),
                               .key = lilac_transformer_qkv_input(model, p->n, qkv, 1),
                               .value = lilac_transformer_qkv_input(model, p->n, qkv, 2),
                               .output =
                                   lilac_transformer_context_output(model, p->n, p->a->context + row * model->HD)};
}

static lilac_status attend_linear(lilac_context *context, const part *p, const lilac_state_layer *layer) {
    const attention_tensors t = tensors_from(p, 0);
    if (p->n == 1 && p->count == p->state->B) {
        return lilac_linear_attention_step(context, layer->linear, &t.query, &t.key, &t.value, &t.output);
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
    return lilac_linear_attention_forward(context, &config, &tensors, p->a->attention_workspace, p->a->attention_bytes);
}

static lilac_status attend_softmax(lilac_context *context, const part *p, const lilac_state_layer *layer) {
    if (p->n > 1) { /* the part is one block */
        const attention_tensors t = tensors_from(p, 0);
        return lilac_softmax_attention_extend(context, layer->softmax[p->first / LILAC_STATE_SOFTMAX_BLOCK], p->n,
                                              &t.query, &t.key, &t.value, &t.output, p->a->attention_workspace,
                                              p->a->attention_bytes);
    }
    for (size_t i = 0; i < p->count; i += LILAC_STATE_SOFTMAX_BLOCK) {
        const attention_tensors t = tensors_from(p, i);
        LILAC_TRY(lilac_softmax_attention_step(context, layer->softmax[(p->first + i) / LILAC_STATE_SOFTMAX_BLOCK],
                                               &t.query, &t.key, &t.value, &t.output));
    }
    return LILAC_OK;
}

/* a->context = the attention of layer l. */
static lilac_status attend(lilac_context *context, const part *p, size_t l, const float *input) {
    const lilac_transformer *model = p->state->model;
    const lilac_state_layer *layer = &p->state->layers[l];
    project(context, p, &layer->qkv, l * LILAC_PROJECTION_COUNT, 3, input, p->a->qkv);
    lilac_add_bias(context, p->T, 3 * model->HD, model->parameters + model->layers[l].qkv_bias, p->a->qkv);
    const double start = lilac_clock_seconds();
    LILAC_TRY(layer->linear != NULL ? attend_linear(context, p, layer) : attend_softmax(context, p, layer));
    p->state->attention_time += lilac_clock_seconds() - start;
    return LILAC_OK;
}

/* Behind the last attention only the last token of each sequence matters: the part becomes one of these. */
static void keep_last_tokens(part *p) {
    const size_t F = p->state->model->F, HD = p->state->model->HD;
    for (size_t i = 0; i < p->count; i++) {
        const size_t row = (i + 1) * p->n - 1;
        memmove(p->a->stream + i * F, p->a->stream + row * F, F * sizeof(float));
        memmove(p->a->context + i * HD, p->a->context + row * HD, HD * sizeof(float));
    }
    p->n = 1;
    p->T = p->count;
}

/* a->branch = what the attention of layer l adds, without the output's bias. */
static lilac_status attention_branch(lilac_context *context, part *p, size_t l, const float *input) {
    LILAC_TRY(attend(context, p, l, input));
    if (l + 1 == p->state->model->config.layers) {
        keep_last_tokens(p);
    }
    project(context, p, &p->state->layers[l].output, l * LILAC_PROJECTION_COUNT + LILAC_PROJECTION_OUTPUT, 1,
            p->a->context, p->a->branch);
    return LILAC_OK;
}

/* ---- Feed-forward network ---- */

static void feed_forward_branch(lilac_context *context, const part *p, size_t l, const float *input) {
    const lilac_transformer *model = p->state->model;
    const lilac_state_layer *layer = &p->state->layers[l];
    const size_t first = l * LILAC_PROJECTION_COUNT, width = model->config.feed_forward;
    const float *bias = model->parameters + model->layers[l].up_bias;
    project(context, p, &layer->up, first + LILAC_PROJECTION_UP, 1, input, p->a->hidden);
    if (model->config.activation == LILAC_TRANSFORMER_GELU) {
        lilac_bias_gelu_dropout_forward(context, p->T, width, bias, NULL, p->a->hidden, p->a->activated);
    } else {
        lilac_bias_relu_dropout_forward(context, p->T, width, bias, NULL, p->a->hidden);
    }
    project(context, p, &layer->down, first + LILAC_PROJECTION_DOWN, 1, p->a->activated, p->a->branch);
}

/* ---- The whole ---- */

/* sum = residual + sum + bias, of which both may be NULL; out = norm number `norm` of it, and may be the residual. */
static void residual_norm(lilac_context *context, const part *p, const float *residual, const float *bias, float *sum,
                          size_t norm, float *out) {
    const lilac_transformer *model = p->state->model;
    const lilac_norm_offsets at = lilac_transformer_norm_at(model, norm);
    lilac_residual_norm_forward(context, p->T, model->F, residual, bias, NULL, sum, model->parameters + at.weight,
                                model->parameters + at.bias, p->a->mean, p->a->rstd, out);
}

/* From the embedded tokens in a->stream to what the output layer (pre-norm, in a->input) or the last norm before it
 * (post-norm, in a->stream) is applied to: a row for each sequence. */
static lilac_status through_layers(lilac_context *context, part *p, lilac_state_activations *a) {
    const lilac_transformer *model = p->state->model;
    const bool pre_norm = model->config.norm == LILAC_TRANSFORMER_PRE_NORM;
    if (pre_norm) {
        residual_norm(context, p, NULL, NULL, a->stream, 0, a->input);
    }
    for (size_t k = 0; k < 2 * model->config.layers; k++) {
        const lilac_transformer_layer *at = &model->layers[k / 2];
        const float *bias = model->parameters + (k % 2 == 0 ? at->output_bias : at->down_bias);
        const float *input = pre_norm ? a->input : a->stream;
        if (k % 2 == 0) {
            LILAC_TRY(attention_branch(context, p, k / 2, input));
        } else {
            feed_forward_branch(context, p, k / 2, input);
        }
        if (pre_norm) {
            residual_norm(context, p, a->stream, bias, a->branch, k + 1, a->input);
            float *const sum = a->branch;
            a->branch = a->stream;
            a->stream = sum;
        } else {
            residual_norm(context, p, a->stream, bias, a->branch, k, a->stream);
        }
    }
    return LILAC_OK;
}

/* The positions of the next n tokens, which are the same for all sequences. */
static void set_positions(const lilac_transformer_state *state, size_t n, const lilac_state_activations *a) {
    const size_t P = state->model->config.position_width;
    lilac_sinusoidal_positions(state->position, n, P, a->positions, P);
}

/* a->stream = the embedded tokens, whose rows begin at tokens + (the caller's row) * stride. */
static void embed(lilac_context *context, const part *p, const uint8_t *tokens, size_t stride) {
    const lilac_transformer_state *state = p->state;
    const lilac_state_activations *a = p->a;
    const size_t F = state->model->F, E = state->model->config.value_width, P = state->model->config.position_width;
    for (size_t i = 0; i < p->count; i++) {
        memcpy(a->tokens + i * p->n, tokens + state->order[p->first + i] * stride, p->n);
    }
    lilac_embedding_forward(context, p->T, E, a->tokens, state->model->parameters, a->stream, F);
    for (size_t t = 0; t < p->T && P > 0; t++) {
        memcpy(a->stream + t * F + E, a->positions + t % p->n * P, P * sizeof(float));
    }
}

/* The outputs of the last tokens, to the caller's rows. */
static void give_outputs(lilac_context *context, const part *p, float *outputs) {
    const lilac_transformer *model = p->state->model;
    const size_t O = model->O;
    if (model->config.norm == LILAC_TRANSFORMER_POST_NORM) {
        residual_norm(context, p, NULL, NULL, p->a->stream, 2 * model->config.layers, p->a->input);
    }
    project(context, p, &p->state->output, model->linear_count - 1, 1, p->a->input, p->a->outputs);
    lilac_add_bias(context, p->T, O, model->parameters + model->output_bias, p->a->outputs);
    for (size_t i = 0; i < p->count; i++) {
        memcpy(outputs + p->state->order[p->first + i] * O, p->a->outputs + i * O, O * sizeof(float));
    }
}

static lilac_status take_in(lilac_context *context, part *p, lilac_state_activations *a, const uint8_t *tokens,
                            size_t stride, float *outputs) {
    p->a = a;
    p->T = p->count * p->n;
    embed(context, p, tokens, stride);
    LILAC_TRY(through_layers(context, p, a));
    if (outputs != NULL) {
        give_outputs(context, p, outputs);
    }
    return LILAC_OK;
}

static lilac_status check_room(lilac_context *context, const lilac_transformer_state *state, size_t n) {
    const size_t length = state->length;
    if (n > length - state->position) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "transformer state: %zu tokens of at most %zu have been read, no room for %zu more",
                          state->position, length, n);
    }
    return LILAC_OK;
}

/* One token of all sequences. */
static lilac_status take_in_one(lilac_context *context, lilac_transformer_state *state, const uint8_t *tokens,
                                size_t stride, float *outputs) {
    part all = {.state = state, .count = state->B, .n = 1};
    set_positions(state, 1, &state->step);
    LILAC_TRY(take_in(context, &all, &state->step, tokens, stride, outputs));
    state->position++;
    return LILAC_OK;
}

lilac_status lilac_transformer_state_step(lilac_context *context, lilac_transformer_state *state, const uint8_t *tokens,
                                          float *outputs) {
    if (context == NULL || state == NULL || tokens == NULL || outputs == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state step: a null pointer");
    }
    LILAC_TRY(check_room(context, state, 1));
    return take_in_one(context, state, tokens, 1, outputs);
}

/* ---- Prompts ---- */

static lilac_status attention_workspace(lilac_context *context, const lilac_transformer_state *state, size_t count,
                                        size_t n, size_t *bytes) {
    if (state->layers[0].softmax != NULL) {
        return lilac_softmax_attention_extend_workspace_size(context, state->layers[0].softmax[0], bytes);
    }
    const lilac_linear_attention_config config = lilac_transformer_linear_attention(state->model, count, n, true);
    return lilac_linear_attention_forward_workspace_size(context, &config, bytes);
}

/* n > 1 tokens of all sequences, some sequences at a time. */
static lilac_status take_in_parallel(lilac_context *context, lilac_transformer_state *state, size_t n,
                                     const uint8_t *tokens, size_t stride, float *outputs) {
    const bool linear = state->model->config.attention == LILAC_TRANSFORMER_LINEAR;
    const size_t fitting = linear ? lilac_size_max(PROMPT_ROWS / n, 1) : LILAC_STATE_SOFTMAX_BLOCK;
    const size_t most = lilac_size_min(fitting, state->B);
    size_t bytes = 0;
    LILAC_TRY(attention_workspace(context, state, most, n, &bytes));
    lilac_state_activations a;
    LILAC_TRY(lilac_state_activations_create(context, state, most, n, bytes, &a));
    set_positions(state, n, &a);
    lilac_status status = LILAC_OK;
    for (size_t first = 0; status == LILAC_OK && first < state->B; first += most) {
        part p = {.state = state, .first = first, .count = lilac_size_min(most, state->B - first), .n = n};
        status = take_in(context, &p, &a, tokens, stride, outputs);
    }
    lilac_state_activations_free(&a);
    state->position += status == LILAC_OK ? n : 0;
    return status;
}

lilac_status lilac_transformer_state_prompt(lilac_context *context, lilac_transformer_state *state, size_t n,
                                            const uint8_t *tokens, size_t stride, float *outputs) {
    if (context == NULL || state == NULL || (tokens == NULL && n > 0)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state prompt: a null pointer");
    }
    LILAC_TRY(check_room(context, state, n));
    for (size_t done = 0; done < n;) {
        const size_t more = lilac_size_min(n - done, PROMPT_ROWS);
        float *last = done + more == n ? outputs : NULL;
        LILAC_TRY(more == 1 ? take_in_one(context, state, tokens + done, stride, last)
                            : take_in_parallel(context, state, more, tokens + done, stride, last));
        done += more;
    }
    return LILAC_OK;
}
