/* SPDX-License-Identifier: MIT */
/* Products of rounded operands, in half precision and in tiles of bf16: panels against their formula and the
 * reference's bytes, products against double precision and, where every rounding is prescribed, those bytes too. */
#include "kernel_test.h"

#include "core/bf16.h"
#include "core/f16.h"
#include "core/memory.h"

#include <float.h>
#include <math.h>

enum {
    LANES = LILAC_ROUNDED_LANES,
    MAX_DEPTH = 2 * LILAC_ROUNDED_BLOCK,
    MAX_PANELS = 3,
    MAX_ROWS = LILAC_TILE_PRODUCT_ROWS,
    MAX_COLUMNS = LILAC_HALF_COLUMNS,
    BLOCKS = 3
};

/* What the two families differ in. */
typedef struct {
    size_t kernels;       /* their place in the table */
    size_t rows, columns; /* of the widest panels, in vectors */
    bool tiles;
} rounding;

static const rounding half = {.kernels = offsetof(lilac_kernel_table, half_product),
                              .rows = LILAC_HALF_ROWS / LANES,
                              .columns = LILAC_HALF_COLUMNS / LANES};
static const rounding tiles = {.kernels = offsetof(lilac_kernel_table, tile_product),
                               .rows = LILAC_TILE_PRODUCT_ROWS / LANES,
                               .columns = LILAC_TILE_PRODUCT_COLUMNS / LANES,
                               .tiles = true};

static const lilac_rounded_product_kernels *kernels_of(const rounding *r, const lilac_kernel_table *table) {
    return (const void *)((const char *)table + r->kernels);
}

static double number(const rounding *r, uint32_t word, size_t k) {
    const uint16_t bits = (uint16_t)(k % 2 == 0 ? word : word >> 16);
    return (double)(r->tiles ? lilac_float_from_bf16(bits) : lilac_float_from_f16(bits));
}

/* Where a panel has the word of element k of row, or column, i. */
static size_t place(const rounding *r, bool columns, size_t width, size_t k, size_t i) {
    const size_t pair = k / 2;
    if (!r->tiles) {
        return pair * width + i;
    }
    const size_t tile = pair / LANES * (width / LANES) + i / LANES;
    return tile * LILAC_TILE_PRODUCT_WORDS +
           (columns ? pair % LANES * LANES + i % LANES : i % LANES * LANES + pair % LANES);
}

/* Pairs that a panel of some depth holds: tiles are whole. */
static size_t pairs_of(const rounding *r, size_t depth) {
    return r->tiles ? (depth + 2 * LANES - 1) / (2 * LANES) * LANES : (depth + 1) / 2;
}

/* ---- Packing ---- */

typedef struct {
    const rounding *rounding;
    lilac_rounded_block block;
    size_t count;
    lilac_rounded_panel panels[MAX_PANELS], expected[MAX_PANELS];
} packing;

static float element(const lilac_rounded_block *block, size_t i, size_t k) {
    return block->strided ? block->x[k * block->ld + i] : block->x[i * block->ld + k];
}

static packing random_packing(kernel_test *test, const rounding *r, kernel_input input) {
    packing p = {.rounding = r,
                 .block.depth = 1 + kernel_random_below(test, MAX_DEPTH),
                 .block.columns = kernel_random_below(test, 2) == 0,
                 .count = 1 + kernel_random_below(test, MAX_PANELS)};
    size_t end = kernel_random_below(test, 5);
    const size_t pairs = pairs_of(r, p.block.depth), widest = p.block.columns ? r->columns : r->rows;
    for (size_t i = 0; i < p.count; i++) {
        lilac_rounded_panel *panel = &p.panels[i];
        panel->first = end;
        panel->width = (1 + kernel_random_below(test, widest)) * LANES;
        panel->count = i + 1 == p.count ? 1 + kernel_random_below(test, panel->width) : panel->width;
        end += panel->count;
        p.expected[i] = *panel;
        panel->words = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(uint32_t), pairs, panel->width, panel->width);
        p.expected[i].words =
            kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(uint32_t), pairs, panel->width, panel->width);
    }
    p.block.strided = kernel_random_below(test, 2) == 0;
    const size_t rows = p.block.strided ? p.block.depth : end, cols = p.block.strided ? end : p.block.depth;
    p.block.ld = cols + kernel_random_below(test, 4);
    kernel_note(test, "%zu panels, up to row or column %zu, depth %zu, columns %d, strided %d, input kind %d", p.count,
                end, p.block.depth, p.block.columns, p.block.strided, input);
    p.block.x = kernel_read(test, input, rows, cols, p.block.ld);
    return p;
}

/* Rounding moves a number by half a unit of its last place: to f16 by 2^-11 of it, or by 2^-25 where it is subnormal
 * as an f16; to bf16 by 2^-8, where subnormal numbers become 0. */
