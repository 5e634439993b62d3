/* SPDX-License-Identifier: MIT */
/* The forward pass of linear attention: walks the kernels over the chunks of all heads. */
#include "attention/linear.h"

#include "runtime/parallel.h"

#include <string.h>

/* Most chunks whose states are kept at a time when the chunks of a head are shared out: bounds the memory. */
enum { WINDOW = 64 };

/* What one worker needs for itself. */
typedef struct worker_memory {
    void *scratch;
    float *states; /* padded, of the heads of a group; not used when chunks are shared out */
    lilac_linear_attention_mapping query, key;
} worker_memory;

typedef struct forward_call {
    const lilac_context *context;
    const lilac_linear_attention_plan *plan;
    const lilac_linear_attention_forward_tensors *tensors;
    bool bf16;           /* the kernels get nothing else */
    char *workers;       /* one after another */
    size_t worker_bytes; /* of each */
    float *states;       /* by_chunks: WINDOW + 1 padded states at most */
    /* What the workers share out at the moment, when they share chunks: chunks first .. first + count - 1 of a head. */
    size_t b, h, first, count;
} forward_call;

static worker_memory take_worker(const lilac_linear_attention_plan *plan, lilac_workspace *workspace) {
    worker_memory memory = {0};
    memory.scratch = lilac_workspace_take(workspace, 1, plan->kernels->scratch_size(&plan->head));
    if (!plan->by_chunks) {
        memory.states = lilac_workspace_take(workspace, plan->forward_group, plan->state_size * sizeof(float));
    }
    memory.query = lilac_linear_attention_take_mapping(plan, workspace);
    memory.key = lilac_linear_attention_take_mapping(plan, workspace);
    return memory;
}

static worker_memory memory_of(const forward_call *call, size_t worker) {
    lilac_workspace workspace = lilac_workspace_over(call->workers + worker * call->worker_bytes);
    return take_worker(call->plan, &workspace);
}

/* Measures the workspace, or cuts it up. */
static void take_call(forward_call *call, lilac_workspace *workspace) {
    const lilac_linear_attention_plan *plan = call->plan;
    lilac_workspace worker = lilac_workspace_over(NULL);
    take_worker(plan, &worker);
    call->worker_bytes = worker.used;
    call->workers = lilac_workspace_take(workspace, plan->workers, call->worker_bytes);
    if (plan->by_chunks) {
        const size_t kept = lilac_size_min(plan->key_chunks, WINDOW) + 1;
        call->states = lilac_workspace_take(workspace, kept, plan->state_size * sizeof(float));
    }
}

/* to = from + what the keys of chunk c contribute. */
static void add_keys(const forward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                     const float *from, float *to) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t first = c * plan->chunk;
    const size_t keys = lilac_linear_attention_rows_below(plan, lilac_linear_attention_keys(plan, b), first);
    lilac_linear_attention_chunk chunk = {
        .keys = keys,
        .key = lilac_linear_attention_map_rows(plan, &call->tensors->key, b, h, first, keys, &memory->key),
        .value = lilac_linear_attention_rows_of(&call->tensors->value, b, h, first),
    };
    const size_t next = first + plan->chunk;
    chunk.ahead_rows = lilac_linear_attention_rows_below(plan, plan->config->shape.keys, next);
    if (chunk.ahead_rows > 0) {
        chunk.ahead[0] = lilac_linear_attention_ahead_of(&call->tensors->key, b, h, next, plan->config->shape.key_size);
        chunk.ahead[1] = lilac_linear_attention_ahead_of(&call->tensors->value, b, h, next, plan->head.values);
    }
    (call->bf16 ? plan->kernels->state_bf16 : plan->kernels->state)(&plan->head, &chunk, false, from, to,
                                                                    memory->scratch);
}

/* What the chunk of tokens after `first` is made of. */
static void look_ahead(const forward_call *call, size_t b, size_t h, size_t first,
                       lilac_linear_attention_chunk *chunk) {
    const lilac_linear_attention_plan *plan = call->plan;
    const lilac_linear_attention_forward_tensors *tensors = call->tensors;
    const size_t next = first + plan->chunk, D = plan->config->shape.key_size;
    chunk->ahead_rows = lilac_linear_attention_rows_below(plan, plan->config->shape.queries, next);
    if (chunk->ahead_rows == 0) {
        return;
    }
    chunk->ahead[0] = lilac_linear_attention_ahead_of(&tensors->query, b, h, next, D);
    chunk->ahead[1] = lilac_linear_attention_written_ahead(&tensors->output, b, h, next, plan->head.values);
    if (plan->config->causal) {
        chunk->ahead[2] = lilac_linear_attention_ahead_of(&tensors->key, b, h, next, D);
        chunk->ahead[3] = lilac_linear_attention_ahead_of(&tensors->value, b, h, next, plan->head.values);
    }
}

