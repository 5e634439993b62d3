/* SPDX-License-Identifier: MIT */
/* Tests of core: context, cpu levels, size arithmetic, parallel loops, random permutations. */
#include "core/cpu_features.h"
#include "core/memory.h"
#include "core/random.h"
#include "kernels/kernel_table.h"
#include "runtime/context.h"
#include "runtime/parallel.h"
#include "support/contexts.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>
#include <pthread.h>

static void test_context_defaults(void **state) {
    (void)state;
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(NULL, &context), LILAC_OK);
    assert_int_equal(lilac_context_threads(context), lilac_parallel_processors());
    assert_true(lilac_context_cpu_level(context) <= lilac_cpu_level_detect());
    assert_string_equal(lilac_context_message(context), "");
    lilac_context_destroy(context);
    lilac_context_destroy(NULL);
}

static void test_context_rejects_impossible_settings(void **state) {
    (void)state;
    lilac_context untouched;
    lilac_context *context = &untouched;
    lilac_context_config config;
    lilac_context_config_default(&config);
    assert_int_equal(lilac_context_create(&config, NULL), LILAC_ERROR_ARGUMENT);
    config.threads = -1;
    assert_int_equal(lilac_context_create(&config, &context), LILAC_ERROR_ARGUMENT);
    config.threads = 1025;
    assert_int_equal(lilac_context_create(&config, &context), LILAC_ERROR_ARGUMENT);
    config.threads = 1;
    config.max_cpu_level = (lilac_cpu_level)(LILAC_CPU_AVX512 + 1);
    assert_int_equal(lilac_context_create(&config, &context), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(context, &untouched);
}

static void test_failure_message(void **state) {
    (void)state;
    lilac_context *context = context_create(1, NULL);
    assert_int_equal(lilac_fail(context, LILAC_ERROR_SHAPE, "rows: expected %d, got %d", 3, 4), LILAC_ERROR_SHAPE);
    assert_string_equal(lilac_context_message(context), "rows: expected 3, got 4");
    /* The old message may be part of the new one. */
    assert_int_equal(lilac_fail(context, LILAC_ERROR_IO, "file a: %s", lilac_context_message(context)), LILAC_ERROR_IO);
    assert_string_equal(lilac_context_message(context), "file a: rows: expected 3, got 4");
    assert_int_equal(lilac_fail(context, LILAC_ERROR_FORMAT, "tensor \"%s\"", "a\n\x1b[2J\x7f\xc3\xa9\xc2\x9b\xc2\xa0"),
                     LILAC_ERROR_FORMAT);
    assert_string_equal(lilac_context_message(context), "tensor \"a??[2J?\xc3\xa9??\xc2\xa0\"");
    char *long_text = malloc(4096);
    assert_non_null(long_text);
    memset(long_text, 'x', 4095);
    long_text[4095] = '\0';
    assert_int_equal(lilac_fail(context, LILAC_ERROR_FORMAT, "%s", long_text), LILAC_ERROR_FORMAT);
    assert_int_equal(strlen(lilac_context_message(context)), sizeof context->message - 1);
    free(long_text);
    assert_int_equal(lilac_fail(NULL, LILAC_ERROR_MEMORY, "no context"), LILAC_ERROR_MEMORY);
    assert_string_equal(lilac_context_message(NULL), "");
    lilac_context_destroy(context);
}

static void test_status_strings(void **state) {
    (void)state;
    for (int status = LILAC_OK; status <= LILAC_CANCELLED; status++) {
        const char *text = lilac_status_string((lilac_status)status);
        assert_non_null(text);
        assert_string_not_equal(text, "unknown status");
        for (int other = LILAC_OK; other < status; other++) {
            assert_string_not_equal(text, lilac_status_string((lilac_status)other));
        }
    }
    assert_string_equal(lilac_status_string((lilac_status)999), "unknown status");
}

typedef struct progress_record {
    int calls;
    int stop_at;
    lilac_progress last;
} progress_record;

static int record_progress(void *user, const lilac_progress *progress) {
    progress_record *record = user;
    record->calls++;
    record->last = *progress;
    return record->calls == record->stop_at;
}

static void test_progress_can_stop(void **state) {
    (void)state;
    progress_record record = {.stop_at = 2};
    lilac_context_config config;
    lilac_context_config_default(&config);
    config.progress = record_progress;
    config.progress_user = &record;
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(&config, &context), LILAC_OK);
    assert_int_equal(lilac_report_progress(context, "training", 1, 10), LILAC_OK);
    assert_int_equal(record.last.done, 1);
    assert_int_equal(record.last.total, 10);
    assert_int_equal(lilac_report_progress(context, "training", 2, 10), LILAC_CANCELLED);
    assert_int_equal(record.calls, 2);
    assert_non_null(strstr(lilac_context_message(context), "training"));
    lilac_context_destroy(context);
}

