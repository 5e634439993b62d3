/* SPDX-License-Identifier: MIT */
/* Drawing figures with gnuplot, a program that the user may have installed. */
#ifndef LILAC_CLI_GNUPLOT_H
#define LILAC_CLI_GNUPLOT_H

#include <lilac/context.h>
#include <stdio.h>

/* Whether gnuplot is there. To be asked before long work whose result is to be drawn. Errors: UNSUPPORTED. */
LILAC_MUST_USE lilac_status lilac_gnuplot_check(lilac_context *context);

/* Writes a script for gnuplot, which prints the figure. */
typedef void lilac_gnuplot_script(FILE *script, const void *argument);

/*
 * Draws the figure of a script, as a string that the caller frees. The program must ignore SIGPIPE, which a gnuplot
 * that ends early would cause. Errors: MEMORY, UNSUPPORTED (gnuplot failed).
 */
LILAC_MUST_USE lilac_status lilac_gnuplot_draw(lilac_context *context, lilac_gnuplot_script *write,
                                               const void *argument, char **figure);

/* The same, and saves the figure at path. Errors: also those of lilac_file_writer. */
LILAC_MUST_USE lilac_status lilac_gnuplot_save(lilac_context *context, lilac_gnuplot_script *write,
                                               const void *argument, const char *path);

#endif
