/* SPDX-License-Identifier: MIT */
#include "train/first_products.h"

#include "core/memory.h"
#include "nn/linear.h"
#include "runtime/parallel.h"

#include <string.h>

static const size_t most_bytes = (size_t)256 << 20;

/* Rows in a block of the parallel loop that gathers them. */
enum { GRAIN = 32 };

bool lilac_first_products_fit(const lilac_mlp *mlp, size_t images) {
    size_t bytes;
    return lilac_size_multiply(images, mlp->layers[0].out * sizeof(float), &bytes) && bytes <= most_bytes;
}

lilac_status lilac_first_products_create(lilac_context *context, const lilac_mlp *mlp, const lilac_data_view *view,
                                         size_t batch, float *inputs, lilac_first_products *out) {
    const lilac_linear_layer *layer = &mlp->layers[0];
    const size_t images = lilac_dataset_get_shape(view->dataset).count;
    *out = (lilac_first_products){.width = layer->out,
                                  .rows = lilac_memory_allocate(view->count * layer->out, sizeof *out->rows),
                                  .row_of_image = lilac_memory_allocate(images, sizeof *out->row_of_image)};
    if (out->rows == NULL || out->row_of_image == NULL) {
        return lilac_fail_memory(context, "the first layer's products",
                                 view->count * layer->out * sizeof *out->rows + images * sizeof *out->row_of_image);
    }
    for (size_t first = 0; first < view->count; first += batch) {
        const size_t count = lilac_size_min(batch, view->count - first);
        LILAC_TRY(lilac_batch_fill(context, view, first, count, inputs, NULL));
        LILAC_TRY(lilac_linear_forward(context, count, layer->in, layer->out, lilac_operand_of(inputs),
                                       lilac_operand_of(layer->weight), out->rows + first * layer->out));
    }
    for (size_t item = 0; item < view->count; item++) {
        out->row_of_image[lilac_data_view_image(view, item)] = (uint32_t)item;
    }
    return LILAC_OK;
}

void lilac_first_products_destroy(lilac_first_products *products) {
    lilac_memory_free(products->row_of_image);
    lilac_memory_free(products->rows);
}

typedef struct gathering {
    const lilac_first_products *products;
    const lilac_data_view *view;
    size_t first;
    float *out;
} gathering;

static void gather_rows(void *argument, size_t begin, size_t end) {
    const gathering *g = argument;
    const size_t width = g->products->width;
    for (size_t i = begin; i < end; i++) {
        const size_t row = g->products->row_of_image[lilac_data_view_image(g->view, g->first + i)];
        memcpy(g->out + i * width, g->products->rows + row * width, width * sizeof *g->out);
    }
}

void lilac_first_products_gather(lilac_context *context, const lilac_first_products *products,
                                 const lilac_data_view *view, size_t first, size_t count, float *out) {
    gathering g = {.products = products, .view = view, .first = first, .out = out};
    lilac_parallel_for(context, count, GRAIN, gather_rows, &g);
}
