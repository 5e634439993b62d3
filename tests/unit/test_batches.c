/* SPDX-License-Identifier: MIT */
/* Tests of the variants, views, batches, splits and shuffles of a data set, and of the contact sheet. */
#include "data/batches.h"

#include "data/contact_sheet.h"
#include "data/variant.h"
#include "support/contexts.h"
#include "support/default_context.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { COUNT = 100, ROWS = 37, COLS = 41, PIXELS = ROWS * COLS, CLASSES = 7 };

static lilac_dataset *dataset;

/* An image is longer than the buffer that variants go through; the first one holds every byte. */
static int set_up(void **state) {
    static uint8_t images[COUNT * PIXELS], labels[COUNT];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof images; i++) {
        random = random * 1664525u + 1013904223u;
        images[i] = i < PIXELS ? (uint8_t)i : (uint8_t)(random >> 24);
    }
    for (size_t i = 0; i < COUNT; i++) {
        labels[i] = (uint8_t)((i * 5 + 3) % CLASSES);
    }
    const lilac_dataset_shape shape = {.count = COUNT, .rows = ROWS, .cols = COLS, .classes = CLASSES};
    return context_set_up(state) != 0 || lilac_dataset_create(context, &shape, images, labels, &dataset) != LILAC_OK;
}

static int tear_down(void **state) {
    lilac_dataset_destroy(dataset);
    return context_tear_down(state);
}

/* Pixel p of an image's variant by the definition, in double precision. */
static double variant_value(lilac_variant variant, const uint8_t *image, size_t p) {
    const double x = image[p] / 255.0;
    switch (variant) {
    case LILAC_VARIANT_ORIGINAL:
        return (x - 0.1307) / 0.3081;
    case LILAC_VARIANT_QUANTIZED:
        return round(x);
    case LILAC_VARIANT_ROTATED: {
        const size_t row = p / COLS, col = p % COLS;
        return image[(ROWS - 1 - row) * COLS + (COLS - 1 - col)] / 255.0;
    }
    case LILAC_VARIANT_INVERTED:
        return 1.0 - x;
    case LILAC_VARIANT_PLAIN:
        return x;
    }
    return NAN;
}

/* One unit in the last place of a float of that size. */
static double unit_of(double value) {
    const float size = (float)fabs(value);
    return size == 0.0f ? 0.0 : (double)nextafterf(size, INFINITY) - (double)size;
}

static void assert_input(lilac_variant variant, double expected, float got) {
    /* (x/255 - mean) / deviation nearly cancels where x/255 is near the mean: there the error is that of the terms. */
    const double allowed = variant == LILAC_VARIANT_ORIGINAL ? 2e-7 : unit_of(expected);
    if (!(fabs((double)got - expected) <= allowed)) {
        fail_msg("%s: expected %.9g, got %.9g", lilac_variant_name(variant), expected, (double)got);
    }
}

