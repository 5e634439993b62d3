/* SPDX-License-Identifier: MIT */
/* Softmax attention token by token: the same as over whole sequences, however it is split, copied or saved. */
#include "support/failing_allocator.h"
#include "support/levels.h"
#include "support/softmax_problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the four headers above it. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the relative 2-norm; bf16 inputs are used as they are, so that they are no less exact. */
static const double BOUND = 1e-6;

enum { BATCH = 3, HEADS = 2, TOKENS = 205, KEY_SIZE = 20, VALUE_SIZE = 27 };

static const lilac_attention_shape SHAPE = {BATCH, HEADS, TOKENS, TOKENS, KEY_SIZE, VALUE_SIZE};

static lilac_softmax_attention_state *make_state(lilac_context *context, size_t capacity) {
    lilac_softmax_attention_config config;
    lilac_softmax_attention_state *state;
    lilac_attention_shape shape = SHAPE;
    shape.keys = capacity;
    lilac_softmax_attention_config_default(&shape, &config);
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_OK);
    return state;
}

static void step(lilac_context *context, lilac_softmax_attention_state *state, softmax_problem *problem, size_t token) {
    const lilac_attention_input query = softmax_problem_input_from(&problem->forward.query, token);
    const lilac_attention_input key = softmax_problem_input_from(&problem->forward.key, token);
    const lilac_attention_input value = softmax_problem_input_from(&problem->forward.value, token);
    lilac_attention_output output = problem->forward.output;
    output.data += token * output.token_stride;
    assert_int_equal(lilac_softmax_attention_step(context, state, &query, &key, &value, &output), LILAC_OK);
}

static void append(lilac_context *context, lilac_softmax_attention_state *state, const softmax_problem *problem,
                   size_t token, size_t count) {
    const lilac_attention_input key = softmax_problem_input_from(&problem->forward.key, token);
    const lilac_attention_input value = softmax_problem_input_from(&problem->forward.value, token);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, count, NULL, &key, &value), LILAC_OK);
}

static void extend(lilac_context *context, lilac_softmax_attention_state *state, softmax_problem *problem, size_t token,
                   size_t count) {
    const lilac_attention_input query = softmax_problem_input_from(&problem->forward.query, token);
    const lilac_attention_input key = softmax_problem_input_from(&problem->forward.key, token);
    const lilac_attention_input value = softmax_problem_input_from(&problem->forward.value, token);
    lilac_attention_output output = problem->forward.output;
    output.data += token * output.token_stride;
    size_t bytes;
    assert_int_equal(lilac_softmax_attention_extend_workspace_size(context, state, &bytes), LILAC_OK);
    void *workspace = malloc(bytes);
    assert_non_null(workspace);
    assert_int_equal(
        lilac_softmax_attention_extend(context, state, count, &query, &key, &value, &output, workspace, bytes - 1),
        LILAC_ERROR_SHAPE);
    assert_int_equal(
        lilac_softmax_attention_extend(context, state, count, &query, &key, &value, &output, workspace, bytes),
        LILAC_OK);
    free(workspace);
}

static softmax_problem *make_problem(lilac_attention_dtype dtype, softmax_inputs inputs) {
    softmax_problem *problem = softmax_problem_create(&SHAPE, true, NULL, dtype, inputs, 3);
    softmax_problem_solve(problem, false);
    return problem;
}

static void test_steps_are_the_whole(void **unused) {
    (void)unused;
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (int dtype = LILAC_ATTENTION_F32; dtype <= LILAC_ATTENTION_BF16; dtype++) {
            lilac_context *context = lilac_test_context_create(level, 2);
            lilac_softmax_attention_state *state = make_state(context, TOKENS);
            softmax_problem *problem = make_problem((lilac_attention_dtype)dtype, SOFTMAX_UNIFORM);
            for (int round = 0; round < 2; round++) {
                for (size_t token = 0; token < TOKENS; token++) {
                    step(context, state, problem, token);
                }
                assert_true(softmax_problem_output_error(problem) <= BOUND);
                lilac_softmax_attention_state_reset(state);
            }
            softmax_problem_destroy(problem);
            lilac_softmax_attention_state_destroy(state);
            lilac_context_destroy(context);
        }
    }
}

