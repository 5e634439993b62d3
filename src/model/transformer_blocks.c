/* SPDX-License-Identifier: MIT */
/*
 * A transformer's state takes in tokens: one of each sequence, or prompts by the parallel form. Here the sequences are
 * shared out. With enough of them each thread takes some through all layers by itself, so that their activations stay
 * in its cache and no thread waits for another; few are taken in together, by threads that share each product. What a
 * sequence gives is the same bytes either way.
 */
#include "core/memory.h"
#include "model/transformer_attention.h"
#include "model/transformer_step.h"
#include "nn/embedding.h"
#include "runtime/parallel.h"

#include <stdatomic.h>

enum {
    /* Rows that a thread takes through all layers: enough to be worth reading the weights once more, few enough for
     * their activations to stay in the second-level cache. */
    LEAST_ROWS = 16,
    MOST_ROWS = 96,
    /* The same for prompts, whose parts have up to PROMPT_ROWS rows; whole multiples of what the attention takes. */
    PROMPT_ROWS = 144,
    PROMPT_ROUND = 16,
    /* Tokens of a prompt that all sequences take in before the next: bounds the memory for their positions. */
    PROMPT_TOKENS = 1024
};

static size_t ceiling(size_t a, size_t b) {
    return (a + b - 1) / b;
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

static void set_positions(const lilac_transformer_state *state, size_t n, float *positions) {
    const size_t P = state->model->config.position_width;
    lilac_sinusoidal_positions(state->position, n, P, positions, P);
}

/* The status of what `count` outcomes are of, which ran on `threads` threads side by side. */
static lilac_status collect(lilac_context *context, lilac_transformer_state *state, size_t count, size_t threads) {
    for (size_t i = 0; i < count; i++) {
        const lilac_state_outcome *outcome = &state->outcomes[i];
        if (outcome->status != LILAC_OK) {
            return lilac_fail(context, outcome->status, "transformer state: %s", lilac_status_string(outcome->status));
        }
        state->projections += outcome->projections / (double)threads;
        state->attention_time += outcome->attention / (double)threads;
    }
    return LILAC_OK;
}

/* ---- Steps ---- */

typedef struct step_call {
    lilac_context *context;
    lilac_transformer_state *state;
    const uint8_t *tokens;
    size_t stride;
    float *outputs;
    size_t rows; /* of a block */
} step_call;

static void take_in_blocks(void *argument, size_t begin, size_t end) {
    const step_call *call = argument;
    lilac_transformer_state *state = call->state;
    for (size_t block = begin; block < end; block++) {
        const size_t first = block * call->rows;
        lilac_context own = lilac_context_for_one_thread(call->context);
        lilac_state_part part = {.context = &own,
                                 .state = state,
                                 .a = lilac_state_activations_from(state, first),
                                 .first = first,
                                 .count = lilac_size_min(call->rows, state->B - first),
                                 .n = 1};
        part.spent.status = lilac_state_take_in(&part, call->tokens, call->stride, call->outputs);
        state->outcomes[block] = part.spent;
    }
}

/* One token of all sequences. */
static lilac_status take_in_one(lilac_context *context, lilac_transformer_state *state, const uint8_t *tokens,
                                size_t stride, float *outputs) {
    const size_t threads = (size_t)context->config.threads;
    set_positions(state, 1, state->step.positions);
    if (threads > 1 && state->B < threads * LEAST_ROWS) {
        lilac_state_part all = {.context = context, .state = state, .a = state->step, .count = state->B, .n = 1};
        LILAC_TRY(lilac_state_take_in(&all, tokens, stride, outputs));
        state->outcomes[0] = all.spent;
        LILAC_TRY(collect(context, state, 1, 1));
    } else {
        const size_t blocks = threads * ceiling(state->B, threads * MOST_ROWS);
        step_call call = {.context = context,
                          .state = state,
                          .tokens = tokens,
                          .stride = stride,
                          .outputs = outputs,
                          .rows = ceiling(state->B, blocks)};
        const size_t count = ceiling(state->B, call.rows);
        lilac_parallel_tasks(context, count, take_in_blocks, &call);
        LILAC_TRY(collect(context, state, count, lilac_size_min(count, threads)));
    }
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

/* n tokens of all sequences. A part of them, `each` sequences, goes through all layers `segment` tokens at a time. */
typedef struct prompt_call {
    lilac_context *context;
    lilac_transformer_state *state;
    const uint8_t *tokens;
    size_t stride;
    float *outputs;
    size_t n, segment, each;
    float *positions;
    atomic_size_t next;                   /* part that nobody works on yet */
    size_t end;                           /* behind the last part to be taken in */
    lilac_state_activations *activations; /* of each worker */
} prompt_call;

static lilac_status take_in_part(const prompt_call *call, lilac_context *context, size_t index,
                                 const lilac_state_activations *activations, lilac_state_outcome *spent) {
    lilac_transformer_state *state = call->state;
    const size_t P = state->model->config.position_width, first = index * call->each;
    for (size_t done = 0; done < call->n; done += call->segment) {
        const size_t n = lilac_size_min(call->segment, call->n - done);
        lilac_state_part part = {.context = context,
                                 .state = state,
                                 .a = *activations,
                                 .first = first,
                                 .count = lilac_size_min(call->each, state->B - first),
                                 .n = n,
                                 .spent = *spent};
        part.a.positions = call->positions + done * P;
        LILAC_TRY(
            lilac_state_take_in(&part, call->tokens + done, call->stride, done + n == call->n ? call->outputs : NULL));
        *spent = part.spent;
    }
    return LILAC_OK;
}

/* Each worker takes parts until there are no more. */
static void take_in_parts(prompt_call *call, lilac_context *context, size_t worker) {
    lilac_state_outcome spent = {.status = LILAC_OK};
    while (spent.status == LILAC_OK) {
        const size_t index = atomic_fetch_add(&call->next, 1);
        if (index >= call->end) {
            break;
        }
        spent.status = take_in_part(call, context, index, &call->activations[worker], &spent);
    }
    call->state->outcomes[worker] = spent;
}

static void work_alone(void *argument, size_t begin, size_t end) {
    prompt_call *call = argument;
    for (size_t worker = begin; worker < end; worker++) {
        lilac_context own = lilac_context_for_one_thread(call->context);
        take_in_parts(call, &own, worker);
    }
}

static lilac_status attention_workspace(lilac_context *context, const prompt_call *call, size_t *bytes) {
    const lilac_transformer_state *state = call->state;
    if (state->layers[0].softmax != NULL) {
        return lilac_softmax_attention_extend_workspace_size(context, state->layers[0].softmax, bytes);
    }
    const lilac_linear_attention_config config =
        lilac_transformer_linear_attention(state->model, call->each, call->segment, true);
    return lilac_linear_attention_forward_workspace_size(context, &config, bytes);
}

/* Activations for `workers` workers, whose contexts are like that one. */
static lilac_status create_activations(lilac_context *context, prompt_call *call, size_t workers) {
    size_t bytes = 0;
    LILAC_TRY(attention_workspace(context, call, &bytes));
    for (size_t worker = 0; worker < workers; worker++) {
        LILAC_TRY(lilac_state_activations_create(context, call->state, call->each, call->segment, bytes,
                                                 &call->activations[worker]));
    }
    return LILAC_OK;
}

static void free_activations(prompt_call *call, size_t workers) {
    for (size_t worker = 0; worker < workers; worker++) {
        lilac_state_activations_free(&call->activations[worker]);
    }
}

/* Takes in the parts from call->next to call->end: each worker by itself some, or with one worker all threads each. */
static lilac_status run_workers(lilac_context *context, prompt_call *call, size_t workers) {
    lilac_context alone = lilac_context_for_one_thread(context);
    lilac_status status = create_activations(workers > 1 ? &alone : context, call, workers);
    if (status == LILAC_OK) {
        if (workers > 1) {
            lilac_parallel_for(context, workers, 1, work_alone, call);
        } else {
            take_in_parts(call, context, 0);
        }
        status = collect(context, call->state, workers, workers);
    }
    free_activations(call, workers);
    return status;
}

/* n > 1 tokens of all sequences, at most PROMPT_TOKENS. */
static lilac_status run_prompt(lilac_context *context, prompt_call *call) {
    const size_t B = call->state->B, n = call->n, threads = (size_t)context->config.threads;
    call->segment = lilac_size_min(n, lilac_round_up(ceiling(n, ceiling(n, PROMPT_ROWS)), PROMPT_ROUND));
    call->each = lilac_size_min(lilac_size_max(PROMPT_ROWS / n, 1), B);
    const size_t parts = ceiling(B, call->each), shared = parts % threads;
    atomic_init(&call->next, 0);
    if (parts > shared) {
        call->end = parts - shared;
        LILAC_TRY(run_workers(context, call, threads));
        atomic_store(&call->next, call->end);
    }
    call->end = parts;
    return shared > 0 ? run_workers(context, call, 1) : LILAC_OK;
}

static lilac_status take_in_parallel(lilac_context *context, lilac_transformer_state *state, size_t n,
                                     const uint8_t *tokens, size_t stride, float *outputs) {
    const size_t P = state->model->config.position_width;
    float *positions = lilac_memory_allocate(n * P, sizeof *positions);
    prompt_call call = {.context = context,
                        .state = state,
                        .tokens = tokens,
                        .stride = stride,
                        .outputs = outputs,
                        .n = n,
                        .positions = positions};
    call.activations = lilac_memory_allocate((size_t)context->config.threads, sizeof *call.activations);
    lilac_status status = LILAC_OK;
    if (positions == NULL || call.activations == NULL) {
        status = lilac_fail_memory(context, "the positions of a prompt", n * P * sizeof *positions);
    } else {
        set_positions(state, n, positions);
        status = run_prompt(context, &call);
    }
    lilac_memory_free(call.activations);
    lilac_memory_free(positions);
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
        const size_t more = lilac_size_min(n - done, PROMPT_TOKENS);
        float *last = done + more == n ? outputs : NULL;
        LILAC_TRY(more == 1 ? take_in_one(context, state, tokens + done, stride, last)
                            : take_in_parallel(context, state, more, tokens + done, stride, last));
        done += more;
    }
    return LILAC_OK;
}
