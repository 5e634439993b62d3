/* SPDX-License-Identifier: MIT */
/*
 * The gradients of linear attention with elu(x) + 1, with respect to queries and keys as they are given, against
 * central differences of the definition in double.
 */
#include <lilac/attention.h>

#include "support/linear_attention_case.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

/* Sizes for tails of chunks and vectors: more than one chunk of 32 tokens, none of these a multiple of anything. */
enum { N = 37, D = 5, M = 3, STATE = D * M + D };

/* One head. What the loss depends on: queries, keys, values and the initial state, all as given. */
typedef struct definition {
    bool causal;
    size_t keys; /* those that are not masked */
    double query[N * D], key[N * D], value[N * M], state[STATE];
    double output_gradient[N * M], final_state_gradient[STATE];
} definition;

static double phi(double x) {
    return x > 0 ? x + 1 : exp(x);
}

static double similarity(const double *query, const double *key) {
    double sum = 0;
    for (size_t d = 0; d < D; d++) {
        sum += phi(query[d]) * phi(key[d]);
    }
    return sum;
}

/* The output of query i times its gradient: a mean of the values it sees, weighted by similarity. */
static double output_loss(const definition *f, size_t i) {
    const double *query = f->query + i * D, *g = f->output_gradient + i * M;
    double numerator = 0, denominator = 1e-6;
    for (size_t d = 0; d < D; d++) {
        for (size_t m = 0; m < M; m++) {
            numerator += phi(query[d]) * f->state[d * M + m] * g[m];
        }
        denominator += phi(query[d]) * f->state[D * M + d];
    }
    for (size_t j = 0; j < f->keys && (!f->causal || j <= i); j++) {
        const double weight = similarity(query, f->key + j * D);
        for (size_t m = 0; m < M; m++) {
            numerator += weight * f->value[j * M + m] * g[m];
        }
        denominator += weight;
    }
    return numerator / denominator;
}

/* The final state times its gradient. */
static double state_loss(const definition *f) {
    double loss = 0;
    for (size_t d = 0; d < D; d++) {
        for (size_t m = 0; m <= M; m++) {
            const size_t place = m < M ? d * M + m : D * M + d;
            double sum = f->state[place];
            for (size_t j = 0; j < f->keys; j++) {
                sum += phi(f->key[j * D + d]) * (m < M ? f->value[j * M + m] : 1);
            }
            loss += sum * f->final_state_gradient[place];
        }
    }
    return loss;
}

static double loss(void *argument) {
    const definition *f = argument;
    double sum = state_loss(f);
    for (size_t i = 0; i < N; i++) {
        sum += output_loss(f, i);
    }
    return sum;
}

static void read_tensor(const attention_case *problem, int tensor, size_t size, double *to, float *floats) {
    for (size_t i = 0; i < N * size; i++) {
        const double x = case_element(problem, tensor, 0, i / size, 0, i % size);
        if (to != NULL) {
            to[i] = x;
        } else {
            floats[i] = (float)x;
        }
    }
}

static void check_gradients(lilac_context *context, const case_options *options) {
    attention_case *problem = attention_case_create(context, options);
    definition f = {.causal = options->causal, .keys = options->lengths == NULL ? N : options->lengths[0]};
    read_tensor(problem, CASE_QUERY, D, f.query, NULL);
    read_tensor(problem, CASE_KEY, D, f.key, NULL);
    read_tensor(problem, CASE_VALUE, M, f.value, NULL);
    read_tensor(problem, CASE_OUTPUT_GRADIENT, M, f.output_gradient, NULL);
    for (size_t i = 0; i < STATE; i++) {
        f.state[i] = (double)problem->initial_state[i];
        f.final_state_gradient[i] = (double)problem->final_state_gradient[i];
    }
    attention_case_forward(context, problem);
    attention_case_backward(context, problem);
    float query[N * D], key[N * D], value[N * M];
    read_tensor(problem, CASE_QUERY_GRADIENT, D, NULL, query);
    read_tensor(problem, CASE_KEY_GRADIENT, D, NULL, key);
    read_tensor(problem, CASE_VALUE_GRADIENT, M, NULL, value);
    const double tolerance = problem->rounded ? CASE_BF16_ERROR : 1e-5;
    lilac_test_expect_gradient("queries", loss, &f, N * D, f.query, query, tolerance);
    lilac_test_expect_gradient("keys", loss, &f, N * D, f.key, key, tolerance);
    lilac_test_expect_gradient("values", loss, &f, N * M, f.value, value, tolerance);
    lilac_test_expect_gradient("initial state", loss, &f, STATE, f.state, problem->initial_state_gradient, tolerance);
    attention_case_check_guards(problem);
    attention_case_destroy(problem);
}

static void gradients(lilac_context *context) {
    static const size_t lengths[] = {33};
    for (int causal = 0; causal < 2; causal++) {
        for (int masked = 0; masked < 2; masked++) {
            for (int bf16 = 0; bf16 < 2; bf16++) {
                case_options options = {.shape = case_shape(1, 1, N, D),
                                        .causal = causal,
                                        .bf16 = bf16,
                                        .states = true,
                                        .lengths = masked ? lengths : NULL,
                                        .range = 3.0f,
                                        .seed = 61};
                options.shape.value_size = M;
                check_gradients(context, &options);
            }
        }
    }
}

static void test_gradients_are_those_of_the_definition(void **state) {
    (void)state;
    case_at_every_level(gradients);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_are_those_of_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
