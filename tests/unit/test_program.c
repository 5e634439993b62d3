/* SPDX-License-Identifier: MIT */
/* Tests of what the program is made of: options, suggestions, help, tables, the progress line. */
#include "common_options.h"
#include "help.h"
#include "lora_tables.h"
#include "options.h"
#include "progress.h"
#include "suggest.h"
#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

typedef struct settings {
    bool flag, alone, dark, many;
    int integer, choice;
    uint64_t number;
    double real, shade;
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
     .minimum = -5,
     .maximum = 50},
    {.name = "colour",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(settings, choice),
     .initial = "green",
     .choices = colours},
    {.name = "number", .type = LILAC_OPTION_UNSIGNED, .offset = offsetof(settings, number), .value = "N"},
    {.name = "real",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(settings, real),
     .value = "X",
     .initial = "0.5",
     .minimum = 0,
     .maximum = 1},
    {.name = "text",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(settings, text),
     .value = "FILE",
     .help = "a file",
     .required = true},
    {.name = "sizes",
     .type = LILAC_OPTION_SIZES,
     .offset = offsetof(settings, sizes),
     .value = "N,...",
     .initial = "64,32",
     .minimum = 1,
     .maximum = 100},
    {.name = "use", .type = LILAC_OPTION_NAMES, .offset = offsetof(settings, names), .value = "NAME"},
    {.name = "pair", .type = LILAC_OPTION_NAMED, .offset = offsetof(settings, pairs), .value = "NAME=FILE"},
    {.name = "shade",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(settings, shade),
     .value = "X",
     .maximum = 1,
     .with = "no-such-option colour flag",
     .without = "use pair"},
    {.name = "alone", .type = LILAC_OPTION_FLAG, .offset = offsetof(settings, alone), .with = "no-such-option"},
    {.name = "dark",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(settings, dark),
     .with = "colour=red colour=blue",
     .without = "no-such-option=1 integer=7"},
    {.name = "many", .type = LILAC_OPTION_FLAG, .offset = offsetof(settings, many), .without = "colour=red"},
};

enum { OPTION_COUNT = sizeof options / sizeof options[0], MAX_WORDS = 80 };

static settings parsed;
static char message[512];
static char line[2048];

