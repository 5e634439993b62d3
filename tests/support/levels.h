/* SPDX-License-Identifier: MIT */
/* Contexts for every cpu level the machine has and several numbers of threads. */
#ifndef LILAC_TESTS_LEVELS_H
#define LILAC_TESTS_LEVELS_H

#include <lilac/context.h>

enum { LILAC_TEST_LEVELS = 4, LILAC_TEST_MAX_THREADS = 3 };

/* For a group of tests: create and destroy the contexts. */
int lilac_test_levels_set_up(void **state);
int lilac_test_levels_tear_down(void **state);

/* Levels are numbered from 0 to lilac_test_levels() - 1, threads from 1 to LILAC_TEST_MAX_THREADS. */
int lilac_test_levels(void);
lilac_context *lilac_test_context(int level, int threads);

/*
 * For what attention does with bf16 inputs: where the cpu has bf16 dot products there is one level more, the machine's
 * with the way of multiplying bf16 inputs that the library does not take on this cpu.
 */
int lilac_test_attention_levels(void);
const char *lilac_test_attention_level_name(int level);

/* A context of such a level, also of one above the machine's, for that many threads; one that cannot be made fails the
 * test. */
lilac_context *lilac_test_context_create(int level, int threads);

#endif
