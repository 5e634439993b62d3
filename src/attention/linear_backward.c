/* SPDX-License-Identifier: MIT */
/*
 * The backward pass of linear attention. Segments of a causal sequence are taken last to first: the states before a
 * segment's chunks are computed again from the one that the forward pass saved, then its chunks are taken last to
 * first.
 */
#include "attention/linear.h"

#include "runtime/parallel.h"

#include <string.h>

/* Most chunks whose state gradients are kept at a time when the chunks of a head are shared out. */
enum { WINDOW = 64 }; /* a multiple of a segment's chunks */

/* Bytes of a short row. */
enum { SHORT_ROW = 4 * LILAC_ALIGNMENT };

/* What one worker needs for itself. The last two are not used when chunks are shared out. */
typedef struct worker_memory {
    void *scratch;
    lilac_linear_attention_mapping query, key;
    float *query_gradient, *key_gradient; /* chunk x C, if there is a map to go back through */
    float *states;    /* transposed, for each head of a group: those before the chunks of a segment, or the final one */
    float *gradients; /* with respect to a state, for each head of a group */
} worker_memory;

typedef struct backward_call {
    const lilac_context *context;
    const lilac_linear_attention_plan *plan;
    const lilac_linear_attention_backward_tensors *tensors;
    char *workers;       /* one after another */
    size_t worker_bytes; /* of each */
    float *states;       /* by_chunks: transposed, those before the chunks of a window, or the final one */
    float *gradients;    /* by_chunks: WINDOW + 1 at most */
    /* What the workers share out at the moment, when they share chunks: chunks first .. first + count - 1 of a head. */
    size_t b, h, first, count;
} backward_call;

/* The states a worker keeps of each head. */
static size_t states_of_head(const lilac_linear_attention_plan *plan) {
    return plan->config->causal ? lilac_size_min(plan->query_chunks, plan->segment_chunks) : 1;
}

static worker_memory take_worker(const lilac_linear_attention_plan *plan, lilac_workspace *workspace) {
    worker_memory memory = {0};
    memory.scratch = lilac_workspace_take(workspace, 1, plan->kernels->scratch_size(&plan->head));
    memory.query = lilac_linear_attention_take_mapping(plan, workspace);
    memory.key = lilac_linear_attention_take_mapping(plan, workspace);
    if (plan->map != NULL) {
        memory.query_gradient = lilac_workspace_take(workspace, plan->chunk, plan->head.features * sizeof(float));
        memory.key_gradient = lilac_workspace_take(workspace, plan->chunk, plan->head.features * sizeof(float));
    }
    if (!plan->by_chunks) {
        const size_t group = plan->backward_group;
        memory.states = lilac_workspace_take(workspace, group * states_of_head(plan), plan->state_size * sizeof(float));
        memory.gradients = lilac_workspace_take(workspace, group, plan->state_size * sizeof(float));
    }
    return memory;
}

static worker_memory memory_of(const backward_call *call, size_t worker) {
    lilac_workspace workspace = lilac_workspace_over(call->workers + worker * call->worker_bytes);
    return take_worker(call->plan, &workspace);
}

/* Measures the workspace, or cuts it up. */
static void take_call(backward_call *call, lilac_workspace *workspace) {
    const lilac_linear_attention_plan *plan = call->plan;
    lilac_workspace worker = lilac_workspace_over(NULL);
    take_worker(plan, &worker);
    call->worker_bytes = worker.used;
    call->workers = lilac_workspace_take(workspace, plan->workers, call->worker_bytes);
    if (plan->by_chunks) {
        const size_t window = lilac_size_min(plan->query_chunks, WINDOW);
        const size_t kept = plan->config->causal ? window : 1;
        call->states = lilac_workspace_take(workspace, kept, plan->state_size * sizeof(float));
        call->gradients = lilac_workspace_take(workspace, window + 1, plan->state_size * sizeof(float));
    }
}

/* The queries of chunk c and what belongs to them. */
static void place_queries(const backward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                          lilac_linear_attention_chunk *chunk, lilac_linear_attention_output_gradients *outputs) {
    const lilac_linear_attention_plan *plan = call->plan;
    const lilac_linear_attention_backward_tensors *tensors = call->tensors;
    const size_t first = c * plan->chunk, tokens = plan->config->shape.queries;
    chunk->queries = lilac_linear_attention_rows_below(plan, tokens, first);
    chunk->query = lilac_linear_attention_map_rows(plan, &tensors->query, b, h, first, chunk->queries, &memory->query);
    outputs->out = lilac_linear_attention_rows_of(&tensors->output, b, h, first);
    outputs->gradient = lilac_linear_attention_rows_of(&tensors->output_gradient, b, h, first);
    const size_t head = b * plan->config->shape.heads + h;
    outputs->denominator = tensors->saved + lilac_linear_attention_saved_denominators(plan, head) + first;
}

