/* SPDX-License-Identifier: MIT */
#include "linalg/packed_matrix.h"

#include "core/bf16.h"
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "runtime/parallel.h"

enum {
    /* Numbers of x that go through all panels before the next do: they stay in the second-level cache. */
    INPUT_BLOCK = 3 << 15,
    /* Multiplications below which a thread more would cost more than it saves. */
    SMALL_BLOCK = 1 << 15,
    /* Rows that give the processor enough to do for weights to be fetched beside it. */
    AHEAD_ROWS = 12
};

static size_t panel_count(const lilac_packed_matrix *packed) {
    return (packed->out + LILAC_PANEL - 1) / LILAC_PANEL;
}

static size_t element_size(const lilac_packed_matrix *packed) {
    return packed->bf16 ? sizeof(uint16_t) : sizeof(float);
}

size_t lilac_packed_matrix_bytes(const lilac_packed_matrix *packed) {
    return panel_count(packed) * LILAC_PANEL * packed->in * element_size(packed);
}

typedef struct {
    const lilac_packed_matrix *packed;
    lilac_unpacked_matrix W;
} pack_loop;

static void pack_panels(void *argument, size_t begin, size_t end) {
    const pack_loop *loop = argument;
    const size_t in = loop->packed->in;
    for (size_t j = begin * LILAC_PANEL; j < lilac_size_min(end * LILAC_PANEL, loop->packed->out); j++) {
        const size_t first = j / LILAC_PANEL * LILAC_PANEL * in + j % LILAC_PANEL;
        for (size_t k = 0; k < in; k++) {
            const float value = loop->W.scale * loop->W.data[j * loop->W.row_step + k * loop->W.column_step];
            const size_t index = first + k * LILAC_PANEL;
            if (loop->packed->bf16) {
                ((uint16_t *)loop->packed->panels)[index] = lilac_bf16_from_float(value);
            } else {
                ((float *)loop->packed->panels)[index] = value;
            }
        }
    }
}

lilac_status lilac_packed_matrix_pack(lilac_context *context, size_t out, size_t in, lilac_unpacked_matrix W, bool bf16,
                                      lilac_packed_matrix *packed) {
    lilac_packed_matrix matrix = {.out = out, .in = in, .bf16 = bf16};
    matrix.panels = lilac_memory_allocate(panel_count(&matrix) * LILAC_PANEL * in, element_size(&matrix));
    if (matrix.panels == NULL) {
        return lilac_fail_memory(context, "packed weights", lilac_packed_matrix_bytes(&matrix));
    }
    pack_loop loop = {.packed = &matrix, .W = W};
    lilac_parallel_for(context, panel_count(&matrix), 1, pack_panels, &loop);
    *packed = matrix;
    return LILAC_OK;
}

void lilac_packed_matrix_free(lilac_packed_matrix *packed) {
    lilac_memory_free(packed->panels);
    packed->panels = NULL;
}

static size_t panel_bytes(const lilac_packed_matrix *packed) {
    return LILAC_PANEL * packed->in * element_size(packed);
}

typedef struct {
    const lilac_packed_product_kernels *kernels;
    const lilac_packed_matrix *packed;
    size_t rows, row_step, panels;
    const float *x;
    bool add;
    float *y;
    size_t ldy;
    const char *ahead;
    size_t ahead_step; /* bytes of it for each panel */
} multiply_loop;

/* What the block after this one begins with: the next panel, or behind the last one the first of the next matrix. */
static void look_ahead(const multiply_loop *loop, size_t panel, lilac_packed_product *product) {
    const lilac_packed_matrix *packed = loop->packed;
    if (product->rows < AHEAD_ROWS) {
        return;
    }
    if (panel + 1 < loop->panels) {
        product->weights_ahead.data = (const char *)packed->panels + (panel + 1) * panel_bytes(packed);
        product->weights_ahead.bytes = panel_bytes(packed);
    } else if (packed->next != NULL) {
        product->weights_ahead.data = packed->next->panels;
        product->weights_ahead.bytes = panel_bytes(packed->next);
    }
    if (loop->ahead_step > 0) {
        product->ahead.data = loop->ahead + panel * loop->ahead_step;
        product->ahead.bytes = loop->ahead_step;
    }
}

static void multiply_blocks(void *argument, size_t begin, size_t end) {
    const multiply_loop *loop = argument;
    const lilac_packed_matrix *packed = loop->packed;
    for (size_t block = begin; block < end; block++) {
        const size_t row = block / loop->panels * loop->row_step, panel = block % loop->panels;
        const size_t column = panel * LILAC_PANEL, first = column * packed->in;
        lilac_packed_product product = {.rows = lilac_size_min(loop->row_step, loop->rows - row),
                                        .depth = packed->in,
                                        .cols = lilac_size_min(LILAC_PANEL, packed->out - column),
                                        .ldx = packed->in,
                                        .ldy = loop->ldy,
                                        .add = loop->add};
        look_ahead(loop, panel, &product);
        const float *x = loop->x + row * packed->in;
        float *y = loop->y + row * loop->ldy + column;
        if (packed->bf16) {
            loop->kernels->multiply_bf16(&product, x, (const uint16_t *)packed->panels + first, y);
        } else {
            loop->kernels->multiply(&product, x, (const float *)packed->panels + first, y);
        }
    }
}

static void run(const lilac_context *context, multiply_loop *loop) {
    const lilac_packed_matrix *packed = loop->packed;
    if (loop->rows == 0) {
        return;
    }
    /* Blocks of even sizes, so that the threads get the same number of rows. */
    const size_t most = lilac_size_max(INPUT_BLOCK / lilac_size_max(packed->in, 1), 1);
    const size_t row_blocks = (loop->rows - 1) / most + 1;
    loop->kernels = &context->kernels->packed_product;
    loop->row_step = (loop->rows - 1) / row_blocks + 1;
    loop->panels = panel_count(packed);
    const size_t steps = (loop->rows - 1) / loop->row_step + 1;
    const size_t grain = SMALL_BLOCK / (loop->row_step * packed->in * LILAC_PANEL + 1) + 1;
    lilac_parallel_for(context, steps * loop->panels, grain, multiply_blocks, loop);
}

void lilac_packed_matrix_multiply(const lilac_context *context, const lilac_packed_matrix *packed, size_t rows,
                                  const float *x, bool add, float *y, size_t ldy) {
    multiply_loop loop = {.packed = packed, .rows = rows, .x = x, .add = add, .y = y, .ldy = ldy};
    run(context, &loop);
}

void lilac_packed_matrix_multiply_ahead(const lilac_context *context, const lilac_packed_matrix *packed, size_t rows,
                                        const float *x, float *y, const void *ahead, size_t bytes) {
    multiply_loop loop = {.packed = packed, .rows = rows, .x = x, .y = y, .ldy = packed->out, .ahead = ahead};
    loop.ahead_step = bytes / lilac_size_max(panel_count(packed), 1);
    run(context, &loop);
}
