/* SPDX-License-Identifier: MIT */
/* Products in half precision: panels against their formula, products against double precision, and both, as every
 * rounding is prescribed, against the reference's bytes. */
#include "kernel_test.h"

#include "core/f16.h"
#include "core/memory.h"

#include <math.h>

enum { MAX_DEPTH = 2 * LILAC_ROUNDED_BLOCK, MAX_PANELS = 3, MAX_WIDTH = LILAC_HALF_COLUMNS, BLOCKS = 3 };

/* ---- Packing ---- */

typedef struct {
    lilac_rounded_block block;
    size_t count;
    lilac_rounded_panel panels[MAX_PANELS], expected[MAX_PANELS];
} packing;

static float element(const lilac_rounded_block *block, size_t i, size_t k) {
    return block->strided ? block->x[k * block->ld + i] : block->x[i * block->ld + k];
}

static packing random_packing(kernel_test *test, kernel_input input) {
    packing p = {.block.depth = 1 + kernel_random_below(test, MAX_DEPTH), .count = 1 + kernel_random_below(test, 3)};
    size_t end = kernel_random_below(test, 5);
    for (size_t i = 0; i < p.count; i++) {
        lilac_rounded_panel *panel = &p.panels[i];
        panel->first = end;
        panel->width = (1 + kernel_random_below(test, 3)) * LILAC_ROUNDED_LANES;
        panel->count = i + 1 == p.count ? 1 + kernel_random_below(test, panel->width) : panel->width;
        end += panel->count;
        p.expected[i] = *panel;
        const size_t pairs = (p.block.depth + 1) / 2;
        panel->words = kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(uint32_t), pairs, panel->width, panel->width);
        p.expected[i].words =
            kernel_aligned_buffer(test, KERNEL_WRITE, sizeof(uint32_t), pairs, panel->width, panel->width);
    }
    p.block.strided = kernel_random_below(test, 2) == 0;
    const size_t rows = p.block.strided ? p.block.depth : end, cols = p.block.strided ? end : p.block.depth;
    p.block.ld = cols + kernel_random_below(test, 4);
    kernel_note(test, "%zu panels, up to row or column %zu, depth %zu, strided %d, input kind %d", p.count, end,
                p.block.depth, p.block.strided, input);
    p.block.x = kernel_read(test, input, rows, cols, p.block.ld);
    return p;
}

/* Rounding moves a number by half a unit of its last place: 2^-11 of it, or 2^-25 where it is subnormal as an f16. */
static void check_panel(const packing *p, const lilac_rounded_panel *panel, float unscale) {
    for (size_t k = 0; k < (p->block.depth + 1) / 2 * 2; k++) {
        for (size_t i = 0; i < panel->width; i++) {
            const uint32_t word = panel->words[k / 2 * panel->width + i];
            const float found = lilac_float_from_f16((uint16_t)(k % 2 == 0 ? word : word >> 16)) * unscale;
            const bool exists = i < panel->count && k < p->block.depth;
            const double exact = exists ? (double)element(&p->block, panel->first + i, k) : 0.0;
            kernel_expect("element", k * panel->width + i, found, exact,
                          0x1p-11 * fabs(exact) + 0x1p-25 * (double)unscale);
        }
    }
}

static void check_pack(kernel_test *test) {
    for (int round = 0; round < 20; round++) {
        for (kernel_input input = 0; input < KERNEL_INPUTS; input++) {
            const packing p = random_packing(test, input);
            kernel_arm(test);
            const float unscale = test->kernels->half_product.pack(&p.block, p.count, p.panels);
            const float expected = test->reference->half_product.pack(&p.block, p.count, p.expected);
            assert_true(unscale == expected && unscale >= 0x1p-126f);
            for (size_t i = 0; i < p.count; i++) {
                const lilac_rounded_panel *panel = &p.panels[i];
                check_panel(&p, panel, unscale);
                assert_memory_equal(panel->words, p.expected[i].words,
                                    (p.block.depth + 1) / 2 * panel->width * sizeof(uint32_t));
            }
            kernel_verify(test);
        }
    }
}

