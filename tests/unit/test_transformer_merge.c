/* SPDX-License-Identifier: MIT */
/* Tests of merging an adapter into a transformer: it does what the adapter does, all that reads weights goes along, and
 * the way back leads to the same bytes. */
#include <lilac/generation.h>
#include <lilac/train_transformer.h>

#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"
#include "support/temporary_file.h"
#include "support/transformer_training.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { B = 2, N = 9, O = 9, OUTPUTS = B * N * O };

static const uint8_t tokens[B * N] = {0, 255, 17, 3, 99, 128, 200, 1, 64, 5, 5, 250, 0, 77, 31, 180, 2, 90};

static lilac_transformer *create_model(void) {
    return tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
}

static lilac_adapter *create_trained(const lilac_transformer *model, const char *patterns, uint64_t seed) {
    const lilac_lora_config config = {.rank = 2, .alpha = 1};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_create(context, model, patterns, &config, &adapter), LILAC_OK);
    lilac_test_uniform(seed, lilac_adapter_parameter_count(adapter), -0.4f, 0.4f, lilac_adapter_parameters(adapter));
    return adapter;
}

static void compute(const lilac_transformer *model, const lilac_adapter *adapter, float outputs[OUTPUTS]) {
    size_t bytes;
    assert_int_equal(lilac_transformer_output_size(lilac_transformer_get_config(model)), O);
    assert_int_equal(lilac_transformer_workspace_size(context, model, adapter, B, N, &bytes), LILAC_OK);
    void *workspace = malloc(bytes);
    assert_non_null(workspace);
    assert_int_equal(lilac_transformer_forward(context, model, adapter, B, N, tokens, outputs, workspace, bytes),
                     LILAC_OK);
    free(workspace);
}

static void expect_near(const float *outputs, const float *expected) {
    double values[OUTPUTS];
    for (size_t i = 0; i < OUTPUTS; i++) {
        values[i] = (double)expected[i];
    }
    lilac_test_expect_close("outputs", OUTPUTS, outputs, values, 1e-4, 1e-4);
}

static void check_merge(lilac_transformer_attention attention, const char *patterns) {
    lilac_transformer *model = tiny_transformer_create(context, attention, 0);
    lilac_adapter *adapter = create_trained(model, patterns, 70);
    float *before = tiny_transformer_weights(model), pure[OUTPUTS], adapted[OUTPUTS], merged[OUTPUTS];
    uint8_t hash[LILAC_HASH_SIZE], hash_merged[LILAC_HASH_SIZE];
    compute(model, NULL, pure);
    compute(model, adapter, adapted);
    assert_memory_not_equal(pure, adapted, sizeof pure);
    lilac_transformer_hash(model, hash);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    compute(model, NULL, merged);
    expect_near(merged, adapted);
    /* It is still the base that adapters are made for. */
    lilac_transformer_hash(model, hash_merged);
    assert_memory_equal(hash_merged, hash, sizeof hash);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "transformer: an adapter is merged already; unmerge it first");
    compute(model, NULL, adapted);
    assert_memory_equal(adapted, merged, sizeof merged);

    assert_int_equal(lilac_transformer_unmerge(context, model), LILAC_OK);
    expect_transformer_weights(model, before);
    compute(model, NULL, merged);
    assert_memory_equal(merged, pure, sizeof pure);
    assert_int_equal(lilac_transformer_unmerge(context, model), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "transformer: no adapter is merged");
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

static void test_merge_and_unmerge(void **state) {
    (void)state;
    check_merge(LILAC_TRANSFORMER_LINEAR, "*.query,*.value");
    check_merge(LILAC_TRANSFORMER_LINEAR, NULL);
    check_merge(LILAC_TRANSFORMER_SOFTMAX, "layers.1.*");
    check_merge(LILAC_TRANSFORMER_SOFTMAX, "output");
}