/* The unmasked keys of chunk c and their values. */
static void place_keys(const backward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                       lilac_linear_attention_chunk *chunk) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t first = c * plan->chunk;
    chunk->keys = lilac_linear_attention_rows_below(plan, lilac_linear_attention_keys(plan, b), first);
    chunk->key = lilac_linear_attention_map_rows(plan, &call->tensors->key, b, h, first, chunk->keys, &memory->key);
    chunk->value = lilac_linear_attention_rows_of(&call->tensors->value, b, h, first);
}

/* to = from + what the keys of chunk c contribute to the state. */
static void add_keys(const backward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                     const float *from, float *to) {
    lilac_linear_attention_chunk chunk = {.causal = false};
    place_keys(call, memory, b, h, c, &chunk);
    const size_t next = (c + 1) * call->plan->chunk;
    chunk.ahead_rows = lilac_linear_attention_rows_below(call->plan, call->plan->config->shape.keys, next);
    if (chunk.ahead_rows > 0) {
        const size_t D = call->plan->config->shape.key_size, M = call->plan->head.values;
        chunk.ahead[0] = lilac_linear_attention_ahead_of(&call->tensors->key, b, h, next, D);
        chunk.ahead[1] = lilac_linear_attention_ahead_of(&call->tensors->value, b, h, next, M);
    }
    call->plan->kernels->state(&call->plan->head, &chunk, true, from, to, memory->scratch);
}

/*
 * Rows of gradients: only short ones gain by being fetched before they are written, those of 64 floats by a tenth of
 * the pass's time (Intel Xeon, Sapphire Rapids kind); longer ones the processor sees coming by itself.
 */
static void look_back_at_written(const lilac_attention_output *output, size_t b, size_t h, size_t next, size_t size,
                                 lilac_linear_attention_ahead **ahead) {
    if (size * sizeof(float) <= SHORT_ROW) {
        *(*ahead)++ = lilac_linear_attention_written_ahead(output, b, h, next, size);
    }
}

/* What the chunk of tokens before `first` is made of. */
static void look_back(const backward_call *call, size_t b, size_t h, size_t first,
                      lilac_linear_attention_chunk *chunk) {
    const lilac_linear_attention_plan *plan = call->plan;
    const lilac_linear_attention_backward_tensors *tensors = call->tensors;
    const size_t D = plan->config->shape.key_size, M = plan->head.values;
    if (first < plan->chunk) {
        return;
    }
    const size_t next = first - plan->chunk;
    chunk->ahead_rows = plan->chunk;
    lilac_linear_attention_ahead *ahead = chunk->ahead;
    if (chunk->queries > 0) {
        *ahead++ = lilac_linear_attention_ahead_of(&tensors->query, b, h, next, D);
        *ahead++ = lilac_linear_attention_ahead_of(&tensors->output, b, h, next, M);
        *ahead++ = lilac_linear_attention_ahead_of(&tensors->output_gradient, b, h, next, M);
        look_back_at_written(&tensors->query_gradient, b, h, next, D, &ahead);
    }
    if (chunk->keys > 0) {
        *ahead++ = lilac_linear_attention_ahead_of(&tensors->key, b, h, next, D);
        *ahead++ = lilac_linear_attention_ahead_of(&tensors->value, b, h, next, M);
        look_back_at_written(&tensors->key_gradient, b, h, next, D, &ahead);
        look_back_at_written(&tensors->value_gradient, b, h, next, M, &ahead);
    }
}

/* Where the kernel writes the gradients of the rows of a chunk, and the way from there back through the map. */
static void place_gradient(const lilac_linear_attention_plan *plan, float *features,
                           const lilac_attention_output *output, size_t b, size_t h, size_t first, float **to,
                           size_t *stride) {
    *to = plan->map != NULL ? features : lilac_attention_output_row(output, b, first, h);
    *stride = plan->map != NULL ? plan->head.features : output->token_stride;
}

static void zero_rows(const lilac_attention_output *output, size_t b, size_t h, size_t first, size_t count,
                      size_t size) {
    for (size_t i = 0; i < count; i++) {
        memset(lilac_attention_output_row(output, b, first + i, h), 0, size * sizeof(float));
    }
}

/*
 * The gradients of chunk c's queries (if with_queries) and keys (if with_keys), and of the state before it unless
 * previous is NULL. `state` is the one before the chunk, `gradient` that of the state after it.
 */
