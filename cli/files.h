/* SPDX-License-Identifier: MIT */
/* The files and folders that commands read and write. */
#ifndef LILAC_CLI_FILES_H
#define LILAC_CLI_FILES_H

#include "session.h"

/*
 * Loads a part of the data set in the session's data folder: --data, else LILAC_DATA, else data/mnist below the current
 * folder or below the clone that the program was built in. Where there is none, the message says how to get it.
 */
LILAC_MUST_USE lilac_status lilac_session_load_mnist(lilac_session *session, lilac_mnist_part part,
                                                     lilac_dataset **out);

/* A model of one of the two kinds: the other pointer is NULL. */
typedef struct lilac_model {
    lilac_mlp *mlp;
    lilac_transformer *transformer;
} lilac_model;

/* Loads a model of the kind that its file says. Free it with lilac_model_free. Errors: those of lilac_mlp_load. */
LILAC_MUST_USE lilac_status lilac_session_load_model(lilac_session *session, const char *path, lilac_model *out);
void lilac_model_free(const lilac_model *model);

/* Loads an adapter that must have been made for that model. Errors: those of lilac_adapter_load. */
LILAC_MUST_USE lilac_status lilac_session_load_adapter(lilac_session *session, const lilac_model *model,
                                                       const char *path, lilac_adapter **out);

/*
 * Finds a file that comes with Lilac ("models/linear.safetensors"): below the current folder, below the clone that the
 * program was built in, or among what is installed. False if it is in none of them.
 */
bool lilac_session_find_file(const char *name, char *path, size_t size);

/*
 * Whether a file can be written at path, found out by starting to. To be asked before long work whose result is meant
 * for that file. Errors: those of lilac_file_writer_open.
 */
LILAC_MUST_USE lilac_status lilac_session_check_output(lilac_session *session, const char *path);

/*
 * The same for figures as JSON and as a plot, for which gnuplot must be there; either may be NULL. Errors: also
 * UNSUPPORTED.
 */
LILAC_MUST_USE lilac_status lilac_session_check_figures(lilac_session *session, const char *json, const char *plot);

/* Whether two paths lead to one file, which need not be there yet. */
bool lilac_session_same_file(const char *a, const char *b);

/*
 * Refuses an output that is the same file as an input, which it would replace. Errors: ARGUMENT, as a usage error.
 */
LILAC_MUST_USE lilac_status lilac_session_check_keeps(lilac_session *session, const char *output, const char *input);

enum { LILAC_PATH_SIZE = 4096 };

/* The path of a file in the folder that --output names. Errors: ARGUMENT (too long), as a usage error. */
LILAC_MUST_USE lilac_status lilac_session_output_path(lilac_session *session, const char *folder, const char *name,
                                                      char path[LILAC_PATH_SIZE]);

/* Makes the folder and those above it, where they do not exist. Errors: ARGUMENT (too long), IO. */
LILAC_MUST_USE lilac_status lilac_session_make_folder(lilac_session *session, const char *path);

#endif
