/* SPDX-License-Identifier: MIT */
/* Tests that a small file which claims to be large costs no more memory than a small file may. */
#include "data/idx.h"
#include "format/safetensors.h"
#include "train/checkpoint.h"

#include "support/contexts.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/temporary_file.h"
#include "support/tensor_file.h"

#include <lilac/generation.h>
#include <lilac/mlp.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>
#include <zlib.h>

/* One allocation, for a file of some hundred bytes. */
enum { MOST = 65536 };

static temporary_file file;

static int set_up(void **state) {
    (void)state;
    temporary_file_create(&file);
    context = context_create_at(LILAC_CPU_SCALAR, 1);
    return 0;
}

static int tear_down(void **state) {
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

static void expect_refused(lilac_status status, lilac_status expected) {
    assert_int_equal(status, expected);
    assert_in_range(lilac_test_largest_allocation(), 1, MOST);
}

static void expect_idx_refused(const char *bytes, size_t size, bool compressed) {
    gzFile stream = gzopen(file.path, compressed ? "wb" : "wbT");
    assert_non_null(stream);
    assert_int_equal(gzwrite(stream, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(stream), Z_OK);
    lilac_idx idx;
    lilac_test_watch_allocations();
    assert_int_equal(lilac_idx_read(context, file.path, bytes[3], &idx), LILAC_ERROR_TRUNCATED);
    assert_in_range(lilac_test_largest_allocation(), 0, MOST);
}

static void test_idx(void **state) {
    (void)state;
    static const char labels[] = "\0\0\x08\x01\x40\0\0\0labels"; /* 2^30 */
    static const char images[] = "\0\0\x08\x03\0\x10\0\0\0\0\0\x10\0\0\0\x10images";
    for (int compressed = 0; compressed < 2; compressed++) {
        expect_idx_refused(labels, sizeof labels, compressed);
        expect_idx_refused(images, sizeof images, compressed);
    }
}

static void expect_safetensors_refused(const char *header, uint64_t length, lilac_status status) {
    char bytes[200];
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, strlen(header));
    lilac_safetensors_file *opened;
    lilac_test_watch_allocations();
    expect_refused(lilac_safetensors_open_memory(context, "small", bytes, 8 + strlen(header), &opened), status);
}

static void test_safetensors(void **state) {
    (void)state;
    static const struct {
        const char *header;
        lilac_status status;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1073741824],\"data_offsets\":[0,4294967296]}}", LILAC_ERROR_TRUNCATED},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1073741824],\"data_offsets\":[0,0]}}", LILAC_ERROR_FORMAT},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4294967296,4294967295],\"data_offsets\":[0,0]}}", LILAC_ERROR_OVERFLOW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_safetensors_refused(cases[i].header, strlen(cases[i].header), cases[i].status);
    }
    expect_safetensors_refused("{}", LILAC_SAFETENSORS_MAX_HEADER, LILAC_ERROR_TRUNCATED);
    expect_safetensors_refused("{}", UINT64_MAX, LILAC_ERROR_FORMAT);
}

static void test_mlp(void **state) {
    (void)state;
    const tensor_file claims = {
        .metadata = {{"format", "lilac.mlp"}, {"format_version", "1"}, {"dropout", "0"}, {"seed", "0"}},
        /* Between no inputs and no classes, a width of 2^40 takes no room in the file. */
        .tensors = {{"layers.0.weight", 2, {(size_t)1 << 40, 0}},
                    {"layers.0.bias", 1, {1}},
                    {"layers.1.weight", 2, {0, (size_t)1 << 40}},
                    {"layers.1.bias", 1, {1}}}};
    tensor_file_write(&claims, file.path);
    lilac_mlp *mlp;
    lilac_test_watch_allocations();
    expect_refused(lilac_mlp_load(context, file.path, &mlp), LILAC_ERROR_FORMAT);
}

static const char *const transformer_settings[][2] = {{"format", "lilac.transformer"},
                                                      {"format_version", "1"},
                                                      {"length", "16"},
                                                      {"layers", "1"},
                                                      {"heads", "1"},
                                                      {"head_size", "1"},
                                                      {"feed_forward", "1"},
                                                      {"value_width", "1"},
                                                      {"position_width", "0"},
                                                      {"feature_size", "0"},
                                                      {"mixtures", "1"},
                                                      {"attention", "linear"},
                                                      {"features", "positive"},
                                                      {"norm", "post"},
                                                      {"activation", "relu"},
                                                      {"output", "logistic-mixture"},
                                                      {"dropout", "0"},
                                                      {"seed", "0"}};

/* A file with these settings, and 4000 numbers. */
static tensor_file transformer_file(void) {
    tensor_file made = {.tensors = {{"embedding.weight", 2, {4000, 1}}}};
    for (size_t i = 0; i < sizeof transformer_settings / sizeof *transformer_settings; i++) {
        made = tensor_file_with_metadata(&made, transformer_settings[i][0], transformer_settings[i][1]);
    }
    return made;
}

static void expect_transformer_refused(const tensor_file *claims, lilac_status status) {
    tensor_file_write(claims, file.path);
    lilac_transformer *model;
    lilac_test_watch_allocations();
    expect_refused(lilac_transformer_load(context, file.path, &model), status);
}