/* Parses the words of a line; '_' stands for an empty word. */
static bool parse(const char *text) {
    char *words[MAX_WORDS];
    int count = 0;
    snprintf(line, sizeof line, "%s", text);
    for (char *word = strtok(line, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_in_range(count, 0, MAX_WORDS - 1);
        words[count++] = word;
    }
    memset(&parsed, 0, sizeof parsed);
    message[0] = '\0';
    const lilac_option_group group = {NULL, options, OPTION_COUNT, &parsed};
    return lilac_options_parse(&group, 1, count, words, message, sizeof message);
}

static void assert_rejected(const char *text, const char *expected) {
    assert_false(parse(text));
    assert_string_equal(message, expected);
}

static void test_defaults(void **state) {
    (void)state;
    assert_true(parse("--text a"));
    assert_false(parsed.flag);
    assert_int_equal(parsed.integer, 7);
    assert_int_equal(parsed.choice, 1);
    assert_true(parsed.number == 0);
    assert_true(parsed.real == 0.5);
    assert_int_equal(parsed.sizes.count, 2);
    assert_int_equal(parsed.sizes.item[0], 64);
    assert_int_equal(parsed.sizes.item[1], 32);
    assert_int_equal(parsed.names.count, 0);
}

static void test_values(void **state) {
    (void)state;
    assert_true(parse("-f -i -5 --colour=blue --number 18446744073709551615 --real 1e-3 --text=a=b --sizes 1,2,100 "
                      "--use x --use y --pair a=b --pair=c=d=e"));
    assert_true(parsed.flag);
    assert_int_equal(parsed.integer, -5);
    assert_int_equal(parsed.choice, 2);
    assert_true(parsed.number == UINT64_MAX);
    assert_true(parsed.real == 1e-3);
    assert_string_equal(parsed.text, "a=b");
    assert_int_equal(parsed.sizes.count, 3);
    assert_int_equal(parsed.sizes.item[2], 100);
    assert_int_equal(parsed.names.count, 2);
    assert_string_equal(parsed.names.item[1].name, "y");
    assert_int_equal(parsed.pairs.count, 2);
    assert_string_equal(parsed.pairs.item[0].name, "a");
    assert_string_equal(parsed.pairs.item[0].value, "b");
    assert_string_equal(parsed.pairs.item[1].name, "c");
    assert_string_equal(parsed.pairs.item[1].value, "d=e");
    /* The last one counts. */
    assert_true(parse("--text a --integer 1 --integer=2"));
    assert_int_equal(parsed.integer, 2);
}

static void test_wrong_values(void **state) {
    (void)state;
    assert_rejected("--text a --integer 51", "--integer: expected a whole number from -5 to 50, got '51'");
    assert_rejected("--text a --integer 99999999999999999999",
                    "--integer: expected a whole number from -5 to 50, got '99999999999999999999'");
    assert_rejected("--text a --integer 1x", "--integer: expected a whole number from -5 to 50, got '1x'");
    assert_rejected("--text a --integer=", "--integer: expected a whole number from -5 to 50, got ''");
    assert_rejected("--text a --number -1",
                    "--number: expected a whole number from 0 to 18446744073709551615, got '-1'");
    assert_rejected("--text a --number 18446744073709551616",
                    "--number: expected a whole number from 0 to 18446744073709551615, got '18446744073709551616'");
    assert_rejected("--text a --real 1.5", "--real: expected a number from 0 to 1, got '1.5'");
    assert_rejected("--text a --real nan", "--real: expected a number from 0 to 1, got 'nan'");
    assert_rejected("--text a --real inf", "--real: expected a number from 0 to 1, got 'inf'");
    assert_rejected("--text a --integer -6", "--integer: expected a whole number from -5 to 50, got '-6'");
    assert_rejected("--text a --real 0x1p-1", "--real: expected a number from 0 to 1, got '0x1p-1'");
    assert_rejected("--text a --colour bleu",
                    "--colour: expected one of red|green|blue, got 'bleu'; did you mean 'blue'?");
    assert_rejected("--text a --colour ultraviolet", "--colour: expected one of red|green|blue, got 'ultraviolet'");
    assert_rejected("--text=", "--text: expected FILE, got an empty text");
    assert_rejected("--text a --sizes 1,,2", "--sizes: expected a whole number from 1 to 100, got ''");
    assert_rejected("--text a --sizes 1,101", "--sizes: expected a whole number from 1 to 100, got '101'");
    assert_rejected("--text a --pair ab", "--pair: expected NAME=FILE, got 'ab'");
    assert_rejected("--text a --pair a=", "--pair: expected NAME=FILE, got 'a='");
    assert_rejected("--text a --pair =b", "--pair: expected NAME=FILE, got '=b'");
    assert_rejected("--text a --pair a=b --pair a=c", "--pair: 'a' is named twice");
    assert_rejected("--text a --use a --use a", "--use: 'a' is named twice");
}

static void test_combinations(void **state) {
    (void)state;
    assert_true(parse("--text a --shade 0.5 --flag"));
    assert_true(parse("--colour red --text a --shade 0.5"));
    /* What the command does not have cannot be asked for. */
    assert_true(parse("--text a --alone"));
    /* A default is not given. */
    assert_rejected("--text a --shade 0.5", "--shade does nothing without --colour red|green|blue: give that too, or "
                                            "leave --shade out");
    assert_rejected("--text a --flag --shade 0.5 --pair a=b",
                    "--shade cannot be combined with --pair: leave one of them out");
    /* Values count whether they are given or not. */
    assert_true(parse("--text a --dark --colour blue --integer 8"));
    assert_true(parse("--text a --dark --colour red --integer -5"));
    assert_true(parse("--text a --many --colour blue"));
    assert_rejected("--text a --dark --integer 8",
                    "--dark does nothing without --colour red: give that too, or leave --dark out");
    assert_rejected("--text a --dark --colour red",
                    "--dark cannot be combined with --integer 7: leave one of them out");
    assert_rejected("--text a --many --colour red",
                    "--many cannot be combined with --colour red: leave one of them out");
}

/* The option of that name, whose length is given, among all groups; NULL if there is none. */
static const lilac_option *named(const lilac_option_group *groups, size_t count, const char *name, size_t length) {
    for (size_t g = 0; g < count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            const lilac_option *option = &groups[g].options[i];
            if (strlen(option->name) == length && strncmp(option->name, name, length) == 0) {
                return option;
            }
        }
    }
    return NULL;
}

static bool some_command_has(const char *name, size_t length) {
    bool found = false;
    for (size_t c = 0; c < lilac_command_count; c++) {
        lilac_option_group groups[LILAC_GROUPS_MAX];
        const size_t count = lilac_option_groups(lilac_commands[c], NULL, NULL, groups);
        found = found || named(groups, count, name, length) != NULL;
    }
    return found;
}

