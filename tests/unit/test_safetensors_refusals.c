/* SPDX-License-Identifier: MIT */
/* Tests of what the safetensors reader must refuse: broken, hostile and damaged files. */
#include "format/json_check.h"
#include "format/safetensors.h"
#include "runtime/context.h"
#include "support/failing_allocator.h"
#include "support/safetensors_bytes.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static int set_up(void **state) {
    lilac_context *context = NULL;
    assert_int_equal(lilac_context_create(NULL, &context), LILAC_OK);
    *state = context;
    return 0;
}

static int tear_down(void **state) {
    lilac_context_destroy(*state);
    return 0;
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
    unsigned char *bytes = lilac_test_safetensors_bytes(header, strlen(header), data_size, &size);
    expect_refused_bytes(context, bytes, size, status, message);
    free(bytes);
}

/* Where a tensor's bytes are any and its header entry is written by hand. */
#define TENSOR(name, dtype, shape, offsets)                                                                            \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

typedef struct refusal {
    const char *header;
    size_t data_size;
    lilac_status status;
    const char *message; /* behind the file's name */
} refusal;

static void expect_refusals(lilac_context *context, const refusal *refusals, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char message[600];
        snprintf(message, sizeof message, "model.safetensors: %s", refusals[i].message);
        expect_refused(context, refusals[i].header, refusals[i].data_size, refusals[i].status, message);
    }
}

static void test_refuses_broken_frames(void **state) {
    lilac_context *context = *state;
    static const refusal refusals[] = {
        {"[]", 0, LILAC_ERROR_MAGIC, "not a safetensors file: expected '{' at byte 8, got 0x5b"},
        {" {}", 0, LILAC_ERROR_MAGIC, "not a safetensors file: expected '{' at byte 8, got 0x20"},
        {"{}", 3, LILAC_ERROR_TRAILING, "3 bytes follow the last tensor"},
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "}", 9, LILAC_ERROR_TRAILING, "1 bytes follow the last tensor"},
        {"", 0, LILAC_ERROR_FORMAT, "header length: expected 1 to 100000000 bytes, got 0"},
    };
    expect_refusals(context, refusals, sizeof refusals / sizeof refusals[0]);
    expect_refused_bytes(context, "1234567", 7, LILAC_ERROR_TRUNCATED,
                         "model.safetensors: 7 bytes are too few for a safetensors file");
    expect_refused_bytes(context, "\2\0\0\0\0\0\0\0{", 9, LILAC_ERROR_TRUNCATED,
                         "model.safetensors: the header takes 2 bytes, only 1 follow its length");
    /* 100,000,001, and lengths that wrap around when 8 is added or when they are cut to 32 bits */
    expect_refused_bytes(context, "\x01\xe1\xf5\x05\0\0\0\0{}", 10, LILAC_ERROR_FORMAT,
                         "model.safetensors: header length: expected 1 to 100000000 bytes, got 100000001");
    expect_refused_bytes(context, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, LILAC_ERROR_FORMAT,
                         "model.safetensors: header length: expected 1 to 100000000 bytes, got 18446744073709551615");
    expect_refused_bytes(context, "\2\0\0\0\1\0\0\0{}", 10, LILAC_ERROR_FORMAT,
                         "model.safetensors: header length: expected 1 to 100000000 bytes, got 4294967298");
}