typedef struct chunk_states {
    const float *state, *gradient;
    float *previous;
} chunk_states;

static void backward_chunk(const backward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                           bool with_queries, bool with_keys, const chunk_states *states) {
    const lilac_linear_attention_plan *plan = call->plan;
    const lilac_linear_attention_backward_tensors *tensors = call->tensors;
    const size_t first = c * plan->chunk, size = plan->config->shape.key_size;
    lilac_linear_attention_chunk chunk = {.causal = with_queries && with_keys};
    lilac_linear_attention_output_gradients outputs = {.denominator = NULL};
    lilac_linear_attention_gradients gradients = {.query = NULL};
    if (with_queries) {
        place_queries(call, memory, b, h, c, &chunk, &outputs);
        place_gradient(plan, memory->query_gradient, &tensors->query_gradient, b, h, first, &gradients.query,
                       &gradients.query_stride);
    }
    if (with_keys) {
        place_keys(call, memory, b, h, c, &chunk);
        place_gradient(plan, memory->key_gradient, &tensors->key_gradient, b, h, first, &gradients.key,
                       &gradients.key_stride);
        gradients.value = lilac_attention_output_row(&tensors->value_gradient, b, first, h);
        gradients.value_stride = tensors->value_gradient.token_stride;
    }
    look_back(call, b, h, first, &chunk);
    plan->kernels->backward(&plan->head, &chunk, &outputs, states->state, states->gradient, states->previous,
                            &gradients, memory->scratch);
    lilac_linear_attention_unmap_gradient(plan, &tensors->query, b, h, first, chunk.queries, &memory->query,
                                          memory->query_gradient, &tensors->query_gradient);
    lilac_linear_attention_unmap_gradient(plan, &tensors->key, b, h, first, chunk.keys, &memory->key,
                                          memory->key_gradient, &tensors->key_gradient);
    if (with_keys) {
        const size_t rows = lilac_linear_attention_rows_below(plan, plan->config->shape.keys, first);
        zero_rows(&tensors->key_gradient, b, h, first + chunk.keys, rows - chunk.keys, size);
        zero_rows(&tensors->value_gradient, b, h, first + chunk.keys, rows - chunk.keys, plan->head.values);
    }
}

static void load_gradient(const backward_call *call, size_t head, float *gradient) {
    const lilac_linear_attention_plan *plan = call->plan;
    const float *user = call->tensors->final_state_gradient;
    lilac_linear_attention_load_state(&plan->head, user == NULL ? NULL : user + head * plan->user_size, false,
                                      gradient);
}

static void store_gradient(const backward_call *call, size_t head, const float *gradient) {
    const lilac_linear_attention_plan *plan = call->plan;
    float *user = call->tensors->initial_state_gradient;
    if (user != NULL) {
        lilac_linear_attention_store_state(&plan->head, gradient, user + head * plan->user_size);
    }
}

static void load_saved(const backward_call *call, size_t head, size_t segment, float *state) {
    const lilac_linear_attention_plan *plan = call->plan;
    lilac_linear_attention_load_state(
        &plan->head, call->tensors->saved + lilac_linear_attention_saved_state(plan, head, segment), true, state);
}

/* The chunks of a segment. */
static lilac_linear_attention_range segment_chunks(const lilac_linear_attention_plan *plan, size_t segment) {
    const size_t begin = segment * plan->segment_chunks;
    return (lilac_linear_attention_range){begin, lilac_size_min(begin + plan->segment_chunks, plan->query_chunks)};
}

/* The states before the chunks of a segment, one after another. */
static void restore_states(const backward_call *call, const worker_memory *memory, size_t head, size_t segment,
                           float *states) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t b = head / plan->config->shape.heads, h = head % plan->config->shape.heads, size = plan->state_size;
    const lilac_linear_attention_range chunks = segment_chunks(plan, segment);
    load_saved(call, head, segment, states);
    for (size_t c = chunks.begin; c + 1 < chunks.end; c++) {
        float *state = states + (c - chunks.begin) * size;
        add_keys(call, memory, b, h, c, state, state + size);
    }
}

