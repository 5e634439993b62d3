/* SPDX-License-Identifier: MIT */
/* Matrix products by oneDNN. Its versions 2 and 3 differ in how a primitive is described; both are kept in this file.
 */
#include "linalg/matmul_block.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>

static lilac_status status_of(dnnl_status_t status) {
    switch (status) {
    case dnnl_success:
        return LILAC_OK;
    case dnnl_out_of_memory:
        return LILAC_ERROR_MEMORY;
    case dnnl_unimplemented:
        return LILAC_ERROR_UNSUPPORTED;
    default:
        return LILAC_ERROR_ARGUMENT;
    }
}

lilac_status lilac_matmul_block_f32(const lilac_matmul_shape *s, const void *a, const void *b, float *c) {
    /* oneDNN would start its own threads and, with more than one, sum in another order. */
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    const dnnl_status_t status = dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N', (dnnl_dim_t)s->m,
                                            (dnnl_dim_t)s->n, (dnnl_dim_t)s->k, s->alpha, a, (dnnl_dim_t)s->lda, b,
                                            (dnnl_dim_t)s->ldb, s->beta, c, (dnnl_dim_t)s->ldc);
    omp_set_num_threads(threads);
    return status_of(status);
}

/* The objects of one execution, so that one function frees whatever was made. */
typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c;
} execution;

static void free_execution(execution *e) {
    dnnl_memory_destroy(e->c);
    dnnl_memory_destroy(e->b);
    dnnl_memory_destroy(e->a);
    dnnl_primitive_destroy(e->primitive);
    dnnl_primitive_desc_destroy(e->description);
    dnnl_stream_destroy(e->stream);
    dnnl_engine_destroy(e->engine);
}

#define TRY_ONEDNN(call)                                                                                               \
    do {                                                                                                               \
        const dnnl_status_t try_status = (call);                                                                       \
        if (try_status != dnnl_success) {                                                                              \
            return try_status;                                                                                         \
        }                                                                                                              \
    } while (0)

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t matrix_description;

static dnnl_status_t describe_matrix(matrix_description *d, const dnnl_dims_t sizes, const dnnl_dims_t strides,
                                     dnnl_data_type_t type) {
    return dnnl_memory_desc_create_with_strides(d, 2, sizes, type, strides);
}

static void forget_matrix(matrix_description *d) {
    dnnl_memory_desc_destroy(*d);
}

static dnnl_status_t describe_product(execution *e, const matrix_description *a, const matrix_description *b,
                                      const matrix_description *c, dnnl_primitive_attr_t attributes) {
    return dnnl_matmul_primitive_desc_create(&e->description, e->engine, *a, *b, NULL, *c, attributes);
}

#define DESCRIPTION(d) (d)
#else
typedef dnnl_memory_desc_t matrix_description;

static dnnl_status_t describe_matrix(matrix_description *d, const dnnl_dims_t sizes, const dnnl_dims_t strides,
                                     dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_strides(d, 2, sizes, type, strides);
}

static void forget_matrix(matrix_description *d) {
    (void)d;
}

static dnnl_status_t describe_product(execution *e, const matrix_description *a, const matrix_description *b,
                                      const matrix_description *c, dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t operation;
    TRY_ONEDNN(dnnl_matmul_desc_init(&operation, a, b, NULL, c));
    return dnnl_primitive_desc_create(&e->description, &operation, attributes, e->engine, NULL);
}

#define DESCRIPTION(d) (&(d))
#endif

static dnnl_status_t execute_described(execution *e, const matrix_description d[3], const void *a, const void *b,
                                       float *c, dnnl_primitive_attr_t attributes) {
    TRY_ONEDNN(dnnl_engine_create(&e->engine, dnnl_cpu, 0));
    TRY_ONEDNN(dnnl_stream_create(&e->stream, e->engine, dnnl_stream_default_flags));
    TRY_ONEDNN(describe_product(e, &d[0], &d[1], &d[2], attributes));
    TRY_ONEDNN(dnnl_primitive_create(&e->primitive, e->description));
    TRY_ONEDNN(dnnl_memory_create(&e->a, DESCRIPTION(d[0]), e->engine, (void *)(uintptr_t)a));
    TRY_ONEDNN(dnnl_memory_create(&e->b, DESCRIPTION(d[1]), e->engine, (void *)(uintptr_t)b));
    TRY_ONEDNN(dnnl_memory_create(&e->c, DESCRIPTION(d[2]), e->engine, c));
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, e->a}, {DNNL_ARG_WEIGHTS, e->b}, {DNNL_ARG_DST, e->c}};
    TRY_ONEDNN(dnnl_primitive_execute(e->primitive, e->stream, 3, arguments));
    return dnnl_stream_wait(e->stream);
}

