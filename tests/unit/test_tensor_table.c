/* SPDX-License-Identifier: MIT */
/* Tests of the table that cuts a block of floats into tensors. */
#include "runtime/context.h"
#include "runtime/tensor_table.h"
#include "support/failing_allocator.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

typedef struct test_state {
    lilac_context *context;
    lilac_tensor_table *table; /* room for 4 */
} test_state;

static int set_up(void **state) {
    test_state *test = calloc(1, sizeof *test);
    assert_non_null(test);
    assert_int_equal(lilac_context_create(NULL, &test->context), LILAC_OK);
    assert_int_equal(lilac_tensor_table_create(test->context, 4, &test->table), LILAC_OK);
    *state = test;
    return 0;
}

static int tear_down(void **state) {
    test_state *test = *state;
    lilac_tensor_table_destroy(test->table);
    lilac_context_destroy(test->context);
    free(test);
    return 0;
}

static void test_layout(void **state) {
    const test_state *test = *state;
    lilac_tensor_table *table = test->table;
    assert_int_equal(lilac_tensor_table_total(table), 0);
    char name[] = "weight";
    assert_int_equal(lilac_tensor_table_append(test->context, table, name, 2, (size_t[]){3, 7}), LILAC_OK);
    name[0] = 'W'; /* the name was copied */
    assert_int_equal(lilac_tensor_table_append(test->context, table, "scale", 0, NULL), LILAC_OK);
    assert_int_equal(lilac_tensor_table_append(test->context, table, "empty", 4, (size_t[]){2, 0, 5, 1}), LILAC_OK);
    assert_int_equal(lilac_tensor_table_append(test->context, table, "bias", 1, (size_t[]){16}), LILAC_OK);
    assert_int_equal(table->count, 4);
    assert_int_equal(lilac_tensor_table_total(table), 32 + 16 + 0 + 16);

    const lilac_tensor_entry *weight = lilac_tensor_table_find(table, "weight");
    assert_ptr_equal(weight, &table->entries[0]);
    assert_int_equal(weight->rank, 2);
    assert_memory_equal(weight->shape, ((size_t[4]){3, 7, 1, 1}), sizeof weight->shape);
    assert_int_equal(weight->offset, 0);
    assert_int_equal(weight->count, 21);
    const lilac_tensor_entry *scale = lilac_tensor_table_find(table, "scale");
    assert_int_equal(scale->offset, 32);
    assert_int_equal(scale->count, 1);
    assert_int_equal(lilac_tensor_table_find(table, "empty")->offset, 48);
    assert_int_equal(lilac_tensor_table_find(table, "empty")->count, 0);
    assert_int_equal(lilac_tensor_table_find(table, "bias")->offset, 48);
    assert_null(lilac_tensor_table_find(table, "Weight"));
    assert_null(lilac_tensor_table_find(table, ""));
}

static void expect_refused(const test_state *test, const char *name, int rank, const size_t *shape, lilac_status status,
                           const char *message) {
    const lilac_tensor_table before = *test->table;
    assert_int_equal(lilac_tensor_table_append(test->context, test->table, name, rank, shape), status);
    if (strstr(lilac_context_message(test->context), message) == NULL) {
        print_message("# expected: %s\n# found:    %s\n", message, lilac_context_message(test->context));
        fail();
    }
    assert_int_equal(test->table->count, before.count);
    assert_int_equal(test->table->total, before.total);
}

static void test_refuses(void **state) {
    const test_state *test = *state;
    const size_t one[] = {1, 1, 1, 1};
    char name[LILAC_TENSOR_NAME_SIZE + 1];
    memset(name, 'n', sizeof name);
    name[LILAC_TENSOR_NAME_SIZE] = '\0';
    expect_refused(test, NULL, 1, one, LILAC_ERROR_ARGUMENT, "null pointer");
    expect_refused(test, "a", 1, NULL, LILAC_ERROR_ARGUMENT, "null pointer");
    expect_refused(test, "", 1, one, LILAC_ERROR_ARGUMENT, "tensor name \"\": expected 1 to 127 bytes");
    expect_refused(test, name, 1, one, LILAC_ERROR_ARGUMENT, "expected 1 to 127 bytes");
    expect_refused(test, "a", -1, one, LILAC_ERROR_ARGUMENT, "\"a\": expected a rank of 0 to 4, got -1");
    expect_refused(test, "a", 5, one, LILAC_ERROR_ARGUMENT, "\"a\": expected a rank of 0 to 4, got 5");
    name[LILAC_TENSOR_NAME_SIZE - 1] = '\0'; /* the longest that is allowed */
    assert_int_equal(lilac_tensor_table_append(test->context, test->table, name, 1, one), LILAC_OK);
    expect_refused(test, name, 1, one, LILAC_ERROR_ARGUMENT, "is in the table already");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            lilac_tensor_table_append(test->context, test->table, (const char *[]){"a", "b", "c"}[i], 1, one),
            LILAC_OK);
    }
    expect_refused(test, "d", 1, one, LILAC_ERROR_ARGUMENT, "\"d\": the table is full with 4 entries");
}

static void test_refuses_overflow(void **state) {
    const test_state *test = *state;
    const size_t half = (size_t)1 << (sizeof(size_t) * 4);
    expect_refused(test, "a", 2, (size_t[]){half, half}, LILAC_ERROR_OVERFLOW, "\"a\": its shape is too large");
    expect_refused(test, "a", 1, (size_t[]){SIZE_MAX}, LILAC_ERROR_OVERFLOW, "\"a\": its shape is too large");
    /* Countable, but not addressable in bytes. */
    const size_t most = PTRDIFF_MAX / sizeof(float) - LILAC_TENSOR_ALIGNMENT;
    expect_refused(test, "a", 1, (size_t[]){most + 1}, LILAC_ERROR_OVERFLOW, "\"a\": its shape is too large");
    assert_int_equal(lilac_tensor_table_append(test->context, test->table, "a", 1, (size_t[]){most}), LILAC_OK);
    expect_refused(test, "b", 1, (size_t[]){LILAC_TENSOR_ALIGNMENT + 1}, LILAC_ERROR_OVERFLOW, "\"b\"");
}

static void test_create_refuses(void **state) {
    const test_state *test = *state;
    lilac_tensor_table *table = NULL;
    assert_int_equal(lilac_tensor_table_create(test->context, 1, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_tensor_table_create(test->context, SIZE_MAX / 8, &table), LILAC_ERROR_OVERFLOW);
    lilac_test_fail_allocation(0);
    const lilac_status status = lilac_tensor_table_create(test->context, 1, &table);
    assert_true(lilac_test_allocation_failed());
    assert_int_equal(status, LILAC_ERROR_MEMORY);
    assert_null(table);
    lilac_tensor_table_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_layout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_overflow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_create_refuses, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
