/* SPDX-License-Identifier: MIT */
/* Tests of what a context keeps between matrix products: more shapes than it keeps, several contexts at once, short
 * memory. */
#include "linalg/matmul_cache.h"

#include "core/bf16.h"
#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* The largest products here, and how many shapes more than a context keeps. */
enum { LARGEST = 520, MORE = 30 };

typedef struct {
    float *a, *b;
    uint16_t *a_bf16, *b_bf16;
} operands;

static operands inputs;

static int set_up(void **state) {
    (void)state;
    const size_t count = (size_t)LARGEST * LARGEST;
    inputs = (operands){malloc(count * sizeof(float)), malloc(count * sizeof(float)), malloc(count * sizeof(uint16_t)),
                        malloc(count * sizeof(uint16_t))};
    if (inputs.a == NULL || inputs.b == NULL || inputs.a_bf16 == NULL || inputs.b_bf16 == NULL) {
        return 1;
    }
    lilac_test_uniform(1, count, -1.0f, 1.0f, inputs.a);
    lilac_test_uniform(2, count, -1.0f, 1.0f, inputs.b);
    for (size_t i = 0; i < count; i++) {
        inputs.a_bf16[i] = lilac_bf16_from_float(inputs.a[i]);
        inputs.b_bf16[i] = lilac_bf16_from_float(inputs.b[i]);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(inputs.a);
    free(inputs.b);
    free(inputs.a_bf16);
    free(inputs.b_bf16);
    return 0;
}

static lilac_matmul_shape shape_of(size_t m, size_t n, size_t k) {
    return (lilac_matmul_shape){
        .m = m, .n = n, .k = k, .transpose_b = true, .lda = k, .ldb = k, .ldc = n, .alpha = 1.0f};
}

/* The product of that shape as a context makes it that knows nothing yet; to be freed. */
static float *multiply_afresh(const lilac_matmul_shape *shape, bool bf16) {
    lilac_context *context = context_create(1, NULL);
    float *c = malloc(shape->m * shape->n * sizeof *c);
    assert_non_null(c);
    assert_int_equal(bf16 ? lilac_matmul_bf16(context, shape, inputs.a_bf16, inputs.b_bf16, c)
                          : lilac_matmul_f32(context, shape, inputs.a, inputs.b, c),
                     LILAC_OK);
    lilac_context_destroy(context);
    return c;
}

static bool bf16_supported(void) {
    lilac_context *context = context_create(1, NULL);
    const lilac_matmul_shape shape = shape_of(1, 1, 1);
    float c;
    const lilac_status status = lilac_matmul_bf16(context, &shape, inputs.a_bf16, inputs.b_bf16, &c);
    lilac_context_destroy(context);
    return status == LILAC_OK;
}

/* Shapes of different m, and some also of different alpha, beta and strides, for the same m. */
static lilac_matmul_shape numbered_shape(size_t i) {
    lilac_matmul_shape shape = shape_of(1 + i / 4, 3, 5);
    shape.alpha = i % 4 == 1 ? 0.5f : 1.0f;
    shape.beta = i % 4 == 2 ? 1.0f : 0.0f;
    shape.lda = i % 4 == 3 ? 7 : 5;
    return shape;
}

static void expect_numbered(const lilac_matmul_shape *shape, const float *c) {
    for (size_t i = 0; i < shape->m; i++) {
        for (size_t j = 0; j < shape->n; j++) {
            double sum = 0.0;
            for (size_t l = 0; l < shape->k; l++) {
                sum += (double)inputs.a[i * shape->lda + l] * (double)inputs.b[j * shape->ldb + l];
            }
            const double expected = (double)shape->alpha * sum + (double)shape->beta * 2.0;
            assert_true(fabs((double)c[i * shape->ldc + j] - expected) < 1e-5);
        }
    }
}

static void test_more_shapes_than_are_kept(void **state) {
    (void)state;
    enum { SHAPES = LILAC_MATMUL_CACHED_PLANS + MORE, ROUNDS = 3 };
    const size_t live_before = lilac_test_live_allocations();
    lilac_context *context = context_create(2, NULL);
    float *c = malloc(SHAPES * 3 * sizeof *c);
    size_t live = 0;
    for (size_t i = 0; i < (size_t)ROUNDS * SHAPES; i++) {
        /* In the last round one shape is used again and again, and is therefore kept. */
        const lilac_matmul_shape shape = numbered_shape(i >= 2 * SHAPES && i % 2 == 0 ? 0 : i % SHAPES);
        for (size_t e = 0; e < shape.m * shape.n; e++) {
            c[e] = 2.0f;
        }
        assert_int_equal(lilac_matmul_f32(context, &shape, inputs.a, inputs.b, c), LILAC_OK);
        expect_numbered(&shape, c);
        if (i == LILAC_MATMUL_CACHED_PLANS) {
            live = lilac_test_live_allocations();
        }
        if (i > LILAC_MATMUL_CACHED_PLANS) {
            assert_int_equal(lilac_test_live_allocations(), live);
        }
    }
    free(c);
    lilac_context_destroy(context);
    assert_int_equal(lilac_test_live_allocations(), live_before);
}

static void test_a_plan_is_made_once(void **state) {
    (void)state;
    lilac_context *context = context_create(1, NULL);
    const lilac_matmul_shape shape = shape_of(9, 8, 7);
    const lilac_matmul_plan *first, *again, *other;
    assert_int_equal(lilac_matmul_cached_plan(context, &shape, false, &first), LILAC_OK);
    /* The first stays as long as it is asked for. */
    for (size_t i = 0; i < 2 * LILAC_MATMUL_CACHED_PLANS; i++) {
        const lilac_matmul_shape another = numbered_shape(i);
        assert_int_equal(lilac_matmul_cached_plan(context, &another, false, &other), LILAC_OK);
        assert_ptr_not_equal(other, first);
        assert_int_equal(lilac_matmul_cached_plan(context, &shape, false, &again), LILAC_OK);
        assert_ptr_equal(again, first);
    }
    lilac_context_destroy(context);
}

/* One thread's work: products of many shapes in its own context, compared with those made afresh. */
typedef struct {
    int threads;
    bool bf16;
    bool same;
} worker;

enum { WORKER_SHAPES = 5 };

static const size_t worker_shapes[WORKER_SHAPES][3] = {
    {300, 96, 64}, {519, 30, 48}, {64, 520, 32}, {8, 512, 96}, {2, 3, 4}};
static float *worker_results[2][WORKER_SHAPES];

static void *multiply_all(void *argument) {
    worker *w = argument;
    w->same = true;
    const lilac_context_config config = {.threads = w->threads, .max_cpu_level = lilac_cpu_level_detect()};
    lilac_context *context;
    if (lilac_context_create(&config, &context) != LILAC_OK) {
        w->same = false;
        return NULL;
    }
    float *c = malloc((size_t)LARGEST * LARGEST * sizeof *c);
    for (size_t i = 0; i < 40 && c != NULL; i++) {
        const size_t *size = worker_shapes[i % WORKER_SHAPES];
        const lilac_matmul_shape shape = shape_of(size[0], size[1], size[2]);
        const lilac_status status = w->bf16 ? lilac_matmul_bf16(context, &shape, inputs.a_bf16, inputs.b_bf16, c)
                                            : lilac_matmul_f32(context, &shape, inputs.a, inputs.b, c);
        const float *expected = worker_results[w->bf16][i % WORKER_SHAPES];
        w->same = w->same && status == LILAC_OK && memcmp(c, expected, shape.m * shape.n * sizeof *c) == 0;
    }
    w->same = w->same && c != NULL;
    free(c);
    lilac_context_destroy(context);
    return NULL;
}

static void test_contexts_in_several_threads(void **state) {
    (void)state;
    enum { WORKERS = 4 };
    const bool bf16 = bf16_supported();
    for (size_t i = 0; i < WORKER_SHAPES; i++) {
        const size_t *size = worker_shapes[i];
        const lilac_matmul_shape shape = shape_of(size[0], size[1], size[2]);
        worker_results[0][i] = multiply_afresh(&shape, false);
        worker_results[1][i] = bf16 ? multiply_afresh(&shape, true) : NULL;
    }
    worker workers[WORKERS];
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.threads = 1 + i / 2, .bf16 = bf16 && i % 2 == 1};
        assert_int_equal(pthread_create(&threads[i], NULL, multiply_all, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_true(workers[i].same);
    }
    for (size_t i = 0; i < WORKER_SHAPES; i++) {
        free(worker_results[0][i]);
        free(worker_results[1][i]);
    }
}

static void check_short_memory(const lilac_matmul_shape *shape, bool bf16) {
    float *expected = multiply_afresh(shape, bf16);
    float *c = calloc(shape->m * shape->n, sizeof *c), *zeros = calloc(shape->m * shape->n, sizeof *zeros);
    lilac_status status = LILAC_ERROR_MEMORY;
    for (size_t n = 0; status != LILAC_OK; n++) {
        const size_t live = lilac_test_live_allocations();
        lilac_context *context = context_create(2, NULL);
        lilac_test_fail_allocation(n);
        status = bf16 ? lilac_matmul_bf16(context, shape, inputs.a_bf16, inputs.b_bf16, c)
                      : lilac_matmul_f32(context, shape, inputs.a, inputs.b, c);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_non_null(strstr(lilac_context_message(context), "out of memory: "));
            assert_memory_equal(c, zeros, shape->m * shape->n * sizeof *c);
            /* The context can still be used. */
            assert_int_equal(bf16 ? lilac_matmul_bf16(context, shape, inputs.a_bf16, inputs.b_bf16, c)
                                  : lilac_matmul_f32(context, shape, inputs.a, inputs.b, c),
                             LILAC_OK);
        }
        assert_memory_equal(c, expected, shape->m * shape->n * sizeof *c);
        memset(c, 0, shape->m * shape->n * sizeof *c);
        lilac_context_destroy(context);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
    free(c);
    free(zeros);
    free(expected);
}

static void test_short_memory(void **state) {
    (void)state;
    const lilac_matmul_shape small = shape_of(3, 4, 5), large = shape_of(515, 40, 64);
    check_short_memory(&small, false);
    check_short_memory(&large, false);
    if (bf16_supported()) {
        check_short_memory(&large, true);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_shapes_than_are_kept),
        cmocka_unit_test(test_a_plan_is_made_once),
        cmocka_unit_test(test_contexts_in_several_threads),
        cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
