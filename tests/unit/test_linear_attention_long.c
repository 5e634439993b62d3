/* SPDX-License-Identifier: MIT */
/* Linear attention of real sizes, of long sequences and of extreme inputs: the bounds of docs/attention.md. */
#include <lilac/attention.h>

#include "support/contexts.h"
#include "support/levels.h"
#include "support/linear_attention_case.h"

#include <stdarg.h>

#include <setjmp.h>

#include <cmocka.h>

/*
 * One problem at each level from `lowest` on, against one computation in double, which takes longer than most levels.
 * What a level saves has the same size at all of them.
 */
static void check_levels(const case_options *options, lilac_cpu_level lowest, bool print) {
    lilac_context *context = context_create_at(LILAC_CPU_SCALAR, 1);
    attention_case *problem = attention_case_create(context, options);
    lilac_context_destroy(context);
    case_expected expected = attention_case_solve(problem);
    for (int level = (int)lowest; level < lilac_test_attention_levels(); level++) {
        context = lilac_test_context_create(level, 2);
        attention_case_forward(context, problem);
        attention_case_backward(context, problem);
        const case_errors errors = attention_case_compare(problem, &expected);
        if (print) {
            print_message("# %s, %s, %s: output %.1e, gradients of queries %.1e, keys %.1e, values %.1e\n",
                          lilac_test_attention_level_name(level), options->causal ? "causal" : "full",
                          options->bf16 ? "bf16" : "f32", errors.out, errors.query_gradient, errors.key_gradient,
                          errors.value_gradient);
        }
        attention_case_expect_errors(problem, &errors);
        lilac_context_destroy(context);
    }
    attention_case_check_guards(problem);
    case_expected_release(&expected);
    attention_case_destroy(problem);
}

/* The errors are printed, for the table in docs/attention.md. */
static void test_real_sizes(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const case_options options = {.shape = case_shape(1, 8, 4096, 64),
                                      .causal = i / 2 == 1,
                                      .bf16 = i % 2 == 1,
                                      .layout = LAYOUT_FUSED,
                                      .seed = 6};
        check_levels(&options, LILAC_CPU_SCALAR, true);
    }
}

/* Features from exp(-80) to 81. */
static void test_large_inputs(void **state) {
    (void)state;
    static const size_t sizes[] = {8, 32, 64};
    static const float ranges[] = {10.0f, 80.0f};
    for (size_t size = 0; size < 3; size++) {
        for (int i = 0; i < 8; i++) {
            const case_options options = {.shape = case_shape(1, 1, 500, sizes[size]),
                                          .causal = i & 1,
                                          .bf16 = i & 2,
                                          .range = ranges[i / 4],
                                          .seed = (uint64_t)i};
            check_levels(&options, LILAC_CPU_SCALAR, false);
        }
    }
}

/* Sums that grow large. Where heads are large and the scalar kernels slow, not in all combinations. */
static void test_long_sequences(void **state) {
    (void)state;
    enum { N = 100000 };
    for (int i = 0; i < 4; i++) {
        case_options options = {.shape = case_shape(1, 1, N, 8), .causal = i & 1, .bf16 = i & 2, .seed = 2};
        check_levels(&options, LILAC_CPU_SCALAR, false);
        options.shape = case_shape(1, 1, N, 32);
        check_levels(&options, i == 1 ? LILAC_CPU_SCALAR : LILAC_CPU_AVX2, false);
        if (options.causal) {
            options.shape = case_shape(1, 1, N, 64);
            check_levels(&options, LILAC_CPU_AVX2, false);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_sizes),
        cmocka_unit_test(test_large_inputs),
        cmocka_unit_test(test_long_sequences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
