/* SPDX-License-Identifier: MIT */
/* Tests of the sequences that training and evaluation take from images and from bytes. */
#include "train/tokens.h"

#include "support/default_context.h"
#include "support/toy_images.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { SIDE = 4, PIXELS = SIDE * SIDE, IMAGES = 23, LENGTH = 10 };

static lilac_dataset *images;

static int set_up(void **state) {
    if (context_set_up(state) != 0) {
        return 1;
    }
    images = toy_images_create(context, 0, IMAGES, SIDE, 3);
    return 0;
}

static int tear_down(void **state) {
    lilac_dataset_destroy(images);
    return context_tear_down(state);
}

/* The image whose pixels these are; IMAGES if none is. */
static size_t image_of(const uint8_t *pixels) {
    size_t i = 0;
    while (i < IMAGES && memcmp(lilac_dataset_image(images, i), pixels, PIXELS) != 0) {
        i++;
    }
    return i;
}

static void test_images_in_order(void **state) {
    (void)state;
    const uint32_t indices[] = {7, 3, 22};
    const lilac_data_view view = {.dataset = images, .indices = indices, .count = 3, .variant = LILAC_VARIANT_ORIGINAL};
    const lilac_token_source source = {.images = &view};
    lilac_tokens tokens;
    uint8_t sequence[PIXELS];
    assert_int_equal(lilac_tokens_open(context, &source, PIXELS - 1, &tokens), LILAC_OK);
    assert_int_equal(tokens.N, PIXELS - 1);
    assert_int_equal(tokens.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lilac_tokens_sequence(&tokens, i, sequence), 0);
        assert_int_equal(image_of(sequence), indices[i]);
    }
}

static void test_images_as_their_variant(void **state) {
    (void)state;
    lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_ROTATED);
    const lilac_token_source source = {.images = &view};
    lilac_tokens tokens;
    uint8_t sequence[PIXELS];
    assert_int_equal(lilac_tokens_open(context, &source, 100, &tokens), LILAC_OK);
    lilac_tokens_sequence(&tokens, 5, sequence);
    for (size_t i = 0; i < PIXELS; i++) {
        assert_int_equal(sequence[i], lilac_dataset_image(images, 5)[PIXELS - 1 - i]);
    }
    view.variant = LILAC_VARIANT_INVERTED;
    lilac_tokens_sequence(&tokens, 5, sequence);
    for (size_t i = 0; i < PIXELS; i++) {
        assert_int_equal(sequence[i], 255 - lilac_dataset_image(images, 5)[i]);
    }
}

/* Every epoch shows every image once, each epoch in another order; any item can be asked for without those before. */
static void test_order_of_images(void **state) {
    (void)state;
    const lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    const lilac_token_source source = {.images = &view};
    lilac_tokens tokens;
    lilac_token_order order, other;
    uint8_t sequence[PIXELS], again[PIXELS];
    size_t seen[2][IMAGES], moved = 0;
    assert_int_equal(lilac_tokens_open(context, &source, PIXELS - 1, &tokens), LILAC_OK);
    assert_int_equal(lilac_token_order_begin(context, &tokens, 5, &order), LILAC_OK);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        bool found[IMAGES] = {false};
        for (uint64_t i = 0; i < IMAGES; i++) {
            lilac_token_order_item(&order, epoch * IMAGES + i, sequence);
            const size_t image = image_of(sequence);
            assert_in_range(image, 0, IMAGES - 1);
            assert_false(found[image]);
            found[image] = true;
            seen[epoch][i] = image;
        }
    }
    for (size_t i = 0; i < IMAGES; i++) {
        moved += seen[0][i] != seen[1][i];
    }
    assert_in_range(moved, IMAGES / 2, IMAGES);
    assert_int_equal(lilac_token_order_begin(context, &tokens, 5, &other), LILAC_OK);
    lilac_token_order_item(&other, IMAGES + 4, again);
    assert_int_equal(image_of(again), seen[1][4]);
    lilac_token_order_item(&other, 4, again);
    assert_int_equal(image_of(again), seen[0][4]);
    lilac_token_order_end(&other);
    lilac_token_order_end(&order);
}

