/* SPDX-License-Identifier: MIT */
/* Tests of the matrix product: against double for every transposition, row strides and thread count; its refusals. */
#include "linalg/matmul.h"

#include "core/bf16.h"
#include "core/cpu_features.h"
#include "support/contexts.h"
#include "support/numbers.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { MAX_THREADS = 3, PADDING = 5 };

static lilac_context *contexts[MAX_THREADS]; /* with 1, 2, 3 threads */

static int set_up(void **state) {
    (void)state;
    contexts_create(MAX_THREADS, NULL, contexts);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    contexts_destroy(MAX_THREADS, contexts);
    return 0;
}

/* A matrix with PADDING elements before it, behind it and, where strided, between its rows. */
typedef struct {
    size_t rows, cols, stride, size;
    float *block, *first;
} matrix;

static matrix create_matrix(size_t rows, size_t cols, bool strided, uint64_t stream, float guard) {
    matrix m = {.rows = rows, .cols = cols, .stride = cols + (strided ? PADDING : 0)};
    m.size = rows * m.stride + 2 * PADDING;
    m.block = malloc(m.size * sizeof(float));
    assert_non_null(m.block);
    lilac_test_uniform(stream, m.size, -1.0f, 1.0f, m.block);
    m.first = m.block + PADDING;
    for (size_t i = 0; i < m.size; i++) {
        const bool inside = i >= PADDING && i - PADDING < rows * m.stride;
        if (!inside || (i - PADDING) % m.stride >= cols) {
            m.block[i] = guard;
        }
    }
    return m;
}

static matrix copy_matrix(const matrix *from) {
    matrix m = *from;
    m.block = malloc(m.size * sizeof(float));
    assert_non_null(m.block);
    memcpy(m.block, from->block, m.size * sizeof(float));
    m.first = m.block + PADDING;
    return m;
}

/* One product: its shape, its operands, and C before it. */
typedef struct {
    lilac_matmul_shape shape;
    matrix a, b, c;
} product;

static product create_product(size_t m, size_t n, size_t k, bool transpose_a, bool transpose_b, bool strided) {
    product p = {.a = create_matrix(transpose_a ? k : m, transpose_a ? m : k, strided, 1, NAN),
                 .b = create_matrix(transpose_b ? n : k, transpose_b ? k : n, strided, 2, NAN),
                 .c = create_matrix(m, n, strided, 3, 123.0f)};
    p.shape = (lilac_matmul_shape){.m = m,
                                   .n = n,
                                   .k = k,
                                   .transpose_a = transpose_a,
                                   .transpose_b = transpose_b,
                                   .lda = p.a.stride,
                                   .ldb = p.b.stride,
                                   .ldc = p.c.stride};
    return p;
}

static void destroy_product(product *p) {
    free(p->a.block);
    free(p->b.block);
    free(p->c.block);
}

static double element(const matrix *m, bool transpose, size_t i, size_t j) {
    return (double)(transpose ? m->first[j * m->stride + i] : m->first[i * m->stride + j]);
}

/*
 * Fails unless `found` is what the product makes of C, and unchanged around it. Whatever the order of the sums, k
 * products and k additions err by at most about k rounding errors of the sum of the absolute values.
 */
static void expect_product(const product *p, const matrix *found) {
    const lilac_matmul_shape *s = &p->shape;
    matrix expected = copy_matrix(&p->c);
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < s->n; j++) {
            double sum = 0, absolute = 0;
            for (size_t l = 0; l < s->k; l++) {
                const double term = element(&p->a, s->transpose_a, i, l) * element(&p->b, s->transpose_b, l, j);
                sum += term;
                absolute += fabs(term);
            }
            const double before = s->beta == 0.0f ? 0.0 : (double)s->beta * element(&p->c, false, i, j);
            const double value = (double)s->alpha * sum + before;
            const double bound = ((double)s->k + 4) * 0x1p-24 * (fabs((double)s->alpha) * absolute + fabs(before));
            const float computed = found->first[i * s->ldc + j];
            if (!(fabs((double)computed - value) <= bound)) {
                fail_msg("%zu x %zu x %zu, transposed %d %d, alpha %g, beta %g: [%zu, %zu] is %.9g, expected %.9g",
                         s->m, s->n, s->k, s->transpose_a, s->transpose_b, (double)s->alpha, (double)s->beta, i, j,
                         (double)computed, value);
            }
            expected.first[i * s->ldc + j] = computed;
        }
    }
    assert_memory_equal(found->block, expected.block, expected.size * sizeof(float));
    free(expected.block);
}

