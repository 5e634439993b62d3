/* SPDX-License-Identifier: MIT */
/* Which layouts attention takes: those whose rows of an output are apart, and inputs whatever they share. */
#include "attention/arguments.h"

#include "core/random.h"
#include "support/default_context.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* B, N, H and the size of a row, then the strides of batch, token and head. */
typedef struct layout {
    size_t B, N, H, size;
    size_t batch_stride, token_stride, head_stride;
} layout;

static lilac_status check_output(const layout *l) {
    static float data;
    const lilac_attention_shape shape = {.batch = l->B, .heads = l->H};
    const lilac_attention_output output = {&data, l->batch_stride, l->token_stride, l->head_stride};
    return lilac_attention_check_output(context, "output", &output, &shape, l->N, l->size);
}

static lilac_status check_input(const layout *l) {
    static const float data = 0.0f;
    const lilac_attention_shape shape = {.batch = l->B, .heads = l->H};
    const lilac_attention_input input = {&data, LILAC_ATTENTION_F32, l->batch_stride, l->token_stride, l->head_stride};
    return lilac_attention_check_input(context, "input", &input, &shape, l->N, l->size);
}

static void test_layouts_in_use_are_taken(void **state) {
    (void)state;
    static const layout layouts[] = {
        {2, 5, 3, 4, 60, 12, 4},      /* (B, N, H, size) */
        {2, 5, 3, 4, 60, 4, 20},      /* (B, H, N, size) */
        {2, 5, 3, 4, 12, 24, 4},      /* (N, B, H, size) */
        {2, 5, 3, 4, 4, 24, 8},       /* (N, H, B, size) */
        {2, 5, 3, 4, 20, 4, 40},      /* (H, B, N, size) */
        {2, 5, 3, 4, 180, 36, 4},     /* a part of (B, N, 3, H, size) */
        {2, 5, 3, 4, 180, 36, 12},    /* a part of (B, N, H, 3, size) */
        {2, 5, 3, 4, 1000, 100, 7},   /* with gaps */
        {1, 5, 3, 4, 0, 12, 4},       /* one sequence */
        {2, 1, 3, 4, 12, 0, 4},       /* one token */
        {2, 1, 3, 4, 12, 1, 4},       /* the same, a stride that would be too small */
        {2, 5, 1, 4, 20, 4, 4},       /* one head */
        {2, 5, 1, 4, 20, 4, 0},       /* the same */
        {1, 1, 1, 4, 0, 0, 0},        /* one row */
        {1, 1, 1, 4, 4, 4, 4},        /* the same */
        {1, 1, 1, 4, SIZE_MAX, 3, 1}, /* the same */
        {0, 5, 3, 4, 0, 0, 0},        /* nothing */
        {2, 0, 3, 4, 4, 4, 4},        /* nothing */
        {2, 5, 0, 4, 4, 4, 4},        /* nothing */
        {7, 5, 3, 1, 15, 3, 1},       /* rows of one number */
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (check_output(&layouts[i]) != LILAC_OK || check_input(&layouts[i]) != LILAC_OK) {
            fail_msg("layout %zu: %s", i, lilac_context_message(context));
        }
    }
}

static void test_outputs_that_overlap_are_refused(void **state) {
    (void)state;
    static const layout layouts[] = {
        {1, 5, 3, 4, 60, 4, 4},  /* heads and tokens step alike */
        {2, 1, 3, 4, 4, 12, 4},  /* sequences and heads do */
        {2, 5, 1, 4, 4, 4, 4},   /* sequences and tokens do */
        {1, 5, 3, 4, 60, 11, 4}, /* the last head of a token reaches into the next token */
        {2, 5, 3, 4, 59, 12, 4}, /* the last token reaches into the next sequence */
        {2, 5, 3, 4, 60, 4, 19}, /* the same with heads outermost but one */
        {2, 2, 2, 4, 12, 8, 4},  /* two steps of one kind are one of another */
        {2, 5, 3, 4, 12, 12, 4}, /* sequences share their tokens */
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (check_output(&layouts[i]) != LILAC_ERROR_SHAPE) {
            fail_msg("layout %zu was taken", i);
        }
        /* What is only read may share rows: one head for all, one sequence for all. */
        assert_int_equal(check_input(&layouts[i]), LILAC_OK);
    }
    assert_int_equal(check_output(&layouts[0]), LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(context), "output: rows of 4 overlap with strides 60, 4, 4");
}

/* Marks each element of each row; whether none is met twice. */
static bool elements_are_apart(const layout *l) {
    unsigned char met[1024] = {0};
    for (size_t row = 0; row < l->B * l->N * l->H; row++) {
        const size_t h = row % l->H, n = row / l->H % l->N, b = row / l->H / l->N;
        for (size_t i = 0; i < l->size; i++) {
            const size_t place = b * l->batch_stride + n * l->token_stride + h * l->head_stride + i;
            assert_true(place < sizeof met);
            if (met[place]++ != 0) {
                return false;
            }
        }
    }
    return true;
}

/* Whatever is taken can be written row by row by several threads. */
static void test_no_element_of_an_output_has_two_places(void **state) {
    (void)state;
    enum { CASES = 20000 };
    size_t taken = 0;
    uint32_t words[LILAC_RANDOM_GROUP];
    for (uint64_t i = 0; i < CASES; i++) {
        const lilac_random random = lilac_random_stream(1, LILAC_RANDOM_TEST, i);
        lilac_random_group(&random, words);
        const layout l = {1 + words[0] % 3, 1 + words[1] % 4, 1 + words[2] % 3, 1 + words[3] % 3,
                          words[4] % 40,    words[5] % 40,    words[6] % 40};
        if (check_output(&l) == LILAC_OK) {
            taken++;
            assert_true(elements_are_apart(&l));
        }
    }
    /* Not for the lack of layouts that are taken. */
    assert_true(taken > CASES / 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts_in_use_are_taken),
        cmocka_unit_test(test_outputs_that_overlap_are_refused),
        cmocka_unit_test(test_no_element_of_an_output_has_two_places),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
