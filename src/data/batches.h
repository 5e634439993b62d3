/* SPDX-License-Identifier: MIT */
/* Choosing images of a data set and gathering them, a batch at a time, as a model's inputs. */
#ifndef LILAC_DATA_BATCHES_H
#define LILAC_DATA_BATCHES_H

#include "runtime/context.h"

#include <lilac/dataset.h>

/*
 * Whether the view has images, all of which exist: training must not find out after some steps that one does not.
 * Errors: ARGUMENT, OVERFLOW (2^32 items or more).
 */
lilac_status lilac_data_view_check(lilac_context *context, const lilac_data_view *view);

/* The image that is the view's item number item, which must be below its count. */
size_t lilac_data_view_image(const lilac_data_view *view, size_t item);

/*
 * Gathers the view's items first .. first+count-1: inputs (count x pixels) and labels (count). Either may be NULL where
 * it is not wanted. The rows are shared out among the context's threads; the bytes do not depend on their number.
 * Errors: ARGUMENT (items beyond the view's, images beyond the data set's).
 */
lilac_status lilac_batch_fill(lilac_context *context, const lilac_data_view *view, size_t first, size_t count,
                              float *inputs, uint8_t *labels);

/*
 * The view's items in a random order that depends on the seed and the epoch alone, not on the order of another epoch.
 * The images are written to indices (view->count numbers), to which the result points; they must not overlap
 * view->indices.
 */
lilac_data_view lilac_data_view_shuffle(const lilac_data_view *view, uint64_t seed, uint64_t epoch, uint32_t *indices);

#endif
