/* SPDX-License-Identifier: MIT */
/* The harness of the kernel tests: watched buffers, random inputs, comparisons, timings, and the program itself. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "kernel_test.h"

#include "core/clock.h"
#include "core/memory.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const kernel_family *const families[] = {
    &kernel_family_elementwise,
    &kernel_family_activation,
    &kernel_family_layer_norm,
    &kernel_family_linear_attention,
    &kernel_family_half_product,
    &kernel_family_tile_product,
    &kernel_family_packed_product,
    &kernel_family_softmax_attention,
    &kernel_family_tile_attention,
    &kernel_family_linear_attention_calls,
    &kernel_family_softmax_attention_calls,
#if defined(__x86_64__)
    &kernel_family_exp,
#endif
};

enum {
    FAMILIES = sizeof families / sizeof families[0],
    LEVELS = 3,
    MAX_TESTS = 256,
    BUFFERS = 16, /* at once */
    BUFFER_BYTES = 1 << 20,
    WATCHED = 256,  /* bytes looked at on each side of a buffer */
    PATTERN = 0xff, /* as a float: a NaN */
    BENCH_ALLOCATIONS = 8
};

typedef struct buffer {
    kernel_use use;
    size_t row_bytes, stride_bytes, rows;
    unsigned char *start;         /* of the matrix */
    unsigned char *watched, *end; /* what is looked at */
    unsigned char *region;        /* BUFFER_BYTES between two pages that cannot be touched */
    unsigned char *copy;          /* of watched .. end, as it was when armed */
} buffer;

struct kernel_state {
    uint64_t seed;
    lilac_random random;
    uint32_t words[LILAC_RANDOM_GROUP];
    size_t words_used;
    buffer buffers[BUFFERS];
    size_t used;
    char note[256];
    bool finished;
    uint64_t armed; /* cases: runs of a kernel at a level on a shape and a kind of input, with all that is compared */

    const char *filter;
    size_t bench_elements, bench_bytes;
    double bench_operations; /* of a call; 0: elements and bytes count */
    uint64_t bench_runs;     /* of the body, in the present measurement */
    uint64_t bench_run;
    double bench_began, bench_first, bench_best;
    void *bench_memory[BENCH_ALLOCATIONS];
    size_t bench_allocations;
};

/* Random numbers */

static void restart_random(struct kernel_state *state, uint64_t index) {
    state->random = lilac_random_stream(state->seed, LILAC_RANDOM_TEST, index);
    state->words_used = LILAC_RANDOM_GROUP;
}

uint32_t kernel_random_word(kernel_test *test) {
    struct kernel_state *state = test->state;
    if (state->words_used == LILAC_RANDOM_GROUP) {
        lilac_random_group(&state->random, state->words);
        state->random.group++;
        state->words_used = 0;
    }
    return state->words[state->words_used++];
}

size_t kernel_random_below(kernel_test *test, size_t bound) {
    return (size_t)((uint64_t)kernel_random_word(test) * bound >> 32);
}

double kernel_random_between(kernel_test *test, double low, double high) {
    return low + (high - low) * (kernel_random_word(test) * 0x1p-32);
}

lilac_random kernel_random_place(kernel_test *test) {
    /* The last: the block number's low half overflows within the sequence. */
    const uint64_t groups[] = {0, kernel_random_word(test), UINT64_MAX / LILAC_RANDOM_GROUP_BLOCKS - 8,
                               (uint64_t)UINT32_MAX / LILAC_RANDOM_GROUP_BLOCKS};
    return (lilac_random){.seed = (uint64_t)kernel_random_word(test) << 32 | kernel_random_word(test),
                          .stream = (uint64_t)kernel_random_word(test) << 32 | kernel_random_word(test),
                          .group = groups[kernel_random_below(test, sizeof groups / sizeof groups[0])]};
}

/* Buffers */

static void *map_region(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *memory = mmap(NULL, BUFFER_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + page, BUFFER_BYTES, PROT_READ | PROT_WRITE) != 0) {
        return NULL;
    }
    return memory + page;
}

static bool create_buffers(struct kernel_state *state) {
    for (size_t i = 0; i < BUFFERS; i++) {
        state->buffers[i].region = map_region();
        state->buffers[i].copy = malloc(BUFFER_BYTES);
        if (state->buffers[i].region == NULL || state->buffers[i].copy == NULL) {
            return false;
        }
    }
    return true;
}

