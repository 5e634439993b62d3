/* SPDX-License-Identifier: MIT */
#include "core/memory.h"
#include "experiments/completion_published.h"
#include "report/page_sections.h"

#include <math.h>
#include <nettle/base64.h>
#include <string.h>

static const char *const kinds[] = {"linear", "softmax"};
enum { KINDS = 2 };

static bool present(const lilac_html *html, size_t kind) {
    return lilac_json_at(html->results, "completion/transformers/%s", kinds[kind]) != NULL;
}

static void write_picture(lilac_html *html, const uint8_t *bytes, size_t size) {
    enum { GROUP = 3 * 256 };
    char text[BASE64_ENCODE_RAW_LENGTH(GROUP) + 1];
    fputs("<img alt=\"Rows of digits: the originals, their upper halves, and the completed digits\" "
          "src=\"data:image/png;base64,",
          html->out);
    for (size_t done = 0; done < size; done += GROUP) {
        const size_t count = lilac_size_min(size - done, GROUP);
        base64_encode_raw(text, count, bytes + done);
        fwrite(text, 1, BASE64_ENCODE_RAW_LENGTH(count), html->out);
    }
    fputs("\">", html->out);
}

static void write_pictures(lilac_html *html) {
    if (html->media->pictures[0] == NULL) {
        return;
    }
    fprintf(html->out,
            "<figure><figcaption>The first test images</figcaption>\n<p class=\"small\">In each block from top to "
            "bottom: the original; what the model saw%s%s.</p>\n<div class=\"pictures\">",
            present(html, 0) ? "; completed with linear attention" : "",
            present(html, 1) ? "; completed with softmax attention" : "");
    for (size_t i = 0; i < LILAC_PAGE_PICTURES; i++) {
        if (html->media->pictures[i] != NULL) {
            write_picture(html, html->media->pictures[i], html->media->picture_sizes[i]);
        }
    }
    fputs("</div></figure>\n", html->out);
}

/* Whether any of the times was taken with keys and values in bf16. */
static bool any_in_bf16(const lilac_html *html, int times) {
    bool any = false;
    for (int t = 0; t < times; t++) {
        any = any || lilac_json_at(html->results, "completion/times/softmax/%d/cache_in_bf16", t) != NULL;
    }
    return any;
}

static void write_times(lilac_html *html) {
    const size_t first = present(html, 0) ? 0 : 1;
    const int count = cJSON_GetArraySize(lilac_json_at(html->results, "completion/times/%s", kinds[first]));
    lilac_html_begin_table(html, "Seconds to complete n images");
    fputs("<thead><tr><th></th>", html->out);
    for (int t = 0; t < count; t++) {
        fputs("<th>n = ", html->out);
        lilac_html_figure(html, 0, "completion/times/%s/%d/images", kinds[first], t);
        fputs("</th>", html->out);
    }
    fputs("</tr></thead><tbody>\n", html->out);
    static const struct {
        const char *title, *member;
        size_t kind;
    } rows[] = {{"linear, here", "seconds", 0},
                {"of these for the upper halves", "seconds_of_prompts", 0},
                {"of these for steps' projections", "seconds_of_projections_in_steps", 0},
                {"of these for steps' attention", "seconds_of_attention_in_steps", 0},
                {"linear, report on a GPU", "published_seconds_on_a_gpu", 0},
                {"softmax with cached keys and values, here", "seconds", 1},
                {"of these for the upper halves", "seconds_of_prompts", 1},
                {"of these for steps' projections", "seconds_of_projections_in_steps", 1},
                {"of these for steps' attention", "seconds_of_attention_in_steps", 1},
                {"softmax with these in bf16, here", "cache_in_bf16/seconds", 1},
                {"of these for the upper halves", "cache_in_bf16/seconds_of_prompts", 1},
                {"of these for steps' projections", "cache_in_bf16/seconds_of_projections_in_steps", 1},
                {"of these for steps' attention", "cache_in_bf16/seconds_of_attention_in_steps", 1},
                {"softmax without cache, here (scaled)", "seconds_without_cache_estimated", 1},
                {"softmax, report on a GPU", "published_seconds_on_a_gpu", 1}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if (!present(html, rows[r].kind) ||
            (strncmp(rows[r].member, "cache_in_bf16", 13) == 0 && !any_in_bf16(html, count))) {
            continue;
        }
        fprintf(html->out, "<tr><th scope=\"row\">%s</th>", rows[r].title);
        for (int t = 0; t < count; t++) {
            lilac_html_cell(html, 2, "completion/times/%s/%d/%s", kinds[rows[r].kind], t, rows[r].member);
        }
        fputs("</tr>\n", html->out);
    }
    lilac_html_end_table(html);
}

