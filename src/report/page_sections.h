/* SPDX-License-Identifier: MIT */
/* The sections of the page. Each writes nothing where its results are missing. */
#ifndef LILAC_REPORT_PAGE_SECTIONS_H
#define LILAC_REPORT_PAGE_SECTIONS_H

#include "report/html.h"

extern const char lilac_page_style[];

void lilac_page_write_summary(lilac_html *html);
void lilac_page_write_attention(lilac_html *html);
void lilac_page_write_completion(lilac_html *html);
void lilac_page_write_lora(lilac_html *html);
/* Differences and their reasons; the machine, seeds and times; what changed since an earlier run. */
void lilac_page_write_differences(lilac_html *html);
void lilac_page_write_run(lilac_html *html);
void lilac_page_write_changes(lilac_html *html);

#endif
