/* SPDX-License-Identifier: MIT */
/* States of softmax attention that keep keys and values in bf16: what is rounded, and that nothing else is. */
#include "support/contexts.h"
#include "support/softmax_problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four headers above it. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 3, HEADS = 2, TOKENS = 205, KEY_SIZE = 20, VALUE_SIZE = 27, PROMPT = 131 };

static const lilac_attention_shape SHAPE = {BATCH, HEADS, TOKENS, TOKENS, KEY_SIZE, VALUE_SIZE};

/* bf16 has 8 significant bits: a key's or value's rounding is at most this much of it. */
static const double BF16_ROUNDOFF = 0x1p-8;

static lilac_softmax_attention_state *make_state(lilac_context *context, lilac_attention_dtype cache) {
    lilac_softmax_attention_config config;
    lilac_softmax_attention_state *state;
    lilac_softmax_attention_config_default(&SHAPE, &config);
    assert_int_equal(config.cache, LILAC_ATTENTION_F32);
    config.cache = cache;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_OK);
    return state;
}

/* Takes in the tokens from `first` to before `end`, `most` at a time; of one by a step. */
static void take_in(lilac_context *context, lilac_softmax_attention_state *state, softmax_problem *problem,
                    size_t first, size_t end, size_t most) {
    size_t bytes;
    assert_int_equal(lilac_softmax_attention_extend_workspace_size(context, state, &bytes), LILAC_OK);
    void *workspace = malloc(bytes);
    assert_non_null(workspace);
    for (size_t token = first; token < end; token += most) {
        const lilac_attention_input query = softmax_problem_input_from(&problem->forward.query, token);
        const lilac_attention_input key = softmax_problem_input_from(&problem->forward.key, token);
        const lilac_attention_input value = softmax_problem_input_from(&problem->forward.value, token);
        lilac_attention_output output = problem->forward.output;
        output.data += token * output.token_stride;
        const size_t count = end - token < most ? end - token : most;
        if (most == 1) {
            assert_int_equal(lilac_softmax_attention_step(context, state, &query, &key, &value, &output), LILAC_OK);
        } else {
            assert_int_equal(
                lilac_softmax_attention_extend(context, state, count, &query, &key, &value, &output, workspace, bytes),
                LILAC_OK);
        }
    }
    free(workspace);
}

static softmax_problem *make_problem(lilac_attention_dtype dtype) {
    softmax_problem *problem = softmax_problem_create(&SHAPE, true, NULL, dtype, SOFTMAX_UNIFORM, 11);
    softmax_problem_solve(problem, false);
    return problem;
}

/* The outputs of a prompt and steps behind it. */
static void run(lilac_context *context, softmax_problem *problem, lilac_attention_dtype cache) {
    lilac_softmax_attention_state *state = make_state(context, cache);
    take_in(context, state, problem, 0, PROMPT, PROMPT);
    take_in(context, state, problem, PROMPT, TOKENS, 1);
    lilac_softmax_attention_state_destroy(state);
}

static size_t output_bytes(const softmax_problem *problem) {
    return problem->tokens * HEADS * VALUE_SIZE * sizeof(float);
}

/* Inputs in bf16 are kept as they are: nothing is rounded then, so that both kinds of states give the same bytes. */
static void test_only_keys_and_values_are_rounded(void **unused) {
    (void)unused;
    for (lilac_cpu_level level = LILAC_CPU_SCALAR; level <= LILAC_CPU_AVX512; level++) {
        softmax_problem *floats = make_problem(LILAC_ATTENTION_BF16), *halves = make_problem(LILAC_ATTENTION_BF16);
        lilac_context *context = context_create_at(level, 2);
        run(context, floats, LILAC_ATTENTION_F32);
        run(context, halves, LILAC_ATTENTION_BF16);
        assert_memory_equal(floats->output_data, halves->output_data, output_bytes(floats));
        assert_true(softmax_problem_output_error(halves) <= 1e-6);
        lilac_context_destroy(context);
        softmax_problem_destroy(floats);
        softmax_problem_destroy(halves);
    }
}

