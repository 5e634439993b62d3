/* SPDX-License-Identifier: MIT */
/* Tests of the safetensors reader and writer: bytes, round trips, conversions, wrong arguments. */
#include "core/bf16.h"
#include "core/memory.h"
#include "format/safetensors.h"
#include "runtime/context.h"
#include "runtime/file.h"
#include "support/contexts.h"
#include "support/float_bits.h"
#include "support/safetensors_bytes.h"
#include "support/temporary_file.h"

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

typedef struct test_state {
    lilac_context *context;
    temporary_file file;
} test_state;

static int set_up(void **state) {
    test_state *test = calloc(1, sizeof *test);
    assert_non_null(test);
    test->context = context_create(0, NULL);
    temporary_file_create(&test->file);
    *state = test;
    return 0;
}

static int tear_down(void **state) {
    test_state *test = *state;
    temporary_file_destroy(&test->file);
    lilac_context_destroy(test->context);
    free(test);
    return 0;
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
    const test_state *test = *state;
    size_t expected_size;
    unsigned char *expected = lilac_test_small_safetensors(&expected_size);
    assert_int_equal(write_small(test->context, test->file.path), LILAC_OK);
    unsigned char *written = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 1000, &written, &size), LILAC_OK);
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
    assert_memory_equal(a->data, "\x00\x00\x80\x3f\x00\x00\x20\xc0", 8);
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
    const test_state *test = *state;
    size_t size;
    unsigned char *bytes = lilac_test_small_safetensors(&size);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(test->context, "small", bytes, size, &file), LILAC_OK);
    expect_small(file);
    float values[3] = {0};
    assert_int_equal(lilac_safetensors_read_f32(test->context, file, "b", 2, (size_t[]){1, 3}, values), LILAC_OK);
    assert_memory_equal(values, ((float[]){1, 2, -3}), sizeof values);
    lilac_safetensors_close(file);
    free(bytes);

    assert_int_equal(write_small(test->context, test->file.path), LILAC_OK);
    assert_int_equal(lilac_safetensors_open(test->context, test->file.path, &file), LILAC_OK);
    expect_small(file);
    lilac_safetensors_close(file);
    lilac_safetensors_close(NULL);
}

/* Where another size is 0, the file may say any number: none may be rounded. */
static void test_writes_large_sizes(void **state) {
    const test_state *test = *state;
    const size_t shape[] = {((size_t)1 << 53) - 1, 0, 1000000000000001};
    const float nothing = 0.0f;
    lilac_safetensors_writer *writer = NULL;
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_writer_create(test->context, &writer), LILAC_OK);
    assert_int_equal(
        lilac_safetensors_writer_add(test->context, writer, "a", LILAC_SAFETENSORS_F32, 2, shape, &nothing), LILAC_OK);
    assert_int_equal(
        lilac_safetensors_writer_add(test->context, writer, "b", LILAC_SAFETENSORS_F32, 2, shape + 1, &nothing),
        LILAC_OK);
    assert_int_equal(lilac_safetensors_writer_write(test->context, writer, test->file.path), LILAC_OK);
    lilac_safetensors_writer_destroy(writer);
    assert_int_equal(lilac_safetensors_open(test->context, test->file.path, &file), LILAC_OK);
    assert_int_equal(lilac_safetensors_find(file, "a")->shape[0], shape[0]);
    assert_int_equal(lilac_safetensors_find(file, "b")->shape[1], shape[2]);
    lilac_safetensors_close(file);
}