static dnnl_status_t append_scale_and_sum(dnnl_post_ops_t operations, float alpha, float beta) {
#if DNNL_VERSION_MAJOR >= 3
    TRY_ONEDNN(dnnl_post_ops_append_eltwise(operations, dnnl_eltwise_linear, alpha, 0.0f));
    return beta == 0.0f ? dnnl_success : dnnl_post_ops_append_sum(operations, beta, 0, dnnl_f32);
#else
    TRY_ONEDNN(dnnl_post_ops_append_eltwise(operations, 1.0f, dnnl_eltwise_linear, alpha, 0.0f));
    return beta == 0.0f ? dnnl_success : dnnl_post_ops_append_sum(operations, beta);
#endif
}

/* alpha and beta are operations that oneDNN appends to the product. */
static dnnl_status_t create_attributes(float alpha, float beta, dnnl_primitive_attr_t *attributes) {
    TRY_ONEDNN(dnnl_primitive_attr_create(attributes));
    if (alpha == 1.0f && beta == 0.0f) {
        return dnnl_success;
    }
    dnnl_post_ops_t operations;
    TRY_ONEDNN(dnnl_post_ops_create(&operations));
    dnnl_status_t status = append_scale_and_sum(operations, alpha, beta);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(*attributes, operations);
    }
    dnnl_post_ops_destroy(operations);
    return status;
}

static dnnl_status_t describe_all(const lilac_matmul_shape *s, matrix_description d[3]) {
    const dnnl_dim_t m = (dnnl_dim_t)s->m, n = (dnnl_dim_t)s->n, k = (dnnl_dim_t)s->k;
    const dnnl_dim_t lda = (dnnl_dim_t)s->lda, ldb = (dnnl_dim_t)s->ldb;
    const dnnl_dims_t sizes_a = {m, k}, sizes_b = {k, n}, sizes_c = {m, n};
    const dnnl_dims_t strides_a = {s->transpose_a ? 1 : lda, s->transpose_a ? lda : 1};
    const dnnl_dims_t strides_b = {s->transpose_b ? 1 : ldb, s->transpose_b ? ldb : 1};
    const dnnl_dims_t strides_c = {(dnnl_dim_t)s->ldc, 1};
    TRY_ONEDNN(describe_matrix(&d[0], sizes_a, strides_a, dnnl_bf16));
    TRY_ONEDNN(describe_matrix(&d[1], sizes_b, strides_b, dnnl_bf16));
    return describe_matrix(&d[2], sizes_c, strides_c, dnnl_f32);
}

lilac_status lilac_matmul_block_bf16(const lilac_matmul_shape *s, const void *a, const void *b, float *c) {
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    matrix_description d[3] = {0};
    dnnl_primitive_attr_t attributes = NULL;
    execution e = {0};
    dnnl_status_t status = describe_all(s, d);
    if (status == dnnl_success) {
        status = create_attributes(s->alpha, s->beta, &attributes);
    }
    if (status == dnnl_success) {
        status = execute_described(&e, d, a, b, c, attributes);
    }
    free_execution(&e);
    dnnl_primitive_attr_destroy(attributes);
    for (int i = 0; i < 3; i++) {
        forget_matrix(&d[i]);
    }
    omp_set_num_threads(threads);
    return status_of(status);
}

#define STRINGIZE(x) #x
#define VERSION_STRING(major, minor, patch) "oneDNN " STRINGIZE(major) "." STRINGIZE(minor) "." STRINGIZE(patch)

const char *lilac_matmul_library(void) {
    return VERSION_STRING(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
}