/* The outputs of chunk c and, unless next is NULL, the state after it. */
static void forward_chunk(const forward_call *call, const worker_memory *memory, size_t b, size_t h, size_t c,
                          const float *state, float *next) {
    const lilac_linear_attention_plan *plan = call->plan;
    const lilac_linear_attention_forward_tensors *tensors = call->tensors;
    const size_t first = c * plan->chunk, tokens = plan->config->shape.queries;
    const size_t queries = lilac_linear_attention_rows_below(plan, tokens, first);
    const size_t seen = plan->config->causal ? lilac_linear_attention_keys(plan, b) : 0;
    const size_t keys = lilac_linear_attention_rows_below(plan, seen, first);
    lilac_linear_attention_chunk chunk = {
        .causal = plan->config->causal,
        .queries = queries,
        .keys = keys,
        .query = lilac_linear_attention_map_rows(plan, &tensors->query, b, h, first, queries, &memory->query),
    };
    if (keys > 0) {
        chunk.key = lilac_linear_attention_map_rows(plan, &tensors->key, b, h, first, keys, &memory->key);
        chunk.value = lilac_linear_attention_rows_of(&tensors->value, b, h, first);
    }
    look_ahead(call, b, h, first, &chunk);
    const lilac_linear_attention_outputs outputs = {
        .out = lilac_attention_output_row(&tensors->output, b, first, h),
        .stride = tensors->output.token_stride,
        .denominator = tensors->saved == NULL
                           ? NULL
                           : tensors->saved + first +
                                 lilac_linear_attention_saved_denominators(plan, b * plan->config->shape.heads + h),
    };
    (call->bf16 ? plan->kernels->forward_bf16 : plan->kernels->forward)(&plan->head, &chunk, state, next, &outputs,
                                                                        memory->scratch);
}

static void load_state(const forward_call *call, size_t head, float *state) {
    const lilac_linear_attention_plan *plan = call->plan;
    const float *user = call->tensors->initial_state;
    lilac_linear_attention_load_state(&plan->head, user == NULL ? NULL : user + head * plan->user_size, false, state);
}

static void store_state(const forward_call *call, size_t head, const float *state) {
    const lilac_linear_attention_plan *plan = call->plan;
    if (call->tensors->final_state != NULL) {
        lilac_linear_attention_store_state(&plan->head, state, call->tensors->final_state + head * plan->user_size);
    }
}

static void save_state(const forward_call *call, size_t head, size_t segment, const float *state) {
    const lilac_linear_attention_plan *plan = call->plan;
    if (call->tensors->saved != NULL) {
        lilac_linear_attention_store_state(
            &plan->head, state, call->tensors->saved + lilac_linear_attention_saved_state(plan, head, segment));
    }
}

/*
 * Some heads of one sequence, from number `head` on, chunk after chunk, the heads taking turns: their rows of a token
 * are neighbours in memory.
 */
static void forward_group(const forward_call *call, const worker_memory *memory, size_t head, size_t count) {
    const lilac_linear_attention_plan *plan = call->plan;
    const size_t b = head / plan->config->shape.heads, first = head % plan->config->shape.heads;
    for (size_t i = 0; i < count; i++) {
        load_state(call, head + i, memory->states + i * plan->state_size);
    }
    for (size_t c = 0; !plan->config->causal && c < plan->key_chunks; c++) {
        for (size_t i = 0; i < count; i++) {
            float *state = memory->states + i * plan->state_size;
            add_keys(call, memory, b, first + i, c, state, state);
        }
    }
    for (size_t i = 0; !plan->config->causal && i < count; i++) {
        save_state(call, head + i, 0, memory->states + i * plan->state_size);
    }
    for (size_t c = 0; c < plan->query_chunks; c++) {
        const bool wanted = plan->config->causal && (c + 1 < plan->query_chunks || call->tensors->final_state != NULL);
        for (size_t i = 0; i < count; i++) {
            float *state = memory->states + i * plan->state_size;
            if (plan->config->causal && c % plan->segment_chunks == 0) {
                save_state(call, head + i, c / plan->segment_chunks, state);
            }
            forward_chunk(call, memory, b, first + i, c, state, wanted ? state : NULL);
        }
    }
    for (size_t i = 0; i < count; i++) {
        store_state(call, head + i, memory->states + i * plan->state_size);
    }
}

static void forward_heads(void *argument, size_t begin, size_t end) {
    const forward_call *call = argument;
    const lilac_linear_attention_plan *plan = call->plan;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(plan, plan->heads, worker);
        for (size_t head = share.begin; head < share.end;) {
            const size_t count = lilac_linear_attention_group(plan, plan->forward_group, head, share.end);
            forward_group(call, &memory, head, count);
            head += count;
        }
    }
}

/* What each chunk adds to the state goes to states[1 + its number in the window]. */
static void sum_window_chunks(void *argument, size_t begin, size_t end) {
    const forward_call *call = argument;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(call->plan, call->count, worker);
        for (size_t i = share.begin; i < share.end; i++) {
            add_keys(call, &memory, call->b, call->h, call->first + i, NULL,
                     call->states + (i + 1) * call->plan->state_size);
        }
    }
}

