/* SPDX-License-Identifier: MIT */
/* What the page's sections are written with: text, figures, tables, plots, pictures. */
#ifndef LILAC_REPORT_HTML_H
#define LILAC_REPORT_HTML_H

#include "report/page.h"

#include <stdio.h>

typedef struct lilac_html {
    FILE *out;
    const cJSON *results;
    const cJSON *old; /* NULL: nothing to compare with */
    const lilac_page_media *media;
    size_t svg_count; /* so far */
} lilac_html;

/* The text with what means something to HTML escaped. */
void lilac_html_text(lilac_html *html, const char *text);

/*
 * A figure from the results, named by its path there (see lilac_json_at), which stands in the page beside it. A dash
 * where there is none.
 */
void lilac_html_figure(lilac_html *html, int decimals, const char *path, ...) __attribute__((format(printf, 3, 4)));
/* The same with its sign, and marked where it is beyond tolerance. */
void lilac_html_difference(lilac_html *html, int decimals, double tolerance, const char *path, ...)
    __attribute__((format(printf, 4, 5)));

/* A table that scrolls within its box where the screen is narrow; caption is HTML. */
void lilac_html_begin_table(lilac_html *html, const char *caption);
void lilac_html_end_table(lilac_html *html);

/* A cell of the table's body with one figure. */
void lilac_html_cell(lilac_html *html, int decimals, const char *path, ...) __attribute__((format(printf, 3, 4)));

/*
 * Cells of a figure that the results hold with its mean, spread (where spread is true), published figure and
 * difference, all below path.
 */
void lilac_html_compared(lilac_html *html, bool spread, const char *path);

/* A plot with its caption; nothing where there is none. */
void lilac_html_plot(lilac_html *html, lilac_page_plot plot, const char *caption);

#endif
