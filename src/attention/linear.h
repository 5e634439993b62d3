/* SPDX-License-Identifier: MIT */
/*
 * What the forward and backward passes of linear attention share: the plan of a call, and getting rows and states to
 * the kernels.
 *
 * Work is cut in one of two ways, which give the same bytes (kernels/linear_attention.h says why). With enough heads
 * each worker walks through the chunks of its own heads. With fewer heads than workers the chunks of one head are
 * shared out: the workers compute each chunk's contribution to the state, add these up, and then do the chunks
 * independently.
 */
#ifndef LILAC_ATTENTION_LINEAR_H
#define LILAC_ATTENTION_LINEAR_H

#include "attention/arguments.h"
#include "kernels/linear_attention.h"

typedef struct lilac_linear_attention_plan {
    const lilac_linear_attention_config *config;
    const lilac_linear_attention_kernels *kernels;
    lilac_linear_attention_head head;
    const lilac_feature_map *map; /* what is left to the driver to apply; NULL: nothing */
    size_t chunk;                 /* tokens of a chunk */
    size_t query_chunks, key_chunks;
    size_t segments; /* states saved for the backward pass: one at the start of each, if causal; else the final one */
    size_t segment_chunks; /* chunks of a segment */
    size_t state_size;     /* floats of a padded state */
    size_t user_size;      /* floats of one head's state in the caller's layout */
    size_t heads;          /* B * H */
    size_t workers;
    bool by_chunks;                       /* the second way */
    size_t forward_group, backward_group; /* the first way: most heads of a sequence that a worker takes together */
} lilac_linear_attention_plan;

/* Tokens of a segment: the backward pass computes again the states within one from the state that was saved at its
 * start. */
enum { LILAC_LINEAR_ATTENTION_SEGMENT = 256 };

/* Checks the configuration and plans the work. */
lilac_status lilac_linear_attention_make_plan(lilac_context *context, const lilac_linear_attention_config *config,
                                              lilac_linear_attention_plan *plan);

/* *bytes = the most that `measure` finds a plan to need, with config's batch or a smaller one: where chunks are shared
 * out, few sequences need more than many. */
typedef lilac_status lilac_linear_attention_measure(lilac_context *context, const lilac_linear_attention_plan *plan,
                                                    size_t *bytes);
lilac_status lilac_linear_attention_workspace_size(lilac_context *context, const lilac_linear_attention_config *config,
                                                   lilac_linear_attention_measure *measure, size_t *bytes);

/* The items (heads, chunks) of worker number `worker` when there are count: first up to but not including the result's
 * end. */
typedef struct lilac_linear_attention_range {
    size_t begin, end;
} lilac_linear_attention_range;

static inline lilac_linear_attention_range lilac_linear_attention_share(const lilac_linear_attention_plan *plan,
                                                                        size_t count, size_t worker) {
    const size_t each = count / plan->workers, more = count % plan->workers;
    const size_t begin = worker * each + lilac_size_min(worker, more);
    return (lilac_linear_attention_range){begin, begin + each + (worker < more)};
}

/* The number of heads, from number `head` on but below end and at most `most`, that belong to one sequence. */
static inline size_t lilac_linear_attention_group(const lilac_linear_attention_plan *plan, size_t most, size_t head,
                                                  size_t end) {
    const size_t heads = plan->config->shape.heads;
    const size_t left = lilac_size_min(end - head, heads - head % heads);
    return lilac_size_min(left, most);
}

/* The number of unmasked keys of sequence b. */
static inline size_t lilac_linear_attention_keys(const lilac_linear_attention_plan *plan, size_t b) {
    return plan->config->key_lengths == NULL ? plan->config->shape.keys : plan->config->key_lengths[b];
}

/* How many of the tokens first .. first + plan->chunk - 1 lie below length. */
static inline size_t lilac_linear_attention_rows_below(const lilac_linear_attention_plan *plan, size_t length,
                                                       size_t first) {
    return length <= first ? 0 : lilac_size_min(length - first, plan->chunk);
}

