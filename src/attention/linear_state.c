/* SPDX-License-Identifier: MIT */
/* Linear attention as a recurrent network: the state object and its step. */
#include "attention/linear.h"

#include "core/little_endian.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

#include <string.h>

struct lilac_linear_attention_state {
    size_t batch, heads, key_size; /* B, H, D */
    lilac_linear_attention_head head;
    const lilac_feature_map *map; /* what the kernel does not apply itself; NULL: nothing */
    size_t size;                  /* floats of one head's S and z */
    float *data;                  /* of all heads, one after another */
    size_t scratch_size;          /* floats for one head */
    float *scratch;               /* for all heads where SMALL_SCRATCH does not do: each has its own; else NULL */
};

/*
 * Saved bytes: 8 of magic, the version (4), 4 zeros, B, H, C, M (8 each), then the state's floats. Numbers are little
 * endian.
 */
enum { SAVED_MAGIC = 8, SAVED_SIZES = 16, SAVED_HEADER = 48, VERSION = 1, STEP_GRAIN = 32768 };

/* Floats of scratch that are taken from the stack, so that a step touches little memory beside the state. */
enum { SMALL_SCRATCH = 1024 };

static const char magic[SAVED_MAGIC] = {'l', 'i', 'l', 'a', 'c', 'l', 'a', 's'};

/*
 * The floats that one head needs for a step: two rows mapped, one as it came, and what the step kernel asks for. More
 * than can be addressed if a head is that large, as it may be where a map takes any size.
 */
static size_t scratch_size_of(const lilac_linear_attention_head *head, size_t key_size) {
    lilac_workspace workspace = lilac_workspace_over(NULL);
    lilac_workspace_take(&workspace, key_size, sizeof(float));
    lilac_workspace_take(&workspace, 2 * head->features, sizeof(float));
    lilac_workspace_take(&workspace, lilac_step_scratch_size(head), sizeof(float));
    return workspace.used / sizeof(float);
}

/* Measures the only block of memory, or cuts it up: for the object itself, which is returned, and its arrays. */
static lilac_linear_attention_state *take_memory(lilac_linear_attention_state *made, lilac_workspace *memory) {
    const size_t heads = made->batch * made->heads;
    lilac_linear_attention_state *state = lilac_workspace_take(memory, 1, sizeof *state);
    made->data = lilac_workspace_take(memory, heads * made->size, sizeof(float));
    made->scratch = NULL;
    if (made->scratch_size > SMALL_SCRATCH) {
        made->scratch = lilac_workspace_take(memory, heads, made->scratch_size * sizeof(float));
    }
    return state;
}

lilac_status lilac_linear_attention_state_create(lilac_context *context, const lilac_linear_attention_config *config,
                                                 lilac_linear_attention_state **out) {
    lilac_linear_attention_config step_config = {.epsilon = 0.0f};
    if (config != NULL) {
        step_config = *config;
        step_config.shape.queries = step_config.shape.keys = 1;
        step_config.key_lengths = NULL;
    }
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config == NULL ? NULL : &step_config, &plan));
    if (out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention state: out is NULL");
    }
    lilac_linear_attention_state made = {
        .batch = config->shape.batch,
        .heads = config->shape.heads,
        .key_size = config->shape.key_size,
        .head = plan.head,
        .map = plan.map,
        .size = plan.user_size,
        .scratch_size = scratch_size_of(&plan.head, config->shape.key_size),
    };
    size_t bytes;
    lilac_workspace measured = lilac_workspace_over(NULL);
    take_memory(&made, &measured);
    LILAC_TRY(lilac_workspace_measured(context, &measured, &bytes));
    lilac_workspace memory = lilac_workspace_over(lilac_memory_allocate(bytes, 1));
    if (memory.memory == NULL) {
        return lilac_fail_memory(context, "a linear attention state", bytes);
    }
    lilac_linear_attention_state *state = take_memory(&made, &memory);
    *state = made;
    *out = state;
    return LILAC_OK;
}

