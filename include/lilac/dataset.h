/* SPDX-License-Identifier: MIT */
/*
 * Data sets of labelled grey images, held as bytes, and the variants of them that models are trained on or adapted to.
 *
 * A data set never changes after its creation, so any number of threads may read it at once.
 */
#ifndef LILAC_DATASET_H
#define LILAC_DATASET_H

#include <lilac/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lilac_dataset lilac_dataset;

/* What a data set measures: count images of rows x cols pixels, each with a label in 0 .. classes-1. */
typedef struct lilac_dataset_shape {
    size_t count;   /* 1 .. 2^32-1 */
    size_t rows;    /* at least 1 */
    size_t cols;    /* at least 1 */
    size_t classes; /* 1 .. 256 */
} lilac_dataset_shape;

typedef enum lilac_mnist_part {
    LILAC_MNIST_TRAIN = 0, /* 60,000 images in MNIST */
    LILAC_MNIST_TEST = 1   /* 10,000 images in MNIST */
} lilac_mnist_part;

/* What a model is given for a pixel x in 0 .. 255. All but the first leave the range at 0 .. 1. */
typedef enum lilac_variant {
    LILAC_VARIANT_ORIGINAL = 0,  /* (x/255 - 0.1307) / 0.3081: MNIST brought to mean 0 and standard deviation 1 */
    LILAC_VARIANT_QUANTIZED = 1, /* x/255 rounded to 0 or 1 */
    LILAC_VARIANT_ROTATED = 2,   /* x/255 of the image turned by 180 degrees */
    LILAC_VARIANT_INVERTED = 3,  /* 1 - x/255 */
    LILAC_VARIANT_PLAIN = 4      /* x/255 */
} lilac_variant;

/* The number of variants: their values are 0 .. LILAC_VARIANT_COUNT-1. */
enum { LILAC_VARIANT_COUNT = 5 };

/* "mnist", "quantized", "rotated", "inverted" or "plain"; NULL for a value that is none. Thread safe. */
LILAC_API const char *lilac_variant_name(lilac_variant variant);

/* Parses such a name into *variant. Errors: ARGUMENT. Thread safe. */
LILAC_API LILAC_MUST_USE lilac_status lilac_variant_parse(const char *name, lilac_variant *variant);

/*
 * Loads one part of MNIST, or of any data set with its file names and image size (Fashion-MNIST, for one): 28 x 28
 * pixels, labels 0 .. 9. The folder holds {train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte in the IDX
 * format, each plain or compressed by gzip under the same name with .gz added; where both are present the plain one is
 * read. Free the result with lilac_dataset_destroy.
 *
 * Errors: ARGUMENT, MEMORY, IO; NOT_FOUND (no such file); MAGIC (not an IDX file), UNSUPPORTED (elements other than
 * bytes, a folder or a pipe in a file's place), SHAPE (wrong number of dimensions, no images, other than 28 x 28),
 * OVERFLOW (dimensions beyond 1 GiB of content), TRUNCATED, TRAILING, FORMAT (damaged gzip data), VALUE_RANGE (a label
 * above 9), COUNT_MISMATCH (images and labels).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_dataset_load_mnist(lilac_context *context, const char *folder,
                                                               lilac_mnist_part part, lilac_dataset **out);

/*
 * Makes a data set by copying images (count x rows x cols) and labels (count). Free it with lilac_dataset_destroy.
 * Errors: ARGUMENT (a null pointer), SHAPE (a size out of its range), OVERFLOW, MEMORY, VALUE_RANGE (a label not below
 * classes).
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_dataset_create(lilac_context *context, const lilac_dataset_shape *shape,
                                                           const uint8_t *images, const uint8_t *labels,
                                                           lilac_dataset **out);

/* Frees a data set; NULL is allowed. */
LILAC_API void lilac_dataset_destroy(lilac_dataset *dataset);

/* The shape. Thread safe. */
LILAC_API lilac_dataset_shape lilac_dataset_get_shape(const lilac_dataset *dataset);

/* The pixels of image index, rows x cols, valid as long as the data set; index < count. Thread safe. */
LILAC_API const uint8_t *lilac_dataset_image(const lilac_dataset *dataset, size_t index);

/* All count labels, valid as long as the data set. Thread safe. */
LILAC_API const uint8_t *lilac_dataset_labels(const lilac_dataset *dataset);

/*
 * A part of a data set, in some order, seen as one of the variants. It owns nothing: what it points to must outlive it.
 */
typedef struct lilac_data_view {
    const lilac_dataset *dataset;
    const uint32_t *indices; /* the images, count numbers; NULL: images first .. first+count-1 */
    size_t first;            /* read only where indices is NULL */
    size_t count;
    lilac_variant variant;
} lilac_data_view;

/* The whole data set in its own order. Thread safe. */
LILAC_API lilac_data_view lilac_data_view_all(const lilac_dataset *dataset, lilac_variant variant);

/*
 * A random order of the images 0 .. count-1 that depends on the seed alone, for cutting a data set in two: with V
 * images to be set aside for validation, the first count - V of indices (count numbers) are the training set and the
 * rest are the validation set. count < 2^32. Thread safe.
 */
LILAC_API void lilac_split(uint64_t seed, size_t count, uint32_t *indices);

#ifdef __cplusplus
}
#endif
#endif
