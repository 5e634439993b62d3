/* SPDX-License-Identifier: MIT */
/*
 * Tests and timings of kernels. Each case runs at every level that has the kernel and the machine supports, on buffers
 * whose surroundings are watched, with random inputs that --seed replays.
 *
 * To add a family: write tests/kernel/test_<family>.c with a kernel_family, declare it below, and list it in
 * kernel_test.c and tests/meson.build.
 */
#ifndef LILAC_TEST_KERNEL_TEST_H
#define LILAC_TEST_KERNEL_TEST_H

#include "core/random.h"
#include "kernels/kernel_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the headers above it. */
#include <cmocka.h>

/* Kinds of input a kernel must cope with. */
typedef enum kernel_input {
    KERNEL_UNIFORM,   /* -1 .. 1 */
    KERNEL_EXPONENTS, /* -500 .. 500: exp overflows unless the maximum is taken out first */
    KERNEL_EQUAL,     /* one number, drawn from -1 .. 1, everywhere */
    KERNEL_ZEROS,     /* 0 and -0 */
    KERNEL_DENORMALS, /* either sign, below the smallest normal number */
    KERNEL_LARGE,     /* either sign, 1e30 .. 1e36 */
    KERNEL_INPUTS
} kernel_input;

/* What a buffer is for. What lies between a matrix's rows and around it must stay as it is in any case. */
typedef enum kernel_use {
    KERNEL_READ, /* must not change either */
    KERNEL_WRITE /* starts as NaNs unless filled */
} kernel_use;

/* A unit roundoff: half an ulp of 1. */
#define KERNEL_ROUNDOFF 0x1p-24

typedef struct kernel_test {
    lilac_cpu_level level;
    const lilac_kernel_table *kernels;   /* of that level */
    const lilac_kernel_table *reference; /* of the scalar level */
    struct kernel_state *state;          /* the harness' own */
} kernel_test;

typedef struct kernel_case {
    const char *name;
    lilac_cpu_level lowest;           /* the lowest level that has the kernel */
    void (*check)(kernel_test *test); /* may be NULL: only timed */
    /* Times the kernel, on about n elements where its size is free, with the loop shown at kernel_bench_more; may be
     * NULL. */
    void (*bench)(kernel_test *test, size_t n);
} kernel_case;

typedef struct kernel_family {
    const char *name;
    const kernel_case *cases;
    size_t count;
} kernel_family;

extern const kernel_family kernel_family_activation;
extern const kernel_family kernel_family_elementwise;
extern const kernel_family kernel_family_exp;
extern const kernel_family kernel_family_layer_norm;
extern const kernel_family kernel_family_linear_attention;
extern const kernel_family kernel_family_linear_attention_calls;
extern const kernel_family kernel_family_half_product;
extern const kernel_family kernel_family_tile_product;
extern const kernel_family kernel_family_packed_product;
extern const kernel_family kernel_family_softmax_attention;
extern const kernel_family kernel_family_softmax_attention_calls;
extern const kernel_family kernel_family_tile_attention;

/* Says what is being tested; printed with the seed if the test fails. */
void kernel_note(kernel_test *test, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Random numbers: any 32-bit word, one below a bound, one between two. */
uint32_t kernel_random_word(kernel_test *test);
size_t kernel_random_below(kernel_test *test, size_t bound);
double kernel_random_between(kernel_test *test, double low, double high);

/* A place in some stream, also one where the block number's low half overflows within the sequence. */
lilac_random kernel_random_place(kernel_test *test);

/* A buffer for rows x cols elements of size bytes, rows stride elements apart. It may start or end at memory that must
 * not be touched, or lie at an odd address. Valid until kernel_verify. */
void *kernel_buffer(kernel_test *test, kernel_use use, size_t size, size_t rows, size_t cols, size_t stride);

/* The same at a multiple of LILAC_ALIGNMENT, for kernels that need it. */
void *kernel_aligned_buffer(kernel_test *test, kernel_use use, size_t size, size_t rows, size_t cols, size_t stride);

/* Such a buffer of floats, for KERNEL_READ filled with that kind of input. */
float *kernel_read(kernel_test *test, kernel_input input, size_t rows, size_t cols, size_t stride);
float *kernel_write(kernel_test *test, size_t rows, size_t cols, size_t stride);

/* Fills a matrix with that kind of input. */
void kernel_fill(kernel_test *test, kernel_input input, float *x, size_t rows, size_t cols, size_t stride);

/* Before the kernel runs: remembers all buffers. After: checks that only what may change did, and drops the buffers. */
void kernel_arm(kernel_test *test);
void kernel_verify(kernel_test *test);

/* Checks a result against its exact value: |value - exact| <= tolerance, with room for one denormal's rounding. A NaN
 * must be a NaN, and what does not fit a float must be infinite. */
void kernel_expect(const char *what, size_t index, float value, double exact, double tolerance);

/* Checks that two levels gave the same bytes; two NaNs need not be the same NaN. */
void kernel_expect_same(const char *what, size_t index, float value, float other);

/* Memory for a timing: n floats of the kind KERNEL_UNIFORM; freed by the harness. */
float *kernel_bench_floats(kernel_test *test, size_t n);

/* Times the body of: for (kernel_bench_begin(test, elements, bytes); kernel_bench_more(test);) { ... }, which goes
 * through that many elements and bytes of memory once. Or, for a kernel of fixed size, begins with
 * kernel_bench_begin_call: the body is then one call, of that many floating-point operations. */
void kernel_bench_begin(kernel_test *test, size_t elements, size_t bytes);
void kernel_bench_begin_call(kernel_test *test, double operations);
bool kernel_bench_more(kernel_test *test);

#endif
