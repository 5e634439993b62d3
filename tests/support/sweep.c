/* SPDX-License-Identifier: MIT */
#include "support/sweep.h"

#include "runtime/context.h"
#include "support/failing_allocator.h"
#include "support/failing_calls.h"
#include "support/full_disk.h"

#include <cjson/cJSON.h>

#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { SWEEP_EACH = 400, SWEEP_STEP = 37 };

static const char stale[] = "a message of an earlier call";

static size_t next(size_t n) {
    return n < SWEEP_EACH || getenv("LILAC_TEST_ALL") != NULL ? n + 1 : n + SWEEP_STEP;
}

/* What must not grow: allocations and open files. */
typedef struct {
    size_t allocations, descriptors;
} holdings;

static holdings look_around(void) {
    holdings held = {.allocations = lilac_test_live_allocations()};
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        held.descriptors++;
    }
    closedir(folder);
    return held;
}

static void expect_nothing_kept(const holdings *before) {
    const holdings now = look_around();
    assert_int_equal(now.allocations, before->allocations);
    assert_int_equal(now.descriptors, before->descriptors);
}

static void prepare(const lilac_test_sweep *sweep) {
    if (sweep->prepare != NULL) {
        sweep->prepare(sweep->user);
    }
    assert_int_equal(lilac_fail(*sweep->context, LILAC_ERROR_ARGUMENT, "%s", stale), LILAC_ERROR_ARGUMENT);
}

static void look_at(const lilac_test_sweep *sweep, size_t n, bool refused, lilac_status status, lilac_status expected) {
    const char *message = lilac_context_message(*sweep->context);
    if (status != (refused ? expected : LILAC_OK)) {
        fail_msg("%zu granted: status %d: %s", n, (int)status, message);
    }
    if (refused) {
        assert_true(message[0] != '\0');
        assert_string_not_equal(message, stale);
    }
    sweep->after(sweep->user, status);
}

static size_t refuse_allocations(const lilac_test_sweep *sweep, void (*refuse)(size_t n)) {
    for (size_t n = 0;; n = next(n)) {
        const holdings before = look_around();
        prepare(sweep);
        refuse(n);
        const lilac_status status = sweep->attempt(sweep->user);
        const bool refused = lilac_test_allocation_failed();
        look_at(sweep, n, refused, status, LILAC_ERROR_MEMORY);
        expect_nothing_kept(&before);
        if (!refused) {
            return n;
        }
    }
}

size_t lilac_test_sweep_allocations(const lilac_test_sweep *sweep) {
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = malloc, .free_fn = free});
    const size_t count = refuse_allocations(sweep, lilac_test_fail_one_allocation);
    refuse_allocations(sweep, lilac_test_fail_allocation);
    cJSON_InitHooks(NULL);
    return count;
}

size_t lilac_test_sweep_calls(const lilac_test_sweep *sweep, int number) {
    for (size_t n = 0;; n = next(n)) {
        const holdings before = look_around();
        prepare(sweep);
        lilac_test_fail_call(NULL, n, number);
        const lilac_status status = sweep->attempt(sweep->user);
        const bool refused = lilac_test_failed_call() != NULL;
        look_at(sweep, n, refused, status, LILAC_ERROR_IO);
        expect_nothing_kept(&before);
        if (!refused) {
            return n;
        }
    }
}

void lilac_test_sweep_disk(const lilac_test_sweep *sweep, size_t bytes) {
    for (size_t n = 0; n < bytes; n = next(n)) {
        const holdings before = look_around();
        prepare(sweep);
        lilac_test_limit_file_size((long)n);
        const lilac_status status = sweep->attempt(sweep->user);
        lilac_test_limit_file_size(-1);
        look_at(sweep, n, true, status, LILAC_ERROR_IO);
        expect_nothing_kept(&before);
    }
}
