/* SPDX-License-Identifier: MIT */
#include "support/default_context.h"

#include "support/contexts.h"

#include <stddef.h>

lilac_context *context, *one_thread;

int context_set_up(void **state) {
    (void)state;
    return lilac_context_create(NULL, &context) != LILAC_OK;
}

void threads_set_up(lilac_progress_callback *progress) {
    context = context_create(2, progress);
    one_thread = context_create(1, progress);
}

int context_tear_down(void **state) {
    (void)state;
    lilac_context_destroy(context);
    lilac_context_destroy(one_thread);
    context = one_thread = NULL;
    return 0;
}
