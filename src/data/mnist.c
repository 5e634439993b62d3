/* SPDX-License-Identifier: MIT */
/* Finds the files of MNIST, or of a data set laid out like it, in a folder and makes a data set of them. */
#include "core/memory.h"
#include "data/dataset.h"
#include "data/idx.h"
#include "runtime/context.h"

#include <stdio.h>
#include <string.h>

enum { ROWS = 28, COLS = 28, CLASSES = 10 };

static const char *const image_files[] = {"train-images-idx3-ubyte", "t10k-images-idx3-ubyte"};
static const char *const label_files[] = {"train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"};

/* One file of the folder: its path, with room for the longest name, and its content. */
typedef struct mnist_file {
    char *path;
    lilac_idx idx;
} mnist_file;

static void file_free(mnist_file *file) {
    lilac_memory_free(file->path);
    lilac_memory_free(file->idx.data);
}

/* Reads folder/name, or folder/name.gz where the first is not there. */
static lilac_status file_read(lilac_context *context, const char *folder, const char *name, int dimensions,
                              mnist_file *file) {
    const size_t size = strlen(folder) + strlen(name) + sizeof "/.gz";
    file->path = lilac_memory_allocate(size, 1);
    if (file->path == NULL) {
        return lilac_fail_memory(context, "a path", size);
    }
    snprintf(file->path, size, "%s/%s", folder, name);
    lilac_status status = lilac_idx_read(context, file->path, dimensions, &file->idx);
    if (status == LILAC_ERROR_NOT_FOUND) {
        snprintf(file->path, size, "%s/%s.gz", folder, name);
        status = lilac_idx_read(context, file->path, dimensions, &file->idx);
    }
    if (status == LILAC_ERROR_NOT_FOUND) {
        return lilac_fail(context, status, "%s: expected a file %s or %s.gz in this folder, got neither", folder, name,
                          name);
    }
    return status;
}

/* Makes a data set that takes over the content of both files. */
static lilac_status join(lilac_context *context, mnist_file *images, mnist_file *labels, lilac_dataset **out) {
    const size_t *dimensions = images->idx.dimensions;
    if (dimensions[1] != ROWS || dimensions[2] != COLS) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: expected images of %d x %d pixels, got %zu x %zu",
                          images->path, ROWS, COLS, dimensions[1], dimensions[2]);
    }
    if (labels->idx.size != dimensions[0]) {
        return lilac_fail(context, LILAC_ERROR_COUNT_MISMATCH, "%s: expected %zu labels, one for each image, got %zu",
                          labels->path, dimensions[0], labels->idx.size);
    }
    const lilac_dataset_shape shape = {.count = dimensions[0], .rows = ROWS, .cols = COLS, .classes = CLASSES};
    LILAC_TRY(lilac_dataset_adopt(context, labels->path, &shape, images->idx.data, labels->idx.data, out));
    images->idx.data = NULL;
    labels->idx.data = NULL;
    return LILAC_OK;
}

lilac_status lilac_dataset_load_mnist(lilac_context *context, const char *folder, lilac_mnist_part part,
                                      lilac_dataset **out) {
    if (context == NULL || folder == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "loading MNIST: a null pointer was given");
    }
    if (part != LILAC_MNIST_TRAIN && part != LILAC_MNIST_TEST) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "loading MNIST: there is no part %d", (int)part);
    }
    mnist_file images = {0}, labels = {0};
    lilac_status status = file_read(context, folder, image_files[part], 3, &images);
    if (status == LILAC_OK) {
        status = file_read(context, folder, label_files[part], 1, &labels);
    }
    if (status == LILAC_OK) {
        status = join(context, &images, &labels, out);
    }
    file_free(&images);
    file_free(&labels);
    return status;
}
