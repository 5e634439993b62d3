/* SPDX-License-Identifier: MIT */
/* The context that all tests of an executable work with. */
#ifndef LILAC_TESTS_DEFAULT_CONTEXT_H
#define LILAC_TESTS_DEFAULT_CONTEXT_H

#include <lilac/context.h>

extern lilac_context *context;    /* NULL unless it was set up */
extern lilac_context *one_thread; /* to compare with; NULL unless threads were set up */

/* For a test or a group of tests: makes context, with default settings. */
int context_set_up(void **state);

/* Makes context with two threads, and one_thread. Both report to progress, which may be NULL. */
void threads_set_up(lilac_progress_callback *progress);

/* Destroys what either of them made. */
int context_tear_down(void **state);

#endif
