/* SPDX-License-Identifier: MIT */
/* The state of sequences that a transformer reads: creating it, packing weights, memory. */
#include "model/transformer_state.h"

#include "adapt/adapter.h"
#include "core/memory.h"
#include "model/transformer_attention.h"
#include "runtime/workspace.h"

/* ---- Activations ---- */

static void cut_all(lilac_workspace *w, const lilac_transformer_state *state, size_t sequences, size_t n,
                    lilac_state_activations *a) {
    const lilac_transformer *model = state->model;
    const size_t T = sequences * n;
    a->tokens = lilac_workspace_take(w, T, 1);
    a->positions = lilac_workspace_take(w, n, model->config.position_width * sizeof(float));
    a->stream = lilac_workspace_take(w, T, model->F * sizeof(float));
    a->branch = lilac_workspace_take(w, T, model->F * sizeof(float));
    a->input = lilac_workspace_take(w, T, model->F * sizeof(float));
    a->qkv = lilac_workspace_take(w, T, 3 * model->HD * sizeof(float));
    a->context = lilac_workspace_take(w, T, model->HD * sizeof(float));
    a->hidden = lilac_workspace_take(w, T, model->config.feed_forward * sizeof(float));
    a->activated = model->config.activation == LILAC_TRANSFORMER_RELU
                       ? a->hidden
                       : lilac_workspace_take(w, T, model->config.feed_forward * sizeof(float));
    a->low = lilac_workspace_take(w, T, state->rank * sizeof(float));
    a->mean = lilac_workspace_take(w, T, sizeof(float));
    a->rstd = lilac_workspace_take(w, T, sizeof(float));
    a->outputs = lilac_workspace_take(w, sequences, model->O * sizeof(float));
    a->attention_workspace = lilac_workspace_take(w, a->attention_bytes, 1);
}

lilac_status lilac_state_activations_create(lilac_context *context, const lilac_transformer_state *state,
                                            size_t sequences, size_t n, size_t attention_bytes,
                                            lilac_state_activations *out) {
    lilac_state_activations activations = {.attention_bytes = attention_bytes};
    size_t rows;
    lilac_workspace w = lilac_workspace_over(NULL);
    const bool countable = lilac_size_multiply(sequences, n, &rows);
    if (countable) {
        cut_all(&w, state, sequences, n, &activations);
    }
    if (!countable || !lilac_workspace_fits(&w)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "transformer state: %zu sequences of %zu tokens are too many",
                          sequences, n);
    }
    activations.bytes = w.used;
    activations.block = lilac_memory_allocate(w.used, 1);
    if (activations.block == NULL) {
        return lilac_fail_memory(context, "the activations of a transformer", w.used);
    }
    w = lilac_workspace_over(activations.block);
    cut_all(&w, state, sequences, n, &activations);
    *out = activations;
    return LILAC_OK;
}

lilac_state_activations lilac_state_activations_from(const lilac_transformer_state *state, size_t first) {
    const lilac_transformer *model = state->model;
    const size_t feed_forward = model->config.feed_forward;
    lilac_state_activations a = state->step;
    a.tokens += first;
    a.stream += first * model->F;
    a.branch += first * model->F;
    a.input += first * model->F;
    a.qkv += first * 3 * model->HD;
    a.context += first * model->HD;
    a.hidden += first * feed_forward;
    a.activated += first * feed_forward;
    a.low += first * state->rank;
    a.mean += first;
    a.rstd += first;
    a.outputs += first * model->O;
    return a;
}

void lilac_state_activations_free(lilac_state_activations *activations) {
    lilac_memory_free(activations->block);
    activations->block = NULL;
}

/* ---- Adapters ---- */

