/* SPDX-License-Identifier: MIT */
/* Tests of the transformer's passes: gradients, causality, the same bytes however it is run, adapters, refusals. */
#include "model/transformer_pass.h"

#include "adapt/adapter.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { B = 3, N = 13, STRIDE = N + 2, KINDS = 6 };

static uint8_t tokens[B * STRIDE];

static int set_up(void **state) {
    (void)state;
    float values[B * STRIDE];
    lilac_test_uniform(1, B * STRIDE, 0.0f, 255.99f, values);
    for (size_t i = 0; i < B * STRIDE; i++) {
        tokens[i] = (uint8_t)values[i];
    }
    threads_set_up(NULL);
    return 0;
}

/* Small models that between them have every choice. */
static lilac_transformer_config kind(int number) {
    lilac_transformer_config config = {.length = N,
                                       .layers = 2,
                                       .heads = 3,
                                       .head_size = 5,
                                       .feed_forward = 21,
                                       .value_width = 8,
                                       .position_width = 6,
                                       .mixtures = 4,
                                       .dropout = 0.2,
                                       .seed = 3 + (uint64_t)number};
    config.attention = number % 2 == 0 ? LILAC_TRANSFORMER_LINEAR : LILAC_TRANSFORMER_SOFTMAX;
    config.norm = number / 2 % 2 == 0 ? LILAC_TRANSFORMER_POST_NORM : LILAC_TRANSFORMER_PRE_NORM;
    config.activation = number % 3 == 0 ? LILAC_TRANSFORMER_RELU : LILAC_TRANSFORMER_GELU;
    config.output = number % 3 == 1 ? LILAC_TRANSFORMER_CATEGORICAL : LILAC_TRANSFORMER_LOGISTIC_MIXTURE;
    config.features = number == 4 ? LILAC_TRANSFORMER_POSITIVE_FEATURES : LILAC_TRANSFORMER_ELU_PLUS_ONE;
    return config;
}

/* A model whose biases and norms are not what they start as, so that nothing is multiplied by 0 or 1. */
static lilac_transformer *create_model(int number) {
    const lilac_transformer_config config = kind(number);
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    float *parameters = lilac_transformer_parameters(model);
    for (size_t i = 0; i < lilac_transformer_tensor_count(model); i++) {
        const lilac_transformer_tensor tensor = lilac_transformer_get_tensor(model, i);
        if (tensor.cols == 0) {
            const float centre = parameters[tensor.offset];
            lilac_test_uniform(100 + i, tensor.rows, centre - 0.3f, centre + 0.3f, parameters + tensor.offset);
        }
    }
    return model;
}

static lilac_transformer_pass *create_pass(lilac_context *with, const lilac_transformer *model,
                                           const lilac_adapter *adapter, lilac_precision precision, bool backward) {
    const lilac_transformer_pass_config config = {
        .B = B, .N = N, .precision = precision, .adapter = adapter, .backward = backward};
    lilac_transformer_pass *pass = NULL;
    assert_int_equal(lilac_transformer_pass_create(with, model, &config, &pass), LILAC_OK);
    return pass;
}

static const lilac_random dropout_random = {.seed = 5, .stream = 77};

/* The sum of the losses of `rows` sequences from number `first` on, with dropout. */
static double run_forward(lilac_context *with, lilac_transformer_pass *pass, size_t first, size_t rows) {
    const float *outputs;
    float losses[B * N];
    lilac_random random = dropout_random;
    random.stream += first;
    const uint8_t *rows_tokens = tokens + first * STRIDE;
    assert_int_equal(lilac_transformer_pass_forward(with, pass, rows, rows_tokens, STRIDE, &random, &outputs),
                     LILAC_OK);
    lilac_transformer_pass_loss(with, pass, rows_tokens, STRIDE, 1.0f, losses);
    double sum = 0.0;
    for (size_t i = 0; i < rows * N; i++) {
        assert_true(isfinite(losses[i]) && losses[i] > 0.0f);
        sum += (double)losses[i];
    }
    return sum;
}

static float *create_gradient(lilac_context *with, lilac_transformer_pass *pass, size_t count) {
    float *gradient = calloc(count, sizeof *gradient);
    assert_non_null(gradient);
    run_forward(with, pass, 0, B);
    assert_int_equal(lilac_transformer_pass_backward(with, pass, gradient), LILAC_OK);
    return gradient;
}