/* Some heads of one sequence, from number `head` on, the heads taking turns. */
static void backward_causal_group(const backward_call *call, const worker_memory *memory, size_t head, size_t count) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t b = head / plan->config->shape.heads, h = head % plan->config->shape.heads;
    const size_t size = plan->state_size, states_size = states_of_head(plan) * size;
    for (size_t segment = plan->segments; segment-- > 0;) {
        const lilac_linear_attention_range chunks = segment_chunks(plan, segment);
        for (size_t i = 0; i < count; i++) {
            restore_states(call, memory, head + i, segment, memory->states + i * states_size);
        }
        for (size_t c = chunks.end; c-- > chunks.begin;) {
            const bool wanted = c > 0 || call->tensors->initial_state_gradient != NULL;
            for (size_t i = 0; i < count; i++) {
                float *gradient = memory->gradients + i * size;
                const chunk_states states = {memory->states + i * states_size + (c - chunks.begin) * size, gradient,
                                             wanted ? gradient : NULL};
                backward_chunk(call, memory, b, h + i, c, true, true, &states);
            }
        }
    }
}

static void backward_full_group(const backward_call *call, const worker_memory *memory, size_t head, size_t count) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t b = head / plan->config->shape.heads, h = head % plan->config->shape.heads, size = plan->state_size;
    for (size_t i = 0; i < count; i++) {
        load_saved(call, head + i, 0, memory->states + i * size);
    }
    for (size_t c = plan->query_chunks; c-- > 0;) {
        for (size_t i = 0; i < count; i++) {
            float *gradient = memory->gradients + i * size;
            const chunk_states states = {memory->states + i * size, gradient, gradient};
            backward_chunk(call, memory, b, h + i, c, true, false, &states);
        }
    }
    for (size_t c = plan->key_chunks; c-- > 0;) {
        for (size_t i = 0; i < count; i++) {
            const chunk_states states = {NULL, memory->gradients + i * size, NULL};
            backward_chunk(call, memory, b, h + i, c, false, true, &states);
        }
    }
}

static void backward_heads(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, plan->heads, worker);
        for (size_t head = share.begin; head < share.end;) {
            const size_t count = lilac_linear_attention_group(plan, plan->backward_group, head, share.end);
            for (size_t i = 0; i < count; i++) {
                load_gradient(call, head + i, memory.gradients + i * plan->state_size);
            }
            if (plan->config->causal) {
                backward_causal_group(call, &memory, head, count);
            } else {
                backward_full_group(call, &memory, head, count);
            }
            for (size_t i = 0; i < count; i++) {
                store_gradient(call, head + i, memory.gradients + i * plan->state_size);
            }
            head += count;
        }
    }
}

/* The states before the chunks of the window: a segment's by one worker. */
static void restore_window(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t first = call->first / plan->segment_chunks;
    const size_t segments = (call->count + plan->segment_chunks - 1) / plan->segment_chunks;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, segments, worker);
        for (size_t i = share.begin; i < share.end; i++) {
            restore_states(call, &memory, call->b * plan->config->shape.heads + call->h, first + i,
                           call->states + i * plan->segment_chunks * plan->state_size);
        }
    }
}

/* What each chunk of queries in the window adds to the state's gradient goes to gradients[its number in the window]. */
static void sum_window_queries(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, call->count, worker);
        for (size_t i = share.begin; i < share.end; i++) {
            lilac_linear_attention_chunk chunk = {.causal = false};
            lilac_linear_attention_output_gradients outputs = {.denominator = NULL};
            place_queries(call, &memory, call->b, call->h, call->first + i, &chunk, &outputs);
            plan->kernels->state_gradient(&plan->head, &chunk, &outputs, NULL, call->gradients + i * plan->state_size,
                                          memory.scratch);
        }
    }
}

/* gradients[i] += gradients[i + 1], last to first. */
static void add_up_gradients(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const size_t size = call->plan->state_size;
    for (size_t worker = begin; worker < end; worker++) {
        const lilac_linear_attention_range share = lilac_linear_attention_share(call->plan, size, worker);
        for (size_t i = call->count; i-- > 0;) {
            const float *after = call->gradients + (i + 1) * size;
            float *before = call->gradients + i * size;
            for (size_t e = share.begin; e < share.end; e++) {
                before[e] = after[e] + before[e];
            }
        }
    }
}

static void backward_causal_window(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, call->count, worker);
        for (size_t i = share.begin; i < share.end; i++) {
            const size_t c = call->first + i;
            const chunk_states states = {call->states + i * plan->state_size,
                                         call->gradients + (i + 1) * plan->state_size, NULL};
            backward_chunk(call, &memory, call->b, call->h, c, true, true, &states);
        }
    }
}

