/* SPDX-License-Identifier: MIT */
/* Building a results file as a tree of cJSON items. A part that memory was short for is noticed when the file is
 * written. */
#ifndef LILAC_REPORT_JSON_H
#define LILAC_REPORT_JSON_H

#include "runtime/context.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct lilac_json {
    cJSON *root; /* an object */
    bool failed; /* memory was short for some part */
} lilac_json;

/* Starts a tree with an empty object as its root, and frees it. */
lilac_json lilac_json_begin(void);
/* The same; the root says which experiment's results it holds, and what program and instruction set found them. */
lilac_json lilac_json_begin_results(const lilac_context *context, const char *experiment);
void lilac_json_end(lilac_json *json);

/*
 * Add a value to parent, which is an object (under name) or an array (at its end; name is NULL then). A number is
 * rounded to six decimals, which keeps the file readable, and null where it is not finite, for JSON has no NaN. A whole
 * number is written digit for digit, also beyond 2^53.
 */
cJSON *lilac_json_object(lilac_json *json, cJSON *parent, const char *name);
cJSON *lilac_json_array(lilac_json *json, cJSON *parent, const char *name);
void lilac_json_number(lilac_json *json, cJSON *parent, const char *name, double value);
void lilac_json_whole(lilac_json *json, cJSON *parent, const char *name, uint64_t value);
void lilac_json_string(lilac_json *json, cJSON *parent, const char *name, const char *value);

/*
 * What stands at a path below an item: "widths/0/base" names members by their name and elements by their index. NULL,
 * NaN or an empty string where there is no such item or it is of another type. Paths are at most LILAC_JSON_PATH_MAX
 * bytes long.
 */
enum { LILAC_JSON_PATH_MAX = 256 };
const cJSON *lilac_json_at(const cJSON *item, const char *format, ...) __attribute__((format(printf, 2, 3)));
double lilac_json_number_at(const cJSON *item, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *lilac_json_string_at(const cJSON *item, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes the tree to path, atomically. Errors: MEMORY, IO and its kin. */
lilac_status lilac_json_write(lilac_context *context, const lilac_json *json, const char *path);

#endif