static void test_cpu_level_names(void **state) {
    (void)state;
    for (int level = LILAC_CPU_SCALAR; level <= LILAC_CPU_AVX512; level++) {
        lilac_cpu_level parsed = LILAC_CPU_SCALAR;
        assert_int_equal(lilac_cpu_level_parse(lilac_cpu_level_name((lilac_cpu_level)level), &parsed), LILAC_OK);
        assert_int_equal(parsed, level);
    }
    lilac_cpu_level parsed = LILAC_CPU_AVX2;
    assert_int_equal(lilac_cpu_level_parse("AVX2", &parsed), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_cpu_level_parse("", &parsed), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_cpu_level_parse(NULL, &parsed), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_cpu_level_parse("avx2", NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(parsed, LILAC_CPU_AVX2);
    assert_string_equal(lilac_cpu_level_name((lilac_cpu_level)99), "unknown");
}

static void test_cpu_level_is_only_lowered(void **state) {
    (void)state;
    const lilac_cpu_level machine = lilac_cpu_level_detect();
    for (int level = LILAC_CPU_SCALAR; level <= LILAC_CPU_AVX512; level++) {
        lilac_context_config config = {.threads = 1, .max_cpu_level = (lilac_cpu_level)level};
        lilac_context *context = NULL;
        assert_int_equal(lilac_context_create(&config, &context), LILAC_OK);
        assert_int_equal(lilac_context_cpu_level(context), level < (int)machine ? level : (int)machine);
        assert_non_null(context->kernels);
        lilac_context_destroy(context);
    }
}

static void test_cpu_level_from_environment(void **state) {
    (void)state;
    lilac_context_config config;
    assert_int_equal(setenv("LILAC_CPU", "scalar", 1), 0);
    lilac_context_config_default(&config);
    assert_int_equal(config.max_cpu_level, LILAC_CPU_SCALAR);
    assert_int_equal(setenv("LILAC_CPU", "nonsense", 1), 0);
    lilac_context_config_default(&config);
    assert_int_equal(config.max_cpu_level, LILAC_CPU_AVX512);
    assert_int_equal(unsetenv("LILAC_CPU"), 0);
}

static bool can_have_half_products(void) {
#if defined(LILAC_AVX512_FP16)
    return lilac_cpu_has_avx512_fp16();
#else
    return false;
#endif
}

static bool can_have_tiles(void) {
#if defined(LILAC_AMX)
    return lilac_cpu_has_amx_bf16();
#else
    return false;
#endif
}

/* The level of a family's kernels on this machine. Most are written for every level; products of rounded operands only
 * for extensions of AVX-512, which the compiler or a processor with AVX-512 may lack. */
static lilac_cpu_level expected_level(const lilac_kernel_family *family) {
    if (strcmp(family->name, "half_product") == 0) {
        return can_have_half_products() ? LILAC_CPU_AVX512 : LILAC_CPU_SCALAR;
    }
    if (strncmp(family->name, "tile_", 5) == 0) {
        return can_have_tiles() ? LILAC_CPU_AVX512 : LILAC_CPU_SCALAR;
    }
    return lilac_cpu_level_detect();
}

static void test_kernel_families(void **state) {
    (void)state;
    size_t bytes = 0;
    for (size_t i = 0; i < LILAC_KERNEL_FAMILIES; i++) {
        const lilac_kernel_family *family = &lilac_kernel_families[i];
        bytes += family->size;
        assert_int_equal(lilac_kernel_family_level(family, LILAC_CPU_SCALAR), LILAC_CPU_SCALAR);
        assert_int_equal(lilac_kernel_family_level(family, lilac_cpu_level_detect()), expected_level(family));
    }
    /* No family is left out. */
    assert_int_equal(bytes, offsetof(lilac_kernel_table, bf16_dot_products));
}

/* bf16 inputs are multiplied by dot products where those are fast, and both ways can be had where there are any. */
static void test_ways_of_multiplying_bf16(void **state) {
    (void)state;
    const bool has = lilac_cpu_has_bf16_dot_product(), fast = lilac_cpu_has_fast_bf16_dot_product();
    assert_true(has || !fast);
    for (int level = 0; level <= (int)lilac_cpu_level_detect(); level++) {
        const bool highest = level == LILAC_CPU_AVX512;
        const lilac_kernel_table *widening = lilac_kernel_table_with((lilac_cpu_level)level, false);
        const lilac_kernel_table *multiplying = lilac_kernel_table_with((lilac_cpu_level)level, true);
        assert_false(widening->bf16_dot_products);
        assert_true((multiplying != NULL) == (highest && has));
        assert_true(multiplying == NULL || multiplying->bf16_dot_products);
        assert_ptr_equal(lilac_kernel_table_for((lilac_cpu_level)level), highest && fast ? multiplying : widening);
    }
}

static void test_size_arithmetic(void **state) {
    (void)state;
    size_t out = 7;
    assert_true(lilac_size_multiply(SIZE_MAX / 2, 2, &out));
    assert_true(out == SIZE_MAX - 1);
    out = 7;
    assert_false(lilac_size_multiply(SIZE_MAX / 2 + 1, 2, &out));
    assert_int_equal(out, 7);
    assert_true(lilac_size_multiply(0, SIZE_MAX, &out));
    assert_int_equal(out, 0);
    assert_true(lilac_size_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    out = 7;
    assert_false(lilac_size_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_int_equal(lilac_round_up(0, 64), 0);
    assert_int_equal(lilac_round_up(1, 64), 64);
    assert_int_equal(lilac_round_up(64, 64), 64);
    assert_int_equal(lilac_round_up(65, 64), 128);
}

static void test_memory_is_aligned_and_zeroed(void **state) {
    (void)state;
    for (size_t bytes = 1; bytes < 300; bytes += 37) {
        unsigned char *memory = lilac_memory_allocate(bytes, 1);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % LILAC_ALIGNMENT, 0);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(memory[i], 0);
        }
        memset(memory, 0xa5, bytes);
        lilac_memory_free(memory);
    }
    assert_null(lilac_memory_allocate(SIZE_MAX / 2, 4));
    assert_null(lilac_memory_allocate(SIZE_MAX, 1));
    lilac_memory_free(NULL);
}

enum { ITEMS = 1000 };

/* What a loop did: how often each item was visited, and where the block that visited it began and ended. */
typedef struct loop_record {
    int visits[ITEMS];
    size_t begin[ITEMS], end[ITEMS];
    pthread_t thread[ITEMS];
} loop_record;

static void record_block(void *argument, size_t begin, size_t end) {
    loop_record *record = argument;
    for (size_t i = begin; i < end; i++) {
        record->visits[i]++;
        record->begin[i] = begin;
        record->end[i] = end;
        record->thread[i] = pthread_self();
    }
}

static void test_parallel_for_covers_every_item_once(void **state) {
    (void)state;
    static const size_t counts[] = {0, 1, 2, 63, 64, 65, 997, ITEMS};
    static const size_t grains[] = {0, 1, 3, 64, 2000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
            static loop_record records[2];
            memset(records, 0, sizeof records);
            for (int threads = 1; threads <= 2; threads++) {
                lilac_context *context = context_create(threads, NULL);
                loop_record *record = &records[threads - 1];
                lilac_parallel_for(context, counts[c], grains[g], record_block, record);
                for (size_t i = 0; i < ITEMS; i++) {
                    assert_int_equal(record->visits[i], i < counts[c]);
                }
                lilac_context_destroy(context);
            }
            /* The blocks are the same at any number of threads. */
            assert_memory_equal(records[0].begin, records[1].begin, sizeof records[0].begin);
            assert_memory_equal(records[0].end, records[1].end, sizeof records[0].end);
        }
    }
}

static void test_parallel_tasks_run_one_by_one(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        lilac_context *context = context_create(threads, NULL);
        static loop_record record;
        memset(&record, 0, sizeof record);
        lilac_parallel_tasks(context, ITEMS, record_block, &record);
        for (size_t i = 0; i < ITEMS; i++) {
            assert_int_equal(record.visits[i], 1);
            assert_int_equal(record.begin[i], i);
            assert_int_equal(record.end[i], i + 1);
        }
        lilac_context_destroy(context);
    }
}

