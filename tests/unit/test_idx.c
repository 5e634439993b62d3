/* SPDX-License-Identifier: MIT */
/* Tests of the IDX reader: what it accepts, and that it refuses everything else with the right status and message. */
#include "data/idx.h"

#include "core/memory.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/idx_bytes.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

static const uint32_t matrix_sizes[] = {2, 3};
static const uint8_t matrix_content[] = {1, 2, 3, 250, 251, 252};

static bytes matrix(void) {
    return idx_file(2, matrix_sizes, matrix_content, sizeof matrix_content);
}

/* Reads bytes as a file called "file". *read is set to how many of them the reader took from the stream. */
static lilac_status read_bytes(const uint8_t *data, size_t size, int dimensions, lilac_idx *out, long *taken) {
    FILE *file = fmemopen((void *)(uintptr_t)data, size, "rb");
    assert_non_null(file);
    const lilac_status status = lilac_idx_read_stream(context, file, "file", dimensions, out);
    if (taken != NULL) {
        *taken = ftell(file);
    }
    assert_int_equal(fclose(file), 0);
    return status;
}

static void assert_matrix(bytes file) {
    lilac_idx idx;
    assert_int_equal(read_bytes(file.data, file.size, 2, &idx, NULL), LILAC_OK);
    assert_int_equal(idx.dimensions[0], 2);
    assert_int_equal(idx.dimensions[1], 3);
    assert_int_equal(idx.dimensions[2], 1);
    assert_int_equal(idx.size, sizeof matrix_content);
    assert_memory_equal(idx.data, matrix_content, sizeof matrix_content);
    lilac_memory_free(idx.data);
}

/* The reader must give this status and a message that starts with the name and holds the text; out stays untouched. */
static void assert_refused(bytes file, int dimensions, lilac_status expected, const char *text) {
    lilac_idx idx, before;
    memset(&idx, 0xA5, sizeof idx);
    memcpy(&before, &idx, sizeof idx);
    assert_int_equal(read_bytes(file.data, file.size, dimensions, &idx, NULL), expected);
    assert_memory_equal(&idx, &before, sizeof idx);
    const char *message = lilac_context_message(context);
    if (strncmp(message, "file: ", 6) != 0 || strstr(message, text) == NULL) {
        fail_msg("message without \"%s\": %s", text, message);
    }
}

static void test_reads_plain_and_gzip(void **state) {
    (void)state;
    bytes plain = matrix(), compressed = gzip_member(matrix());
    assert_matrix(plain);
    assert_matrix(compressed);
    free(plain.data);
    free(compressed.data);
}

static void test_reads_members_cut_anywhere(void **state) {
    (void)state;
    const bytes whole = matrix();
    for (size_t cut = 0; cut <= whole.size; cut++) {
        bytes file = bytes_join(gzip_member(bytes_of(whole.data, cut)),
                                gzip_member(bytes_of(whole.data + cut, whole.size - cut)));
        assert_matrix(file);
        free(file.data);
    }
    free(whole.data);
}

static void test_reads_each_number_of_dimensions(void **state) {
    (void)state;
    static const uint32_t sizes[] = {3, 2, 4};
    uint8_t content[24];
    for (size_t i = 0; i < sizeof content; i++) {
        content[i] = (uint8_t)(10 * i);
    }
    size_t size = 1;
    for (int dimensions = 1; dimensions <= 3; dimensions++) {
        size *= sizes[dimensions - 1];
        bytes file = idx_file(dimensions, sizes, content, size);
        lilac_idx idx;
        assert_int_equal(read_bytes(file.data, file.size, dimensions, &idx, NULL), LILAC_OK);
        assert_int_equal(idx.size, size);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(idx.dimensions[i], i < dimensions ? sizes[i] : 1);
        }
        assert_memory_equal(idx.data, content, size);
        lilac_memory_free(idx.data);
        free(file.data);
    }
}

static void test_reads_no_elements(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 28, 28};
    bytes file = idx_header(0x08, 3, sizes);
    lilac_idx idx;
    assert_int_equal(read_bytes(file.data, file.size, 3, &idx, NULL), LILAC_OK);
    assert_int_equal(idx.size, 0);
    lilac_memory_free(idx.data);
    free(file.data);
}

