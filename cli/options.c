/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "suggest.h"

#include "format/number_text.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A group's options must fit one word of bits. */
enum { MAX_OPTIONS = 64 };

/* Where a failure's sentence goes. */
typedef struct parse_error {
    char *message;
    size_t size;
} parse_error;

static bool fail(const parse_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(const parse_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, error->size, format, arguments);
    va_end(arguments);
    return false;
}

void lilac_option_value_text(const lilac_option *option, char *text, size_t size) {
    if (option->type != LILAC_OPTION_CHOICE) {
        snprintf(text, size, "%s", option->type == LILAC_OPTION_FLAG ? "" : option->value);
        return;
    }
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; option->choices[i] != NULL && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? "" : "|", option->choices[i]);
    }
}

static bool parse_integer(const lilac_option *option, const char *text, int *out, const parse_error *error) {
    const bool negative = text[0] == '-';
    uint64_t size;
    if (lilac_number_parse_whole(text + negative, &size) && size <= INT_MAX) {
        const int value = negative ? -(int)size : (int)size;
        if (value >= option->minimum && value <= option->maximum) {
            *out = value;
            return true;
        }
    }
    return fail(error, "--%s: expected a whole number from %.0f to %.0f, got '%s'", option->name, option->minimum,
                option->maximum, text);
}

static bool parse_unsigned(const lilac_option *option, const char *text, uint64_t *out, const parse_error *error) {
    return lilac_number_parse_whole(text, out) || fail(error, "--%s: expected a whole number from 0 to %llu, got '%s'",
                                                       option->name, (unsigned long long)UINT64_MAX, text);
}

static bool parse_number(const lilac_option *option, const char *text, double *out, const parse_error *error) {
    double value;
    if (!lilac_number_parse(text, &value) || value < option->minimum || value > option->maximum) {
        return fail(error, "--%s: expected a number from %g to %g, got '%s'", option->name, option->minimum,
                    option->maximum, text);
    }
    *out = value;
    return true;
}

static bool parse_choice(const lilac_option *option, const char *text, int *out, const parse_error *error) {
    lilac_suggestion suggestion = {0};
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(text, option->choices[i]) == 0) {
            *out = i;
            return true;
        }
        lilac_suggest_consider(&suggestion, text, option->choices[i]);
    }
    char choices[256];
    lilac_option_value_text(option, choices, sizeof choices);
    if (suggestion.best != NULL) {
        return fail(error, "--%s: expected one of %s, got '%s'; did you mean '%s'?", option->name, choices, text,
                    suggestion.best);
    }
    return fail(error, "--%s: expected one of %s, got '%s'", option->name, choices, text);
}

static int compare_ints(const void *a, const void *b) {
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

void lilac_sizes_sort(lilac_sizes *sizes) {
    qsort(sizes->item, sizes->count, sizeof sizes->item[0], compare_ints);
}

static bool parse_sizes(const lilac_option *option, const char *text, lilac_sizes *out, const parse_error *error) {
    lilac_sizes sizes = {0};
    for (const char *start = text;; start++) {
        const size_t length = strcspn(start, ",");
        char item[32] = "";
        if (length < sizeof item) {
            memcpy(item, start, length);
        }
        if (sizes.count == LILAC_SIZES_MAX) {
            return fail(error, "--%s: expected at most %d numbers, got '%s'", option->name, LILAC_SIZES_MAX, text);
        }
        if (!parse_integer(option, item, &sizes.item[sizes.count++], error)) {
            return false;
        }
        start += length;
        if (*start == '\0') {
            *out = sizes;
            return true;
        }
    }
}

/* text is a name, or name=value. */
static bool parse_named(const lilac_option *option, char *text, lilac_named_values *out, const parse_error *error) {
    const char *value = "";
    if (option->type == LILAC_OPTION_NAMED) {
        char *equals = strchr(text, '=');
        if (equals == NULL || equals == text || equals[1] == '\0') {
            return fail(error, "--%s: expected %s, got '%s'", option->name, option->value, text);
        }
        *equals = '\0';
        value = equals + 1;
    }
    if (out->count == LILAC_NAMED_MAX) {
        return fail(error, "--%s: can be given %d times at most", option->name, LILAC_NAMED_MAX);
    }
    for (size_t i = 0; i < out->count; i++) {
        if (strcmp(out->item[i].name, text) == 0) {
            return fail(error, "--%s: '%s' is named twice", option->name, text);
        }
    }
    out->item[out->count].name = text;
    out->item[out->count].value = value;
    out->count++;
    return true;
}

/* Parses text into the option's field of settings. */
static bool set_value(const lilac_option *option, void *settings, char *text, const parse_error *error) {
    void *field = (char *)settings + option->offset;
    switch (option->type) {
    case LILAC_OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case LILAC_OPTION_INTEGER:
        return parse_integer(option, text, field, error);
    case LILAC_OPTION_UNSIGNED:
        return parse_unsigned(option, text, field, error);
    case LILAC_OPTION_NUMBER:
        return parse_number(option, text, field, error);
    case LILAC_OPTION_TEXT:
        if (text[0] == '\0') {
            return fail(error, "--%s: expected %s, got an empty text", option->name, option->value);
        }
        *(const char **)field = text;
        return true;
    case LILAC_OPTION_CHOICE:
        return parse_choice(option, text, field, error);
    case LILAC_OPTION_SIZES:
        return parse_sizes(option, text, field, error);
    case LILAC_OPTION_NAMES:
    case LILAC_OPTION_NAMED:
        return parse_named(option, text, field, error);
    }
    return fail(error, "--%s: unknown type of option", option->name);
}

static bool set_defaults(const lilac_option_group *groups, size_t group_count, const parse_error *error) {
    for (size_t g = 0; g < group_count; g++) {
        assert(groups[g].count <= MAX_OPTIONS);
        for (size_t i = 0; i < groups[g].count; i++) {
            const lilac_option *option = &groups[g].options[i];
            /* The cast is safe: only NAMED values are written to. */
            assert(option->initial == NULL || option->type != LILAC_OPTION_NAMED);
            if (option->initial != NULL && !set_value(option, groups[g].settings, (char *)option->initial, error)) {
                return false;
            }
        }
    }
    return true;
}

/* The option an argument names, and its group; length is that of the name without a value. */
static const lilac_option *find_option(const lilac_option_group *groups, size_t group_count, const char *argument,
                                       size_t length, size_t *group) {
    const bool is_long = argument[1] == '-';
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            const lilac_option *option = &groups[g].options[i];
            const bool matches =
                is_long ? strlen(option->name) == length - 2 && strncmp(argument + 2, option->name, length - 2) == 0
                        : length == 2 && option->letter == argument[1];
            if (matches) {
                *group = g;
                return option;
            }
        }
    }
    return NULL;
}