static void check_panel(const packing *p, const lilac_rounded_panel *panel, float unscale) {
    const rounding *r = p->rounding;
    for (size_t k = 0; k < 2 * pairs_of(r, p->block.depth); k++) {
        for (size_t i = 0; i < panel->width; i++) {
            const size_t at = place(r, p->block.columns, panel->width, k, i);
            const double found = number(r, panel->words[at], k) * (double)unscale;
            const bool exists = i < panel->count && k < p->block.depth;
            const double exact = exists ? (double)element(&p->block, panel->first + i, k) : 0.0;
            const double tolerance =
                r->tiles ? 0x1p-8 * fabs(exact) + (double)FLT_MIN : 0x1p-11 * fabs(exact) + 0x1p-25 * (double)unscale;
            kernel_expect("element", at, (float)found, exact, tolerance);
        }
    }
}

static void check_pack(kernel_test *test, const rounding *r) {
    for (int round = 0; round < 20; round++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            const packing p = random_packing(test, r, input);
            kernel_arm(test);
            const float unscale = kernels_of(r, test->kernels)->pack(&p.block, p.count, p.panels);
            const float expected = kernels_of(r, test->reference)->pack(&p.block, p.count, p.expected);
            assert_true(unscale == expected && unscale >= 0x1p-126f);
            for (size_t i = 0; i < p.count; i++) {
                const lilac_rounded_panel *panel = &p.panels[i];
                check_panel(&p, panel, unscale);
                assert_memory_equal(panel->words, p.expected[i].words,
                                    pairs_of(r, p.block.depth) * panel->width * sizeof(uint32_t));
            }
            kernel_verify(test);
        }
    }
}

static void check_half_pack(kernel_test *test) {
    check_pack(test, &half);
}

static void check_tile_pack(kernel_test *test) {
    check_pack(test, &tiles);
}

/* A number that is not finite reaches its place, and does not change the scale of others. */
static void check_not_finite(kernel_test *test, const rounding *r) {
    static const float numbers[] = {INFINITY, -INFINITY, NAN};
    enum { DEPTH = 5 };
    for (size_t round = 0; round < 30; round++) {
        float x[LANES * DEPTH];
        kernel_fill(test, KERNEL_UNIFORM, x, LANES, DEPTH, DEPTH);
        const size_t at = kernel_random_below(test, LANES * DEPTH);
        x[at] = numbers[round % 3];
        _Alignas(LILAC_ALIGNMENT) uint32_t words[LILAC_TILE_PRODUCT_WORDS];
        const lilac_rounded_panel panel = {.count = LANES, .width = LANES, .words = words};
        const lilac_rounded_block block = {.depth = DEPTH, .ld = DEPTH, .columns = round % 2 == 0, .x = x};
        assert_true(kernels_of(r, test->kernels)->pack(&block, 1, &panel) == 1.0f);
        for (size_t i = 0; i < LANES * DEPTH; i++) {
            const size_t k = i % DEPTH;
            const double found = number(r, words[place(r, block.columns, LANES, k, i / DEPTH)], k);
            assert_true(i == at ? isnan(x[i]) ? isnan(found) : found == (double)x[i] : isfinite(found));
        }
    }
}

static void check_half_not_finite(kernel_test *test) {
    check_not_finite(test, &half);
}

static void check_tile_not_finite(kernel_test *test) {
    check_not_finite(test, &tiles);
}

/* ---- Multiplying ---- */

/* A panel of numbers of the size that packing gives them, with zeros where the last tile is not full. */
static uint32_t *random_panel(kernel_test *test, const rounding *r, bool columns, size_t depth, size_t width) {
    const size_t pairs = pairs_of(r, depth);
    uint32_t *words = kernel_aligned_buffer(test, KERNEL_READ, sizeof *words, pairs, width, width);
    for (size_t k = 0; k < 2 * pairs; k += 2) {
        for (size_t i = 0; i < width; i++) {
            uint32_t bits[2];
            for (int odd = 0; odd < 2; odd++) {
                const double x = k < depth ? kernel_random_between(test, -16.0, 16.0) : 0.0;
                bits[odd] = r->tiles ? lilac_bf16_from_float((float)x) : lilac_f16_from_double(x);
            }
            words[place(r, columns, width, k, i)] = bits[0] | bits[1] << 16;
        }
    }
    return words;
}

typedef struct {
    const rounding *rounding;
    lilac_rounded_product product;
    const uint32_t *a, *b;
    float a_scales[BLOCKS], b_scales[BLOCKS];
} problem;

