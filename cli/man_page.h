/* SPDX-License-Identifier: MIT */
/* The manual page lilac(1), made from the tables of commands and options. */
#ifndef LILAC_CLI_MAN_PAGE_H
#define LILAC_CLI_MAN_PAGE_H

#include "command.h"

#include <stdio.h>

/* Prints the page in the language of mdoc(7). */
void lilac_man_page(const lilac_command *const *commands, size_t count, FILE *file);

#endif
