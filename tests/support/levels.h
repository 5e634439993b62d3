/* SPDX-License-Identifier: MIT */
/* Contexts for every cpu level the machine has and several numbers of threads. */
#ifndef LILAC_TESTS_LEVELS_H
#define LILAC_TESTS_LEVELS_H

#include <lilac/context.h>

enum { LILAC_TEST_LEVELS = 3, LILAC_TEST_MAX_THREADS = 3 };

/* For a group of tests: create and destroy the contexts. */
int lilac_test_levels_set_up(void **state);
int lilac_test_levels_tear_down(void **state);

/* Levels are numbered from 0 to lilac_test_levels() - 1, threads from 1 to LILAC_TEST_MAX_THREADS. */
int lilac_test_levels(void);
lilac_context *lilac_test_context(int level, int threads);

#endif