static void test_transformer(void **state) {
    (void)state;
    static const char *const settings[][2] = {
        {"layers", "256"},          {"heads", "1048576"},          {"head_size", "512"}, {"feed_forward", "1048576"},
        {"value_width", "1048576"}, {"position_width", "1048576"}, {"mixtures", "1024"}};
    const tensor_file plain = transformer_file();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const tensor_file claims = tensor_file_with_metadata(&plain, settings[i][0], settings[i][1]);
        expect_transformer_refused(&claims, LILAC_ERROR_SHAPE);
    }
}

/* Random vectors take no room in a file. */
static void test_random_features(void **state) {
    (void)state;
    static const char *const kinds[] = {"fourier", "positive"};
    static const char *const sizes[][2] = {{"17", "65536"}, {"1024", "1026"}, {"726", "0"}, {"1048576", "0"}};
    const tensor_file plain = transformer_file();
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        tensor_file claims = tensor_file_with_metadata(&plain, "features", kinds[i % 2]);
        claims = tensor_file_with_metadata(&claims, "head_size", sizes[i / 2][0]);
        claims = tensor_file_with_metadata(&claims, "feature_size", sizes[i / 2][1]);
        expect_transformer_refused(&claims, LILAC_ERROR_FORMAT);
        assert_non_null(strstr(lilac_context_message(context), "expected a product of at most 1048576"));
    }
}

/* What a model may read at most costs nothing where less is asked for. */
static void test_length(void **state) {
    (void)state;
    const lilac_transformer_config config = {.length = (size_t)1 << 24,
                                             .layers = 1,
                                             .heads = 1,
                                             .head_size = 1,
                                             .feed_forward = 1,
                                             .value_width = 1,
                                             .mixtures = 1,
                                             .attention = LILAC_TRANSFORMER_SOFTMAX};
    lilac_transformer *model, *loaded;
    assert_int_equal(lilac_transformer_create(context, &config, &model), LILAC_OK);
    assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_F32, file.path), LILAC_OK);
    lilac_transformer_destroy(model);
    lilac_generation_config generation;
    lilac_generation_config_default(&generation);
    generation.length = 5;
    uint8_t tokens[5] = {0};
    lilac_test_watch_allocations();
    assert_int_equal(lilac_transformer_load(context, file.path, &loaded), LILAC_OK);
    assert_int_equal(lilac_generate(context, loaded, &generation, tokens, NULL), LILAC_OK);
    assert_in_range(lilac_test_largest_allocation(), 1, MOST);
    lilac_transformer_destroy(loaded);
}

static void expect_adapter_refused(const tensor_file *claims, lilac_status status) {
    tensor_file_write(claims, file.path);
    lilac_adapter *adapter;
    lilac_test_watch_allocations();
    expect_refused(lilac_adapter_load(context, file.path, NULL, &adapter), status);
}

static void test_adapter(void **state) {
    (void)state;
    const tensor_file plain = {
        .metadata = {{"format", "lilac.lora"},
                     {"format_version", "1"},
                     {"rank", "1"},
                     {"alpha", "1"},
                     {"scale_rule", "fixed"},
                     {"initialisation", "standard"},
                     {"base_sha256", "0000000000000000000000000000000000000000000000000000000000000000"},
                     {"layer.0", "a"}},
        .tensors = {{"a.lora_A.weight", 2, {1, 1000}}, {"a.lora_B.weight", 2, {1000, 1}}}};
    tensor_file claims = tensor_file_with_metadata(&plain, "rank", "2147483647");
    expect_adapter_refused(&claims, LILAC_ERROR_SHAPE);
    claims = tensor_file_with_tensor(&claims, (file_tensor){"a.lora_A.weight", 2, {2147483647, 0}});
    claims = tensor_file_with_tensor(&claims, (file_tensor){"a.lora_B.weight", 2, {0, 2147483647}});
    expect_adapter_refused(&claims, LILAC_ERROR_SHAPE);
    /* The same large layer under the names of many. */
    claims = plain;
    char names[12][8], keys[12][12];
    for (int i = 0; i < 12; i++) {
        snprintf(names[i], sizeof names[i], "%d", i);
        snprintf(keys[i], sizeof keys[i], "layer.%d", i);
        claims = tensor_file_with_tensor(&claims, (file_tensor){names[i], 1, {0}});
        claims = tensor_file_with_metadata(&claims, keys[i], "a");
    }
    expect_adapter_refused(&claims, LILAC_ERROR_FORMAT);
}

static void test_checkpoint(void **state) {
    (void)state;
    const tensor_file claims = {
        .metadata = {{"format", "lilac.checkpoint"}, {"format_version", "1"}, {"steps made", "1"}, {"seconds", "1"}},
        .tensors = {{"parameters", 1, {3}}, {"moment1", 1, {3}}, {"moment2", 2, {1 << 30, 0}}}};
    const lilac_settings settings = {.count = 0};
    float numbers[9] = {0};
    lilac_checkpoint checkpoint = {.count = 3, .parameters = numbers, .moment1 = numbers + 3, .moment2 = numbers + 6};
    tensor_file_write(&claims, file.path);
    lilac_test_watch_allocations();
    expect_refused(lilac_checkpoint_read(context, file.path, &settings, 2, &checkpoint), LILAC_ERROR_SHAPE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idx),         cmocka_unit_test(test_safetensors),     cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_transformer), cmocka_unit_test(test_random_features), cmocka_unit_test(test_length),
        cmocka_unit_test(test_adapter),     cmocka_unit_test(test_checkpoint),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
