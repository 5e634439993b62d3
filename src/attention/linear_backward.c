/* SPDX-License-Identifier: MIT */
/*
 * The backward pass of linear attention. The states before all chunks of a head are computed again and kept, then the
 * chunks are taken last to first.
 */
#include "attention/linear.h"

#include "runtime/parallel.h"

#include <string.h>

/* Most chunks whose state gradients are kept at a time when the chunks of a head are shared out. */
enum { WINDOW = 64 };

/* What one worker needs for itself. The last two are not used when chunks are shared out. */
typedef struct worker_memory {
    void *scratch;
    lilac_linear_attention_mapping query, key;
    float *query_gradient, *key_gradient; /* chunk x C, if there is a map to go back through */
    float *states;                        /* transposed; causal: the one before each chunk and the final one */
    float *gradient;                      /* with respect to a state */
} worker_memory;

typedef struct backward_call {
    const lilac_context *context;
    const lilac_linear_attention_plan *plan;
    const lilac_linear_attention_backward_tensors *tensors;
    char *workers;       /* one after another */
    size_t worker_bytes; /* of each */
    float *states;       /* by_chunks: transposed, the one before each chunk and the final one */
    float *gradients;    /* by_chunks: WINDOW + 1 at most */
    /* What the workers share out at the moment, when they share chunks: chunks first .. first + count - 1 of a head. */
    size_t b, h, first, count;
} backward_call;

static worker_memory take_worker(const lilac_linear_attention_plan *plan, lilac_workspace *workspace) {
    worker_memory memory = {NULL};
    memory.scratch = lilac_workspace_take(workspace, 1, plan->kernels->scratch_size(&plan->head));
    memory.query = lilac_linear_attention_take_mapping(plan, workspace);
    memory.key = lilac_linear_attention_take_mapping(plan, workspace);
    if (plan->map != NULL) {
        memory.query_gradient = lilac_workspace_take(workspace, plan->chunk, plan->head.features * sizeof(float));
        memory.key_gradient = lilac_workspace_take(workspace, plan->chunk, plan->head.features * sizeof(float));
    }
    if (!plan->by_chunks) {
        const size_t kept = plan->config->causal ? plan->key_chunks + 1 : 1;
        memory.states = lilac_workspace_take(workspace, kept, plan->state_size * sizeof(float));
        memory.gradient = lilac_workspace_take(workspace, plan->state_size, sizeof(float));
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
        const size_t window = lilac_size_min(plan->query_chunks, WINDOW) + 1;
        call->states = lilac_workspace_take(workspace, plan->key_chunks + 1, plan->state_size * sizeof(float));
        call->gradients = lilac_workspace_take(workspace, window, plan->state_size * sizeof(float));
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
    outputs->denominator = tensors->denominator + (b * plan->config->shape.heads + h) * tokens + first;
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
    call->plan->kernels->state(&call->plan->head, &chunk, true, from, to, memory->scratch);
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

static void load_state(const backward_call *call, const float *user, size_t head, bool transposed, float *state) {
    const lilac_linear_attention_plan *plan = call->plan;
    lilac_linear_attention_load_state(&plan->head, user == NULL ? NULL : user + head * plan->user_size, transposed,
                                      state);
}

static void store_gradient(const backward_call *call, size_t head, const float *gradient) {
    const lilac_linear_attention_plan *plan = call->plan;
    float *user = call->tensors->initial_state_gradient;
    if (user != NULL) {
        lilac_linear_attention_store_state(&plan->head, gradient, user + head * plan->user_size);
    }
}

static void backward_causal_head(const backward_call *call, const worker_memory *memory, size_t b, size_t h) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t size = plan->state_size;
    for (size_t c = 0; c + 1 < plan->key_chunks; c++) {
        add_keys(call, memory, b, h, c, memory->states + c * size, memory->states + (c + 1) * size);
    }
    for (size_t c = plan->key_chunks; c-- > 0;) {
        const bool wanted = c > 0 || call->tensors->initial_state_gradient != NULL;
        const chunk_states states = {memory->states + c * size, memory->gradient, wanted ? memory->gradient : NULL};
        backward_chunk(call, memory, b, h, c, true, true, &states);
    }
}

static void backward_full_head(const backward_call *call, const worker_memory *memory, size_t b, size_t h) {
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t c = 0; c < plan->key_chunks; c++) {
        add_keys(call, memory, b, h, c, memory->states, memory->states);
    }
    const chunk_states states = {memory->states, memory->gradient, memory->gradient};
    for (size_t c = plan->query_chunks; c-- > 0;) {
        backward_chunk(call, memory, b, h, c, true, false, &states);
    }
    const chunk_states final_states = {NULL, memory->gradient, NULL};
    for (size_t c = 0; c < plan->key_chunks; c++) {
        backward_chunk(call, memory, b, h, c, false, true, &final_states);
    }
}

