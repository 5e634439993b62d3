/* SPDX-License-Identifier: MIT */
/* Tests of the safetensors reader and writer: bytes, round trips, refusal of everything malformed, failed allocations.
 */
#include "core/bf16.h"
#include "core/context.h"
#include "core/file.h"
#include "core/memory.h"
#include "format/safetensors.h"
#include "support/failing_allocator.h"

#include <cjson/cJSON.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { PATH_SIZE = 128 };

typedef struct test_state {
    lilac_context *context;
    char path[PATH_SIZE];
} test_state;

static int set_up(void **state) {
    test_state *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(lilac_context_create(NULL, &fixture->context), LILAC_OK);
    strcpy(fixture->path, "/tmp/lilac_test_safetensors_XXXXXX");
    const int descriptor = mkstemp(fixture->path);
    assert_true(descriptor >= 0);
    close(descriptor);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    test_state *fixture = *state;
    unlink(fixture->path);
    lilac_context_destroy(fixture->context);
    free(fixture);
    return 0;
}

/* Length, header and data_size bytes 0, 1, 2, ... in memory of exactly that size, so that a sanitizer sees any overrun.
 */
static unsigned char *build(const char *header, size_t header_size, size_t data_size, size_t *size) {
    *size = 8 + header_size + data_size;
    unsigned char *bytes = malloc(*size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(header_size >> (8 * i));
    }
    memcpy(bytes + 8, header, header_size);
    for (size_t i = 0; i < data_size; i++) {
        bytes[8 + header_size + i] = (unsigned char)i;
    }
    return bytes;
}

static void expect_refused_bytes(lilac_context *context, const void *bytes, size_t size, lilac_status status,
                                 const char *message) {
    char untouched;
    lilac_safetensors_file *file = (lilac_safetensors_file *)(void *)&untouched;
    const size_t live = lilac_test_live_allocations();
    const lilac_status found = lilac_safetensors_open_memory(context, "model.safetensors", bytes, size, &file);
    if (found != status || strcmp(lilac_context_message(context), message) != 0) {
        print_message("# expected %d: %s\n# found    %d: %s\n", status, message, found, lilac_context_message(context));
        fail();
    }
    assert_ptr_equal(file, &untouched);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void expect_refused(lilac_context *context, const char *header, size_t data_size, lilac_status status,
                           const char *message) {
    size_t size;
    unsigned char *bytes = build(header, strlen(header), data_size, &size);
    expect_refused_bytes(context, bytes, size, status, message);
    free(bytes);
}

/* One F32 tensor "a" of shape (2) and one BF16 tensor "b" of shape (1, 3), as the format's rules give it by hand. */
static const char small_header[] = "{\"__metadata__\":{\"kind\":\"test\"},"
                                   "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                   "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,3],\"data_offsets\":[8,14]}}  ";
static const unsigned char small_data[14] = {0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20, 0xc0, /* 1, -2.5 */
                                             0x80, 0x3f, 0x00, 0x40, 0x40, 0xc0};            /* 1, 2, -3 */

static unsigned char *build_small(size_t *size) {
    unsigned char *bytes = build(small_header, strlen(small_header), sizeof small_data, size);
    memcpy(bytes + *size - sizeof small_data, small_data, sizeof small_data);
    return bytes;
}

static lilac_status add_small(lilac_context *context, lilac_safetensors_writer *writer) {
    static const float a[2] = {1, -2.5f};
    static const float b[3] = {1, 2, -3};
    LILAC_TRY(lilac_safetensors_writer_add(context, writer, "b", LILAC_SAFETENSORS_BF16, 2, (size_t[]){1, 3}, b));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "kind", "test"));
    return lilac_safetensors_writer_add(context, writer, "a", LILAC_SAFETENSORS_F32, 1, (size_t[]){2}, a);
}

static lilac_status write_small(lilac_context *context, const char *path) {
    lilac_safetensors_writer *writer = NULL;
    LILAC_TRY(lilac_safetensors_writer_create(context, &writer));
    lilac_status status = add_small(context, writer);
    if (status == LILAC_OK) {
        status = lilac_safetensors_writer_write(context, writer, path);
    }
    lilac_safetensors_writer_destroy(writer);
    return status;
}

static void test_written_bytes(void **state) {
    const test_state *fixture = *state;
    size_t expected_size;
    unsigned char *expected = build_small(&expected_size);
    assert_int_equal(strlen(small_header) % 8, 0);
    assert_int_equal(write_small(fixture->context, fixture->path), LILAC_OK);
    unsigned char *written = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(fixture->context, fixture->path, 1000, &written, &size), LILAC_OK);
    assert_int_equal(size, expected_size);
    assert_memory_equal(written, expected, size);
    lilac_memory_free(written);
    free(expected);
}

static void expect_small(const lilac_safetensors_file *file) {
    assert_int_equal(lilac_safetensors_count(file), 2);
    const lilac_safetensors_tensor *a = lilac_safetensors_tensor_at(file, 0);
    assert_string_equal(a->name, "a");
    assert_int_equal(a->dtype, LILAC_SAFETENSORS_F32);
    assert_int_equal(a->rank, 1);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 1);
    assert_int_equal(a->count, 2);
    assert_int_equal(a->bytes, 8);
    assert_memory_equal(a->data, small_data, 8);
    const lilac_safetensors_tensor *b = lilac_safetensors_find(file, "b");
    assert_ptr_equal(b, lilac_safetensors_tensor_at(file, 1));
    assert_int_equal(b->dtype, LILAC_SAFETENSORS_BF16);
    assert_int_equal(b->rank, 2);
    assert_int_equal(b->shape[0], 1);
    assert_int_equal(b->shape[1], 3);
    assert_int_equal(b->bytes, 6);
    assert_null(lilac_safetensors_find(file, "c"));
    assert_null(lilac_safetensors_find(file, "__metadata__"));
    assert_string_equal(lilac_safetensors_metadata(file, "kind"), "test");
    assert_null(lilac_safetensors_metadata(file, "Kind"));
}

static void test_read_small_file(void **state) {
    const test_state *fixture = *state;
    size_t size;
    unsigned char *bytes = build_small(&size);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(fixture->context, "small", bytes, size, &file), LILAC_OK);
    expect_small(file);
    float values[3] = {0};
    assert_int_equal(lilac_safetensors_read_f32(fixture->context, file, "b", 2, (size_t[]){1, 3}, values), LILAC_OK);
    assert_memory_equal(values, ((float[]){1, 2, -3}), sizeof values);
    lilac_safetensors_close(file);
    free(bytes);

    assert_int_equal(write_small(fixture->context, fixture->path), LILAC_OK);
    assert_int_equal(lilac_safetensors_open(fixture->context, fixture->path, &file), LILAC_OK);
    expect_small(file);
    lilac_safetensors_close(file);
    lilac_safetensors_close(NULL);
}

static void test_refuses_broken_frames(void **state) {
    const test_state *fixture = *state;
    expect_refused_bytes(fixture->context, "1234567", 7, LILAC_ERROR_TRUNCATED,
                         "model.safetensors: 7 bytes are too few for a safetensors file");
    expect_refused(fixture->context, "[]", 0, LILAC_ERROR_MAGIC,
                   "model.safetensors: not a safetensors file: expected '{' at byte 8, got 0x5b");
    expect_refused(fixture->context, "{}", 3, LILAC_ERROR_TRAILING,
                   "model.safetensors: 3 bytes follow the last tensor");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_written_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_read_small_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_broken_frames, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
