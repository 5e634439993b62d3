/* SPDX-License-Identifier: MIT */
#include "suggest.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 63 };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

size_t lilac_edit_distance(const char *a, const char *b) {
    const size_t rows = strlen(a), cols = strlen(b);
    if (rows > LONGEST || cols > LONGEST) {
        return LONGEST + 1;
    }
    /* distance[i][j]: between the first i letters of a and the first j of b. */
    size_t distance[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= rows; i++) {
        for (size_t j = 0; j <= cols; j++) {
            if (i == 0 || j == 0) {
                distance[i][j] = i + j;
                continue;
            }
            const size_t changed = distance[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            distance[i][j] = smaller(changed, smaller(distance[i - 1][j], distance[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                distance[i][j] = smaller(distance[i][j], distance[i - 2][j - 2] + 1);
            }
        }
    }
    return distance[rows][cols];
}

void lilac_suggest_consider(lilac_suggestion *suggestion, const char *typed, const char *known) {
    char lower[LONGEST + 1];
    if (strlen(typed) > LONGEST) {
        return;
    }
    /* Names are in small letters. */
    for (size_t i = 0; i <= strlen(typed); i++) {
        lower[i] = (char)tolower((unsigned char)typed[i]);
    }
    size_t distance = lilac_edit_distance(lower, known);
    /* Its beginning alone counts as one slip, however much is missing. */
    if (strlen(lower) > 1 && strncmp(lower, known, strlen(lower)) == 0) {
        distance = smaller(distance, 1);
    }
    /* A third of the letters may be wrong; beyond that a suggestion confuses more than it helps. */
    const size_t allowed = strlen(known) / 3 + 1;
    if (distance <= allowed && distance < strlen(known) &&
        (suggestion->best == NULL || distance < suggestion->distance)) {
        suggestion->best = known;
        suggestion->distance = distance;
    }
}
