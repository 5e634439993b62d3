/* SPDX-License-Identifier: MIT */
/* The inside of a data set. */
#ifndef LILAC_DATA_DATASET_H
#define LILAC_DATA_DATASET_H

#include <lilac/dataset.h>

struct lilac_dataset {
    lilac_dataset_shape shape;
    size_t pixels;   /* rows * cols */
    uint8_t *images; /* count x pixels */
    uint8_t *labels; /* count */
};

/*
 * Makes a data set of the given images and labels without copying them: both come from lilac_memory_allocate and belong
 * to the data set on success, still to the caller on failure. name stands for the data in messages.
 */
lilac_status lilac_dataset_adopt(lilac_context *context, const char *name, const lilac_dataset_shape *shape,
                                 uint8_t *images, uint8_t *labels, lilac_dataset **out);

#endif