/* The parallel form goes on from any state, also one that steps have brought about. */
static void test_extensions_are_the_whole(void **unused) {
    (void)unused;
    static const size_t splits[][2] = {{0, TOKENS}, {1, TOKENS}, {63, 64}, {64, 170}, {100, 197}, {7, TOKENS - 1}};
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (int dtype = LILAC_ATTENTION_F32; dtype <= LILAC_ATTENTION_BF16; dtype++) {
            lilac_context *context = lilac_test_context_create(level, 1 + dtype);
            lilac_softmax_attention_state *state = make_state(context, TOKENS);
            for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
                softmax_problem *problem = make_problem((lilac_attention_dtype)dtype, SOFTMAX_UNIFORM);
                const size_t first = splits[i][0], second = splits[i][1];
                extend(context, state, problem, 0, first);
                if (i % 2 == 0) {
                    extend(context, state, problem, first, second - first);
                } else {
                    step(context, state, problem, first);
                    extend(context, state, problem, first + 1, second - first - 1);
                }
                extend(context, state, problem, second, TOKENS - second);
                assert_true(softmax_problem_output_error(problem) <= BOUND);
                softmax_problem_destroy(problem);
                lilac_softmax_attention_state_reset(state);
            }
            lilac_softmax_attention_state_destroy(state);
            lilac_context_destroy(context);
        }
    }
}

/* Other sizes of heads, those of full vectors and others. */
static void test_head_sizes_step_as_the_whole(void **unused) {
    (void)unused;
    static const size_t sizes[] = {1, 5, 16, 32, 64};
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
            const size_t size = sizes[i / 2];
            const lilac_attention_shape shape = {2, 2, 97, 97, size, size};
            lilac_context *context = lilac_test_context_create(level, 2);
            lilac_softmax_attention_config config;
            lilac_softmax_attention_state *state = NULL;
            lilac_softmax_attention_config_default(&shape, &config);
            assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_OK);
            softmax_problem *problem = softmax_problem_create(
                &shape, true, NULL, i % 2 == 0 ? LILAC_ATTENTION_F32 : LILAC_ATTENTION_BF16, SOFTMAX_UNIFORM, i);
            softmax_problem_solve(problem, false);
            for (size_t token = 0; token < shape.queries; token++) {
                step(context, state, problem, token);
            }
            assert_true(softmax_problem_output_error(problem) <= BOUND);
            softmax_problem_destroy(problem);
            lilac_softmax_attention_state_destroy(state);
            lilac_context_destroy(context);
        }
    }
}

/* A prompt is taken in by the parallel form, in one or two parts, and continued by steps. */
static void check_prompts(int level, lilac_attention_dtype dtype, softmax_inputs inputs, double bound) {
    static const size_t prompts[] = {0, 1, 63, 64, 65, 130, 192, 204};
    lilac_context *context = lilac_test_context_create(level, 2);
    lilac_softmax_attention_state *state = make_state(context, TOKENS);
    softmax_problem *problem = make_problem(dtype, inputs);
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        softmax_problem_run(problem, level, 2, false); /* the outputs of the prompt */
        lilac_softmax_attention_state_reset(state);
        append(context, state, problem, 0, prompts[i] / 3);
        append(context, state, problem, prompts[i] / 3, prompts[i] - prompts[i] / 3);
        for (size_t token = prompts[i]; token < TOKENS; token++) {
            step(context, state, problem, token);
        }
        assert_true(softmax_problem_output_error(problem) <= (problem->rounded ? 1e-2 : bound));
    }
    softmax_problem_destroy(problem);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

static void test_a_prompt_is_continued(void **unused) {
    (void)unused;
    for (int level = 0; level < lilac_test_attention_levels(); level++) {
        check_prompts(level, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, BOUND);
        check_prompts(level, LILAC_ATTENTION_F32, SOFTMAX_STEEP, 1e-4); /* steep scores are that far off themselves */
        check_prompts(level, LILAC_ATTENTION_BF16, SOFTMAX_UNIFORM, BOUND);
    }
}