/* The windows of an evaluation predict each byte but the first once, whatever the number of bytes. */
static void test_windows_in_order(void **state) {
    (void)state;
    uint8_t bytes[64], sequence[LENGTH + 1];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t count = 2; count <= sizeof bytes; count++) {
        const lilac_token_source source = {.bytes = bytes, .byte_count = count};
        int predicted[sizeof bytes] = {0};
        lilac_tokens tokens;
        assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_OK);
        assert_int_equal(tokens.N, count <= LENGTH ? count - 1 : LENGTH);
        for (size_t i = 0; i < tokens.count; i++) {
            const size_t skipped = lilac_tokens_sequence(&tokens, i, sequence);
            for (size_t j = 0; j <= tokens.N; j++) {
                assert_int_equal(sequence[j], sequence[0] + j);
                predicted[sequence[j]] += j > skipped;
            }
        }
        for (size_t i = 0; i < sizeof bytes; i++) {
            assert_int_equal(predicted[i], i > 0 && i < count);
        }
    }
}

/* Windows of training begin anywhere, the first and the last place among them, about equally often. */
static void test_order_of_windows(void **state) {
    (void)state;
    enum { STARTS = 5, DRAWS = 5000 };
    uint8_t bytes[LENGTH + STARTS], sequence[LENGTH + 1], again[LENGTH + 1];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    const lilac_token_source source = {.bytes = bytes, .byte_count = sizeof bytes};
    lilac_tokens tokens;
    lilac_token_order order;
    int drawn[STARTS] = {0};
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_OK);
    assert_int_equal(lilac_token_order_begin(context, &tokens, 9, &order), LILAC_OK);
    for (uint64_t i = 0; i < DRAWS; i++) {
        lilac_token_order_item(&order, i, sequence);
        assert_in_range(sequence[0], 0, STARTS - 1);
        assert_memory_equal(sequence, bytes + sequence[0], sizeof sequence);
        drawn[sequence[0]]++;
    }
    for (int i = 0; i < STARTS; i++) {
        assert_in_range(drawn[i], DRAWS / STARTS - 200, DRAWS / STARTS + 200);
    }
    lilac_token_order_item(&order, DRAWS - 1, again);
    assert_memory_equal(again, sequence, sizeof sequence);
    lilac_token_order_end(&order);
}

static void test_text_tells_sources_apart(void **state) {
    (void)state;
    uint8_t bytes[50] = {1, 2, 3};
    lilac_token_source source = {.bytes = bytes, .byte_count = sizeof bytes};
    lilac_tokens tokens;
    char first[LILAC_TOKENS_TEXT_SIZE], text[LILAC_TOKENS_TEXT_SIZE];
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_OK);
    lilac_tokens_text(&tokens, first);
    bytes[49] = 1;
    lilac_tokens_text(&tokens, text);
    assert_string_not_equal(text, first);
    bytes[49] = 0;
    lilac_tokens_text(&tokens, text);
    assert_string_equal(text, first);

    uint32_t indices[] = {0, 1, 2};
    lilac_data_view view = {.dataset = images, .indices = indices, .count = 3};
    source.images = &view;
    assert_int_equal(lilac_tokens_open(context, &source, PIXELS, &tokens), LILAC_OK);
    lilac_tokens_text(&tokens, first);
    indices[2] = 3;
    lilac_tokens_text(&tokens, text);
    assert_string_not_equal(text, first);
    indices[2] = 2;
    view.variant = LILAC_VARIANT_INVERTED;
    lilac_tokens_text(&tokens, text);
    assert_string_not_equal(text, first);
}

static void test_refusals(void **state) {
    (void)state;
    const uint8_t bytes[2] = {0};
    lilac_tokens tokens;
    lilac_data_view view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    lilac_token_source source = {.images = &view};
    assert_int_equal(lilac_tokens_open(context, &source, PIXELS - 2, &tokens), LILAC_ERROR_SHAPE);
    view.first = 1;
    assert_int_equal(lilac_tokens_open(context, &source, PIXELS, &tokens), LILAC_ERROR_ARGUMENT);
    source = (lilac_token_source){.byte_count = 100};
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_ERROR_ARGUMENT);
    source = (lilac_token_source){.bytes = bytes, .byte_count = 1};
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_ERROR_ARGUMENT);
    source.byte_count = (size_t)UINT32_MAX + 1;
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_ERROR_OVERFLOW);
    lilac_dataset *dots = toy_images_create(context, 0, 3, 1, 2);
    view = lilac_data_view_all(dots, LILAC_VARIANT_ORIGINAL);
    source = (lilac_token_source){.images = &view};
    assert_int_equal(lilac_tokens_open(context, &source, LENGTH, &tokens), LILAC_ERROR_SHAPE);
    lilac_dataset_destroy(dots);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images_in_order),  cmocka_unit_test(test_images_as_their_variant),
        cmocka_unit_test(test_order_of_images),  cmocka_unit_test(test_windows_in_order),
        cmocka_unit_test(test_order_of_windows), cmocka_unit_test(test_text_tells_sources_apart),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