/* The derivative of the loss along a direction, by a central difference with steps of at most `step` in a number. */
static double difference_along(lilac_transformer_pass *pass, size_t count, const float *direction, float step,
                               float *parameters) {
    float *kept = malloc(count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, parameters, count * sizeof *kept);
    double losses[2];
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < count; i++) {
            parameters[i] = kept[i] + (side == 0 ? step : -step) * direction[i];
        }
        losses[side] = run_forward(context, pass, 0, B);
    }
    memcpy(parameters, kept, count * sizeof *kept);
    free(kept);
    return (losses[0] - losses[1]) / (2.0 * (double)step);
}

/* Each block of trained numbers along its own gradient, where the loss changes most, and along a random direction. */
static void expect_gradient(const char *name, lilac_transformer_pass *pass, size_t count, const float *gradient,
                            float *parameters) {
    float *direction = malloc(count * sizeof *direction);
    assert_non_null(direction);
    double norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        norm += (double)gradient[i] * (double)gradient[i];
    }
    norm = sqrt(norm);
    for (int random = 0; random < 2; random++) {
        lilac_test_uniform(500, count, -1.0f, 1.0f, direction);
        double expected = 0.0;
        for (size_t i = 0; i < count; i++) {
            direction[i] =
                random == 1 ? direction[i] / sqrtf((float)count / 3.0f) : (float)((double)gradient[i] / norm);
            expected += (double)gradient[i] * (double)direction[i];
        }
        const double found = difference_along(pass, count, direction, 0.0005f, parameters);
        if (!(fabs(found - expected) <= 0.01 * norm + 0.02)) {
            fail_msg("%s: the loss changes by %g, the gradient says %g (its norm is %g)", name, found, expected, norm);
        }
    }
    free(direction);
}

static void test_gradients(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_transformer_pass *pass = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        float *gradient = create_gradient(context, pass, lilac_transformer_parameter_count(model));
        for (size_t i = 0; i < lilac_transformer_tensor_count(model); i++) {
            const lilac_transformer_tensor tensor = lilac_transformer_get_tensor(model, i);
            const size_t count = tensor.rows * (tensor.cols > 0 ? tensor.cols : 1);
            expect_gradient(tensor.name, pass, count, gradient + tensor.offset,
                            lilac_transformer_parameters(model) + tensor.offset);
        }
        free(gradient);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

static void test_gradients_add_up_over_sequences(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const size_t count = lilac_transformer_parameter_count(model);
        lilac_transformer_pass *pass = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        /* Without dropout: its masks depend on the place in the batch. */
        float losses[B * N];
        const float *outputs;
        float *together = calloc(count, sizeof *together), *apart = calloc(count, sizeof *apart);
        double *expected = calloc(count, sizeof *expected);
        assert_true(together != NULL && apart != NULL && expected != NULL);
        for (size_t first = 0; first < B; first++) {
            const uint8_t *row = tokens + first * STRIDE;
            assert_int_equal(lilac_transformer_pass_forward(context, pass, 1, row, STRIDE, NULL, &outputs), LILAC_OK);
            lilac_transformer_pass_loss(context, pass, row, STRIDE, 0.5f, losses);
            assert_int_equal(lilac_transformer_pass_backward(context, pass, apart), LILAC_OK);
        }
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, tokens, STRIDE, NULL, &outputs), LILAC_OK);
        lilac_transformer_pass_loss(context, pass, tokens, STRIDE, 0.5f, losses);
        assert_int_equal(lilac_transformer_pass_backward(context, pass, together), LILAC_OK);
        for (size_t i = 0; i < count; i++) {
            expected[i] = (double)apart[i];
        }
        lilac_test_expect_close("gradient", count, together, expected, 3e-5, 1e-4);
        free(expected);
        free(apart);
        free(together);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const size_t count = lilac_transformer_parameter_count(model);
        lilac_transformer_pass *two = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        lilac_transformer_pass *one = create_pass(one_thread, model, NULL, LILAC_PRECISION_F32, true);
        float *with_two = create_gradient(context, two, count), *with_one = create_gradient(one_thread, one, count);
        assert_memory_equal(with_two, with_one, count * sizeof(float));
        free(with_one);
        free(with_two);
        lilac_transformer_pass_destroy(one);
        lilac_transformer_pass_destroy(two);
        lilac_transformer_destroy(model);
    }
}