static void destroy_buffers(struct kernel_state *state) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < BUFFERS; i++) {
        if (state->buffers[i].region != NULL) {
            munmap(state->buffers[i].region - page, BUFFER_BYTES + 2 * page);
        }
        free(state->buffers[i].copy);
    }
}

/* At the end of the region, at its start, or in between and off alignment. */
static unsigned char *place_buffer(kernel_test *test, unsigned char *region, size_t bytes, size_t size) {
    switch (kernel_random_below(test, 3)) {
    case 0:
        return region + BUFFER_BYTES - bytes;
    case 1:
        return region;
    default:
        return region + WATCHED + size * kernel_random_below(test, LILAC_ALIGNMENT);
    }
}

static void *make_buffer(kernel_test *test, kernel_use use, size_t size, size_t rows, size_t cols, size_t stride,
                         size_t alignment) {
    const size_t bytes = rows == 0 ? 0 : ((rows - 1) * stride + cols) * size;
    assert_true(test->state->used < BUFFERS && bytes + 2 * WATCHED + size * LILAC_ALIGNMENT <= BUFFER_BYTES);
    buffer *b = &test->state->buffers[test->state->used++];
    b->use = use;
    b->rows = rows;
    b->row_bytes = cols * size;
    b->stride_bytes = stride * size;
    b->start = place_buffer(test, b->region, bytes, size);
    b->start -= (uintptr_t)b->start % alignment;
    b->watched = b->start - lilac_size_min(WATCHED, (size_t)(b->start - b->region));
    b->end = b->start + bytes + lilac_size_min(WATCHED, (size_t)(b->region + BUFFER_BYTES - b->start) - bytes);
    memset(b->watched, PATTERN, (size_t)(b->end - b->watched));
    return b->start;
}

void *kernel_buffer(kernel_test *test, kernel_use use, size_t size, size_t rows, size_t cols, size_t stride) {
    return make_buffer(test, use, size, rows, cols, stride, 1);
}

void *kernel_aligned_buffer(kernel_test *test, kernel_use use, size_t size, size_t rows, size_t cols, size_t stride) {
    return make_buffer(test, use, size, rows, cols, stride, LILAC_ALIGNMENT);
}

float *kernel_read(kernel_test *test, kernel_input input, size_t rows, size_t cols, size_t stride) {
    float *x = kernel_buffer(test, KERNEL_READ, sizeof(float), rows, cols, stride);
    kernel_fill(test, input, x, rows, cols, stride);
    return x;
}

float *kernel_write(kernel_test *test, size_t rows, size_t cols, size_t stride) {
    return kernel_buffer(test, KERNEL_WRITE, sizeof(float), rows, cols, stride);
}

static double input_value(kernel_test *test, kernel_input input) {
    const double sign = kernel_random_below(test, 2) == 0 ? 1.0 : -1.0;
    switch (input) {
    case KERNEL_EXPONENTS:
        return kernel_random_between(test, -500.0, 500.0);
    case KERNEL_ZEROS:
        return sign * 0.0;
    case KERNEL_DENORMALS:
        return sign * kernel_random_between(test, 0.0, FLT_MIN);
    case KERNEL_LARGE:
        return sign * pow(10.0, kernel_random_between(test, 30.0, 36.0));
    default:
        return kernel_random_between(test, -1.0, 1.0);
    }
}

void kernel_fill(kernel_test *test, kernel_input input, float *x, size_t rows, size_t cols, size_t stride) {
    const double equal = input_value(test, input);
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            x[i * stride + c] = (float)(input == KERNEL_EQUAL ? equal : input_value(test, input));
        }
    }
}

void kernel_arm(kernel_test *test) {
    test->state->armed++;
    for (size_t i = 0; i < test->state->used; i++) {
        const buffer *b = &test->state->buffers[i];
        memcpy(b->copy, b->watched, (size_t)(b->end - b->watched));
    }
}

static void expect_unchanged(const buffer *b, size_t index, const unsigned char *from, const unsigned char *to) {
    if (memcmp(from, b->copy + (from - b->watched), (size_t)(to - from)) != 0) {
        fail_msg("buffer %zu (in the order made): bytes %td .. %td from its start changed", index, from - b->start,
                 to - b->start);
    }
}