/* Sorts the sequences by adapter, in the order in which the adapters first occur, and notes where each begins. */
static void group_sequences(const lilac_adapter *const *adapters, lilac_transformer_state *state) {
    size_t placed = 0;
    for (size_t b = 0; b < state->B; b++) {
        const lilac_adapter *adapter = adapters == NULL ? NULL : adapters[b];
        bool known = false;
        for (size_t g = 0; g < state->group_count; g++) {
            known = known || state->groups[g].adapter == adapter;
        }
        if (known) {
            continue;
        }
        lilac_state_group *group = &state->groups[state->group_count++];
        *group = (lilac_state_group){.adapter = adapter, .first = placed};
        for (size_t i = b; i < state->B; i++) {
            if ((adapters == NULL ? NULL : adapters[i]) == adapter) {
                state->order[placed++] = i;
            }
        }
        group->count = placed - group->first;
        state->rank = lilac_size_max(state->rank, adapter == NULL ? 0 : adapter->config.rank);
    }
}

static lilac_status pack_term(lilac_context *context, const lilac_low_rank *low_rank, bool bf16,
                              lilac_state_term *term) {
    const lilac_unpacked_matrix A = {.data = low_rank->A, .row_step = low_rank->in, .column_step = 1, .scale = 1.0f};
    const lilac_unpacked_matrix B = {
        .data = low_rank->Bt, .row_step = 1, .column_step = low_rank->out, .scale = low_rank->scale};
    LILAC_TRY(lilac_packed_matrix_pack(context, low_rank->rank, low_rank->in, A, bf16, &term->A));
    return lilac_packed_matrix_pack(context, low_rank->out, low_rank->rank, B, bf16, &term->B);
}

static lilac_status pack_group(lilac_context *context, const lilac_transformer *model, bool bf16, int *entries,
                               lilac_state_group *group) {
    LILAC_TRY(lilac_transformer_match_adapter(context, model, group->adapter, entries));
    group->terms = lilac_memory_allocate(model->linear_count, sizeof *group->terms);
    if (group->terms == NULL) {
        return lilac_fail_memory(context, "an adapter's terms", model->linear_count * sizeof *group->terms);
    }
    for (size_t l = 0; l < model->linear_count; l++) {
        if (entries[l] >= 0) {
            const lilac_low_rank low_rank = lilac_adapter_term(group->adapter, (size_t)entries[l]);
            const size_t offset = (size_t)(model->linear_layers[l].weight - model->parameters);
            const bool exact = lilac_transformer_is_exact(model, offset);
            LILAC_TRY(pack_term(context, &low_rank, bf16 && !exact, &group->terms[l]));
        }
    }
    return LILAC_OK;
}

static lilac_status pack_adapters(lilac_context *context, bool bf16, lilac_transformer_state *state) {
    int *entries = lilac_memory_allocate(state->model->linear_count, sizeof *entries);
    if (entries == NULL) {
        return lilac_fail_memory(context, "an adapter's layers", state->model->linear_count * sizeof *entries);
    }
    lilac_status status = LILAC_OK;
    for (size_t g = 0; status == LILAC_OK && g < state->group_count; g++) {
        if (state->groups[g].adapter != NULL) {
            status = pack_group(context, state->model, bf16, entries, &state->groups[g]);
        }
    }
    lilac_memory_free(entries);
    return status;
}

/* ---- Layers ---- */

static lilac_status pack(lilac_context *context, const lilac_transformer *model, size_t weight, size_t out, size_t in,
                         bool bf16, lilac_packed_matrix *packed) {
    const lilac_unpacked_matrix W = {
        .data = model->parameters + weight, .row_step = in, .column_step = 1, .scale = 1.0f};
    return lilac_packed_matrix_pack(context, out, in, W, bf16, packed);
}

static lilac_status pack_layer(lilac_context *context, const lilac_transformer *model, size_t l, bool bf16,
                               lilac_state_layer *layer) {
    const lilac_transformer_layer *weights = &model->layers[l];
    const size_t F = model->F, HD = model->HD, feed_forward = model->config.feed_forward;
    LILAC_TRY(pack(context, model, weights->qkv_weight, 3 * HD, F, bf16, &layer->qkv));
    LILAC_TRY(pack(context, model, weights->output_weight, F, HD, bf16, &layer->output));
    LILAC_TRY(pack(context, model, weights->up_weight, feed_forward, F, bf16, &layer->up));
    return pack(context, model, weights->down_weight, F, feed_forward, bf16, &layer->down);
}