static void random_problem(kernel_test *test, const rounding *r, problem *p) {
    lilac_rounded_product *product = &p->product;
    p->rounding = r;
    product->depth = 1 + kernel_random_below(test, kernel_random_below(test, 2) == 0 ? 20 : BLOCKS * MAX_DEPTH);
    product->row_width = (1 + kernel_random_below(test, r->rows)) * LANES;
    product->col_width = (1 + kernel_random_below(test, r->columns)) * LANES;
    const bool whole = kernel_random_below(test, 2) == 0;
    product->rows = whole ? product->row_width : 1 + kernel_random_below(test, product->row_width);
    product->cols = whole ? product->col_width : 1 + kernel_random_below(test, product->col_width);
    product->ldc = product->cols + kernel_random_below(test, 4);
    product->alpha = kernel_random_below(test, 2) == 0 ? 1.0f : -2.5f;
    product->add = kernel_random_below(test, 2) == 0;
    for (size_t block = 0; block < BLOCKS; block++) {
        p->a_scales[block] = r->tiles ? 1.0f : ldexpf(1.0f, (int)kernel_random_below(test, 21) - 10);
        p->b_scales[block] = r->tiles ? 1.0f : ldexpf(1.0f, (int)kernel_random_below(test, 21) - 10);
    }
    product->a_scales = p->a_scales;
    product->b_scales = p->b_scales;
    p->a = random_panel(test, r, false, product->depth, product->row_width);
    p->b = random_panel(test, r, true, product->depth, product->col_width);
    kernel_note(test, "%zu x %zu, depth %zu, widths %zu and %zu, alpha %g, add %d", product->rows, product->cols,
                product->depth, product->row_width, product->col_width, (double)product->alpha, product->add);
}

/* Each of a chain's roundings moves it by 2^-11 (f16) or 2^-24 (f32) of at most all its terms together; the sum is then
 * scaled, and added. */
static void check_element(const problem *p, size_t i, size_t j, float before, float found) {
    const rounding *r = p->rounding;
    const lilac_rounded_product *product = &p->product;
    double sum = 0.0, magnitude = 0.0;
    for (size_t k = 0; k < 2 * pairs_of(r, product->depth); k++) {
        const size_t block = k / 2 / LILAC_ROUNDED_BLOCK;
        const double x = number(r, p->a[place(r, false, product->row_width, k, i)], k);
        const double y = number(r, p->b[place(r, true, product->col_width, k, j)], k);
        const double term = (double)p->a_scales[block] * (double)p->b_scales[block] * x * y;
        sum += term;
        magnitude += fabs(term);
    }
    const double alpha = (double)product->alpha, exact = alpha * sum + (product->add ? (double)before : 0.0);
    const double links = (double)(r->tiles ? product->depth : lilac_size_min(product->depth, LILAC_ROUNDED_BLOCK));
    const double unit = r->tiles ? KERNEL_ROUNDOFF : 0x1p-11;
    kernel_expect("c", i * product->cols + j, found, exact, (links + 2.0) * unit * fabs(alpha) * magnitude + 1e-6);
}

static void check_multiply(kernel_test *test, const rounding *r) {
    for (int round = 0; round < 60; round++) {
        problem p;
        random_problem(test, r, &p);
        const lilac_rounded_product *product = &p.product;
        float *c = kernel_write(test, product->rows, product->cols, product->ldc);
        float *expected = kernel_write(test, product->rows, product->cols, product->ldc);
        float before[MAX_ROWS][MAX_COLUMNS];
        for (size_t i = 0; product->add && i < product->rows; i++) {
            for (size_t j = 0; j < product->cols; j++) {
                before[i][j] = (float)kernel_random_between(test, -1.0, 1.0);
                c[i * product->ldc + j] = expected[i * product->ldc + j] = before[i][j];
            }
        }
        kernel_arm(test);
        kernels_of(r, test->kernels)->begin();
        kernels_of(r, test->kernels)->multiply(product, p.a, p.b, c);
        kernels_of(r, test->kernels)->end();
        kernels_of(r, test->reference)->multiply(product, p.a, p.b, expected);
        for (size_t i = 0; i < product->rows; i++) {
            for (size_t j = 0; j < product->cols; j++) {
                const size_t index = i * product->ldc + j;
                check_element(&p, i, j, before[i][j], c[index]);
                check_element(&p, i, j, before[i][j], expected[index]);
                /* In what order the cpu adds up a tile's depth is not known. */
                if (!r->tiles) {
                    kernel_expect_same("c", index, c[index], expected[index]);
                }
            }
        }
        kernel_verify(test);
    }
}

static void check_half_multiply(kernel_test *test) {
    check_multiply(test, &half);
}

static void check_tile_multiply(kernel_test *test) {
    check_multiply(test, &tiles);
}

/* ---- Timings ---- */

