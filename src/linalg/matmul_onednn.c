/* SPDX-License-Identifier: MIT */
/* Matrix products by oneDNN. Its versions 2 and 3 differ in how a primitive is described; both are kept in this file.
 */
#include "linalg/matmul_plan.h"

#include "core/memory.h"

#include <dnnl.h>
#include <omp.h>
#include <string.h>

enum {
    /* f32 products of fewer multiplications than this are left to oneDNN's sgemm: making a primitive compiles code for
     * its shape, which takes longer than many such products. */
    PRIMITIVE_PRODUCT = 1 << 18,
    /* sgemm without AVX-512 reads an operand whose columns the sums run down (A transposed, B not) where it is. Of rows
     * that lie a multiple of so many bytes apart few find room in the first-level cache at once: with 4096 the product
     * takes more than twice as long. */
    ALIASING_STRIDE = 1024,
    /* So it gets copies of so many rows, an odd number of cache lines apart; in blocks of 256 columns they stay in the
     * second-level cache. */
    COPIED_DEPTH = 256,
    /* Bounds the memory for a copy, to some 4 MiB. */
    MOST_COPIED_COLUMNS = 4096,
    /* A copied number has at least so many multiplications. */
    LEAST_USES_OF_COPY = 32
};

struct lilac_matmul_plan {
    lilac_matmul_shape shape;
    dnnl_engine_t engine;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive; /* NULL: sgemm */
    bool copies_a, copies_b;    /* sgemm of copies, see ALIASING_STRIDE */
    size_t scratch;
};

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

static dnnl_status_t describe_product(lilac_matmul_plan *plan, const matrix_description d[3],
                                      dnnl_primitive_attr_t attributes) {
    return dnnl_matmul_primitive_desc_create(&plan->description, plan->engine, d[0], d[1], NULL, d[2], attributes);
}
#else
typedef dnnl_memory_desc_t matrix_description;

static dnnl_status_t describe_matrix(matrix_description *d, const dnnl_dims_t sizes, const dnnl_dims_t strides,
                                     dnnl_data_type_t type) {
    return dnnl_memory_desc_init_by_strides(d, 2, sizes, type, strides);
}

static void forget_matrix(matrix_description *d) {
    (void)d;
}

static dnnl_status_t describe_product(lilac_matmul_plan *plan, const matrix_description d[3],
                                      dnnl_primitive_attr_t attributes) {
    dnnl_matmul_desc_t operation;
    TRY_ONEDNN(dnnl_matmul_desc_init(&operation, &d[0], &d[1], NULL, &d[2]));
    return dnnl_primitive_desc_create(&plan->description, &operation, attributes, plan->engine, NULL);
}
#endif

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t scale_result(dnnl_primitive_attr_t attributes, dnnl_post_ops_t operations, float alpha) {
    (void)attributes;
    return dnnl_post_ops_append_eltwise(operations, dnnl_eltwise_linear, alpha, 0.0f);
}

static dnnl_status_t add_to_result(dnnl_post_ops_t operations, float beta) {
    return dnnl_post_ops_append_sum(operations, beta, 0, dnnl_f32);
}
#else
/* Not as an operation: where that is followed by a sum and a matrix has gaps between its rows, version 2 has nothing
 * but its reference, which is a thousand times slower. */
static dnnl_status_t scale_result(dnnl_primitive_attr_t attributes, dnnl_post_ops_t operations, float alpha) {
    (void)operations;
    return dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &alpha);
}

static dnnl_status_t add_to_result(dnnl_post_ops_t operations, float beta) {
    return dnnl_post_ops_append_sum(operations, beta);
}
#endif

/* Scratch memory is the caller's: what oneDNN would keep by itself belongs to the thread that made the primitive. */
static dnnl_status_t create_attributes(float alpha, float beta, dnnl_primitive_attr_t *attributes) {
    TRY_ONEDNN(dnnl_primitive_attr_create(attributes));
    TRY_ONEDNN(dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user));
    dnnl_post_ops_t operations;
    TRY_ONEDNN(dnnl_post_ops_create(&operations));
    dnnl_status_t status = alpha == 1.0f ? dnnl_success : scale_result(*attributes, operations, alpha);
    if (status == dnnl_success && beta != 0.0f) {
        status = add_to_result(operations, beta);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(*attributes, operations);
    }
    dnnl_post_ops_destroy(operations);
    return status;
}

static dnnl_status_t describe_all(const lilac_matmul_shape *s, dnnl_data_type_t type, matrix_description d[3]) {
    const dnnl_dim_t m = (dnnl_dim_t)s->m, n = (dnnl_dim_t)s->n, k = (dnnl_dim_t)s->k;
    const dnnl_dim_t lda = (dnnl_dim_t)s->lda, ldb = (dnnl_dim_t)s->ldb;
    const dnnl_dims_t sizes_a = {m, k}, sizes_b = {k, n}, sizes_c = {m, n};
    const dnnl_dims_t strides_a = {s->transpose_a ? 1 : lda, s->transpose_a ? lda : 1};
    const dnnl_dims_t strides_b = {s->transpose_b ? 1 : ldb, s->transpose_b ? ldb : 1};
    const dnnl_dims_t strides_c = {(dnnl_dim_t)s->ldc, 1};
    TRY_ONEDNN(describe_matrix(&d[0], sizes_a, strides_a, type));
    TRY_ONEDNN(describe_matrix(&d[1], sizes_b, strides_b, type));
    return describe_matrix(&d[2], sizes_c, strides_c, dnnl_f32);
}

