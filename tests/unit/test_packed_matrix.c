/* SPDX-License-Identifier: MIT */
/* Tests of packed matrices: the product in both precisions against double, rows and threads that do not matter. */
#include "linalg/packed_matrix.h"

#include "core/bf16.h"
#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { MAX_ROWS = 800 };

static float *uniform(uint64_t stream, size_t count) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    lilac_test_uniform(stream, count, -1.0f, 1.0f, values);
    return values;
}

typedef struct problem {
    size_t rows, in, out;
    bool transposed, bf16, add;
} problem;

/* W is stored out x in or, transposed, in x out; the scale of 0.5 rounds nothing. */
static void expect_product(lilac_context *context, const problem *p) {
    const size_t ldy = p->out + 3;
    float *x = uniform(1, p->rows * p->in), *W = uniform(2, p->out * p->in), *y = uniform(3, p->rows * ldy);
    double *expected = malloc(p->rows * ldy * sizeof *expected);
    assert_non_null(expected);
    const lilac_unpacked_matrix unpacked = {
        .data = W, .row_step = p->transposed ? 1 : p->in, .column_step = p->transposed ? p->out : 1, .scale = 0.5f};
    for (size_t i = 0; i < p->rows; i++) {
        for (size_t j = 0; j < ldy; j++) {
            double sum = p->add || j >= p->out ? (double)y[i * ldy + j] : 0.0;
            for (size_t k = 0; j < p->out && k < p->in; k++) {
                const float w = 0.5f * W[j * unpacked.row_step + k * unpacked.column_step];
                sum +=
                    (double)x[i * p->in + k] * (double)(p->bf16 ? lilac_float_from_bf16(lilac_bf16_from_float(w)) : w);
            }
            expected[i * ldy + j] = sum;
        }
    }
    lilac_packed_matrix packed;
    assert_int_equal(lilac_packed_matrix_pack(context, p->out, p->in, unpacked, p->bf16, &packed), LILAC_OK);
    lilac_packed_matrix_multiply(context, &packed, p->rows, x, p->add, y, ldy);
    lilac_test_expect_close("y", p->rows * ldy, y, expected, 1e-5 * (double)p->in, 0.0);
    lilac_packed_matrix_free(&packed);
    free(expected);
    free(y);
    free(W);
    free(x);
}

static void test_products(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 31}, {33, 32}, {64, 65}, {3, 100}};
    static const size_t rows[] = {0, 1, 5, 13, 400};
    for (int level = 0; level <= (int)lilac_cpu_level_detect(); level++) {
        lilac_context *context = context_create_at((lilac_cpu_level)level, 2);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                for (int kind = 0; kind < 8; kind++) {
                    const problem p = {.rows = rows[r],
                                       .in = sizes[s][0],
                                       .out = sizes[s][1],
                                       .transposed = (kind & 1) != 0,
                                       .bf16 = (kind & 2) != 0,
                                       .add = (kind & 4) != 0};
                    expect_product(context, &p);
                }
            }
        }
        lilac_context_destroy(context);
    }
}

/* The first rows of a product are the product of the first rows, to the bit, at any number of threads. */
static void test_rows_are_independent(void **state) {
    (void)state;
    enum { IN = 70, OUT = 75 };
    float *x = uniform(1, (size_t)MAX_ROWS * IN), *W = uniform(2, (size_t)OUT * IN);
    float *all = malloc(sizeof(float[MAX_ROWS][OUT])), *some = malloc(sizeof(float[MAX_ROWS][OUT]));
    assert_true(all != NULL && some != NULL);
    lilac_context *one = context_create_at(LILAC_CPU_AVX512, 1), *three = context_create_at(LILAC_CPU_AVX512, 3);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        lilac_packed_matrix packed;
        const lilac_unpacked_matrix unpacked = {.data = W, .row_step = IN, .column_step = 1, .scale = 1.0f};
        assert_int_equal(lilac_packed_matrix_pack(one, OUT, IN, unpacked, bf16 != 0, &packed), LILAC_OK);
        lilac_packed_matrix_multiply(one, &packed, MAX_ROWS, x, false, all, OUT);
        for (size_t rows = 1; rows <= MAX_ROWS; rows += rows < 30 ? 1 : 77) {
            lilac_packed_matrix_multiply(three, &packed, rows, x, false, some, OUT);
            assert_memory_equal(some, all, rows * OUT * sizeof(float));
        }
        lilac_packed_matrix_free(&packed);
    }
    lilac_context_destroy(three);
    lilac_context_destroy(one);
    free(some);
    free(all);
    free(W);
    free(x);
}

static void test_memory(void **state) {
    (void)state;
    lilac_context *context = context_create_at(LILAC_CPU_AVX512, 1);
    const float W[33 * 2] = {0};
    const lilac_unpacked_matrix unpacked = {.data = W, .row_step = 2, .column_step = 1, .scale = 1.0f};
    lilac_packed_matrix packed = {.panels = NULL};
    lilac_test_fail_allocation(0);
    assert_int_equal(lilac_packed_matrix_pack(context, 3, 2, unpacked, false, &packed), LILAC_ERROR_MEMORY);
    assert_true(lilac_test_allocation_failed());
    assert_null(packed.panels);
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_packed_matrix_pack(context, 3, 2, unpacked, false, &packed), LILAC_OK);
    assert_int_equal(lilac_packed_matrix_bytes(&packed), 32 * 2 * sizeof(float));
    lilac_packed_matrix_free(&packed);
    assert_int_equal(lilac_packed_matrix_pack(context, 33, 2, unpacked, true, &packed), LILAC_OK);
    assert_int_equal(lilac_packed_matrix_bytes(&packed), 64 * 2 * sizeof(uint16_t));
    lilac_packed_matrix_free(&packed);
    assert_int_equal(lilac_test_live_allocations(), live);
    lilac_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_rows_are_independent),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
