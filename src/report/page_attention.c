/* SPDX-License-Identifier: MIT */
#include "report/page_sections.h"

#include <math.h>

/* Times of both kinds of attention side by side; the points hold all lengths of one, then of the other. */
static void write_times(lilac_html *html, const char *experiment, const char *caption) {
    const int points = cJSON_GetArraySize(lilac_json_at(html->results, "attention/%s/points", experiment));
    lilac_html_begin_table(html, caption);
    fputs("<thead><tr><th rowspan=\"2\">N</th><th rowspan=\"2\">batch</th><th colspan=\"2\">ms a sequence</th>"
          "<th colspan=\"2\">GFLOP/s</th></tr><tr><th>linear</th><th>softmax</th><th>linear</th><th>softmax</th></tr>"
          "</thead><tbody>\n",
          html->out);
    for (int i = 0; i < points / 2; i++) {
        fputs("<tr>", html->out);
        lilac_html_cell(html, 0, "attention/%s/points/%d/tokens", experiment, i);
        lilac_html_cell(html, 0, "attention/%s/points/%d/batch", experiment, i);
        for (int kind = 0; kind < 2; kind++) {
            lilac_html_cell(html, 2, "attention/%s/points/%d/milliseconds_per_sequence", experiment,
                            i + kind * points / 2);
        }
        for (int kind = 0; kind < 2; kind++) {
            lilac_html_cell(html, 0, "attention/%s/points/%d/gflops", experiment, i + kind * points / 2);
        }
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
}

static void write_experiment(lilac_html *html, const char *experiment, const char *title, const char *what,
                             lilac_page_plot plot) {
    if (lilac_json_at(html->results, "attention/%s", experiment) == NULL) {
        return;
    }
    fprintf(html->out, "<h3>%s</h3>\n<p>%s ", title, what);
    if (isfinite(lilac_json_number_at(html->results, "attention/%s/linear_exponent", experiment))) {
        fputs("From N = 1000 on the time grows with N to the power ", html->out);
        lilac_html_figure(html, 2, "attention/%s/linear_exponent", experiment);
        fputs(" (linear) and ", html->out);
        lilac_html_figure(html, 2, "attention/%s/softmax_exponent", experiment);
        fputs(" (softmax); the theory of attention alone says 1 and 2. ", html->out);
    }
    if (isfinite(lilac_json_number_at(html->results, "attention/%s/linear_faster_from", experiment))) {
        fputs("Linear attention is faster from N = ", html->out);
        lilac_html_figure(html, 0, "attention/%s/linear_faster_from", experiment);
        fputs(" on.", html->out);
    } else {
        fputs("Linear attention is not yet faster at these lengths.", html->out);
    }
    fputs("</p>\n<div class=\"plots\">", html->out);
    lilac_html_plot(html, plot, "Time over length, both axes logarithmic");
    write_times(html, experiment, "The same in numbers (fastest run)");
    fputs("</div>\n", html->out);
}

void lilac_page_write_attention(lilac_html *html) {
    if (lilac_json_at(html->results, "attention") == NULL) {
        return;
    }
    fputs("<h2 id=\"attention\">Attention over growing sequences</h2>\n"
          "<p>The report times transformer layers on random sequences and shows two plots without figures, so what can "
          "be compared is how time grows: in proportion to N with linear attention, towards N² with softmax "
          "attention, whose share of a layer's work grows with N.</p>\n",
          html->out);
    write_experiment(html, "layer", "Forward and backward through one layer",
                     "12 heads × 64, feed-forward 768, uniform random input.", LILAC_PAGE_LAYER);
    write_experiment(html, "inference", "Inference through eight layers", "8 heads × 64, feed-forward 1024.",
                     LILAC_PAGE_INFERENCE);
}