void kernel_verify(kernel_test *test) {
    for (size_t i = 0; i < test->state->used; i++) {
        const buffer *b = &test->state->buffers[i];
        const unsigned char *from = b->watched;
        if (b->use == KERNEL_WRITE) {
            for (size_t row = 0; row < b->rows; row++) {
                expect_unchanged(b, i, from, b->start + row * b->stride_bytes);
                from = b->start + row * b->stride_bytes + b->row_bytes;
            }
        }
        expect_unchanged(b, i, from, b->end);
    }
    test->state->used = 0;
}

/* Comparisons */

void kernel_note(kernel_test *test, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(test->state->note, sizeof test->state->note, format, arguments);
    va_end(arguments);
}

void kernel_expect(const char *what, size_t index, float value, double exact, double tolerance) {
    const bool too_large = isinf(value) && signbit(value) == signbit(exact) && fabs(exact) + tolerance > FLT_MAX;
    const bool both_nan = isnan(value) && isnan(exact);
    if (!both_nan && !too_large && !(fabs((double)value - exact) <= tolerance + FLT_TRUE_MIN)) {
        fail_msg("%s[%zu]: got %.9g, exact %.17g, off by %g where %g is allowed", what, index, (double)value, exact,
                 fabs((double)value - exact), tolerance);
    }
}

void kernel_expect_same(const char *what, size_t index, float value, float other) {
    if (memcmp(&value, &other, sizeof value) != 0 && !(isnan(value) && isnan(other))) {
        fail_msg("%s[%zu]: got %a, the reference kernel %a", what, index, (double)value, (double)other);
    }
}

/* Timings */

float *kernel_bench_floats(kernel_test *test, size_t n) {
    struct kernel_state *state = test->state;
    float *x = lilac_memory_allocate(n, sizeof *x);
    if (x == NULL || state->bench_allocations == BENCH_ALLOCATIONS) {
        fprintf(stderr, "no memory for %zu floats\n", n);
        abort();
    }
    state->bench_memory[state->bench_allocations++] = x;
    kernel_fill(test, KERNEL_UNIFORM, x, 1, n, n);
    return x;
}

void kernel_bench_begin(kernel_test *test, size_t elements, size_t bytes) {
    struct kernel_state *state = test->state;
    state->bench_elements = elements;
    state->bench_bytes = bytes;
    state->bench_operations = 0.0;
    state->bench_runs = 1;
    state->bench_run = 0;
    state->bench_best = INFINITY;
    state->bench_first = state->bench_began = lilac_clock_seconds();
}

void kernel_bench_begin_call(kernel_test *test, double operations) {
    kernel_bench_begin(test, 1, 0);
    test->state->bench_operations = operations;
}

bool kernel_bench_more(kernel_test *test) {
    const double measurement = 2e-3, total = 0.25;
    struct kernel_state *state = test->state;
    if (state->bench_run++ < state->bench_runs) {
        return true;
    }
    const double end = lilac_clock_seconds(), seconds = end - state->bench_began;
    state->bench_best = fmin(state->bench_best, seconds / (double)state->bench_runs);
    if (seconds < measurement) {
        state->bench_runs *= 2;
    }
    state->bench_run = 1;
    state->bench_began = lilac_clock_seconds();
    return end - state->bench_first < total;
}

/* The program */

typedef struct kernel_run {
    const kernel_family *family;
    const kernel_case *one;
    kernel_test test;
    char name[96];
} kernel_run;

static void check_case(void **state) {
    kernel_run *run = *state;
    struct kernel_state *harness = run->test.state;
    harness->used = 0;
    harness->note[0] = '\0';
    harness->finished = false;
    restart_random(harness, 0);
    run->one->check(&run->test);
    harness->finished = true;
}

static int explain_failure(void **state) {
    const kernel_run *run = *state;
    if (!run->test.state->finished) {
        printf("# failed: %s: %s; repeat with --seed %" PRIu64 "\n", run->name, run->test.state->note,
               run->test.state->seed);
    }
    return 0;
}

