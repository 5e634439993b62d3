/* SPDX-License-Identifier: MIT */
/*
 * A strict check of untrusted JSON before it is handed to the parser, which is lenient (control characters, bytes that
 * are not UTF-8, NUL escapes that cut a string short, numbers of any form) and spends some 80 bytes on every value.
 */
#ifndef LILAC_FORMAT_JSON_CHECK_H
#define LILAC_FORMAT_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lilac_json_limits {
    size_t depth;  /* objects and arrays within each other, at most */
    size_t values; /* objects, arrays, strings (keys too) and numbers, at most */
} lilac_json_limits;

typedef enum lilac_json_verdict {
    LILAC_JSON_VALID,
    LILAC_JSON_MALFORMED,
    LILAC_JSON_TOO_MANY_VALUES
} lilac_json_verdict;

typedef struct lilac_json_problem {
    const char *what;  /* what is wrong, a constant */
    size_t offset;     /* of the byte where it was noticed */
    const char *entry; /* the last key of the outermost object before it, as written in the text; NULL if none */
    int entry_length;  /* bytes of entry, at most 100 */
} lilac_json_problem;

/*
 * Checks that the text is one JSON object, perhaps followed by spaces, in which every number is an integer from 0 to
 * 2^53 without sign, fraction or exponent. Otherwise fills in *problem. Reads the text once; uses no memory that grows
 * with it.
 */
lilac_json_verdict lilac_json_check(const char *text, size_t size, lilac_json_limits limits,
                                    lilac_json_problem *problem);

#endif
