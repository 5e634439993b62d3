/* SPDX-License-Identifier: MIT */
/* A softmax attention problem with its inputs in one fused projection, its results, and the same in double precision.
 */
#ifndef LILAC_TEST_SOFTMAX_PROBLEM_H
#define LILAC_TEST_SOFTMAX_PROBLEM_H

#include <lilac/attention.h>

#include <stdbool.h>
#include <stdint.h>

/* Kinds of inputs. */
typedef enum softmax_inputs {
    SOFTMAX_UNIFORM,  /* -1.7 .. 1.7 */
    SOFTMAX_STEEP,    /* scores up to a few hundred: exp overflows unless the maximum is taken out first */
    SOFTMAX_EQUAL,    /* one number everywhere */
    SOFTMAX_DENORMAL, /* values below the smallest normal number */
    SOFTMAX_INPUTS
} softmax_inputs;

/* Doubles (B, N, H, size) without gaps. */
typedef struct softmax_doubles {
    double *query, *key, *value, *output_gradient;
    double *output, *log_sum_exp; /* log_sum_exp (B, H, N) */
    double *query_gradient, *key_gradient, *value_gradient;
} softmax_doubles;

/*
 * query, key and value lie in rows of (H, D), (H, D), (H, M) and a gap; so do their gradients. Numbers in gaps are NaN
 * before and must be so after: softmax_problem_run checks it.
 */
typedef struct softmax_problem {
    lilac_softmax_attention_config config;
    lilac_attention_dtype dtype;
    softmax_inputs kind;
    int level;                  /* of the last run */
    bool rounded;               /* by the last run: probabilities, to bf16 */
    size_t tokens, row;         /* rows, and numbers in a row */
    size_t *lengths;            /* the config's key_lengths, or NULL */
    void *inputs;               /* of dtype */
    void *output_gradient_data; /* of dtype */
    float *output_data, *log_sum_exp, *gradient_data;
    lilac_softmax_attention_forward_tensors forward;
    lilac_softmax_attention_backward_tensors backward;
    softmax_doubles exact;
} softmax_problem;

/* Makes a problem; key_lengths may be NULL. Free it with softmax_problem_destroy. */
softmax_problem *softmax_problem_create(const lilac_attention_shape *shape, bool causal, const size_t *key_lengths,
                                        lilac_attention_dtype dtype, softmax_inputs inputs, uint64_t seed);
void softmax_problem_destroy(softmax_problem *problem);
void softmax_doubles_release(softmax_doubles *doubles);

/* Forward and, if asked for, backward at that one of the lilac_test_attention_levels and number of threads, in a
 * workspace without a byte to spare. */
void softmax_problem_run(softmax_problem *problem, int level, int threads, bool backward);

/* The same on a context. */
void softmax_problem_run_on(softmax_problem *problem, lilac_context *context, bool backward);

/* Computes problem->exact from the inputs, row by row as the definition says. */
void softmax_problem_solve(softmax_problem *problem, bool backward);

/* The same input from that token on. */
lilac_attention_input softmax_problem_input_from(const lilac_attention_input *input, size_t token);

/*
 * The 2-norm of the error of a result (B, tokens, H, size) over that of its exact value, which counts as at least
 * `least` for each number.
 */
double softmax_problem_error(const softmax_problem *problem, const float *result, size_t batch_stride,
                             size_t token_stride, size_t head_stride, size_t tokens, size_t size, const double *exact,
                             double least);

/* That error of the output; the largest of the three gradients. */
double softmax_problem_output_error(const softmax_problem *problem);
double softmax_problem_gradient_error(const softmax_problem *problem);

/* Fails unless the last run gave what queries without keys have: outputs and gradients of 0, log_sum_exp of -INFINITY.
 */
void softmax_problem_expect_no_keys(const softmax_problem *problem);

/* The inputs' element i as a float; setting it. */
float softmax_problem_input(const softmax_problem *problem, size_t i);
void softmax_problem_set_input(softmax_problem *problem, size_t i, float value);

#endif