static float *create_outputs(const lilac_transformer *model, const lilac_adapter *adapter, size_t rows, size_t length,
                             const uint8_t *from) {
    const size_t O = lilac_transformer_output_size(lilac_transformer_get_config(model));
    size_t bytes;
    assert_int_equal(lilac_transformer_workspace_size(context, model, adapter, rows, length, &bytes), LILAC_OK);
    /* One byte off, to see that any alignment will do. */
    char *workspace = malloc(bytes + 1);
    float *outputs = malloc(rows * length * O * sizeof *outputs);
    assert_true(workspace != NULL && outputs != NULL);
    assert_int_equal(
        lilac_transformer_forward(context, model, adapter, rows, length, from, outputs, workspace + 1, bytes),
        LILAC_OK);
    free(workspace);
    return outputs;
}

static void test_outputs_are_the_same_with_and_without_backward_pass(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_transformer_pass *pass = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        lilac_transformer_pass *inference = create_pass(context, model, NULL, LILAC_PRECISION_F32, false);
        assert_true(lilac_transformer_pass_bytes(inference) < lilac_transformer_pass_bytes(pass));
        const size_t O = lilac_transformer_output_size(lilac_transformer_get_config(model));
        const float *outputs, *others;
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, tokens, N, NULL, &outputs), LILAC_OK);
        assert_int_equal(lilac_transformer_pass_forward(context, inference, B, tokens, N, NULL, &others), LILAC_OK);
        assert_memory_equal(outputs, others, B * N * O * sizeof(float));
        float *public_outputs = create_outputs(model, NULL, B, N, tokens);
        assert_memory_equal(outputs, public_outputs, B * N * O * sizeof(float));
        free(public_outputs);
        lilac_transformer_pass_destroy(inference);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

enum { PLACES = 6 };
static const uint32_t places[PLACES] = {1, 2, 5, 7, 8, 12};

static lilac_transformer_pass *create_pass_at(const lilac_transformer *model, const uint32_t *at, size_t count,
                                              bool backward) {
    const lilac_transformer_pass_config config = {.B = B, .N = count, .backward = backward, .places = at};
    lilac_transformer_pass *pass = NULL;
    assert_int_equal(lilac_transformer_pass_create(context, model, &config, &pass), LILAC_OK);
    return pass;
}

/* The embedded tokens at these places: values, then sines and cosines of the places. B x PLACES x F. */
static float *create_embedded(const lilac_transformer *model, size_t F) {
    const lilac_transformer_config *config = lilac_transformer_get_config(model);
    const float *table = model->parameters;
    float *x = malloc(B * PLACES * F * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < B * PLACES; i++) {
        const uint32_t place = places[i % PLACES];
        float *row = x + i * F;
        memcpy(row, table + tokens[i / PLACES * STRIDE + place] * config->value_width,
               config->value_width * sizeof *row);
        for (size_t c = 0; c < config->position_width; c++) {
            const double angle = (double)place / pow(10000.0, (double)(c / 2 * 2) / (double)config->position_width);
            row[config->value_width + c] = (float)(c % 2 == 0 ? sin(angle) : cos(angle));
        }
    }
    return x;
}

/* Tokens at some places of longer rows: what an encoder of these embedded tokens and the output layer give. */
static void test_places(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const size_t F = model->F, O = model->O;
        lilac_transformer_pass *pass = create_pass_at(model, places, PLACES, false);
        lilac_transformer_pass *encoder = create_pass_at(model, NULL, PLACES, false);
        float *x = create_embedded(model, F);
        const float *outputs, *encoded;
        assert_int_equal(lilac_transformer_pass_encode(context, encoder, B, x, NULL, &encoded), LILAC_OK);
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, tokens, STRIDE, NULL, &outputs), LILAC_OK);
        double *expected = malloc(B * PLACES * O * sizeof *expected);
        assert_non_null(expected);
        for (size_t i = 0; i < B * PLACES * O; i++) {
            const float *weight = model->parameters + model->output_weight + i % O * F;
            expected[i] = (double)model->parameters[model->output_bias + i % O];
            for (size_t f = 0; f < F; f++) {
                expected[i] += (double)encoded[i / O * F + f] * (double)weight[f];
            }
        }
        lilac_test_expect_close("outputs", B * PLACES * O, outputs, expected, 1e-5, 1e-5);
        free(expected);
        free(x);
        lilac_transformer_pass_destroy(encoder);
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

