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
 * Saves at path the figure that a script draws. The script must have no line "END OF SCRIPT" and at most 100,000
 * characters. Errors: MEMORY, UNSUPPORTED (gnuplot failed), and those of lilac_file_writer.
 */
LILAC_MUST_USE lilac_status lilac_gnuplot_draw(lilac_context *context, lilac_gnuplot_script *write,
                                               const void *argument, const char *path);

#endif
