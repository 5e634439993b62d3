/* SPDX-License-Identifier: MIT */
/*
 * Linear attention of one head in double precision, forward and backward, token by token from the recurrences: what the
 * library's results are measured by. Its own tests hold it against the definition and against central differences.
 */
#ifndef LILAC_TESTS_DOUBLE_LINEAR_ATTENTION_H
#define LILAC_TESTS_DOUBLE_LINEAR_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

/* Queries and keys are mapped already: rows of C numbers. Results are overwritten. */
typedef struct double_head {
    size_t queries, keys; /* keys: unmasked ones only; causal: not more than queries */
    size_t C, M;
    bool causal;
    double epsilon;
    const double *q, *k, *v;
    const double *state;                           /* S (C x M) and z (C) */
    double *out, *denominator, *final_state;       /* forward */
    const double *gradient, *final_state_gradient; /* backward: g (queries x M); laid out as a state */
    double *dq, *dk, *dv, *dstate;
} double_head;

void double_head_forward(const double_head *head);

/* Needs out and denominator from the forward pass. */
void double_head_backward(const double_head *head);

#endif