void lilac_linear_attention_state_destroy(lilac_linear_attention_state *state) {
    lilac_memory_free(state);
}

static size_t data_bytes(const lilac_linear_attention_state *state) {
    return state->batch * state->heads * state->size * sizeof(float);
}

void lilac_linear_attention_state_reset(lilac_linear_attention_state *state) {
    memset(state->data, 0, data_bytes(state));
}

lilac_status lilac_linear_attention_state_copy(lilac_context *context, const lilac_linear_attention_state *from,
                                               lilac_linear_attention_state *to) {
    if (from == NULL || to == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention state copy: a state is NULL");
    }
    if (from->batch != to->batch || from->heads != to->heads || from->head.features != to->head.features ||
        from->head.values != to->head.values) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "linear attention state copy: from (%zu, %zu, %zu, %zu) to (%zu, %zu, %zu, %zu)", from->batch,
                          from->heads, from->head.features, from->head.values, to->batch, to->heads, to->head.features,
                          to->head.values);
    }
    memmove(to->data, from->data, data_bytes(from));
    return LILAC_OK;
}

float *lilac_linear_attention_state_data(lilac_linear_attention_state *state) {
    return state->data;
}

size_t lilac_linear_attention_state_saved_size(const lilac_linear_attention_state *state) {
    return SAVED_HEADER + data_bytes(state);
}

static void saved_header(const lilac_linear_attention_state *state, unsigned char header[SAVED_HEADER]) {
    const size_t sizes[] = {state->batch, state->heads, state->head.features, state->head.values};
    memset(header, 0, SAVED_HEADER);
    memcpy(header, magic, SAVED_MAGIC);
    lilac_little_endian_store(VERSION, 4, header + SAVED_MAGIC);
    for (size_t i = 0; i < 4; i++) {
        lilac_little_endian_store(sizes[i], 8, header + SAVED_SIZES + 8 * i);
    }
}

lilac_status lilac_linear_attention_state_save(lilac_context *context, const lilac_linear_attention_state *state,
                                               void *bytes, size_t size) {
    if (state == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention state save: state or bytes is NULL");
    }
    if (size != lilac_linear_attention_state_saved_size(state)) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "linear attention state save: expected %zu bytes, got %zu",
                          lilac_linear_attention_state_saved_size(state), size);
    }
    unsigned char *to = bytes;
    saved_header(state, to);
    lilac_little_endian_store_floats(data_bytes(state) / sizeof(float), state->data, to + SAVED_HEADER);
    return LILAC_OK;
}

static lilac_status check_saved(lilac_context *context, const lilac_linear_attention_state *state,
                                const unsigned char *from, size_t size) {
    const char *what = "linear attention state load";
    unsigned char header[SAVED_HEADER];
    saved_header(state, header);
    if (size < SAVED_HEADER) {
        return lilac_fail(context, LILAC_ERROR_TRUNCATED, "%s: %zu bytes are less than the header's %d", what, size,
                          (int)SAVED_HEADER);
    }
    if (memcmp(from, magic, SAVED_MAGIC) != 0) {
        return lilac_fail(context, LILAC_ERROR_MAGIC, "%s: the bytes are not a saved state", what);
    }
    if (memcmp(from + SAVED_MAGIC, header + SAVED_MAGIC, SAVED_SIZES - SAVED_MAGIC) != 0) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: expected version %d, got %llu", what, (int)VERSION,
                          (unsigned long long)lilac_little_endian_load(4, from + SAVED_MAGIC));
    }
    if (memcmp(from + SAVED_SIZES, header + SAVED_SIZES, SAVED_HEADER - SAVED_SIZES) != 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: saved from a state with other sizes", what);
    }
    const size_t expected = lilac_linear_attention_state_saved_size(state);
    if (size != expected) {
        return lilac_fail(context, size < expected ? LILAC_ERROR_TRUNCATED : LILAC_ERROR_TRAILING,
                          "%s: expected %zu bytes, got %zu", what, expected, size);
    }
    return LILAC_OK;
}