/* n elements: those of 64 columns, or rows, of a matrix whose rows are longer. */
static void bench_pack(kernel_test *test, const rounding *r, size_t n, bool strided) {
    enum { WIDTH = 4 * LANES, COLUMNS = 256 };
    const size_t blocks = lilac_size_max(n / (WIDTH * MAX_DEPTH), 1), depth = blocks * MAX_DEPTH;
    const float *x = kernel_bench_floats(test, strided ? depth * COLUMNS : WIDTH * depth);
    uint32_t *words = (uint32_t *)(void *)kernel_bench_floats(test, WIDTH * LILAC_ROUNDED_BLOCK);
    const size_t width = r->rows * LANES, count = WIDTH / width;
    lilac_rounded_panel panels[4];
    for (size_t i = 0; i < count; i++) {
        panels[i] = (lilac_rounded_panel){
            .first = i * width, .count = width, .width = width, .words = words + i * width * LILAC_ROUNDED_BLOCK};
    }
    const lilac_rounded_block block = {
        .depth = MAX_DEPTH, .ld = strided ? (size_t)COLUMNS : depth, .strided = strided, .x = x};
    for (kernel_bench_begin(test, WIDTH * depth, WIDTH * depth * 6); kernel_bench_more(test);) {
        for (size_t k = 0; k < blocks; k++) {
            lilac_rounded_block part = block;
            part.x += k * MAX_DEPTH * (strided ? (size_t)COLUMNS : 1);
            kernels_of(r, test->kernels)->pack(&part, count, panels);
        }
    }
}

static void bench_half_pack(kernel_test *test, size_t n) {
    bench_pack(test, &half, n, false);
}

static void bench_half_pack_strided(kernel_test *test, size_t n) {
    bench_pack(test, &half, n, true);
}

static void bench_tile_pack(kernel_test *test, size_t n) {
    bench_pack(test, &tiles, n, false);
}

static void bench_tile_pack_strided(kernel_test *test, size_t n) {
    bench_pack(test, &tiles, n, true);
}

/* The widest panels, of depth 256. */
static void bench_multiply(kernel_test *test, const rounding *r, uint32_t number_twice) {
    enum { DEPTH = 256 };
    static const float scales[] = {1.0f, 1.0f, 1.0f, 1.0f};
    const size_t rows = r->rows * LANES, columns = r->columns * LANES;
    const lilac_rounded_product product = {.rows = rows,
                                           .cols = columns,
                                           .depth = DEPTH,
                                           .row_width = rows,
                                           .col_width = columns,
                                           .ldc = columns,
                                           .alpha = 1.0f,
                                           .a_scales = scales,
                                           .b_scales = scales};
    uint32_t *a = (uint32_t *)(void *)kernel_bench_floats(test, DEPTH / 2 * rows);
    uint32_t *b = (uint32_t *)(void *)kernel_bench_floats(test, DEPTH / 2 * columns);
    float *c = kernel_bench_floats(test, rows * columns);
    for (size_t i = 0; i < DEPTH / 2 * columns; i++) {
        b[i] = a[i % (DEPTH / 2 * rows)] = number_twice;
    }
    for (kernel_bench_begin_call(test, 2.0 * (double)rows * (double)columns * DEPTH); kernel_bench_more(test);) {
        kernels_of(r, test->kernels)->begin();
        kernels_of(r, test->kernels)->multiply(&product, a, b, c);
        kernels_of(r, test->kernels)->end();
    }
}

static void bench_half_multiply(kernel_test *test, size_t n) {
    (void)n;
    bench_multiply(test, &half, 0x2e662e66); /* 0.1 twice */
}

static void bench_tile_multiply(kernel_test *test, size_t n) {
    (void)n;
    bench_multiply(test, &tiles, 0x3dcd3dcd); /* 0.1 twice */
}

static const kernel_case half_cases[] = {
    {"pack", LILAC_CPU_SCALAR, check_half_pack, bench_half_pack},
    {"pack_strided", LILAC_CPU_SCALAR, check_half_not_finite, bench_half_pack_strided},
    {"multiply", LILAC_CPU_SCALAR, check_half_multiply, bench_half_multiply},
};

const kernel_family kernel_family_half_product = {"half_product", half_cases, sizeof half_cases / sizeof *half_cases};

static const kernel_case tile_cases[] = {
    {"pack", LILAC_CPU_SCALAR, check_tile_pack, bench_tile_pack},
    {"pack_strided", LILAC_CPU_SCALAR, check_tile_not_finite, bench_tile_pack_strided},
    {"multiply", LILAC_CPU_SCALAR, check_tile_multiply, bench_tile_multiply},
};

const kernel_family kernel_family_tile_product = {"tile_product", tile_cases, sizeof tile_cases / sizeof *tile_cases};
