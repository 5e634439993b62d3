/* SPDX-License-Identifier: MIT */
#include "report/page.h"

#include "report/page_sections.h"
#include "runtime/file.h"

#include <stdlib.h>

static void write_page(lilac_html *html) {
    fprintf(html->out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta name=\"color-scheme\" content=\"light dark\">\n"
            "<title>Linear attention and low-rank adaptation, reproduced</title>\n<style>\n%s</style>\n</head>\n"
            "<body>\n<main>\n",
            lilac_page_style);
    lilac_page_write_summary(html);
    lilac_page_write_attention(html);
    lilac_page_write_completion(html);
    lilac_page_write_lora(html);
    lilac_page_write_differences(html);
    lilac_page_write_changes(html);
    lilac_page_write_run(html);
    fputs("</main>\n</body>\n</html>\n", html->out);
}

lilac_status lilac_page_write(lilac_context *context, const cJSON *results, const cJSON *old,
                              const lilac_page_media *media, const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return lilac_fail_memory(context, "the page", size);
    }
    lilac_html html = {.out = out, .results = results, .old = old, .media = media};
    write_page(&html);
    const bool failed = ferror(out) != 0;
    lilac_status status;
    if (fclose(out) != 0 || failed) {
        status = lilac_fail_memory(context, "the page", size);
    } else {
        status = lilac_file_write(context, path, text, size);
    }
    free(text);
    return status;
}