/* A number that is not finite reaches its place, and does not change the scale of others. */
static void check_not_finite(kernel_test *test) {
    static const float numbers[] = {INFINITY, -INFINITY, NAN};
    for (size_t round = 0; round < 30; round++) {
        float x[LILAC_ROUNDED_LANES * 5];
        kernel_fill(test, KERNEL_UNIFORM, x, LILAC_ROUNDED_LANES, 5, 5);
        const size_t place = kernel_random_below(test, LILAC_ROUNDED_LANES * 5);
        x[place] = numbers[round % 3];
        _Alignas(LILAC_ALIGNMENT) uint32_t words[3 * LILAC_ROUNDED_LANES];
        const lilac_rounded_panel panel = {.count = LILAC_ROUNDED_LANES, .width = LILAC_ROUNDED_LANES, .words = words};
        const lilac_rounded_block block = {.depth = 5, .ld = 5, .x = x};
        assert_true(test->kernels->half_product.pack(&block, 1, &panel) == 1.0f);
        for (size_t i = 0; i < LILAC_ROUNDED_LANES * 5; i++) {
            const uint32_t word = words[i % 5 / 2 * LILAC_ROUNDED_LANES + i / 5];
            const float found = lilac_float_from_f16((uint16_t)(i % 5 % 2 == 0 ? word : word >> 16));
            assert_true(i == place ? isnan(x[i]) ? isnan(found) : found == x[i] : isfinite(found));
        }
    }
}

/* ---- Multiplying ---- */

/* Numbers of the size that packing gives them. */
static uint32_t *random_panel(kernel_test *test, size_t pairs, size_t width) {
    uint32_t *words = kernel_aligned_buffer(test, KERNEL_READ, sizeof *words, pairs, width, width);
    for (size_t i = 0; i < pairs * width; i++) {
        const uint32_t even = lilac_f16_from_double(kernel_random_between(test, -16.0, 16.0));
        words[i] = even | (uint32_t)lilac_f16_from_double(kernel_random_between(test, -16.0, 16.0)) << 16;
    }
    return words;
}

typedef struct {
    lilac_rounded_product product;
    const uint32_t *a, *b;
    float a_scales[BLOCKS], b_scales[BLOCKS];
} problem;

static void random_problem(kernel_test *test, problem *p) {
    lilac_rounded_product *product = &p->product;
    product->depth = 1 + kernel_random_below(test, kernel_random_below(test, 2) == 0 ? 20 : BLOCKS * MAX_DEPTH);
    product->col_width = (1 + kernel_random_below(test, 3)) * LILAC_ROUNDED_LANES;
    product->rows = 1 + kernel_random_below(test, LILAC_ROUNDED_LANES);
    product->cols = 1 + kernel_random_below(test, product->col_width);
    product->ldc = product->cols + kernel_random_below(test, 4);
    product->alpha = kernel_random_below(test, 2) == 0 ? 1.0f : -2.5f;
    product->add = kernel_random_below(test, 2) == 0;
    for (size_t block = 0; block < BLOCKS; block++) {
        p->a_scales[block] = ldexpf(1.0f, (int)kernel_random_below(test, 21) - 10);
        p->b_scales[block] = ldexpf(1.0f, (int)kernel_random_below(test, 21) - 10);
    }
    product->a_scales = p->a_scales;
    product->b_scales = p->b_scales;
    const size_t pairs = (product->depth + 1) / 2;
    p->a = random_panel(test, pairs, LILAC_ROUNDED_LANES);
    p->b = random_panel(test, pairs, product->col_width);
    kernel_note(test, "%zu x %zu, depth %zu, width %zu, alpha %g, add %d", product->rows, product->cols, product->depth,
                product->col_width, (double)product->alpha, product->add);
}

/* Each of a chain's roundings moves it by 2^-11 of at most all its terms together. */
static void check_element(const problem *p, size_t i, size_t j, float before, float found) {
    const lilac_rounded_product *product = &p->product;
    double sum = 0.0, magnitude = 0.0;
    for (size_t pair = 0; pair < (product->depth + 1) / 2; pair++) {
        const size_t block = pair / LILAC_ROUNDED_BLOCK;
        const double scale = (double)p->a_scales[block] * (double)p->b_scales[block];
        for (int shift = 0; shift < 32; shift += 16) {
            const uint16_t x = (uint16_t)(p->a[pair * LILAC_ROUNDED_LANES + i] >> shift);
            const uint16_t y = (uint16_t)(p->b[pair * product->col_width + j] >> shift);
            const double term = scale * (double)lilac_float_from_f16(x) * (double)lilac_float_from_f16(y);
            sum += term;
            magnitude += fabs(term);
        }
    }
    const double alpha = (double)product->alpha, exact = alpha * sum + (product->add ? (double)before : 0.0);
    const double links = (double)lilac_size_min(product->depth, LILAC_ROUNDED_BLOCK);
    kernel_expect("c", i * product->cols + j, found, exact, links * 0x1p-11 * fabs(alpha) * magnitude + 1e-6);
}