static bool can_be(const lilac_option *option, const char *value, size_t length) {
    if (option->type == LILAC_OPTION_INTEGER) {
        return atoi(value) >= option->minimum && atoi(value) <= option->maximum;
    }
    bool found = false;
    for (size_t i = 0; option->type == LILAC_OPTION_CHOICE && option->choices[i] != NULL; i++) {
        found = found || (strlen(option->choices[i]) == length && strncmp(option->choices[i], value, length) == 0);
    }
    return found;
}

/* A name that is misspelt there would never hold. */
static void check_conditions(const lilac_option_group *groups, size_t count, const char *names) {
    while (names != NULL && *names != '\0') {
        const size_t length = strcspn(names, " "), name = strcspn(names, " =");
        const lilac_option *option = named(groups, count, names, name);
        if (!some_command_has(names, name)) {
            fail_msg("no command has an option --%.*s", (int)name, names);
        }
        if (option != NULL && name < length && !can_be(option, names + name + 1, length - name - 1)) {
            fail_msg("--%.*s is no value of that option", (int)length, names);
        }
        names += length + strspn(names + length, " ");
    }
}

static void test_tables_of_commands(void **state) {
    (void)state;
    for (size_t c = 0; c < lilac_command_count; c++) {
        lilac_option_group groups[LILAC_GROUPS_MAX];
        const size_t count = lilac_option_groups(lilac_commands[c], NULL, NULL, groups);
        assert_in_range(count, 1, LILAC_GROUPS_MAX);
        bool letters[256] = {false};
        for (size_t g = 0; g < count; g++) {
            for (size_t i = 0; i < groups[g].count; i++) {
                const lilac_option *option = &groups[g].options[i];
                if (named(groups, count, option->name, strlen(option->name)) != option) {
                    fail_msg("%s has two options --%s", lilac_commands[c]->name, option->name);
                }
                bool *letter = &letters[(unsigned char)option->letter];
                assert_false(option->letter != 0 && *letter);
                *letter = true;
                check_conditions(groups, count, option->with);
                check_conditions(groups, count, option->without);
            }
        }
    }
}

static void test_wrong_options(void **state) {
    (void)state;
    assert_rejected("--txt a", "unknown option '--txt'; did you mean '--text'?");
    assert_rejected("--nubmer=3", "unknown option '--nubmer'; did you mean '--number'?");
    assert_rejected("--sha 1", "unknown option '--sha'; did you mean '--shade'?");
    assert_rejected("--nothing-like-it=3", "unknown option '--nothing-like-it'");
    assert_rejected("-z", "unknown option '-z'");
    assert_rejected("--", "unknown option '--'");
    assert_rejected("-", "unexpected argument '-': options start with --");
    assert_rejected("file", "unexpected argument 'file': options start with --");
    assert_rejected("--flag=yes", "--flag takes no value, got 'yes'");
    assert_rejected("--text", "--text needs a value: --text FILE");
    assert_rejected("--text --flag", "--text needs a value: --text FILE");
    assert_rejected("--flag", "--text FILE is missing: a file");
    char many[1024];
    memset(many, 'x', sizeof many);
    memcpy(many, "--", 2);
    many[sizeof many - 1] = '\0';
    assert_false(parse(many));
}

static void test_too_many_values(void **state) {
    (void)state;
    char text[2048] = "--text a --sizes 1";
    for (int i = 1; i < LILAC_SIZES_MAX; i++) {
        strcat(text, ",1");
    }
    assert_true(parse(text));
    strcat(text, ",1");
    assert_false(parse(text));
    assert_non_null(strstr(message, "at most 32"));
    snprintf(text, sizeof text, "--text a");
    for (int i = 0; i < LILAC_NAMED_MAX; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), " --use n%d", i);
    }
    assert_true(parse(text));
    strcat(text, " --use more");
    assert_rejected(text, "--use: can be given 32 times at most");
}

