/* SPDX-License-Identifier: MIT */
/* What attention says about memory: how workspaces and what is saved grow, and that calls do not allocate. */
#include <lilac/attention.h>

#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/linear_attention_case.h"
#include "support/softmax_problem.h"

#include <stdarg.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

static lilac_linear_attention_config linear_config(size_t B, size_t H, size_t N, size_t size, bool causal,
                                                   const lilac_feature_map *map) {
    const lilac_attention_shape shape = case_shape(B, H, N, size);
    lilac_linear_attention_config config;
    lilac_linear_attention_config_default(&shape, &config);
    config.causal = causal;
    config.feature_map = map;
    return config;
}

static size_t linear_workspace(lilac_context *context, const lilac_linear_attention_config *config, bool backward) {
    size_t bytes = 0;
    assert_int_equal(backward ? lilac_linear_attention_backward_workspace_size(context, config, &bytes)
                              : lilac_linear_attention_forward_workspace_size(context, config, &bytes),
                     LILAC_OK);
    return bytes;
}

/* From some length on it is the same, however long the sequence; and one that is shorter needs no more. */
static void test_linear_workspaces_do_not_grow_with_the_sequence(void **state) {
    (void)state;
    static const size_t lengths[] = {1, 100, 10000, 100000, 1000000, (size_t)1 << 40};
    enum { LENGTHS = sizeof lengths / sizeof *lengths, SETTLED = 3 };
    lilac_feature_map *map = NULL;
    assert_int_equal(lilac_feature_map_create_random(lilac_test_context(0, 1), LILAC_RANDOM_FEATURES_POSITIVE, 24, 40,
                                                     0.4f, 1, &map),
                     LILAC_OK);
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            /* 1 head: chunks are shared out; 5: some way between; 8 of 4 sequences: heads are. */
            for (int i = 0; i < 24; i++) {
                const size_t heads = i % 3 == 0 ? 1 : i % 3 == 1 ? 5 : 8, batch = i % 3 == 2 ? 4 : 1;
                const bool causal = i / 3 % 2 == 1, backward = i / 6 % 2 == 1;
                size_t bytes[LENGTHS];
                for (size_t j = 0; j < LENGTHS; j++) {
                    const lilac_linear_attention_config config =
                        linear_config(batch, heads, lengths[j], 24, causal, i / 12 == 1 ? map : NULL);
                    bytes[j] = linear_workspace(lilac_test_context(level, threads), &config, backward);
                    assert_true(bytes[j] > 0 && (j == 0 || bytes[j] >= bytes[j - 1]));
                }
                for (size_t j = SETTLED; j < LENGTHS; j++) {
                    assert_int_equal(bytes[j], bytes[SETTLED]);
                }
            }
        }
    }
    lilac_feature_map_destroy(map);
}

static size_t softmax_workspace(lilac_context *context, const lilac_attention_shape *shape, bool backward) {
    lilac_softmax_attention_config config;
    size_t bytes = 0;
    lilac_softmax_attention_config_default(shape, &config);
    assert_int_equal(backward ? lilac_softmax_attention_backward_workspace_size(context, &config, &bytes)
                              : lilac_softmax_attention_forward_workspace_size(context, &config, &bytes),
                     LILAC_OK);
    return bytes;
}

/* What was measured for a batch serves what is left over at the end as well, however the work is shared out then. */
static void test_smaller_batches_need_no_more(void **state) {
    (void)state;
    static const size_t lengths[] = {20, 783, 5000}, heads[] = {1, 4, 8};
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            lilac_context *context = lilac_test_context(level, threads);
            for (int i = 0; i < 36; i++) {
                const size_t N = lengths[i % 3], H = heads[i / 3 % 3];
                const bool causal = i / 9 % 2 == 1, backward = i / 18 == 1;
                size_t linear = 0, softmax = 0;
                for (size_t B = 0; B <= 20; B++) {
                    const lilac_linear_attention_config config = linear_config(B, H, N, 32, causal, NULL);
                    const size_t linear_before = linear, softmax_before = softmax;
                    linear = linear_workspace(context, &config, backward);
                    softmax = softmax_workspace(context, &config.shape, backward);
                    assert_true(linear >= linear_before && softmax >= softmax_before);
                }
            }
        }
    }
}

/* The denominators and a state every 256 tokens (docs/attention.md): a quarter of the values at C = M = 64. */
static void test_what_is_saved_grows_with_the_sequence(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 255, 256, 257, 5000, 100000};
    for (int level = 0; level < lilac_test_levels(); level++) {
        lilac_context *context = lilac_test_context(level, 2);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            const size_t N = lengths[i], state_size = 64 * 65, heads = 6;
            size_t count;
            lilac_linear_attention_config config = linear_config(2, 3, N, 64, true, NULL);
            assert_int_equal(lilac_linear_attention_saved_size(context, &config, &count), LILAC_OK);
            assert_int_equal(count, heads * (N + (N + 255) / 256 * state_size));
            assert_true(N < 5000 || (double)count < 0.28 * (double)(heads * N * 64));
            config.causal = false;
            assert_int_equal(lilac_linear_attention_saved_size(context, &config, &count), LILAC_OK);
            assert_int_equal(count, heads * (N + state_size));
        }
    }
}

