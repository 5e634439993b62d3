/* SPDX-License-Identifier: MIT */
/* Completion for bash, made from the tables of commands and options. */
#ifndef LILAC_CLI_BASH_COMPLETION_H
#define LILAC_CLI_BASH_COMPLETION_H

#include "command.h"

#include <stdio.h>

/* Prints a script that bash reads to complete commands, options, choices, and names of files and folders. */
void lilac_bash_completion(const lilac_command *const *commands, size_t count, FILE *file);

#endif