/* Computes the product with each number of threads. */
static void check_product(product *p, float alpha, float beta) {
    p->shape.alpha = alpha;
    p->shape.beta = beta;
    matrix results[MAX_THREADS];
    for (int i = 0; i < MAX_THREADS; i++) {
        results[i] = copy_matrix(&p->c);
        for (size_t j = 0; beta == 0.0f && j < p->c.rows * p->c.cols; j++) {
            results[i].first[j / p->c.cols * p->c.stride + j % p->c.cols] = NAN;
        }
        assert_int_equal(lilac_matmul_f32(contexts[i], &p->shape, p->a.first, p->b.first, results[i].first), LILAC_OK);
    }
    expect_product(p, &results[0]);
    for (int i = 1; i < MAX_THREADS; i++) {
        assert_memory_equal(results[i].block, results[0].block, results[0].size * sizeof(float));
        free(results[i].block);
    }
    free(results[0].block);
}

static void check_shape(size_t m, size_t n, size_t k) {
    for (int variant = 0; variant < 8; variant++) {
        product p = create_product(m, n, k, (variant & 1) != 0, (variant & 2) != 0, (variant & 4) != 0);
        check_product(&p, variant < 4 ? 1.0f : -0.5f, variant % 3 == 0 ? 0.0f : 1.0f);
        check_product(&p, variant < 4 ? 2.5f : 1.0f, variant % 3 == 0 ? 1.0f : 0.0f);
        destroy_product(&p);
    }
}

static void test_small_shapes(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 7, 13, 31};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    for (size_t i = 0; i < SIZES * SIZES * SIZES; i++) {
        check_shape(sizes[i % SIZES], sizes[i / SIZES % SIZES], sizes[i / SIZES / SIZES]);
    }
}

/* Shapes that are cut into blocks of rows or columns of C, two, four or more, with and without a rest; the last two
 * have rows a multiple of 1024 bytes apart, of which without AVX-512 some are copied. */
static void test_shapes_of_several_blocks(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{67, 71, 73},   {512, 33, 17},  {513, 67, 31},  {1031, 37, 29}, {37, 1031, 29},
                                       {1537, 5, 41},  {5, 1537, 41},  {601, 602, 3},  {1, 1031, 257}, {1031, 1, 257},
                                       {3, 5, 20011},  {1024, 1, 512}, {1, 1024, 512}, {64, 10, 1024}, {10, 64, 1024},
                                       {1024, 512, 1}, {300, 40, 64},  {783, 33, 35},  {96, 36, 783},  {40, 768, 131},
                                       {2100, 13, 17}, {256, 35, 300}, {43, 512, 600}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
    }
}

static void test_empty_sums_and_results(void **state) {
    (void)state;
    product p = create_product(3, 4, 0, false, false, true);
    check_product(&p, 1.0f, 0.0f);
    check_product(&p, 1.0f, 1.0f);
    destroy_product(&p);
    /* Nothing to compute: the pointers are not looked at. */
    const lilac_matmul_shape no_rows = {.n = 3, .k = 2, .lda = 2, .ldb = 3, .ldc = 3, .alpha = 1.0f};
    const lilac_matmul_shape no_columns = {.m = 3, .k = 2, .lda = 2, .ldc = 1, .alpha = 1.0f};
    assert_int_equal(lilac_matmul_f32(contexts[0], &no_rows, NULL, NULL, NULL), LILAC_OK);
    assert_int_equal(lilac_matmul_f32(contexts[0], &no_columns, NULL, NULL, NULL), LILAC_OK);
    assert_int_equal(lilac_matmul_bf16(contexts[0], &no_columns, NULL, NULL, NULL), LILAC_OK);
}

static void expect_refused(const lilac_matmul_shape *shape, lilac_status status, const char *message) {
    float c[12], before[12] = {1.0f, 2.0f, 3.0f};
    const float operand[12] = {0};
    memcpy(c, before, sizeof c);
    assert_int_equal(lilac_matmul_f32(contexts[1], shape, operand, operand, c), status);
    assert_string_equal(lilac_context_message(contexts[1]), message);
    assert_memory_equal(c, before, sizeof c);
}