static void test_accepts_the_unusual(void **state) {
    const test_state *test = *state;
    /* Spaces within, empty tensors on both sides, a tensor without dimensions, escapes, names that differ in case. */
    static const char header[] = "{ \"e1\" : {\"shape\":[0,5],\"dtype\":\"F32\",\"data_offsets\":[1,1]},\r\n\t"
                                 "\"\\u00e9\\ud83d\\ude00\\\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                                 "\"E1\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[0,0]},"
                                 "\"e2\":{\"dtype\":\"I16\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[1,3]},"
                                 "\"e3\":{\"dtype\":\"I64\",\"shape\":[3,0],\"data_offsets\":[3,3]},"
                                 "\"__metadata__\":{\"\":\"\",\"b\":\"\xc3\xa9\"}}   ";
    size_t size;
    unsigned char *bytes = lilac_test_safetensors_bytes(header, strlen(header), 3, &size);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", bytes, size, &file), LILAC_OK);
    assert_int_equal(lilac_safetensors_count(file), 5);
    static const char *const names[] = {"E1", "e1", "e2", "e3", "\xc3\xa9\xf0\x9f\x98\x80\""};
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(lilac_safetensors_tensor_at(file, i)->name, names[i]);
        assert_ptr_equal(lilac_safetensors_find(file, names[i]), lilac_safetensors_tensor_at(file, i));
    }
    const lilac_safetensors_tensor *scalar = lilac_safetensors_find(file, names[4]);
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->count, 1);
    assert_int_equal(scalar->data[0], 0);
    assert_string_equal(lilac_safetensors_metadata(file, "b"), "\xc3\xa9");
    assert_string_equal(lilac_safetensors_metadata(file, ""), "");
    lilac_safetensors_close(file);
    free(bytes);

    bytes = lilac_test_safetensors_bytes("{}      ", 8, 0, &size);
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", bytes, size, &file), LILAC_OK);
    assert_int_equal(lilac_safetensors_count(file), 0);
    assert_null(lilac_safetensors_find(file, "a"));
    assert_null(lilac_safetensors_metadata(file, "a"));
    lilac_safetensors_close(file);
    free(bytes);
}

static void test_every_dtype(void **state) {
    const test_state *test = *state;
    static const struct {
        const char *name;
        size_t size;
    } dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                  {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                  {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        char header[200];
        size_t size;
        snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%zu]}}",
                 dtypes[i].name, 3 * dtypes[i].size);
        unsigned char *bytes = lilac_test_safetensors_bytes(header, strlen(header), 3 * dtypes[i].size, &size);
        lilac_safetensors_file *file = NULL;
        assert_int_equal(lilac_safetensors_open_memory(test->context, "m", bytes, size, &file), LILAC_OK);
        const lilac_safetensors_dtype dtype = lilac_safetensors_find(file, "t")->dtype;
        assert_string_equal(lilac_safetensors_dtype_name(dtype), dtypes[i].name);
        assert_int_equal(lilac_safetensors_dtype_size(dtype), dtypes[i].size);
        float values[3] = {7, 7, 7};
        const lilac_status status = lilac_safetensors_read_f32(test->context, file, "t", 1, (size_t[]){3}, values);
        if (strchr("FB", dtypes[i].name[0]) != NULL && dtypes[i].size > 1) {
            assert_int_equal(status, LILAC_OK);
        } else {
            assert_int_equal(status, LILAC_ERROR_UNSUPPORTED);
            char message[100];
            snprintf(message, sizeof message, "m: tensor \"t\": expected dtype F32, BF16, F16 or F64, found %s",
                     dtypes[i].name);
            assert_string_equal(lilac_context_message(test->context), message);
            assert_true(values[0] == 7 && values[2] == 7);
        }
        lilac_safetensors_close(file);
        free(bytes);
    }
}