/* All places are none in particular, forward and backward; others have other targets, and a gradient of their own. */
static void test_losses_and_gradients_at_places(void **state) {
    (void)state;
    uint32_t all[N];
    for (uint32_t i = 0; i < N; i++) {
        all[i] = i;
    }
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const size_t count = lilac_transformer_parameter_count(model);
        lilac_transformer_pass *plain = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        lilac_transformer_pass *at_all = create_pass_at(model, all, N, true);
        float *gradient = create_gradient(context, plain, count), *other = create_gradient(context, at_all, count);
        assert_memory_equal(gradient, other, count * sizeof *gradient);
        free(other);
        free(gradient);
        lilac_transformer_pass_destroy(at_all);
        lilac_transformer_pass_destroy(plain);

        lilac_transformer_pass *pass = create_pass_at(model, places, PLACES, true);
        float losses[B * PLACES], changed_losses[B * PLACES];
        uint8_t changed[B * STRIDE];
        memcpy(changed, tokens, sizeof changed);
        const float *outputs;
        /* Token 6 is the target of place 5, and is seen nowhere. */
        changed[6] ^= 0x55;
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, tokens, STRIDE, NULL, &outputs), LILAC_OK);
        lilac_transformer_pass_loss(context, pass, tokens, STRIDE, 1.0f, losses);
        assert_int_equal(lilac_transformer_pass_forward(context, pass, B, changed, STRIDE, NULL, &outputs), LILAC_OK);
        lilac_transformer_pass_loss(context, pass, changed, STRIDE, 1.0f, changed_losses);
        for (size_t i = 0; i < B * PLACES; i++) {
            assert_true((losses[i] != changed_losses[i]) == (i == 2));
        }
        lilac_transformer_pass_destroy(pass);
        lilac_transformer_destroy(model);
    }
}

static void test_outputs_do_not_depend_on_later_tokens(void **state) {
    (void)state;
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        const size_t O = lilac_transformer_output_size(lilac_transformer_get_config(model));
        uint8_t changed[N];
        memcpy(changed, tokens, N);
        enum { PLACE = 7 };
        changed[PLACE] ^= 0x55;
        float *before = create_outputs(model, NULL, 1, N, tokens), *after = create_outputs(model, NULL, 1, N, changed);
        assert_memory_equal(before, after, PLACE * O * sizeof(float));
        for (size_t t = PLACE; t < N; t++) {
            assert_memory_not_equal(before + t * O, after + t * O, O * sizeof(float));
        }
        free(after);
        free(before);
        lilac_transformer_destroy(model);
    }
}

/* Loss and gradients with rounded products, whose errors are about that share of them. */
static void check_rounded_products(lilac_precision precision, double share) {
    lilac_transformer *model = create_model(0);
    const lilac_transformer_pass_config config = {.B = B, .N = N, .precision = precision, .backward = true};
    lilac_transformer_pass *rounded = NULL;
    const lilac_status status = lilac_transformer_pass_create(context, model, &config, &rounded);
    if (status == LILAC_ERROR_UNSUPPORTED) {
        lilac_transformer_destroy(model);
        skip();
    }
    assert_int_equal(status, LILAC_OK);
    lilac_transformer_destroy(model);
    lilac_transformer_pass_destroy(rounded);
    for (int number = 0; number < KINDS; number++) {
        model = create_model(number);
        const size_t count = lilac_transformer_parameter_count(model);
        lilac_transformer_pass *exact = create_pass(context, model, NULL, LILAC_PRECISION_F32, true);
        rounded = create_pass(context, model, NULL, precision, true);
        const double loss = run_forward(context, exact, 0, B), near = run_forward(context, rounded, 0, B);
        assert_true(fabs(loss - near) < share * loss && loss != near);
        float *gradient = create_gradient(context, exact, count), *other = create_gradient(context, rounded, count);
        double error = 0.0, norm = 0.0;
        for (size_t i = 0; i < count; i++) {
            error += pow((double)gradient[i] - (double)other[i], 2.0);
            norm += pow((double)gradient[i], 2.0);
        }
        assert_true(sqrt(error) < 5.0 * share * sqrt(norm));
        free(other);
        free(gradient);
        lilac_transformer_pass_destroy(rounded);
        lilac_transformer_pass_destroy(exact);
        lilac_transformer_destroy(model);
    }
}