/* Whether an argument is more likely an option than a value that begins like one, as a negative number does. */
static bool is_option(const lilac_option_group *groups, size_t group_count, const char *argument) {
    size_t group;
    return strncmp(argument, "--", 2) == 0 || (argument[0] == '-' && strlen(argument) == 2 &&
                                               find_option(groups, group_count, argument, 2, &group) != NULL);
}

static bool fail_unknown(const lilac_option_group *groups, size_t group_count, const char *argument, size_t length,
                         const parse_error *error) {
    char typed[64] = "";
    const size_t dashes = argument[1] == '-' ? 2 : 1;
    if (length - dashes < sizeof typed) {
        memcpy(typed, argument + dashes, length - dashes);
    }
    lilac_suggestion suggestion = {0};
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            lilac_suggest_consider(&suggestion, typed, groups[g].options[i].name);
        }
    }
    if (suggestion.best != NULL) {
        return fail(error, "unknown option '%.*s'; did you mean '--%s'?", (int)length, argument, suggestion.best);
    }
    return fail(error, "unknown option '%.*s'", (int)length, argument);
}

/* Options and which of them the command line gives: one word for each group, one bit for each of its options. */
typedef struct parse_state {
    const lilac_option_group *groups;
    size_t group_count;
    uint64_t given[LILAC_GROUPS_MAX];
} parse_state;

static bool check_required(const parse_state *state, const parse_error *error) {
    for (size_t g = 0; g < state->group_count; g++) {
        for (size_t i = 0; i < state->groups[g].count; i++) {
            const lilac_option *option = &state->groups[g].options[i];
            if (option->required && !(state->given[g] >> i & 1)) {
                char value[256];
                lilac_option_value_text(option, value, sizeof value);
                return fail(error, "--%s %s is missing: %s", option->name, value, option->help);
            }
        }
    }
    return true;
}

/* One of the names of `with` or `without`: an option and, behind '=', a value of it; else that is NULL. */
typedef struct condition {
    const lilac_option *option;
    const char *value;
    size_t value_length;
    bool holds;
} condition;

/* Whether a text of that length names the value of a CHOICE or an INTEGER. */
static bool is_value(const lilac_option *option, int value, const char *text, size_t length) {
    char number[16];
    const char *name = number;
    assert(option->type == LILAC_OPTION_CHOICE || option->type == LILAC_OPTION_INTEGER);
    if (option->type == LILAC_OPTION_CHOICE) {
        name = option->choices[value];
    } else {
        snprintf(number, sizeof number, "%d", value);
    }
    return strlen(name) == length && strncmp(name, text, length) == 0;
}

