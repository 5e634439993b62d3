/* SPDX-License-Identifier: MIT */
#include "data/batches.h"

#include "core/random.h"
#include "data/dataset.h"
#include "data/variant.h"
#include "runtime/parallel.h"

/* Images in a block of the parallel loop: small enough to share out a small batch, large enough to be worth a thread.
 */
enum { GRAIN = 32 };

typedef struct batch_rows {
    const lilac_context *context;
    const lilac_data_view *view;
    size_t first;
    float *inputs;
    uint8_t *labels;
} batch_rows;

size_t lilac_data_view_image(const lilac_data_view *view, size_t item) {
    return view->indices == NULL ? view->first + item : view->indices[item];
}

static void fill_rows(void *argument, size_t begin, size_t end) {
    const batch_rows *rows = argument;
    const lilac_dataset *dataset = rows->view->dataset;
    for (size_t i = begin; i < end; i++) {
        const size_t image = lilac_data_view_image(rows->view, rows->first + i);
        if (rows->inputs != NULL) {
            lilac_variant_inputs(rows->context, rows->view->variant, dataset->pixels,
                                 lilac_dataset_image(dataset, image), rows->inputs + i * dataset->pixels);
        }
        if (rows->labels != NULL) {
            rows->labels[i] = dataset->labels[image];
        }
    }
}

lilac_data_view lilac_data_view_all(const lilac_dataset *dataset, lilac_variant variant) {
    return (lilac_data_view){.dataset = dataset, .count = dataset->shape.count, .variant = variant};
}

lilac_status lilac_data_view_check(lilac_context *context, const lilac_data_view *view) {
    if (view->dataset == NULL || view->count == 0) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "the data set is missing or empty");
    }
    if (lilac_variant_name(view->variant) == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "the view of the data set has no variant %d",
                          (int)view->variant);
    }
    if (view->count > UINT32_MAX) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "the view has %zu items, expected less than 2^32",
                          view->count);
    }
    const size_t images = view->dataset->shape.count;
    if (view->indices == NULL && (view->first > images || view->count > images - view->first)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "the view ends at image %zu of a data set of %zu",
                          view->first + view->count - 1, images);
    }
    for (size_t i = 0; view->indices != NULL && i < view->count; i++) {
        if (view->indices[i] >= images) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "item %zu of the view is image %zu of a data set of %zu",
                              i, (size_t)view->indices[i], images);
        }
    }
    return LILAC_OK;
}

lilac_status lilac_batch_fill(lilac_context *context, const lilac_data_view *view, size_t first, size_t count,
                              float *inputs, uint8_t *labels) {
    if (first > view->count || count > view->count - first) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "batch of %zu items from item %zu on: the view has %zu", count,
                          first, view->count);
    }
    if (lilac_variant_name(view->variant) == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "batch: there is no variant %d", (int)view->variant);
    }
    for (size_t i = 0; i < count; i++) {
        const size_t image = lilac_data_view_image(view, first + i);
        if (image >= view->dataset->shape.count) {
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "batch, item %zu: image %zu of a data set of %zu",
                              first + i, image, view->dataset->shape.count);
        }
    }
    batch_rows rows = {.context = context, .view = view, .first = first, .inputs = inputs, .labels = labels};
    lilac_parallel_for(context, count, GRAIN, fill_rows, &rows);
    return LILAC_OK;
}

void lilac_split(uint64_t seed, size_t count, uint32_t *indices) {
    lilac_random_permutation(lilac_random_stream(seed, LILAC_RANDOM_SPLIT, 0), count, indices);
}

lilac_data_view lilac_data_view_shuffle(const lilac_data_view *view, uint64_t seed, uint64_t epoch, uint32_t *indices) {
    lilac_random_permutation(lilac_random_stream(seed, LILAC_RANDOM_SHUFFLE, epoch), view->count, indices);
    for (size_t i = 0; i < view->count; i++) {
        indices[i] = (uint32_t)lilac_data_view_image(view, indices[i]);
    }
    return (lilac_data_view){
        .dataset = view->dataset, .indices = indices, .count = view->count, .variant = view->variant};
}