static void test_bf16_is_near_f32(void **state) {
    (void)state;
    check_rounded_products(LILAC_PRECISION_BF16, 0.01);
}

static void test_f16_is_near_f32(void **state) {
    (void)state;
    check_rounded_products(LILAC_PRECISION_F16, 0.002);
}

/* ---- Adapters ---- */

static lilac_adapter *create_adapter(const lilac_transformer *model, const char *patterns) {
    lilac_linear_layer layers[32];
    size_t count;
    assert_int_equal(lilac_transformer_linear_layers(context, model, patterns, 32, layers, &count), LILAC_OK);
    assert_in_range(count, 1, 32);
    lilac_lora_base base = {.layers = layers, .layer_count = count};
    lilac_transformer_hash(model, base.hash);
    const lilac_lora_config config = {.rank = 2, .alpha = 3};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    return adapter;
}

static void test_adapter_gradients(void **state) {
    (void)state;
    static const char *const patterns[] = {NULL, "*.query,*.value", "layers.1.*", "output", "*.down,*.key", "*.up"};
    for (int number = 0; number < KINDS; number++) {
        lilac_transformer *model = create_model(number);
        lilac_adapter *adapter = create_adapter(model, patterns[number]);
        const size_t count = lilac_adapter_parameter_count(adapter);
        lilac_test_uniform(900, count, -0.3f, 0.3f, lilac_adapter_parameters(adapter));
        lilac_transformer_pass *pass = create_pass(context, model, adapter, LILAC_PRECISION_F32, true);
        float *gradient = create_gradient(context, pass, count);
        for (size_t e = 0; e < adapter->entry_count; e++) {
            const lilac_adapter_entry *entry = &adapter->entries[e];
            float *parameters = lilac_adapter_parameters(adapter);
            expect_gradient(entry->name, pass, 2 * entry->in, gradient + entry->A, parameters + entry->A);
            expect_gradient(entry->name, pass, 2 * entry->out, gradient + entry->Bt, parameters + entry->Bt);
        }
        free(gradient);
        lilac_transformer_pass_destroy(pass);
        lilac_adapter_destroy(adapter);
        lilac_transformer_destroy(model);
    }
}

static void test_adapter_is_what_merging_it_gives(void **state) {
    (void)state;
    lilac_transformer *model = create_model(1), *merged = NULL;
    lilac_adapter *adapter = create_adapter(model, "*attention*,output");
    const size_t count = B * N * lilac_transformer_output_size(lilac_transformer_get_config(model));
    float *plain = create_outputs(model, NULL, B, N, tokens), *unchanged = create_outputs(model, adapter, B, N, tokens);
    assert_memory_equal(plain, unchanged, count * sizeof(float));
    lilac_test_uniform(901, lilac_adapter_parameter_count(adapter), -0.3f, 0.3f, lilac_adapter_parameters(adapter));
    assert_int_equal(lilac_transformer_clone(context, model, &merged), LILAC_OK);
    lilac_linear_layer layers[32];
    size_t layer_count;
    assert_int_equal(lilac_transformer_linear_layers(context, merged, "*attention*,output", 32, layers, &layer_count),
                     LILAC_OK);
    assert_int_equal(lilac_adapter_merge(context, adapter, layers, layer_count), LILAC_OK);
    float *adapted = create_outputs(model, adapter, B, N, tokens), *other = create_outputs(merged, NULL, B, N, tokens);
    double *expected = malloc(count * sizeof *expected), change = 0.0;
    assert_non_null(expected);
    for (size_t i = 0; i < count; i++) {
        expected[i] = (double)other[i];
        change = fmax(change, fabs((double)(plain[i] - adapted[i])));
    }
    assert_true(change > 0.1);
    lilac_test_expect_close("outputs", count, adapted, expected, 1e-4, 1e-4);
    free(expected);
    free(other);
    free(adapted);
    free(unchanged);
    free(plain);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(merged);
    lilac_transformer_destroy(model);
}

