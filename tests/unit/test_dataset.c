/* SPDX-License-Identifier: MIT */
/* Tests of data sets: from memory, from files in MNIST's layout, and the real MNIST and Fashion-MNIST where they are.
 */
#include <lilac/dataset.h>

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

enum { IMAGES = 3, PIXELS = 28 * 28 };

static const char fashion_folder[] = "/usr/share/datasets/fashion-mnist";
static const uint32_t image_sizes[] = {IMAGES, 28, 28};
static const uint32_t label_sizes[] = {IMAGES};
static const uint8_t labels[IMAGES] = {0, 9, 4};

static uint8_t images[IMAGES * PIXELS];
static lilac_dataset *const untouched = (lilac_dataset *)(uintptr_t)0x5A;
static char folder[64];

static int set_up(void **state) {
    for (size_t i = 0; i < sizeof images; i++) {
        images[i] = (uint8_t)(i * 7 + i / PIXELS);
    }
    return context_set_up(state);
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/lilac-test-XXXXXX");
    return mkdtemp(folder) == NULL ? 1 : 0;
}

static void path_of(const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s", folder, name);
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                        "t10k-labels-idx1-ubyte"};
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        path_of(names[i], path, sizeof path);
        remove(path);
        strcat(path, ".gz");
        remove(path);
    }
    return rmdir(folder);
}

/* Writes and frees the bytes. */
static void write_file(const char *name, bytes content) {
    char path[128];
    path_of(name, path, sizeof path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.size, file), content.size);
    assert_int_equal(fclose(file), 0);
    free(content.data);
}

static bytes image_file(void) {
    return idx_file(3, image_sizes, images, sizeof images);
}

static bytes label_file(void) {
    return idx_file(1, label_sizes, labels, sizeof labels);
}

static void assert_loads(lilac_mnist_part part) {
    lilac_dataset *dataset;
    assert_int_equal(lilac_dataset_load_mnist(context, folder, part, &dataset), LILAC_OK);
    const lilac_dataset_shape shape = lilac_dataset_get_shape(dataset);
    assert_int_equal(shape.count, IMAGES);
    assert_int_equal(shape.rows, 28);
    assert_int_equal(shape.cols, 28);
    assert_int_equal(shape.classes, 10);
    for (size_t i = 0; i < IMAGES; i++) {
        assert_memory_equal(lilac_dataset_image(dataset, i), images + i * PIXELS, PIXELS);
    }
    assert_memory_equal(lilac_dataset_labels(dataset), labels, IMAGES);
    lilac_dataset_destroy(dataset);
}

static void assert_refused(lilac_status expected, const char *text) {
    lilac_dataset *dataset = untouched;
    assert_int_equal(lilac_dataset_load_mnist(context, folder, LILAC_MNIST_TRAIN, &dataset), expected);
    assert_ptr_equal(dataset, untouched);
    const char *message = lilac_context_message(context);
    if (strstr(message, folder) == NULL || strstr(message, text) == NULL) {
        fail_msg("message without the folder or \"%s\": %s", text, message);
    }
}

static void test_create_copies(void **state) {
    (void)state;
    const lilac_dataset_shape shape = {.count = 2, .rows = 3, .cols = 5, .classes = 256};
    uint8_t pixels[30], classes[2] = {255, 0};
    memcpy(pixels, images, sizeof pixels);
    lilac_dataset *dataset;
    assert_int_equal(lilac_dataset_create(context, &shape, pixels, classes, &dataset), LILAC_OK);
    memset(pixels, 0, sizeof pixels);
    classes[0] = 1;
    assert_memory_equal(lilac_dataset_image(dataset, 0), images, 15);
    assert_memory_equal(lilac_dataset_image(dataset, 1), images + 15, 15);
    assert_int_equal(lilac_dataset_labels(dataset)[0], 255);
    const lilac_dataset_shape got = lilac_dataset_get_shape(dataset);
    assert_int_equal(got.count, 2);
    assert_int_equal(got.rows, 3);
    assert_int_equal(got.cols, 5);
    assert_int_equal(got.classes, 256);
    lilac_dataset_destroy(dataset);
    lilac_dataset_destroy(NULL);
}