#if defined(__x86_64__)
enum { PRODUCTS = 64 };

typedef struct products {
    volatile float small, half;
    float of_normal[PRODUCTS], of_subnormal[PRODUCTS];
} products;

static void multiply_small(void *argument, size_t begin, size_t end) {
    products *p = argument;
    for (size_t i = begin; i < end; i++) {
        p->of_normal[i] = p->small * p->half;
        p->of_subnormal[i] = (p->small * 0.75f) * 4.0f;
    }
}

/* Loops treat subnormal numbers as zeros, on every thread; the threads themselves do not afterwards. */
static void test_loops_flush_subnormals(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        lilac_context *context = context_create(threads, NULL);
        products p = {.small = 1.5e-38f, .half = 0.5f};
        for (int way = 0; way < 2; way++) {
            memset(p.of_normal, 1, sizeof p.of_normal);
            memset(p.of_subnormal, 1, sizeof p.of_subnormal);
            if (way == 0) {
                lilac_parallel_for(context, PRODUCTS, 1, multiply_small, &p);
            } else {
                lilac_parallel_tasks(context, PRODUCTS, multiply_small, &p);
            }
            for (size_t i = 0; i < PRODUCTS; i++) {
                assert_true(p.of_normal[i] == 0.0f);
                assert_true(p.of_subnormal[i] == 0.0f);
            }
            multiply_small(&p, 0, 1);
            assert_true(p.of_normal[0] > 0.0f);
            assert_true(p.of_subnormal[0] > 0.0f);
        }
        lilac_context_destroy(context);
    }
}
#endif

