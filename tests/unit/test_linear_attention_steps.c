/* SPDX-License-Identifier: MIT */
/* Linear attention token by token: the same as over whole sequences, wherever a prompt ends and steps begin. */
#include <lilac/attention.h>

#include "support/levels.h"
#include "support/linear_attention_case.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { TOKENS = 101 };

static lilac_attention_input token_of(lilac_attention_input input, size_t token) {
    const size_t item_size = input.dtype == LILAC_ATTENTION_BF16 ? sizeof(uint16_t) : sizeof(float);
    input.data = (const char *)input.data + token * input.token_stride * item_size;
    return input;
}

/* The first `prompt` tokens by the parallel form, from the state and to the state, the others by steps. */
static void run(lilac_context *context, attention_case *problem, size_t prompt) {
    const lilac_linear_attention_forward_tensors whole = problem->forward;
    const lilac_linear_attention_config config = problem->config;
    lilac_linear_attention_state *state = NULL;
    assert_int_equal(lilac_linear_attention_state_create(context, &config, &state), LILAC_OK);
    problem->config.shape.queries = problem->config.shape.keys = prompt;
    problem->forward.initial_state = problem->forward.final_state = lilac_linear_attention_state_data(state);
    problem->forward.saved = NULL;
    attention_case_forward(context, problem);
    for (size_t n = prompt; n < TOKENS; n++) {
        const lilac_attention_input query = token_of(whole.query, n), key = token_of(whole.key, n);
        const lilac_attention_input value = token_of(whole.value, n);
        lilac_attention_output output = whole.output;
        output.data += n * output.token_stride;
        assert_int_equal(lilac_linear_attention_step(context, state, &query, &key, &value, &output), LILAC_OK);
    }
    memcpy(problem->final_state, lilac_linear_attention_state_data(state), problem->state_size * sizeof(float));
    lilac_linear_attention_state_destroy(state);
    problem->forward = whole;
    problem->config = config;
}

/* Outputs and final state against double; only products of the parallel form round to bf16, and only of some levels. */
static void check(lilac_context *context, const case_options *options, size_t prompt) {
    attention_case *problem = attention_case_create(context, options);
    run(context, problem, prompt);
    const case_errors errors = attention_case_errors(problem);
    const double bound = problem->rounded && prompt > 0 ? CASE_BF16_ERROR : CASE_FORWARD_ERROR;
    if (!(errors.out <= bound && errors.final_state <= bound)) {
        fail_msg("D %zu, M %zu, bf16 %d, prompt %zu: output %g, state %g off", options->shape.key_size,
                 options->shape.value_size, options->bf16, prompt, errors.out, errors.final_state);
    }
    attention_case_check_guards(problem);
    attention_case_destroy(problem);
}

static void head_sizes(lilac_context *context) {
    static const size_t sizes[] = {5, 16, 32, 64}, prompts[] = {0, 1, 32, 64, 77, TOKENS - 1, TOKENS};
    for (size_t i = 0; i < 4; i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            case_options options = {.shape = case_shape(2, 2, TOKENS, sizes[i]),
                                    .causal = true,
                                    .bf16 = bf16,
                                    .layout = bf16 ? LAYOUT_FUSED : LAYOUT_PADDED,
                                    .seed = i};
            for (size_t p = 0; p < sizeof prompts / sizeof *prompts; p++) {
                check(context, &options, prompts[p]);
            }
            options.shape.value_size = sizes[(i + 1) % 4];
            options.layout = LAYOUT_HEADS;
            check(context, &options, 0);
            check(context, &options, 50);
        }
    }
}

static void test_steps_are_the_whole(void **state) {
    (void)state;
    case_at_every_level(head_sizes);
}

/* Maps that the kernels do not know, from D to fewer and to more features. */
static void feature_maps(lilac_context *context) {
    lilac_feature_map *fourier, *fewer, *more;
    assert_int_equal(lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_FOURIER, 16, 38, 0.1f, 1, &fourier),
                     LILAC_OK);
    assert_int_equal(lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_POSITIVE, 16, 7, 0.3f, 2, &fewer),
                     LILAC_OK);
    assert_int_equal(lilac_feature_map_create_random(context, LILAC_RANDOM_FEATURES_POSITIVE, 16, 40, 0.3f, 3, &more),
                     LILAC_OK);
    const lilac_feature_map *maps[] = {fourier, fewer, more, lilac_feature_map_exp()};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            case_options options = {.shape = case_shape(2, 3, TOKENS, 16),
                                    .causal = true,
                                    .bf16 = bf16,
                                    .layout = LAYOUT_FUSED,
                                    .map = maps[i],
                                    .seed = 10 + i};
            check(context, &options, 0);
            check(context, &options, 45);
        }
    }
    lilac_feature_map_destroy(fourier);
    lilac_feature_map_destroy(fewer);
    lilac_feature_map_destroy(more);
}

static void test_steps_with_other_feature_maps(void **state) {
    (void)state;
    case_at_every_level(feature_maps);
}

/* Heads so large that each is worth a thread. */
static void test_threads_give_the_same_bytes(void **state) {
    (void)state;
    const case_options options = {.shape = case_shape(2, 3, TOKENS, 130), .causal = true, .seed = 20};
    for (int level = 0; level < lilac_test_levels(); level++) {
        attention_case *one = attention_case_create(lilac_test_context(level, 1), &options);
        run(lilac_test_context(level, 1), one, 60);
        for (int threads = 2; threads <= LILAC_TEST_MAX_THREADS; threads++) {
            attention_case *many = attention_case_create(lilac_test_context(level, threads), &options);
            run(lilac_test_context(level, threads), many, 60);
            assert_true(attention_case_same_bytes(one, many));
            attention_case_destroy(many);
        }
        attention_case_destroy(one);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_are_the_whole),
        cmocka_unit_test(test_steps_with_other_feature_maps),
        cmocka_unit_test(test_threads_give_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
