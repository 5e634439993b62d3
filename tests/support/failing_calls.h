/* SPDX-License-Identifier: MIT */
/*
 * System calls that fail on demand. Every test is linked so that open, openat, read, write, fsync, flock and renameat,
 * as called from the library and the test itself, come here; fsync does nothing unless it fails.
 *
 * To test every failure of a call that writes a file, let call 0, 1, 2, ... fail until it makes no more of them; see
 * lilac_test_sweep_calls in support/sweep.h.
 */
#ifndef LILAC_TESTS_FAILING_CALLS_H
#define LILAC_TESTS_FAILING_CALLS_H

#include <stdbool.h>
#include <stddef.h>

/* What calls do beside failing; all zero for the plain behaviour. */
typedef struct lilac_test_call_behaviour {
    size_t most;               /* bytes moved by one read or write, 0 for no limit */
    bool interrupt;            /* every other read or write ends with EINTR */
    void (*before_read)(void); /* called once, before the next read; may be NULL */
} lilac_test_call_behaviour;

extern lilac_test_call_behaviour lilac_test_calls;

/*
 * After n more calls that succeed, one fails with this errno: of those of that name or, where name is NULL, of open,
 * openat, read, write, fsync and renameat together. All others succeed.
 */
void lilac_test_fail_call(const char *name, size_t n, int number);

/* Ends that, and returns the name of the call that failed; NULL if none did. */
const char *lilac_test_failed_call(void);

#endif
