/* SPDX-License-Identifier: MIT */
/* Tests of prompts of more tokens than the parallel form takes in at a time. */
#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/numbers.h"

#include <lilac/generation.h>

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* A part is 1024 tokens of each sequence. */
enum { B = 5, N = 2075, PART = 1024, O = 12 };

static uint8_t tokens[B][N + 1];

static int set_up(void **state) {
    static float values[B * N];
    lilac_test_uniform(1, B * N, 0.0f, 255.99f, values);
    for (size_t i = 0; i < B * N; i++) {
        tokens[i / N][i % N] = (uint8_t)values[i];
    }
    return lilac_test_levels_set_up(state);
}

static lilac_transformer *create_model(lilac_context *context, lilac_transformer_attention attention) {
    const lilac_transformer_config config = {.length = N,
                                             .layers = 2,
                                             .heads = 2,
                                             .head_size = 5,
                                             .feed_forward = 10,
                                             .value_width = 6,
                                             .position_width = 6,
                                             .attention = attention,
                                             .mixtures = O / 3,
                                             .seed = 4};
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    return model;
}

static lilac_transformer_state *create_state(lilac_context *context, const lilac_transformer *model, size_t batch) {
    const lilac_transformer_state_config config = {.batch = batch};
    lilac_transformer_state *state = NULL;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &state), LILAC_OK);
    return state;
}

/* The outputs after the first n tokens, taken in one at a time. */
static void step_through(lilac_context *context, lilac_transformer_state *state, size_t n, double *outputs) {
    float last[B * O];
    for (size_t position = 0; position < n; position++) {
        uint8_t column[B];
        for (size_t b = 0; b < B; b++) {
            column[b] = tokens[b][position];
        }
        assert_int_equal(lilac_transformer_state_step(context, state, column, last), LILAC_OK);
    }
    for (size_t i = 0; i < B * O; i++) {
        outputs[i] = (double)last[i];
    }
}

/* Takes in the tokens from one end to the next; the last is n. */
static void take_in_parts(lilac_context *context, lilac_transformer_state *state, const size_t *ends, size_t n,
                          float *outputs) {
    lilac_transformer_state_reset(state);
    for (size_t done = 0; done < n; done = *ends++) {
        assert_int_equal(lilac_transformer_state_prompt(context, state, *ends - done, tokens[0] + done, N + 1, outputs),
                         LILAC_OK);
    }
    assert_int_equal(lilac_transformer_state_position(state), n);
}

static void test_parts_are_the_whole(void **unused) {
    (void)unused;
    static const size_t splits[][4] = {{N}, {1, N}, {700, 1724, N}, {PART, PART + 1, N}, {2 * PART, N}, {N - 1, N}};
    for (int attention = 0; attention < 2; attention++) {
        for (int level = 0; level < lilac_test_levels(); level++) {
            lilac_context *context = lilac_test_context(level, 1 + level % 2);
            lilac_transformer *model = create_model(context, (lilac_transformer_attention)attention);
            lilac_transformer_state *state = create_state(context, model, B);
            double expected[B * O];
            float outputs[B * O];
            step_through(context, state, N, expected);
            for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
                take_in_parts(context, state, splits[i], N, outputs);
                char what[64];
                snprintf(what, sizeof what, "outputs after split number %zu", i);
                lilac_test_expect_close(what, B * O, outputs, expected, 1e-4, 1e-4);
            }
            lilac_transformer_state_destroy(state);
            lilac_transformer_destroy(model);
        }
    }
}

/* The parallel form allocates three blocks for each part: positions, activations, and where these are. Steps allocate
 * nothing. */
static void test_every_part_is_parallel(void **unused) {
    (void)unused;
    lilac_context *context = lilac_test_context(lilac_test_levels() - 1, 1);
    for (int attention = 0; attention < 2; attention++) {
        lilac_transformer *model = create_model(context, (lilac_transformer_attention)attention);
        lilac_transformer_state *state = create_state(context, model, 1);
        assert_int_equal(lilac_transformer_state_prompt(context, state, 3, tokens[0], N, NULL), LILAC_OK);
        lilac_test_fail_allocation(2 * 3);
        const lilac_status status = lilac_transformer_state_prompt(context, state, N - 3, tokens[0], N, NULL);
        assert_true(lilac_test_allocation_failed());
        assert_int_equal(status, LILAC_ERROR_MEMORY);
        assert_int_equal(lilac_transformer_state_position(state), 3 + 2 * PART);
        lilac_transformer_state_destroy(state);
        lilac_transformer_destroy(model);
    }
}

/* Without a cache all tokens are read again, those beyond the first part too; at temperature 0 the bytes are the same.
 */
static void test_without_cache(void **unused) {
    (void)unused;
    enum { PROMPT = PART + 3, LENGTH = PROMPT + 5 };
    static uint8_t rows[2][B][LENGTH];
    lilac_context *context = lilac_test_context(lilac_test_levels() - 1, 1);
    lilac_transformer *model = create_model(context, LILAC_TRANSFORMER_SOFTMAX);
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.count = B;
    config.prompt = PROMPT;
    config.length = LENGTH;
    config.temperature = 0.0;
    for (int without = 0; without < 2; without++) {
        for (size_t b = 0; b < B; b++) {
            memcpy(rows[without][b], tokens[b], PROMPT);
        }
        config.no_cache = without == 1;
        assert_int_equal(lilac_generate(context, model, &config, rows[without][0], NULL), LILAC_OK);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_the_whole),
        cmocka_unit_test(test_every_part_is_parallel),
        cmocka_unit_test(test_without_cache),
    };
    return cmocka_run_group_tests(tests, set_up, lilac_test_levels_tear_down);
}
