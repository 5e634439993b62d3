/* SPDX-License-Identifier: MIT */
/*
 * One problem of linear attention for tests: random inputs in some memory layout, the library's answer, and how far it
 * is from the answer in double precision.
 */
#ifndef LILAC_TESTS_LINEAR_ATTENTION_CASE_H
#define LILAC_TESTS_LINEAR_ATTENTION_CASE_H

#include <lilac/attention.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum case_layout {
    LAYOUT_TOKENS, /* (B, N, H, size) */
    LAYOUT_FUSED,  /* query, key, value and their gradients are parts of (B, N, 3, H, size); D = M, N = keys */
    LAYOUT_HEADS,  /* (B, H, N, size) */
    LAYOUT_PADDED  /* (B, N, H, size) with gaps after each row, token and sequence */
} case_layout;

typedef struct case_options {
    lilac_attention_shape shape;
    bool causal;
    bool bf16;
    bool states; /* with an initial state and a gradient of the final state */
    case_layout layout;
    const lilac_feature_map *map; /* NULL: the default */
    const size_t *lengths;        /* (B) or NULL */
    float range;                  /* queries and keys are uniform in (-range, range); 0: 1 */
    uint64_t seed;
} case_options;

/* Memory for one or, if fused, three tensors; filled with guards at first. */
typedef struct case_buffer {
    unsigned char *memory;
    size_t bytes;
} case_buffer;

typedef struct case_tensor {
    size_t buffer;
    size_t item_size; /* bytes of an element */
    size_t tokens, size;
    size_t offset;                                  /* of element (0, 0, 0, 0), in elements */
    size_t batch_stride, token_stride, head_stride; /* in elements */
} case_tensor;

/* Relative errors allowed: sums in float over a few hundred terms in a chunk and a few hundred chunks... */
#define CASE_FORWARD_ERROR 1e-6
#define CASE_GRADIENT_ERROR 5e-6
/* ...and bf16 with its 8 bits: inputs are compared as rounded, but products and features are rounded again. */
#define CASE_BF16_ERROR 1e-2
/* Where a few features differ by orders of magnitude: see attention_case_expect_errors. */
#define CASE_BF16_LARGE_GRADIENT_ERROR 3e-2

enum {
    CASE_QUERY,
    CASE_KEY,
    CASE_VALUE,
    CASE_OUTPUT,
    CASE_OUTPUT_GRADIENT,
    CASE_QUERY_GRADIENT,
    CASE_KEY_GRADIENT,
    CASE_VALUE_GRADIENT,
    CASE_TENSORS
};

typedef struct attention_case {
    case_options options;
    lilac_linear_attention_config config;
    size_t C, state_size; /* state_size: floats of all heads' states */
    case_tensor tensors[CASE_TENSORS];
    case_buffer buffers[CASE_TENSORS];
    /* Between guards; the last three are written. */
    float *initial_state, *final_state_gradient, *final_state, *initial_state_gradient, *saved;
    size_t saved_size;
    bool rounded; /* by the last forward pass: it multiplied numbers rounded to bf16 */
    lilac_linear_attention_forward_tensors forward;
    lilac_linear_attention_backward_tensors backward;
} attention_case;

/* Calls test with a context of two threads for each of the lilac_test_attention_levels. */
void case_at_every_level(void (*test)(lilac_context *context));

/* N queries and keys, D = M = size. */
lilac_attention_shape case_shape(size_t B, size_t H, size_t N, size_t size);

/* Builds a case. */
attention_case *attention_case_create(lilac_context *context, const case_options *options);
void attention_case_destroy(attention_case *problem);

/* Call the library with a workspace of exactly the size it asks for, at an odd address; they assert that all is well.
 */
void attention_case_forward(lilac_context *context, attention_case *problem);
void attention_case_backward(lilac_context *context, attention_case *problem);

/* Element (b, n, h, i) of a tensor, as a number. */
double case_element(const attention_case *problem, int tensor, size_t b, size_t n, size_t h, size_t i);
void case_set_element(attention_case *problem, int tensor, size_t b, size_t n, size_t h, size_t i, float value);

/* |x - y| / |y| in the 2-norm, over whole tensors. */
typedef struct case_errors {
    double out, final_state;
    double query_gradient, key_gradient, value_gradient, initial_state_gradient;
} case_errors;

/* Results in double precision: tensors (B, H, N, size) without gaps, states as the library lays them out. */
typedef struct case_expected {
    double *out, *final_state;
    double *query_gradient, *key_gradient, *value_gradient, *initial_state_gradient;
} case_expected;

/* Computes them from the inputs; they are freed with case_expected_release. */
case_expected attention_case_solve(const attention_case *problem);
void case_expected_release(case_expected *expected);

/* The errors of the library's results against those, which attention_case_errors computes itself. */
case_errors attention_case_compare(const attention_case *problem, const case_expected *expected);
case_errors attention_case_errors(const attention_case *problem);

/* Asserts that the errors are within the bounds above; inputs beyond +-1 count as large. */
void attention_case_expect_errors(const attention_case *problem, const case_errors *errors);

/* Asserts that nothing beside the elements of the tensors was written. */
void attention_case_check_guards(const attention_case *problem);

/* Whether the results of two cases of the same shape and layout are the same bytes. */
bool attention_case_same_bytes(const attention_case *a, const attention_case *b);

#endif
