/* SPDX-License-Identifier: MIT */
#include "report/page_sections.h"

#include <math.h>
#include <string.h>

static const char *const variants[] = {"mnist", "quantized", "rotated", "inverted"};
static const char *const titles[] = {"MNIST", "Quantized", "Rotated", "Inverted"};
enum { VARIANTS = 4, LAYERS = 3 };

/* One of the tables being written: the path to its width, and whether there is a spread over seeds. */
typedef struct width {
    char path[32];
    bool spread;
} width;

static void write_compared(lilac_html *html, const width *w, const char *path) {
    char text[LILAC_JSON_PATH_MAX];
    snprintf(text, sizeof text, "%s/%s", w->path, path);
    lilac_html_compared(html, w->spread, text);
}

static void write_columns(lilac_html *html, const width *w, const char *first, size_t variant) {
    const int each = w->spread ? 4 : 3;
    fprintf(html->out, "<thead><tr><th rowspan=\"2\">%s</th><th rowspan=\"2\">trained</th>", first);
    for (size_t v = variant; v < VARIANTS; v++) {
        fprintf(html->out, "<th colspan=\"%d\">%s</th>", each, titles[v]);
    }
    fputs("</tr><tr>", html->out);
    for (size_t v = variant; v < VARIANTS; v++) {
        fprintf(html->out, "<th>here</th>%s<th>report</th><th>diff.</th>", w->spread ? "<th></th>" : "");
    }
    fputs("</tr></thead><tbody>\n", html->out);
}

static void write_base(lilac_html *html, const width *w) {
    static const struct {
        const char *title, *path;
    } rows[] = {{"validation images", "base/validation"},
                {"test images", "base/test"},
                {"test images, Quantized", "base/on_variants_of_test_images/quantized"},
                {"test images, Rotated", "base/on_variants_of_test_images/rotated"},
                {"test images, Inverted", "base/on_variants_of_test_images/inverted"},
                {"training images, Quantized", "base/on_variants_of_training_images/quantized"},
                {"training images, Rotated", "base/on_variants_of_training_images/rotated"},
                {"training images, Inverted", "base/on_variants_of_training_images/inverted"}};
    lilac_html_begin_table(html, "The base, trained on MNIST: accuracy in %");
    fprintf(html->out, "<thead><tr><th></th><th>here</th>%s<th>report</th><th>diff.</th></tr></thead><tbody>\n",
            w->spread ? "<th></th>" : "");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        fprintf(html->out, "<tr><th scope=\"row\">%s</th>", rows[r].title);
        write_compared(html, w, rows[r].path);
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
}

