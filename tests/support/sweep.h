/* SPDX-License-Identifier: MIT */
/*
 * Sweeps: a call is made again and again, and each time one more of the allocations, system calls or bytes that it
 * needs is granted before one is refused, until it needs no more and succeeds. Each time, the sweep looks at the
 * status, at the context's message and at what is still allocated; the test looks at the rest in `after`.
 *
 * A refusal after more than SWEEP_EACH grants is tried only now and then, unless LILAC_TEST_ALL is in the environment.
 */
#ifndef LILAC_TESTS_SWEEP_H
#define LILAC_TESTS_SWEEP_H

#include <lilac/context.h>

typedef struct lilac_test_sweep {
    lilac_context **context;     /* whose message tells of a failure */
    void (*prepare)(void *user); /* before each attempt, with nothing refused; may be NULL */
    lilac_status (*attempt)(void *user);
    /* After each attempt, with nothing refused: were outputs left alone, or is the result right? Frees what the attempt
     * and prepare made. */
    void (*after)(void *user, lilac_status status);
    void *user;
} lilac_test_sweep;

/* Refuses allocations: first one at a time, then all from some point on; those of cJSON too. Each refusal must end in
 * LILAC_ERROR_MEMORY. Returns how many allocations the call makes. */
size_t lilac_test_sweep_allocations(const lilac_test_sweep *sweep);

/* Lets system calls that open, read, write, bring to the disk or rename fail, one at a time, with this errno. Each
 * must end in LILAC_ERROR_IO. Returns how many there are. */
size_t lilac_test_sweep_calls(const lilac_test_sweep *sweep, int number);

/* Lets the disk be full after 0 .. bytes-1 bytes of a file. Each must end in LILAC_ERROR_IO. */
void lilac_test_sweep_disk(const lilac_test_sweep *sweep, size_t bytes);

#endif