/* Sequences of different lengths in one state: each goes on from its own end. */
static void test_prompts_of_different_lengths_are_continued(void **unused) {
    (void)unused;
    static const size_t lengths[BATCH] = {0, 70, 199};
    lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX2, 2);
    lilac_softmax_attention_state *state = make_state(context, TOKENS);
    softmax_problem *problem = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
    softmax_problem_run(problem, LILAC_CPU_AVX2, 2, false);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, 199, lengths, &problem->forward.key,
                                                          &problem->forward.value),
                     LILAC_OK);
    float *stepped = malloc(BATCH * HEADS * VALUE_SIZE * sizeof *stepped);
    assert_non_null(stepped);
    for (size_t n = 0; n < TOKENS - 199; n++) {
        lilac_attention_input inputs[3] = {problem->forward.query, problem->forward.key, problem->forward.value};
        for (size_t i = 0; i < 3; i++) {
            /* Sequence b is at token lengths[b] + n: gather them, one batch row each, in a tensor of their own. */
            const size_t size = i == 2 ? VALUE_SIZE : KEY_SIZE;
            float *rows = malloc(BATCH * HEADS * size * sizeof *rows);
            assert_non_null(rows);
            for (size_t b = 0; b < BATCH; b++) {
                const float *row = (const float *)inputs[i].data + b * inputs[i].batch_stride +
                                   (lengths[b] + n) * inputs[i].token_stride;
                for (size_t h = 0; h < HEADS; h++) {
                    memcpy(rows + (b * HEADS + h) * size, row + h * inputs[i].head_stride, size * sizeof *rows);
                }
            }
            inputs[i] = (lilac_attention_input){rows, LILAC_ATTENTION_F32, HEADS * size, 0, size};
        }
        const lilac_attention_output output = {stepped, HEADS * VALUE_SIZE, 0, VALUE_SIZE};
        assert_int_equal(lilac_softmax_attention_step(context, state, &inputs[0], &inputs[1], &inputs[2], &output),
                         LILAC_OK);
        for (size_t b = 0; b < BATCH; b++) {
            memcpy(problem->forward.output.data + b * problem->forward.output.batch_stride +
                       (lengths[b] + n) * problem->forward.output.token_stride,
                   stepped + b * HEADS * VALUE_SIZE, HEADS * VALUE_SIZE * sizeof *stepped);
        }
        for (size_t i = 0; i < 3; i++) {
            free((void *)inputs[i].data);
        }
    }
    assert_true(softmax_problem_output_error(problem) <= BOUND);
    free(stepped);
    softmax_problem_destroy(problem);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

/* Long sequences, whose keys threads share out, beside one that is not long and one that becomes so. */
enum { LONG = 3500, LONG_STEPS = 10 };
static const size_t LONG_PROMPTS[BATCH] = {1500, 1915, 3480};

static const float *row_of(const lilac_attention_input *input, size_t b, size_t token, size_t h) {
    return (const float *)input->data + b * input->batch_stride + token * input->token_stride + h * input->head_stride;
}

/* In double: out = attention of the query of step n to the prompt of sequence b and the tokens of steps 0 .. n. */
static void attend_in_double(const softmax_problem *problem, size_t b, size_t h, size_t n, double out[VALUE_SIZE]) {
    const lilac_softmax_attention_forward_tensors *tensors = &problem->forward;
    const float *query = row_of(&tensors->query, b, LONG - LONG_STEPS + n, h);
    double sum = 0.0;
    memset(out, 0, VALUE_SIZE * sizeof *out);
    for (size_t k = 0; k < LONG_PROMPTS[b] + n + 1; k++) {
        const size_t token = k < LONG_PROMPTS[b] ? k : LONG - LONG_STEPS + k - LONG_PROMPTS[b];
        const float *key = row_of(&tensors->key, b, token, h), *value = row_of(&tensors->value, b, token, h);
        double score = 0.0;
        for (size_t d = 0; d < KEY_SIZE; d++) {
            score += (double)query[d] * (double)key[d];
        }
        const double p = exp(problem->config.scale * score);
        sum += p;
        for (size_t m = 0; m < VALUE_SIZE; m++) {
            out[m] += p * (double)value[m];
        }
    }
    for (size_t m = 0; m < VALUE_SIZE; m++) {
        out[m] /= sum;
    }
}