/* Of other inputs the results are off by about a rounding of bf16, and no more. */
static void test_rounding_is_bounded(void **unused) {
    (void)unused;
    for (lilac_cpu_level level = LILAC_CPU_SCALAR; level <= LILAC_CPU_AVX512; level++) {
        softmax_problem *problem = make_problem(LILAC_ATTENTION_F32);
        lilac_context *context = context_create_at(level, 1);
        run(context, problem, LILAC_ATTENTION_BF16);
        const double error = softmax_problem_output_error(problem);
        assert_true(error > 0.01 * BF16_ROUNDOFF && error < 2.0 * BF16_ROUNDOFF);
        lilac_context_destroy(context);
        softmax_problem_destroy(problem);
    }
}

static void test_threads_give_the_same_bytes(void **unused) {
    (void)unused;
    softmax_problem *one = make_problem(LILAC_ATTENTION_F32), *other = make_problem(LILAC_ATTENTION_F32);
    for (int threads = 1; threads <= 3; threads++) {
        lilac_context *context = context_create_at(LILAC_CPU_AVX512, threads);
        run(context, threads == 1 ? one : other, LILAC_ATTENTION_BF16);
        lilac_context_destroy(context);
        if (threads > 1) {
            assert_memory_equal(one->output_data, other->output_data, output_bytes(one));
        }
    }
    softmax_problem_destroy(one);
    softmax_problem_destroy(other);
}

static void *save(lilac_context *context, const lilac_softmax_attention_state *state, size_t *size) {
    *size = lilac_softmax_attention_state_saved_size(state);
    void *bytes = malloc(*size);
    assert_non_null(bytes);
    assert_int_equal(lilac_softmax_attention_state_save(context, state, bytes, *size), LILAC_OK);
    return bytes;
}

static void test_copies_and_saved_states_go_on(void **unused) {
    (void)unused;
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 2);
    softmax_problem *whole = make_problem(LILAC_ATTENTION_F32), *problem = make_problem(LILAC_ATTENTION_F32);
    run(context, whole, LILAC_ATTENTION_BF16);
    lilac_softmax_attention_state *state = make_state(context, LILAC_ATTENTION_BF16);
    take_in(context, state, problem, 0, PROMPT, PROMPT);

    lilac_softmax_attention_state *copy = make_state(context, LILAC_ATTENTION_BF16);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, copy), LILAC_OK);
    take_in(context, copy, problem, PROMPT, TOKENS, 1);
    assert_memory_equal(whole->output_data, problem->output_data, output_bytes(whole));

    size_t size, again;
    void *bytes = save(context, state, &size);
    lilac_softmax_attention_state *loaded = make_state(context, LILAC_ATTENTION_BF16);
    assert_int_equal(lilac_softmax_attention_state_load(context, loaded, bytes, size), LILAC_OK);
    void *same = save(context, loaded, &again);
    assert_int_equal(again, size);
    assert_memory_equal(same, bytes, size);
    take_in(context, loaded, problem, PROMPT, TOKENS, 1);
    assert_memory_equal(whole->output_data, problem->output_data, output_bytes(whole));

    /* Saved bytes do not say what kind of state they are of; copying takes two of a kind. */
    lilac_softmax_attention_state *floats = make_state(context, LILAC_ATTENTION_F32);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, floats), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_softmax_attention_state_load(context, floats, bytes, size), LILAC_OK);
    void *widened = save(context, floats, &again);
    assert_int_equal(again, size);
    assert_memory_equal(widened, bytes, size);

    free(widened);
    free(same);
    free(bytes);
    lilac_softmax_attention_state_destroy(floats);
    lilac_softmax_attention_state_destroy(loaded);
    lilac_softmax_attention_state_destroy(copy);
    lilac_softmax_attention_state_destroy(state);
    softmax_problem_destroy(whole);
    softmax_problem_destroy(problem);
    lilac_context_destroy(context);
}

static void test_an_unknown_cache_is_refused(void **unused) {
    (void)unused;
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 1);
    lilac_softmax_attention_config config;
    lilac_softmax_attention_state *state = NULL;
    lilac_softmax_attention_config_default(&SHAPE, &config);
    config.cache = (lilac_attention_dtype)7;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(context), "7"));
    assert_null(state);
    lilac_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_keys_and_values_are_rounded), cmocka_unit_test(test_rounding_is_bounded),
        cmocka_unit_test(test_threads_give_the_same_bytes),      cmocka_unit_test(test_copies_and_saved_states_go_on),
        cmocka_unit_test(test_an_unknown_cache_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
