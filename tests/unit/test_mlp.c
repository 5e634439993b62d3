/* SPDX-License-Identifier: MIT */
/* Tests of the MLP: its passes against double precision, its gradients against central differences, copies, refusals.
 */
#include "model/mlp.h"

#include "core/memory.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/mlp_reference.h"
#include "support/numbers.h"

#include <nettle/sha2.h>

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { ROWS = 9 };

static int set_up(void **state) {
    (void)state;
    threads_set_up(NULL);
    return 0;
}

static lilac_mlp_config small_config(void) {
    return (lilac_mlp_config){.layer_count = 3, .sizes = {5, 70, 6, 4}, .dropout = 0.3, .seed = 7};
}

static lilac_mlp *create_mlp(const lilac_mlp_config *config) {
    lilac_mlp *mlp = NULL;
    assert_int_equal(lilac_mlp_create(context, config, &mlp), LILAC_OK);
    return mlp;
}

/* An adapter whose B is not 0, so that it changes something and A has a gradient. */
static lilac_adapter *create_adapter(const lilac_mlp *mlp, size_t rank) {
    const lilac_lora_config config = {.rank = rank, .alpha = 3, .scale_rule = LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK};
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    assert_int_equal(lilac_adapter_set_strength(adapter, 0.75), LILAC_OK);
    lilac_test_uniform(100, lilac_adapter_parameter_count(adapter), -0.5f, 0.5f, lilac_adapter_parameters(adapter));
    return adapter;
}

/* The model's logits, computed in a workspace of exactly the size that it asks for. */
static float *create_logits(lilac_context *with, const lilac_mlp *mlp, const lilac_adapter *adapter, size_t B,
                            const float *inputs) {
    const lilac_mlp_config *config = lilac_mlp_get_config(mlp);
    const size_t size = lilac_mlp_workspace_size(mlp, adapter, B);
    float *logits = malloc(B * config->sizes[config->layer_count] * sizeof *logits);
    float *workspace = size == 0 ? NULL : malloc(size * sizeof *workspace);
    assert_non_null(logits);
    assert_int_equal(lilac_mlp_forward(with, mlp, adapter, B, inputs, logits, workspace), LILAC_OK);
    free(workspace);
    return logits;
}

static void test_default_config(void **state) {
    (void)state;
    lilac_mlp_config config;
    lilac_mlp_config_default(&config);
    lilac_mlp *mlp = create_mlp(&config);
    assert_int_equal(lilac_mlp_parameter_count(mlp), 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10);
    assert_memory_equal(lilac_mlp_get_config(mlp), &config, sizeof config);
    assert_true(config.layer_count == 3 && config.dropout == 0.1 && config.seed == 0);
    lilac_mlp_destroy(mlp);
    lilac_mlp_destroy(NULL);
}

static void test_layout_and_initial_weights(void **state) {
    (void)state;
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {400, 100, 10}, .seed = 3};
    lilac_mlp *mlp = create_mlp(&config), *again = create_mlp(&config);
    float *next = lilac_mlp_parameters(mlp);
    for (size_t l = 0; l < 2; l++) {
        const lilac_linear_layer layer = lilac_mlp_layer(mlp, l);
        const size_t count = layer.in * layer.out + layer.out;
        assert_string_equal(layer.name, l == 0 ? "layers.0" : "layers.1");
        assert_true(layer.in == config.sizes[l] && layer.out == config.sizes[l + 1]);
        assert_ptr_equal(layer.weight, next);
        assert_ptr_equal(lilac_mlp_bias(mlp, l), next + layer.in * layer.out);
        double largest = 0, sum = 0;
        for (size_t i = 0; i < count; i++) {
            largest = fmax(largest, fabs((double)next[i]));
            sum += (double)next[i];
        }
        const double bound = 1 / sqrt((double)layer.in);
        assert_true(largest <= bound && largest > 0.95 * bound);
        assert_true(fabs(sum / (double)count) < 5 * bound / sqrt(3.0 * (double)count));
        next += count;
    }
    assert_int_equal(next - lilac_mlp_parameters(mlp), lilac_mlp_parameter_count(mlp));
    assert_memory_equal(lilac_mlp_parameters(again), lilac_mlp_parameters(mlp),
                        lilac_mlp_parameter_count(mlp) * sizeof(float));
    lilac_mlp_destroy(again);
    lilac_mlp_config other = config;
    other.seed = 4;
    again = create_mlp(&other);
    assert_memory_not_equal(lilac_mlp_parameters(again), lilac_mlp_parameters(mlp), 100 * sizeof(float));
    /* Neither two layers nor a weight and a bias start from the same numbers. */
    assert_memory_not_equal(lilac_mlp_bias(mlp, 0), lilac_mlp_parameters(mlp), 10 * sizeof(float));
    assert_true(lilac_mlp_layer(mlp, 1).weight[0] / lilac_mlp_layer(mlp, 0).weight[0] != 2.0f);
    lilac_mlp_destroy(again);
    lilac_mlp_destroy(mlp);
}

