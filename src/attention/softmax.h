/* SPDX-License-Identifier: MIT */
/* What the forward and the backward pass of softmax attention share: how the work is cut into blocks and rows are
 * packed. */
#ifndef LILAC_ATTENTION_SOFTMAX_H
#define LILAC_ATTENTION_SOFTMAX_H

#include "attention/arguments.h"
#include "kernels/elementwise.h"
#include "kernels/softmax_attention.h"

#include <stdatomic.h>

enum { LILAC_SOFTMAX_KEY_BLOCK = LILAC_SOFTMAX_KEYS }; /* keys of a block */

static const double LILAC_SOFTMAX_LOG2_E = 1.4426950408889634;

/* The heads of all sequences are numbered through and worked on in groups, which bounds the memory for packed heads. */
typedef struct lilac_softmax_plan {
    size_t threads;
    size_t heads;                    /* B * H */
    size_t group;                    /* heads in a group: enough to keep all threads busy */
    size_t key_blocks;               /* of a head */
    size_t padded_keys;              /* keys rounded up to whole panels */
    size_t key_stride, value_stride; /* D and M rounded up to LILAC_SOFTMAX_LANES */
} lilac_softmax_plan;

/* Errors: ARGUMENT (config is NULL, a scale that is not finite), OVERFLOW, and those of lilac_attention_check_shape. */
lilac_status lilac_softmax_plan_make(lilac_context *context, const lilac_softmax_attention_config *config,
                                     lilac_softmax_plan *plan);

/* Whether the passes multiply rounded numbers: in tiles, where the config asks for products in bf16 and the cpu has
 * these; by dot products, where it has those only. */
bool lilac_softmax_uses_tiles(const lilac_context *context, const lilac_softmax_attention_config *config);
bool lilac_softmax_uses_dot_products(const lilac_context *context, const lilac_softmax_attention_config *config);

/* A piece of a workspace for `rows` rows of `size` floats of each head of a group. */
float *lilac_softmax_take_heads(lilac_workspace *workspace, const lilac_softmax_plan *plan, size_t rows, size_t size);

/*
 * Memory for what one thread needs at a time, once for each thread. A loop's body takes a free one and gives it back:
 * which thread it runs on does not matter, and a caller may be a thread of a parallel region of its own.
 */
typedef struct lilac_softmax_scratch {
    char *memory;
    size_t bytes;       /* of one */
    atomic_flag *taken; /* [threads] */
} lilac_softmax_scratch;

/* Cuts it out of a workspace. `bytes` may be SIZE_MAX: the workspace overflows then. */
lilac_softmax_scratch lilac_softmax_scratch_cut(lilac_workspace *workspace, size_t threads, size_t bytes);

/* Gives all back, before the first use. */
void lilac_softmax_scratch_reset(const lilac_softmax_scratch *scratch, size_t threads);

/* Takes one; *index is for giving it back. */
lilac_workspace lilac_softmax_scratch_take(const lilac_softmax_scratch *scratch, size_t *index);
void lilac_softmax_scratch_give(const lilac_softmax_scratch *scratch, size_t index);

/* Waits until another thread has stored this value, and sees what it wrote before. */
void lilac_softmax_await(atomic_size_t *counter, size_t value);

/* The number of keys of a head that are not masked. */
size_t lilac_softmax_visible_keys(const lilac_softmax_attention_config *config, size_t head);

/* A block of keys of a head, as the backward passes take them. */
typedef struct lilac_softmax_key_range {
    size_t slot, head;  /* within the group, among all */
    size_t first, keys; /* keys first .. first+keys-1; 0 keys if all are masked */
} lilac_softmax_key_range;

/* The one that starts at key `first` of the head in that place of the group, of at most so many keys. */
lilac_softmax_key_range lilac_softmax_keys_from(const lilac_softmax_attention_config *config, size_t first_head,
                                                size_t slot, size_t first, size_t most);

/* The sum of a row's LILAC_SOFTMAX_LANES partial sums. */
float lilac_softmax_row_sum(const float *sums);

/*
 * Copies rows n .. n+count-1 of a head as floats to y (stride ldy), columns beyond size and rows from count to `padded`
 * as zeros.
 */
void lilac_softmax_load_rows(const lilac_softmax_attention_config *config, const lilac_attention_input *x, size_t head,
                             size_t n, size_t count, size_t padded, size_t size, float *y, size_t ldy);

/*
 * The same rounded to bf16, for the passes that multiply bf16 numbers: rows from count to `padded` are zeros, and so
 * are columns beyond size.
 */
void lilac_softmax_round_rows(const lilac_elementwise_kernels *kernels, const lilac_softmax_attention_config *config,
                              const lilac_attention_input *x, size_t head, size_t n, size_t count, size_t padded,
                              size_t size, uint16_t *y, size_t ldy);

/* Writes `count` rows of x (stride ldx) times factor as rows n .. n+count-1 of a head. */
void lilac_softmax_store_rows(const lilac_softmax_attention_config *config, const float *x, size_t ldx, float factor,
                              const lilac_attention_output *y, size_t head, size_t n, size_t count, size_t size);

/*
 * lilac_softmax_attention_step and ..._extend for the sequences first .. first + count - 1 of a state only: the tensors
 * are those of these. Calls for other sequences of the same state may run at the same time, each with a context of its
 * own.
 */
lilac_status lilac_softmax_attention_step_some(lilac_context *context, lilac_softmax_attention_state *state,
                                               size_t first, size_t count, const lilac_attention_input *query,
                                               const lilac_attention_input *key, const lilac_attention_input *value,
                                               const lilac_attention_output *output);
lilac_status lilac_softmax_attention_extend_some(lilac_context *context, lilac_softmax_attention_state *state,
                                                 size_t first, size_t count, size_t tokens,
                                                 const lilac_attention_input *query, const lilac_attention_input *key,
                                                 const lilac_attention_input *value,
                                                 const lilac_attention_output *output, void *workspace,
                                                 size_t workspace_bytes);

#endif
