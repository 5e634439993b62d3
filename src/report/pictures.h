/* SPDX-License-Identifier: MIT */
/* The page's pictures of completed images. */
#ifndef LILAC_REPORT_PICTURES_H
#define LILAC_REPORT_PICTURES_H

#include "experiments/completion.h"
#include "report/page.h"

/*
 * Draws the first test images in blocks: originals, what the models saw, and what each model made of them. Free the
 * pictures with lilac_memory_free. Errors: MEMORY.
 */
LILAC_MUST_USE lilac_status lilac_page_pictures_draw(lilac_context *context, const lilac_completion *completion,
                                                     const lilac_dataset *test, lilac_page_media *media);

#endif