static dnnl_status_t create_primitive(lilac_matmul_plan *plan, const matrix_description d[3],
                                      dnnl_primitive_attr_t attributes) {
    TRY_ONEDNN(dnnl_engine_create(&plan->engine, dnnl_cpu, 0));
    TRY_ONEDNN(describe_product(plan, d, attributes));
    plan->scratch =
        dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(plan->description, dnnl_query_scratchpad_md, 0));
    return dnnl_primitive_create(&plan->primitive, plan->description);
}

static dnnl_status_t describe_and_create(lilac_matmul_plan *plan, bool bf16) {
    matrix_description d[3] = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = describe_all(&plan->shape, bf16 ? dnnl_bf16 : dnnl_f32, d);
    if (status == dnnl_success) {
        status = create_attributes(plan->shape.alpha, plan->shape.beta, &attributes);
    }
    if (status == dnnl_success) {
        status = create_primitive(plan, d, attributes);
    }
    dnnl_primitive_attr_destroy(attributes);
    for (int i = 0; i < 3; i++) {
        forget_matrix(&d[i]);
    }
    return status;
}

/* True if the primitive is one that is compiled for its shape. The others call sgemm, or are slow. */
static bool is_compiled(const lilac_matmul_plan *plan) {
    const char *name = "";
    dnnl_primitive_desc_query(plan->description, dnnl_query_impl_info_str, 0, &name);
    return strncmp(name, "brg", 3) == 0;
}

static void drop_primitive(lilac_matmul_plan *plan) {
    dnnl_primitive_destroy(plan->primitive);
    dnnl_primitive_desc_destroy(plan->description);
    dnnl_engine_destroy(plan->engine);
    *plan = (lilac_matmul_plan){.shape = plan->shape};
}

/* Where oneDNN may use AVX-512 but no dot products of bf16, it converts to f32 and back, which is slower than f32. Its
 * word counts, not the cpu's: ONEDNN_MAX_CPU_ISA in the environment limits it. */
static bool has_fast_bf16(void) {
#if defined(__x86_64__)
    const unsigned allowed = (unsigned)dnnl_get_effective_cpu_isa(), needed = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return (allowed & needed) == needed;
#else
    return true;
#endif
}

/* The distance of rows in a copy of so many columns. */
static size_t copy_stride(size_t columns) {
    const size_t line = LILAC_ALIGNMENT / sizeof(float);
    return (lilac_round_up(columns, line) / line | 1) * line;
}

static bool is_worth_a_copy(size_t columns, size_t stride, size_t uses) {
    return stride * sizeof(float) % ALIASING_STRIDE == 0 && columns <= MOST_COPIED_COLUMNS &&
           uses >= LEAST_USES_OF_COPY;
}

static void plan_sgemm(lilac_matmul_plan *plan) {
    const lilac_matmul_shape *s = &plan->shape;
    plan->copies_a = s->transpose_a && is_worth_a_copy(s->m, s->lda, s->n);
    plan->copies_b = !s->transpose_b && is_worth_a_copy(s->n, s->ldb, s->m);
    const size_t columns = (plan->copies_a ? copy_stride(s->m) : 0) + (plan->copies_b ? copy_stride(s->n) : 0);
    plan->scratch = columns * COPIED_DEPTH * sizeof(float);
}

lilac_status lilac_matmul_plan_create(const lilac_matmul_shape *shape, bool bf16, lilac_matmul_plan **out) {
    if (bf16 && !has_fast_bf16()) {
        return LILAC_ERROR_UNSUPPORTED;
    }
    lilac_matmul_plan *plan = lilac_memory_allocate(1, sizeof *plan);
    if (plan == NULL) {
        return LILAC_ERROR_MEMORY;
    }
    plan->shape = *shape;
    if (bf16 || (double)shape->m * (double)shape->n * (double)shape->k >= PRIMITIVE_PRODUCT) {
        /* A primitive uses as many threads as there are when it is made. */
        const int threads = omp_get_max_threads();
        omp_set_num_threads(1);
        const lilac_status status = status_of(describe_and_create(plan, bf16));
        omp_set_num_threads(threads);
        if (status != LILAC_OK && (bf16 || status != LILAC_ERROR_UNSUPPORTED)) {
            lilac_matmul_plan_destroy(plan);
            return status;
        }
        if (!bf16 && (status != LILAC_OK || !is_compiled(plan))) {
            drop_primitive(plan);
            plan_sgemm(plan);
        }
    }
    *out = plan;
    return LILAC_OK;
}