static void test_refuses_strides_below_the_columns(void **state) {
    (void)state;
    const lilac_matmul_shape good = {.m = 2, .n = 3, .k = 4, .lda = 4, .ldb = 3, .ldc = 3, .alpha = 1.0f};
    lilac_matmul_shape shape = good;
    shape.lda = 3;
    expect_refused(&shape, LILAC_ERROR_SHAPE,
                   "matrix product 2 x 3 x 4: row strides 3, 3, 3 are below 4, 3, 3 columns");
    shape = good;
    shape.ldb = 2;
    expect_refused(&shape, LILAC_ERROR_SHAPE,
                   "matrix product 2 x 3 x 4: row strides 4, 2, 3 are below 4, 3, 3 columns");
    shape = good;
    shape.ldc = 2;
    expect_refused(&shape, LILAC_ERROR_SHAPE,
                   "matrix product 2 x 3 x 4: row strides 4, 3, 2 are below 4, 3, 3 columns");
    shape = good;
    shape.transpose_a = shape.transpose_b = true;
    shape.lda = 1;
    shape.ldb = 4;
    expect_refused(&shape, LILAC_ERROR_SHAPE,
                   "matrix product 2 x 3 x 4: row strides 1, 4, 3 are below 2, 4, 3 columns");
    shape.lda = 2;
    shape.ldb = 3;
    expect_refused(&shape, LILAC_ERROR_SHAPE,
                   "matrix product 2 x 3 x 4: row strides 2, 3, 3 are below 2, 4, 3 columns");
}

static void test_refuses_sizes_beyond_an_int(void **state) {
    (void)state;
    const size_t beyond = (size_t)INT_MAX + 1;
    const lilac_matmul_shape good = {.m = 2, .n = 3, .k = 4, .lda = 4, .ldb = 3, .ldc = 3, .alpha = 1.0f};
    lilac_matmul_shape shape = good;
    shape.m = beyond;
    expect_refused(&shape, LILAC_ERROR_OVERFLOW,
                   "matrix product 2147483648 x 3 x 4: a size or stride above 2147483647 cannot be indexed");
    shape = good;
    shape.n = shape.ldb = shape.ldc = beyond;
    expect_refused(&shape, LILAC_ERROR_OVERFLOW,
                   "matrix product 2 x 2147483648 x 4: a size or stride above 2147483647 cannot be indexed");
    shape = good;
    shape.k = shape.lda = beyond;
    expect_refused(&shape, LILAC_ERROR_OVERFLOW,
                   "matrix product 2 x 3 x 2147483648: a size or stride above 2147483647 cannot be indexed");
    size_t *const strides[] = {&shape.lda, &shape.ldb, &shape.ldc};
    for (int i = 0; i < 3; i++) {
        shape = good;
        *strides[i] = beyond;
        expect_refused(&shape, LILAC_ERROR_OVERFLOW,
                       "matrix product 2 x 3 x 4: a size or stride above 2147483647 cannot be indexed");
    }
}

/* Rounds the elements of a matrix to bf16, in the matrix too. */
static uint16_t *round_to_bf16(matrix *m) {
    uint16_t *rounded = malloc(m->size * sizeof *rounded);
    assert_non_null(rounded);
    for (size_t i = 0; i < m->size; i++) {
        rounded[i] = lilac_bf16_from_float(m->block[i]);
        m->block[i] = lilac_float_from_bf16(rounded[i]);
    }
    return rounded;
}

/* Whether this build on this machine multiplies bf16. */
static bool bf16_supported(void) {
    const lilac_matmul_shape shape = {.m = 1, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .alpha = 1.0f};
    const uint16_t one = lilac_bf16_from_float(1.0f);
    float c = 5.0f;
    const lilac_status status = lilac_matmul_bf16(contexts[0], &shape, &one, &one, &c);
    if (strncmp(lilac_matmul_library(), "oneDNN ", 7) != 0) {
        assert_int_equal(status, LILAC_ERROR_UNSUPPORTED);
    } else if (getenv("ONEDNN_MAX_CPU_ISA") == NULL && lilac_cpu_level_detect() > LILAC_CPU_SCALAR) {
        /* Without these instructions oneDNN may have something slower, which is not to be used. */
        assert_int_equal(status, lilac_cpu_has_bf16_dot_product() ? LILAC_OK : LILAC_ERROR_UNSUPPORTED);
    }
    assert_int_equal(lilac_matmul_check_bf16(contexts[0]), status);
    if (status == LILAC_OK) {
        assert_true(c == 1.0f);
        return true;
    }
    char message[100];
    snprintf(message, sizeof message, "%s could not multiply 1 x 1 x 1", lilac_matmul_library());
    assert_int_equal(status, LILAC_ERROR_UNSUPPORTED);
    assert_string_equal(lilac_context_message(contexts[0]), message);
    assert_true(c == 5.0f);
    return false;
}