static void write_ranks(lilac_html *html, const width *w, const char *kind, size_t variant) {
    const int count = cJSON_GetArraySize(lilac_json_at(html->results, "%s/lora", w->path));
    char path[128];
    for (int r = 0; r < count; r++) {
        fputs("<tr><th scope=\"row\">r = ", html->out);
        lilac_html_figure(html, 0, "%s/lora/%d/rank", w->path, r);
        fputs("</th>", html->out);
        lilac_html_cell(html, 0, "%s/lora/%d/parameters", w->path, r);
        for (size_t v = variant; v < VARIANTS; v++) {
            snprintf(path, sizeof path, "lora/%d/%s/%s", r, kind, variants[v]);
            write_compared(html, w, path);
        }
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
}

static void write_fine_tuning(lilac_html *html, const width *w) {
    char path[128];
    lilac_html_begin_table(html, "Fine-tuning the base: accuracy on the test images in %");
    write_columns(html, w, "LoRA", 1);
    fputs("<tr><th scope=\"row\">all weights</th>", html->out);
    lilac_html_cell(html, 0, "%s/parameters", w->path);
    for (size_t v = 1; v < VARIANTS; v++) {
        snprintf(path, sizeof path, "full_fine_tuning/%s", variants[v]);
        write_compared(html, w, path);
    }
    fputs("</tr>\n", html->out);
    write_ranks(html, w, "fine_tuning", 1);
}

static void write_change(lilac_html *html, const width *w) {
    const double seeds = lilac_json_number_at(html->results, "%s/seeds", w->path);
    const char *member = "rank_of_change_by_full_fine_tuning";
    lilac_html_begin_table(html, seeds > 1 ? "Rank of the change of each weight by full fine-tuning, seed by seed"
                                           : "Rank of the change of each weight by full fine-tuning");
    fputs(
        "<thead><tr><th></th><th>Quantized</th><th>Rotated</th><th>Inverted</th><th>report</th></tr></thead><tbody>\n",
        html->out);
    for (int l = 0; l < LAYERS; l++) {
        const double published = lilac_json_number_at(html->results, "%s/%s/published/%d", w->path, member, l);
        fprintf(html->out, "<tr><th scope=\"row\">layer %d</th>", l + 1);
        for (size_t v = 1; v < VARIANTS; v++) {
            fputs("<td>", html->out);
            for (int s = 0; s < (int)seeds; s++) {
                fputs(s == 0 ? "" : ", ", html->out);
                lilac_html_figure(html, 0, "%s/%s/%s/%d/%d", w->path, member, variants[v], s, l);
                if (isfinite(published) && lilac_json_number_at(html->results, "%s/%s/%s/%d/%d", w->path, member,
                                                                variants[v], s, l) != published) {
                    fputs("<abbr title=\"not the report's\">*</abbr>", html->out);
                }
            }
            fputs("</td>", html->out);
        }
        lilac_html_cell(html, 0, "%s/%s/published/%d", w->path, member, l);
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
    fputs("<p class=\"small\">Singular values of the difference of the weights above ", html->out);
    lilac_html_figure(html, 4, "%s/%s/singular_values_above", w->path, member);
    fputs(isfinite(lilac_json_number_at(html->results, "%s/%s/published/0", w->path, member))
              ? ". * is another rank than the report's.</p>\n"
              : ". The report has no ranks at this width.</p>\n",
          html->out);
}

static void write_width(lilac_html *html, int index) {
    width w;
    snprintf(w.path, sizeof w.path, "lora/widths/%d", index);
    w.spread = lilac_json_number_at(html->results, "%s/seeds", w.path) > 1;
    fputs("<h3>Hidden width ", html->out);
    lilac_html_figure(html, 0, "%s/hidden", w.path);
    fputs("</h3>\n<p>", html->out);
    lilac_html_figure(html, 0, "%s/parameters", w.path);
    fputs(" weights; seeds: ", html->out);
    lilac_html_figure(html, 0, "%s/seeds", w.path);
    fputs(", from ", html->out);
    lilac_html_figure(html, 0, "%s/first_seed", w.path);
    fputs(" on. Within tolerance of the report: ", html->out);
    lilac_html_figure(html, 0, "%s/agreement/within_tolerance", w.path);
    fputs(" of ", html->out);
    lilac_html_figure(html, 0, "%s/agreement/compared", w.path);
    fputs(" published accuracies.</p>\n", html->out);
    if (index < 2) {
        fputs("<div class=\"plots\">", html->out);
        lilac_html_plot(html, (lilac_page_plot)(LILAC_PAGE_LORA + 2 * index), "LoRA fine-tuning: accuracy over rank");
        lilac_html_plot(html, (lilac_page_plot)(LILAC_PAGE_LORA + 2 * index + 1),
                        "Adapters of a frozen random network: accuracy over rank");
        fputs("</div>\n", html->out);
    }
    write_base(html, &w);
    write_fine_tuning(html, &w);
    lilac_html_begin_table(html, "Training adapters of a frozen random network: accuracy on the test images in %");
    write_columns(html, &w, "rank", 0);
    write_ranks(html, &w, "from_scratch", 0);
    write_change(html, &w);
}

void lilac_page_write_lora(lilac_html *html) {
    const int count = cJSON_GetArraySize(lilac_json_at(html->results, "lora/widths"));
    if (count == 0) {
        return;
    }
    fputs("<h2 id=\"lora\">Low-rank adaptation on MNIST</h2>\n"
          "<p>A classifier 784-n-n-10 is trained on MNIST and adapted to three variants of the digits: quantized to 0 "
          "and 1, rotated by 180°, inverted. \u201cHere\u201d is the mean over the seeds, with its standard deviation "
          "where there are several; the report gives single runs. A difference marked * is beyond what single runs can "
          "be expected to differ by: at width 64 3 points (base 1), at width 512 2 points (r = 1, 2: 5).</p>\n",
          html->out);
    for (int i = 0; i < count; i++) {
        write_width(html, i);
    }
}
