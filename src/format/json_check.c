/* SPDX-License-Identifier: MIT */
#include "format/json_check.h"

#include <stdint.h>

enum { ENTRY_SHOWN = 100 }; /* bytes of a key that go into a message */

typedef struct json_scanner {
    const unsigned char *text;
    size_t size;
    size_t at;
    lilac_json_limits limits;
    size_t values;
    lilac_json_verdict verdict;
    lilac_json_problem *problem;
} json_scanner;

static bool fail(json_scanner *scanner, const char *what) {
    scanner->verdict = LILAC_JSON_MALFORMED;
    scanner->problem->what = scanner->at < scanner->size ? what : "the text ends too early";
    scanner->problem->offset = scanner->at;
    return false;
}

/* The next byte, or 0, which is valid nowhere, at the end. */
static unsigned char peek(const json_scanner *scanner) {
    return scanner->at < scanner->size ? scanner->text[scanner->at] : 0;
}

static void skip_space(json_scanner *scanner) {
    unsigned char byte = peek(scanner);
    while (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r') {
        scanner->at++;
        byte = peek(scanner);
    }
}

static bool count_value(json_scanner *scanner) {
    scanner->values++;
    if (scanner->values > scanner->limits.values) {
        fail(scanner, "too many values");
        scanner->verdict = LILAC_JSON_TOO_MANY_VALUES;
        return false;
    }
    return true;
}

/* The four hexadecimal digits behind \u. */
static bool check_hex4(json_scanner *scanner, unsigned *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned char digit = peek(scanner);
        const unsigned char letter = digit | 0x20;
        if (digit >= '0' && digit <= '9') {
            *code = *code * 16 + (digit - '0');
        } else if (letter >= 'a' && letter <= 'f') {
            *code = *code * 16 + (letter - 'a' + 10u);
        } else {
            return fail(scanner, "expected four hexadecimal digits after \\u");
        }
        scanner->at++;
    }
    return true;
}

static bool check_unicode_escape(json_scanner *scanner) {
    unsigned code;
    if (!check_hex4(scanner, &code)) {
        return false;
    }
    if (code == 0) {
        return fail(scanner, "a NUL inside a string");
    }
    if (code < 0xd800 || code > 0xdfff) {
        return true;
    }
    /* Code points beyond 0xffff are written as a pair: high surrogate, low surrogate. */
    if (code > 0xdbff || peek(scanner) != '\\') {
        return fail(scanner, "half of a surrogate pair");
    }
    scanner->at++;
    if (peek(scanner) != 'u') {
        return fail(scanner, "half of a surrogate pair");
    }
    scanner->at++;
    if (!check_hex4(scanner, &code)) {
        return false;
    }
    return (code >= 0xdc00 && code <= 0xdfff) || fail(scanner, "half of a surrogate pair");
}

static bool check_escape(json_scanner *scanner) {
    scanner->at++;
    switch (peek(scanner)) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        scanner->at++;
        return true;
    case 'u':
        scanner->at++;
        return check_unicode_escape(scanner);
    default:
        return fail(scanner, "an unknown escape in a string");
    }
}

/* One UTF-8 sequence of more than one byte: shortest form, no surrogates, at most U+10FFFF. */
static bool check_utf8(json_scanner *scanner) {
    const unsigned char lead = peek(scanner);
    int more;
    unsigned char low = 0x80; /* range of the second byte */
    unsigned char high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
        more = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        more = 2;
        low = lead == 0xe0 ? 0xa0 : 0x80;
        high = lead == 0xed ? 0x9f : 0xbf;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        more = 3;
        low = lead == 0xf0 ? 0x90 : 0x80;
        high = lead == 0xf4 ? 0x8f : 0xbf;
    } else {
        return fail(scanner, "a string is not UTF-8");
    }
    scanner->at++;
    for (; more > 0; more--) {
        const unsigned char byte = peek(scanner);
        if (byte < low || byte > high) {
            return fail(scanner, "a string is not UTF-8");
        }
        scanner->at++;
        low = 0x80;
        high = 0xbf;
    }
    return true;
}

static bool check_string(json_scanner *scanner) {
    if (!count_value(scanner)) {
        return false;
    }
    scanner->at++;
    for (;;) {
        const unsigned char byte = peek(scanner);
        if (byte == '"') {
            scanner->at++;
            return true;
        }
        if (byte < 0x20) {
            return fail(scanner, "a control character inside a string");
        }
        if (byte == '\\') {
            if (!check_escape(scanner)) {
                return false;
            }
        } else if (byte >= 0x80) {
            if (!check_utf8(scanner)) {
                return false;
            }
        } else {
            scanner->at++;
        }
    }
}