/* With N, not with N^2; and not with the batch, once there is enough of it for all threads. */
static void test_softmax_workspaces_grow_with_the_sequence(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_levels(); level++) {
        for (int threads = 1; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            lilac_context *context = lilac_test_context(level, threads);
            for (int backward = 0; backward < 2; backward++) {
                for (size_t N = 1000; N <= 1000000; N *= 10) {
                    const lilac_attention_shape shape = {4, 8, N, N, 64, 64}, longer = {4, 8, 10 * N, 10 * N, 64, 64};
                    const lilac_attention_shape larger = {64, 8, N, N, 64, 64};
                    const size_t bytes = softmax_workspace(context, &shape, backward);
                    assert_true(softmax_workspace(context, &longer, backward) <= 10 * bytes);
                    assert_int_equal(softmax_workspace(context, &larger, backward), bytes);
                }
            }
        }
    }
}

static void run_linear(lilac_context *context) {
    for (int kind = 0; kind < 8; kind++) {
        const case_options options = {.shape = case_shape(2, 2, 300, 20),
                                      .causal = kind % 2 == 1,
                                      .bf16 = kind / 2 % 2 == 1,
                                      .map = kind < 4 ? lilac_feature_map_relu() : NULL};
        attention_case *problem = attention_case_create(context, &options);
        const size_t forward = linear_workspace(context, &problem->config, false);
        const size_t backward = linear_workspace(context, &problem->config, true);
        void *workspace = malloc(forward > backward ? forward : backward);
        lilac_linear_attention_state *state = NULL, *copy = NULL;
        assert_non_null(workspace);
        assert_int_equal(lilac_linear_attention_state_create(context, &problem->config, &state), LILAC_OK);
        assert_int_equal(lilac_linear_attention_state_create(context, &problem->config, &copy), LILAC_OK);
        const lilac_linear_attention_forward_tensors *t = &problem->forward;
        lilac_test_fail_allocation(0);
        const lilac_status statuses[] = {
            lilac_linear_attention_forward(context, &problem->config, t, workspace, forward),
            lilac_linear_attention_backward(context, &problem->config, &problem->backward, workspace, backward),
            lilac_linear_attention_step(context, state, &t->query, &t->key, &t->value, &t->output),
            lilac_linear_attention_state_copy(context, state, copy)};
        assert_false(lilac_test_allocation_failed());
        for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
            assert_int_equal(statuses[i], LILAC_OK);
        }
        lilac_linear_attention_state_destroy(copy);
        lilac_linear_attention_state_destroy(state);
        free(workspace);
        attention_case_destroy(problem);
    }
}

static void run_softmax(lilac_context *context, lilac_attention_dtype dtype) {
    const lilac_attention_shape shape = {2, 2, 300, 300, 20, 20};
    softmax_problem *problem = softmax_problem_create(&shape, true, NULL, dtype, SOFTMAX_UNIFORM, 1);
    const size_t forward = softmax_workspace(context, &shape, false);
    const size_t backward = softmax_workspace(context, &shape, true);
    void *workspace = malloc(forward > backward ? forward : backward);
    lilac_softmax_attention_state *state = NULL;
    assert_non_null(workspace);
    assert_int_equal(lilac_softmax_attention_state_create(context, &problem->config, &state), LILAC_OK);
    const lilac_softmax_attention_forward_tensors *t = &problem->forward;
    lilac_test_fail_allocation(0);
    const lilac_status statuses[] = {
        lilac_softmax_attention_forward(context, &problem->config, t, workspace, forward),
        lilac_softmax_attention_backward(context, &problem->config, &problem->backward, workspace, backward),
        lilac_softmax_attention_state_append(context, state, 200, NULL, &t->key, &t->value),
        lilac_softmax_attention_step(context, state, &t->query, &t->key, &t->value, &t->output)};
    assert_false(lilac_test_allocation_failed());
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        assert_int_equal(statuses[i], LILAC_OK);
    }
    lilac_softmax_attention_state_destroy(state);
    free(workspace);
    softmax_problem_destroy(problem);
}

static void test_calls_do_not_allocate(void **state) {
    (void)state;
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        run_linear(lilac_test_context(level, 2));
        run_softmax(lilac_test_context(level, 2), LILAC_ATTENTION_F32);
        run_softmax(lilac_test_context(level, 2), LILAC_ATTENTION_BF16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_workspaces_do_not_grow_with_the_sequence),
        cmocka_unit_test(test_smaller_batches_need_no_more),
        cmocka_unit_test(test_what_is_saved_grows_with_the_sequence),
        cmocka_unit_test(test_softmax_workspaces_grow_with_the_sequence),
        cmocka_unit_test(test_calls_do_not_allocate),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
