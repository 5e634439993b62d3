/* SPDX-License-Identifier: MIT */
#include "generation.h"

#include "format/png.h"
#include "runtime/context.h"

#include <stdlib.h>

const char *const lilac_precision_choices[] = {"f32", "bf16", NULL};

static void add_row(lilac_table *table, const char *part, double seconds, double sequences, double tokens) {
    lilac_table_cell(table, "%s", part);
    lilac_table_cell(table, "%.3f", seconds);
    lilac_table_cell(table, "%.2f", 1e3 * seconds / sequences);
    if (tokens > 0.0 && seconds > 0.0) {
        lilac_table_cell(table, "%.0f", tokens / seconds);
    } else {
        lilac_table_cell(table, "-");
    }
}

lilac_status lilac_print_generation_times(lilac_session *session, const lilac_generation_config *config,
                                          const lilac_generation_times *times) {
    const double sequences = (double)config->count;
    const double prompt = sequences * (double)config->prompt;
    const double drawn = sequences * (double)(config->length - config->prompt);
    lilac_table *table = lilac_table_create("lrrr");
    lilac_table_cell(table, "time of");
    lilac_table_cell(table, "seconds");
    lilac_table_cell(table, "ms a sequence");
    lilac_table_cell(table, "tokens/s");
    lilac_table_rule(table);
    add_row(table, "prompts", times->prompt, sequences, prompt);
    add_row(table, "steps", times->steps, sequences, drawn);
    add_row(table, "  projections", times->projections, sequences, 0.0);
    add_row(table, "  attention", times->attention, sequences, 0.0);
    add_row(table, "  the rest", times->steps - times->projections - times->attention, sequences, 0.0);
    add_row(table, "all", times->prompt + times->steps, sequences, prompt + drawn);
    return lilac_session_print_table(session, LILAC_OK, table);
}

lilac_status lilac_save_image_grid(lilac_session *session, const char *path, const lilac_image_grid *grid, size_t count,
                                   const uint8_t *images) {
    size_t width, height;
    LILAC_TRY(lilac_image_grid_size(session->context, grid, &width, &height));
    uint8_t *picture = malloc(width * height);
    if (picture == NULL) {
        return lilac_fail_memory(session->context, "the picture", width * height);
    }
    lilac_image_grid_clear(grid, picture);
    lilac_image_grid_draw(grid, 0, count, images, picture);
    const lilac_status status = lilac_png_write(session->context, path, width, height, picture);
    free(picture);
    LILAC_TRY(status);
    lilac_progress_bar_clear(&session->bar);
    printf("Saved %s: %zu x %zu pixels\n", path, width, height);
    return LILAC_OK;
}
