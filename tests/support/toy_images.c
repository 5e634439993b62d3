/* SPDX-License-Identifier: MIT */
#include "support/toy_images.h"

#include "support/numbers.h"

#include <stdarg.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

enum { PROTOTYPES_STREAM = 1000, NOISE_STREAM = 2000, MAX_PIXELS = 28 * 28 };

lilac_dataset *toy_images_create(lilac_context *context, uint64_t stream, size_t count, size_t side, size_t classes) {
    const size_t pixels = side * side;
    float *prototypes = malloc(classes * pixels * sizeof *prototypes), noise[MAX_PIXELS];
    uint8_t *images = malloc(count * pixels), *labels = malloc(count);
    assert_true(prototypes != NULL && images != NULL && labels != NULL && pixels <= MAX_PIXELS);
    lilac_test_uniform(PROTOTYPES_STREAM, classes * pixels, 40, 215, prototypes);
    for (size_t i = 0; i < count; i++) {
        lilac_test_uniform(NOISE_STREAM + stream * count + i, pixels, -40, 40, noise);
        labels[i] = (uint8_t)((i * 7 + i / classes) % classes);
        for (size_t p = 0; p < pixels; p++) {
            images[i * pixels + p] = (uint8_t)(prototypes[labels[i] * pixels + p] + noise[p]);
        }
    }
    const lilac_dataset_shape shape = {.count = count, .rows = side, .cols = side, .classes = classes};
    lilac_dataset *dataset = NULL;
    assert_int_equal(lilac_dataset_create(context, &shape, images, labels, &dataset), LILAC_OK);
    free(prototypes);
    free(images);
    free(labels);
    return dataset;
}