static void test_read_f32_refuses(void **state) {
    const test_state *test = *state;
    size_t size;
    unsigned char *bytes = lilac_test_small_safetensors(&size);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", bytes, size, &file), LILAC_OK);
    const size_t shape[9] = {3, 1, 1, 1, 1, 1, 1, 1, 1};
    const size_t right[2] = {1, 3};
    const struct {
        const char *name;
        int rank;
        const size_t *shape;
        lilac_status status;
        const char *message;
    } cases[] = {
        {"c", 1, shape, LILAC_ERROR_NOT_FOUND, "m: there is no tensor \"c\""},
        {"b", 2, shape, LILAC_ERROR_SHAPE, "m: tensor \"b\": expected shape (3, 1), found (1, 3)"},
        {"b", 1, shape, LILAC_ERROR_SHAPE, "m: tensor \"b\": expected shape (3,), found (1, 3)"},
        {"a", 0, NULL, LILAC_ERROR_SHAPE, "m: tensor \"a\": expected shape (), found (2,)"},
        {NULL, 2, right, LILAC_ERROR_ARGUMENT, "reading a tensor: a null pointer or an impossible rank"},
        {"b", 2, NULL, LILAC_ERROR_ARGUMENT, "reading a tensor: a null pointer or an impossible rank"},
        {"b", -1, right, LILAC_ERROR_ARGUMENT, "reading a tensor: a null pointer or an impossible rank"},
        {"b", 9, shape, LILAC_ERROR_ARGUMENT, "reading a tensor: a null pointer or an impossible rank"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float values[3] = {7, 7, 7};
        assert_int_equal(
            lilac_safetensors_read_f32(test->context, file, cases[i].name, cases[i].rank, cases[i].shape, values),
            cases[i].status);
        assert_string_equal(lilac_context_message(test->context), cases[i].message);
        assert_true(values[0] == 7 && values[1] == 7 && values[2] == 7);
    }
    assert_int_equal(lilac_safetensors_read_f32(test->context, file, "b", 2, right, NULL), LILAC_ERROR_ARGUMENT);
    lilac_safetensors_close(file);
    free(bytes);
}

static void test_open_refuses(void **state) {
    const test_state *test = *state;
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open(test->context, test->file.path, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_open(test->context, NULL, &file), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_open(test->context, "/nowhere/file", &file), LILAC_ERROR_NOT_FOUND);
    FILE *empty = fopen(test->file.path, "wb");
    assert_non_null(empty);
    assert_int_equal(fclose(empty), 0);
    assert_int_equal(lilac_safetensors_open(test->context, test->file.path, &file), LILAC_ERROR_TRUNCATED);
    char message[sizeof test->file.path + 60];
    snprintf(message, sizeof message, "%s: 0 bytes are too few for a safetensors file", test->file.path);
    assert_string_equal(lilac_context_message(test->context), message);
    /* A file without content but of a size that no memory should be spent on. */
    assert_int_equal(truncate(test->file.path, (off_t)LILAC_SAFETENSORS_MAX_FILE + 1), 0);
    assert_int_equal(lilac_safetensors_open(test->context, test->file.path, &file), LILAC_ERROR_UNSUPPORTED);
    assert_non_null(strstr(lilac_context_message(test->context), "larger than the limit of 2147483647 bytes"));
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", NULL, 9, &file), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_open_memory(test->context, NULL, "", 0, &file), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", "", 0, NULL), LILAC_ERROR_ARGUMENT);
    assert_null(file);
}

/* One tensor of that dtype with these bytes must read as these floats, bit for bit. */
static void expect_floats(lilac_context *context, const char *dtype, const void *data, size_t bytes, size_t count,
                          const float *expected) {
    char header[200];
    size_t size;
    snprintf(header, sizeof header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", dtype, count,
             bytes);
    unsigned char *file_bytes = lilac_test_safetensors_bytes(header, strlen(header), bytes, &size);
    memcpy(file_bytes + size - bytes, data, bytes);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(context, "m", file_bytes, size, &file), LILAC_OK);
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(lilac_safetensors_read_f32(context, file, "t", 1, &count, values), LILAC_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(float_to_bits(values[i]), float_to_bits(expected[i]));
    }
    free(values);
    lilac_safetensors_close(file);
    free(file_bytes);
}

static void test_conversions(void **state) {
    const test_state *test = *state;
    static const double doubles[] = {0, -0.0, 1.5, 1e300, -1e300, 0x1.000001p0, 0x1.0000011p0, 0x1p-149, 1e-60};
    static const float rounded[] = {0, -0.0f, 1.5f, INFINITY, -INFINITY, 1, 0x1.000002p0f, 0x1p-149f, 0};
    expect_floats(test->context, "F64", doubles, sizeof doubles, 9, rounded);
    static const uint16_t halves[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0xfc00};
    static const float wide[] = {0, -0.0f, 1, -2, 65504, 0x1p-14f, 0x1p-24f, -0x1.ff8p-15f, INFINITY, -INFINITY};
    expect_floats(test->context, "F16", halves, sizeof halves, 10, wide);
    static const uint16_t nans[] = {0x7e01, 0xfc01};
    const float wide_nans[] = {float_from_bits(0x7fc02000), float_from_bits(0xff802000)};
    expect_floats(test->context, "F16", nans, sizeof nans, 2, wide_nans);
}