/* The error of all steps' outputs. */
static double long_error(const softmax_problem *problem) {
    const lilac_attention_output *output = &problem->forward.output;
    double error = 0.0, size = 0.0, exact[VALUE_SIZE];
    for (size_t i = 0; i < BATCH * HEADS * LONG_STEPS; i++) {
        const size_t b = i / (HEADS * LONG_STEPS), h = i / LONG_STEPS % HEADS, n = i % LONG_STEPS;
        attend_in_double(problem, b, h, n, exact);
        const float *row = output->data + b * output->batch_stride + (LONG - LONG_STEPS + n) * output->token_stride +
                           h * output->head_stride;
        for (size_t m = 0; m < VALUE_SIZE; m++) {
            error += ((double)row[m] - exact[m]) * ((double)row[m] - exact[m]);
            size += exact[m] * exact[m];
        }
    }
    return sqrt(error / size);
}

static void step_long(softmax_problem *problem, int level, int threads) {
    lilac_context *context = lilac_test_context_create(level, threads);
    lilac_softmax_attention_state *state = make_state(context, LONG);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, LONG, LONG_PROMPTS, &problem->forward.key,
                                                          &problem->forward.value),
                     LILAC_OK);
    for (size_t n = LONG - LONG_STEPS; n < LONG; n++) {
        step(context, state, problem, n);
    }
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

static void test_long_sequences_step_the_same_with_any_threads(void **unused) {
    (void)unused;
    const lilac_attention_shape shape = {BATCH, HEADS, LONG, LONG, KEY_SIZE, VALUE_SIZE};
    for (int level = 0; level < lilac_test_levels(); level++) {
        softmax_problem *one = softmax_problem_create(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 9);
        softmax_problem *many = softmax_problem_create(&shape, true, NULL, LILAC_ATTENTION_F32, SOFTMAX_UNIFORM, 9);
        step_long(one, level, 1);
        assert_true(long_error(one) <= BOUND);
        for (int threads = 2; threads <= 5; threads++) {
            step_long(many, level, threads);
            assert_memory_equal(one->output_data, many->output_data,
                                BATCH * one->forward.output.batch_stride * sizeof(float));
        }
        softmax_problem_destroy(many);
        softmax_problem_destroy(one);
    }
}

/* A copy and what was saved and loaded go on to the same bytes. */
static void test_copies_and_saved_states_go_on(void **unused) {
    (void)unused;
    enum { SPLIT = 100 };
    lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX512, 2);
    lilac_softmax_attention_state *state = make_state(context, TOKENS), *copy = make_state(context, TOKENS + 64),
                                  *loaded = make_state(context, TOKENS);
    softmax_problem *problems[3];
    for (size_t i = 0; i < 3; i++) {
        problems[i] = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
        softmax_problem_run(problems[i], LILAC_CPU_AVX512, 2, false);
    }
    append(context, state, problems[0], 0, SPLIT);
    append(context, copy, problems[0], 7, 150); /* to be overwritten */
    append(context, loaded, problems[0], 9, 30);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, copy), LILAC_OK);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, state), LILAC_OK);
    const size_t size = lilac_softmax_attention_state_saved_size(state);
    unsigned char *bytes = malloc(size), *again = malloc(size);
    assert_true(bytes != NULL && again != NULL);
    assert_int_equal(lilac_softmax_attention_state_save(context, state, bytes, size), LILAC_OK);
    assert_int_equal(lilac_softmax_attention_state_load(context, loaded, bytes, size), LILAC_OK);
    assert_int_equal(lilac_softmax_attention_state_saved_size(loaded), size);
    assert_int_equal(lilac_softmax_attention_state_save(context, loaded, again, size), LILAC_OK);
    assert_memory_equal(bytes, again, size);
    for (size_t token = SPLIT; token < TOKENS; token++) {
        step(context, state, problems[0], token);
        step(context, copy, problems[1], token);
        step(context, loaded, problems[2], token);
    }
    assert_true(softmax_problem_output_error(problems[0]) <= BOUND);
    for (size_t i = 1; i < 3; i++) {
        assert_memory_equal(problems[0]->output_data, problems[i]->output_data,
                            BATCH * problems[0]->forward.output.batch_stride * sizeof(float));
    }
    for (size_t i = 0; i < 3; i++) {
        softmax_problem_destroy(problems[i]);
    }
    free(bytes);
    free(again);
    lilac_softmax_attention_state_destroy(loaded);
    lilac_softmax_attention_state_destroy(copy);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

