/* SPDX-License-Identifier: MIT */
#include "bash_completion.h"

#include "common_options.h"

#include <string.h>

/* What is the same whatever the tables hold. */
static const char head[] = "# Completion for lilac in bash. Made by the program: lilac help --bash-completion\n\n"
                           "# What may follow COMMAND goes to words; what OPTION, the word before, wants to kind and,\n"
                           "# where it is a choice, to words too.\n"
                           "_lilac_describe() { # _lilac_describe COMMAND OPTION\n"
                           "    words=() kind=\n"
                           "    case $1 in\n";
static const char tail[] = "    esac\n"
                           "}\n\n"
                           "_lilac() {\n"
                           "    local word=${COMP_WORDS[COMP_CWORD]} before=$((COMP_CWORD - 1)) start=1\n"
                           "    local words kind command=\n"
                           "    # An '=' is a word of its own here: --name=value, --name key=value.\n"
                           "    if [[ $word == '=' || ${COMP_WORDS[before]} == '=' ]]; then\n"
                           "        if [[ $word == '=' ]]; then word=; else before=$((before - 1)); fi\n"
                           "        [[ ${COMP_WORDS[before]} == -* ]] || before=$((before - 1))\n"
                           "    fi\n"
                           "    [[ ${COMP_WORDS[1]} != help || $COMP_CWORD == 1 ]] || start=2\n"
                           "    if ((COMP_CWORD > start)); then\n"
                           "        command=${COMP_WORDS[start]}\n"
                           "    fi\n"
                           "    _lilac_describe \"$command\" \"${COMP_WORDS[before]}\"\n"
                           "    if [[ $kind == group ]] && ((COMP_CWORD > start + 1)); then\n"
                           "        _lilac_describe \"$command ${COMP_WORDS[start + 1]}\" \"${COMP_WORDS[before]}\"\n"
                           "    fi\n"
                           "    COMPREPLY=()\n"
                           "    case $kind in\n"
                           "    file) compopt -o default ;;\n"
                           "    folder) compopt -o dirnames ;;\n"
                           "    text) ;;\n"
                           "    *)\n"
                           "        # 'help' is followed by a command, not by options.\n"
                           "        [[ $start == 1 || -z $command || $kind == group ]] || return\n"
                           "        local candidate\n"
                           "        for candidate in \"${words[@]}\"; do\n"
                           "            if [[ $candidate == \"$word\"* ]]; then\n"
                           "                COMPREPLY+=(\"$(printf %q \"$candidate\")\")\n"
                           "            fi\n"
                           "        done\n"
                           "        ;;\n"
                           "    esac\n"
                           "}\n\n"
                           "complete -F _lilac lilac\n";

/* True if a command before number i starts with the same word. */
static bool seen_before(const lilac_command *const *commands, size_t i) {
    for (size_t j = 0; j < i; j++) {
        const size_t length = lilac_command_first_word(commands[i]);
        if (lilac_command_first_word(commands[j]) == length &&
            strncmp(commands[i]->name, commands[j]->name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* The lists of first words, and of the second words of each group. */
static void print_words(const lilac_command *const *commands, size_t count, FILE *file) {
    fputs("    '') words=(", file);
    for (size_t i = 0; i < count; i++) {
        if (!seen_before(commands, i)) {
            fprintf(file, "%.*s ", (int)lilac_command_first_word(commands[i]), commands[i]->name);
        }
    }
    fputs("help --help --version) ;;\n", file);
    for (size_t i = 0; i < count; i++) {
        const size_t length = lilac_command_first_word(commands[i]);
        if (seen_before(commands, i) || commands[i]->name[length] == '\0') {
            continue;
        }
        fprintf(file, "    %.*s) kind=group words=(", (int)length, commands[i]->name);
        for (size_t j = i; j < count; j++) {
            if (strncmp(commands[j]->name, commands[i]->name, length + 1) == 0) {
                fprintf(file, "%s ", commands[j]->name + length + 1);
            }
        }
        fputs("--help) ;;\n", file);
    }
}

/* A line of the inner case: what the value of an option may be. */
static void print_value(const lilac_option *option, FILE *file) {
    if (option->type == LILAC_OPTION_FLAG) {
        return;
    }
    fprintf(file, "        --%s", option->name);
    if (option->letter != 0) {
        fprintf(file, " | -%c", option->letter);
    }
    if (option->type == LILAC_OPTION_CHOICE) {
        fputs(") kind=choice words=(", file);
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            fprintf(file, "%s'%s'", i == 0 ? "" : " ", option->choices[i]);
        }
        fputs(") ;;\n", file);
        return;
    }
    const char *kind = "text";
    if (strstr(option->value, "FILE") != NULL) {
        kind = "file";
    } else if (strstr(option->value, "DIR") != NULL) {
        kind = "folder";
    }
    fprintf(file, ") kind=%s ;;\n", kind);
}

static void print_command(const lilac_command *command, FILE *file) {
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t group_count = lilac_option_groups(command, NULL, NULL, groups);
    fprintf(file, "    '%s')\n        words=(", command->name);
    const char *space = "";
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            fprintf(file, "%s--%s", space, groups[g].options[i].name);
            space = " ";
        }
    }
    fputs(")\n        case $2 in\n", file);
    for (size_t g = 0; g < group_count; g++) {
        for (size_t i = 0; i < groups[g].count; i++) {
            print_value(&groups[g].options[i], file);
        }
    }
    fputs("        esac\n        ;;\n", file);
}

void lilac_bash_completion(const lilac_command *const *commands, size_t count, FILE *file) {
    fputs(head, file);
    print_words(commands, count, file);
    for (size_t i = 0; i < count; i++) {
        print_command(commands[i], file);
    }
    fputs(tail, file);
}