/* states[i + 1] += states[i], one after another: each worker does this for some of the numbers in a state. */
static void add_up_window(void *argument, size_t begin, size_t end) {
    const forward_call *call = argument;
    const size_t size = call->plan->state_size;
    for (size_t worker = begin; worker < end; worker++) {
        const lilac_linear_attention_range share = lilac_linear_attention_share(call->plan, size, worker);
        for (size_t i = 0; i < call->count; i++) {
            const float *before = call->states + i * size;
            float *after = call->states + (i + 1) * size;
            for (size_t e = share.begin; e < share.end; e++) {
                after[e] = before[e] + after[e];
            }
        }
    }
}

/* The outputs of the window's chunks: causal ones each from the state before it, others all from the final state. */
static void forward_window(void *argument, size_t begin, size_t end) {
    const forward_call *call = argument;
    for (size_t worker = begin; worker < end; worker++) {
        const worker_memory memory = memory_of(call, worker);
        const lilac_linear_attention_range share = lilac_linear_attention_share(call->plan, call->count, worker);
        for (size_t i = share.begin; i < share.end; i++) {
            const size_t slot = call->plan->config->causal ? i : 0;
            forward_chunk(call, &memory, call->b, call->h, call->first + i,
                          call->states + slot * call->plan->state_size, NULL);
        }
    }
}

static void run(forward_call *call, lilac_parallel_body *body) {
    lilac_parallel_for(call->context, call->plan->workers, 1, body, call);
}

/* Saves the states at the starts of the segments in the window. */
static void save_window(const forward_call *call, size_t head) {
    for (size_t i = 0; i < call->count; i++) {
        const size_t c = call->first + i;
        if (c % call->plan->segment_chunks == 0) {
            save_state(call, head, c / call->plan->segment_chunks, call->states + i * call->plan->state_size);
        }
    }
}

/* One head by all workers. states[0] is the state that is carried from window to window. */
static void share_head(forward_call *call, size_t head) {
    const lilac_linear_attention_plan *plan = call->plan;
    call->b = head / plan->config->shape.heads;
    call->h = head % plan->config->shape.heads;
    load_state(call, head, call->states);
    for (call->first = 0; call->first < plan->key_chunks; call->first += WINDOW) {
        call->count = lilac_size_min(plan->key_chunks - call->first, WINDOW);
        run(call, sum_window_chunks);
        run(call, add_up_window);
        if (plan->config->causal) {
            save_window(call, head);
            run(call, forward_window);
        }
        memcpy(call->states, call->states + call->count * plan->state_size, plan->state_size * sizeof(float));
    }
    if (!plan->config->causal) {
        save_state(call, head, 0, call->states);
        call->first = 0;
        call->count = plan->query_chunks;
        run(call, forward_window);
    }
    store_state(call, head, call->states);
}

static lilac_status measure(lilac_context *context, const lilac_linear_attention_plan *plan, size_t *bytes) {
    forward_call call = {.plan = plan};
    lilac_workspace workspace = lilac_workspace_over(NULL);
    take_call(&call, &workspace);
    return lilac_workspace_measured(context, &workspace, bytes);
}

lilac_status lilac_linear_attention_forward_workspace_size(lilac_context *context,
                                                           const lilac_linear_attention_config *config, size_t *bytes) {
    return lilac_linear_attention_workspace_size(context, config, measure, bytes);
}

static lilac_status check_tensors(lilac_context *context, const lilac_linear_attention_config *config,
                                  const lilac_linear_attention_forward_tensors *tensors) {
    const lilac_attention_shape *shape = &config->shape;
    if (tensors == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: tensors is NULL");
    }
    LILAC_TRY(lilac_attention_check_input(context, "query", &tensors->query, shape, shape->queries, shape->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "key", &tensors->key, shape, shape->keys, shape->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "value", &tensors->value, shape, shape->keys, shape->value_size));
    return lilac_attention_check_output(context, "output", &tensors->output, shape, shape->queries, shape->value_size);
}

lilac_status lilac_linear_attention_forward(lilac_context *context, const lilac_linear_attention_config *config,
                                            const lilac_linear_attention_forward_tensors *tensors, void *workspace,
                                            size_t workspace_bytes) {
    size_t needed;
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    LILAC_TRY(measure(context, &plan, &needed));
    LILAC_TRY(check_tensors(context, config, tensors));
    LILAC_TRY(lilac_workspace_check(context, workspace, workspace_bytes, needed));
    forward_call call = {.context = context, .plan = &plan, .tensors = tensors};
    call.bf16 = plan.map == NULL && tensors->query.dtype == LILAC_ATTENTION_BF16 &&
                tensors->key.dtype == LILAC_ATTENTION_BF16 && tensors->value.dtype == LILAC_ATTENTION_BF16;
    lilac_workspace pieces = lilac_workspace_over(workspace);
    take_call(&call, &pieces);
    if (!plan.by_chunks) {
        run(&call, forward_heads);
        return LILAC_OK;
    }
    for (size_t head = 0; head < plan.heads; head++) {
        share_head(&call, head);
    }
    return LILAC_OK;
}