static void expect_config_refused(lilac_mlp_config config, lilac_status status, const char *message) {
    lilac_mlp *const untouched = (lilac_mlp *)(uintptr_t)0x5a;
    lilac_mlp *mlp = untouched;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), status);
    assert_string_equal(lilac_context_message(context), message);
    assert_ptr_equal(mlp, untouched);
}

static void test_refuses_impossible_configs(void **state) {
    (void)state;
    lilac_mlp_config config = small_config();
    config.layer_count = 0;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: 0 layers, expected 1 to 16");
    config.layer_count = LILAC_MLP_MAX_LAYERS + 1;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: 17 layers, expected 1 to 16");
    config = small_config();
    config.sizes[0] = 0;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: size 0 is 0, expected at least 1");
    config = small_config();
    config.sizes[3] = 0;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: size 3 is 0, expected at least 1");
    config.sizes[3] = 257;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: 257 classes, expected at most 256");
    config = small_config();
    config.dropout = 1;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: dropout probability 1, expected 0 <= p < 1");
    config.dropout = -0.5;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: dropout probability -0.5, expected 0 <= p < 1");
    config.dropout = NAN;
    expect_config_refused(config, LILAC_ERROR_ARGUMENT, "mlp: dropout probability nan, expected 0 <= p < 1");
    config = small_config();
    config.sizes[1] = config.sizes[2] = SIZE_MAX / 8;
    expect_config_refused(config, LILAC_ERROR_OVERFLOW, "mlp: the number of weights cannot be counted");
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    lilac_mlp *mlp = create_mlp(&config), *out = NULL;
    float inputs[5] = {0}, logits[4], workspace[140];
    assert_int_equal(lilac_mlp_workspace_size(mlp, NULL, 1), 140);
    assert_int_equal(lilac_mlp_create(NULL, &config, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_create(context, NULL, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_create(context, &config, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_clone(NULL, mlp, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_clone(context, NULL, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_clone(context, mlp, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_forward(NULL, mlp, NULL, 1, inputs, logits, workspace), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_forward(context, NULL, NULL, 1, inputs, logits, workspace), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_forward(context, mlp, NULL, 1, NULL, logits, workspace), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_forward(context, mlp, NULL, 1, inputs, NULL, workspace), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_forward(context, mlp, NULL, 1, inputs, logits, NULL), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "mlp: a null pointer");
    assert_null(out);
    lilac_mlp_destroy(mlp);
}

static void check_forward(const lilac_mlp_config *config, size_t rank, size_t B) {
    lilac_mlp *mlp = create_mlp(config);
    lilac_adapter *adapter = rank == 0 ? NULL : create_adapter(mlp, rank);
    const size_t classes = config->sizes[config->layer_count];
    float *inputs = malloc(B * config->sizes[0] * sizeof *inputs);
    assert_non_null(inputs);
    lilac_test_uniform(0, B * config->sizes[0], -1, 1, inputs);
    mlp_reference reference = mlp_reference_create(mlp, adapter, B, inputs, NULL);
    mlp_reference_forward(&reference);
    float *logits = create_logits(context, mlp, adapter, B, inputs);
    lilac_test_expect_close("logits", B * classes, logits, reference.logits, 1e-5, 0);
    float *again = create_logits(one_thread, mlp, adapter, B, inputs);
    assert_memory_equal(again, logits, B * classes * sizeof(float));
    free(again);
    free(logits);
    free(inputs);
    mlp_reference_destroy(&reference);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

static void test_forward(void **state) {
    (void)state;
    const lilac_mlp_config small = small_config();
    const lilac_mlp_config single = {.layer_count = 1, .sizes = {6, 3}};
    const lilac_mlp_config widening = {.layer_count = 2, .sizes = {2, 90, 256}};
    lilac_mlp_config deep = {.layer_count = LILAC_MLP_MAX_LAYERS};
    for (size_t l = 0; l <= LILAC_MLP_MAX_LAYERS; l++) {
        deep.sizes[l] = 3 + l % 5;
    }
    for (size_t rank = 0; rank <= 2; rank++) {
        check_forward(&small, rank, 1);
        check_forward(&small, rank, 1100);
        check_forward(&single, rank, 5);
        check_forward(&widening, rank, 7);
        check_forward(&deep, rank, 4);
    }
}

static void test_forward_refusals(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    lilac_mlp_config other_config = config;
    other_config.sizes[1] = 71;
    lilac_mlp *mlp = create_mlp(&config), *other = create_mlp(&other_config);
    lilac_adapter *adapter = create_adapter(other, 2);
    const float inputs[5] = {0};
    float logits[4] = {1, 2, 3, 4}, workspace[200];
    assert_int_equal(lilac_mlp_forward(context, mlp, adapter, 1, inputs, logits, workspace), LILAC_ERROR_BASE_MISMATCH);
    assert_string_equal(lilac_context_message(context),
                        "the adapter's layer 0 is layers.0 (71 x 5), this base's is layers.0 (70 x 5)");
    assert_int_equal(lilac_mlp_forward(context, mlp, NULL, (size_t)1 << 40, inputs, logits, workspace),
                     LILAC_ERROR_OVERFLOW);
    assert_memory_equal(logits, ((float[4]){1, 2, 3, 4}), sizeof logits);
    assert_int_equal(lilac_mlp_workspace_size(mlp, NULL, SIZE_MAX / 2), SIZE_MAX);
    assert_int_equal(lilac_mlp_workspace_size(other, adapter, 3), 3 * (2 * 71 + 2));
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(other);
    lilac_mlp_destroy(mlp);
}

/* A training pass over ROWS rows. */
typedef struct {
    lilac_mlp *mlp;
    lilac_adapter *adapter;
    lilac_mlp_activations activations;
    mlp_reference reference;
    lilac_random dropout;
    size_t classes, gradient_count;
    float *gradient;
} training_pass;

static training_pass create_pass(const lilac_mlp_config *config, size_t rank, bool with_dropout) {
    training_pass pass = {.mlp = create_mlp(config), .classes = config->sizes[config->layer_count]};
    pass.adapter = rank == 0 ? NULL : create_adapter(pass.mlp, rank);
    assert_int_equal(lilac_mlp_activations_create(context, pass.mlp, pass.adapter, ROWS, &pass.activations), LILAC_OK);
    lilac_test_uniform(0, ROWS * config->sizes[0], -1, 1, pass.activations.inputs);
    for (size_t i = 0; i < ROWS; i++) {
        pass.activations.labels[i] = (uint8_t)(i % pass.classes);
    }
    pass.reference =
        mlp_reference_create(pass.mlp, pass.adapter, ROWS, pass.activations.inputs, pass.activations.labels);
    pass.gradient_count = rank == 0 ? lilac_mlp_parameter_count(pass.mlp) : lilac_adapter_parameter_count(pass.adapter);
    pass.gradient = malloc(pass.gradient_count * sizeof(float));
    assert_non_null(pass.gradient);
    pass.dropout = lilac_random_stream(5, LILAC_RANDOM_DROPOUT, 123);
    const lilac_random *dropout = with_dropout ? &pass.dropout : NULL;
    assert_int_equal(lilac_mlp_training_forward(context, pass.mlp, pass.adapter, ROWS, dropout, &pass.activations),
                     LILAC_OK);
    assert_int_equal(lilac_mlp_training_backward(context, pass.mlp, pass.adapter, ROWS, with_dropout, &pass.activations,
                                                 pass.gradient),
                     LILAC_OK);
    return pass;
}

static void destroy_pass(training_pass *pass) {
    free(pass->gradient);
    mlp_reference_destroy(&pass->reference);
    lilac_mlp_activations_destroy(&pass->activations);
    lilac_adapter_destroy(pass->adapter);
    lilac_mlp_destroy(pass->mlp);
}

static void check_gradient(const lilac_mlp_config *config, size_t rank, bool with_dropout) {
    training_pass pass = create_pass(config, rank, with_dropout);
    pass.reference.dropout = with_dropout ? &pass.dropout : NULL;
    const double loss = mlp_reference_loss(&pass.reference);
    lilac_test_expect_close("logits", ROWS * pass.classes, pass.activations.outputs[config->layer_count - 1],
                            pass.reference.logits, 1e-5, 0);
    double found = 0;
    for (size_t i = 0; i < ROWS; i++) {
        found += (double)pass.activations.losses[i] / ROWS;
    }
    assert_true(fabs(found - loss) < 1e-5);
    double *variables = rank == 0 ? pass.reference.parameters : pass.reference.adapter;
    lilac_test_expect_gradient("gradient", mlp_reference_loss, &pass.reference, pass.gradient_count, variables,
                               pass.gradient, 2e-5);
    destroy_pass(&pass);
}

static void test_gradient(void **state) {
    (void)state;
    const lilac_mlp_config small = small_config();
    const lilac_mlp_config single = {.layer_count = 1, .sizes = {6, 3}};
    const lilac_mlp_config deep = {.layer_count = 5, .sizes = {4, 7, 8, 9, 6, 5}, .dropout = 0.1, .seed = 1};
    check_gradient(&small, 0, false);
    check_gradient(&single, 0, false);
    check_gradient(&deep, 0, false);
}

static void test_gradient_with_dropout(void **state) {
    (void)state;
    const lilac_mlp_config small = small_config();
    lilac_mlp_config none = small_config();
    none.dropout = 0;
    check_gradient(&small, 0, true);
    check_gradient(&none, 0, true);
}

static void test_gradient_of_adapter(void **state) {
    (void)state;
    const lilac_mlp_config small = small_config();
    const lilac_mlp_config single = {.layer_count = 1, .sizes = {6, 3}};
    check_gradient(&small, 1, false);
    check_gradient(&small, 3, false);
    check_gradient(&single, 2, false);
    check_gradient(&small, 3, true);
}

static void test_training_forward_is_forward(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    for (size_t rank = 0; rank <= 2; rank += 2) {
        training_pass pass = create_pass(&config, rank, false);
        float *logits = create_logits(context, pass.mlp, pass.adapter, ROWS, pass.activations.inputs);
        assert_memory_equal(pass.activations.outputs[2], logits, ROWS * pass.classes * sizeof(float));
        free(logits);
        destroy_pass(&pass);
    }
}

static void test_training_batch_too_large(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    lilac_mlp *mlp = create_mlp(&config);
    lilac_mlp_activations activations = {.block = NULL};
    assert_int_equal(lilac_mlp_activations_create(context, mlp, NULL, SIZE_MAX / 64, &activations),
                     LILAC_ERROR_OVERFLOW);
    assert_null(activations.block);
    lilac_mlp_destroy(mlp);
}

static void test_operations(void **state) {
    (void)state;
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {7, 5, 3}};
    lilac_mlp *mlp = create_mlp(&config);
    lilac_adapter *adapter = create_adapter(mlp, 2);
    /* Without adapter: forward, gradient of weights, gradient of the second layer's input. */
    assert_true(lilac_mlp_training_operations(mlp, NULL, 10) == 2 * 10 * (2 * (7 * 5 + 5 * 3) + 5 * 3));
    /* With: forward and the second layer's input as before; u, y, t, dA, dB of both, and the second's dx. */
    const double products = (7 * 5 + 5 * 3 + 5 * 3) + 2 * (2 * 7 + 3 * 5) + 2 * (3 * 5 + 3 * 3);
    assert_true(lilac_mlp_training_operations(mlp, adapter, 10) == 2 * 10 * products);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

static void test_clone(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    lilac_mlp *mlp = create_mlp(&config), *copy = NULL;
    lilac_adapter *adapter = create_adapter(mlp, 2);
    const size_t bytes = lilac_mlp_parameter_count(mlp) * sizeof(float);
    float *pristine = malloc(bytes);
    assert_non_null(pristine);
    memcpy(pristine, lilac_mlp_parameters(mlp), bytes);
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    assert_int_equal(lilac_mlp_clone(context, mlp, &copy), LILAC_OK);
    assert_memory_equal(lilac_mlp_get_config(copy), &config, sizeof config);
    assert_memory_equal(lilac_mlp_parameters(copy), lilac_mlp_parameters(mlp), bytes);
    assert_memory_not_equal(lilac_mlp_parameters(copy), pristine, bytes);
    /* The copy shares nothing: it lives on, and goes back to the weights before the merge. */
    memset(lilac_mlp_parameters(mlp), 0, bytes);
    lilac_mlp_destroy(mlp);
    assert_int_equal(lilac_mlp_unmerge(context, copy), LILAC_OK);
    assert_memory_equal(lilac_mlp_parameters(copy), pristine, bytes);
    assert_ptr_equal(lilac_mlp_layer(copy, 0).weight, lilac_mlp_parameters(copy));
    assert_int_equal(lilac_mlp_unmerge(context, copy), LILAC_ERROR_ARGUMENT);
    free(pristine);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(copy);
}

static void test_hash_of_weights(void **state) {
    (void)state;
    const lilac_mlp_config config = small_config();
    lilac_mlp *mlp = create_mlp(&config);
    struct sha256_ctx sha256;
    uint8_t expected[LILAC_HASH_SIZE];
    sha256_init(&sha256);
    sha256_update(&sha256, lilac_mlp_parameter_count(mlp) * sizeof(float), (const uint8_t *)lilac_mlp_parameters(mlp));
    sha256_digest(&sha256, sizeof expected, expected);
    lilac_lora_base base = lilac_mlp_lora_base(mlp);
    assert_memory_equal(base.hash, expected, sizeof expected);
    assert_int_equal(base.layer_count, 3);
    assert_ptr_equal(base.layers[2].weight, lilac_mlp_layer(mlp, 2).weight);
    lilac_mlp_bias(mlp, 2)[3] += 1;
    base = lilac_mlp_lora_base(mlp);
    assert_memory_not_equal(base.hash, expected, sizeof expected);
    lilac_mlp_destroy(mlp);
}

/* Lets each allocation of creating (step 0), copying (1) and preparing the training of a model (2) fail. */
static void test_failed_allocations(void **state) {
    (void)state;
    lilac_mlp_config config = small_config();
    lilac_mlp *const untouched = (lilac_mlp *)(uintptr_t)0x5a;
    lilac_mlp *mlp = create_mlp(&config);
    lilac_adapter *adapter = create_adapter(mlp, 2);
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    static const size_t attempts[] = {3, 4, 2}; /* the last of each succeeds */
    for (int step = 0; step < 3; step++) {
        lilac_status status = LILAC_ERROR_MEMORY;
        size_t n = 0;
        for (; status != LILAC_OK; n++) {
            lilac_mlp *made = untouched;
            lilac_mlp_activations activations = {.block = NULL};
            const size_t live = lilac_test_live_allocations();
            lilac_test_fail_allocation(n);
            status = step == 0   ? lilac_mlp_create(context, &config, &made)
                     : step == 1 ? lilac_mlp_clone(context, mlp, &made)
                                 : lilac_mlp_activations_create(context, mlp, adapter, ROWS, &activations);
            if (lilac_test_allocation_failed()) {
                assert_int_equal(status, LILAC_ERROR_MEMORY);
                assert_ptr_equal(made, untouched);
                assert_null(activations.block);
            }
            if (made != untouched) {
                lilac_mlp_destroy(made);
            }
            lilac_mlp_activations_destroy(&activations);
            assert_int_equal(lilac_test_live_allocations(), live);
        }
        assert_int_equal(n, attempts[step]);
    }
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_config),
        cmocka_unit_test(test_layout_and_initial_weights),
        cmocka_unit_test(test_refuses_impossible_configs),
        cmocka_unit_test(test_refuses_null_pointers),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_forward_refusals),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_gradient_with_dropout),
        cmocka_unit_test(test_gradient_of_adapter),
        cmocka_unit_test(test_training_forward_is_forward),
        cmocka_unit_test(test_training_batch_too_large),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_hash_of_weights),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, context_tear_down);
}
