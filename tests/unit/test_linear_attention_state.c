/* SPDX-License-Identifier: MIT */
/* States of linear attention: copied or saved and read back, they go on as the original does; what is refused. */
#include <lilac/attention.h>

#include "support/default_context.h"
#include "support/numbers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { BATCH = 2, HEADS = 3, KEY_SIZE = 5, VALUE_SIZE = 7, STEPS = 6, HEADER = 48 };

static const lilac_attention_shape usual = {
    .batch = BATCH, .heads = HEADS, .queries = 1, .keys = 1, .key_size = KEY_SIZE, .value_size = VALUE_SIZE};

static lilac_linear_attention_state *create(const lilac_attention_shape *shape) {
    lilac_linear_attention_config config;
    lilac_linear_attention_config_default(shape, &config);
    lilac_linear_attention_state *state = NULL;
    assert_int_equal(lilac_linear_attention_state_create(context, &config, &state), LILAC_OK);
    return state;
}

/* Takes in the token of that number and gives its outputs. */
static void step(lilac_linear_attention_state *state, uint64_t number, float output[BATCH * HEADS * VALUE_SIZE]) {
    float rows[3][BATCH * HEADS * VALUE_SIZE];
    for (uint64_t i = 0; i < 3; i++) {
        lilac_test_uniform(3 * number + i, sizeof rows[i] / sizeof *rows[i], -1, 1, rows[i]);
    }
    const lilac_attention_input query = {.data = rows[0], .batch_stride = HEADS * KEY_SIZE, .head_stride = KEY_SIZE};
    lilac_attention_input key = query;
    key.data = rows[1];
    const lilac_attention_input value = {
        .data = rows[2], .batch_stride = HEADS * VALUE_SIZE, .head_stride = VALUE_SIZE};
    const lilac_attention_output out = {.data = output, .batch_stride = HEADS * VALUE_SIZE, .head_stride = VALUE_SIZE};
    assert_int_equal(lilac_linear_attention_step(context, state, &query, &key, &value, &out), LILAC_OK);
}

/* A state that has seen half of the tokens. */
static lilac_linear_attention_state *create_half_way(void) {
    lilac_linear_attention_state *state = create(&usual);
    float output[BATCH * HEADS * VALUE_SIZE];
    for (uint64_t number = 0; number < STEPS / 2; number++) {
        step(state, number, output);
    }
    return state;
}

/* Whether two states give the same outputs from here on. */
static void expect_same_end(lilac_linear_attention_state *state, lilac_linear_attention_state *other) {
    float output[BATCH * HEADS * VALUE_SIZE], other_output[BATCH * HEADS * VALUE_SIZE];
    for (uint64_t number = STEPS / 2; number < STEPS; number++) {
        step(state, number, output);
        step(other, number, other_output);
        assert_memory_equal(output, other_output, sizeof output);
    }
}

static void test_a_copy_goes_on_the_same(void **unused) {
    (void)unused;
    lilac_linear_attention_state *state = create_half_way(), *copy = create(&usual);
    assert_int_equal(lilac_linear_attention_state_copy(context, state, copy), LILAC_OK);
    expect_same_end(state, copy);
    lilac_linear_attention_state_reset(state);
    lilac_linear_attention_state *fresh = create(&usual);
    expect_same_end(state, fresh);
    lilac_linear_attention_state_destroy(fresh);
    lilac_linear_attention_state_destroy(copy);
    lilac_linear_attention_state_destroy(state);
}

static void test_a_saved_state_goes_on_the_same(void **unused) {
    (void)unused;
    lilac_linear_attention_state *state = create_half_way(), *loaded = create(&usual);
    const size_t size = lilac_linear_attention_state_saved_size(state);
    /* For each head S and z */
    assert_int_equal(size, HEADER + BATCH * HEADS * (KEY_SIZE * VALUE_SIZE + KEY_SIZE) * sizeof(float));
    unsigned char *bytes = malloc(size), *again = malloc(size);
    assert_true(bytes != NULL && again != NULL);
    assert_int_equal(lilac_linear_attention_state_save(context, state, bytes, size), LILAC_OK);
    assert_int_equal(lilac_linear_attention_state_load(context, loaded, bytes, size), LILAC_OK);
    assert_int_equal(lilac_linear_attention_state_save(context, loaded, again, size), LILAC_OK);
    assert_memory_equal(bytes, again, size);
    expect_same_end(state, loaded);
    free(again);
    free(bytes);
    lilac_linear_attention_state_destroy(loaded);
    lilac_linear_attention_state_destroy(state);
}

static void expect_refused(lilac_linear_attention_state *state, const unsigned char *bytes, size_t size,
                           lilac_status status, const char *message) {
    const size_t floats = BATCH * HEADS * (KEY_SIZE * VALUE_SIZE + KEY_SIZE);
    float before[BATCH * HEADS * (KEY_SIZE * VALUE_SIZE + KEY_SIZE)];
    memcpy(before, lilac_linear_attention_state_data(state), floats * sizeof(float));
    assert_int_equal(lilac_linear_attention_state_load(context, state, bytes, size), status);
    if (strstr(lilac_context_message(context), message) == NULL) {
        fail_msg("%s", lilac_context_message(context));
    }
    assert_memory_equal(lilac_linear_attention_state_data(state), before, sizeof before);
}