static lilac_status create_linear(lilac_context *context, lilac_transformer_state *state, lilac_state_layer *layer) {
    lilac_linear_attention_config config = lilac_transformer_linear_attention(state->model, 1, 1, true);
    LILAC_TRY(lilac_linear_attention_state_size(context, &config, &state->attention_floats));
    config.shape.batch = state->B;
    return lilac_linear_attention_state_create(context, &config, &layer->linear);
}

static lilac_status create_softmax(lilac_context *context, lilac_transformer_state *state, lilac_state_layer *layer) {
    state->attention_floats = 2 * state->model->HD * state->length;
    lilac_softmax_attention_config config =
        lilac_transformer_softmax_attention(state->model, state->B, state->length, true, LILAC_PRECISION_F32);
    config.cache = state->bf16_cache ? LILAC_ATTENTION_BF16 : LILAC_ATTENTION_F32;
    return lilac_softmax_attention_state_create(context, &config, &layer->softmax);
}

/* Links the weights in the order in which a step reads them, the last to the first. */
static void link_weights(lilac_transformer_state *state) {
    lilac_packed_matrix *before = &state->output;
    for (size_t l = 0; l < state->model->config.layers; l++) {
        lilac_state_layer *layer = &state->layers[l];
        before->next = &layer->qkv;
        layer->qkv.next = &layer->output;
        layer->output.next = &layer->up;
        layer->up.next = &layer->down;
        before = &layer->down;
    }
    before->next = &state->output;
}

static lilac_status create_layers(lilac_context *context, lilac_precision precision, lilac_transformer_state *state) {
    const lilac_transformer *model = state->model;
    const bool bf16 = precision == LILAC_PRECISION_BF16;
    for (size_t l = 0; l < model->config.layers; l++) {
        lilac_state_layer *layer = &state->layers[l];
        LILAC_TRY(pack_layer(context, model, l, bf16, layer));
        LILAC_TRY(model->config.attention == LILAC_TRANSFORMER_LINEAR ? create_linear(context, state, layer)
                                                                      : create_softmax(context, state, layer));
    }
    LILAC_TRY(pack(context, model, model->output_weight, model->O, model->F,
                   bf16 && !lilac_transformer_is_exact(model, model->output_weight), &state->output));
    link_weights(state);
    return pack_adapters(context, bf16, state);
}

/* ---- The state ---- */

void lilac_transformer_state_config_default(lilac_transformer_state_config *config) {
    *config =
        (lilac_transformer_state_config){.batch = 1, .precision = LILAC_PRECISION_F32, .cache = LILAC_PRECISION_F32};
}

static lilac_status check(lilac_context *context, const lilac_transformer *model,
                          const lilac_transformer_state_config *config, lilac_transformer_state **out) {
    if (context == NULL || model == NULL || config == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state: a null pointer");
    }
    if (config->batch == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state: no sequences");
    }
    if (config->length > model->config.length) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state: for %zu tokens, expected at most %zu",
                          config->length, model->config.length);
    }
    if (!lilac_precision_stores(config->precision) || !lilac_precision_stores(config->cache)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "transformer state: no precision number %d",
                          (int)(lilac_precision_stores(config->precision) ? config->cache : config->precision));
    }
    return LILAC_OK;
}

/* On failure what is allocated is left to lilac_transformer_state_destroy. */
static lilac_status fill(lilac_context *context, const lilac_transformer_state_config *config,
                         lilac_transformer_state *state) {
    state->order = lilac_memory_allocate(state->B, sizeof *state->order);
    state->groups = lilac_memory_allocate(state->B, sizeof *state->groups);
    state->layers = lilac_memory_allocate(state->model->config.layers, sizeof *state->layers);
    state->outcomes = lilac_memory_allocate(state->B, sizeof *state->outcomes);
    if (state->order == NULL || state->groups == NULL || state->layers == NULL || state->outcomes == NULL) {
        return lilac_fail_memory(context, "a transformer's state", state->B * sizeof *state->groups);
    }
    group_sequences(config->adapters, state);
    LILAC_TRY(create_layers(context, config->precision, state));
    return lilac_state_activations_create(context, state, state->B, 1, 0, &state->step);
}

