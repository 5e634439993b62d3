/* SPDX-License-Identifier: MIT */
#include "man_page.h"

#include "common_options.h"
#include "help.h"

#include <ctype.h>
#include <string.h>

/* What the page's source keeps to, as its readers do. */
enum { WIDTH = 76 };

/* A word of text: what would be an instruction is shielded, a dash that begins an option stays one when copied. */
static size_t print_word(const char *word, size_t length, bool line_start, FILE *file) {
    if (line_start && (word[0] == '.' || word[0] == '\'')) {
        fputs("\\&", file);
    }
    bool option = true;
    for (size_t i = 0; i < length; i++) {
        option = option && strchr("(-'", word[i]) != NULL;
        if (word[i] == '\\') {
            fputs("\\e", file);
        } else if (word[i] == '-' && option) {
            fputs("\\-", file);
        } else {
            fputc(word[i], file);
        }
    }
    return length;
}

/* Sentences, each from a line of its own on: the formatter then knows where they end. */
static void print_text(const char *text, FILE *file) {
    size_t column = 0;
    bool sentence_end = false;
    while (*text != '\0') {
        const size_t length = strcspn(text, " ");
        if (column > 0 && (sentence_end || column + 1 + length > WIDTH)) {
            fputc('\n', file);
            column = 0;
        } else if (column > 0) {
            fputc(' ', file);
            column++;
        }
        column += print_word(text, length, column == 0, file);
        const bool ended = strchr(".!?", text[length - 1]) != NULL;
        text += length;
        text += strspn(text, " ");
        sentence_end = ended && isupper((unsigned char)*text);
    }
    fputc('\n', file);
}

static void print_option(const lilac_option *option, FILE *file) {
    char value[256], text[1024];
    fputs(".It ", file);
    if (option->letter != 0) {
        fprintf(file, "Fl %c , ", option->letter);
    }
    fprintf(file, "Fl \\-%s", option->name);
    lilac_option_value_text(option, value, sizeof value);
    if (value[0] != '\0') {
        fprintf(file, " Ar %s", value);
    }
    fputc('\n', file);
    lilac_help_option_text(option, text, sizeof text);
    text[0] = (char)toupper((unsigned char)text[0]);
    print_text(text, file);
}

/* nested: text stands above it in its section. */
static void print_options(const lilac_option_group *group, bool nested, FILE *file) {
    for (size_t i = 0; i < group->count; i++) {
        const char *heading = group->options[i].heading;
        if (i > 0 && heading != NULL) {
            fputs(".El\n", file);
        }
        if (heading != NULL) {
            fputs(i > 0 || nested ? ".Pp\n" : "", file);
            print_text(heading, file);
        }
        if (i == 0 || heading != NULL) {
            fputs(".Bl -tag -width Ds\n", file);
        }
        print_option(&group->options[i], file);
    }
    if (group->count > 0) {
        fputs(".El\n", file);
    }
}

/* "Common options: --seed, --threads." */
static void print_common(const lilac_option_group *groups, size_t count, FILE *file) {
    fputs(".Pp\nCommon options:\n", file);
    for (size_t g = 0; g < count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            const bool last = g + 1 == count && i + 1 == groups[g].count;
            fprintf(file, ".Fl \\-%s %s\n", groups[g].options[i].name, last ? "." : ",");
        }
    }
}

static void print_example(const char *example, FILE *file) {
    fputs(".Bd -literal -offset indent\n", file);
    while (*example != '\0') {
        const size_t length = strcspn(example, "\n");
        for (size_t i = 0; i < length; i++) {
            if (example[i] == '\\' || example[i] == '-') {
                fputs(example[i] == '-' ? "\\-" : "\\e", file);
            } else if (i == 0 && example[i] == '.') {
                fputs("\\&.", file);
            } else {
                fputc(example[i], file);
            }
        }
        fputc('\n', file);
        example += length + (example[length] == '\n');
    }
    fputs(".Ed\n", file);
}