static void test_large_content_in_many_blocks(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1000003};
    uint8_t *content = malloc(sizes[0]);
    assert_non_null(content);
    for (uint32_t i = 0; i < sizes[0]; i++) {
        content[i] = (uint8_t)((i * 2654435761u) >> 24); /* hardly compressible */
    }
    bytes file = gzip_member(idx_file(1, sizes, content, sizes[0]));
    lilac_idx idx;
    assert_int_equal(read_bytes(file.data, file.size, 1, &idx, NULL), LILAC_OK);
    assert_memory_equal(idx.data, content, sizes[0]);
    lilac_memory_free(idx.data);
    free(file.data);
    free(content);
}

/* A header alone is refused for these reasons, plain and compressed alike. */
static void test_refuses_headers(void **state) {
    (void)state;
    static const struct {
        uint8_t magic[4];
        int dimensions;
        lilac_status status;
        const char *text;
    } cases[] = {
        {{'<', 'h', 't', 'm'}, 3, LILAC_ERROR_MAGIC, "expected it to start with 00 00 08 03, got 3c 68 74 6d"},
        {{0, 1, 8, 2}, 2, LILAC_ERROR_MAGIC, "expected it to start with 00 00 08 02, got 00 01 08 02"},
        {{1, 0, 8, 2}, 2, LILAC_ERROR_MAGIC, "not an IDX file"},
        {{0, 0, 0, 2}, 2, LILAC_ERROR_MAGIC, "not an IDX file"},
        {{0, 0, 10, 2}, 2, LILAC_ERROR_MAGIC, "not an IDX file"},
        {{0, 0, 9, 2}, 2, LILAC_ERROR_UNSUPPORTED, "expected elements of type unsigned bytes, got signed bytes"},
        {{0, 0, 11, 2}, 2, LILAC_ERROR_UNSUPPORTED, "got 16-bit integers"},
        {{0, 0, 12, 2}, 2, LILAC_ERROR_UNSUPPORTED, "got 32-bit integers"},
        {{0, 0, 13, 2}, 2, LILAC_ERROR_UNSUPPORTED, "got 32-bit floats"},
        {{0, 0, 14, 2}, 2, LILAC_ERROR_UNSUPPORTED, "got 64-bit floats"},
        {{0, 0, 8, 3}, 1, LILAC_ERROR_SHAPE, "expected 1 dimensions, got 3"},
        {{0, 0, 8, 1}, 3, LILAC_ERROR_SHAPE, "expected 3 dimensions, got 1"},
        {{0, 0, 8, 0}, 1, LILAC_ERROR_SHAPE, "expected 1 dimensions, got 0"},
        {{0, 0, 8, 255}, 3, LILAC_ERROR_SHAPE, "expected 3 dimensions, got 255"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t file[22] = {0};
        memcpy(file, cases[i].magic, 4);
        bytes plain = bytes_of(file, sizeof file), compressed = gzip_member(bytes_of(file, sizeof file));
        assert_refused(plain, cases[i].dimensions, cases[i].status, cases[i].text);
        assert_refused(compressed, cases[i].dimensions, cases[i].status, cases[i].text);
        free(plain.data);
        free(compressed.data);
    }
}

static void test_refuses_dimensions_that_are_too_large(void **state) {
    (void)state;
    static const uint32_t sizes[][3] = {
        {UINT32_MAX, UINT32_MAX, UINT32_MAX}, /* the product wraps round 2^64 */
        {0x80000000u, 0x80000000u, 4},        /* ... to 0 */
        {UINT32_MAX, 28, 28},                 /* addressable, but beyond the limit */
        {(1u << 30) / 1024 + 1, 32, 32},      /* just beyond it */
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bytes plain = idx_header(0x08, 3, sizes[i]), compressed = gzip_member(idx_header(0x08, 3, sizes[i]));
        assert_refused(plain, 3, LILAC_ERROR_OVERFLOW, "expected at most 1073741824 bytes");
        assert_refused(compressed, 3, LILAC_ERROR_OVERFLOW, "expected at most 1073741824 bytes");
        free(plain.data);
        free(compressed.data);
    }
    /* At the limit the size of the file decides, before memory is spent. */
    static const uint32_t limit[] = {1u << 20, 32, 32};
    bytes plain = idx_header(0x08, 3, limit), compressed = gzip_member(idx_header(0x08, 3, limit));
    assert_refused(plain, 3, LILAC_ERROR_TRUNCATED, "expected 1073741824 bytes after the IDX header, got 0");
    assert_refused(compressed, 3, LILAC_ERROR_TRUNCATED, "of gzip data can hold");
    free(plain.data);
    free(compressed.data);
}

static void test_refuses_short_files(void **state) {
    (void)state;
    bytes plain = matrix(), compressed = gzip_member(matrix());
    for (size_t size = 1; size < plain.size; size++) {
        char text[64] = "the file ends within its IDX header";
        if (size >= 12) {
            snprintf(text, sizeof text, "expected 6 bytes after the IDX header, got %zu", size - 12);
        }
        assert_refused((bytes){.data = plain.data, .size = size}, 2, LILAC_ERROR_TRUNCATED, text);
    }
    for (size_t size = 1; size < compressed.size; size++) {
        const char *text = size < 2 ? "the file ends within its IDX header" : "the gzip data ends in the middle";
        assert_refused((bytes){.data = compressed.data, .size = size}, 2, LILAC_ERROR_TRUNCATED, text);
    }
    /* Whole gzip data of too little content. */
    for (size_t size = 0; size < plain.size; size++) {
        bytes file = gzip_member(bytes_of(plain.data, size));
        assert_refused(file, 2, LILAC_ERROR_TRUNCATED,
                       size < 12 ? "the file ends within its IDX header"
                                 : "expected 6 bytes after the IDX header, got");
        free(file.data);
    }
    free(plain.data);
    free(compressed.data);
}

static void test_refuses_an_empty_file(void **state) {
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    lilac_idx idx = {.size = 42};
    assert_int_equal(lilac_idx_read_stream(context, file, "file", 1, &idx), LILAC_ERROR_TRUNCATED);
    assert_int_equal(idx.size, 42);
    fclose(file);
}

static void test_refuses_trailing_bytes(void **state) {
    (void)state;
    bytes plain = bytes_join(matrix(), bytes_of("x", 1));
    bytes inside = gzip_member(bytes_join(matrix(), bytes_of("x", 1)));
    bytes member = bytes_join(gzip_member(matrix()), gzip_member(bytes_of("x", 1)));
    bytes garbage = bytes_join(gzip_member(matrix()), bytes_of("xyz", 3));
    assert_refused(plain, 2, LILAC_ERROR_TRAILING, "expected 6 bytes after the IDX header, got more");
    assert_refused(inside, 2, LILAC_ERROR_TRAILING, "expected 6 bytes after the IDX header, got more");
    assert_refused(member, 2, LILAC_ERROR_TRAILING, "expected 6 bytes after the IDX header, got more");
    assert_refused(garbage, 2, LILAC_ERROR_FORMAT, "damaged gzip data");
    free(plain.data);
    free(inside.data);
    free(member.data);
    free(garbage.data);
}

/* A small file that inflates to 64 MB: the reader must stop one byte behind what the header announces. */
static void test_stops_inflating_a_bomb(void **state) {
    (void)state;
    enum { BOMB = 64 << 20 };
    uint8_t *zeros = calloc(1, BOMB);
    assert_non_null(zeros);
    bytes file = gzip_member(bytes_join(matrix(), (bytes){.data = zeros, .size = BOMB}));
    assert_true(file.size > 60000);
    lilac_idx idx;
    long taken;
    assert_int_equal(read_bytes(file.data, file.size, 2, &idx, &taken), LILAC_ERROR_TRAILING);
    assert_in_range(taken, 1, 16384);
    free(file.data);
}

static void test_refuses_flipped_bits(void **state) {
    (void)state;
    static const uint8_t content[] =
        "a content that is long enough for a block with codes of its own, content, content";
    static const uint32_t sizes[] = {sizeof content};
    bytes file = gzip_member(idx_file(1, sizes, content, sizeof content));
    size_t refused = 0, harmless = 0;
    for (size_t bit = 0; bit < 8 * file.size; bit++) {
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lilac_idx idx = {.size = 42};
        if (read_bytes(file.data, file.size, 1, &idx, NULL) == LILAC_OK) {
            /* Harmless: time, operating system and the like in the header, and the bits that fill up the last byte of
             * the compressed data, before the 8 bytes of sum and length. */
            assert_true((bit / 8 >= 3 && bit / 8 < 10) || bit / 8 == file.size - 9);
            assert_int_equal(idx.size, sizeof content);
            assert_memory_equal(idx.data, content, sizeof content);
            lilac_memory_free(idx.data);
            harmless++;
        } else {
            assert_int_equal(idx.size, 42);
            refused++;
        }
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(harmless >= 6 * 8);
    assert_true(refused >= 8 * (file.size - 11));
    free(file.data);
}

static void test_names_what_is_damaged(void **state) {
    (void)state;
    bytes method = gzip_member(matrix()), sum = gzip_member(matrix()), length = gzip_member(matrix());
    method.data[2] = 7;
    sum.data[sum.size - 8] ^= 1;
    length.data[length.size - 4] ^= 1;
    assert_refused(method, 2, LILAC_ERROR_FORMAT, "damaged gzip data: unknown compression method");
    assert_refused(sum, 2, LILAC_ERROR_FORMAT, "damaged gzip data: incorrect data check");
    assert_refused(length, 2, LILAC_ERROR_FORMAT, "damaged gzip data: incorrect length check");
    free(method.data);
    free(sum.data);
    free(length.data);
}

static void test_files_that_cannot_be_read(void **state) {
    (void)state;
    lilac_idx idx = {.size = 42};
    assert_int_equal(lilac_idx_read(context, "/nowhere/at/all", 1, &idx), LILAC_ERROR_NOT_FOUND);
    assert_non_null(strstr(lilac_context_message(context), "/nowhere/at/all: cannot open: No such file"));
    assert_int_equal(lilac_idx_read(context, "/", 1, &idx), LILAC_ERROR_UNSUPPORTED);
    assert_string_equal(lilac_context_message(context), "/: expected a regular file");
    assert_int_equal(lilac_idx_read(context, "/dev/zero", 1, &idx), LILAC_ERROR_UNSUPPORTED);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    FILE *file = fdopen(ends[0], "rb");
    assert_non_null(file);
    assert_int_equal(lilac_idx_read_stream(context, file, "pipe", 1, &idx), LILAC_ERROR_IO);
    assert_non_null(strstr(lilac_context_message(context), "pipe: cannot read: "));
    fclose(file);
    close(ends[1]);
    assert_int_equal(idx.size, 42);
}

static void test_every_failing_allocation(void **state) {
    (void)state;
    bytes file = gzip_member(matrix());
    FILE *stream = fmemopen(file.data, file.size, "rb");
    assert_non_null(stream);
    const size_t live = lilac_test_live_allocations();
    lilac_idx idx = {.size = 42};
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t n = 0;
    for (; status != LILAC_OK; n++) {
        lilac_test_fail_allocation(n);
        status = lilac_idx_read_stream(context, stream, "file", 2, &idx);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_int_equal(idx.size, 42);
            assert_int_equal(lilac_test_live_allocations(), live);
        }
    }
    assert_true(n > 1);
    lilac_memory_free(idx.data);
    assert_int_equal(lilac_test_live_allocations(), live);
    fclose(stream);
    free(file.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_plain_and_gzip),
        cmocka_unit_test(test_reads_members_cut_anywhere),
        cmocka_unit_test(test_reads_each_number_of_dimensions),
        cmocka_unit_test(test_reads_no_elements),
        cmocka_unit_test(test_large_content_in_many_blocks),
        cmocka_unit_test(test_refuses_headers),
        cmocka_unit_test(test_refuses_dimensions_that_are_too_large),
        cmocka_unit_test(test_refuses_short_files),
        cmocka_unit_test(test_refuses_an_empty_file),
        cmocka_unit_test(test_refuses_trailing_bytes),
        cmocka_unit_test(test_stops_inflating_a_bomb),
        cmocka_unit_test(test_refuses_flipped_bits),
        cmocka_unit_test(test_names_what_is_damaged),
        cmocka_unit_test(test_files_that_cannot_be_read),
        cmocka_unit_test(test_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, context_set_up, context_tear_down);
}