static void test_edit_distance(void **state) {
    (void)state;
    assert_int_equal(lilac_edit_distance("", ""), 0);
    assert_int_equal(lilac_edit_distance("abc", ""), 3);
    assert_int_equal(lilac_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(lilac_edit_distance("threads", "thraeds"), 1);
    assert_int_equal(lilac_edit_distance("seed", "sed"), 1);
    char longest[64], longer[65];
    memset(longest, 'a', sizeof longest);
    memset(longer, 'a', sizeof longer);
    longest[63] = longer[64] = '\0';
    assert_int_equal(lilac_edit_distance(longest, ""), 63);
    assert_int_equal(lilac_edit_distance(longer, longer), 64);
}

/* What a function printed to a temporary file. */
static void read_back(FILE *file, char *text, size_t size) {
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void test_table(void **state) {
    (void)state;
    lilac_table *table = lilac_table_create("lr");
    lilac_table_cell(table, "rank");
    lilac_table_cell(table, "accuracy");
    lilac_table_rule(table);
    lilac_table_cell(table, "%d", 64);
    lilac_table_cell(table, "%.1f \u00b1 %.1f", 91.25, 0.5);
    lilac_table_cell(table, "long name");
    lilac_table_cell(table, "1");
    lilac_table_cell(table, "alone");
    lilac_table_rule(table);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_true(lilac_table_print(table, file));
    char text[512];
    read_back(file, text, sizeof text);
    assert_string_equal(text, "rank         accuracy\n"
                              "---------------------\n"
                              "64         91.2 \u00b1 0.5\n"
                              "long name           1\n"
                              "alone\n"
                              "---------------------\n");
    lilac_table_destroy(table);
    lilac_table_destroy(NULL);
    assert_false(lilac_table_print(NULL, stdout));
}

static void test_table_grows(void **state) {
    (void)state;
    lilac_table *table = lilac_table_create("r");
    for (int i = 0; i < 1000; i++) {
        lilac_table_cell(table, "%d", i);
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_true(lilac_table_print(table, file));
    static char text[8192];
    read_back(file, text, sizeof text);
    assert_int_equal(strlen(text), 4000);
    assert_non_null(strstr(text, "\n  9\n 10\n"));
    lilac_table_destroy(table);
}

static void test_wrap(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    lilac_help_wrap("one two three four a-word-that-fits-nowhere five", 4, 2, 13, file);
    char text[512];
    read_back(file, text, sizeof text);
    assert_string_equal(text, "one two\n  three four\n  a-word-that-fits-nowhere\n  five\n");
}

static void test_duration(void **state) {
    (void)state;
    char text[64];
    lilac_duration_text(-1, text, sizeof text);
    assert_string_equal(text, "0 s");
    lilac_duration_text(59.4, text, sizeof text);
    assert_string_equal(text, "59 s");
    lilac_duration_text(59.6, text, sizeof text);
    assert_string_equal(text, "1 min 00 s");
    lilac_duration_text(185, text, sizeof text);
    assert_string_equal(text, "3 min 05 s");
    lilac_duration_text(7800, text, sizeof text);
    assert_string_equal(text, "2 h 10 min");
}

static void test_progress_text(void **state) {
    (void)state;
    char text[256];
    lilac_progress progress = {.stage = "training", .done = 25, .total = 100};
    lilac_progress_bar_text(&progress, "", 0, 10, 80, text, sizeof text);
    assert_string_equal(text, "training  [######..................]  25%  30 s left");
    /* Only what was done since the start tells how fast it goes. */
    lilac_progress_bar_text(&progress, "", 20, 10, 80, text, sizeof text);
    assert_string_equal(text, "training  [######..................]  25%  2 min 30 s left");
    lilac_progress_bar_text(&progress, "", 0, 0.5, 80, text, sizeof text);
    assert_string_equal(text, "training  [######..................]  25%");
    lilac_progress_bar_text(&progress, "", 25, 10, 80, text, sizeof text);
    assert_string_equal(text, "training  [######..................]  25%");
    /* A narrow terminal: the bar shrinks and goes, and only then is the line cut. */
    lilac_progress_bar_text(&progress, "", 0, 10, 36, text, sizeof text);
    assert_string_equal(text, "training  [##......]  25%  30 s left");
    lilac_progress_bar_text(&progress, "", 0, 10, 31, text, sizeof text);
    assert_string_equal(text, "training  25%  30 s left");
    lilac_progress_bar_text(&progress, "", 0, 10, 13, text, sizeof text);
    assert_string_equal(text, "training  25%");
    progress.done = 100;
    lilac_progress_bar_text(&progress, "", 0, 10, 80, text, sizeof text);
    assert_string_equal(text, "training  [########################] 100%");
    progress.total = 0;
    lilac_progress_bar_text(&progress, "", 0, 10, 80, text, sizeof text);
    assert_string_equal(text, "training  100");
}

/* What `lilac train` shows behind the bar is there on 80 columns, of which one is left free. */
static void test_progress_detail(void **state) {
    (void)state;
    static const char detail[] = "1.234 bits, 13.3k tokens/s, 61% of peak";
    static const struct {
        size_t width;
        const char *text;
    } lines[] = {
        {120, "training  [######..................]  25%  10 min 30 s left  1.234 bits, 13.3k tokens/s, 61% of peak"},
        {79, "training  25%  10 min 30 s left  1.234 bits, 13.3k tokens/s, 61% of peak"},
        {67, "training  [#...]  25%  10 min 30 s left  1.234 bits, 13.3k tokens/s"},
        {60, "training  25%  10 min 30 s left  1.234 bits, 13.3k tokens/s"},
        {58, "training  [##.........]  25%  10 min 30 s left  1.234 bits"},
        {42, "training  [#......]  25%  10 min 30 s left"},
        {13, "training  25%"},
    };
    const lilac_progress progress = {.stage = "training", .done = 25, .total = 100};
    char text[256];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        lilac_progress_bar_text(&progress, detail, 0, 210, lines[i].width, text, sizeof text);
        assert_string_equal(text, lines[i].text);
    }
    const lilac_progress uncounted = {.stage = "reading", .done = 12};
    lilac_progress_bar_text(&uncounted, "(all: 3 s left)", 0, 10, 40, text, sizeof text);
    assert_string_equal(text, "reading  12  (all: 3 s left)");
    lilac_progress_bar_text(&uncounted, "(all: 3 s left)", 0, 10, 20, text, sizeof text);
    assert_string_equal(text, "reading  12");
}

/* Prints the LoRA tables of figures that are all 90, but for some. */
static void print_lora_tables(size_t hidden, size_t seeds, char *text, size_t size) {
    static lilac_lora_figures figures[2];
    lilac_lora_table table = {.config = {.hidden = hidden, .seed_count = seeds, .seed = 1},
                              .base_parameters = 55050,
                              .figures = figures,
                              .seconds = 61};
    for (size_t s = 0; s < 2; s++) {
        figures[s] = (lilac_lora_figures){.base_validation = 90, .base = 90};
        for (size_t v = 0; v < LILAC_LORA_VARIANT_COUNT; v++) {
            figures[s].full[v] = 90;
            for (size_t l = 0; l < LILAC_LORA_LAYER_COUNT; l++) {
                figures[s].change_rank[v][l] = 60 + s;
            }
        }
        for (size_t i = 0; i < LILAC_LORA_RANK_COUNT; i++) {
            for (size_t v = 0; v < LILAC_LORA_INPUT_COUNT; v++) {
                figures[s].scratch[i][v] = 90 + (double)s;
            }
        }
    }
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(lilac_lora_tables_print(NULL, &table, file), LILAC_OK);
    read_back(file, text, size);
}

static void assert_line(const char *text, const char *expected_line) {
    char line_with_ends[256];
    snprintf(line_with_ends, sizeof line_with_ends, "\n%s\n", expected_line);
    if (strstr(text, line_with_ends) == NULL) {
        fail_msg("no line '%s' in:\n%s", expected_line, text);
    }
}

static void test_lora_tables(void **state) {
    (void)state;
    static char text[16384];
    print_lora_tables(64, 2, text, sizeof text);
    assert_ptr_equal(strstr(text, "Width 64, 55050 weights, 2 seeds from 1 on; took 1 min 01 s\n"), text);
    /* 90 is more than a point from the report's 93.20, and that is marked. */
    assert_line(text, "test images                 90.00 \u00b1 0.00*   93.20");
    assert_line(
        text,
        "all weights     55050  90.00 \u00b1 0.00*   93.57  90.00 \u00b1 0.00    91.97  90.00 \u00b1 0.00*   76.41");
    assert_line(text, "64        0  90.50 \u00b1 0.71        -  90.50 \u00b1 0.71    91.66  90.50 \u00b1 0.71    91.85 "
                      " 90.50 \u00b1 0.71*   86.01");
    assert_line(text, "layer 1   60 to 61  60 to 61  60 to 61       -");
    assert_line(text, "* more than 3 points from the report's figure, which is one run's (r = 1, 2: 3; base: 1)");
    /* Another width, one seed: nothing was published, and there is no spread. */
    print_lora_tables(65, 1, text, sizeof text);
    assert_ptr_equal(strstr(text, "Width 65, 55050 weights, 1 seed from 1 on; took 1 min 01 s\n"), text);
    assert_line(text, "test images                 90.00        -");
    assert_line(text, "layer 1         60       60        60       -");
    assert_null(strchr(text, '*'));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_tables_of_commands),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_too_many_values),
        cmocka_unit_test(test_edit_distance),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_grows),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_progress_text),
        cmocka_unit_test(test_progress_detail),
        cmocka_unit_test(test_lora_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