static void test_variant_names(void **state) {
    (void)state;
    for (int value = 0; value < LILAC_VARIANT_COUNT; value++) {
        lilac_variant variant;
        assert_int_equal(lilac_variant_parse(lilac_variant_name((lilac_variant)value), &variant), LILAC_OK);
        assert_int_equal(variant, value);
    }
    assert_string_equal(lilac_variant_name(LILAC_VARIANT_ORIGINAL), "mnist");
    assert_null(lilac_variant_name((lilac_variant)LILAC_VARIANT_COUNT));
    assert_null(lilac_variant_name((lilac_variant)-1));
    lilac_variant variant = LILAC_VARIANT_ROTATED;
    assert_int_equal(lilac_variant_parse("Rotated", &variant), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_variant_parse("", &variant), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_variant_parse(NULL, &variant), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_variant_parse("mnist", NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(variant, LILAC_VARIANT_ROTATED);
}

/* Every variant at every cpu level against its definition. */
static void test_variant_values(void **state) {
    (void)state;
    float *inputs = malloc(COUNT * PIXELS * sizeof *inputs);
    assert_non_null(inputs);
    for (int level = LILAC_CPU_SCALAR; level <= (int)lilac_cpu_level_detect(); level++) {
        lilac_context *leveled = context_create_at((lilac_cpu_level)level, 1);
        for (int value = 0; value < LILAC_VARIANT_COUNT; value++) {
            const lilac_data_view view = lilac_data_view_all(dataset, (lilac_variant)value);
            assert_int_equal(lilac_batch_fill(leveled, &view, 0, COUNT, inputs, NULL), LILAC_OK);
            for (size_t i = 0; i < COUNT * PIXELS; i++) {
                const uint8_t *image = lilac_dataset_image(dataset, i / PIXELS);
                assert_input(view.variant, variant_value(view.variant, image, i % PIXELS), inputs[i]);
            }
        }
        lilac_context_destroy(leveled);
    }
    free(inputs);
}

/* x/255 is what a division gives, to the last bit, and so are the variants made from it. */
static void test_variants_are_correctly_rounded(void **state) {
    (void)state;
    uint8_t image[256];
    float inputs[256];
    for (int x = 0; x < 256; x++) {
        image[x] = (uint8_t)x;
    }
    for (int value = LILAC_VARIANT_QUANTIZED; value < LILAC_VARIANT_COUNT; value++) {
        lilac_variant_inputs(context, (lilac_variant)value, 256, image, inputs);
        for (int x = 0; x < 256; x++) {
            const float quotient = (float)x / 255.0f, opposite = (float)(255 - x) / 255.0f;
            const float expected[LILAC_VARIANT_COUNT] = {[LILAC_VARIANT_QUANTIZED] = x < 128 ? 0.0f : 1.0f,
                                                         [LILAC_VARIANT_ROTATED] = opposite,
                                                         [LILAC_VARIANT_INVERTED] = opposite,
                                                         [LILAC_VARIANT_PLAIN] = quotient};
            assert_true(inputs[x] == expected[value]);
        }
    }
}

static void test_batch_gathers_by_index(void **state) {
    (void)state;
    static const uint32_t indices[] = {99, 0, 50, 50, 7};
    const lilac_data_view view = {
        .dataset = dataset, .indices = indices, .count = 5, .variant = LILAC_VARIANT_INVERTED};
    static float inputs[4 * PIXELS];
    uint8_t labels[4] = {0};
    inputs[3 * PIXELS] = -5.0f;
    labels[3] = 42;
    assert_int_equal(lilac_batch_fill(context, &view, 2, 3, inputs, labels), LILAC_OK);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *image = lilac_dataset_image(dataset, indices[2 + i]);
        for (size_t p = 0; p < PIXELS; p++) {
            assert_input(view.variant, variant_value(view.variant, image, p), inputs[i * PIXELS + p]);
        }
        assert_int_equal(labels[i], lilac_dataset_labels(dataset)[indices[2 + i]]);
    }
    assert_true(inputs[3 * PIXELS] == -5.0f && labels[3] == 42);
}

static void test_batch_of_a_range(void **state) {
    (void)state;
    const lilac_data_view view = {.dataset = dataset, .first = 90, .count = 10, .variant = LILAC_VARIANT_PLAIN};
    uint8_t labels[3];
    assert_int_equal(lilac_batch_fill(context, &view, 7, 3, NULL, labels), LILAC_OK);
    assert_memory_equal(labels, lilac_dataset_labels(dataset) + 97, 3);
    assert_int_equal(lilac_batch_fill(context, &view, 10, 0, NULL, labels), LILAC_OK);
}

static void test_batch_refuses(void **state) {
    (void)state;
    static const uint32_t indices[] = {0, COUNT};
    static const struct {
        lilac_data_view view;
        size_t first, count;
        const char *text;
    } cases[] = {
        {{.count = 5}, 6, 0, "batch of 0 items from item 6 on: the view has 5"},
        {{.count = 5}, 3, 3, "batch of 3 items from item 3 on: the view has 5"},
        {{.count = 5}, 1, SIZE_MAX, "the view has 5"},
        {{.first = 96, .count = 5}, 0, 5, "batch, item 4: image 100 of a data set of 100"},
        {{.indices = indices, .count = 2}, 0, 2, "batch, item 1: image 100 of a data set of 100"},
        {{.count = 5, .variant = (lilac_variant)LILAC_VARIANT_COUNT}, 0, 1, "no variant 5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lilac_data_view view = cases[i].view;
        view.dataset = dataset;
        uint8_t labels[8] = {0}, before[8] = {0};
        assert_int_equal(lilac_batch_fill(context, &view, cases[i].first, cases[i].count, NULL, labels),
                         LILAC_ERROR_ARGUMENT);
        assert_non_null(strstr(lilac_context_message(context), cases[i].text));
        assert_memory_equal(labels, before, sizeof labels);
    }
}

static void test_batch_is_the_same_at_any_thread_count(void **state) {
    (void)state;
    float *one = malloc(COUNT * PIXELS * sizeof *one), *many = malloc(COUNT * PIXELS * sizeof *many);
    assert_non_null(one);
    assert_non_null(many);
    lilac_context *single = context_create_at(LILAC_CPU_AVX512, 1), *several = context_create_at(LILAC_CPU_AVX512, 5);
    const lilac_data_view view = lilac_data_view_all(dataset, LILAC_VARIANT_ORIGINAL);
    uint8_t labels_one[COUNT], labels_many[COUNT];
    assert_int_equal(lilac_batch_fill(single, &view, 0, COUNT, one, labels_one), LILAC_OK);
    assert_int_equal(lilac_batch_fill(several, &view, 0, COUNT, many, labels_many), LILAC_OK);
    assert_memory_equal(one, many, COUNT * PIXELS * sizeof *one);
    assert_memory_equal(labels_one, labels_many, COUNT);
    lilac_context_destroy(single);
    lilac_context_destroy(several);
    free(one);
    free(many);
}

/* Whether values holds each of first .. first+count-1 once. */
static void assert_permutation(const uint32_t *values, size_t count, uint32_t first) {
    uint8_t *seen = calloc(1, count);
    assert_non_null(seen);
    for (size_t i = 0; i < count; i++) {
        assert_in_range(values[i], first, first + count - 1);
        assert_int_equal(seen[values[i] - first]++, 0);
    }
    free(seen);
}

static void test_split(void **state) {
    (void)state;
    enum { ALL = 60000, VALIDATION = 5000 };
    static uint32_t first[ALL], again[ALL], other[ALL];
    lilac_split(1, ALL, first);
    lilac_split(1, ALL, again);
    lilac_split(2, ALL, other);
    assert_permutation(first, ALL, 0); /* so the two parts are disjoint and complete */
    assert_permutation(other, ALL, 0);
    assert_memory_equal(first, again, sizeof first);
    /* Of two independent choices of 5,000 in 60,000, about 417 (standard deviation 19) are common. */
    static uint8_t chosen[ALL];
    size_t common = 0;
    for (size_t i = ALL - VALIDATION; i < ALL; i++) {
        chosen[first[i]] = 1;
    }
    for (size_t i = ALL - VALIDATION; i < ALL; i++) {
        common += chosen[other[i]];
    }
    assert_in_range(common, 320, 520);
}

static void test_shuffle(void **state) {
    (void)state;
    uint32_t indices[60], epoch0[60], again[60], epoch1[60], seed2[60];
    for (uint32_t i = 0; i < 60; i++) {
        indices[i] = 99 - i;
    }
    const lilac_data_view view = {.dataset = dataset, .indices = indices, .count = 60, .variant = LILAC_VARIANT_PLAIN};
    const lilac_data_view shuffled = lilac_data_view_shuffle(&view, 1, 0, epoch0);
    assert_ptr_equal(shuffled.dataset, dataset);
    assert_ptr_equal(shuffled.indices, epoch0);
    assert_int_equal(shuffled.count, 60);
    assert_int_equal(shuffled.variant, LILAC_VARIANT_PLAIN);
    lilac_data_view_shuffle(&view, 1, 0, again);
    lilac_data_view_shuffle(&view, 1, 1, epoch1);
    lilac_data_view_shuffle(&view, 2, 0, seed2);
    assert_permutation(epoch0, 60, 40);
    assert_memory_equal(epoch0, again, sizeof epoch0);
    assert_memory_not_equal(epoch0, indices, sizeof epoch0);
    assert_memory_not_equal(epoch0, epoch1, sizeof epoch0);
    assert_memory_not_equal(epoch0, seed2, sizeof epoch0);
    const lilac_data_view range = {.dataset = dataset, .first = 30, .count = 60};
    lilac_data_view_shuffle(&range, 1, 0, again);
    assert_permutation(again, 60, 30);
}

static void test_first_of_each_class(void **state) {
    (void)state;
    uint32_t images[256];
    assert_int_equal(lilac_first_of_each_class(dataset, images), CLASSES);
    for (uint32_t class = 0; class < CLASSES; class ++) {
        assert_int_equal(lilac_dataset_labels(dataset)[images[class]], class);
        for (uint32_t i = 0; i < images[class]; i++) {
            assert_int_not_equal(lilac_dataset_labels(dataset)[i], class);
        }
    }
    const uint8_t pixel = 0, label = 200;
    const lilac_dataset_shape shape = {.count = 1, .rows = 1, .cols = 1, .classes = 256};
    lilac_dataset *single;
    assert_int_equal(lilac_dataset_create(context, &shape, &pixel, &label, &single), LILAC_OK);
    assert_int_equal(lilac_first_of_each_class(single, images), 1);
    assert_int_equal(images[0], 0);
    lilac_dataset_destroy(single);
}

/* What the sheet must show at a place, found from the definition: a gap, or the pixel of a variant. */
static int sheet_value(const uint32_t *images, size_t zoom, size_t y, size_t x) {
    const size_t row = y / zoom, column = x / zoom;
    if (row % (ROWS + 1) == 0 || column % (COLS + 1) == 0) {
        return 128;
    }
    static const lilac_variant variants[] = {LILAC_VARIANT_PLAIN, LILAC_VARIANT_QUANTIZED, LILAC_VARIANT_ROTATED,
                                             LILAC_VARIANT_INVERTED};
    const uint8_t *image = lilac_dataset_image(dataset, images[row / (ROWS + 1)]);
    const size_t pixel = (row % (ROWS + 1) - 1) * COLS + column % (COLS + 1) - 1;
    return (int)lround(255 * variant_value(variants[column / (COLS + 1)], image, pixel));
}

static void test_contact_sheet(void **state) {
    (void)state;
    static const uint32_t images[] = {0, 99, 3};
    for (size_t zoom = 1; zoom <= 3; zoom++) {
        const lilac_contact_sheet sheet = {.dataset = dataset, .images = images, .count = 3, .zoom = zoom};
        size_t width, height;
        assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_OK);
        assert_int_equal(width, zoom * (4 * (COLS + 1) + 1));
        assert_int_equal(height, zoom * (3 * (ROWS + 1) + 1));
        uint8_t *picture = malloc(width * height);
        assert_non_null(picture);
        lilac_contact_sheet_draw(&sheet, picture);
        for (size_t i = 0; i < width * height; i++) {
            assert_int_equal(picture[i], sheet_value(images, zoom, i / width, i % width));
        }
        free(picture);
    }
}

static void test_contact_sheet_refuses(void **state) {
    (void)state;
    static const uint32_t images[] = {0, COUNT};
    lilac_contact_sheet sheet = {.dataset = dataset, .images = images, .count = 0, .zoom = 1};
    size_t width = 1, height = 2;
    assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_ERROR_ARGUMENT);
    sheet.count = 1;
    sheet.zoom = 0;
    assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_ERROR_ARGUMENT);
    sheet.zoom = SIZE_MAX / 200;
    assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_ERROR_OVERFLOW);
    sheet.zoom = SIZE_MAX / 2;
    assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_ERROR_OVERFLOW);
    sheet.zoom = 1;
    sheet.count = 2;
    assert_int_equal(lilac_contact_sheet_size(context, &sheet, &width, &height), LILAC_ERROR_ARGUMENT);
    assert_non_null(strstr(lilac_context_message(context), "contact sheet, row 1: image 100 of a data set of 100"));
    assert_true(width == 1 && height == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variant_names),
        cmocka_unit_test(test_variant_values),
        cmocka_unit_test(test_variants_are_correctly_rounded),
        cmocka_unit_test(test_batch_gathers_by_index),
        cmocka_unit_test(test_batch_of_a_range),
        cmocka_unit_test(test_batch_refuses),
        cmocka_unit_test(test_batch_is_the_same_at_any_thread_count),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_first_of_each_class),
        cmocka_unit_test(test_contact_sheet),
        cmocka_unit_test(test_contact_sheet_refuses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
