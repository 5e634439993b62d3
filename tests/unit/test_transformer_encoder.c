/* SPDX-License-Identifier: MIT */
/* Tests of a transformer's layers as an encoder of numbers: what it computes, what it attends to, its gradients. */
#include "model/transformer_pass.h"
#include "nn/embedding.h"
#include "support/default_context.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { B = 2, N = 9, VALUE = 8, F = 14, COUNT = B * N * F, KINDS = 8 };

static int set_up(void **state) {
    (void)state;
    threads_set_up(NULL);
    return 0;
}

/* Linear and softmax attention, with the norm behind and before. */
static lilac_transformer *create_model(int number) {
    const lilac_transformer_config config = {
        .length = N,
        .layers = 2,
        .heads = 3,
        .head_size = 5,
        .feed_forward = 21,
        .value_width = VALUE,
        .position_width = F - VALUE,
        .mixtures = 2,
        .activation = LILAC_TRANSFORMER_GELU,
        .attention = number % 2 == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX,
        .norm = number / 2 % 2 == 0 ? LILAC_TRANSFORMER_POST_NORM : LILAC_TRANSFORMER_PRE_NORM,
        .seed = 3 + (uint64_t)number};
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

/* Full attention in the upper half of the kinds. */
static lilac_transformer_pass *create_pass(const lilac_transformer *model, int number, bool backward) {
    const lilac_transformer_pass_config config = {.B = B, .N = N, .backward = backward, .full = number >= KINDS / 2};
    lilac_transformer_pass *pass = NULL;
    assert_int_equal(lilac_transformer_pass_create(context, model, &config, &pass), LILAC_OK);
    return pass;
}

static void encode(lilac_transformer_pass *pass, const float *input, float *output) {
    const float *found;
    assert_int_equal(lilac_transformer_pass_encode(context, pass, B, input, NULL, &found), LILAC_OK);
    memcpy(output, found, COUNT * sizeof(float));
}

/* Embedded bytes through the encoder and the output layer are what the model makes of the bytes. */
static void test_is_the_middle_of_the_model(void **state) {
    (void)state;
    enum { OUTPUTS = 6 };
    const uint8_t tokens[B * N] = {7, 255, 0, 31, 99, 180, 3, 3, 64, 12, 200, 201, 5, 77, 128, 127, 1, 250};
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const float *parameters = lilac_transformer_parameters(model);
        lilac_transformer_pass *pass = create_pass(model, number, false);
        float input[COUNT], encoded[COUNT];
        for (size_t t = 0; t < B * N; t++) {
            memcpy(input + t * F, parameters + (size_t)tokens[t] * VALUE, VALUE * sizeof(float));
            lilac_sinusoidal_positions(t % N, 1, F - VALUE, input + t * F + VALUE, F);
        }
        encode(pass, input, encoded);
        const size_t last = lilac_transformer_tensor_count(model) - 2;
        const lilac_transformer_tensor weight = lilac_transformer_get_tensor(model, last);
        const lilac_transformer_tensor bias = lilac_transformer_get_tensor(model, last + 1);
        assert_string_equal(weight.name, "output.weight");
        assert_string_equal(bias.name, "output.bias");
        double expected[B * N * OUTPUTS];
        for (size_t i = 0; i < B * N * OUTPUTS; i++) {
            expected[i] = (double)parameters[bias.offset + i % OUTPUTS];
            for (size_t f = 0; f < F; f++) {
                expected[i] +=
                    (double)encoded[i / OUTPUTS * F + f] * (double)parameters[weight.offset + i % OUTPUTS * F + f];
            }
        }
        const float *outputs;
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, tokens, N, NULL, &outputs), LILAC_OK);
        lilac_test_expect_close("outputs", B * N * OUTPUTS, outputs, expected, 1e-5, 1e-5);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

static bool differ(const float *a, const float *b) {
    float largest = 0.0f;
    for (size_t f = 0; f < F; f++) {
        assert_true(isfinite(a[f]) && isfinite(b[f]));
        largest = fmaxf(largest, fabsf(a[f] - b[f]));
    }
    return largest > 1e-5f;
}

