/* SPDX-License-Identifier: MIT */
#include "format/number_text.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lilac_number_text(double value, char text[LILAC_NUMBER_TEXT_SIZE]) {
    char local[LILAC_NUMBER_TEXT_SIZE + 16];
    snprintf(local, sizeof local, "%.17g", value);
    /* What else there is beside these is the locale's decimal point, of one or more bytes. */
    const size_t whole = strspn(local, "+-0123456789e");
    const char *rest = local + whole;
    const size_t point = strcspn(rest, "+-0123456789e");
    snprintf(text, LILAC_NUMBER_TEXT_SIZE, "%.*s%s%s", (int)whole, local, point == 0 ? "" : ".", rest + point);
}

bool lilac_number_parse(const char *text, double *value) {
    /* strtod also takes spaces, hexadecimal numbers, infinities and NaN. */
    if (text[0] == '\0' || text[strspn(text, "+-0123456789.eE")] != '\0') {
        return false;
    }
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) {
        return false;
    }
    const locale_t before = uselocale(plain);
    char *end;
    const double parsed = strtod(text, &end);
    uselocale(before);
    freelocale(plain);
    if (*end != '\0' || !isfinite(parsed)) {
        return false;
    }
    *value = parsed;
    return true;
}

bool lilac_number_parse_whole(const char *text, uint64_t *value) {
    uint64_t parsed = 0;
    if (text[0] == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(parsed, 10, &parsed) ||
            __builtin_add_overflow(parsed, (uint64_t)(*text - '0'), &parsed)) {
            return false;
        }
    }
    *value = parsed;
    return true;
}
