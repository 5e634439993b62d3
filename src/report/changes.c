/* SPDX-License-Identifier: MIT */
#include "report/changes.h"

#include "core/memory.h"
#include "runtime/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL_SIZE = 256, FILE_LIMIT = 1 << 22, DEPTH_MAX = 16 };

typedef struct visitor {
    void (*visit)(void *user, const lilac_change *change);
    void *user;
    lilac_changes_count count;
} visitor;

/* What an element of an array is of, the first of these that it has. */
static const char *const identities[] = {"kind", "tokens", "images", "rank", "hidden", "name"};
enum { IDENTITIES = sizeof identities / sizeof identities[0] };

static bool same_identity(const cJSON *a, const cJSON *b) {
    for (size_t i = 0; i < IDENTITIES; i++) {
        const cJSON *first = cJSON_GetObjectItemCaseSensitive(a, identities[i]);
        const cJSON *second = cJSON_GetObjectItemCaseSensitive(b, identities[i]);
        if (first != NULL && second != NULL) {
            if (cJSON_IsString(first) || cJSON_IsString(second)) {
                if (strcmp(lilac_json_string_at(a, "%s", identities[i]),
                           lilac_json_string_at(b, "%s", identities[i])) != 0) {
                    return false;
                }
            } else if (lilac_json_number_at(a, "%s", identities[i]) != lilac_json_number_at(b, "%s", identities[i])) {
                return false;
            }
        } else if (first != NULL || second != NULL) {
            return false;
        }
    }
    return true;
}

/* Of the old array; NULL: none. Elements that are not objects are matched by their place. */
static const cJSON *find_element(const cJSON *old, const cJSON *element, int index) {
    if (!cJSON_IsObject(element)) {
        return cJSON_GetArrayItem(old, index);
    }
    const cJSON *candidate;
    cJSON_ArrayForEach(candidate, old) {
        if (cJSON_IsObject(candidate) && same_identity(candidate, element)) {
            return candidate;
        }
    }
    return NULL;
}

/* The label of what lies within, from that of what it lies in: "lora, hidden 64, rank 8, fine tuning". */
static void extend_label(const char *label, const char *name, char *out) {
    if (snprintf(out, LABEL_SIZE, "%s%s%s", label, label[0] == '\0' ? "" : ", ", name) >= LABEL_SIZE) {
        memcpy(out + LABEL_SIZE - 4, "...", 4);
    }
    for (char *c = out; *c != '\0'; c++) {
        *c = *c == '_' ? ' ' : *c;
    }
}

static void element_name(const cJSON *element, int index, char *out) {
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < IDENTITIES && length < LABEL_SIZE; i++) {
        const double number = lilac_json_number_at(element, "%s", identities[i]);
        const char *text = lilac_json_string_at(element, "%s", identities[i]);
        if (text[0] != '\0') {
            length += (size_t)snprintf(out + length, LABEL_SIZE - length, "%s%s", length > 0 ? ", " : "", text);
        } else if (isfinite(number)) {
            length += (size_t)snprintf(out + length, LABEL_SIZE - length, "%s%s %g", length > 0 ? ", " : "",
                                       identities[i], number);
        }
    }
    if (length == 0) {
        snprintf(out, LABEL_SIZE, "%d", index + 1);
    }
}

