/* SPDX-License-Identifier: MIT */
/* Small images that can be told apart: noisy copies of one random prototype for each class. */
#ifndef LILAC_TESTS_TOY_IMAGES_H
#define LILAC_TESTS_TOY_IMAGES_H

#include <lilac/dataset.h>

/* The prototypes depend on the shape's pixels and classes alone, the noise and labels on the stream too. */
lilac_dataset *toy_images_create(lilac_context *context, uint64_t stream, size_t count, size_t side, size_t classes);

#endif
