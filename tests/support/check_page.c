/* SPDX-License-Identifier: MIT */
/*
 * Checks the figures of a page against the results file beside it: each stands in the page with its path in the file.
 * Usage: check_page PAGE RESULTS. Prints how many there are; fails if one differs.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 24);
    if (file == NULL || text == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    text[fread(text, 1, (1 << 24) - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* Follows "a/0/b" downwards; NULL where it leads nowhere. Cuts the path up. */
static const cJSON *follow(const cJSON *item, char *path) {
    for (char *rest = path; rest != NULL && item != NULL;) {
        char *name = rest;
        rest = strchr(rest, '/');
        if (rest != NULL) {
            *rest++ = '\0';
        }
        item = cJSON_IsArray(item) ? cJSON_GetArrayItem(item, atoi(name)) : cJSON_GetObjectItem(item, name);
    }
    return item;
}

/* What the page shows, with its own minus sign, as a number; decimals are those that it shows. */
static double shown_number(const char *text, size_t length, int *decimals) {
    char digits[64] = "";
    const bool negative = strncmp(text, "\u2212", strlen("\u2212")) == 0;
    const char *start = negative ? text + strlen("\u2212") : text;
    snprintf(digits, sizeof digits, "%.*s", (int)(length - (size_t)(start - text)), start);
    char *end;
    const double value = strtod(digits, &end);
    const char *point = strchr(digits, '.');
    *decimals = point == NULL ? 0 : (int)strlen(point + 1);
    return *end != '\0' || digits[0] == '\0' ? NAN : negative ? -value : value;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    static const char mark[] = "data-path=\"";
    char *page = read_text(argv[1]), *file = read_text(argv[2]);
    cJSON *results = cJSON_Parse(file);
    size_t count = 0, wrong = results == NULL;
    for (char *at = page; results != NULL && (at = strstr(at, mark)) != NULL; count++) {
        char path[256];
        at += strlen(mark);
        const size_t path_length = strcspn(at, "\"");
        snprintf(path, sizeof path, "%.*s", (int)path_length, at);
        const char *text = at + path_length + strlen("\">");
        int decimals;
        const double shown = shown_number(text, strcspn(text, "<"), &decimals);
        const cJSON *item = follow(results, path);
        if (!cJSON_IsNumber(item) || !(fabs(shown - item->valuedouble) <= 0.5000001 * pow(10.0, -decimals))) {
            printf("%.*s: the page says %.*s\n", (int)path_length, at, (int)strcspn(text, "<"), text);
            wrong++;
        }
    }
    printf("%zu figures\n", count);
    cJSON_Delete(results);
    free(file);
    free(page);
    return wrong > 0 || count == 0;
}
