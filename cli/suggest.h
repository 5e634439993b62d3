/* SPDX-License-Identifier: MIT */
/* Which known word a mistyped one was probably meant to be. */
#ifndef LILAC_CLI_SUGGEST_H
#define LILAC_CLI_SUGGEST_H

#include <stddef.h>

/*
 * The number of letters to insert, remove, replace or swap with their neighbour to turn one word into the other
 * (Damerau and Levenshtein's distance, no letter touched twice). Words longer than 63 letters count as different: 64.
 */
size_t lilac_edit_distance(const char *a, const char *b);

/* The best candidate so far. Start with {0}; lilac_suggest_consider each known word; best is NULL if none is near. */
typedef struct lilac_suggestion {
    const char *best;
    size_t distance;
} lilac_suggestion;

void lilac_suggest_consider(lilac_suggestion *suggestion, const char *typed, const char *known);

#endif