/* An adapter need not hold its layers in the model's order. */
static void test_layers_in_another_order(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_linear_layer layers[2], swapped[2];
    size_t count;
    assert_int_equal(lilac_transformer_linear_layers(context, model, "*.up", 2, layers, &count), LILAC_OK);
    assert_int_equal(count, 2);
    swapped[0] = layers[1];
    swapped[1] = layers[0];
    const lilac_lora_config config = {.rank = 1, .alpha = 1};
    lilac_lora_base base = {.layers = swapped, .layer_count = 2};
    lilac_transformer_hash(model, base.hash);
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    lilac_test_uniform(71, lilac_adapter_parameter_count(adapter), -0.4f, 0.4f, lilac_adapter_parameters(adapter));
    float adapted[OUTPUTS], merged[OUTPUTS];
    compute(model, adapter, adapted);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    compute(model, NULL, merged);
    expect_near(merged, adapted);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

static void test_another_adapter_on_top(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_adapter *first = create_trained(model, "*.query", 72);
    assert_int_equal(lilac_transformer_merge(context, model, first), LILAC_OK);
    lilac_adapter *second = create_trained(model, "*.query,*.down", 73);
    float together[OUTPUTS], expected[OUTPUTS];
    compute(model, second, together);
    lilac_linear_layer layers[4];
    size_t count;
    assert_int_equal(lilac_transformer_linear_layers(context, model, "*.query,*.down", 4, layers, &count), LILAC_OK);
    assert_int_equal(lilac_adapter_merge(context, second, layers, count), LILAC_OK);
    compute(model, NULL, expected);
    expect_near(together, expected);
    lilac_adapter_destroy(second);
    lilac_adapter_destroy(first);
    lilac_transformer_destroy(model);
}

static void step(lilac_transformer_state *state, float outputs[O]) {
    const uint8_t token = 41;
    lilac_transformer_state_reset(state);
    assert_int_equal(lilac_transformer_state_step(context, state, &token, outputs), LILAC_OK);
}

/* States hold a copy of the weights in an order of their own. */
static void test_states(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_adapter *adapter = create_trained(model, NULL, 74);
    lilac_transformer_state_config config;
    lilac_transformer_state_config_default(&config);
    lilac_transformer_state *old = NULL, *adapted = NULL, *merged = NULL;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &old), LILAC_OK);
    const lilac_adapter *const adapters[] = {adapter};
    config.adapters = adapters;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &adapted), LILAC_OK);
    float before[O], after[O], expected[O];
    step(old, before);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    config.adapters = NULL;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &merged), LILAC_OK);
    step(old, after);
    assert_memory_equal(after, before, sizeof before);
    step(adapted, expected);
    step(merged, after);
    double values[O];
    for (size_t i = 0; i < O; i++) {
        values[i] = (double)expected[i];
    }
    lilac_test_expect_close("outputs of a step", O, after, values, 1e-4, 1e-4);
    lilac_transformer_state_destroy(merged);
    lilac_transformer_state_destroy(adapted);
    lilac_transformer_state_destroy(old);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

/* A copy of a merged model shares nothing with it, and knows the way back too. */
static void test_clone(void **state) {
    (void)state;
    lilac_transformer *model = create_model(), *copy = NULL;
    lilac_adapter *adapter = create_trained(model, "*.up", 75);
    float *before = tiny_transformer_weights(model);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    float *merged = tiny_transformer_weights(model);
    assert_int_equal(lilac_transformer_clone(context, model, &copy), LILAC_OK);
    lilac_transformer_destroy(model);
    expect_transformer_weights(copy, merged);
    assert_int_equal(lilac_transformer_unmerge(context, copy), LILAC_OK);
    expect_transformer_weights(copy, before);
    free(merged);
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(copy);
}

static void test_saves_the_merged_weights(void **state) {
    (void)state;
    temporary_file file;
    temporary_file_create(&file);
    lilac_transformer *model = create_model(), *loaded = NULL;
    lilac_adapter *adapter = create_trained(model, NULL, 76);
    uint8_t hash[LILAC_HASH_SIZE], hash_loaded[LILAC_HASH_SIZE];
    lilac_transformer_hash(model, hash);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_F32, file.path), LILAC_OK);
    assert_int_equal(lilac_transformer_load(context, file.path, &loaded), LILAC_OK);
    expect_transformer_weights(loaded, lilac_transformer_parameters(model));
    /* What was read is a base of its own. */
    lilac_transformer_hash(loaded, hash_loaded);
    assert_memory_not_equal(hash_loaded, hash, sizeof hash);
    assert_int_equal(lilac_transformer_unmerge(context, loaded), LILAC_ERROR_ARGUMENT);
    lilac_transformer_destroy(loaded);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
    remove(file.path);
    temporary_file_destroy(&file);
}

static void expect_refused(lilac_transformer *model, const lilac_adapter *adapter, const char *text) {
    float *before = tiny_transformer_weights(model);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_ERROR_BASE_MISMATCH);
    assert_non_null(strstr(lilac_context_message(context), text));
    expect_transformer_weights(model, before);
    assert_int_equal(lilac_transformer_unmerge(context, model), LILAC_ERROR_ARGUMENT);
    free(before);
}

