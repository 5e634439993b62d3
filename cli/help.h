/* SPDX-License-Identifier: MIT */
/* Help texts, made from the tables of commands and options. */
#ifndef LILAC_CLI_HELP_H
#define LILAC_CLI_HELP_H

#include "command.h"

#include <stdio.h>

/* The program's help: what it is and its commands; group, where not NULL, limits these to the ones that start with it.
 */
void lilac_help_overview(const lilac_command *const *commands, size_t count, const char *group, FILE *file);

/* One command's help. */
void lilac_help_command(const lilac_command *command, FILE *file);

/* What is said of an option: its help with the range and the default. */
void lilac_help_option_text(const lilac_option *option, char *text, size_t size);

/*
 * Prints text broken between words into lines of at most width characters, all indented by indent except that the first
 * begins where the file stands: at column `column`.
 */
void lilac_help_wrap(const char *text, size_t column, size_t indent, size_t width, FILE *file);

#endif
