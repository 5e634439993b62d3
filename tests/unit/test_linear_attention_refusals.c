/* SPDX-License-Identifier: MIT */
/* Linear attention over whole sequences: calls that are refused, and those that have nothing to do. */
#include <lilac/attention.h>

#include "support/contexts.h"
#include "support/linear_attention_case.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* A change to a correct call, and the status it must give. */
typedef struct misuse {
    const char *name;
    void (*apply)(attention_case *problem);
    lilac_status forward, backward;
} misuse;

static void null_query(attention_case *p) {
    p->forward.query.data = p->backward.query.data = NULL;
}
static void null_value(attention_case *p) {
    p->forward.value.data = p->backward.value.data = NULL;
}
static void null_output(attention_case *p) {
    p->forward.output.data = NULL;
    p->backward.output.data = NULL;
}
static void unknown_dtype(attention_case *p) {
    p->forward.key.dtype = p->backward.key.dtype = (lilac_attention_dtype)7;
}
static void key_size_zero(attention_case *p) {
    p->config.shape.key_size = 0;
}
static void value_size_zero(attention_case *p) {
    p->config.shape.value_size = 0;
}
static void causal_with_fewer_keys(attention_case *p) {
    p->config.causal = true;
    p->config.shape.keys--;
}
static void strides_below_size(attention_case *p) {
    p->forward.key.token_stride = p->backward.key.token_stride = 3;
}
static void output_strides_below_size(attention_case *p) {
    p->forward.output.head_stride = 0;
    p->backward.key_gradient.head_stride = 0;
}
static void output_rows_that_overlap(attention_case *p) {
    p->forward.output.head_stride = p->forward.output.token_stride = 8;
    p->backward.value_gradient.head_stride = p->backward.value_gradient.token_stride = 8;
}
static void sizes_that_wrap(attention_case *p) {
    p->config.shape.key_size = (size_t)1 << 62;
    p->config.shape.value_size = (size_t)1 << 62;
}
static void strides_that_wrap(attention_case *p) {
    p->forward.value.token_stride = p->backward.value.token_stride = SIZE_MAX / 2;
}
static void batch_that_wraps(attention_case *p) {
    p->config.shape.batch = SIZE_MAX / 2;
}
static void length_above_keys(attention_case *p) {
    static const size_t key_lengths[] = {11};
    p->config.key_lengths = key_lengths;
}
static void epsilon_not_a_number(attention_case *p) {
    p->config.epsilon = NAN;
}
static void epsilon_zero(attention_case *p) {
    p->config.epsilon = 0.0f;
}
static void epsilon_without_reciprocal(attention_case *p) {
    p->config.epsilon = 1e-39f;
}
static void epsilon_negative(attention_case *p) {
    p->config.epsilon = -1e-6f;
}
static void epsilon_infinite(attention_case *p) {
    p->config.epsilon = INFINITY;
}
static void map_of_another_size(attention_case *p) {
    static lilac_feature_map map;
    map = *lilac_feature_map_relu();
    map.input_size = 5;
    p->config.feature_map = &map;
}
static void map_without_backward(attention_case *p) {
    static lilac_feature_map map;
    map = *lilac_feature_map_relu();
    map.backward = NULL;
    p->config.feature_map = &map;
}
static void map_without_forward(attention_case *p) {
    static lilac_feature_map map;
    map = *lilac_feature_map_relu();
    map.forward = NULL;
    p->config.feature_map = &map;
}
static void null_gradients(attention_case *p) {
    p->backward.query_gradient.data = NULL;
}
static void null_saved(attention_case *p) {
    p->forward.saved = NULL;
    p->backward.saved = NULL;
}

