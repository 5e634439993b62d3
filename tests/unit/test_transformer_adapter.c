/* SPDX-License-Identifier: MIT */
/* Tests of a transformer's adapters: which layers they adapt, and which files are taken for which model. */
#include <lilac/transformer.h>

#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/temporary_file.h"
#include "support/transformer_training.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static temporary_file file;
static lilac_transformer *model;
static const lilac_lora_config lora = {.rank = 2, .alpha = 4};

static int set_up(void **state) {
    temporary_file_create(&file);
    if (context_set_up(state) != 0) {
        return 1;
    }
    /* Enough layers that the order of their numbers is not that of their names. */
    lilac_transformer_config config = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0);
    config.layers = 11;
    return lilac_transformer_create(context, &config, &model) != LILAC_OK;
}

static int tear_down(void **state) {
    lilac_transformer_destroy(model);
    remove(file.path);
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

static void save_adapter(const char *patterns) {
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_create(context, model, patterns, &lora, &adapter), LILAC_OK);
    lilac_adapter_parameters(adapter)[3] = 0.5f;
    assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_OK);
    lilac_adapter_destroy(adapter);
}

static void test_layers(void **state) {
    (void)state;
    const struct {
        const char *patterns;
        size_t count;
    } cases[] = {{"*.query,*.value", 22}, {"layers.0.*", 6}, {"output", 1}, {NULL, 67}};
    for (size_t i = 0; i < 4; i++) {
        lilac_adapter *adapter = NULL;
        assert_int_equal(lilac_transformer_adapter_create(context, model, cases[i].patterns, &lora, &adapter),
                         LILAC_OK);
        assert_int_equal(lilac_adapter_layer_count(adapter), cases[i].count);
        lilac_adapter_destroy(adapter);
    }
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_create(context, model, "*.kwery", &lora, &adapter),
                     LILAC_ERROR_NOT_FOUND);
    assert_int_equal(lilac_transformer_adapter_create(context, model, NULL, NULL, &adapter), LILAC_ERROR_ARGUMENT);
    assert_null(adapter);
}

static void test_file_of_this_model(void **state) {
    (void)state;
    const char *const patterns[] = {"*.query,*.value", "layers.3.feed_forward.*", NULL};
    for (size_t i = 0; i < 3; i++) {
        save_adapter(patterns[i]);
        lilac_adapter *adapter = NULL;
        assert_int_equal(lilac_transformer_adapter_load(context, model, file.path, &adapter), LILAC_OK);
        assert_true(lilac_adapter_parameter_count(adapter) > 3);
        lilac_adapter_destroy(adapter);
    }
}

static void expect_refused(const lilac_transformer *base, lilac_status status, const char *text) {
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_transformer_adapter_load(context, base, file.path, &adapter), status);
    assert_null(adapter);
    assert_non_null(strstr(lilac_context_message(context), text));
}

static void test_file_of_another_model(void **state) {
    (void)state;
    lilac_transformer *smaller = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0);
    expect_refused(model, LILAC_ERROR_NOT_FOUND, file.path);
    save_adapter("*.query");
    expect_refused(smaller, LILAC_ERROR_BASE_MISMATCH, "is none of this base's");
    lilac_transformer_parameters(model)[0] += 1;
    expect_refused(model, LILAC_ERROR_BASE_MISMATCH, "the adapter was made for the base with hash");
    lilac_transformer_destroy(smaller);
}

static void test_failed_allocations(void **state) {
    (void)state;
    save_adapter("*.query");
    for (int load = 0; load < 2; load++) {
        lilac_status status = LILAC_ERROR_MEMORY;
        for (size_t n = 0; status != LILAC_OK; n++) {
            lilac_adapter *adapter = NULL;
            const size_t live = lilac_test_live_allocations();
            lilac_test_fail_allocation(n);
            status = load ? lilac_transformer_adapter_load(context, model, file.path, &adapter)
                          : lilac_transformer_adapter_create(context, model, "*.up", &lora, &adapter);
            if (lilac_test_allocation_failed()) {
                assert_int_equal(status, LILAC_ERROR_MEMORY);
                assert_int_equal(lilac_test_live_allocations(), live);
            }
            lilac_adapter_destroy(adapter);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_of_this_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file_of_another_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failed_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