/* "± 1.37", where the results have it. */
static void write_error(lilac_html *html, const char *of, const char *member) {
    if (isfinite(lilac_json_number_at(html->results, "completion/standard_errors/%s/%s", of, member))) {
        fputs(" \u00b1\u00a0", html->out);
        lilac_html_figure(html, 2, "completion/standard_errors/%s/%s", of, member);
    }
}

static void write_pair(lilac_html *html, int decimals, const char *title, size_t kind, const char *member) {
    if (!present(html, kind)) {
        return;
    }
    fprintf(html->out, "<tr><th scope=\"row\">%s, %s</th><td class=\"here\">", title, kinds[kind]);
    lilac_html_figure(html, decimals, "completion/transformers/%s/%s/value", kinds[kind], member);
    write_error(html, kind == 0 ? "transformers/linear" : "transformers/softmax", member);
    fputs("</td>", html->out);
    lilac_html_cell(html, decimals, "completion/transformers/%s/%s/published", kinds[kind], member);
    lilac_html_difference(html, decimals, INFINITY, "completion/transformers/%s/%s/difference", kinds[kind], member);
    fputs("</tr>\n", html->out);
}

static void write_unpaired(lilac_html *html, const char *title, const char *member) {
    fprintf(html->out, "<tr><th scope=\"row\">%s</th><td class=\"here\">", title);
    lilac_html_figure(html, 2, "completion/without_transformer/%s", member);
    write_error(html, "without_transformer", member);
    fputs("</td><td class=\"none\">\u2013</td><td class=\"none\">\u2013</td></tr>\n", html->out);
}

static const char head[] = "<thead><tr><th></th><th>here</th><th>report</th><th>difference</th></tr></thead><tbody>\n";

static void write_accuracy(lilac_html *html) {
    lilac_html_begin_table(html, "Accuracy in %, \u00b1 the standard error of a share of so many images");
    fputs(head, html->out);
    write_unpaired(html, "test images as they are", "accuracy_on_original_test_images");
    write_unpaired(html, "their upper halves alone", "accuracy_on_occluded_test_images");
    for (size_t kind = 0; kind < KINDS; kind++) {
        write_pair(html, 2, "completed", kind, "accuracy_on_completed_test_images");
    }
    if (isfinite(lilac_json_number_at(html->results,
                                      "completion/without_transformer/accuracy_trained_on_original_training_images"))) {
        write_unpaired(html, "trained on originals", "accuracy_trained_on_original_training_images");
        for (size_t kind = 0; kind < KINDS; kind++) {
            write_pair(html, 2, "trained on completions", kind, "accuracy_trained_on_completed_training_images");
        }
    }
    lilac_html_end_table(html);
}

static void write_bits(lilac_html *html) {
    if (!(lilac_json_number_at(html->results, "completion/settings/test_images_for_bits") > 0)) {
        return;
    }
    lilac_html_begin_table(html, "Bits a dimension, test images");
    fputs(head, html->out);
    for (size_t kind = 0; kind < KINDS; kind++) {
        write_pair(html, 3, "all 783 predicted pixels", kind, "bits_a_dimension");
    }
    lilac_html_end_table(html);
    fputs("<p class=\"small\">Here: the first ", html->out);
    lilac_html_figure(html, 0, "completion/settings/test_images_for_bits");
    fprintf(html->out, " test images; in the report: all %d.</p>\n", LILAC_COMPLETION_PUBLISHED_BITS_IMAGES);
}

void lilac_page_write_completion(lilac_html *html) {
    if (lilac_json_at(html->results, "completion") == NULL) {
        return;
    }
    fputs("<h2 id=\"completion\">Completing occluded digits</h2>\n<p>Two transformers see the first ", html->out);
    lilac_html_figure(html, 0, "completion/settings/rows_kept");
    fputs(" rows of a digit and draw the rest, pixel by pixel. A classifier trained on MNIST judges ", html->out);
    lilac_html_figure(html, 0, "completion/settings/test_images");
    fputs(" completed test images", html->out);
    if (lilac_json_number_at(html->results, "completion/settings/training_images") > 0) {
        fputs("; another learns from ", html->out);
        lilac_html_figure(html, 0, "completion/settings/training_images");
        fputs(" completed training images and is tested on all real test images", html->out);
        if (present(html, 1)) {
            fputs("; these softmax attention completed with keys and values in bf16", html->out);
        }
    }
    fputs(".</p>\n", html->out);
    write_pictures(html);
    fputs("<div class=\"plots\">", html->out);
    lilac_html_plot(html, LILAC_PAGE_COMPLETION_TIMES, "Seconds to complete images");
    fputs("<div>", html->out);
    write_accuracy(html);
    write_bits(html);
    fputs("</div></div>\n", html->out);
    write_times(html);
}
