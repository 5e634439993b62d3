/* SPDX-License-Identifier: MIT */
/* Makes contexts for tests; one that cannot be made fails the test. */
#ifndef LILAC_TESTS_CONTEXTS_H
#define LILAC_TESTS_CONTEXTS_H

#include <lilac/context.h>

/* With that many threads and else the default settings; progress may be NULL. */
lilac_context *context_create(int threads, lilac_progress_callback *progress);

/* The same at that level, or at the machine's where that is lower. */
lilac_context *context_create_at(lilac_cpu_level level, int threads);

/* count contexts with 1, 2, ... threads. */
void contexts_create(int count, lilac_progress_callback *progress, lilac_context **contexts);
void contexts_destroy(int count, lilac_context **contexts);

#endif
