/* SPDX-License-Identifier: MIT */
/* What the commands that let a transformer write sequences have in common. */
#ifndef LILAC_CLI_GENERATION_H
#define LILAC_CLI_GENERATION_H

#include "session.h"

#include "data/image_grid.h"

/* "f32, 300 sequences, 391 tokens each": prints a table of where the seconds went. */
LILAC_MUST_USE lilac_status lilac_print_generation_times(lilac_session *session, const lilac_generation_config *config,
                                                         const lilac_generation_times *times);

/* One adapter for all sequences; both NULL where the model is used alone. */
typedef struct lilac_sequence_adapter {
    lilac_adapter *adapter;
    const lilac_adapter **each; /* (count) as in lilac_generation_config */
} lilac_sequence_adapter;

/* Loads the adapter of a model for count sequences; path may be NULL: none. Free it with lilac_sequence_adapter_free.
 */
LILAC_MUST_USE lilac_status lilac_sequence_adapter_load(lilac_session *session, const lilac_transformer *model,
                                                        const char *path, size_t count, lilac_sequence_adapter *out);

void lilac_sequence_adapter_free(lilac_sequence_adapter *adapter);

/* Saves a grid of count images (count x rows x cols) as a PNG file and says so. */
LILAC_MUST_USE lilac_status lilac_save_image_grid(lilac_session *session, const char *path,
                                                  const lilac_image_grid *grid, size_t count, const uint8_t *images);

/* Images whose lower part was completed. */
typedef struct lilac_completed_images {
    size_t count, rows, cols;
    size_t keep_rows;                     /* that the model saw */
    const uint8_t *originals, *completed; /* count x rows x cols each */
} lilac_completed_images;

/* Saves a picture of them: each image as it was, as the model saw it, and completed. */
LILAC_MUST_USE lilac_status lilac_save_completed_images(lilac_session *session, const char *path,
                                                        const lilac_completed_images *images, size_t zoom);

#endif