/* Any bits, with NaNs of any payload, infinities and denormals among them. */
static void fill_bits(float *values, size_t count) {
    uint32_t bits = 1;
    for (size_t i = 0; i < count; i++) {
        bits = bits * 1664525u + 1013904223u;
        const uint32_t special = i % 5 == 0 ? 0x7f800000u : i % 7 == 0 ? 0x80000000u : 0;
        const uint32_t mask = i % 7 == 0 ? 0x807fffffu : 0xffffffffu;
        const uint32_t mixed = (bits & mask) | special;
        memcpy(&values[i], &mixed, sizeof mixed);
    }
    const uint32_t signalling = 0x7f800001u;
    memcpy(&values[0], &signalling, sizeof signalling);
}

static void test_round_trip(void **state) {
    const test_state *test = *state;
    lilac_context *context = test->context;
    enum { ROWS = 101, COLUMNS = 83 }; /* more than are converted to bf16 at a time */
    static float values[ROWS * COLUMNS];
    static float found[ROWS * COLUMNS];
    fill_bits(values, ROWS * COLUMNS);
    const size_t shape[8] = {ROWS, 1, COLUMNS, 1, 1, 1, 1, 1};
    lilac_safetensors_writer *writer = NULL;
    assert_int_equal(lilac_safetensors_writer_create(context, &writer), LILAC_OK);
    assert_int_equal(lilac_safetensors_writer_add(context, writer, "full", LILAC_SAFETENSORS_F32, 8, shape, values),
                     LILAC_OK);
    assert_int_equal(lilac_safetensors_writer_add(context, writer, "half", LILAC_SAFETENSORS_BF16, 3, shape, values),
                     LILAC_OK);
    assert_int_equal(
        lilac_safetensors_writer_add(context, writer, "scalar", LILAC_SAFETENSORS_F32, 0, NULL, values + 1), LILAC_OK);
    const size_t none[2] = {3, 0};
    assert_int_equal(lilac_safetensors_writer_add(context, writer, "none", LILAC_SAFETENSORS_F32, 2, none, values),
                     LILAC_OK);
    const char *text = "quotes \" and \\, a line\nbreak, \x01, \xc3\xa9 and \xf0\x9f\x98\x80";
    assert_int_equal(lilac_safetensors_writer_add_metadata(context, writer, text, text), LILAC_OK);
    assert_int_equal(lilac_safetensors_writer_write(context, writer, test->file.path), LILAC_OK);
    lilac_safetensors_writer_destroy(writer);

    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open(context, test->file.path, &file), LILAC_OK);
    assert_int_equal(lilac_safetensors_count(file), 4);
    assert_string_equal(lilac_safetensors_metadata(file, text), text);
    assert_int_equal(lilac_safetensors_read_f32(context, file, "full", 8, shape, found), LILAC_OK);
    assert_memory_equal(found, values, sizeof values);
    assert_int_equal(lilac_safetensors_read_f32(context, file, "half", 3, shape, found), LILAC_OK);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        assert_int_equal(float_to_bits(found[i]), (uint32_t)lilac_bf16_from_float(values[i]) << 16);
    }
    assert_int_equal(lilac_safetensors_read_f32(context, file, "scalar", 0, NULL, found), LILAC_OK);
    assert_int_equal(float_to_bits(found[0]), float_to_bits(values[1]));
    assert_int_equal(lilac_safetensors_read_f32(context, file, "none", 2, none, found), LILAC_OK);
    lilac_safetensors_close(file);
}

