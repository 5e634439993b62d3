/* SPDX-License-Identifier: MIT */
/* Drawing figures with gnuplot, a program that the user may have installed. */
#ifndef LILAC_CLI_GNUPLOT_H
#define LILAC_CLI_GNUPLOT_H

#include <lilac/context.h>

/* Whether gnuplot is there. To be asked before long work whose result is to be drawn. Errors: UNSUPPORTED. */
LILAC_MUST_USE lilac_status lilac_gnuplot_check(lilac_context *context);

/*
 * Runs gnuplot and saves what it prints at path. The script must have no line "END OF SCRIPT" and at most 100,000
 * characters. Errors: UNSUPPORTED (gnuplot failed), and those of lilac_file_writer.
 */
LILAC_MUST_USE lilac_status lilac_gnuplot_run(lilac_context *context, const char *script, const char *path);

#endif