lilac_status lilac_linear_attention_state_load(lilac_context *context, lilac_linear_attention_state *state,
                                               const void *bytes, size_t size) {
    if (state == NULL || bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention state load: state or bytes is NULL");
    }
    LILAC_TRY(check_saved(context, state, bytes, size));
    const unsigned char *from = bytes;
    lilac_little_endian_load_floats(data_bytes(state) / sizeof(float), from + SAVED_HEADER, state->data);
    return LILAC_OK;
}

typedef struct step_call {
    const lilac_linear_attention_kernels *kernels;
    lilac_linear_attention_state *state;
    size_t first; /* sequence */
    const lilac_attention_input *query, *key, *value;
    const lilac_attention_output *output;
} step_call;

/* A row of queries or keys, put through the map if the kernel does not do that. x has room for D floats. */
static lilac_linear_attention_rows mapped_row(const lilac_linear_attention_state *state,
                                              const lilac_attention_input *input, size_t b, size_t h, float *x,
                                              float *mapped) {
    const lilac_linear_attention_rows row = lilac_linear_attention_rows_of(input, b, h, 0);
    if (state->map == NULL) {
        return row;
    }
    const lilac_linear_attention_rows floats = lilac_linear_attention_float_rows(row, 1, state->key_size, x);
    state->map->forward(state->map, 1, state->key_size, floats.data, floats.stride, mapped, state->head.features);
    return (lilac_linear_attention_rows){.data = mapped, .stride = state->head.features};
}

static void step_heads(void *argument, size_t begin, size_t end) {
    const step_call *call = argument;
    lilac_linear_attention_state *state = call->state;
    _Alignas(LILAC_ALIGNMENT) float small[SMALL_SCRATCH];
    for (size_t i = begin; i < end; i++) {
        const size_t b = i / state->heads, h = i % state->heads, place = call->first * state->heads + i;
        float *mapped_query = state->scratch == NULL ? small : state->scratch + place * state->scratch_size;
        float *mapped_key = mapped_query + state->head.features;
        float *x = mapped_key + state->head.features;
        float *kernel_scratch = mapped_query + state->scratch_size - lilac_step_scratch_size(&state->head);
        const lilac_linear_attention_chunk token = {
            .causal = true,
            .queries = 1,
            .keys = 1,
            .query = mapped_row(state, call->query, b, h, x, mapped_query),
            .key = mapped_row(state, call->key, b, h, x, mapped_key),
            .value = lilac_linear_attention_rows_of(call->value, b, h, 0),
        };
        call->kernels->step(&state->head, &token, state->data + place * state->size,
                            lilac_attention_output_row(call->output, b, 0, h), kernel_scratch);
    }
}

lilac_status lilac_linear_attention_step_some(lilac_context *context, lilac_linear_attention_state *state, size_t first,
                                              size_t count, const lilac_attention_input *query,
                                              const lilac_attention_input *key, const lilac_attention_input *value,
                                              const lilac_attention_output *output) {
    const lilac_attention_shape shape = {.batch = count, .heads = state->heads};
    LILAC_TRY(lilac_attention_check_input(context, "query", query, &shape, 1, state->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "key", key, &shape, 1, state->key_size));
    LILAC_TRY(lilac_attention_check_input(context, "value", value, &shape, 1, state->head.values));
    LILAC_TRY(lilac_attention_check_output(context, "output", output, &shape, 1, state->head.values));
    step_call call = {&context->kernels->linear_attention, state, first, query, key, value, output};
    const size_t grain = lilac_size_max(1, STEP_GRAIN / state->size);
    lilac_parallel_for(context, count * state->heads, grain, step_heads, &call);
    return LILAC_OK;
}

lilac_status lilac_linear_attention_step(lilac_context *context, lilac_linear_attention_state *state,
                                         const lilac_attention_input *query, const lilac_attention_input *key,
                                         const lilac_attention_input *value, const lilac_attention_output *output) {
    if (context == NULL || state == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention step: context or state is NULL");
    }
    return lilac_linear_attention_step_some(context, state, 0, state->batch, query, key, value, output);
}