typedef struct nested_loop {
    const lilac_context *context;
    loop_record inner[4];
} nested_loop;

static void run_inner_loop(void *argument, size_t begin, size_t end) {
    nested_loop *nested = argument;
    for (size_t i = begin; i < end; i++) {
        lilac_parallel_for(nested->context, 10, 3, record_block, &nested->inner[i]);
    }
}

static void test_nested_loops(void **state) {
    (void)state;
    lilac_context *context = context_create(2, NULL);
    static nested_loop nested;
    memset(&nested, 0, sizeof nested);
    nested.context = context;
    lilac_parallel_tasks(context, 4, run_inner_loop, &nested);
    for (size_t task = 0; task < 4; task++) {
        for (size_t i = 0; i < 10; i++) {
            assert_int_equal(nested.inner[task].visits[i], 1);
            /* An inner loop stays on the thread that called it. */
            assert_true(pthread_equal(nested.inner[task].thread[i], nested.inner[task].thread[0]));
        }
    }
    lilac_context_destroy(context);
}

static void test_permutation(void **state) {
    (void)state;
    enum { COUNT = 5000 };
    static uint32_t permutation[COUNT], again[COUNT], other[COUNT];
    static unsigned char seen[COUNT];
    const lilac_random random = lilac_random_stream(42, LILAC_RANDOM_TEST, 0);
    lilac_random_permutation(random, COUNT, permutation);
    size_t fixed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_in_range(permutation[i], 0, COUNT - 1);
        assert_int_equal(seen[permutation[i]], 0);
        seen[permutation[i]] = 1;
        fixed += permutation[i] == i;
    }
    /* The number of fixed points of a random permutation is about Poisson(1). */
    assert_in_range(fixed, 0, 10);
    lilac_random_permutation(random, COUNT, again);
    assert_memory_equal(permutation, again, sizeof permutation);
    lilac_random_permutation(lilac_random_stream(42, LILAC_RANDOM_TEST, 1), COUNT, other);
    assert_memory_not_equal(permutation, other, sizeof permutation);
    lilac_random_permutation(random, 0, other);
    lilac_random_permutation(random, 1, other);
    assert_int_equal(other[0], 0);
}

/* All 24 orders of four items come up equally often. */
static void test_permutation_is_uniform(void **state) {
    (void)state;
    enum { DRAWS = 24000 };
    int counts[256] = {0};
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        uint32_t p[4];
        lilac_random_permutation(lilac_random_stream(7, LILAC_RANDOM_TEST, draw), 4, p);
        counts[p[0] * 64 + p[1] * 16 + p[2] * 4 + p[3]]++;
    }
    int orders = 0;
    for (size_t i = 0; i < 256; i++) {
        if (counts[i] > 0) {
            orders++;
            /* Mean 1000, standard deviation 31: five of them each way. */
            assert_in_range(counts[i], 845, 1155);
        }
    }
    assert_int_equal(orders, 24);
}

/* The three test vectors published with the Random123 library. */
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        lilac_random_philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_defaults),
        cmocka_unit_test(test_context_rejects_impossible_settings),
        cmocka_unit_test(test_failure_message),
        cmocka_unit_test(test_status_strings),
        cmocka_unit_test(test_progress_can_stop),
        cmocka_unit_test(test_cpu_level_names),
        cmocka_unit_test(test_cpu_level_is_only_lowered),
        cmocka_unit_test(test_cpu_level_from_environment),
        cmocka_unit_test(test_kernel_families),
        cmocka_unit_test(test_ways_of_multiplying_bf16),
        cmocka_unit_test(test_size_arithmetic),
        cmocka_unit_test(test_memory_is_aligned_and_zeroed),
        cmocka_unit_test(test_parallel_for_covers_every_item_once),
        cmocka_unit_test(test_parallel_tasks_run_one_by_one),
#if defined(__x86_64__)
        cmocka_unit_test(test_loops_flush_subnormals),
#endif
        cmocka_unit_test(test_nested_loops),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_permutation_is_uniform),
        cmocka_unit_test(test_philox_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
