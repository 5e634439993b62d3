/* SPDX-License-Identifier: MIT */
#include "files.h"
#include "gnuplot.h"

#include "runtime/context.h"
#include "runtime/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

/* True if the folder holds the images of one part, plain or compressed. */
static bool holds_mnist(const char *folder, lilac_mnist_part part) {
    char path[LILAC_PATH_SIZE];
    for (int compressed = 0; compressed < 2; compressed++) {
        const int length = snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte%s", folder,
                                    part == LILAC_MNIST_TRAIN ? "train" : "t10k", compressed ? ".gz" : "");
        if (length > 0 && (size_t)length < sizeof path && access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* Cuts path before its last slash; false if it has none. */
static bool cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

/* Cuts off what path ends with; false if it does not. */
static bool cut_end(char *path, const char *end) {
    const size_t length = strlen(path), cut = strlen(end);
    if (length < cut || strcmp(path + length - cut, end) != 0) {
        return false;
    }
    path[length - cut] = '\0';
    return true;
}

/* The folder that the program lies in; false if that cannot be told. */
static bool program_folder(char path[LILAC_PATH_SIZE]) {
    const ssize_t length = readlink("/proc/self/exe", path, LILAC_PATH_SIZE - 1);
    path[length > 0 ? length : 0] = '\0';
    return length > 0 && cut_name(path);
}

/* The clone that holds the program as build/cli/lilac. */
static bool clone_folder(char path[LILAC_PATH_SIZE]) {
    return program_folder(path) && cut_end(path, "/cli") && cut_name(path);
}

/* The folder of Lilac's own files, found from where the program lies: what is installed can be moved as a whole. */
static bool installed_folder(char path[LILAC_PATH_SIZE]) {
    static const char data[] = LILAC_DATADIR "/lilac";
    if (data[0] == '/') {
        snprintf(path, LILAC_PATH_SIZE, "%s", data);
        return true;
    }
    if (!program_folder(path) || !cut_end(path, "/" LILAC_BINDIR) || strlen(path) + sizeof data >= LILAC_PATH_SIZE) {
        return false;
    }
    snprintf(path + strlen(path), sizeof data + 1, "/%s", data);
    return true;
}

bool lilac_session_find_file(const char *name, char *path, size_t size) {
    static bool (*const folders[])(char path[LILAC_PATH_SIZE]) = {clone_folder, installed_folder};
    snprintf(path, size, "%s", name);
    bool found = access(path, F_OK) == 0;
    for (size_t i = 0; i < LILAC_COUNT(folders) && !found; i++) {
        char folder[LILAC_PATH_SIZE];
        if (folders[i](folder)) {
            const int length = snprintf(path, size, "%s/%s", folder, name);
            found = length > 0 && (size_t)length < size && access(path, F_OK) == 0;
        }
    }
    return found;
}

lilac_status lilac_session_load_mnist(lilac_session *session, lilac_mnist_part part, lilac_dataset **out) {
    static const char *const hint = "scripts/fetch-mnist DIR fetches MNIST to a folder, --data DIR or LILAC_DATA=DIR "
                                    "names one";
    lilac_context *context = session->context;
    const char *named = session->common.data != NULL ? session->common.data : getenv("LILAC_DATA");
    if (named != NULL && named[0] != '\0') {
        const lilac_status status = lilac_dataset_load_mnist(context, named, part, out);
        if (status == LILAC_ERROR_NOT_FOUND) {
            return lilac_fail(context, status, "%s; %s", lilac_context_message(context), hint);
        }
        return status;
    }
    if (holds_mnist("data/mnist", part)) {
        return lilac_dataset_load_mnist(context, "data/mnist", part, out);
    }
    static const char below[] = "/data/mnist";
    char folder[LILAC_PATH_SIZE];
    if (!clone_folder(folder) || strlen(folder) + sizeof below > sizeof folder) {
        return lilac_fail(context, LILAC_ERROR_NOT_FOUND, "MNIST is not in data/mnist; %s", hint);
    }
    memcpy(folder + strlen(folder), below, sizeof below);
    if (holds_mnist(folder, part)) {
        return lilac_dataset_load_mnist(context, folder, part, out);
    }
    return lilac_fail(context, LILAC_ERROR_NOT_FOUND, "MNIST is neither in data/mnist nor in %s; %s", folder, hint);
}

lilac_status lilac_session_load_model(lilac_session *session, const char *path, lilac_model *out) {
    lilac_model model = {NULL, NULL};
    lilac_status status = lilac_mlp_load(session->context, path, &model.mlp);
    if (status == LILAC_ERROR_UNSUPPORTED) {
        status = lilac_transformer_load(session->context, path, &model.transformer);
    }
    if (status == LILAC_ERROR_UNSUPPORTED) {
        return lilac_fail(session->context, status,
                          "%s: neither a classifier nor a transformer that this version reads", path);
    }
    LILAC_TRY(status);
    *out = model;
    return LILAC_OK;
}

void lilac_model_free(const lilac_model *model) {
    lilac_mlp_destroy(model->mlp);
    lilac_transformer_destroy(model->transformer);
}

lilac_status lilac_session_load_adapter(lilac_session *session, const lilac_model *model, const char *path,
                                        lilac_adapter **out) {
    if (model->transformer != NULL) {
        return lilac_transformer_adapter_load(session->context, model->transformer, path, out);
    }
    const lilac_lora_base base = lilac_mlp_lora_base(model->mlp);
    return lilac_adapter_load(session->context, path, &base, out);
}

lilac_status lilac_session_check_output(lilac_session *session, const char *path) {
    return lilac_file_check_writable(session->context, path);
}

lilac_status lilac_session_check_figures(lilac_session *session, const char *json, const char *plot) {
    if (json != NULL) {
        LILAC_TRY(lilac_session_check_output(session, json));
    }
    if (plot != NULL) {
        LILAC_TRY(lilac_gnuplot_check(session->context));
        LILAC_TRY(lilac_session_check_output(session, plot));
    }
    return LILAC_OK;
}

static bool same_inode(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Splits a path into its folder and the name there; false if it is too long. */
static bool split_path(const char *path, char folder[LILAC_PATH_SIZE], const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash == NULL ? path : slash + 1;
    const int length = snprintf(folder, LILAC_PATH_SIZE, "%.*s", slash == NULL ? 1 : (int)(slash + 1 - path),
                                slash == NULL ? "." : path);
    return length > 0 && length < LILAC_PATH_SIZE;
}

bool lilac_session_same_file(const char *a, const char *b) {
    struct stat first, second;
    if (strcmp(a, b) == 0) {
        return true;
    }
    const bool have_first = stat(a, &first) == 0, have_second = stat(b, &second) == 0;
    if (have_first || have_second) {
        return have_first && have_second && same_inode(&first, &second);
    }
    char folder_a[LILAC_PATH_SIZE], folder_b[LILAC_PATH_SIZE];
    const char *name_a, *name_b;
    return split_path(a, folder_a, &name_a) && split_path(b, folder_b, &name_b) && strcmp(name_a, name_b) == 0 &&
           stat(folder_a, &first) == 0 && stat(folder_b, &second) == 0 && same_inode(&first, &second);
}

lilac_status lilac_session_check_keeps(lilac_session *session, const char *output, const char *input) {
    if (input != NULL && lilac_session_same_file(output, input)) {
        return lilac_session_usage_error(session, "%s would replace %s, which is read", output, input);
    }
    return LILAC_OK;
}

lilac_status lilac_session_output_path(lilac_session *session, const char *folder, const char *name,
                                       char path[LILAC_PATH_SIZE]) {
    const int length = snprintf(path, LILAC_PATH_SIZE, "%s/%s", folder, name);
    return length >= 0 && length < LILAC_PATH_SIZE
               ? LILAC_OK
               : lilac_session_usage_error(session, "--output: the name is too long");
}

lilac_status lilac_session_make_folder(lilac_session *session, const char *path) {
    char part[LILAC_PATH_SIZE];
    if (strlen(path) >= sizeof part) {
        return lilac_fail(session->context, LILAC_ERROR_ARGUMENT, "%.64s...: the name is too long", path);
    }
    for (size_t length = 1; length <= strlen(path); length++) {
        if (path[length] != '/' && path[length] != '\0') {
            continue;
        }
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        struct stat information;
        const bool made = mkdir(part, 0777) == 0 || errno == EEXIST;
        if (!made || stat(part, &information) != 0 || !S_ISDIR(information.st_mode)) {
            return lilac_fail(session->context, LILAC_ERROR_IO, "cannot make the folder %s: %s", part,
                              made ? "a file of that name is in the way" : strerror(errno));
        }
    }
    return LILAC_OK;
}