/* Whether tensor number `index` of two models holds the same numbers. */
static bool same_tensor(lilac_transformer *one, lilac_transformer *other, size_t index) {
    const lilac_transformer_tensor a = lilac_transformer_get_tensor(one, index);
    const lilac_transformer_tensor b = lilac_transformer_get_tensor(other, index);
    const size_t count = a.rows * (a.cols == 0 ? 1 : a.cols);
    return a.rows == b.rows && a.cols == b.cols &&
           memcmp(lilac_transformer_parameters(one) + a.offset, lilac_transformer_parameters(other) + b.offset,
                  count * sizeof(float)) == 0;
}

/* Forward, loss and backward of the first `rows` sequences of a text. */
static void run_rows(lilac_transformer_pass *pass, size_t rows, const uint8_t *text, size_t length, size_t outputs,
                     float *output, size_t count, float *gradient) {
    const float *result;
    float *losses = calloc(rows * length, sizeof *losses);
    assert_non_null(losses);
    assert_int_equal(lilac_transformer_pass_forward(context, pass, rows, text, length + 1, NULL, &result), LILAC_OK);
    memcpy(output, result, rows * length * outputs * sizeof *output);
    lilac_transformer_pass_loss(context, pass, text, length + 1, 1.0f, losses);
    memset(gradient, 0, count * sizeof *gradient);
    assert_int_equal(lilac_transformer_pass_backward(context, pass, gradient), LILAC_OK);
    free(losses);
}

/* Those that a batch leaves over at its end: with one head their chunks are shared out, where four heads are not. They
 * give what a pass that was made for so many gives, but for the order of sums. */
static void test_fewer_sequences_than_the_pass_is_for(void **state) {
    (void)state;
    enum { LENGTH = 100, MOST = 8 };
    lilac_transformer_config config = kind(0);
    config.heads = 1;
    config.length = LENGTH;
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    const size_t count = lilac_transformer_parameter_count(model), outputs = lilac_transformer_output_size(&config);
    float *gradients[MOST + 1], *results[MOST + 1];
    for (size_t i = 0; i <= MOST; i++) {
        gradients[i] = calloc(count, sizeof(float));
        results[i] = calloc(MOST * LENGTH * outputs, sizeof(float));
        assert_true(gradients[i] != NULL && results[i] != NULL);
    }
    uint8_t text[MOST * (LENGTH + 1)];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (uint8_t)(i * i % 251);
    }
    for (size_t most = 1; most <= MOST; most++) {
        const lilac_transformer_pass_config pass_config = {.B = most, .N = LENGTH, .backward = true};
        lilac_transformer_pass *pass = NULL;
        assert_int_equal(lilac_transformer_pass_create(context, model, &pass_config, &pass), LILAC_OK);
        /* First as many as it is for, which is what others are compared with. */
        run_rows(pass, most, text, LENGTH, outputs, results[most], count, gradients[most]);
        for (size_t rows = 1; rows <= most; rows++) {
            double *output = lilac_test_doubles(rows * LENGTH * outputs, results[rows]);
            double *gradient = lilac_test_doubles(count, gradients[rows]);
            run_rows(pass, rows, text, LENGTH, outputs, results[0], count, gradients[0]);
            lilac_test_expect_close("outputs", rows * LENGTH * outputs, results[0], output, 1e-5, 1e-5);
            lilac_test_expect_close("gradient", count, gradients[0], gradient, 3e-5, 1e-4);
            free(gradient);
            free(output);
        }
        lilac_transformer_pass_destroy(pass);
    }
    for (size_t i = 0; i <= MOST; i++) {
        free(results[i]);
        free(gradients[i]);
    }
    lilac_transformer_destroy(model);
}