/* Adds `count` tensors and pairs in the order first, first + 1, ... modulo count. */
static void write_in_order(const test_state *test, size_t count, size_t first) {
    lilac_safetensors_writer *writer = NULL;
    assert_int_equal(lilac_safetensors_writer_create(test->context, &writer), LILAC_OK);
    static const float values[40] = {1, 2, 3};
    for (size_t i = 0; i < count; i++) {
        const size_t item = (first + i) % count;
        char name[40];
        snprintf(name, sizeof name, "layer.%zu.weight", item);
        const lilac_safetensors_dtype dtype = item % 3 == 0 ? LILAC_SAFETENSORS_BF16 : LILAC_SAFETENSORS_F32;
        assert_int_equal(lilac_safetensors_writer_add(test->context, writer, name, dtype, 1, &item, values), LILAC_OK);
        assert_int_equal(lilac_safetensors_writer_add_metadata(test->context, writer, name, name + 6), LILAC_OK);
    }
    assert_int_equal(lilac_safetensors_writer_write(test->context, writer, test->file.path), LILAC_OK);
    lilac_safetensors_writer_destroy(writer);
}

static void test_written_order(void **state) {
    const test_state *test = *state;
    enum { COUNT = 40 };
    unsigned char *files[2] = {NULL, NULL};
    size_t sizes[2];
    for (size_t i = 0; i < 2; i++) {
        write_in_order(test, COUNT, 17 * i);
        assert_int_equal(lilac_file_read(test->context, test->file.path, 100000, &files[i], &sizes[i]), LILAC_OK);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(files[0], files[1], sizes[0]);

    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open_memory(test->context, "m", files[0], sizes[0], &file), LILAC_OK);
    const unsigned char *end = NULL;
    for (size_t pass = 0; pass < 2; pass++) {
        /* All F32 by name, then all BF16 by name, without gaps from a multiple of 8 on. */
        for (size_t i = 0; i < COUNT; i++) {
            const lilac_safetensors_tensor *tensor = lilac_safetensors_tensor_at(file, i);
            if ((tensor->dtype == LILAC_SAFETENSORS_BF16) == (pass == 1)) {
                assert_true(end == NULL ? (tensor->data - files[0]) % 8 == 0 : tensor->data == end);
                end = tensor->data + tensor->bytes;
            }
        }
    }
    assert_ptr_equal(end, files[0] + sizes[0]);
    lilac_safetensors_close(file);
    lilac_memory_free(files[0]);
    lilac_memory_free(files[1]);
}

