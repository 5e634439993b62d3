/* SPDX-License-Identifier: MIT */
#include "support/double_linear_attention.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* Four sums, so that an addition need not wait for the one before: long sequences take a while in double. */
static double dot(size_t n, const double *x, const double *y) {
    double sums[4] = {0.0, 0.0, 0.0, 0.0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            sums[j] += x[i + j] * y[i + j];
        }
    }
    for (; i < n; i++) {
        sums[0] += x[i] * y[i];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void add_scaled(size_t n, double scale, const double *x, double *y) {
    for (size_t i = 0; i < n; i++) {
        y[i] += scale * x[i];
    }
}

/* S += x y^T, z += weight x. */
static void add_to_state(const double_head *head, const double *x, const double *y, double weight, double *state) {
    for (size_t c = 0; c < head->C; c++) {
        add_scaled(head->M, x[c], y, state + c * head->M);
    }
    add_scaled(head->C, weight, x, state + head->C * head->M);
}

static void add_key(const double_head *head, size_t j, double *state) {
    add_to_state(head, head->k + j * head->C, head->v + j * head->M, 1.0, state);
}

/* The number of keys that query i sees. */
static size_t seen_keys(const double_head *head, size_t i) {
    return head->causal && i + 1 < head->keys ? i + 1 : head->keys;
}

static size_t state_size(const double_head *head) {
    return head->C * head->M + head->C;
}

void double_head_forward(const double_head *head) {
    const size_t C = head->C, M = head->M;
    double *state = head->final_state;
    memcpy(state, head->state, state_size(head) * sizeof *state);
    size_t added = 0;
    for (size_t i = 0; i < head->queries; i++) {
        for (; added < seen_keys(head, i); added++) {
            add_key(head, added, state);
        }
        const double *q = head->q + i * C;
        double *out = head->out + i * M;
        memset(out, 0, M * sizeof *out);
        for (size_t c = 0; c < C; c++) {
            add_scaled(M, q[c], state + c * M, out);
        }
        head->denominator[i] = dot(C, q, state + C * M) + head->epsilon;
        for (size_t m = 0; m < M; m++) {
            out[m] /= head->denominator[i];
        }
    }
    for (; added < head->keys; added++) {
        add_key(head, added, state);
    }
}

/* The gradients of query i's numerator (M, written) and of its denominator (returned). */
static double divide_gradient(const double_head *head, size_t i, double *dnumerator) {
    const double *g = head->gradient + i * head->M;
    for (size_t m = 0; m < head->M; m++) {
        dnumerator[m] = g[m] / head->denominator[i];
    }
    return -dot(head->M, g, head->out + i * head->M) / head->denominator[i];
}

/* dq, first query to last, from the state that each sees. Memory: a state and a row of M. */
static void backward_queries(const double_head *head, double *state, double *dnumerator) {
    const size_t C = head->C, M = head->M;
    memcpy(state, head->state, state_size(head) * sizeof *state);
    size_t added = 0;
    for (size_t i = 0; i < head->queries; i++) {
        for (; added < seen_keys(head, i); added++) {
            add_key(head, added, state);
        }
        const double ddenominator = divide_gradient(head, i, dnumerator);
        for (size_t c = 0; c < C; c++) {
            head->dq[i * C + c] = dot(M, dnumerator, state + c * M) + ddenominator * state[C * M + c];
        }
    }
}

static void add_query(const double_head *head, size_t i, double *dnumerator) {
    const double ddenominator = divide_gradient(head, i, dnumerator);
    add_to_state(head, head->q + i * head->C, dnumerator, ddenominator, head->dstate);
}

/* dk and dv, last key to first, from the gradient of the state that holds it; and that of the initial state. */
static void backward_keys(const double_head *head, double *dnumerator) {
    const size_t C = head->C, M = head->M;
    double *dstate = head->dstate;
    memcpy(dstate, head->final_state_gradient, state_size(head) * sizeof *dstate);
    size_t left = head->queries;
    for (size_t j = head->keys; j-- > 0;) {
        const size_t first = head->causal ? j : 0;
        while (left > first) {
            add_query(head, --left, dnumerator);
        }
        double *dv = head->dv + j * M;
        memset(dv, 0, M * sizeof *dv);
        for (size_t c = 0; c < C; c++) {
            head->dk[j * C + c] = dot(M, head->v + j * M, dstate + c * M) + dstate[C * M + c];
            add_scaled(M, head->k[j * C + c], dstate + c * M, dv);
        }
    }
    while (left > 0) {
        add_query(head, --left, dnumerator);
    }
}

void double_head_backward(const double_head *head) {
    double *memory = calloc(state_size(head) + head->M, sizeof *memory);
    assert_non_null(memory);
    backward_queries(head, memory, memory + state_size(head));
    backward_keys(head, memory + state_size(head));
    free(memory);
}