/* Once the state of all keys and its gradient are known. */
static void backward_full_chunks(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    const chunk_states states = {call->states, call->gradients, NULL};
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        lilac_linear_attention_range share = lilac_linear_attention_share(plan, plan->query_chunks, worker);
        for (size_t c = share.begin; c < share.end; c++) {
            backward_chunk(call, &memory, call->b, call->h, c, true, false, &states);
        }
        share = lilac_linear_attention_share(plan, plan->key_chunks, worker);
        for (size_t c = share.begin; c < share.end; c++) {
            backward_chunk(call, &memory, call->b, call->h, c, false, true, &states);
        }
    }
}

static void run(backward_call *call, lilac_parallel_body *body) {
    lilac_parallel_for(call->context, call->plan->workers, 1, body, call);
}

/*
 * One head by all workers. Windows are taken last to first and start where segments do; gradients[0] is carried on, to
 * gradients[count] of the next.
 */
static void share_head(backward_call *call, size_t head) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t size = plan->state_size;
    call->b = head / plan->config->shape.heads;
    call->h = head % plan->config->shape.heads;
    load_gradient(call, head, call->gradients);
    if (!plan->config->causal) {
        load_saved(call, head, 0, call->states);
    }
    for (size_t left = plan->query_chunks; left > 0; left = call->first) {
        call->first = (left - 1) / WINDOW * WINDOW;
        call->count = left - call->first;
        memcpy(call->gradients + call->count * size, call->gradients, size * sizeof(float));
        run(call, sum_window_queries);
        run(call, add_up_gradients);
        if (plan->config->causal) {
            run(call, restore_window);
            run(call, backward_causal_window);
        }
    }
    if (!plan->config->causal) {
        run(call, backward_full_chunks);
    }
    store_gradient(call, head, call->gradients);
}

static lilac_status measure(lilac_context *context, const lilac_linear_attention_plan *plan, size_t *bytes) {
    backward_call call = {.plan = plan};
    lilac_workspace workspace = lilac_workspace_over(NULL);
    take_call(&call, &workspace);
    return lilac_workspace_measured(context, &workspace, bytes);
}

lilac_status lilac_linear_attention_backward_workspace_size(lilac_context *context,
                                                            const lilac_linear_attention_config *config,
                                                            size_t *bytes) {
    return lilac_linear_attention_workspace_size(context, config, measure, bytes);
}

static lilac_status check_tensors(lilac_context *context, const lilac_linear_attention_plan *plan,
                                  const lilac_linear_attention_backward_tensors *tensors) {
    const lilac_attention_shape *shape = &plan->config->shape;
    const size_t D = shape->key_size, M = shape->value_size;
    if (plan->map != NULL && plan->map->backward == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: the feature map has no backward function");
    }
    if (tensors == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: tensors is NULL");
    }
    if (tensors->output.dtype != LILAC_ATTENTION_F32) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "output: expected floats, got dtype %d",
                          (int)tensors->output.dtype);
    }
    if (tensors->saved == NULL && plan->heads * plan->segments > 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: what the forward pass saved is NULL");
    }
    LILAC_TRY(lilac_attention_check_input(context, "query", &tensors->query, shape, shape->queries, D));
    LILAC_TRY(lilac_attention_check_input(context, "key", &tensors->key, shape, shape->keys, D));
    LILAC_TRY(lilac_attention_check_input(context, "value", &tensors->value, shape, shape->keys, M));
    LILAC_TRY(lilac_attention_check_input(context, "output", &tensors->output, shape, shape->queries, M));
    LILAC_TRY(
        lilac_attention_check_input(context, "output gradient", &tensors->output_gradient, shape, shape->queries, M));
    LILAC_TRY(
        lilac_attention_check_output(context, "query gradient", &tensors->query_gradient, shape, shape->queries, D));
    LILAC_TRY(lilac_attention_check_output(context, "key gradient", &tensors->key_gradient, shape, shape->keys, D));
    return lilac_attention_check_output(context, "value gradient", &tensors->value_gradient, shape, shape->keys, M);
}

lilac_status lilac_linear_attention_backward(lilac_context *context, const lilac_linear_attention_config *config,
                                             const lilac_linear_attention_backward_tensors *tensors, void *workspace,
                                             size_t workspace_bytes) {
    size_t needed;
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    LILAC_TRY(measure(context, &plan, &needed));
    LILAC_TRY(check_tensors(context, &plan, tensors));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    backward_call call = {.context = context, .plan = &plan, .tensors = tensors};
    lilac_workspace pieces = lilac_workspace_over(workspace);
    take_call(&call, &pieces);
    if (!plan.by_chunks) {
        run(&call, backward_heads);
        return LILAC_OK;
    }
    for (size_t head = 0; head < plan.heads; head++) {
        share_head(&call, head);
    }
    return LILAC_OK;
}