static void check_bf16_product(product *p, const uint16_t *a, const uint16_t *b, float alpha, float beta) {
    p->shape.alpha = alpha;
    p->shape.beta = beta;
    matrix first = copy_matrix(&p->c);
    for (int i = 0; i < MAX_THREADS; i++) {
        matrix result = copy_matrix(&p->c);
        assert_int_equal(lilac_matmul_bf16(contexts[i], &p->shape, a + PADDING, b + PADDING, result.first), LILAC_OK);
        if (i == 0) {
            expect_product(p, &result);
            memcpy(first.block, result.block, result.size * sizeof(float));
        }
        assert_memory_equal(result.block, first.block, result.size * sizeof(float));
        free(result.block);
    }
    free(first.block);
}

static void test_bf16(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},     {1, 5, 3},     {7, 1, 13},     {17, 19, 23},
                                       {64, 64, 64},  {5, 7, 1031},  {1031, 17, 33}, {17, 1031, 33},
                                       {300, 40, 64}, {783, 33, 35}, {96, 36, 783},  {40, 768, 131}};
    if (!bf16_supported()) {
        return;
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int variant = 0; variant < 8; variant++) {
            product p = create_product(shapes[i][0], shapes[i][1], shapes[i][2], (variant & 1) != 0, (variant & 2) != 0,
                                       (variant & 4) != 0);
            uint16_t *a = round_to_bf16(&p.a), *b = round_to_bf16(&p.b);
            check_bf16_product(&p, a, b, 1.0f, 0.0f);
            check_bf16_product(&p, a, b, -0.5f, 1.0f);
            free(a);
            free(b);
            destroy_product(&p);
        }
    }
}

/* ---- Half precision ---- */

/* The root of the mean square error as a share of what a sum of such terms, of random signs, comes to. */
static double relative_error(const product *p, const matrix *found) {
    const lilac_matmul_shape *s = &p->shape;
    double error = 0.0, square = 0.0;
    for (size_t i = 0; i < s->m; i++) {
        for (size_t j = 0; j < s->n; j++) {
            double sum = s->beta == 0.0f ? 0.0 : element(&p->c, false, i, j);
            square += sum * sum;
            for (size_t l = 0; l < s->k; l++) {
                const double term =
                    (double)s->alpha * element(&p->a, s->transpose_a, i, l) * element(&p->b, s->transpose_b, l, j);
                sum += term;
                square += term * term;
            }
            error += pow((double)found->first[i * s->ldc + j] - sum, 2.0);
        }
    }
    return sqrt(error / square);
}

/* Multiplies the operands by powers of two, some blocks of A's depth by others than others. */
static void scale_operands(product *p, int a_exponent, int b_exponent) {
    for (size_t i = 0; i < p->shape.m; i++) {
        for (size_t l = 0; l < p->shape.k; l++) {
            float *x = p->a.first + (p->shape.transpose_a ? l * p->a.stride + i : i * p->a.stride + l);
            *x = ldexpf(*x, a_exponent + (l / 256 % 2 == 0 ? 0 : -3));
        }
    }
    for (size_t i = 0; i < p->b.rows * p->b.cols; i++) {
        float *x = p->b.first + i / p->b.cols * p->b.stride + i % p->b.cols;
        *x = ldexpf(*x, b_exponent);
    }
}

static const lilac_matmul_type rounding[] = {LILAC_MATMUL_F16, LILAC_MATMUL_TILES};

/* The same bytes with each number of threads, near the exact product, and nothing changed around it. */
static void check_rounded_product(product *p, lilac_matmul_type type, float alpha, float beta) {
    p->shape.alpha = alpha;
    p->shape.beta = beta;
    matrix first = copy_matrix(&p->c);
    for (int i = 0; i < MAX_THREADS; i++) {
        matrix result = copy_matrix(&p->c);
        for (size_t j = 0; beta == 0.0f && j < p->c.rows * p->c.cols; j++) {
            result.first[j / p->c.cols * p->c.stride + j % p->c.cols] = NAN;
        }
        assert_int_equal(lilac_matmul_rounded(contexts[i], type, &p->shape, p->a.first, p->b.first, result.first),
                         LILAC_OK);
        if (i == 0) {
            assert_true(relative_error(p, &result) < (type == LILAC_MATMUL_TILES ? 4e-3 : 3e-3));
            memcpy(first.block, result.block, result.size * sizeof(float));
        }
        assert_memory_equal(result.block, first.block, result.size * sizeof(float));
        for (size_t row = 0; row < p->c.rows; row++) {
            memcpy(result.first + row * p->c.stride, p->c.first + row * p->c.stride, p->c.cols * sizeof(float));
        }
        assert_memory_equal(result.block, p->c.block, result.size * sizeof(float));
        free(result.block);
    }
    free(first.block);
}

