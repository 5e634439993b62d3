/* SPDX-License-Identifier: MIT */
/* The page's summary, what could not be matched, and what it was measured with. */
#include "report/changes.h"
#include "report/page_sections.h"

#include <math.h>
#include <string.h>

static bool is_quick(const lilac_html *html) {
    return strcmp(lilac_json_string_at(html->results, "size"), "quick") == 0;
}

/* ---- Summary ---- */

/* Whether no part, and nothing of a part, is missing. */
static bool is_whole(const lilac_html *html) {
    const cJSON *part;
    cJSON_ArrayForEach(part, lilac_json_at(html->results, "parts")) {
        if (strcmp(lilac_json_string_at(part, "state"), "done") != 0 ||
            lilac_json_string_at(part, "reason")[0] != '\0') {
            return false;
        }
    }
    return !is_quick(html);
}

static void write_missing(lilac_html *html) {
    const cJSON *part;
    bool first = true;
    cJSON_ArrayForEach(part, lilac_json_at(html->results, "parts")) {
        if (lilac_json_string_at(part, "reason")[0] != '\0') {
            fputs(first ? "<div class=\"note\"><strong>Not in this page:</strong><ul>" : "", html->out);
            first = false;
            fputs("<li>", html->out);
            lilac_html_text(html, lilac_json_string_at(part, "title"));
            fputs(": ", html->out);
            lilac_html_text(html, lilac_json_string_at(part, "reason"));
            fputs("</li>", html->out);
        }
    }
    fputs(first ? "" : "</ul></div>\n", html->out);
}

static void write_growth_card(lilac_html *html, const char *experiment, const char *title) {
    if (!isfinite(lilac_json_number_at(html->results, "attention/%s/softmax_exponent", experiment))) {
        return;
    }
    fprintf(html->out, "<div class=\"card\"><h3>%s</h3><div class=\"big\">N<sup>", title);
    lilac_html_figure(html, 2, "attention/%s/linear_exponent", experiment);
    fputs("</sup> and N<sup>", html->out);
    lilac_html_figure(html, 2, "attention/%s/softmax_exponent", experiment);
    fputs("</sup></div><p>growth of the time with linear and with softmax attention; the report: N, and towards "
          "N²</p></div>\n",
          html->out);
}

static void write_completion_card(lilac_html *html, const char *kind) {
    const char *member = "accuracy_on_completed_test_images";
    if (lilac_json_at(html->results, "completion/transformers/%s", kind) == NULL) {
        return;
    }
    fprintf(html->out, "<div class=\"card\"><h3>Completed digits recognised, %s</h3><div class=\"big\">", kind);
    lilac_html_figure(html, 1, "completion/transformers/%s/%s/value", kind, member);
    fputs("&nbsp;%</div><p>the report: ", html->out);
    lilac_html_figure(html, 1, "completion/transformers/%s/%s/published", kind, member);
    fputs("&nbsp;%; images as they are: ", html->out);
    lilac_html_figure(html, 1, "completion/without_transformer/accuracy_on_original_test_images");
    fputs("&nbsp;%</p></div>\n", html->out);
}

static void write_lora_card(lilac_html *html, int width) {
    fputs("<div class=\"card\"><h3>LoRA tables, width ", html->out);
    lilac_html_figure(html, 0, "lora/widths/%d/hidden", width);
    fputs("</h3><div class=\"big\">", html->out);
    lilac_html_figure(html, 0, "lora/widths/%d/agreement/within_tolerance", width);
    fputs(" of ", html->out);
    lilac_html_figure(html, 0, "lora/widths/%d/agreement/compared", width);
    fputs("</div><p>published accuracies met within tolerance; fine-tuning alone: ", html->out);
    lilac_html_figure(html, 0, "lora/widths/%d/agreement/fine_tuning_within_tolerance", width);
    fputs(" of ", html->out);
    lilac_html_figure(html, 0, "lora/widths/%d/agreement/fine_tuning_compared", width);
    fputs("</p></div>\n", html->out);
}

