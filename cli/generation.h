/* SPDX-License-Identifier: MIT */
/* What the commands that let a transformer write sequences have in common. */
#ifndef LILAC_CLI_GENERATION_H
#define LILAC_CLI_GENERATION_H

#include "session.h"

#include "data/image_grid.h"

/* "f32, 300 sequences, 391 tokens each": prints a table of where the seconds went. */
LILAC_MUST_USE lilac_status lilac_print_generation_times(lilac_session *session, const lilac_generation_config *config,
                                                         const lilac_generation_times *times);

/* The adapters that the user names, dealt to the sequences in turn. */
typedef struct lilac_sequence_adapters {
    lilac_adapter *loaded[LILAC_NAMED_MAX]; /* NULL from their number on */
    const lilac_adapter **each;             /* (count) as in lilac_generation_config; NULL: the model is used alone */
} lilac_sequence_adapters;

/* Loads the adapters of a model for count sequences, of which the first is number `first` of all. Free them with
 * lilac_sequence_adapters_free, also after a failure.
 */
LILAC_MUST_USE lilac_status lilac_sequence_adapters_load(lilac_session *session, const lilac_transformer *model,
                                                         size_t first, size_t count, lilac_sequence_adapters *out);

void lilac_sequence_adapters_free(lilac_sequence_adapters *adapters);

/* Checks that a file can be written and is neither the model nor an adapter. */
LILAC_MUST_USE lilac_status lilac_session_check_sampling_output(lilac_session *session, const char *output,
                                                                const char *model);

/* Refuses options of sampling that would do nothing with this model. */
LILAC_MUST_USE lilac_status lilac_session_check_sampling_model(lilac_session *session, const lilac_transformer *model);

/* What the common options say of sampling; sequences and their lengths are left to the caller. */
lilac_generation_config lilac_session_generation_config(const lilac_session *session,
                                                        const lilac_sequence_adapters *adapters);

/* Refuses a picture that could not be saved, before its images are drawn. */
LILAC_MUST_USE lilac_status lilac_check_image_grid(lilac_session *session, const char *path,
                                                   const lilac_image_grid *grid);

/* Saves a grid of count images (count x rows x cols) as a PNG file and says so. */
LILAC_MUST_USE lilac_status lilac_save_image_grid(lilac_session *session, const char *path,
                                                  const lilac_image_grid *grid, size_t count, const uint8_t *images);

/* Images whose lower part was completed. */
typedef struct lilac_completed_images {
    size_t count, rows, cols;
    size_t keep_rows;                     /* that the model saw */
    const uint8_t *originals, *completed; /* count x rows x cols each */
} lilac_completed_images;

/* The grid of the picture of them. */
lilac_image_grid lilac_completed_images_grid(const lilac_completed_images *images, size_t zoom);

/* Saves a picture of them: each image as it was, as the model saw it, and completed. */
LILAC_MUST_USE lilac_status lilac_save_completed_images(lilac_session *session, const char *path,
                                                        const lilac_completed_images *images, size_t zoom);

#endif