static void test_refuses_foreign_adapters(void **state) {
    (void)state;
    lilac_transformer *model = create_model(), *deeper = NULL, *wider = NULL;
    lilac_transformer_config config = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0);
    config.layers = 3;
    assert_int_equal(lilac_transformer_create(context, &config, &deeper), LILAC_OK);
    config.layers = 2;
    config.feed_forward = 13;
    assert_int_equal(lilac_transformer_create(context, &config, &wider), LILAC_OK);
    lilac_adapter *unknown = create_trained(deeper, "*.query", 77), *shaped = create_trained(wider, "*.query,*.up", 78);
    expect_refused(model, unknown, "the adapter's layer layers.2.attention.query is none of this base's");
    expect_refused(model, shaped,
                   "layers.0.feed_forward.up (13 x 8), this base's is layers.0.feed_forward.up (12 x 8)");
    assert_int_equal(lilac_transformer_merge(NULL, model, unknown), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_merge(context, NULL, unknown), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_merge(context, model, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_unmerge(context, NULL), LILAC_ERROR_ARGUMENT);
    lilac_adapter_destroy(shaped);
    lilac_adapter_destroy(unknown);
    lilac_transformer_destroy(wider);
    lilac_transformer_destroy(deeper);
    lilac_transformer_destroy(model);
}

/* Unmerging would undo what they do to the weights. */
static void test_merged_models_are_not_trained(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_adapter *adapter = create_trained(model, "*.query", 79);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    float *merged = tiny_transformer_weights(model);
    const lilac_transformer_training training = tiny_training();
    const lilac_token_source source = {.bytes = tokens, .byte_count = sizeof tokens};
    for (int adapts = 0; adapts < 2; adapts++) {
        assert_int_equal(
            lilac_train_transformer(context, &training, model, adapts ? adapter : NULL, &source, NULL, NULL),
            LILAC_ERROR_ARGUMENT);
        assert_string_equal(lilac_context_message(context),
                            "training: unmerge the adapter that is merged into the model first");
    }
    assert_int_equal(lilac_transformer_start_with_neighbours(context, model, 4), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "neighbours: an adapter is merged into the model");
    lilac_transformer *other = NULL;
    assert_int_equal(lilac_transformer_with_output(context, model, LILAC_TRANSFORMER_CATEGORICAL, 0, &other),
                     LILAC_ERROR_ARGUMENT);
    assert_null(other);
    expect_transformer_weights(model, merged);
    assert_int_equal(lilac_transformer_unmerge(context, model), LILAC_OK);
    assert_int_equal(lilac_train_transformer(context, &training, model, NULL, &source, NULL, NULL), LILAC_OK);
    free(merged);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

/* Each attempt has a new context, whose products need memory too: the later refusals come after layers have changed. */
static void test_failed_allocations_of_a_merge(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_adapter *adapter = create_trained(model, NULL, 80);
    float *before = tiny_transformer_weights(model);
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t attempts = 0;
    for (; status != LILAC_OK; attempts++) {
        const size_t live = lilac_test_live_allocations();
        lilac_context *fresh = NULL;
        assert_int_equal(lilac_context_create(NULL, &fresh), LILAC_OK);
        lilac_test_fail_allocation(attempts);
        status = lilac_transformer_merge(fresh, model, adapter);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
        } else {
            assert_int_equal(lilac_transformer_unmerge(fresh, model), LILAC_OK);
        }
        expect_transformer_weights(model, before);
        lilac_context_destroy(fresh);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    assert_true(attempts > 3);
    free(before);
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

static void test_failed_allocations_of_a_copy(void **state) {
    (void)state;
    lilac_transformer *model = create_model();
    lilac_adapter *adapter = create_trained(model, NULL, 81);
    assert_int_equal(lilac_transformer_merge(context, model, adapter), LILAC_OK);
    lilac_status status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        lilac_transformer *copy = NULL;
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        status = lilac_transformer_clone(context, model, &copy);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_null(copy);
            assert_int_equal(lilac_test_live_allocations(), live);
        }
        lilac_transformer_destroy(copy);
    }
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_and_unmerge),
        cmocka_unit_test(test_layers_in_another_order),
        cmocka_unit_test(test_another_adapter_on_top),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_saves_the_merged_weights),
        cmocka_unit_test(test_refuses_foreign_adapters),
        cmocka_unit_test(test_merged_models_are_not_trained),
        cmocka_unit_test(test_failed_allocations_of_a_merge),
        cmocka_unit_test(test_failed_allocations_of_a_copy),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