void lilac_matmul_plan_destroy(lilac_matmul_plan *plan) {
    if (plan != NULL) {
        drop_primitive(plan);
        lilac_memory_free(plan);
    }
}

size_t lilac_matmul_plan_scratch(const lilac_matmul_plan *plan) {
    return plan->scratch;
}

static dnnl_status_t run_sgemm(const lilac_matmul_shape *s, const float *a, const float *b, float *c) {
    return dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N', (dnnl_dim_t)s->m, (dnnl_dim_t)s->n,
                      (dnnl_dim_t)s->k, s->alpha, a, (dnnl_dim_t)s->lda, b, (dnnl_dim_t)s->ldb, s->beta, c,
                      (dnnl_dim_t)s->ldc);
}

/* Returns the copy; *stride becomes that of its rows. */
static const float *copy_rows(size_t rows, size_t columns, const float *from, size_t *stride, float *to) {
    const size_t from_stride = *stride;
    *stride = copy_stride(columns);
    for (size_t i = 0; i < rows; i++) {
        memcpy(to + i * *stride, from + i * from_stride, columns * sizeof *to);
    }
    return to;
}

static dnnl_status_t run_sgemm_of_copies(const lilac_matmul_plan *plan, const float *a, const float *b, float *c,
                                         float *scratch) {
    const lilac_matmul_shape *s = &plan->shape;
    float *const copy_a = scratch, *const copy_b = scratch + (plan->copies_a ? COPIED_DEPTH * copy_stride(s->m) : 0);
    for (size_t k = 0; k < s->k; k += COPIED_DEPTH) {
        lilac_matmul_shape part = *s;
        part.k = lilac_size_min(s->k - k, COPIED_DEPTH);
        part.beta = k == 0 ? s->beta : 1.0f;
        const float *part_a = s->transpose_a ? a + k * s->lda : a + k;
        const float *part_b = s->transpose_b ? b + k : b + k * s->ldb;
        if (plan->copies_a) {
            part_a = copy_rows(part.k, s->m, part_a, &part.lda, copy_a);
        }
        if (plan->copies_b) {
            part_b = copy_rows(part.k, s->n, part_b, &part.ldb, copy_b);
        }
        TRY_ONEDNN(run_sgemm(&part, part_a, part_b, c));
    }
    return dnnl_success;
}

/* What one execution of a primitive needs, not shared by threads: source, weights, destination, scratch memory. */
enum { EXECUTION_MEMORIES = 4 };

typedef struct {
    dnnl_stream_t stream;
    dnnl_memory_t memories[EXECUTION_MEMORIES];
} execution;

static dnnl_status_t execute(const lilac_matmul_plan *plan, void *const pointers[EXECUTION_MEMORIES], execution *e) {
    static const dnnl_query_t queries[EXECUTION_MEMORIES] = {dnnl_query_src_md, dnnl_query_weights_md,
                                                             dnnl_query_dst_md, dnnl_query_scratchpad_md};
    static const int names[EXECUTION_MEMORIES] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t arguments[EXECUTION_MEMORIES];
    TRY_ONEDNN(dnnl_stream_create(&e->stream, plan->engine, dnnl_stream_default_flags));
    for (int i = 0; i < EXECUTION_MEMORIES; i++) {
        TRY_ONEDNN(dnnl_memory_create(&e->memories[i], dnnl_primitive_desc_query_md(plan->description, queries[i], 0),
                                      plan->engine, pointers[i]));
        arguments[i] = (dnnl_exec_arg_t){.arg = names[i], .memory = e->memories[i]};
    }
    TRY_ONEDNN(dnnl_primitive_execute(plan->primitive, e->stream, EXECUTION_MEMORIES, arguments));
    return dnnl_stream_wait(e->stream);
}

lilac_status lilac_matmul_plan_run(const lilac_matmul_plan *plan, const void *a, const void *b, float *c,
                                   void *scratch) {
    /* oneDNN would start its own threads and, with more than one, sum in another order. */
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status;
    if (plan->copies_a || plan->copies_b) {
        status = run_sgemm_of_copies(plan, a, b, c, scratch);
    } else if (plan->primitive == NULL) {
        status = run_sgemm(&plan->shape, a, b, c);
    } else {
        execution e = {0};
        void *const pointers[EXECUTION_MEMORIES] = {(void *)(uintptr_t)a, (void *)(uintptr_t)b, c, scratch};
        status = execute(plan, pointers, &e);
        for (int i = 0; i < EXECUTION_MEMORIES; i++) {
            dnnl_memory_destroy(e.memories[i]);
        }
        dnnl_stream_destroy(e.stream);
    }
    omp_set_num_threads(threads);
    return status_of(status);
}

#define STRINGIZE(x) #x
#define VERSION_STRING(major, minor, patch) "oneDNN " STRINGIZE(major) "." STRINGIZE(minor) "." STRINGIZE(patch)

const char *lilac_matmul_library(void) {
    return VERSION_STRING(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
}