/* name has `length` characters. The option is NULL where the command has none of that name. */
static condition condition_of(const parse_state *state, const char *name, size_t length) {
    const char *equals = memchr(name, '=', length);
    const size_t name_length = equals == NULL ? length : (size_t)(equals - name);
    for (size_t g = 0; g < state->group_count; g++) {
        const lilac_option_group *group = &state->groups[g];
        for (size_t i = 0; i < group->count; i++) {
            const lilac_option *option = &group->options[i];
            if (strlen(option->name) != name_length || strncmp(option->name, name, name_length) != 0) {
                continue;
            }
            if (equals == NULL) {
                return (condition){.option = option, .holds = (state->given[g] >> i & 1) != 0};
            }
            const int value = *(const int *)(const void *)((const char *)group->settings + option->offset);
            return (condition){.option = option,
                               .value = equals + 1,
                               .value_length = length - name_length - 1,
                               .holds = is_value(option, value, equals + 1, length - name_length - 1)};
        }
    }
    return (condition){0};
}

/*
 * Goes through the names of `with` or `without`: the first that holds; if none does, the first that the command has,
 * whose option is NULL if it has none.
 */
static condition find_condition(const parse_state *state, const char *names) {
    condition first = {0};
    while (names != NULL && *names != '\0') {
        const size_t length = strcspn(names, " ");
        const condition found = condition_of(state, names, length);
        if (found.holds) {
            return found;
        }
        first = first.option == NULL ? found : first;
        names += length + strspn(names + length, " ");
    }
    return first;
}

/* An option that would do nothing is refused: who gives it expects something of it. */
static bool check_combinations(const parse_state *state, const parse_error *error) {
    for (size_t g = 0; g < state->group_count; g++) {
        for (size_t i = 0; i < state->groups[g].count; i++) {
            const lilac_option *option = &state->groups[g].options[i];
            if (!(state->given[g] >> i & 1)) {
                continue;
            }
            const condition against = find_condition(state, option->without);
            if (against.holds) {
                return fail(error, "--%s cannot be combined with --%s%s%.*s: leave one of them out", option->name,
                            against.option->name, against.value != NULL ? " " : "", (int)against.value_length,
                            against.value != NULL ? against.value : "");
            }
            const condition needed = find_condition(state, option->with);
            if (needed.option != NULL && !needed.holds) {
                char value[256];
                if (needed.value != NULL) {
                    snprintf(value, sizeof value, "%.*s", (int)needed.value_length, needed.value);
                } else {
                    lilac_option_value_text(needed.option, value, sizeof value);
                }
                return fail(error, "--%s does nothing without --%s%s%s: give that too, or leave --%s out", option->name,
                            needed.option->name, value[0] == '\0' ? "" : " ", value, option->name);
            }
        }
    }
    return true;
}

bool lilac_options_parse(const lilac_option_group *groups, size_t group_count, int count, char **arguments,
                         char *message, size_t message_size) {
    const parse_error error = {.message = message, .size = message_size};
    parse_state state = {.groups = groups, .group_count = group_count};
    assert(group_count <= LILAC_GROUPS_MAX);
    if (!set_defaults(groups, group_count, &error)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        char *argument = arguments[i];
        if (argument[0] != '-' || argument[1] == '\0') {
            return fail(&error, "unexpected argument '%s': options start with --", argument);
        }
        char *equals = argument[1] == '-' ? strchr(argument, '=') : NULL;
        const size_t length = equals == NULL ? strlen(argument) : (size_t)(equals - argument);
        size_t group = 0;
        const lilac_option *option = find_option(groups, group_count, argument, length, &group);
        if (option == NULL) {
            return fail_unknown(groups, group_count, argument, length, &error);
        }
        char *value = equals == NULL ? NULL : equals + 1;
        if (option->type == LILAC_OPTION_FLAG && value != NULL) {
            return fail(&error, "--%s takes no value, got '%s'", option->name, value);
        }
        if (option->type != LILAC_OPTION_FLAG && value == NULL) {
            /* A forgotten value would otherwise swallow the next option. */
            if (i + 1 == count || is_option(groups, group_count, arguments[i + 1])) {
                char name[256];
                lilac_option_value_text(option, name, sizeof name);
                return fail(&error, "--%s needs a value: --%s %s", option->name, option->name, name);
            }
            value = arguments[++i];
        }
        const uint64_t bit = UINT64_C(1) << (option - groups[group].options);
        /* A number may replace a script's; of two files one would be left out unnoticed. */
        if (option->type == LILAC_OPTION_TEXT && (state.given[group] & bit) != 0) {
            return fail(&error, "--%s is given twice: '%s' as well", option->name, value);
        }
        if (!set_value(option, groups[group].settings, value, &error)) {
            return false;
        }
        state.given[group] |= bit;
    }
    return check_required(&state, &error) && check_combinations(&state, &error);
}
