/* SPDX-License-Identifier: MIT */
/*
 * Command lines, one argument a line: options of every type get values within their bounds, or there is a message; and
 * numbers survive being written.
 */
#include "fuzz.h"

#include "common_options.h"
#include "suggest.h"

#include "format/number_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARGUMENTS = 80 };

typedef struct settings {
    bool flag, shade;
    int integer, choice;
    double number;
    const char *text;
    lilac_sizes sizes;
    lilac_named_values names, pairs;
} settings;

static const char *const colours[] = {"red", "green", "blue", NULL};

static const lilac_option options[] = {
    {.name = "flag", .letter = 'f', .type = LILAC_OPTION_FLAG, .offset = offsetof(settings, flag)},
    {.name = "integer",
     .letter = 'i',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(settings, integer),
     .value = "N",
     .initial = "7",
     .minimum = -50,
     .maximum = 50},
    {.name = "number",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(settings, number),
     .value = "X",
     .initial = "0.5",
     .minimum = 0,
     .maximum = 1},
    {.name = "text", .letter = 't', .type = LILAC_OPTION_TEXT, .offset = offsetof(settings, text), .value = "FILE"},
    {.name = "colour",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(settings, choice),
     .initial = "green",
     .choices = colours},
    {.name = "sizes",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(settings, sizes),
     .value = "LIST",
     .initial = "1,2",
     .minimum = 1,
     .maximum = 1 << 30},
    {.name = "name", .type = LILAC_OPTION_NAMES, .offset = offsetof(settings, names), .value = "NAME"},
    {.name = "pair", .type = LILAC_OPTION_NAMED, .offset = offsetof(settings, pairs), .value = "NAME=FILE"},
    {.name = "shade",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(settings, shade),
     .with = "colour=red colour=blue flag",
     .without = "integer=7 pair"},
};

/* All options that commands share as well; no command has all of them, as some have the same name. */
static const unsigned takes[] = {LILAC_TAKES_COMPUTE | LILAC_TAKES_SEED | LILAC_TAKES_DATA | LILAC_TAKES_TRAINING |
                                     LILAC_TAKES_LORA,
                                 LILAC_TAKES_COMPUTE | LILAC_TAKES_SEED | LILAC_TAKES_DATA | LILAC_TAKES_SAMPLING |
                                     LILAC_TAKES_STRENGTH | LILAC_TAKES_MODELS | LILAC_TAKES_TEST_IMAGES};

static char *copy_text(const uint8_t *data, size_t length) {
    char *text = malloc(length + 1);
    fuzz_require(text != NULL, "there is memory");
    memcpy(text, data, length);
    text[length] = '\0';
    return text;
}

/* Cuts the input at its newlines; each argument lies in memory of exactly its size. */
static int cut_arguments(const uint8_t *data, size_t size, char **arguments) {
    int count = 0;
    for (size_t start = 0; start < size && count < MAX_ARGUMENTS; count++) {
        const uint8_t *newline = memchr(data + start, '\n', size - start);
        const size_t length = newline == NULL ? size - start : (size_t)(newline - data) - start;
        arguments[count] = copy_text(data + start, length);
        start += length + 1;
    }
    return count;
}

static void check_named(const lilac_named_values *values, bool pairs) {
    fuzz_require(values->count <= LILAC_NAMED_MAX, "there is room for the names");
    for (size_t i = 0; i < values->count; i++) {
        fuzz_require(!pairs || (values->item[i].name[0] != '\0' && values->item[i].value[0] != '\0'),
                     "a pair has a name and a value");
        for (size_t j = 0; j < i; j++) {
            fuzz_require(strcmp(values->item[i].name, values->item[j].name) != 0, "no two names are equal");
        }
    }
}

static void check_settings(settings *s, const lilac_common_settings *common) {
    fuzz_require(s->integer >= -50 && s->integer <= 50, "an integer lies within its bounds");
    fuzz_require(s->number >= 0.0 && s->number <= 1.0, "a number lies within its bounds");
    fuzz_require(s->choice >= 0 && s->choice < 3, "a choice is one of the choices");
    fuzz_require(s->text == NULL || s->text[0] != '\0', "a text is not empty");
    fuzz_require(common->threads >= 0 && common->threads <= 1024, "threads can be started");
    fuzz_require(!s->shade || (s->integer != 7 && s->pairs.count == 0), "a condition holds");
    fuzz_require(isfinite(common->strength) && isfinite(common->sampling.temperature), "numbers are finite");
    fuzz_require(isfinite(common->lora.alpha) && isfinite(common->training.learning_rate), "numbers are finite");
    fuzz_require(s->sizes.count >= 1 && s->sizes.count <= LILAC_SIZES_MAX, "there is room for the sizes");
    lilac_sizes_sort(&s->sizes);
    for (size_t i = 0; i < s->sizes.count; i++) {
        fuzz_require(s->sizes.item[i] >= 1 && s->sizes.item[i] <= 1 << 30, "a size lies within its bounds");
        fuzz_require(i == 0 || s->sizes.item[i - 1] <= s->sizes.item[i], "sizes are sorted");
    }
    check_named(&s->names, false);
    check_named(&s->pairs, true);
}

static void check_options(int count, char **arguments) {
    const lilac_command command = {.name = "fuzz",
                                   .options = options,
                                   .option_count = LILAC_COUNT(options),
                                   .settings_size = sizeof(settings),
                                   .takes = takes[count % 2]};
    settings own = {0};
    lilac_common_settings common = {.cpu = LILAC_CPU_NOT_GIVEN};
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t group_count = lilac_option_groups(&command, &own, &common, groups);
    char *message = malloc(300);
    fuzz_require(message != NULL, "there is memory");
    message[0] = '\0';
    if (lilac_options_parse(groups, group_count, count, arguments, message, 300)) {
        check_settings(&own, &common);
    } else {
        fuzz_require(message[0] != '\0' && strlen(message) < 300, "a refusal has a message");
    }
    free(message);
}

static void check_numbers(const char *text) {
    double number, again;
    uint64_t whole;
    if (lilac_number_parse(text, &number)) {
        char written[LILAC_NUMBER_TEXT_SIZE];
        lilac_number_text(number, written);
        fuzz_require(lilac_number_parse(written, &again) && number == again, "a number is read as written");
    }
    if (lilac_number_parse_whole(text, &whole)) {
        fuzz_require(lilac_number_parse(text, &number) && number == (double)whole, "whole numbers are numbers");
    }
    fuzz_require(lilac_edit_distance(text, text) == 0 || strlen(text) > 63, "a word is no change from itself");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *arguments[MAX_ARGUMENTS];
    const int count = cut_arguments(data, size, arguments);
    for (int i = 0; i < count; i++) {
        check_numbers(arguments[i]);
    }
    check_options(count, arguments);
    for (int i = 0; i < count; i++) {
        free(arguments[i]);
    }
    return 0;
}