static void test_threads_give_the_same_bytes(void **unused) {
    (void)unused;
    softmax_problem *problems[2];
    for (int i = 0; i < 2; i++) {
        lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX512, 1 + 4 * i);
        lilac_softmax_attention_state *state = make_state(context, TOKENS);
        problems[i] = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
        for (size_t token = 0; token < TOKENS / 2; token++) {
            step(context, state, problems[i], token);
        }
        extend(context, state, problems[i], TOKENS / 2, TOKENS - TOKENS / 2);
        lilac_softmax_attention_state_destroy(state);
        lilac_context_destroy(context);
    }
    const softmax_problem *one = problems[0], *other = problems[1];
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t n = 0; n < TOKENS; n++) {
            const size_t at = b * one->forward.output.batch_stride + n * one->forward.output.token_stride;
            assert_memory_equal(one->output_data + at, other->output_data + at, HEADS * VALUE_SIZE * sizeof(float));
        }
    }
    softmax_problem_destroy(problems[0]);
    softmax_problem_destroy(problems[1]);
}

static void test_a_full_state_is_refused(void **unused) {
    (void)unused;
    lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX512, 1);
    lilac_softmax_attention_state *state = make_state(context, 10), *larger = make_state(context, 11);
    softmax_problem *problem = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
    const lilac_softmax_attention_forward_tensors *t = &problem->forward;
    static const size_t too_long[BATCH] = {1, 2, 4};
    assert_int_equal(lilac_softmax_attention_state_append(context, state, 11, NULL, &t->key, &t->value),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, 3, too_long, &t->key, &t->value),
                     LILAC_ERROR_SHAPE);
    append(context, state, problem, 0, 10);
    assert_int_equal(lilac_softmax_attention_step(context, state, &t->query, &t->key, &t->value, &t->output),
                     LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, 1, NULL, &t->key, &t->value),
                     LILAC_ERROR_SHAPE);
    assert_true(isnan(t->output.data[0]));
    append(context, larger, problem, 0, 11);
    assert_int_equal(lilac_softmax_attention_state_copy(context, larger, state), LILAC_ERROR_SHAPE);
    softmax_problem_destroy(problem);
    lilac_softmax_attention_state_destroy(larger);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

static void test_spoiled_bytes_are_refused(void **unused) {
    (void)unused;
    lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX512, 1);
    lilac_softmax_attention_state *state = make_state(context, 10);
    softmax_problem *problem = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
    append(context, state, problem, 0, 4);
    const size_t size = lilac_softmax_attention_state_saved_size(state);
    unsigned char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(lilac_softmax_attention_state_save(context, state, bytes, size - 1), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_softmax_attention_state_save(context, state, bytes, size), LILAC_OK);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(lilac_softmax_attention_state_load(context, state, bytes, i), LILAC_ERROR_TRUNCATED);
    }
    assert_int_equal(lilac_softmax_attention_state_load(context, state, bytes, size + 1), LILAC_ERROR_TRAILING);
    static const struct {
        size_t at;
        lilac_status status;
    } spoils[] = {{0, LILAC_ERROR_MAGIC},  {8, LILAC_ERROR_UNSUPPORTED}, {16, LILAC_ERROR_SHAPE},
                  {24, LILAC_ERROR_SHAPE}, {32, LILAC_ERROR_SHAPE},      {40, LILAC_ERROR_SHAPE},
                  {48, LILAC_ERROR_SHAPE}, {71, LILAC_ERROR_SHAPE}};
    for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++) {
        bytes[spoils[i].at] ^= 0x80;
        assert_int_equal(lilac_softmax_attention_state_load(context, state, bytes, size), spoils[i].status);
        bytes[spoils[i].at] ^= 0x80;
    }
    /* The state is as it was. */
    assert_int_equal(lilac_softmax_attention_state_saved_size(state), size);
    assert_int_equal(lilac_softmax_attention_state_load(context, state, bytes, size), LILAC_OK);
    free(bytes);
    softmax_problem_destroy(problem);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

