/* SPDX-License-Identifier: MIT */
#include "data/dataset.h"

#include "core/memory.h"
#include "runtime/context.h"

#include <string.h>

enum { MAX_CLASSES = 256 };

static lilac_status check_shape(lilac_context *context, const char *name, const lilac_dataset_shape *shape,
                                size_t *bytes) {
    if (shape->count < 1 || shape->count > UINT32_MAX) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: expected 1 to 4294967295 images, got %zu", name,
                          shape->count);
    }
    if (shape->rows < 1 || shape->cols < 1) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: expected images of at least 1 x 1 pixels, got %zu x %zu",
                          name, shape->rows, shape->cols);
    }
    if (shape->classes < 1 || shape->classes > MAX_CLASSES) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: expected 1 to %d classes, got %zu", name, MAX_CLASSES,
                          shape->classes);
    }
    size_t pixels;
    if (!lilac_size_multiply(shape->rows, shape->cols, &pixels) || !lilac_size_multiply(pixels, shape->count, bytes)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "%s: %zu images of %zu x %zu pixels are too many bytes", name,
                          shape->count, shape->rows, shape->cols);
    }
    return LILAC_OK;
}

static lilac_status check_labels(lilac_context *context, const char *name, const lilac_dataset_shape *shape,
                                 const uint8_t *labels) {
    for (size_t i = 0; i < shape->count; i++) {
        if (labels[i] >= shape->classes) {
            return lilac_fail(context, LILAC_ERROR_VALUE_RANGE, "%s, label %zu: expected 0 to %zu, got %u", name, i,
                              shape->classes - 1, (unsigned)labels[i]);
        }
    }
    return LILAC_OK;
}

lilac_status lilac_dataset_adopt(lilac_context *context, const char *name, const lilac_dataset_shape *shape,
                                 uint8_t *images, uint8_t *labels, lilac_dataset **out) {
    size_t bytes;
    LILAC_TRY(check_shape(context, name, shape, &bytes));
    LILAC_TRY(check_labels(context, name, shape, labels));
    lilac_dataset *dataset = lilac_memory_allocate(1, sizeof *dataset);
    if (dataset == NULL) {
        return lilac_fail_memory(context, "a data set", sizeof *dataset);
    }
    *dataset =
        (lilac_dataset){.shape = *shape, .pixels = shape->rows * shape->cols, .images = images, .labels = labels};
    *out = dataset;
    return LILAC_OK;
}

lilac_status lilac_dataset_create(lilac_context *context, const lilac_dataset_shape *shape, const uint8_t *images,
                                  const uint8_t *labels, lilac_dataset **out) {
    static const char name[] = "data set from memory";
    if (context == NULL || shape == NULL || images == NULL || labels == NULL || out == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: a null pointer was given", name);
    }
    size_t bytes;
    LILAC_TRY(check_shape(context, name, shape, &bytes));
    uint8_t *own_images = lilac_memory_allocate(bytes, 1);
    uint8_t *own_labels = lilac_memory_allocate(shape->count, 1);
    lilac_status status;
    if (own_images == NULL || own_labels == NULL) {
        status = lilac_fail_memory(context, "a data set's images and labels", bytes);
    } else {
        memcpy(own_images, images, bytes);
        memcpy(own_labels, labels, shape->count);
        status = lilac_dataset_adopt(context, name, shape, own_images, own_labels, out);
    }
    if (status != LILAC_OK) {
        lilac_memory_free(own_images);
        lilac_memory_free(own_labels);
    }
    return status;
}

void lilac_dataset_destroy(lilac_dataset *dataset) {
    if (dataset != NULL) {
        lilac_memory_free(dataset->images);
        lilac_memory_free(dataset->labels);
        lilac_memory_free(dataset);
    }
}

lilac_dataset_shape lilac_dataset_get_shape(const lilac_dataset *dataset) {
    return dataset->shape;
}

const uint8_t *lilac_dataset_image(const lilac_dataset *dataset, size_t index) {
    return dataset->images + index * dataset->pixels;
}

const uint8_t *lilac_dataset_labels(const lilac_dataset *dataset) {
    return dataset->labels;
}