lilac_status lilac_transformer_state_create(lilac_context *context, const lilac_transformer *model,
                                            const lilac_transformer_state_config *config,
                                            lilac_transformer_state **out) {
    LILAC_TRY(check(context, model, config, out));
    lilac_transformer_state *state = lilac_memory_allocate(1, sizeof *state);
    if (state == NULL) {
        return lilac_fail_memory(context, "a transformer's state", sizeof *state);
    }
    state->model = model;
    state->B = config->batch;
    state->bf16_cache = model->config.attention == LILAC_TRANSFORMER_SOFTMAX && config->cache == LILAC_PRECISION_BF16;
    state->length = config->length == 0 ? model->config.length : config->length;
    const lilac_status status = fill(context, config, state);
    if (status != LILAC_OK) {
        lilac_transformer_state_destroy(state);
        return status;
    }
    *out = state;
    return LILAC_OK;
}

static void free_layer(lilac_state_layer *layer) {
    lilac_packed_matrix_free(&layer->qkv);
    lilac_packed_matrix_free(&layer->output);
    lilac_packed_matrix_free(&layer->up);
    lilac_packed_matrix_free(&layer->down);
    lilac_linear_attention_state_destroy(layer->linear);
    lilac_softmax_attention_state_destroy(layer->softmax);
}

static void free_group(const lilac_transformer_state *state, lilac_state_group *group) {
    for (size_t l = 0; group->terms != NULL && l < state->model->linear_count; l++) {
        lilac_packed_matrix_free(&group->terms[l].A);
        lilac_packed_matrix_free(&group->terms[l].B);
    }
    lilac_memory_free(group->terms);
}

void lilac_transformer_state_destroy(lilac_transformer_state *state) {
    if (state == NULL) {
        return;
    }
    for (size_t l = 0; state->layers != NULL && l < state->model->config.layers; l++) {
        free_layer(&state->layers[l]);
    }
    for (size_t g = 0; g < state->group_count; g++) {
        free_group(state, &state->groups[g]);
    }
    lilac_packed_matrix_free(&state->output);
    lilac_state_activations_free(&state->step);
    lilac_memory_free(state->outcomes);
    lilac_memory_free(state->layers);
    lilac_memory_free(state->groups);
    lilac_memory_free(state->order);
    lilac_memory_free(state);
}

void lilac_transformer_state_reset(lilac_transformer_state *state) {
    for (size_t l = 0; l < state->model->config.layers; l++) {
        lilac_state_layer *layer = &state->layers[l];
        if (layer->linear != NULL) {
            lilac_linear_attention_state_reset(layer->linear);
        } else {
            lilac_softmax_attention_state_reset(layer->softmax);
        }
    }
    state->position = 0;
}

size_t lilac_transformer_state_position(const lilac_transformer_state *state) {
    return state->position;
}

size_t lilac_transformer_state_bytes(const lilac_transformer_state *state) {
    return lilac_transformer_state_weight_bytes(state) + lilac_transformer_state_attention_bytes(state) +
           state->step.bytes;
}

size_t lilac_transformer_state_attention_bytes(const lilac_transformer_state *state) {
    return state->model->config.layers * state->B * state->attention_floats *
           (state->bf16_cache ? sizeof(uint16_t) : sizeof(float));
}

size_t lilac_transformer_state_weight_bytes(const lilac_transformer_state *state) {
    size_t bytes = lilac_packed_matrix_bytes(&state->output);
    for (size_t l = 0; l < state->model->config.layers; l++) {
        const lilac_state_layer *layer = &state->layers[l];
        bytes += lilac_packed_matrix_bytes(&layer->qkv) + lilac_packed_matrix_bytes(&layer->output) +
                 lilac_packed_matrix_bytes(&layer->up) + lilac_packed_matrix_bytes(&layer->down);
    }
    for (size_t g = 0; g < state->group_count; g++) {
        for (size_t l = 0; state->groups[g].terms != NULL && l < state->model->linear_count; l++) {
            bytes += lilac_packed_matrix_bytes(&state->groups[g].terms[l].A) +
                     lilac_packed_matrix_bytes(&state->groups[g].terms[l].B);
        }
    }
    return bytes;
}