static const misuse misuses[] = {
    {"null query", null_query, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"null value", null_value, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"null output", null_output, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"unknown dtype", unknown_dtype, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"key size 0", key_size_zero, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"value size 0", value_size_zero, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"causal with fewer keys", causal_with_fewer_keys, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"strides below size", strides_below_size, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"output strides below size", output_strides_below_size, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"output rows that overlap", output_rows_that_overlap, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"sizes that wrap", sizes_that_wrap, LILAC_ERROR_OVERFLOW, LILAC_ERROR_OVERFLOW},
    {"strides that wrap", strides_that_wrap, LILAC_ERROR_OVERFLOW, LILAC_ERROR_OVERFLOW},
    {"batch that wraps", batch_that_wraps, LILAC_ERROR_OVERFLOW, LILAC_ERROR_OVERFLOW},
    {"length above keys", length_above_keys, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"epsilon not a number", epsilon_not_a_number, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"epsilon 0", epsilon_zero, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"epsilon without a reciprocal", epsilon_without_reciprocal, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"epsilon below 0", epsilon_negative, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"epsilon infinite", epsilon_infinite, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"map of another size", map_of_another_size, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE},
    {"map without forward", map_without_forward, LILAC_ERROR_ARGUMENT, LILAC_ERROR_ARGUMENT},
    {"map without backward", map_without_backward, LILAC_OK, LILAC_ERROR_ARGUMENT},
    {"null gradients", null_gradients, LILAC_OK, LILAC_ERROR_ARGUMENT},
    {"nothing saved", null_saved, LILAC_OK, LILAC_ERROR_ARGUMENT},
};

static void test_misuse(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 2);
    void *workspace = malloc(BYTES);
    assert_non_null(workspace);
    for (size_t i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
        const case_options options = {.shape = case_shape(1, 2, 10, 8), .seed = 1};
        attention_case *used = attention_case_create(context, &options);
        attention_case *untouched = attention_case_create(context, &options);
        misuses[i].apply(used);
        const lilac_status forward =
            lilac_linear_attention_forward(context, &used->config, &used->forward, workspace, BYTES);
        if (forward != misuses[i].forward) {
            print_message("%s: %s\n", misuses[i].name, lilac_context_message(context));
        }
        assert_int_equal(forward, misuses[i].forward);
        if (forward == LILAC_OK) {
            attention_case_destroy(used);
            used = attention_case_create(context, &options);
            misuses[i].apply(used);
        }
        assert_int_equal(lilac_linear_attention_backward(context, &used->config, &used->backward, workspace, BYTES),
                         misuses[i].backward);
        assert_true(strlen(lilac_context_message(context)) > 0);
        assert_true(attention_case_same_bytes(used, untouched));
        attention_case_destroy(used);
        attention_case_destroy(untouched);
    }
    free(workspace);
    lilac_context_destroy(context);
}

static void test_workspace_is_checked(void **state) {
    (void)state;
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 2);
    const case_options options = {.shape = case_shape(1, 2, 10, 8), .seed = 1};
    attention_case *used = attention_case_create(context, &options),
                   *untouched = attention_case_create(context, &options);
    size_t bytes;
    assert_int_equal(lilac_linear_attention_forward_workspace_size(context, &used->config, &bytes), LILAC_OK);
    char *workspace = malloc(bytes);
    assert_non_null(workspace);
    assert_int_equal(lilac_linear_attention_forward(context, &used->config, &used->forward, workspace, bytes - 1),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_linear_attention_forward(context, &used->config, &used->forward, NULL, bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_forward(context, &used->config, NULL, workspace, bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_forward(context, NULL, &used->forward, workspace, bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_forward(NULL, &used->config, &used->forward, workspace, bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_backward(context, &used->config, &used->backward, workspace, 0),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_linear_attention_backward(context, &used->config, NULL, workspace, bytes),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_forward_workspace_size(context, &used->config, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_backward_workspace_size(context, &used->config, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_linear_attention_state_size(context, &used->config, NULL), LILAC_ERROR_ARGUMENT);
    assert_true(attention_case_same_bytes(used, untouched));
    free(workspace);
    attention_case_destroy(used);
    attention_case_destroy(untouched);
    lilac_context_destroy(context);
}

static void test_nothing_to_do(void **state) {
    (void)state;
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 2);
    static const lilac_attention_shape shapes[] = {
        {0, 2, 5, 5, 8, 8}, {2, 0, 5, 5, 8, 8}, {0, 0, 0, 0, 1, 1}, {3, 2, 0, 0, 8, 8}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int causal = 0; causal < 2; causal++) {
            const case_options options = {.shape = shapes[i], .causal = causal, .states = true, .seed = 1};
            attention_case *problem = attention_case_create(context, &options);
            attention_case_forward(context, problem);
            attention_case_backward(context, problem);
            assert_memory_equal(problem->final_state, problem->initial_state, problem->state_size * sizeof(float));
            assert_memory_equal(problem->initial_state_gradient, problem->final_state_gradient,
                                problem->state_size * sizeof(float));
            attention_case_destroy(problem);
        }
    }
    lilac_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_workspace_is_checked),
        cmocka_unit_test(test_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