/* A change of the last token reaches all tokens of its sequence in the full form, and no other in the causal form. */
static void test_what_a_token_reaches(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_transformer_pass *pass = create_pass(model, number, false);
        float input[COUNT], before[COUNT], after[COUNT];
        lilac_test_uniform(1, COUNT, 0.0f, 1.0f, input);
        encode(pass, input, before);
        lilac_test_uniform(2, F, 1.0f, 3.0f, input + (N - 1) * F);
        encode(pass, input, after);
        for (size_t t = 0; t < B * N; t++) {
            const bool reached = t == N - 1 || (t < N && number >= KINDS / 2);
            assert_true(differ(before + t * F, after + t * F) == reached);
        }
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

/* Without positions, the full form does not know the order of its tokens. */
static void test_full_attention_has_no_order(void **state) {
    (void)state;
    for (int number = KINDS / 2; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_transformer_pass *pass = create_pass(model, number, false);
        float input[COUNT], reversed[COUNT], output[COUNT], found[COUNT];
        double expected[COUNT];
        lilac_test_uniform(1, COUNT, 0.0f, 1.0f, input);
        encode(pass, input, output);
        for (size_t t = 0; t < B * N; t++) {
            const size_t other = t / N * N + (N - 1 - t % N);
            for (size_t f = 0; f < F; f++) {
                reversed[t * F + f] = input[other * F + f];
                expected[t * F + f] = (double)output[other * F + f];
            }
        }
        encode(pass, reversed, found);
        lilac_test_expect_close("outputs", COUNT, found, expected, 1e-5, 1e-5);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

/* The sum of the outputs, each times a weight of its own. */
static double weighted_sum(lilac_transformer_pass *pass, const float *input, const float *weights) {
    float output[COUNT];
    encode(pass, input, output);
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        sum += (double)output[i] * (double)weights[i];
    }
    return sum;
}

/* Along the gradient itself, where the sum changes most. */
static void expect_gradient(const char *name, lilac_transformer_pass *pass, const float *input, const float *weights,
                            size_t count, const float *gradient, float *numbers) {
    double norm = 0.0, sums[2];
    for (size_t i = 0; i < count; i++) {
        norm += (double)gradient[i] * (double)gradient[i];
    }
    norm = sqrt(norm);
    assert_true(norm > 0.1);
    float *kept = malloc(count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, numbers, count * sizeof *kept);
    const double step = 0.002;
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < count; i++) {
            numbers[i] = (float)((double)kept[i] + (side == 0 ? step : -step) * (double)gradient[i] / norm);
        }
        sums[side] = weighted_sum(pass, input, weights);
    }
    memcpy(numbers, kept, count * sizeof *kept);
    free(kept);
    const double found = (sums[0] - sums[1]) / (2.0 * step);
    if (!(fabs(found - norm) <= 0.02 * norm)) {
        fail_msg("%s: the sum changes by %g, the gradient says %g", name, found, norm);
    }
}

static void test_gradients(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_transformer_pass *pass = create_pass(model, number, true);
        float *parameters = lilac_transformer_parameters(model);
        const size_t count = lilac_transformer_parameter_count(model);
        float input[COUNT], weights[COUNT], input_gradient[COUNT], *gradient = calloc(count, sizeof *gradient);
        assert_non_null(gradient);
        lilac_test_uniform(1, COUNT, 0.0f, 1.0f, input);
        lilac_test_uniform(2, COUNT, -1.0f, 1.0f, weights);
        weighted_sum(pass, input, weights);
        const float *found;
        assert_int_equal(lilac_transformer_pass_encode_backward(context, pass, weights, gradient, &found), LILAC_OK);
        memcpy(input_gradient, found, sizeof input_gradient);
        expect_gradient("input", pass, input, weights, COUNT, input_gradient, input);
        /* All layers' weights: those between the embedding, which comes first, and the output layer. */
        const size_t tensors = lilac_transformer_tensor_count(model);
        const size_t first = lilac_transformer_get_tensor(model, 1).offset;
        const size_t end = lilac_transformer_get_tensor(model, tensors - 2).offset;
        expect_gradient("weights", pass, input, weights, end - first, gradient + first, parameters + first);
        for (size_t i = 0; i < count; i++) {
            assert_true((i >= first && i < end) || gradient[i] == 0.0f);
        }
        free(gradient);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_the_middle_of_the_model),
        cmocka_unit_test(test_what_a_token_reaches),
        cmocka_unit_test(test_full_attention_has_no_order),
        cmocka_unit_test(test_gradients),
    };
    return cmocka_run_group_tests(tests, set_up, context_tear_down);
}