static void test_rounded(void **state) {
    (void)state;
    static const size_t shapes[][3] = {{1, 1, 1},     {1, 5, 3},     {7, 1, 13},    {17, 19, 23},
                                       {64, 64, 64},  {5, 7, 1031},  {150, 17, 33}, {17, 163, 33},
                                       {100, 40, 64}, {83, 300, 35}, {96, 36, 783}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (int variant = 0; variant < 8; variant++) {
            product p = create_product(shapes[i][0], shapes[i][1], shapes[i][2], (variant & 1) != 0, (variant & 2) != 0,
                                       (variant & 4) != 0);
            for (size_t k = 0; k < sizeof rounding / sizeof rounding[0]; k++) {
                check_rounded_product(&p, rounding[k], 1.0f, 0.0f);
                check_rounded_product(&p, rounding[k], 1.0f, 1.0f);
                check_rounded_product(&p, rounding[k], -0.5f, 1.0f);
            }
            destroy_product(&p);
        }
    }
}

/* Operands beyond the range of f16, at either end, and of different sizes along the depth. */
static void test_rounded_ranges(void **state) {
    (void)state;
    static const int exponents[][2] = {{-100, 90}, {100, -110}, {-50, -50}, {50, 50}, {-110, 120}, {20, -3}};
    for (size_t i = 0; i < sizeof exponents / sizeof exponents[0]; i++) {
        product p = create_product(20, 50, 700, i % 2 == 0, i % 3 == 0, true);
        scale_operands(&p, exponents[i][0], exponents[i][1]);
        for (size_t k = 0; k < sizeof rounding / sizeof rounding[0]; k++) {
            check_rounded_product(&p, rounding[k], 1.0f, 0.0f);
        }
        destroy_product(&p);
    }
}

static void test_rounded_special_values(void **state) {
    (void)state;
    product p = create_product(3, 4, 5, false, false, false);
    p.shape.alpha = 1.0f;
    p.a.first[1] = NAN;
    p.a.first[5] = INFINITY;
    memset(p.a.first + 10, 0, 5 * sizeof(float));
    for (size_t k = 0; k < sizeof rounding / sizeof rounding[0]; k++) {
        const lilac_status status =
            lilac_matmul_rounded(contexts[1], rounding[k], &p.shape, p.a.first, p.b.first, p.c.first);
        assert_int_equal(status, LILAC_OK);
        for (size_t j = 0; j < 4; j++) {
            assert_true(isnan(p.c.first[j]));
            assert_true(isinf(p.c.first[4 + j]));
            assert_true(p.c.first[8 + j] == 0.0f);
        }
    }
    destroy_product(&p);
    const lilac_matmul_shape empty = {.m = 2, .n = 2, .lda = 0, .ldb = 2, .ldc = 3, .alpha = 1.0f};
    float c[6] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    assert_int_equal(lilac_matmul_rounded(contexts[0], LILAC_MATMUL_F16, &empty, NULL, NULL, c), LILAC_OK);
    assert_true(c[0] == 0.0f && c[1] == 0.0f && c[2] == 3.0f && c[3] == 0.0f && c[4] == 0.0f && c[5] == 6.0f);
    const lilac_matmul_shape bad = {.m = 2, .n = 3, .k = 4, .lda = 3, .ldb = 3, .ldc = 3, .alpha = 1.0f};
    assert_int_equal(lilac_matmul_rounded(contexts[0], LILAC_MATMUL_F16, &bad, c, c, c), LILAC_ERROR_SHAPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_shapes),
        cmocka_unit_test(test_shapes_of_several_blocks),
        cmocka_unit_test(test_empty_sums_and_results),
        cmocka_unit_test(test_refuses_strides_below_the_columns),
        cmocka_unit_test(test_refuses_sizes_beyond_an_int),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_rounded_ranges),
        cmocka_unit_test(test_rounded_special_values),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
