/* SPDX-License-Identifier: MIT */
/*
 * What the linear attention kernels should give for a chunk, in double precision, by the formulas of
 * kernels/linear_attention.h and with a bound of the error that a kernel may make on the way.
 */
#ifndef LILAC_TEST_LINEAR_ATTENTION_EXACT_H
#define LILAC_TEST_LINEAR_ATTENTION_EXACT_H

#include <stdbool.h>
#include <stddef.h>

enum { EXACT_ROWS = 64 /* most in a chunk, at any level */, EXACT_SIZE = 80 /* most features or values */ };

/* A number, and how far that of a kernel may be from it. */
typedef struct measured {
    double value, error;
} measured;

/* How a kernel computes. */
typedef struct arithmetic {
    double feature; /* the relative error of elu(x) + 1 */
    double flushed; /* elu(x) + 1 below this may be anything from 0 to it */
    double factor;  /* the relative error with which features, A and states enter products */
    double tiny;    /* what a product may lose because it is no normal number */
} arithmetic;

extern const arithmetic float_arithmetic, bf16_arithmetic;

/* Matrices have EXACT_SIZE numbers a row, A and dA EXACT_ROWS. */
typedef struct exact_chunk {
    const arithmetic *arithmetic;
    size_t features, values, queries, keys; /* C, M */
    bool causal, elu_plus_one;
    double epsilon;
    measured q[EXACT_ROWS * EXACT_SIZE], k[EXACT_ROWS * EXACT_SIZE], v[EXACT_ROWS * EXACT_SIZE]; /* q and k mapped */
    measured s[EXACT_SIZE * EXACT_SIZE], z[EXACT_SIZE];                                          /* C x M, C */
    measured ds[EXACT_SIZE * EXACT_SIZE], dz[EXACT_SIZE];
    measured g[EXACT_ROWS * EXACT_SIZE], o[EXACT_ROWS * EXACT_SIZE], d[EXACT_ROWS];

    /* What the functions below fill in. */
    measured numerator[EXACT_ROWS * EXACT_SIZE], delta[EXACT_ROWS]; /* gradients of the numerator and of d */
    measured a[EXACT_ROWS * EXACT_ROWS], da[EXACT_ROWS * EXACT_ROWS];
    measured out[EXACT_ROWS * EXACT_SIZE], denominator[EXACT_ROWS];
    measured dq[EXACT_ROWS * EXACT_SIZE], dk[EXACT_ROWS * EXACT_SIZE], dv[EXACT_ROWS * EXACT_SIZE];
    measured next_s[EXACT_SIZE * EXACT_SIZE], next_z[EXACT_SIZE];
} exact_chunk;

/* elu(x) + 1, or x itself unless mapped. */
measured exact_feature(const arithmetic *arithmetic, double x, bool mapped);

/* next_s = s + K^T V, next_z = z + colsum(K) */
void exact_next_state(exact_chunk *c);

/* out and denominator */
void exact_forward(exact_chunk *c);

/* numerator and delta; next_s = ds + Q^T O~', next_z = dz + Q^T delta */
void exact_state_gradient(exact_chunk *c);

/* dq, dk and dv, after exact_state_gradient */
void exact_gradients(exact_chunk *c);

#endif
