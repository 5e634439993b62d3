/* SPDX-License-Identifier: MIT */
/* Tests of checkpoint files: what is written is read, what does not fit is refused. */
#include "train/checkpoint.h"

#include "support/default_context.h"
#include "support/temporary_file.h"
#include "support/tensor_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { COUNT = 9 };

static temporary_file file;
static lilac_settings settings;

/* A checkpoint with room for its numbers. */
typedef struct filled_checkpoint {
    float parameters[COUNT], moment1[COUNT], moment2[COUNT];
    lilac_checkpoint checkpoint;
} filled_checkpoint;

static int set_up(void **state) {
    temporary_file_create(&file);
    settings.count = 0;
    lilac_settings_add(&settings, "optimiser", "adamw");
    lilac_settings_add_whole(&settings, "batch", 16);
    lilac_settings_add_number(&settings, "learning rate", 6e-4);
    return context_set_up(state);
}

static int tear_down(void **state) {
    remove(file.path);
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

static void fill(filled_checkpoint *filled, float start) {
    memset(filled, 0, sizeof *filled);
    for (int i = 0; i < COUNT; i++) {
        filled->parameters[i] = start + (float)i / 3;
        filled->moment1[i] = start - (float)i / 7;
        filled->moment2[i] = start * (float)i / 11;
    }
    filled->checkpoint = (lilac_checkpoint){.step = 12,
                                            .seconds = 1.1,
                                            .count = COUNT,
                                            .parameters = filled->parameters,
                                            .moment1 = filled->moment1,
                                            .moment2 = filled->moment2};
}

static void write_checkpoint(filled_checkpoint *filled, float start) {
    fill(filled, start);
    assert_int_equal(lilac_checkpoint_write(context, &filled->checkpoint, &settings, file.path), LILAC_OK);
}

static void expect_file_holds(const filled_checkpoint *expected) {
    filled_checkpoint read;
    fill(&read, -1);
    assert_int_equal(lilac_checkpoint_read(context, file.path, &settings, 12, &read.checkpoint), LILAC_OK);
    assert_int_equal(read.checkpoint.step, expected->checkpoint.step);
    assert_true(read.checkpoint.seconds == expected->checkpoint.seconds);
    assert_memory_equal(read.parameters, expected->parameters, sizeof read.parameters);
    assert_memory_equal(read.moment1, expected->moment1, sizeof read.moment1);
    assert_memory_equal(read.moment2, expected->moment2, sizeof read.moment2);
}

/* Reading gives that status, changes nothing, and the message holds the text. */
static void expect_refused(lilac_status status, const char *text) {
    filled_checkpoint read, before;
    fill(&read, 5);
    memcpy(&before, &read, sizeof before);
    assert_int_equal(lilac_checkpoint_read(context, file.path, &settings, 12, &read.checkpoint), status);
    assert_memory_equal(&read, &before, sizeof before);
    if (strstr(lilac_context_message(context), text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", lilac_context_message(context), text);
    }
}

static void test_reads_what_it_wrote(void **state) {
    (void)state;
    filled_checkpoint first, second;
    write_checkpoint(&first, 1);
    expect_file_holds(&first);
    write_checkpoint(&second, 2);
    expect_file_holds(&second);
}

static void test_refuses_other_settings(void **state) {
    (void)state;
    filled_checkpoint filled;
    write_checkpoint(&filled, 1);
    const lilac_settings original = settings;
    strcpy(settings.item[0].value, "radam");
    expect_refused(LILAC_ERROR_ARGUMENT, "another optimiser: adamw, here it is radam");
    settings = original;
    strcpy(settings.item[1].value, "17");
    expect_refused(LILAC_ERROR_ARGUMENT, "another batch: 16, here it is 17");
    settings = original;
    settings.count = 2;
    lilac_settings_add_number(&settings, "learning rate", 7e-4);
    expect_refused(LILAC_ERROR_ARGUMENT, "another learning rate: 0.0006, here it is 0.0007");
    settings = original;
    lilac_settings_add(&settings, "colour", "red");
    expect_refused(LILAC_ERROR_ARGUMENT, "another colour: nothing, here it is red");
    /* All digits of a whole number matter. */
    settings = original;
    strcpy(settings.item[1].value, "20250101002");
    expect_refused(LILAC_ERROR_ARGUMENT, "another batch: 16, here it is 20250101002");
}

static void test_refuses_another_number_of_weights(void **state) {
    (void)state;
    filled_checkpoint filled;
    fill(&filled, 1);
    filled.checkpoint.count = COUNT - 1;
    assert_int_equal(lilac_checkpoint_write(context, &filled.checkpoint, &settings, file.path), LILAC_OK);
    expect_refused(LILAC_ERROR_SHAPE, "\"parameters\" holds 8 numbers, expected a row of 9");
}

static void test_refuses_impossible_content(void **state) {
    (void)state;
    const tensor_file good = {
        .metadata = {{"format", "lilac.checkpoint"},
                     {"format_version", "1"},
                     {"optimiser", "adamw"},
                     {"batch", "16"},
                     {"learning rate", "0.00059999999999999995"},
                     {"steps made", "3"},
                     {"seconds", "0.5"}},
        .tensors = {{"parameters", 1, {COUNT}}, {"moment1", 1, {COUNT}}, {"moment2", 1, {COUNT}}}};
    tensor_file_write(&good, file.path);
    filled_checkpoint read;
    fill(&read, 1);
    assert_int_equal(lilac_checkpoint_read(context, file.path, &settings, 12, &read.checkpoint), LILAC_OK);
    assert_int_equal(read.checkpoint.step, 3);
    assert_true(read.moment2[COUNT - 1] == 0.0f);

    const struct {
        const char *key, *value;
        lilac_status status;
    } cases[] = {{"format", "lilac.mlp", LILAC_ERROR_UNSUPPORTED},
                 {"format", NULL, LILAC_ERROR_UNSUPPORTED},
                 {"format_version", "2", LILAC_ERROR_UNSUPPORTED},
                 {"batch", NULL, LILAC_ERROR_ARGUMENT},
                 {"steps made", NULL, LILAC_ERROR_FORMAT},
                 {"steps made", "-1", LILAC_ERROR_FORMAT},
                 {"steps made", "13", LILAC_ERROR_FORMAT},
                 {"seconds", NULL, LILAC_ERROR_FORMAT},
                 {"seconds", "-1", LILAC_ERROR_FORMAT},
                 {"seconds", "x", LILAC_ERROR_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tensor_file bad = tensor_file_with_metadata(&good, cases[i].key, cases[i].value);
        tensor_file_write(&bad, file.path);
        expect_refused(cases[i].status, "");
    }
    const file_tensor tensors[] = {{"moment1", -1, {0}}, {"moment2", 1, {COUNT + 1}}, {"parameters", 2, {1, COUNT}}};
    const lilac_status statuses[] = {LILAC_ERROR_FORMAT, LILAC_ERROR_SHAPE, LILAC_ERROR_SHAPE};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const tensor_file bad = tensor_file_with_tensor(&good, tensors[i]);
        tensor_file_write(&bad, file.path);
        expect_refused(statuses[i], tensors[i].name);
    }
}

/* Writes the first size bytes of content to the file. */
static void write_bytes(const unsigned char *content, size_t size) {
    FILE *stream = fopen(file.path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(content, 1, size, stream), size);
    assert_int_equal(fclose(stream), 0);
}

static void test_refuses_every_truncation(void **state) {
    (void)state;
    filled_checkpoint filled;
    unsigned char content[4096];
    write_checkpoint(&filled, 1);
    FILE *stream = fopen(file.path, "rb");
    assert_non_null(stream);
    const size_t size = fread(content, 1, sizeof content, stream);
    assert_int_equal(fclose(stream), 0);
    assert_in_range(size, 3 * COUNT * 4, sizeof content - 1);
    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(content, cut);
        filled_checkpoint read, before;
        fill(&read, 5);
        memcpy(&before, &read, sizeof before);
        assert_int_equal(lilac_checkpoint_read(context, file.path, &settings, 12, &read.checkpoint),
                         LILAC_ERROR_TRUNCATED);
        assert_memory_equal(&read, &before, sizeof before);
    }
    memset(content, 'x', sizeof content);
    write_bytes(content, sizeof content);
    expect_refused(LILAC_ERROR_MAGIC, "");
    remove(file.path);
    expect_refused(LILAC_ERROR_NOT_FOUND, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_what_it_wrote, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_another_number_of_weights, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_impossible_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_every_truncation, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