static void test_refuses_broken_json(void **state) {
    lilac_context *context = *state;
    static const refusal refusals[] = {
        {"{", 0, LILAC_ERROR_FORMAT, "header, byte 1: the text ends too early"},
        {"{}}", 0, LILAC_ERROR_FORMAT, "header, byte 2: something other than spaces follows the object"},
        {"{}\n", 0, LILAC_ERROR_FORMAT, "header, byte 2: something other than spaces follows the object"},
        {"{a:1}", 0, LILAC_ERROR_FORMAT, "header, byte 1: expected a key in quotes"},
        {"{\"a\":1,}", 0, LILAC_ERROR_FORMAT, "header, byte 7, at or after entry \"a\": expected a key in quotes"},
        {"{\"a\" 1}", 0, LILAC_ERROR_FORMAT, "header, byte 5, at or after entry \"a\": expected ':' after a key"},
        {"{\"a\":1 2}", 0, LILAC_ERROR_FORMAT, "header, byte 7, at or after entry \"a\": expected ',' or '}'"},
        {"{\"a\":[1 2]}", 0, LILAC_ERROR_FORMAT, "header, byte 8, at or after entry \"a\": expected ',' or ']'"},
        {"{\"a\":[1}", 0, LILAC_ERROR_FORMAT, "header, byte 7, at or after entry \"a\": expected ',' or ']'"},
        {"{\"a\":tru}", 0, LILAC_ERROR_FORMAT,
         "header, byte 5, at or after entry \"a\": expected an object, an array, a string or an integer"},
        {"{\"a\":null}", 0, LILAC_ERROR_FORMAT,
         "header, byte 5, at or after entry \"a\": expected an object, an array, a string or an integer"},
        {"{\"a\tb\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a control character inside a string"},
        {"{\"a\\x\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 4: an unknown escape in a string"},
        {"{\"a\\u0000b\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 9: a NUL inside a string"},
        {"{\"a\\u00g0\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 7: expected four hexadecimal digits after \\u"},
        {"{\"\\ud800\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 8: half of a surrogate pair"},
        {"{\"\\ud800a\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 8: half of a surrogate pair"},
        {"{\"\\ud800\\n\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 9: half of a surrogate pair"},
        {"{\"\\ud800\\u0041\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 14: half of a surrogate pair"},
        {"{\"\\udc00\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 8: half of a surrogate pair"},
        {"{\"\x80\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 2: a string is not UTF-8"},
        {"{\"\xc0\xaf\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 2: a string is not UTF-8"},
        {"{\"\xc3(\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a string is not UTF-8"},
        {"{\"\xe0\x9f\xbf\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a string is not UTF-8"},
        {"{\"\xed\xa0\x80\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a string is not UTF-8"},
        {"{\"\xf0\x8f\xbf\xbf\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a string is not UTF-8"},
        {"{\"\xf4\x90\x80\x80\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 3: a string is not UTF-8"},
        {"{\"\xf5\x80\x80\x80\":1}", 0, LILAC_ERROR_FORMAT, "header, byte 2: a string is not UTF-8"},
        {"{\"a\":[[[1]]]}", 0, LILAC_ERROR_FORMAT,
         "header, byte 7, at or after entry \"a\": objects and arrays lie too deep within each other"},
    };
    expect_refusals(context, refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_json_limits(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t values;
        lilac_json_verdict verdict;
        size_t offset;
    } cases[] = {
        {"{\"a\":[1,{}]}", 5, LILAC_JSON_VALID, 0},
        {"{\"a\":[1,{}]}", 4, LILAC_JSON_TOO_MANY_VALUES, 8},
        {"{\"a\":[1,{}]}", 3, LILAC_JSON_TOO_MANY_VALUES, 6},
        {"{\"a\":[1,{}]}", 2, LILAC_JSON_TOO_MANY_VALUES, 5},
        {"{\"a\":[1,{}]}", 1, LILAC_JSON_TOO_MANY_VALUES, 1},
        {"{\"a\":[9007199254740992]}", 4, LILAC_JSON_VALID, 0},
        {"{\"a\":[9007199254740993]}", 4, LILAC_JSON_MALFORMED, 21},
        {"[]", 4, LILAC_JSON_MALFORMED, 0},
        {"", 4, LILAC_JSON_MALFORMED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lilac_json_limits limits = {.depth = 3, .values = cases[i].values};
        lilac_json_problem problem;
        assert_int_equal(lilac_json_check(cases[i].text, strlen(cases[i].text), limits, &problem), cases[i].verdict);
        assert_int_equal(problem.offset, cases[i].offset);
    }
}

/* A long key is cut in the message, between characters. */
static void test_long_names_in_messages(void **state) {
    char header[200] = "{\"x";
    for (size_t i = 0; i < 60; i++) {
        strcat(header, "\xc3\xa9");
    }
    const size_t end = strlen(header);
    strcpy(header + end, "\":}");
    char message[300];
    snprintf(message, sizeof message,
             "model.safetensors: header, byte %zu, at or after entry \"%.99s\": "
             "expected an object, an array, a string or an integer",
             end + 2, header + 2);
    expect_refused(*state, header, 0, LILAC_ERROR_FORMAT, message);
}

static void test_refuses_broken_numbers(void **state) {
    lilac_context *context = *state;
    static const char *const numbers[] = {"-1",   "-0", "1.0", "2e0",  "1E2",
                                          "+1",   "01", "0x1", "00",   "9007199254740993",
                                          "1e99", ".5", "NaN", "1e-2", "18446744073709551617"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char header[200];
        size_t size;
        snprintf(header, sizeof header, "{\"w\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,4]}}",
                 numbers[i]);
        unsigned char *bytes = lilac_test_safetensors_bytes(header, strlen(header), 4, &size);
        lilac_safetensors_file *file = NULL;
        assert_int_equal(lilac_safetensors_open_memory(context, "m", bytes, size, &file), LILAC_ERROR_FORMAT);
        assert_null(file);
        assert_non_null(strstr(lilac_context_message(context), "m: header, byte "));
        assert_non_null(strstr(lilac_context_message(context), "entry \"w\""));
        free(bytes);
    }
    static const refusal refusal_of_negative[] = {
        {"{" TENSOR("w", "F32", "[-1]", "[0,4]") "}", 4, LILAC_ERROR_FORMAT,
         "header, byte 29, at or after entry \"w\": a number is not an integer from 0 to 2^53"}};
    expect_refusals(context, refusal_of_negative, 1);
}

static void test_refuses_broken_entries(void **state) {
    lilac_context *context = *state;
    static const refusal refusals[] = {
        {"{\"w\":[]}", 0, LILAC_ERROR_FORMAT, "tensor \"w\": its description is not an object"},
        {"{\"w\":{}}", 0, LILAC_ERROR_FORMAT, "tensor \"w\": its dtype is missing or not a string"},
        {"{\"w\":{\"dtype\":32}}", 0, LILAC_ERROR_FORMAT, "tensor \"w\": its dtype is missing or not a string"},
        {"{\"w\":{\"dtype\":\"F32\"}}", 0, LILAC_ERROR_FORMAT, "tensor \"w\": its shape is missing or not an array"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data_offsets are missing or not two integers"},
        {"{" TENSOR("w", "F31", "[1]", "[0,4]") "}", 4, LILAC_ERROR_UNSUPPORTED, "tensor \"w\": unknown dtype \"F31\""},
        {"{" TENSOR("w", "f32", "[1]", "[0,4]") "}", 4, LILAC_ERROR_UNSUPPORTED, "tensor \"w\": unknown dtype \"f32\""},
        {"{" TENSOR("w", "F32", "{}", "[0,4]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its shape is missing or not an array"},
        {"{" TENSOR("w", "F32", "[\"1\"]", "[0,4]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its shape holds something other than integers"},
        {"{" TENSOR("w", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, LILAC_ERROR_UNSUPPORTED,
         "tensor \"w\": it has more than 8 dimensions"},
        {"{" TENSOR("w", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, LILAC_ERROR_OVERFLOW,
         "tensor \"w\": its shape is too large"},
        {"{" TENSOR("w", "F64", "[2147483648,1073741824]", "[0,4]") "}", 4, LILAC_ERROR_OVERFLOW,
         "tensor \"w\": its shape is too large"},
        {"{" TENSOR("w", "F32", "[1]", "4") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data_offsets are missing or not two integers"},
        {"{" TENSOR("w", "F32", "[1]", "[4]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data_offsets are missing or not two integers"},
        {"{" TENSOR("w", "F32", "[1]", "[0,4,8]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data_offsets are missing or not two integers"},
        {"{" TENSOR("w", "F32", "[1]", "[0,\"4\"]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data_offsets are missing or not two integers"},
        {"{" TENSOR("w", "F32", "[1]", "[4,0]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its data ends before it begins"},
        {"{" TENSOR("w", "F32", "[2]", "[0,8]") "}", 7, LILAC_ERROR_TRUNCATED,
         "tensor \"w\": its data ends at byte 8 of the 7 bytes behind the header"},
        {"{" TENSOR("w", "F32", "[1]", "[9007199254740988,9007199254740992]") "}", 4, LILAC_ERROR_TRUNCATED,
         "tensor \"w\": its data ends at byte 9007199254740992 of the 4 bytes behind the header"},
        {"{" TENSOR("w", "F32", "[1]", "[0,5]") "}", 5, LILAC_ERROR_FORMAT,
         "tensor \"w\": its shape and dtype need 4 bytes, its data_offsets give 5"},
        {"{" TENSOR("w", "BF16", "[3,1]", "[0,4]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its shape and dtype need 6 bytes, its data_offsets give 4"},
        {"{" TENSOR("w", "F32", "[0,3]", "[0,4]") "}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": its shape and dtype need 0 bytes, its data_offsets give 4"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"stride\":1}}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": unknown key \"stride\""},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"shape\":[]}}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": duplicate key \"shape\""},
        {"{\"w\":{\"DTYPE\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, LILAC_ERROR_FORMAT,
         "tensor \"w\": unknown key \"DTYPE\""},
    };
    expect_refusals(context, refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_refuses_broken_layouts(void **state) {
    lilac_context *context = *state;
    static const refusal refusals[] = {
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[2]", "[4,12]") "}", 12, LILAC_ERROR_FORMAT,
         "tensor \"b\": its data overlaps that of another tensor"},
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[2]", "[0,8]") "}", 8, LILAC_ERROR_FORMAT,
         "tensor \"b\": its data overlaps that of another tensor"},
        {"{" TENSOR("a", "F32", "[2]", "[0,8]") "," TENSOR("b", "F32", "[0]", "[4,4]") "}", 8, LILAC_ERROR_FORMAT,
         "tensor \"b\": its data overlaps that of another tensor"},
        {"{" TENSOR("b", "F32", "[2]", "[12,20]") "," TENSOR("a", "F32", "[2]", "[0,8]") "}", 20, LILAC_ERROR_FORMAT,
         "tensor \"b\": bytes that belong to no tensor lie before its data"},
        {"{" TENSOR("a", "F32", "[1]", "[4,8]") "}", 8, LILAC_ERROR_FORMAT,
         "tensor \"a\": bytes that belong to no tensor lie before its data"},
        {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("b", "U8", "[1]", "[1,2]") "," TENSOR("a", "U8", "[1]",
                                                                                                "[2,3]") "}",
         3, LILAC_ERROR_FORMAT, "tensor \"a\": its name is not unique"},
        /* the same name, written differently */
        {"{" TENSOR("a", "U8", "[1]", "[0,1]") "," TENSOR("\\u0061", "U8", "[1]", "[1,2]") "}", 2, LILAC_ERROR_FORMAT,
         "tensor \"a\": its name is not unique"},
        {"{\"__metadata__\":[]}", 0, LILAC_ERROR_FORMAT, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, LILAC_ERROR_FORMAT, "__metadata__: the value of \"k\" is not a string"},
        {"{\"__metadata__\":{\"k\":{}}}", 0, LILAC_ERROR_FORMAT, "__metadata__: the value of \"k\" is not a string"},
        {"{\"__metadata__\":{\"k\":\"1\",\"a\":\"2\",\"k\":\"1\"}}", 0, LILAC_ERROR_FORMAT,
         "__metadata__: duplicate key \"k\""},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, LILAC_ERROR_FORMAT, "duplicate __metadata__"},
    };
    expect_refusals(context, refusals, sizeof refusals / sizeof refusals[0]);
}

static void test_truncated_at_every_byte(void **state) {
    lilac_context *context = *state;
    size_t size;
    unsigned char *bytes = lilac_test_small_safetensors(&size);
    for (size_t length = 0; length < size; length++) {
        unsigned char *cut = malloc(length == 0 ? 1 : length);
        assert_non_null(cut);
        memcpy(cut, bytes, length);
        lilac_safetensors_file *file = NULL;
        assert_int_equal(lilac_safetensors_open_memory(context, "m", cut, length, &file), LILAC_ERROR_TRUNCATED);
        assert_null(file);
        free(cut);
    }
    free(bytes);
}

/* Touches everything that an opened file offers. */
static void use_file(lilac_context *context, const lilac_safetensors_file *file) {
    unsigned sum = 0;
    for (size_t i = 0; i < lilac_safetensors_count(file); i++) {
        const lilac_safetensors_tensor *tensor = lilac_safetensors_tensor_at(file, i);
        assert_ptr_equal(lilac_safetensors_find(file, tensor->name), tensor);
        for (size_t byte = 0; byte < tensor->bytes; byte++) {
            sum += tensor->data[byte];
        }
        float values[16];
        assert_true(tensor->count <= LILAC_TEST_SMALL_DATA);
        const lilac_status status =
            lilac_safetensors_read_f32(context, file, tensor->name, tensor->rank, tensor->shape, values);
        assert_true(status == LILAC_OK || status == LILAC_ERROR_UNSUPPORTED);
    }
    assert_true(sum > 0);
}

static void test_every_flipped_bit(void **state) {
    lilac_context *context = *state;
    size_t size;
    unsigned char *bytes = lilac_test_small_safetensors(&size);
    const size_t live = lilac_test_live_allocations();
    size_t opened = 0;
    for (size_t bit = 0; bit < 8 * (size - LILAC_TEST_SMALL_DATA); bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        lilac_safetensors_file *file = NULL;
        const lilac_status status = lilac_safetensors_open_memory(context, "m", bytes, size, &file);
        assert_int_equal(status == LILAC_OK, file != NULL);
        if (file != NULL) {
            opened++;
            use_file(context, file);
            lilac_safetensors_close(file);
        }
        assert_int_equal(lilac_test_live_allocations(), live);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    /* Most letters of names and metadata may change, and F32 may become I32 or U32; all else is noticed. */
    assert_in_range(opened, 1, 8 * (strlen("__metadata__") + strlen("kindtest") + strlen("ab") + 3));
    free(bytes);
}

/* A header of many values: refused by number before the parser spends memory on them, sorted where allowed. */
static void test_many_values(void **state) {
    lilac_context *context = *state;
    const size_t capacity = 24 * (size_t)LILAC_SAFETENSORS_MAX_VALUES;
    char *header = malloc(capacity);
    assert_non_null(header);
    for (size_t keys = LILAC_SAFETENSORS_MAX_VALUES / 2 - 1; keys <= LILAC_SAFETENSORS_MAX_VALUES / 2; keys++) {
        size_t used = (size_t)snprintf(header, capacity, "{\"__metadata__\":{");
        for (size_t i = 0; i < keys - 1; i++) {
            used += (size_t)snprintf(header + used, capacity - used, "%s\"%zu\":\"\"", i == 0 ? "" : ",",
                                     (i * 7919) % keys);
        }
        used += (size_t)snprintf(header + used, capacity - used, "}}");
        size_t size;
        unsigned char *bytes = lilac_test_safetensors_bytes(header, used, 0, &size);
        lilac_safetensors_file *file = NULL;
        const lilac_status status = lilac_safetensors_open_memory(context, "m", bytes, size, &file);
        if (keys < LILAC_SAFETENSORS_MAX_VALUES / 2) {
            assert_int_equal(status, LILAC_OK);
            assert_string_equal(lilac_safetensors_metadata(file, "7919"), "");
            lilac_safetensors_close(file);
        } else {
            assert_int_equal(status, LILAC_ERROR_UNSUPPORTED);
            assert_non_null(strstr(lilac_context_message(context), "too many values"));
        }
        free(bytes);
    }
    /* Nesting costs no stack: it is refused at the fourth level. */
    memset(header, '[', capacity);
    memcpy(header, "{\"a\":", 5);
    size_t size;
    unsigned char *bytes = lilac_test_safetensors_bytes(header, capacity, 0, &size);
    expect_refused_bytes(context, bytes, size, LILAC_ERROR_FORMAT,
                         "model.safetensors: header, byte 7, at or after entry \"a\": "
                         "objects and arrays lie too deep within each other");
    free(bytes);
    free(header);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_broken_frames),
        cmocka_unit_test(test_refuses_broken_json),
        cmocka_unit_test(test_json_limits),
        cmocka_unit_test(test_long_names_in_messages),
        cmocka_unit_test(test_refuses_broken_numbers),
        cmocka_unit_test(test_refuses_broken_entries),
        cmocka_unit_test(test_refuses_broken_layouts),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_every_flipped_bit),
        cmocka_unit_test(test_many_values),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
