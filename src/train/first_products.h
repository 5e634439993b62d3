/* SPDX-License-Identifier: MIT */
/*
 * The products x W^T of an MLP's first layer for all images of a view. While an adapter is trained neither x nor W
 * changes, so that the product, most of the forward pass, need not be made again in each epoch.
 */
#ifndef LILAC_TRAIN_FIRST_PRODUCTS_H
#define LILAC_TRAIN_FIRST_PRODUCTS_H

#include "data/batches.h"
#include "model/mlp.h"

typedef struct lilac_first_products {
    size_t width;           /* outputs of the layer */
    float *rows;            /* of the view's items in their order; NULL: there are none */
    uint32_t *row_of_image; /* for the view's images */
} lilac_first_products;

/* Whether the products of that many images are few enough to be kept. */
bool lilac_first_products_fit(const lilac_mlp *mlp, size_t images);

/* Makes them, `batch` images at a time, which go through inputs (batch x the layer's inputs). Errors: OVERFLOW, MEMORY.
 * To be destroyed also after a failure. */
lilac_status lilac_first_products_create(lilac_context *context, const lilac_mlp *mlp, const lilac_data_view *view,
                                         size_t batch, float *inputs, lilac_first_products *out);
void lilac_first_products_destroy(lilac_first_products *products);

/* out (count x width) = the products of items first .. first+count-1 of a view of the same images in any order. */
void lilac_first_products_gather(lilac_context *context, const lilac_first_products *products,
                                 const lilac_data_view *view, size_t first, size_t count, float *out);

#endif