static void test_impossible_arguments_are_refused(void **unused) {
    (void)unused;
    lilac_context *context = lilac_test_context_create(LILAC_CPU_AVX512, 1);
    lilac_softmax_attention_config config;
    lilac_softmax_attention_state *state = NULL;
    lilac_attention_shape shape = SHAPE;
    lilac_softmax_attention_config_default(&shape, &config);
    assert_int_equal(lilac_softmax_attention_state_create(context, NULL, &state), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, NULL), LILAC_ERROR_ARGUMENT);
    config.scale = NAN;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_ERROR_ARGUMENT);
    config.scale = 1.0f;
    config.shape.key_size = 0;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_ERROR_SHAPE);
    config.shape.key_size = 4;
    config.shape.keys = SIZE_MAX / 8;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &state), LILAC_ERROR_OVERFLOW);
    config.shape.keys = 16;
    lilac_test_fail_allocation(0);
    const lilac_status short_of_memory = lilac_softmax_attention_state_create(context, &config, &state);
    assert_true(lilac_test_allocation_failed());
    assert_int_equal(short_of_memory, LILAC_ERROR_MEMORY);
    assert_null(state);
    lilac_softmax_attention_state_destroy(NULL);
    state = make_state(context, 5);
    lilac_softmax_attention_state *other = NULL;
    assert_int_equal(lilac_softmax_attention_state_create(context, &config, &other), LILAC_OK);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, other), LILAC_ERROR_SHAPE);
    assert_int_equal(lilac_softmax_attention_state_copy(context, state, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_state_save(context, state, NULL, 0), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_state_load(context, NULL, "", 0), LILAC_ERROR_ARGUMENT);
    softmax_problem *problem = make_problem(LILAC_ATTENTION_F32, SOFTMAX_UNIFORM);
    const lilac_softmax_attention_forward_tensors *t = &problem->forward;
    assert_int_equal(lilac_softmax_attention_step(context, NULL, &t->query, &t->key, &t->value, &t->output),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_step(context, state, NULL, &t->key, &t->value, &t->output),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_step(context, state, &t->query, NULL, &t->value, &t->output),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_step(context, state, &t->query, &t->key, &t->value, NULL),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_state_append(context, NULL, 1, NULL, &t->key, &t->value),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_state_append(context, state, 1, NULL, &t->key, NULL),
                     LILAC_ERROR_ARGUMENT);
    size_t bytes;
    assert_int_equal(lilac_softmax_attention_extend_workspace_size(context, NULL, &bytes), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_extend_workspace_size(context, state, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(
        lilac_softmax_attention_extend(context, NULL, 1, &t->query, &t->key, &t->value, &t->output, NULL, 0),
        LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_softmax_attention_extend(context, state, 1, NULL, &t->key, &t->value, &t->output, NULL, 0),
                     LILAC_ERROR_ARGUMENT);
    assert_int_equal(
        lilac_softmax_attention_extend(context, state, 1, &t->query, &t->key, &t->value, &t->output, NULL, 0),
        LILAC_ERROR_ARGUMENT);
    assert_int_equal(
        lilac_softmax_attention_extend(context, state, 6, &t->query, &t->key, &t->value, &t->output, NULL, 0),
        LILAC_ERROR_SHAPE);
    softmax_problem_destroy(problem);
    lilac_softmax_attention_state_destroy(other);
    lilac_softmax_attention_state_destroy(state);
    lilac_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_are_the_whole),
        cmocka_unit_test(test_head_sizes_step_as_the_whole),
        cmocka_unit_test(test_extensions_are_the_whole),
        cmocka_unit_test(test_a_prompt_is_continued),
        cmocka_unit_test(test_prompts_of_different_lengths_are_continued),
        cmocka_unit_test(test_long_sequences_step_the_same_with_any_threads),
        cmocka_unit_test(test_copies_and_saved_states_go_on),
        cmocka_unit_test(test_threads_give_the_same_bytes),
        cmocka_unit_test(test_a_full_state_is_refused),
        cmocka_unit_test(test_spoiled_bytes_are_refused),
        cmocka_unit_test(test_impossible_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