static void test_create_refuses(void **state) {
    (void)state;
    static const struct {
        lilac_dataset_shape shape;
        lilac_status status;
        const char *text;
    } cases[] = {
        {{0, 28, 28, 10}, LILAC_ERROR_SHAPE, "expected 1 to 4294967295 images, got 0"},
        {{(size_t)UINT32_MAX + 1, 28, 28, 10}, LILAC_ERROR_SHAPE, "got 4294967296"},
        {{3, 0, 28, 10}, LILAC_ERROR_SHAPE, "at least 1 x 1 pixels, got 0 x 28"},
        {{3, 28, 0, 10}, LILAC_ERROR_SHAPE, "at least 1 x 1 pixels, got 28 x 0"},
        {{3, 28, 28, 0}, LILAC_ERROR_SHAPE, "expected 1 to 256 classes, got 0"},
        {{3, 28, 28, 257}, LILAC_ERROR_SHAPE, "expected 1 to 256 classes, got 257"},
        {{3, SIZE_MAX / 2, 3, 10}, LILAC_ERROR_OVERFLOW, "too many bytes"},
        {{3, SIZE_MAX / 4, 2, 10}, LILAC_ERROR_OVERFLOW, "too many bytes"},
        {{1, SIZE_MAX / 4, 1, 10}, LILAC_ERROR_MEMORY, "out of memory"},
        {{3, 28, 28, 9}, LILAC_ERROR_VALUE_RANGE, "label 1: expected 0 to 8, got 9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lilac_dataset *dataset = untouched;
        assert_int_equal(lilac_dataset_create(context, &cases[i].shape, images, labels, &dataset), cases[i].status);
        assert_non_null(strstr(lilac_context_message(context), cases[i].text));
        assert_ptr_equal(dataset, untouched);
    }
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    const lilac_dataset_shape shape = {.count = IMAGES, .rows = 28, .cols = 28, .classes = 10};
    lilac_dataset *dataset = untouched;
    assert_int_equal(lilac_dataset_create(NULL, &shape, images, labels, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_create(context, NULL, images, labels, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_create(context, &shape, NULL, labels, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_create(context, &shape, images, NULL, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_create(context, &shape, images, labels, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_load_mnist(NULL, "/", LILAC_MNIST_TEST, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_load_mnist(context, NULL, LILAC_MNIST_TEST, &dataset), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_load_mnist(context, "/", LILAC_MNIST_TEST, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_dataset_load_mnist(context, "/", (lilac_mnist_part)2, &dataset), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(dataset, untouched);
}

static void test_loads_plain_and_gzip(void **state) {
    (void)state;
    write_file("train-images-idx3-ubyte", image_file());
    write_file("train-labels-idx1-ubyte.gz", gzip_member(label_file()));
    assert_loads(LILAC_MNIST_TRAIN);
    write_file("t10k-images-idx3-ubyte.gz", gzip_member(image_file()));
    write_file("t10k-labels-idx1-ubyte", label_file());
    assert_loads(LILAC_MNIST_TEST);
    /* The content says whether a file is compressed, not its name. */
    write_file("train-images-idx3-ubyte", gzip_member(image_file()));
    write_file("train-labels-idx1-ubyte.gz", label_file());
    assert_loads(LILAC_MNIST_TRAIN);
    /* The plain file comes first. */
    write_file("train-images-idx3-ubyte.gz", bytes_of("junk", 4));
    assert_loads(LILAC_MNIST_TRAIN);
}

static void test_says_what_is_missing(void **state) {
    (void)state;
    assert_refused(LILAC_ERROR_NOT_FOUND, "expected a file train-images-idx3-ubyte or train-images-idx3-ubyte.gz");
    write_file("train-images-idx3-ubyte", image_file());
    assert_refused(LILAC_ERROR_NOT_FOUND, "expected a file train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz");
}

static void test_refuses_bad_images(void **state) {
    (void)state;
    static const uint32_t turned[] = {IMAGES * 28, 14, 56}, none[] = {0, 28, 28};
    write_file("train-labels-idx1-ubyte", label_file());
    write_file("train-images-idx3-ubyte", idx_header(0x08, 3, turned));
    assert_refused(LILAC_ERROR_TRUNCATED, "train-images-idx3-ubyte: expected 65856 bytes after the IDX header, got 0");
    static const uint32_t other[] = {IMAGES, 14, 56};
    write_file("train-images-idx3-ubyte", idx_file(3, other, images, sizeof images));
    assert_refused(LILAC_ERROR_SHAPE, "train-images-idx3-ubyte: expected images of 28 x 28 pixels, got 14 x 56");
    write_file("train-images-idx3-ubyte", idx_header(0x08, 3, none));
    write_file("train-labels-idx1-ubyte", idx_header(0x08, 1, none));
    assert_refused(LILAC_ERROR_SHAPE, "expected 1 to 4294967295 images, got 0");
    write_file("train-images-idx3-ubyte", label_file());
    assert_refused(LILAC_ERROR_SHAPE, "train-images-idx3-ubyte: expected 3 dimensions, got 1");
    write_file("train-images-idx3-ubyte", bytes_of("<!DOCTYPE html>", 15));
    assert_refused(LILAC_ERROR_MAGIC, "train-images-idx3-ubyte: not an IDX file");
}

static void test_refuses_bad_labels(void **state) {
    (void)state;
    static const uint8_t ten[IMAGES] = {0, 9, 10};
    static const uint32_t fewer[] = {IMAGES - 1};
    write_file("train-images-idx3-ubyte", image_file());
    write_file("train-labels-idx1-ubyte", idx_file(1, label_sizes, ten, IMAGES));
    assert_refused(LILAC_ERROR_VALUE_RANGE, "train-labels-idx1-ubyte, label 2: expected 0 to 9, got 10");
    write_file("train-labels-idx1-ubyte", idx_file(1, fewer, labels, IMAGES - 1));
    assert_refused(LILAC_ERROR_COUNT_MISMATCH, "train-labels-idx1-ubyte: expected 3 labels, one for each image, got 2");
    write_file("train-labels-idx1-ubyte", image_file());
    assert_refused(LILAC_ERROR_SHAPE, "train-labels-idx1-ubyte: expected 1 dimensions, got 3");
}

static void test_every_failing_allocation(void **state) {
    (void)state;
    const lilac_dataset_shape shape = {.count = IMAGES, .rows = 28, .cols = 28, .classes = 10};
    write_file("train-images-idx3-ubyte", image_file());
    write_file("train-labels-idx1-ubyte.gz", gzip_member(label_file()));
    const size_t live = lilac_test_live_allocations();
    for (int from_files = 0; from_files < 2; from_files++) {
        lilac_dataset *dataset = untouched;
        lilac_status status = LILAC_ERROR_MEMORY;
        size_t n = 0;
        for (; status != LILAC_OK; n++) {
            lilac_test_fail_allocation(n);
            status = from_files ? lilac_dataset_load_mnist(context, folder, LILAC_MNIST_TRAIN, &dataset)
                                : lilac_dataset_create(context, &shape, images, labels, &dataset);
            if (lilac_test_allocation_failed()) {
                assert_int_equal(status, LILAC_ERROR_MEMORY);
                assert_ptr_equal(dataset, untouched);
                assert_int_equal(lilac_test_live_allocations(), live);
            }
        }
        assert_true(n > 3); /* images, labels, the data set itself */
        lilac_dataset_destroy(dataset);
        assert_int_equal(lilac_test_live_allocations(), live);
    }
}

/* Loads one part of a published data set and checks its size, its first labels and the number of images of each class.
 */
static void assert_published(const char *place, lilac_mnist_part part, size_t count, const uint8_t first[5],
                             const size_t classes[10], double mean) {
    lilac_dataset *dataset;
    if (lilac_dataset_load_mnist(context, place, part, &dataset) != LILAC_OK) {
        fail_msg("%s", lilac_context_message(context));
    }
    assert_int_equal(lilac_dataset_get_shape(dataset).count, count);
    assert_memory_equal(lilac_dataset_labels(dataset), first, 5);
    size_t seen[10] = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        seen[lilac_dataset_labels(dataset)[i]]++;
        for (size_t p = 0; p < PIXELS; p++) {
            sum += lilac_dataset_image(dataset, i)[p];
        }
    }
    assert_memory_equal(seen, classes, sizeof seen);
    const double got = (double)sum / (255.0 * PIXELS * (double)count);
    assert_true(got > mean - 5e-5 && got < mean + 5e-5);
    lilac_dataset_destroy(dataset);
}

static void test_real_mnist(void **state) {
    (void)state;
    const char *place = getenv("LILAC_DATA");
    if (place == NULL) {
        skip();
    }
    static const size_t train[] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    static const size_t test[] = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
    assert_published(place, LILAC_MNIST_TRAIN, 60000, (const uint8_t[]){5, 0, 4, 1, 9}, train, 0.1307);
    assert_published(place, LILAC_MNIST_TEST, 10000, (const uint8_t[]){7, 2, 1, 0, 4}, test, 0.1325);
}

static void test_real_fashion_mnist(void **state) {
    (void)state;
    if (access(fashion_folder, R_OK) != 0) {
        skip();
    }
    static const size_t train[] = {6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000};
    static const size_t test[] = {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000};
    assert_published(fashion_folder, LILAC_MNIST_TRAIN, 60000, (const uint8_t[]){9, 0, 0, 3, 0}, train, 0.2860);
    assert_published(fashion_folder, LILAC_MNIST_TEST, 10000, (const uint8_t[]){9, 2, 1, 1, 6}, test, 0.2868);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_copies),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_refuses_null_pointers),
        cmocka_unit_test_setup_teardown(test_loads_plain_and_gzip, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_says_what_is_missing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refuses_bad_images, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refuses_bad_labels, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_every_failing_allocation, make_folder, remove_folder),
        cmocka_unit_test(test_real_mnist),
        cmocka_unit_test(test_real_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, set_up, context_tear_down);
}