/* The new output layer is that of a new model, and all else the old model's. */
static void test_another_output_layer(void **state) {
    (void)state;
    for (int number = 0; number < 6; number++) {
        lilac_transformer *model = create_model(number), *changed = NULL, *fresh = NULL;
        lilac_transformer_config config = kind(number);
        config.output = config.output == LILAC_TRANSFORMER_CATEGORICAL ? LILAC_TRANSFORMER_LOGISTIC_MIXTURE
                                                                       : LILAC_TRANSFORMER_CATEGORICAL;
        config.mixtures = 7;
        assert_int_equal(lilac_transformer_with_output(context, model, config.output, 7, &changed), LILAC_OK);
        assert_int_equal(lilac_transformer_create(context, &config, &fresh), LILAC_OK);
        assert_int_equal(lilac_transformer_get_config(changed)->output, config.output);
        assert_int_equal(lilac_transformer_get_config(changed)->mixtures, 7);
        const size_t last = lilac_transformer_tensor_count(model) - 2;
        for (size_t i = 0; i < last; i++) {
            assert_true(same_tensor(changed, model, i));
        }
        assert_string_equal(lilac_transformer_get_tensor(model, last).name, "output.weight");
        assert_true(same_tensor(changed, fresh, last) && same_tensor(changed, fresh, last + 1));
        lilac_transformer_destroy(fresh);
        lilac_transformer_destroy(changed);
        lilac_transformer_destroy(model);
    }
}

/* ---- Refusals ---- */

static void test_default_config_is_the_reports(void **state) {
    (void)state;
    lilac_transformer_config config;
    lilac_transformer_config_default(&config);
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    assert_int_equal(lilac_transformer_width(&config), 256);
    assert_int_equal(lilac_transformer_output_size(&config), 30);
    /* 8 layers of 4 x 256 x 256 + 2 x 256 x 1024 weights, with biases and norms, embedding and output. */
    assert_int_equal(lilac_transformer_parameter_count(model),
                     8 * (4 * 256 * 256 + 2 * 256 * 1024 + 4 * 256 + 1024 + 256 + 4 * 256) + 256 * 128 + 2 * 256 +
                         30 * 257);
    lilac_transformer_destroy(model);
}

static void test_refused_configs(void **state) {
    (void)state;
    const lilac_transformer_config good = kind(0);
    lilac_transformer_config bad[12];
    for (size_t i = 0; i < 12; i++) {
        bad[i] = good;
    }
    bad[0].length = 0;
    bad[1].layers = 257;
    bad[2].heads = 0;
    bad[3].head_size = 0;
    bad[4].feed_forward = 0;
    bad[5].value_width = 0;
    bad[6].position_width = 5;
    bad[7].mixtures = 0;
    bad[8].dropout = 1.0;
    bad[9].dropout = (double)NAN;
    bad[10].attention = (lilac_transformer_attention)2;
    bad[11].heads = SIZE_MAX / 2;
    for (size_t i = 0; i < 12; i++) {
        lilac_transformer *model = NULL;
        assert_int_equal(lilac_transformer_create(context, &bad[i], &model), LILAC_ERROR_ARGUMENT);
        assert_null(model);
        assert_string_not_equal(lilac_context_message(context), "");
    }
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(NULL, &good, &model), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_create(context, NULL, &model), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_create(context, &good, NULL), LILAC_ERROR_ARGUMENT);
}

