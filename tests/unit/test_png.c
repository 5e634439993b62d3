/* SPDX-License-Identifier: MIT */
/* Tests of the PNG writer: pixels as libpng reads them back, the same bytes each time, failures. */
#include "core/memory.h"
#include "format/png.h"
#include "runtime/context.h"
#include "runtime/file.h"
#include "support/default_context.h"
#include "support/temporary_file.h"

#include <png.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { WIDTH = 37, HEIGHT = 23 };

typedef struct test_state {
    temporary_file file;
    uint8_t pixels[WIDTH * HEIGHT];
} test_state;

static int set_up(void **state) {
    test_state *test = calloc(1, sizeof *test);
    assert_non_null(test);
    temporary_file_create(&test->file);
    for (size_t i = 0; i < sizeof test->pixels; i++) {
        test->pixels[i] = (uint8_t)(i * i / 7 + i);
    }
    *state = test;
    return context_set_up(NULL);
}

static int tear_down(void **state) {
    test_state *test = *state;
    temporary_file_destroy(&test->file);
    free(test);
    return context_tear_down(NULL);
}

static void expect_image(const test_state *test) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, test->file.path));
    assert_int_equal(image.width, WIDTH);
    assert_int_equal(image.height, HEIGHT);
    assert_int_equal(image.format, PNG_FORMAT_GRAY);
    uint8_t pixels[WIDTH * HEIGHT];
    assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    assert_memory_equal(pixels, test->pixels, WIDTH * HEIGHT);
    png_image_free(&image);
}

static void test_image_reads_back(void **state) {
    const test_state *test = *state;
    assert_int_equal(lilac_png_write(context, test->file.path, WIDTH, HEIGHT, test->pixels), LILAC_OK);
    expect_image(test);
}

static void test_same_pixels_give_the_same_file(void **state) {
    const test_state *test = *state;
    unsigned char *bytes[2] = {NULL, NULL};
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lilac_png_write(context, test->file.path, WIDTH, HEIGHT, test->pixels), LILAC_OK);
        assert_int_equal(lilac_file_read(context, test->file.path, 100000, &bytes[i], &sizes[i]), LILAC_OK);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(bytes[0], bytes[1], sizes[0]);
    lilac_memory_free(bytes[0]);
    lilac_memory_free(bytes[1]);
}

static void expect_failure(lilac_status status, const char *message, lilac_status expected) {
    assert_int_equal(status, expected);
    assert_non_null(strstr(lilac_context_message(context), message));
}

static void test_refuses_impossible_images(void **state) {
    const test_state *test = *state;
    const uint8_t *pixels = test->pixels;
    expect_failure(lilac_png_write(context, NULL, 1, 1, pixels), "null", LILAC_ERROR_ARGUMENT);
    expect_failure(lilac_png_write(context, test->file.path, 1, 1, NULL), "null", LILAC_ERROR_ARGUMENT);
    expect_failure(lilac_png_write(context, test->file.path, 0, 1, pixels), "got 0 x 1", LILAC_ERROR_OVERFLOW);
    expect_failure(lilac_png_write(context, test->file.path, 1, 1000001, pixels), "got 1 x 1000001",
                   LILAC_ERROR_OVERFLOW);
    expect_failure(lilac_png_write(context, "/tmp/no such folder/a.png", 1, 1, pixels), "/tmp/no such folder/a.png",
                   LILAC_ERROR_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_image_reads_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_pixels_give_the_same_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_impossible_images, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
