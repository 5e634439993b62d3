/* SPDX-License-Identifier: MIT */
/* The two transformers of the completion experiment, from files. */
#ifndef LILAC_CLI_COMPLETION_MODELS_H
#define LILAC_CLI_COMPLETION_MODELS_H

#include "session.h"

#include "experiments/completion.h"

/* Where they are looked for by lilac_session_find_file, one for each lilac_transformer_attention. */
extern const char *const lilac_completion_model_files[LILAC_COMPLETION_MODEL_COUNT];

/*
 * Loads them. A file that the user named with --linear or --softmax must be there; one of the usual place need not be:
 * its model stays NULL, and a note says so. Returns how many there are in *count. Errors: those of
 * lilac_transformer_load; what was loaded before is left in models.
 */
LILAC_MUST_USE lilac_status lilac_completion_models_load(lilac_session *session,
                                                         lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT],
                                                         size_t *count);
void lilac_completion_models_free(lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT]);

#endif