/* Published figures are not of a run; the others say what figures beside them say. */
static bool is_skipped(const char *name) {
    static const char *const names[] = {"values",    "difference",   "standard_errors",
                                        "tolerance", "spread",       "bytes",
                                        "agreement", "reason",       "mean_milliseconds_per_sequence",
                                        "gflops",    "share_of_peak"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return strncmp(name, "published", 9) == 0;
}

static bool is_timed(const char *label) {
    static const char *const words[] = {"seconds", "peak", "exponent", "faster from"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(label, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* How many figures there are in item and below. */
static size_t count_figures(const cJSON *item, int depth) {
    size_t count = cJSON_IsNumber(item) || cJSON_IsRaw(item);
    if (depth <= DEPTH_MAX) {
        const cJSON *child;
        cJSON_ArrayForEach(child, item) {
            count += child->string != NULL && is_skipped(child->string) ? 0 : count_figures(child, depth + 1);
        }
    }
    return count;
}

static void compare_numbers(visitor *v, const char *label, double before, double after) {
    const lilac_change change = {.label = label, .before = before, .after = after, .timed = is_timed(label)};
    if (isfinite(before) && isfinite(after) && before != after &&
        (!change.timed || (before > 0.0 && after > 0.0 && fabs(after - before) > 0.1 * before))) {
        v->count.changed++;
        v->visit(v->user, &change);
    }
    v->count.only_old += isfinite(before) && !isfinite(after);
    v->count.only_new += isfinite(after) && !isfinite(before);
}

/* What child, number index of its parent, is compared with in the other results' object or array; NULL: nothing. */
static const cJSON *counterpart(const cJSON *other, const cJSON *child, int index) {
    if (child->string != NULL) {
        return cJSON_GetObjectItemCaseSensitive(other, child->string);
    }
    return cJSON_IsArray(other) ? find_element(other, child, index) : NULL;
}

static void compare(visitor *v, const cJSON *old, const cJSON *item, const char *label, int depth);

static void compare_within(visitor *v, const cJSON *old, const cJSON *item, const char *label, int depth) {
    char inner[LABEL_SIZE], name[LABEL_SIZE];
    const cJSON *child;
    int index = 0;
    cJSON_ArrayForEach(child, item) {
        const cJSON *other = counterpart(old, child, index);
        const bool skipped = child->string != NULL && is_skipped(child->string);
        if (child->string != NULL) {
            snprintf(name, sizeof name, "%s", child->string);
        } else {
            element_name(child, index, name);
        }
        if (other != NULL && !skipped) {
            extend_label(label, name, inner);
            compare(v, other, child, inner, depth + 1);
        } else if (!skipped) {
            v->count.only_new += count_figures(child, depth + 1);
        }
        index++;
    }
    index = 0;
    cJSON_ArrayForEach(child, old) {
        if (counterpart(item, child, index++) == NULL && (child->string == NULL || !is_skipped(child->string))) {
            v->count.only_old += count_figures(child, depth + 1);
        }
    }
}

static void compare(visitor *v, const cJSON *old, const cJSON *item, const char *label, int depth) {
    if (depth > DEPTH_MAX) {
        return;
    }
    if (cJSON_IsObject(item) || cJSON_IsArray(item)) {
        compare_within(v, old, item, label, depth);
    } else if (cJSON_IsString(item)) {
        const lilac_change change = {
            .label = label, .was = lilac_json_string_at(old, "%s", ""), .is = item->valuestring};
        if (cJSON_IsString(old) && strcmp(change.was, change.is) != 0) {
            v->count.changed++;
            v->visit(v->user, &change);
        }
    } else {
        compare_numbers(v, label, lilac_json_number_at(old, "%s", ""), lilac_json_number_at(item, "%s", ""));
    }
}

lilac_changes_count lilac_changes_visit(const cJSON *old, const cJSON *results,
                                        void (*visit)(void *user, const lilac_change *change), void *user) {
    visitor v = {.visit = visit, .user = user};
    if (old != NULL) {
        compare(&v, old, results, "", 0);
    }
    return v.count;
}

lilac_status lilac_results_read(lilac_context *context, const char *path, cJSON **out) {
    unsigned char *data;
    size_t size;
    LILAC_TRY(lilac_file_read(context, path, FILE_LIMIT, &data, &size));
    cJSON *root = cJSON_ParseWithLength((const char *)data, size);
    lilac_memory_free(data);
    if (strcmp(lilac_json_string_at(root, "experiment"), "all") != 0) {
        cJSON_Delete(root);
        return lilac_fail(context, LILAC_ERROR_FORMAT,
                          "%s: expected a results.json that 'lilac reproduce all' has written", path);
    }
    *out = root;
    return LILAC_OK;
}