static void test_writer_refuses(void **state) {
    const test_state *test = *state;
    lilac_context *context = test->context;
    assert_int_equal(lilac_safetensors_writer_create(context, NULL), LILAC_ERROR_ARGUMENT);
    lilac_safetensors_writer *writer = NULL;
    assert_int_equal(lilac_safetensors_writer_create(context, &writer), LILAC_OK);
    assert_int_equal(add_small(context, writer), LILAC_OK);
    char name[129];
    memset(name, 'n', 128);
    name[128] = '\0';
    const float value[1] = {1};
    const size_t shape[9] = {SIZE_MAX, 2, 1, 1, 1, 1, 1, 1, 1};
    const struct {
        const char *name;
        lilac_safetensors_dtype dtype;
        int rank;
        const size_t *shape;
        const float *data;
        lilac_status status;
        const char *message;
    } cases[] = {
        {NULL, LILAC_SAFETENSORS_F32, 0, NULL, value, LILAC_ERROR_ARGUMENT, "null pointer"},
        {"w", LILAC_SAFETENSORS_F32, 1, NULL, value, LILAC_ERROR_ARGUMENT, "null pointer"},
        {"w", LILAC_SAFETENSORS_F32, 0, NULL, NULL, LILAC_ERROR_ARGUMENT, "null pointer"},
        {"", LILAC_SAFETENSORS_F32, 0, NULL, value, LILAC_ERROR_ARGUMENT, "tensor name \"\": expected 1 to 127 bytes"},
        {name, LILAC_SAFETENSORS_F32, 0, NULL, value, LILAC_ERROR_ARGUMENT, "expected 1 to 127 bytes"},
        {"__metadata__", LILAC_SAFETENSORS_F32, 0, NULL, value, LILAC_ERROR_ARGUMENT, "other than __metadata__"},
        {"b", LILAC_SAFETENSORS_F32, 0, NULL, value, LILAC_ERROR_ARGUMENT, "tensor \"b\" is in the file already"},
        {"w", LILAC_SAFETENSORS_F64, 0, NULL, value, LILAC_ERROR_ARGUMENT, "\"w\": only F32 and BF16"},
        {"w", LILAC_SAFETENSORS_F32, -1, shape, value, LILAC_ERROR_ARGUMENT,
         "\"w\": expected a rank of 0 to 8, got -1"},
        {"w", LILAC_SAFETENSORS_F32, 9, shape, value, LILAC_ERROR_ARGUMENT, "\"w\": expected a rank of 0 to 8, got 9"},
        {"w", LILAC_SAFETENSORS_F32, 2, shape, value, LILAC_ERROR_OVERFLOW, "\"w\": its shape is too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(lilac_safetensors_writer_add(context, writer, cases[i].name, cases[i].dtype, cases[i].rank,
                                                      cases[i].shape, cases[i].data),
                         cases[i].status);
        assert_non_null(strstr(lilac_context_message(context), cases[i].message));
    }
    assert_int_equal(lilac_safetensors_writer_add_metadata(context, writer, "kind", "x"), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "metadata \"kind\" is in the file already");
    assert_int_equal(lilac_safetensors_writer_add_metadata(context, writer, NULL, "x"), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_writer_add_metadata(context, writer, "x", NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_writer_write(context, writer, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_safetensors_writer_write(context, writer, "/nowhere/file"), LILAC_ERROR_NOT_FOUND);
    /* None of it has left a trace. */
    assert_int_equal(lilac_safetensors_writer_write(context, writer, test->file.path), LILAC_OK);
    lilac_safetensors_writer_destroy(writer);
    lilac_safetensors_file *file = NULL;
    assert_int_equal(lilac_safetensors_open(context, test->file.path, &file), LILAC_OK);
    expect_small(file);
    lilac_safetensors_close(file);
    lilac_safetensors_writer_destroy(NULL);
}

static void expect_unwritten(const test_state *test, lilac_safetensors_writer *writer, const char *message) {
    assert_int_equal(lilac_safetensors_writer_write(test->context, writer, test->file.path), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(test->context), message));
    assert_int_equal(temporary_file_count(&test->file), 0);
    lilac_safetensors_writer_destroy(writer);
}

/* What the reader would refuse is not written. */
static void test_writer_refuses_what_cannot_be_read(void **state) {
    const test_state *test = *state;
    const float value[1] = {1};
    lilac_safetensors_writer *writer = NULL;
    assert_int_equal(lilac_safetensors_writer_create(test->context, &writer), LILAC_OK);
    assert_int_equal(lilac_safetensors_writer_add(test->context, writer, "\xff", LILAC_SAFETENSORS_F32, 0, NULL, value),
                     LILAC_OK);
    expect_unwritten(test, writer, "the names and metadata give no valid header: a string is not UTF-8");

    assert_int_equal(lilac_safetensors_writer_create(test->context, &writer), LILAC_OK);
    const size_t large = (size_t)1 << 29;
    assert_int_equal(lilac_safetensors_writer_add(test->context, writer, "w", LILAC_SAFETENSORS_F32, 1, &large, value),
                     LILAC_OK);
    expect_unwritten(test, writer, "the tensors are too large for one file");
}

#define SAFETENSORS_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SAFETENSORS_TEST(test_written_bytes),      SAFETENSORS_TEST(test_read_small_file),
        SAFETENSORS_TEST(test_writes_large_sizes), SAFETENSORS_TEST(test_accepts_the_unusual),
        SAFETENSORS_TEST(test_every_dtype),        SAFETENSORS_TEST(test_read_f32_refuses),
        SAFETENSORS_TEST(test_open_refuses),       SAFETENSORS_TEST(test_conversions),
        SAFETENSORS_TEST(test_round_trip),         SAFETENSORS_TEST(test_written_order),
        SAFETENSORS_TEST(test_writer_refuses),     SAFETENSORS_TEST(test_writer_refuses_what_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