static void test_refuses_other_bytes(void **unused) {
    (void)unused;
    lilac_linear_attention_state *state = create_half_way();
    const size_t size = lilac_linear_attention_state_saved_size(state);
    unsigned char *bytes = calloc(1, size + 1), *whole = malloc(size);
    assert_true(bytes != NULL && whole != NULL);
    assert_int_equal(lilac_linear_attention_state_save(context, state, whole, size), LILAC_OK);
    memcpy(bytes, whole, size);
    for (size_t cut = 0; cut < size; cut++) {
        expect_refused(state, bytes, cut, LILAC_ERROR_TRUNCATED, "bytes");
    }
    expect_refused(state, bytes, size + 1, LILAC_ERROR_TRAILING, "expected");
    bytes[0] ^= 1;
    expect_refused(state, bytes, size, LILAC_ERROR_MAGIC, "the bytes are not a saved state");
    bytes[0] ^= 1;
    bytes[8]++;
    expect_refused(state, bytes, size, LILAC_ERROR_UNSUPPORTED, "expected version 1, got 2");
    bytes[8]--;
    for (size_t i = HEADER - 32; i < HEADER; i += 8) {
        bytes[i]++;
        expect_refused(state, bytes, size, LILAC_ERROR_SHAPE, "saved from a state with other sizes");
        bytes[i]--;
    }
    assert_memory_equal(bytes, whole, size);
    free(whole);
    free(bytes);
    lilac_linear_attention_state_destroy(state);
}

static void test_refuses_impossible_arguments(void **unused) {
    (void)unused;
    lilac_attention_shape larger = usual;
    larger.value_size++;
    lilac_linear_attention_state *state = create(&usual), *other = create(&larger);
    char byte = 0;
    assert_int_equal(lilac_linear_attention_state_copy(context, NULL, state), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_copy(context, state, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_copy(context, state, other), LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(context),
                        "linear attention state copy: from (2, 3, 5, 7) to (2, 3, 5, 8)");
    assert_int_equal(lilac_linear_attention_state_save(context, NULL, &byte, 1), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_save(context, state, NULL, 1), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_save(context, state, &byte, 1), LILAC_ERROR_SHAPE);
    assert_int_equal(byte, 0);
    assert_int_equal(lilac_linear_attention_state_load(context, NULL, &byte, 1), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_load(context, state, NULL, 1), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_step(context, NULL, NULL, NULL, NULL, NULL), LILAC_ERROR_ARGUMENT);
    lilac_linear_attention_state_destroy(NULL);
    lilac_linear_attention_state_destroy(other);
    lilac_linear_attention_state_destroy(state);
}

/* A map that takes inputs of any size, so that nothing else bounds it. */
static void first_number(const lilac_feature_map *map, size_t rows, size_t D, const float *x, size_t ldx, float *y,
                         size_t ldy) {
    (void)map, (void)D;
    for (size_t i = 0; i < rows; i++) {
        y[i * ldy] = x[i * ldx];
    }
}

/* Sizes each of which can be addressed, although all together cannot. */
static void test_refuses_sizes_that_wrap(void **unused) {
    (void)unused;
    static const lilac_feature_map map = {.output_size = 1, .forward = first_number};
    /* A head of size 1 takes 8 bytes, one with large keys more than 8000 with its scratch. With some number of them the
     * product still fits in a size, but nothing does that comes beside it. */
    for (size_t bytes = 2; bytes <= 8008; bytes++) {
        const size_t key_size = bytes <= 8 ? 1 : 2000;
        const lilac_attention_shape shape = {
            .batch = SIZE_MAX / bytes, .heads = 1, .key_size = key_size, .value_size = 1};
        lilac_linear_attention_config config;
        lilac_linear_attention_state *state = NULL;
        lilac_linear_attention_config_default(&shape, &config);
        assert_int_equal(lilac_linear_attention_state_create(context, &config, &state), LILAC_ERROR_OVERFLOW);
        assert_null(state);
    }
    for (size_t below = 0; below < 200; below++) {
        const lilac_attention_shape shape = {.batch = 1, .heads = 1, .key_size = SIZE_MAX - below, .value_size = 1};
        lilac_linear_attention_config config;
        lilac_linear_attention_state *state = NULL;
        lilac_linear_attention_config_default(&shape, &config);
        config.feature_map = &map;
        assert_int_equal(lilac_linear_attention_state_create(context, &config, &state), LILAC_ERROR_OVERFLOW);
        assert_null(state);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_goes_on_the_same), cmocka_unit_test(test_a_saved_state_goes_on_the_same),
        cmocka_unit_test(test_refuses_other_bytes),     cmocka_unit_test(test_refuses_impossible_arguments),
        cmocka_unit_test(test_refuses_sizes_that_wrap),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