static void test_refused_output_layers(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0), *out = NULL;
    const lilac_transformer_output mixture = LILAC_TRANSFORMER_LOGISTIC_MIXTURE;
    assert_int_equal(lilac_transformer_with_output(NULL, model, mixture, 3, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_with_output(context, NULL, mixture, 3, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_with_output(context, model, mixture, 3, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_with_output(context, model, mixture, 0, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_with_output(context, model, (lilac_transformer_output)2, 3, &out),
                     LILAC_ERROR_ARGUMENT);
    assert_null(out);
    lilac_transformer_destroy(model);
}

static void test_refused_passes(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0), *other = create_model(1);
    size_t bytes = 1;
    assert_int_equal(lilac_transformer_workspace_size(context, model, NULL, 1, N + 1, &bytes), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_transformer_workspace_size(context, model, NULL, SIZE_MAX / 4, N, &bytes),
                     LILAC_ERROR_OVERFLOW);
    assert_int_equal(bytes, 1);
    float outputs[N * 12], before[N * 12];
    lilac_test_uniform(3, N * 12, 0.0f, 1.0f, outputs);
    memcpy(before, outputs, sizeof before);
    assert_int_equal(lilac_transformer_workspace_size(context, model, NULL, 1, N, &bytes), LILAC_OK);
    void *workspace = malloc(bytes);
    assert_non_null(workspace);
    assert_int_equal(lilac_transformer_forward(context, model, NULL, 1, N, tokens, outputs, workspace, bytes - 1),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_transformer_forward(context, model, NULL, 1, N, NULL, outputs, workspace, bytes),
                     LILAC_ERROR_ARGUMENT);
    /* An adapter of a model with another output layer. */
    lilac_adapter *adapter = create_adapter(other, "output");
    assert_int_equal(lilac_transformer_forward(context, model, adapter, 1, N, tokens, outputs, workspace, bytes),
                     LILAC_ERROR_SHAPE);
    const lilac_transformer_pass_config config = {.B = 1, .N = N, .adapter = adapter};
    lilac_transformer_pass *pass = NULL;
    assert_int_equal(lilac_transformer_pass_create(context, model, &config, &pass), LILAC_ERROR_BASE_MISMATCH);
    assert_null(pass);
    assert_memory_equal(outputs, before, sizeof before);
    lilac_adapter_destroy(adapter);
    free(workspace);
    lilac_transformer_destroy(other);
    lilac_transformer_destroy(model);
}

static void test_patterns(void **state) {
    (void)state;
    lilac_transformer *model = create_model(0);
    lilac_linear_layer layers[2];
    size_t count = 9;
    assert_int_equal(lilac_transformer_linear_layers(context, model, NULL, 2, layers, &count), LILAC_OK);
    assert_int_equal(count, 13);
    assert_string_equal(layers[1].name, "layers.0.attention.key");
    assert_int_equal(lilac_transformer_linear_layers(context, model, "*.up,layers.1.*.value", 2, layers, &count),
                     LILAC_OK);
    assert_int_equal(count, 3);
    assert_string_equal(layers[0].name, "layers.0.feed_forward.up");
    assert_string_equal(layers[1].name, "layers.1.attention.value");
    assert_int_equal(layers[0].out, 21);
    assert_int_equal(layers[0].in, 14);
    assert_int_equal(lilac_transformer_linear_layers(context, model, "*.up,*.upp", 0, NULL, &count),
                     LILAC_ERROR_NOT_FOUND);
    assert_int_equal(count, 3);
    /* One that would match if it were cut to what a name can have. */
    char pattern[80];
    memset(pattern, '*', sizeof pattern);
    pattern[78] = 'x';
    pattern[79] = '\0';
    assert_int_equal(lilac_transformer_linear_layers(context, model, pattern, 0, NULL, &count), LILAC_ERROR_ARGUMENT);
    assert_int_equal(count, 3);
    lilac_transformer_destroy(model);
}

static void test_failing_allocations(void **state) {
    (void)state;
    const lilac_transformer_config config = kind(4);
    lilac_transformer *model = NULL;
    lilac_status status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_transformer_create(context, &config, &model);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_null(model);
            assert_int_equal(lilac_test_live_allocations(), live);
        }
    }
    const lilac_transformer_pass_config pass_config = {.B = B, .N = N, .backward = true};
    lilac_transformer_pass *pass = NULL;
    status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_transformer_pass_create(context, model, &pass_config, &pass);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_null(pass);
            assert_int_equal(lilac_test_live_allocations(), live);
        }
    }
    lilac_transformer_pass_destroy(pass);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_add_up_over_sequences),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_outputs_are_the_same_with_and_without_backward_pass),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_losses_and_gradients_at_places),
        cmocka_unit_test(test_outputs_do_not_depend_on_later_tokens),
        cmocka_unit_test(test_bf16_is_near_f32),
        cmocka_unit_test(test_f16_is_near_f32),
        cmocka_unit_test(test_adapter_gradients),
        cmocka_unit_test(test_adapter_is_what_merging_it_gives),
        cmocka_unit_test(test_default_config_is_the_reports),
        cmocka_unit_test(test_fewer_sequences_than_the_pass_is_for),
        cmocka_unit_test(test_another_output_layer),
        cmocka_unit_test(test_refused_configs),
        cmocka_unit_test(test_refused_output_layers),
        cmocka_unit_test(test_refused_passes),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, context_tear_down);
}