static void backward_heads(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, plan->heads, worker);
        for (size_t head = share.begin; head < share.end; head++) {
            const size_t b = head / plan->config->shape.heads, h = head % plan->config->shape.heads;
            load_state(call, call->tensors->initial_state, head, true, memory.states);
            load_state(call, call->tensors->final_state_gradient, head, false, memory.gradient);
            if (plan->config->causal) {
                backward_causal_head(call, &memory, b, h);
            } else {
                backward_full_head(call, &memory, b, h);
            }
            store_gradient(call, head, memory.gradient);
        }
    }
}

/* What each chunk of keys adds to the state goes to states[c + 1]. */
static void sum_keys(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, plan->key_chunks, worker);
        for (size_t c = share.begin; c < share.end; c++) {
            add_keys(call, &memory, call->b, call->h, c, NULL, call->states + (c + 1) * plan->state_size);
        }
    }
}

/* states[c + 1] += states[c], one after another: each worker does this for some of the numbers in a state. */
static void add_up_states(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const size_t size = call->plan->state_size;
    for (size_t worker = begin; worker < end; worker++) {
        const lilac_linear_attention_range share = lilac_linear_attention_share(call->plan, size, worker);
        for (size_t c = 0; c < call->plan->key_chunks; c++) {
            const float *before = call->states + c * size;
            float *after = call->states + (c + 1) * size;
            for (size_t e = share.begin; e < share.end; e++) {
                after[e] = before[e] + after[e];
            }
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
            const chunk_states states = {call->states + c * plan->state_size,
                                         call->gradients + (i + 1) * plan->state_size, NULL};
            backward_chunk(call, &memory, call->b, call->h, c, true, true, &states);
        }
    }
}

/* Once the state of all keys and its gradient are known. */
static void backward_full_chunks(void *argument, size_t begin, size_t end) {
    const backward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    const chunk_states states = {call->states + plan->key_chunks * plan->state_size, call->gradients, NULL};
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

/* One head by all workers. Windows are taken last to first; gradients[count] is carried into the next. */
static void share_head(backward_call *call, size_t head) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t size = plan->state_size;
    call->b = head / plan->config->shape.heads;
    call->h = head % plan->config->shape.heads;
    load_state(call, call->tensors->initial_state, head, true, call->states);
    load_state(call, call->tensors->final_state_gradient, head, false, call->gradients);
    run(call, sum_keys);
    run(call, add_up_states);
    for (size_t left = plan->query_chunks; left > 0; left -= call->count) {
        call->count = lilac_size_min(left, WINDOW);
        call->first = left - call->count;
        memcpy(call->gradients + call->count * size, call->gradients, size * sizeof(float));
        run(call, sum_window_queries);
        run(call, add_up_gradients);
        if (plan->config->causal) {
            run(call, backward_causal_window);
        }
    }
    if (!plan->config->causal) {
        run(call, backward_full_chunks);
    }
    store_gradient(call, head, call->gradients);
}

lilac_status lilac_linear_attention_backward_workspace_size(lilac_context *context,
                                                            const lilac_linear_attention_config *config,
                                                            size_t *bytes) {
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    if (bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention workspace size: bytes is NULL");
    }
    backward_call call = {.plan = &plan};
    lilac_workspace workspace = lilac_workspace_over(NULL);
    take_call(&call, &workspace);
    return lilac_workspace_measured(context, &workspace, bytes);
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
    if (tensors->denominator == NULL && plan->heads > 0 && shape->queries > 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "denominator: is NULL");
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
    LILAC_TRY(lilac_linear_attention_backward_workspace_size(context, config, &needed));
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