static void check_multiply(kernel_test *test) {
    for (int round = 0; round < 60; round++) {
        problem p;
        random_problem(test, &p);
        const lilac_rounded_product *product = &p.product;
        float *c = kernel_write(test, product->rows, product->cols, product->ldc);
        float *expected = kernel_write(test, product->rows, product->cols, product->ldc);
        float before[LILAC_ROUNDED_LANES][MAX_WIDTH];
        for (size_t i = 0; product->add && i < product->rows; i++) {
            for (size_t j = 0; j < product->cols; j++) {
                before[i][j] = (float)kernel_random_between(test, -1.0, 1.0);
                c[i * product->ldc + j] = expected[i * product->ldc + j] = before[i][j];
            }
        }
        kernel_arm(test);
        test->kernels->half_product.multiply(product, p.a, p.b, c);
        test->reference->half_product.multiply(product, p.a, p.b, expected);
        for (size_t i = 0; i < product->rows; i++) {
            for (size_t j = 0; j < product->cols; j++) {
                const size_t index = i * product->ldc + j;
                check_element(&p, i, j, before[i][j], c[index]);
                kernel_expect_same("c", index, c[index], expected[index]);
            }
        }
        kernel_verify(test);
    }
}

/* ---- Timings ---- */

/* n elements: those of 64 columns of a matrix whose rows are longer. */
static void bench_pack(kernel_test *test, size_t n, bool strided) {
    enum { WIDTH = 4 * LILAC_ROUNDED_LANES, COLUMNS = 256 };
    const size_t blocks = lilac_size_max(n / (WIDTH * MAX_DEPTH), 1), depth = blocks * MAX_DEPTH;
    const float *x = kernel_bench_floats(test, strided ? depth * COLUMNS : WIDTH * depth);
    uint32_t *words = (uint32_t *)(void *)kernel_bench_floats(test, WIDTH * LILAC_ROUNDED_BLOCK);
    lilac_rounded_panel panels[4];
    for (size_t i = 0; i < 4; i++) {
        panels[i] = (lilac_rounded_panel){.first = i * LILAC_ROUNDED_LANES,
                                       .count = LILAC_ROUNDED_LANES,
                                       .width = LILAC_ROUNDED_LANES,
                                       .words = words + i * LILAC_ROUNDED_LANES * LILAC_ROUNDED_BLOCK};
    }
    const lilac_rounded_block block = {
        .depth = MAX_DEPTH, .ld = strided ? (size_t)COLUMNS : depth, .strided = strided, .x = x};
    for (kernel_bench_begin(test, WIDTH * depth, WIDTH * depth * 6); kernel_bench_more(test);) {
        for (size_t k = 0; k < blocks; k++) {
            lilac_rounded_block part = block;
            part.x += k * MAX_DEPTH * (strided ? (size_t)COLUMNS : 1);
            test->kernels->half_product.pack(&part, 4, panels);
        }
    }
}

static void bench_pack_contiguous(kernel_test *test, size_t n) {
    bench_pack(test, n, false);
}

static void bench_pack_strided(kernel_test *test, size_t n) {
    bench_pack(test, n, true);
}

/* A panel of 16 rows by one of 48 columns, of depth 256. */
static void bench_multiply(kernel_test *test, size_t n) {
    (void)n;
    enum { DEPTH = 256 };
    static const float scales[] = {1.0f, 1.0f, 1.0f, 1.0f};
    const lilac_rounded_product product = {.rows = LILAC_ROUNDED_LANES,
                                        .cols = MAX_WIDTH,
                                        .depth = DEPTH,
                                        .col_width = MAX_WIDTH,
                                        .ldc = MAX_WIDTH,
                                        .alpha = 1.0f,
                                        .a_scales = scales,
                                        .b_scales = scales};
    uint32_t *a = (uint32_t *)(void *)kernel_bench_floats(test, DEPTH / 2 * LILAC_ROUNDED_LANES);
    uint32_t *b = (uint32_t *)(void *)kernel_bench_floats(test, DEPTH / 2 * MAX_WIDTH);
    float *c = kernel_bench_floats(test, LILAC_ROUNDED_LANES * MAX_WIDTH);
    for (size_t i = 0; i < DEPTH / 2 * MAX_WIDTH; i++) {
        b[i] = 0x2e662e66; /* 0.1 twice */
        a[i % (DEPTH / 2 * LILAC_ROUNDED_LANES)] = 0x2e662e66;
    }
    for (kernel_bench_begin_call(test, 2.0 * LILAC_ROUNDED_LANES * MAX_WIDTH * DEPTH); kernel_bench_more(test);) {
        test->kernels->half_product.multiply(&product, a, b, c);
    }
}

static const kernel_case cases[] = {
    {"pack", LILAC_CPU_SCALAR, check_pack, bench_pack_contiguous},
    {"pack_strided", LILAC_CPU_SCALAR, check_not_finite, bench_pack_strided},
    {"multiply", LILAC_CPU_SCALAR, check_multiply, bench_multiply},
};

const kernel_family kernel_family_half_product = {"half_product", cases, sizeof cases / sizeof cases[0]};
