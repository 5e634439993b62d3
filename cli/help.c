/* SPDX-License-Identifier: MIT */
#include "help.h"

#include "common_options.h"

#include <string.h>

/* What every terminal shows. */
enum { WIDTH = 80 };

void lilac_help_wrap(const char *text, size_t column, size_t indent, size_t width, FILE *file) {
    bool first = true;
    while (*text != '\0') {
        const size_t length = strcspn(text, " ");
        if (!first && column + 1 + length > width) {
            fprintf(file, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', file);
            column++;
        }
        fprintf(file, "%.*s", (int)length, text);
        column += length;
        first = false;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', file);
}

void lilac_help_overview(const lilac_command *const *commands, size_t count, const char *group, FILE *file) {
    fprintf(file, "usage: lilac %s%sCOMMAND [OPTION...]\n\n", group == NULL ? "" : group, group == NULL ? "" : " ");
    if (group == NULL) {
        fputs("Linear attention and low-rank adaptation on ordinary processors.\n", file);
    }
    if (group != NULL) {
        fputs("Commands:\n", file);
    }
    size_t widest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(commands[i]->name);
        widest = (group == NULL || lilac_command_in_group(commands[i], group)) && length > widest ? length : widest;
    }
    for (size_t i = 0; i < count; i++) {
        if (group == NULL && commands[i]->heading != NULL) {
            fprintf(file, "\n%s:\n", commands[i]->heading);
        }
        if (group == NULL || lilac_command_in_group(commands[i], group)) {
            fprintf(file, "  %-*s  ", (int)widest, commands[i]->name);
            lilac_help_wrap(commands[i]->summary, widest + 4, widest + 4, WIDTH, file);
        }
    }
    if (group != NULL) {
        fprintf(file, "\n'lilac %s COMMAND --help' explains one of them.\n", group);
        return;
    }
    fputs("\nTo begin with:\n"
          "    lilac info                                       # what this machine offers\n"
          "    lilac train --bytes FILE --minutes 5 -o MODEL    # learn from any file,\n"
          "    lilac generate --model MODEL --prompt 'The '     # and go on with a text\n"
          "    lilac reproduce all --quick                      # the report, measured here\n"
          "\n'lilac COMMAND --help' explains a command, 'lilac --version' tells the version.\n",
          file);
}

/* "--output FILE", with the short form before it. */
static void option_label(const lilac_option *option, char *label, size_t size) {
    char value[256];
    lilac_option_value_text(option, value, sizeof value);
    char letter[8] = "";
    if (option->letter != 0) {
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    }
    snprintf(label, size, "%s--%s%s%s", letter, option->name, value[0] == '\0' ? "" : " ", value);
}

void lilac_help_option_text(const lilac_option *option, char *text, size_t size) {
    char range[96] = "";
    if (option->type == LILAC_OPTION_INTEGER || option->type == LILAC_OPTION_NUMBER) {
        snprintf(range, sizeof range, "%.10g to %.10g", option->minimum, option->maximum);
    } else if (option->type == LILAC_OPTION_SIZES) {
        snprintf(range, sizeof range, "%.10g to %.10g each", option->minimum, option->maximum);
    } else if (option->type == LILAC_OPTION_NAMES || option->type == LILAC_OPTION_NAMED) {
        snprintf(range, sizeof range, "may be given several times");
    }
    char value[256] = "";
    const char *initial = option->initial_note != NULL ? option->initial_note : option->initial;
    if (option->required) {
        snprintf(value, sizeof value, "required");
    } else if (initial != NULL) {
        snprintf(value, sizeof value, "default: %s", initial);
    }
    const bool both = range[0] != '\0' && value[0] != '\0';
    const bool any = range[0] != '\0' || value[0] != '\0';
    snprintf(text, size, "%s%s%s%s%s%s", option->help, any ? " (" : "", range, both ? "; " : "", value, any ? ")" : "");
}

static void print_options(const lilac_option_group *group, size_t column, FILE *file) {
    for (size_t i = 0; i < group->count; i++) {
        char label[300], text[1024];
        if (group->options[i].heading != NULL) {
            fprintf(file, "\n%s:\n", group->options[i].heading);
        }
        option_label(&group->options[i], label, sizeof label);
        lilac_help_option_text(&group->options[i], text, sizeof text);
        fprintf(file, "  %-*s", (int)column - 2, label);
        /* A label too long for its column gets a line of its own. */
        if (strlen(label) + 4 > column) {
            fprintf(file, "\n%*s", (int)column, "");
        }
        lilac_help_wrap(text, column, column, WIDTH, file);
    }
}

void lilac_help_command(const lilac_command *command, FILE *file) {
    enum { NARROWEST = 12, WIDEST = 32 };
    fprintf(file, "usage: lilac %s [OPTION...]\n\n", command->name);
    lilac_help_wrap(command->description, 0, 0, WIDTH, file);
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t group_count = lilac_option_groups(command, NULL, NULL, groups);
    size_t column = NARROWEST;
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            char label[300];
            option_label(&groups[g].options[i], label, sizeof label);
            const size_t needed = strlen(label) + 4;
            column = needed > column && needed <= WIDEST ? needed : column;
        }
    }
    for (size_t g = 0; g < group_count; g++) {
        if (groups[g].title != NULL && groups[g].count > 0 && groups[g].options[0].heading == NULL) {
            fprintf(file, "\n%s:\n", groups[g].title);
        }
        print_options(&groups[g], column, file);
    }
    fputs("\nExample:\n", file);
    for (const char *line = command->example; *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        fprintf(file, "  %.*s\n", (int)length, line);
        line += length + (line[length] == '\n');
    }
}