/* What the forward pass saves: first the denominators (B, H, N), then the states of each head's segments. */
static inline size_t lilac_linear_attention_saved_denominators(const lilac_linear_attention_plan *plan, size_t head) {
    return head * plan->config->shape.queries;
}

static inline size_t lilac_linear_attention_saved_state(const lilac_linear_attention_plan *plan, size_t head,
                                                        size_t segment) {
    return plan->heads * plan->config->shape.queries + (head * plan->segments + segment) * plan->user_size;
}

/* Memory of one worker for a chunk's queries or keys: as floats (only if bf16 must be converted for a map), and mapped.
 */
typedef struct lilac_linear_attention_mapping {
    float *rows;   /* chunk x D */
    float *mapped; /* chunk x C */
} lilac_linear_attention_mapping;

/* Takes that memory from a workspace. */
lilac_linear_attention_mapping lilac_linear_attention_take_mapping(const lilac_linear_attention_plan *plan,
                                                                   lilac_workspace *workspace);

/* count rows of a (B, N, H, *) tensor from token `first` on, where they are. */
lilac_linear_attention_rows lilac_linear_attention_rows_of(const lilac_attention_input *input, size_t b, size_t h,
                                                           size_t first);

/* Such rows of `size` numbers, as a hint of what will be read soon. */
static inline lilac_linear_attention_ahead lilac_linear_attention_ahead_of(const lilac_attention_input *input, size_t b,
                                                                           size_t h, size_t first, size_t size) {
    const size_t item_size = input->dtype == LILAC_ATTENTION_BF16 ? sizeof(uint16_t) : sizeof(float);
    return (lilac_linear_attention_ahead){lilac_attention_input_row(input, b, first, h),
                                          input->token_stride * item_size, size * item_size};
}

static inline lilac_linear_attention_ahead lilac_linear_attention_written_ahead(const lilac_attention_output *output,
                                                                                size_t b, size_t h, size_t first,
                                                                                size_t size) {
    return (lilac_linear_attention_ahead){lilac_attention_output_row(output, b, first, h),
                                          output->token_stride * sizeof(float), size * sizeof(float)};
}

/* count rows of `size` numbers as floats: where they are, or converted into `to`. */
lilac_linear_attention_rows lilac_linear_attention_float_rows(lilac_linear_attention_rows rows, size_t count,
                                                              size_t size, float *to);

/* Rows of queries or keys, put through plan->map if there is one. */
lilac_linear_attention_rows lilac_linear_attention_map_rows(const lilac_linear_attention_plan *plan,
                                                            const lilac_attention_input *input, size_t b, size_t h,
                                                            size_t first, size_t count,
                                                            const lilac_linear_attention_mapping *mapping);

/*
 * Takes gradients with respect to such rows (count x C) back through plan->map to the output's rows. Does nothing
 * without a map. mapping must still hold what lilac_linear_attention_map_rows left there.
 */
void lilac_linear_attention_unmap_gradient(const lilac_linear_attention_plan *plan, const lilac_attention_input *input,
                                           size_t b, size_t h, size_t first, size_t count,
                                           const lilac_linear_attention_mapping *mapping, const float *gradient,
                                           const lilac_attention_output *output);

/*
 * lilac_linear_attention_step for the sequences first .. first + count - 1 of a state only: the tensors are those of
 * these (count, 1, H, *). Calls for other sequences of the same state may run at the same time, each with a context of
 * its own.
 */
lilac_status lilac_linear_attention_step_some(lilac_context *context, lilac_linear_attention_state *state, size_t first,
                                              size_t count, const lilac_attention_input *query,
                                              const lilac_attention_input *key, const lilac_attention_input *value,
                                              const lilac_attention_output *output);

/* Between one head's state in the caller's layout (NULL: zeros) and a padded one. */
void lilac_linear_attention_load_state(const lilac_linear_attention_head *head, const float *user, bool transposed,
                                       float *padded);
void lilac_linear_attention_store_state(const lilac_linear_attention_head *head, const float *padded, float *user);

#endif