void lilac_page_write_summary(lilac_html *html) {
    fputs("<h1>Linear attention and low-rank adaptation, reproduced</h1>\n<p class=\"lead\">", html->out);
    fputs(is_whole(html) ? "Every table and figure of the report beside what "
                         : "Tables and figures of the report beside what ",
          html->out);
    lilac_html_text(html, lilac_json_string_at(html->results, "program"));
    fputs(" measured from real data on ", html->out);
    lilac_html_text(html, lilac_json_string_at(html->results, "machine/processor"));
    fputs(", ", html->out);
    lilac_html_figure(html, 0, "machine/threads");
    fputs(" threads.</p>\n", html->out);
    if (is_quick(html)) {
        fputs("<p class=\"note\"><strong>A quick look:</strong> fewer seeds, shorter sequences, fewer images, one of "
              "three times of completion, no classifier trained on completions, no LoRA tables at width 512. The full "
              "run is <code>scripts/reproduce</code> without <code>--quick</code>.</p>\n",
              html->out);
    }
    write_missing(html);
    fputs("<div class=\"cards\">\n", html->out);
    write_growth_card(html, "layer", "One layer, both ways");
    write_growth_card(html, "inference", "Inference, eight layers");
    write_completion_card(html, "linear");
    write_completion_card(html, "softmax");
    for (int w = 0; w < cJSON_GetArraySize(lilac_json_at(html->results, "lora/widths")); w++) {
        write_lora_card(html, w);
    }
    fputs("</div>\n", html->out);
}

/* ---- What could not be matched ---- */

void lilac_page_write_differences(lilac_html *html) {
    fputs("<h2 id=\"differences\">What could not be matched, and why</h2>\n<ul>\n", html->out);
    if (lilac_json_at(html->results, "attention") != NULL) {
        fputs("<li><strong>Times of attention.</strong> The report ran on a GPU and gives plots without figures. "
              "Through one layer it took 1000 down to 31 sequences at a time (1 with softmax); here as many as have "
              "4096 tokens together, unless the table says otherwise. Of inference the fastest of ",
              html->out);
        lilac_html_figure(html, 0, "attention/inference/runs");
        fputs(" runs counts, the report took 5.</li>\n", html->out);
    }
    if (lilac_json_at(html->results, "completion") != NULL) {
        fputs(
            "<li><strong>The transformers.</strong> The report took published weights. They could not be had for this "
            "project, so the transformers here are Lilac's own or those named on the command line, and their quality "
            "is that of their training. Lilac's own end in a categorical output layer, the report's in a mixture of "
            "ten logistics.</li>\n"
            "<li><strong>Times of completion.</strong> The report's are a GPU's. Lilac's softmax attention keeps the "
            "keys and values of earlier pixels; the way without that is timed on few images and scaled; images timed: ",
            html->out);
        lilac_html_figure(html, 0, "completion/times/softmax_without_cache/images");
        fputs(".</li>\n", html->out);
    }
    if (lilac_json_at(html->results, "lora") != NULL) {
        fputs("<li><strong>Inverted depends on the seed.</strong> At width 64 runs that differ only in their random "
              "numbers lie tens of points apart, so that one run's figure, here or in the report, says little; the "
              "same holds for r = 1 and 2 at width 512.</li>\n"
              "<li><strong>From scratch on the variants</strong> the report's figures are higher, the more so the "
              "smaller the rank. Its protocol gives the variants as x/255, while MNIST itself is brought to mean 0 and "
              "deviation 1, and on MNIST at width 512 its column and ours agree from r = 4 on: it looks as if its runs "
              "kept that "
              "normalisation on the variants, too. The tables here follow the protocol as it is written.</li>\n"
              "<li><strong>MNIST from scratch at width 64</strong> has no published figures: the report's column was "
              "measured at width 512 and stands there.</li>\n",
              html->out);
    }
    fputs("</ul>\n", html->out);
}

/* ---- Machine, seeds and times ---- */

static void write_fact(lilac_html *html, const char *title, const char *path) {
    const char *text = lilac_json_string_at(html->results, "%s", path);
    if (text[0] != '\0') {
        fprintf(html->out, "<tr><th scope=\"row\">%s</th><td>", title);
        lilac_html_text(html, text);
        fputs("</td></tr>\n", html->out);
    }
}

static void write_rate(lilac_html *html, const char *title, const char *path, const char *unit) {
    if (lilac_json_number_at(html->results, "machine/peak/%s_all", path) > 0) {
        fprintf(html->out, "<tr><th scope=\"row\">%s</th><td>", title);
        lilac_html_figure(html, 1, "machine/peak/%s_all", path);
        fprintf(html->out, " %s; one thread: ", unit);
        lilac_html_figure(html, 1, "machine/peak/%s_one", path);
        fputs("</td></tr>\n", html->out);
    }
}

