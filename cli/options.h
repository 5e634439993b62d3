/* SPDX-License-Identifier: MIT */
/*
 * Command line options, described by tables: one table says how an option is written, what it may be, where its value
 * goes and what help says about it, so that parser and help cannot disagree.
 */
#ifndef LILAC_CLI_OPTIONS_H
#define LILAC_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The type of an option and of the field its value goes to. */
typedef enum lilac_option_type {
    LILAC_OPTION_FLAG,     /* bool: true if given */
    LILAC_OPTION_INTEGER,  /* int within minimum .. maximum */
    LILAC_OPTION_UNSIGNED, /* uint64_t, any */
    LILAC_OPTION_NUMBER,   /* double, finite, within minimum .. maximum */
    LILAC_OPTION_TEXT,     /* const char *, not empty: names, files, folders */
    LILAC_OPTION_CHOICE,   /* int: the index of one of the choices */
    LILAC_OPTION_SIZES,    /* lilac_sizes: whole numbers within minimum .. maximum, separated by commas */
    LILAC_OPTION_NAMES,    /* lilac_named_values without values: may be given several times */
    LILAC_OPTION_NAMED     /* lilac_named_values: name=value, may be given several times */
} lilac_option_type;

enum { LILAC_SIZES_MAX = 32, LILAC_NAMED_MAX = 32 };

typedef struct lilac_sizes {
    size_t count;
    int item[LILAC_SIZES_MAX];
} lilac_sizes;

/* Into ascending order. */
void lilac_sizes_sort(lilac_sizes *sizes);

/* The values of an option that may be given several times, in that order; no two names are equal. */
typedef struct lilac_named_values {
    size_t count;
    struct {
        const char *name;
        const char *value;
    } item[LILAC_NAMED_MAX];
} lilac_named_values;

typedef struct lilac_option {
    const char *name; /* without the dashes: "threads" */
    char letter;      /* the short form: 'o' for -o; 0: none */
    lilac_option_type type;
    size_t offset;              /* of the field within the settings struct */
    const char *value;          /* what help calls the value: "N", "FILE"; unused for flags and choices. The shell
                                   completes what ends in "FILE" by files, "DIR" by folders */
    const char *heading;        /* a title above it in help, for it and those that follow; NULL: none */
    const char *help;           /* in one phrase; range and default are added to it */
    const char *initial;        /* the default, as it would be written; NULL: the field stays as it was */
    const char *initial_note;   /* what help says of the default instead, where initial is not the whole truth */
    bool required;              /* must be given */
    double minimum, maximum;    /* of an INTEGER, a NUMBER or SIZES */
    const char *const *choices; /* of a CHOICE: ends with NULL */
    /* Names of other options, separated by spaces; those that the command does not have count for nothing. NAME=VALUE
     * is that value of a CHOICE or an INTEGER, given or by default. */
    const char *with;    /* may be given only beside one of these: without them it would do nothing; NULL: always */
    const char *without; /* may not be given beside any of these; NULL: always may */
} lilac_option;

/* The most groups of options that a command can have: its own and the common ones. */
enum { LILAC_GROUPS_MAX = 11 };

/* Options and the struct that their offsets refer to. */
typedef struct lilac_option_group {
    const char *title; /* above its options in help; NULL: they go on with the group before */
    const lilac_option *options;
    size_t count;
    void *settings;
} lilac_option_group;

/*
 * Sets every field to its default, then takes in the arguments: --name value, --name=value, -x value. Of an option
 * given twice the last counts, but a TEXT may be given once, and NAMES and NAMED collect. Arguments are referred to,
 * not copied (NAMED ones are cut in two at the '='). On failure returns false with a sentence that says what is wrong
 * and what would be right in message.
 */
bool lilac_options_parse(const lilac_option_group *groups, size_t group_count, int count, char **arguments,
                         char *message, size_t message_size);

/* How an option's value is shown: "N", "scalar|avx2|avx512"; "" for a flag. Writes at most size bytes to text. */
void lilac_option_value_text(const lilac_option *option, char *text, size_t size);

#endif