static bool check_integer(json_scanner *scanner) {
    static const char rule[] = "a number is not an integer from 0 to 2^53";
    if (!count_value(scanner)) {
        return false;
    }
    const bool leading_zero = peek(scanner) == '0';
    uint64_t value = 0;
    size_t digits = 0;
    for (unsigned char byte = peek(scanner); byte >= '0' && byte <= '9'; byte = peek(scanner)) {
        value = value * 10 + (byte - '0');
        digits++;
        if (value > (uint64_t)1 << 53 || (leading_zero && digits > 1)) {
            return fail(scanner, rule);
        }
        scanner->at++;
    }
    const unsigned char next = peek(scanner);
    return (digits > 0 && next != '.' && next != 'e' && next != 'E') || fail(scanner, rule);
}

/* Remembers the key whose first byte is at `start` for messages; cut where it is long, but not inside a character. */
static void remember_entry(json_scanner *scanner, size_t start) {
    size_t length = scanner->at - 1 - start;
    if (length > ENTRY_SHOWN) {
        length = ENTRY_SHOWN;
        while (length > 0 && (scanner->text[start + length] & 0xc0) == 0x80) {
            length--;
        }
    }
    scanner->problem->entry = (const char *)scanner->text + start;
    scanner->problem->entry_length = (int)length;
}

static bool check_container(json_scanner *scanner, size_t depth);

static bool check_value(json_scanner *scanner, size_t depth) {
    const unsigned char first = peek(scanner);
    if (first == '{' || first == '[') {
        return check_container(scanner, depth + 1);
    }
    if (first == '"') {
        return check_string(scanner);
    }
    if (first == '-' || (first >= '0' && first <= '9')) {
        return check_integer(scanner);
    }
    return fail(scanner, "expected an object, an array, a string or an integer");
}

static bool check_key(json_scanner *scanner, size_t depth) {
    if (peek(scanner) != '"') {
        return fail(scanner, "expected a key in quotes");
    }
    const size_t start = scanner->at + 1;
    if (!check_string(scanner)) {
        return false;
    }
    if (depth == 1) {
        remember_entry(scanner, start);
    }
    skip_space(scanner);
    if (peek(scanner) != ':') {
        return fail(scanner, "expected ':' after a key");
    }
    scanner->at++;
    skip_space(scanner);
    return true;
}

/* An object or array; it recurses no deeper than limits.depth. */
static bool check_container(json_scanner *scanner, size_t depth) {
    const bool object = peek(scanner) == '{';
    const unsigned char close = object ? '}' : ']';
    if (depth > scanner->limits.depth) {
        return fail(scanner, "objects and arrays lie too deep within each other");
    }
    if (!count_value(scanner)) {
        return false;
    }
    scanner->at++;
    skip_space(scanner);
    if (peek(scanner) == close) {
        scanner->at++;
        return true;
    }
    for (;;) {
        if ((object && !check_key(scanner, depth)) || !check_value(scanner, depth)) {
            return false;
        }
        skip_space(scanner);
        const unsigned char next = peek(scanner);
        if (next != ',' && next != close) {
            return fail(scanner, object ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        scanner->at++;
        if (next == close) {
            return true;
        }
        skip_space(scanner);
    }
}

lilac_json_verdict lilac_json_check(const char *text, size_t size, lilac_json_limits limits,
                                    lilac_json_problem *problem) {
    *problem = (lilac_json_problem){.what = "", .offset = 0, .entry = NULL, .entry_length = 0};
    json_scanner scanner = {.text = (const unsigned char *)text,
                            .size = size,
                            .limits = limits,
                            .verdict = LILAC_JSON_VALID,
                            .problem = problem};
    if (peek(&scanner) != '{') {
        fail(&scanner, "expected '{'");
        return scanner.verdict;
    }
    if (!check_container(&scanner, 1)) {
        return scanner.verdict;
    }
    while (scanner.at < size) {
        if (text[scanner.at] != ' ') {
            fail(&scanner, "something other than spaces follows the object");
            break;
        }
        scanner.at++;
    }
    return scanner.verdict;
}
