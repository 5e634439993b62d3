/* SPDX-License-Identifier: MIT */
/*
 * Products of f32 matrices that are rounded on the way. The libraries behind matmul.h have none in half precision, and
 * for those in bf16 they want operands that are rounded before and then reorder them once more: these are Lilac's own
 * (kernels/rounded_product.h), and round while they reorder.
 */
#include "core/memory.h"
#include "kernels/kernel_table.h"
#include "linalg/matmul.h"
#include "linalg/matmul_cache.h"
#include "linalg/matmul_plan.h"
#include "runtime/parallel.h"

enum {
    /* Panels that one thread packs at a time, a row of which is read as a whole; and those of A and of B in a block
     * that it multiplies: the panels of A stay in the second-level cache while those of B pass the first. */
    PACKED_PANELS = 4,
    BLOCK_ROW_PANELS = 4,
    BLOCK_COLUMN_PANELS = 6,
    /* Of tiles: about the depth that is packed and multiplied at a time, and that of one tile. */
    TILE_DEPTH = 256,
    SLICE_DEPTH = 2 * LILAC_ROUNDED_LANES
};

/* An operand, whose rows or columns lie in its panels by vectors of LILAC_ROUNDED_LANES. */
typedef struct {
    const lilac_rounded_product_kernels *kernels;
    lilac_rounded_block whole; /* as if it were one block */
    size_t count;              /* rows or columns */
    size_t vectors, panels, blocks;
    size_t pairs; /* in a panel, rounded up as its last block is */
    uint32_t *words;
    float *scales; /* of the blocks of each panel: what undoes its own */
} operand;

typedef struct {
    const lilac_matmul_shape *shape;
    operand a, b;
    float *c;
    size_t column_blocks;
} product;

static operand operand_of(const lilac_rounded_product_kernels *kernels, size_t count, const lilac_rounded_block *whole,
                          size_t widest) {
    operand x = {.kernels = kernels, .whole = *whole, .count = count};
    x.vectors = (count - 1) / LILAC_ROUNDED_LANES + 1;
    x.panels = (x.vectors - 1) / (widest / LILAC_ROUNDED_LANES) + 1;
    x.pairs = lilac_round_up((whole->depth - 1) / 2 + 1, LILAC_ROUNDED_LANES);
    x.blocks = (x.pairs - 1) / LILAC_ROUNDED_BLOCK + 1;
    return x;
}

/* The vectors are dealt out evenly: panels of 16 columns, as a remainder would leave, take almost as long as of 32. */
static lilac_rounded_panel panel_at(const operand *x, size_t index) {
    const size_t first = x->vectors * index / x->panels, end = x->vectors * (index + 1) / x->panels;
    lilac_rounded_panel p = {.first = first * LILAC_ROUNDED_LANES, .width = (end - first) * LILAC_ROUNDED_LANES};
    p.count = lilac_size_min(p.width, x->count - p.first);
    p.words = x->words + p.first * x->pairs;
    return p;
}

/* Packs `depth` at most of the panels begin .. end - 1, from k on, which is a multiple of SLICE_DEPTH. Gives the scale.
 */
static float pack_part(const operand *x, size_t k, size_t depth, size_t begin, size_t end) {
    lilac_rounded_panel panels[PACKED_PANELS];
    for (size_t p = begin; p < end; p++) {
        panels[p - begin] = panel_at(x, p);
        panels[p - begin].words += k / 2 * panels[p - begin].width;
    }
    lilac_rounded_block block = x->whole;
    block.depth = lilac_size_min(depth, block.depth - k);
    block.x += block.strided ? k * block.ld : k;
    return x->kernels->pack(&block, end - begin, panels);
}

static void pack_panels(void *argument, size_t begin, size_t end) {
    const operand *x = argument;
    for (size_t p = begin; p < end; p += PACKED_PANELS) {
        const size_t p_end = lilac_size_min(p + PACKED_PANELS, end);
        for (size_t block = 0; block < x->blocks; block++) {
            const float scale = pack_part(x, block * 2 * LILAC_ROUNDED_BLOCK, 2 * LILAC_ROUNDED_BLOCK, p, p_end);
            for (size_t i = p; i < p_end; i++) {
                x->scales[i * x->blocks + block] = scale;
            }
        }
    }
}

/* Tiles, all panels' of a few rows of memory: those are read as a whole. */
static void pack_slices(void *argument, size_t begin, size_t end) {
    const operand *x = argument;
    for (size_t slice = begin; slice < end; slice++) {
        for (size_t p = 0; p < x->panels; p += PACKED_PANELS) {
            pack_part(x, slice * SLICE_DEPTH, SLICE_DEPTH, p, lilac_size_min(p + PACKED_PANELS, x->panels));
        }
    }
}

static void pack_operand(lilac_context *context, bool half, operand *x) {
    if (half || !x->whole.strided) {
        lilac_parallel_for(context, x->panels, PACKED_PANELS, pack_panels, x);
    } else {
        lilac_parallel_for(context, (x->whole.depth - 1) / SLICE_DEPTH + 1, 1, pack_slices, x);
    }
}

static void multiply_panels(const product *p, size_t row_panel, size_t column_panel) {
    const lilac_rounded_panel a = panel_at(&p->a, row_panel), b = panel_at(&p->b, column_panel);
    const lilac_rounded_product tile = {.rows = a.count,
                                        .cols = b.count,
                                        .depth = p->shape->k,
                                        .row_width = a.width,
                                        .col_width = b.width,
                                        .ldc = p->shape->ldc,
                                        .alpha = p->shape->alpha,
                                        .a_scales = p->a.scales + row_panel * p->a.blocks,
                                        .b_scales = p->b.scales + column_panel * p->b.blocks,
                                        .add = p->shape->beta != 0.0f};
    p->a.kernels->multiply(&tile, a.words, b.words, p->c + a.first * p->shape->ldc + b.first);
}