/* One if the case is wanted, else none. */
static size_t list_run(struct kernel_state *state, kernel_run *run, const kernel_family *family, const kernel_case *one,
                       const lilac_kernel_table *kernels, lilac_cpu_level level) {
    run->family = family;
    run->one = one;
    run->test = (kernel_test){
        .level = level, .kernels = kernels, .reference = lilac_kernel_table_for(LILAC_CPU_SCALAR), .state = state};
    snprintf(run->name, sizeof run->name, "%s %s %s%s", family->name, one->name, lilac_cpu_level_name(level),
             kernels->bf16_dot_products ? " dot products" : "");
    return state->filter == NULL || strstr(run->name, state->filter) != NULL;
}

static size_t list_runs(struct kernel_state *state, kernel_run runs[MAX_TESTS]) {
    size_t count = 0;
    for (size_t f = 0; f < FAMILIES; f++) {
        for (size_t c = 0; c < families[f]->count; c++) {
            const kernel_case *one = &families[f]->cases[c];
            for (lilac_cpu_level level = one->lowest; level <= lilac_cpu_level_detect(); level++) {
                count += list_run(state, &runs[count], families[f], one, lilac_kernel_table_with(level, false), level);
                /* Also where they are not the faster kernels, and not in use therefore. */
                const lilac_kernel_table *with_dot_products = lilac_kernel_table_with(level, true);
                if (with_dot_products != NULL && strstr(families[f]->name, "attention") != NULL &&
                    strstr(one->name, "bf16") != NULL) {
                    count += list_run(state, &runs[count], families[f], one, with_dot_products, level);
                }
                if (count >= MAX_TESTS - 1) {
                    abort();
                }
            }
        }
    }
    return count;
}

static int check_all(kernel_run *runs, size_t count) {
    struct CMUnitTest tests[MAX_TESTS] = {{0}};
    for (size_t i = 0; i < count; i++) {
        if (runs[i].one->check == NULL) {
            continue;
        }
        tests[i] = (struct CMUnitTest){
            .name = runs[i].name, .test_func = check_case, .teardown_func = explain_failure, .initial_state = &runs[i]};
    }
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL); /* skips the empty ones */
}

/* Times one case and frees its memory. */
static void bench_case(kernel_run *run, size_t elements) {
    struct kernel_state *state = run->test.state;
    restart_random(state, 0);
    run->one->bench(&run->test, elements);
    while (state->bench_allocations > 0) {
        lilac_memory_free(state->bench_memory[--state->bench_allocations]);
    }
}

/* Calls of a fixed size once; the others with data that stays in a core's own cache and with data that fits no cache.
 */
static void bench_all(kernel_run *runs, size_t count) {
    static const size_t elements[] = {(size_t)1 << 14, (size_t)1 << 24};
    const struct kernel_state *state = runs[0].test.state;
    printf("%-52s %12s %9s %12s %9s\n", "", "in cache: ns", "GB/s", "memory: ns", "GB/s");
    for (size_t i = 0; i < count; i++) {
        if (runs[i].one->bench == NULL) {
            continue;
        }
        printf("%-52s", runs[i].name);
        for (size_t size = 0; size < 2; size++) {
            bench_case(&runs[i], elements[size]);
            if (state->bench_operations > 0.0) {
                printf(" %12.0f ns a call %9.1f GFLOP/s", state->bench_best * 1e9,
                       state->bench_operations / state->bench_best * 1e-9);
                break;
            }
            printf(" %12.4f %9.1f", state->bench_best * 1e9 / (double)state->bench_elements,
                   (double)state->bench_bytes / state->bench_best * 1e-9);
            fflush(stdout);
        }
        printf("\n");
    }
}

int main(int argc, char **argv) {
    static struct kernel_state state;
    static kernel_run runs[MAX_TESTS];
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    state.seed = (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
    bool bench = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) {
            bench = true;
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            state.seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            state.filter = argv[++i];
        } else {
            fprintf(stderr, "usage: %s [--seed N] [--filter PART-OF-A-NAME] [--bench]\n", argv[0]);
            return 2;
        }
    }
    const size_t count = list_runs(&state, runs);
    if (bench) {
        bench_all(runs, count);
        return 0;
    }
    printf("# seed %" PRIu64 "\n", state.seed);
    fflush(stdout);
    int failed = 1;
    if (create_buffers(&state)) {
        failed = check_all(runs, count);
    }
    /* scripts/count-tests.awk adds these up. */
    printf("# %" PRIu64 " kernel cases\n", state.armed);
    destroy_buffers(&state);
    return failed == 0 ? 0 : 1;
}
