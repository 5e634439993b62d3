/* SPDX-License-Identifier: MIT */
/* The lilac program: finds the command that the arguments name, and runs it. */
#include "bash_completion.h"
#include "command.h"
#include "help.h"
#include "man_page.h"
#include "session.h"
#include "signals.h"
#include "suggest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>

static bool is_group(const char *word) {
    for (size_t i = 0; i < lilac_command_count; i++) {
        if (lilac_command_in_group(lilac_commands[i], word)) {
            return true;
        }
    }
    return false;
}

/* The command named by the first one or two words, and how many these are; NULL if there is none. */
static const lilac_command *find_command(int count, char **words, int *used) {
    for (size_t i = 0; i < lilac_command_count && count > 0; i++) {
        const char *name = lilac_commands[i]->name;
        const size_t length = lilac_command_first_word(lilac_commands[i]);
        if (strlen(words[0]) != length || strncmp(words[0], name, length) != 0) {
            continue;
        }
        if (name[length] == '\0') {
            *used = 1;
            return lilac_commands[i];
        }
        if (count > 1 && strcmp(words[1], name + length + 1) == 0) {
            *used = 2;
            return lilac_commands[i];
        }
    }
    return NULL;
}

/* "a command is missing: train, eval, merge or info" */
static void print_missing(const char *group) {
    size_t left = 0;
    for (size_t i = 0; i < lilac_command_count; i++) {
        left += lilac_command_in_group(lilac_commands[i], group);
    }
    fprintf(stderr, "lilac %s: a command is missing: ", group);
    for (size_t i = 0; i < lilac_command_count; i++) {
        if (lilac_command_in_group(lilac_commands[i], group)) {
            left--;
            fprintf(stderr, "%s%s", lilac_commands[i]->name + lilac_command_first_word(lilac_commands[i]) + 1,
                    left > 1 ? ", " : (left == 1 ? " or " : ""));
        }
    }
}

/* A first word that names a group, with a second word that names none of its commands. */
static int unknown_in_group(int count, char **words) {
    lilac_suggestion suggestion = {0};
    if (count == 1) {
        print_missing(words[0]);
    } else {
        fprintf(stderr, "lilac %s: unknown command '%s'", words[0], words[1]);
        for (size_t i = 0; i < lilac_command_count; i++) {
            if (lilac_command_in_group(lilac_commands[i], words[0])) {
                lilac_suggest_consider(&suggestion, words[1],
                                       lilac_commands[i]->name + lilac_command_first_word(lilac_commands[i]) + 1);
            }
        }
    }
    if (suggestion.best != NULL) {
        fprintf(stderr, "; did you mean '%s %s'?", words[0], suggestion.best);
    }
    fprintf(stderr, "\nTry 'lilac %s --help'.\n", words[0]);
    return LILAC_EXIT_USAGE;
}

static int unknown_command(int count, char **words) {
    if (is_group(words[0])) {
        return unknown_in_group(count, words);
    }
    lilac_suggestion suggestion = {0};
    lilac_suggest_consider(&suggestion, words[0], "--version");
    lilac_suggest_consider(&suggestion, words[0], "--help");
    for (size_t i = 0; i < lilac_command_count; i++) {
        lilac_suggestion here = {0};
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)lilac_command_first_word(lilac_commands[i]), lilac_commands[i]->name);
        lilac_suggest_consider(&here, words[0], word);
        if (here.best != NULL && (suggestion.best == NULL || here.distance < suggestion.distance)) {
            suggestion = (lilac_suggestion){lilac_commands[i]->name, here.distance};
        }
    }
    fprintf(stderr, "lilac: unknown command '%s'", words[0]);
    if (suggestion.best != NULL) {
        fprintf(stderr, "; did you mean '%.*s'?", (int)strcspn(suggestion.best, " "), suggestion.best);
    } else if (words[0][0] == '-') {
        fputs(": options come after the command", stderr);
    }
    fputs("\nTry 'lilac --help'.\n", stderr);
    return LILAC_EXIT_USAGE;
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Prints the help that the words ask for. */
static int help(int count, char **words) {
    int used = 0;
    if (count == 1 && strcmp(words[0], "--man") == 0) {
        lilac_man_page(lilac_commands, lilac_command_count, stdout);
        return LILAC_EXIT_SUCCESS;
    }
    if (count == 1 && strcmp(words[0], "--bash-completion") == 0) {
        lilac_bash_completion(lilac_commands, lilac_command_count, stdout);
        return LILAC_EXIT_SUCCESS;
    }
    const lilac_command *command = find_command(count, words, &used);
    if (command != NULL) {
        lilac_help_command(command, stdout);
        return LILAC_EXIT_SUCCESS;
    }
    if (count == 0 || (count == 1 && is_group(words[0]))) {
        lilac_help_overview(lilac_commands, lilac_command_count, count == 0 ? NULL : words[0], stdout);
        return LILAC_EXIT_SUCCESS;
    }
    return unknown_command(count, words);
}

static int dispatch(int count, char **words) {
    if (count == 0) {
        lilac_help_overview(lilac_commands, lilac_command_count, NULL, stderr);
        return LILAC_EXIT_USAGE;
    }
    if (strcmp(words[0], "--version") == 0 || strcmp(words[0], "-V") == 0) {
        puts("lilac " LILAC_VERSION);
        return LILAC_EXIT_SUCCESS;
    }
    if (strcmp(words[0], "help") == 0) {
        return help(count - 1, words + 1);
    }
    /* Help is given whatever else the line says, also where that would be an error. */
    for (int i = 0; i < count; i++) {
        if (is_help(words[i])) {
            return help(i < 2 ? i : 2, words);
        }
    }
    int used = 0;
    const lilac_command *command = find_command(count, words, &used);
    return command == NULL ? unknown_command(count, words) : lilac_session_run(command, count - used, words + used);
}

/* A file opened in place of a closed standard stream would get what is meant for that. These are opened so that using
 * them still fails. */
static void occupy_closed_streams(void) {
    static const int flags[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int stream = 0; stream < 3; stream++) {
        /* The lowest number is taken, which is the stream's, since those before it are open. */
        if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", flags[stream]) != stream) {
            _exit(LILAC_EXIT_FAILURE);
        }
    }
}

int main(int argc, char **argv) {
    occupy_closed_streams();
    lilac_signals_catch();
    const int code = dispatch(argc - 1, argv + 1);
    /* A full disk or a closed pipe may show only here. */
    const bool failed_before = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || failed_before) {
        fprintf(stderr, "lilac: cannot write to standard output%s%s\n", errno == 0 ? "" : ": ",
                errno == 0 ? "" : strerror(errno));
        return code == LILAC_EXIT_SUCCESS ? LILAC_EXIT_FAILURE : code;
    }
    return code;
}