static void multiply_blocks(void *argument, size_t begin, size_t end) {
    const product *p = argument;
    p->a.kernels->begin();
    for (size_t block = begin; block < end; block++) {
        const size_t row = block / p->column_blocks * BLOCK_ROW_PANELS;
        const size_t column = block % p->column_blocks * BLOCK_COLUMN_PANELS;
        const size_t row_end = lilac_size_min(row + BLOCK_ROW_PANELS, p->a.panels);
        const size_t column_end = lilac_size_min(column + BLOCK_COLUMN_PANELS, p->b.panels);
        for (size_t j = column; j < column_end; j++) {
            for (size_t i = row; i < row_end; i++) {
                multiply_panels(p, i, j);
            }
        }
    }
    p->a.kernels->end();
}

/* Gives both operands their part of the context's scratch memory. */
static lilac_status place_panels(lilac_context *context, product *p) {
    const lilac_matmul_shape *s = p->shape;
    const size_t rows = (p->a.vectors + p->b.vectors) * LILAC_ROUNDED_LANES, panels = p->a.panels + p->b.panels;
    size_t words, scales, bytes;
    /* Sizes are at most INT_MAX: only products of two can be too large. */
    if (!lilac_size_multiply(rows, p->a.pairs * sizeof(uint32_t), &words) ||
        !lilac_size_multiply(panels, p->a.blocks * sizeof(float), &scales) || !lilac_size_add(words, scales, &bytes)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "matrix product %zu x %zu x %zu: too large to be packed", s->m,
                          s->n, s->k);
    }
    uint32_t *memory = lilac_matmul_cached_scratch(context, bytes);
    if (memory == NULL) {
        return lilac_fail_memory(context, "the operands of a matrix product", bytes);
    }
    p->a.words = memory;
    p->b.words = memory + p->a.vectors * LILAC_ROUNDED_LANES * p->a.pairs;
    p->a.scales = (float *)(void *)(memory + rows * p->a.pairs);
    p->b.scales = p->a.scales + p->a.panels * p->a.blocks;
    return LILAC_OK;
}

bool lilac_matmul_rounds(const lilac_context *context, lilac_matmul_type type) {
    return (type == LILAC_MATMUL_F16 && context->kernels->fast_half_products) ||
           (type == LILAC_MATMUL_TILES && context->kernels->fast_tile_products);
}

/* Depths that are packed and multiplied at a time: about so many elements of a tile's panels, two of which fit the
 * first-level cache then. Half precision sums up to blocks of its own, in registers. */
static size_t depth_step(size_t depth, bool half) {
    const size_t parts = half ? 1 : lilac_size_max((depth + TILE_DEPTH / 2) / TILE_DEPTH, 1);
    return lilac_round_up((depth - 1) / parts + 1, 2 * LILAC_ROUNDED_LANES);
}

static lilac_status multiply_depths(lilac_context *context, bool half, const lilac_matmul_shape *s, const float *a,
                                    const float *b, float *c) {
    const lilac_rounded_product_kernels *kernels =
        half ? &context->kernels->half_product : &context->kernels->tile_product;
    const lilac_rounded_block rows = {.depth = s->k, .ld = s->lda, .strided = s->transpose_a, .x = a};
    const lilac_rounded_block columns = {
        .depth = s->k, .ld = s->ldb, .columns = true, .strided = !s->transpose_b, .x = b};
    product p = {.shape = s, .c = c};
    p.a = operand_of(kernels, s->m, &rows, half ? LILAC_HALF_ROWS : LILAC_TILE_PRODUCT_ROWS);
    p.b = operand_of(kernels, s->n, &columns, half ? LILAC_HALF_COLUMNS : LILAC_TILE_PRODUCT_COLUMNS);
    LILAC_TRY(place_panels(context, &p));
    pack_operand(context, half, &p.a);
    pack_operand(context, half, &p.b);
    p.column_blocks = (p.b.panels - 1) / BLOCK_COLUMN_PANELS + 1;
    const size_t row_blocks = (p.a.panels - 1) / BLOCK_ROW_PANELS + 1;
    lilac_parallel_for(context, row_blocks * p.column_blocks, 1, multiply_blocks, &p);
    return LILAC_OK;
}

lilac_status lilac_matmul_rounded(lilac_context *context, lilac_matmul_type type, const lilac_matmul_shape *shape,
                                  const float *a, const float *b, float *c) {
    LILAC_TRY(lilac_matmul_check_shape(context, shape));
    if (shape->m == 0 || shape->n == 0 || shape->k == 0) {
        lilac_matmul_scale_by_beta(shape, c);
        return LILAC_OK;
    }
    const bool half = type == LILAC_MATMUL_F16;
    const size_t depth = shape->k, step = depth_step(depth, half);
    lilac_matmul_shape part = *shape;
    /* The first part takes the most memory: none fails after it has written. */
    for (size_t k = 0; k < depth; k += step) {
        part.k = lilac_size_min(step, depth - k);
        const float *part_a = a + (shape->transpose_a ? k * shape->lda : k);
        const float *part_b = b + (shape->transpose_b ? k : k * shape->ldb);
        LILAC_TRY(multiply_depths(context, half, &part, part_a, part_b, c));
        part.beta = 1.0f;
    }
    return LILAC_OK;
}
