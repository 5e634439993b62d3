/* SPDX-License-Identifier: MIT */
#include "report/html.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

void lilac_html_text(lilac_html *html, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", html->out);
            break;
        case '<':
            fputs("&lt;", html->out);
            break;
        case '>':
            fputs("&gt;", html->out);
            break;
        case '"':
            fputs("&quot;", html->out);
            break;
        default:
            fputc(*text, html->out);
        }
    }
}

static void write_figure(lilac_html *html, int decimals, bool sign, const char *path) {
    const double value = lilac_json_number_at(html->results, "%s", path);
    if (!isfinite(value)) {
        fputs("<span class=\"none\">\u2013</span>", html->out);
        return;
    }
    char digits[64];
    snprintf(digits, sizeof digits, sign ? "%+.*f" : "%.*f", decimals, value);
    /* A minus as wide as the digits; nothing is minus zero. */
    const bool zero = strspn(digits, "+-0.") == strlen(digits);
    fprintf(html->out, "<span data-path=\"");
    lilac_html_text(html, path);
    fprintf(html->out, "\">%s%s</span>",
            zero               ? ""
            : digits[0] == '-' ? "\u2212"
            : digits[0] == '+' ? "+"
                               : "",
            digits + strspn(digits, "+-"));
}

void lilac_html_figure(lilac_html *html, int decimals, const char *path, ...) {
    char text[LILAC_JSON_PATH_MAX];
    va_list arguments;
    va_start(arguments, path);
    vsnprintf(text, sizeof text, path, arguments);
    va_end(arguments);
    write_figure(html, decimals, false, text);
}

void lilac_html_difference(lilac_html *html, int decimals, double tolerance, const char *path, ...) {
    char text[LILAC_JSON_PATH_MAX];
    va_list arguments;
    va_start(arguments, path);
    vsnprintf(text, sizeof text, path, arguments);
    va_end(arguments);
    const bool beyond = fabs(lilac_json_number_at(html->results, "%s", text)) > tolerance;
    fputs(beyond ? "<td class=\"diff beyond\">" : "<td class=\"diff\">", html->out);
    write_figure(html, decimals, true, text);
    fputs(beyond ? "<abbr title=\"beyond what single runs differ by\">*</abbr></td>" : "</td>", html->out);
}

void lilac_html_begin_table(lilac_html *html, const char *caption) {
    fprintf(html->out,
            "<figure class=\"table\"><figcaption>%s</figcaption><div class=\"scroll\" tabindex=\"0\"><table>\n",
            caption);
}

void lilac_html_end_table(lilac_html *html) {
    fputs("</tbody></table></div></figure>\n", html->out);
}

void lilac_html_cell(lilac_html *html, int decimals, const char *path, ...) {
    char text[LILAC_JSON_PATH_MAX];
    va_list arguments;
    va_start(arguments, path);
    vsnprintf(text, sizeof text, path, arguments);
    va_end(arguments);
    fputs("<td>", html->out);
    write_figure(html, decimals, false, text);
    fputs("</td>", html->out);
}

void lilac_html_compared(lilac_html *html, bool spread, const char *path) {
    const double tolerance = lilac_json_number_at(html->results, "%s/tolerance", path);
    fputs("<td class=\"here\">", html->out);
    lilac_html_figure(html, 2, "%s/mean", path);
    fputs("</td>", html->out);
    if (spread) {
        fputs("<td class=\"spread\">\u00b1\u00a0", html->out);
        lilac_html_figure(html, 2, "%s/spread", path);
        fputs("</td>", html->out);
    }
    lilac_html_cell(html, 2, "%s/published", path);
    lilac_html_difference(html, 2, tolerance, "%s/difference", path);
}

/*
 * gnuplot names parts of its figures, and all figures by the same names: within one page each figure's get its number.
 * The XML declaration and document type in front are not part of a page.
 */
static void write_svg(lilac_html *html, const char *svg) {
    static const char *const marks[] = {"id=\"", "id='", "href=\"#", "href='#", "url(#"};
    const char *text = strstr(svg, "<svg");
    html->svg_count++;
    while (text != NULL && *text != '\0') {
        size_t length = 0;
        for (size_t m = 0; m < sizeof marks / sizeof marks[0] && length == 0; m++) {
            if (strncmp(text, marks[m], strlen(marks[m])) == 0) {
                length = strlen(marks[m]);
            }
        }
        if (length == 0) {
            fputc(*text++, html->out);
        } else {
            fprintf(html->out, "%.*sf%zu-", (int)length, text, html->svg_count);
            text += length;
        }
    }
}

void lilac_html_plot(lilac_html *html, lilac_page_plot plot, const char *caption) {
    const char *svg = html->media->plots[plot];
    if (svg != NULL) {
        fprintf(html->out, "<figure class=\"plot\"><figcaption>%s</figcaption>", caption);
        write_svg(html, svg);
        fputs("</figure>\n", html->out);
    }
}
