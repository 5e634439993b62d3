/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail on demand. Every test is linked so that malloc, calloc, realloc, aligned_alloc and free, as
 * called from the library and the test itself, come here; calls made inside shared libraries do not, unless such a
 * library takes allocation functions (cJSON_InitHooks).
 *
 * To test every failure of a call, let allocation 0, 1, 2, ... fail until the call needs no more:
 *
 *     lilac_status status = LILAC_ERROR_MEMORY;
 *     for (size_t n = 0; status != LILAC_OK; n++) {
 *         const size_t live = lilac_test_live_allocations();
 *         lilac_test_fail_allocation(n);
 *         status = lilac_something_create(context, &something);
 *         if (lilac_test_allocation_failed()) {
 *             assert_int_equal(status, LILAC_ERROR_MEMORY);
 *             assert_int_equal(lilac_test_live_allocations(), live);
 *         }
 *     }
 */
#ifndef LILAC_TESTS_FAILING_ALLOCATOR_H
#define LILAC_TESTS_FAILING_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>

/* After n more allocations that succeed, all fail until lilac_test_allocation_failed is called. */
void lilac_test_fail_allocation(size_t n);

/* After n more allocations that succeed, one fails: does the call notice, though all is well afterwards? */
void lilac_test_fail_one_allocation(size_t n);

/* Ends either and tells whether any allocation failed. */
bool lilac_test_allocation_failed(void);

/* Allocations made and not yet freed: the same before and after a call that leaks nothing. */
size_t lilac_test_live_allocations(void);

/* The bytes of these, with what the allocator rounds up. */
size_t lilac_test_live_bytes(void);

/* Forgets the allocations so far, and the largest one asked for since then, in bytes, also where it failed. */
void lilac_test_watch_allocations(void);
size_t lilac_test_largest_allocation(void);

#endif