static void write_machine(lilac_html *html) {
    fputs("<figure><figcaption>Machine</figcaption><div class=\"scroll\"><table class=\"words\"><tbody>\n", html->out);
    write_fact(html, "Processor", "machine/processor");
    fputs("<tr><th scope=\"row\">Threads</th><td>", html->out);
    lilac_html_figure(html, 0, "machine/threads");
    fputs(" of ", html->out);
    lilac_html_figure(html, 0, "machine/processors");
    fputs(" processors</td></tr>\n", html->out);
    write_fact(html, "Kernels", "cpu_level");
    write_fact(html, "System", "machine/system");
    write_rate(html, "Peak in f32", "f32", "GFLOP/s");
    write_rate(html, "Peak in bf16", "bf16", "GFLOP/s");
    write_rate(html, "Peak in f16", "f16", "GFLOP/s");
    write_rate(html, "Reading memory", "read_memory", "GB/s");
    write_fact(html, "Program", "program");
    write_fact(html, "Compiler", "machine/compiler");
    write_fact(html, "Matrix products", "machine/matrix_products");
    write_fact(html, "Libraries", "machine/libraries");
    write_fact(html, "Plots", "machine/plots");
    lilac_html_end_table(html);
}

void lilac_page_write_run(lilac_html *html) {
    const int count = cJSON_GetArraySize(lilac_json_at(html->results, "parts"));
    fputs("<h2 id=\"run\">How this was measured</h2>\n<div class=\"plots\">", html->out);
    write_machine(html);
    lilac_html_begin_table(html, "Parts");
    fputs("<thead><tr><th>part</th><th>seconds</th></tr></thead><tbody>\n", html->out);
    for (int i = 0; i < count; i++) {
        const char *state = lilac_json_string_at(html->results, "parts/%d/state", i);
        fputs("<tr><th scope=\"row\">", html->out);
        lilac_html_text(html, lilac_json_string_at(html->results, "parts/%d/title", i));
        fputs("</th>", html->out);
        if (strcmp(state, "done") == 0) {
            lilac_html_cell(html, 1, "parts/%d/seconds", i);
        } else {
            fprintf(html->out, "<td class=\"none\">%s</td>", state);
        }
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
    fputs("</div>\n<p>Seed: ", html->out);
    lilac_html_figure(html, 0, "seed");
    fputs(". The same seed gives the same figures, but for times, at any number of threads. "
          "<code>results.json</code> beside this page holds all figures; <code>lilac reproduce all --compare "
          "OLD.json</code> sets a later run beside it.</p>\n",
          html->out);
}

/* ---- Changes ---- */

static void write_change(void *user, const lilac_change *change) {
    lilac_html *html = user;
    fputs("<tr><th scope=\"row\">", html->out);
    lilac_html_text(html, change->label);
    fputs("</th>", html->out);
    if (change->was != NULL) {
        fputs("<td>", html->out);
        lilac_html_text(html, change->was);
        fputs("</td><td>", html->out);
        lilac_html_text(html, change->is);
        fputs("</td><td></td></tr>\n", html->out);
        return;
    }
    fprintf(html->out, "<td>%.6g</td>", change->before);
    fputs("<td>", html->out);
    fprintf(html->out, "%.6g</td><td>", change->after);
    if (change->timed) {
        fprintf(html->out, "%+.0f %%</td></tr>\n", 100.0 * (change->after / change->before - 1.0));
    } else {
        fprintf(html->out, "%+.4g</td></tr>\n", change->after - change->before);
    }
}

void lilac_page_write_changes(lilac_html *html) {
    if (html->old == NULL) {
        return;
    }
    fputs("<h2 id=\"changes\">What changed since the earlier results</h2>\n", html->out);
    lilac_html_begin_table(html, "Figures that differ, and speeds and times by more than a tenth");
    fputs("<thead><tr><th></th><th>before</th><th>now</th><th>change</th></tr></thead><tbody>\n", html->out);
    const lilac_changes_count count = lilac_changes_visit(html->old, html->results, write_change, html);
    if (count.changed == 0) {
        fputs("<tr><td colspan=\"4\">Nothing.</td></tr>\n", html->out);
    }
    lilac_html_end_table(html);
    if (count.only_old > 0 || count.only_new > 0) {
        fprintf(html->out,
                "<p class=\"small\">Not compared, being in one of both alone: %zu of the earlier figures, %zu of "
                "these.</p>\n",
                count.only_old, count.only_new);
    }
}