static void print_command(const lilac_command *command, FILE *file) {
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t count = lilac_option_groups(command, NULL, NULL, groups);
    fprintf(file, ".Ss lilac %s\n", command->name);
    print_text(command->description, file);
    print_options(&groups[0], true, file);
    print_common(groups + 1, count - 1, file);
    print_example(command->example, file);
}

/* Every group of options that commands share. */
static void print_common_options(FILE *file) {
    const lilac_command all = {.takes = LILAC_TAKES_COMPUTE | LILAC_TAKES_SEED | LILAC_TAKES_DATA |
                                        LILAC_TAKES_TRAINING | LILAC_TAKES_LORA | LILAC_TAKES_SAMPLING |
                                        LILAC_TAKES_TEST_IMAGES | LILAC_TAKES_MODELS | LILAC_TAKES_STRENGTH};
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t count = lilac_option_groups(&all, NULL, NULL, groups);
    for (size_t g = 1; g < count; g++) {
        print_options(&groups[g], g > 1, file);
    }
}

void lilac_man_page(const lilac_command *const *commands, size_t count, FILE *file) {
    fputs(".\\\" Made by the program: lilac help --man\n"
          ".Dd November 25, 2026\n"
          ".Dt LILAC 1\n"
          ".Os Lilac " LILAC_VERSION "\n"
          ".Sh NAME\n"
          ".Nm lilac\n"
          ".Nd linear attention and low-rank adaptation on ordinary processors\n"
          ".Sh SYNOPSIS\n"
          ".Nm\n.Ar command\n.Op Ar option ...\n"
          ".Nm\n.Cm help\n.Op Ar command\n"
          ".Nm\n.Cm help\n.Fl \\-man | \\-bash-completion\n"
          ".Nm\n.Fl \\-version\n"
          ".Sh DESCRIPTION\n"
          "Trains, runs and adapts small sequence models and classifiers.\n"
          "Options follow the command, as\n"
          ".Fl \\-name Ar value\n"
          "or\n"
          ".Fl \\-name Ns = Ns Ar value ;\n"
          "a file, or another text, can be given once, of other values the last counts.\n"
          "Results go to standard output, progress, notes and errors to standard error.\n"
          "A file is written whole or not at all.\n"
          ".Pp\n"
          "Where Lilac is not installed,\n"
          ".Ql source <(lilac help \\-\\-bash\\-completion)\n"
          "lets bash complete its commands, options and files.\n"
          ".Sh COMMANDS\n",
          file);
    for (size_t i = 0; i < count; i++) {
        print_command(commands[i], file);
    }
    fputs(".Sh COMMON OPTIONS\n", file);
    print_common_options(file);
    fputs(".Sh ENVIRONMENT\n"
          ".Bl -tag -width Ds\n"
          ".It Ev LILAC_DATA\nThe folder with the MNIST files, unless\n.Fl \\-data\nnames one.\n"
          ".It Ev LILAC_CPU\nThe highest level of instructions to use: scalar, avx2 or avx512.\n"
          ".El\n"
          ".Sh FILES\n"
          ".Bl -tag -width Ds\n"
          ".It Pa data/mnist\nThe folder with the MNIST files, where neither\n.Fl \\-data\nnor\n"
          ".Ev LILAC_DATA\nnames one: below the current folder or the clone that the program was built in.\n"
          ".It Pa models/linear.safetensors , models/softmax.safetensors\nTrained transformers, which the "
          "report is reproduced with: below the\ncurrent folder, the clone that the program was built in, or\n"
          ".Pa share/lilac\nof the installation.\n"
          ".El\n"
          ".Sh EXIT STATUS\n"
          "0: success.\n"
          "1: the work failed.\n"
          "2: the command line is wrong.\n"
          "128 and the number of a signal: it was interrupted.\n",
          file);
}
