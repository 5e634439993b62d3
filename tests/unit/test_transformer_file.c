/* SPDX-License-Identifier: MIT */
/* Tests of transformer files: content, round trips in both precisions, refusals. */
#include "core/bf16.h"
#include "format/safetensors.h"
#include "model/transformer.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"
#include "support/temporary_file.h"
#include "support/tensor_file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static temporary_file file;
static lilac_transformer *const untouched = (lilac_transformer *)(uintptr_t)0x5a;

static int set_up(void **state) {
    temporary_file_create(&file);
    return context_set_up(state);
}

static int tear_down(void **state) {
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

/* Every setting differs from its default. */
static const lilac_transformer_config odd = {.length = 17,
                                             .layers = 2,
                                             .heads = 3,
                                             .head_size = 2,
                                             .feed_forward = 5,
                                             .value_width = 3,
                                             .position_width = 4,
                                             .attention = LILAC_TRANSFORMER_LINEAR,
                                             .features = LILAC_TRANSFORMER_POSITIVE_FEATURES,
                                             .feature_size = 6,
                                             .norm = LILAC_TRANSFORMER_PRE_NORM,
                                             .activation = LILAC_TRANSFORMER_GELU,
                                             .output = LILAC_TRANSFORMER_LOGISTIC_MIXTURE,
                                             .mixtures = 2,
                                             .dropout = 0.3,
                                             .seed = UINT64_MAX};

/* Numbers that the seed did not give, among them some that only a copy of the bits keeps. */
static lilac_transformer *create(const lilac_transformer_config *config) {
    lilac_transformer *model = NULL;
    assert_int_equal(lilac_transformer_create(context, config, &model), LILAC_OK);
    float *parameters = lilac_transformer_parameters(model);
    lilac_test_uniform(0, lilac_transformer_parameter_count(model), -1, 1, parameters);
    parameters[0] = -0.0f;
    parameters[1] = 1e-45f;
    parameters[2] = 0.1f;
    return model;
}

static void expect_config(const lilac_transformer_config *found, const lilac_transformer_config *expected) {
    assert_int_equal(found->length, expected->length);
    assert_int_equal(found->layers, expected->layers);
    assert_int_equal(found->heads, expected->heads);
    assert_int_equal(found->head_size, expected->head_size);
    assert_int_equal(found->feed_forward, expected->feed_forward);
    assert_int_equal(found->value_width, expected->value_width);
    assert_int_equal(found->position_width, expected->position_width);
    assert_int_equal(found->attention, expected->attention);
    assert_int_equal(found->features, expected->features);
    assert_int_equal(found->feature_size, expected->feature_size);
    assert_int_equal(found->norm, expected->norm);
    assert_int_equal(found->activation, expected->activation);
    assert_int_equal(found->output, expected->output);
    assert_int_equal(found->mixtures, expected->mixtures);
    assert_true(found->dropout == expected->dropout);
    assert_true(found->seed == expected->seed);
}

static void expect_loads(const lilac_transformer *expected, lilac_precision precision) {
    lilac_transformer *loaded = NULL;
    assert_int_equal(lilac_transformer_load(context, file.path, &loaded), LILAC_OK);
    expect_config(lilac_transformer_get_config(loaded), lilac_transformer_get_config(expected));
    const size_t count = lilac_transformer_parameter_count(expected);
    assert_int_equal(lilac_transformer_parameter_count(loaded), count);
    for (size_t i = 0; i < count; i++) {
        const float value = expected->parameters[i];
        const bool rounds = precision == LILAC_PRECISION_BF16 && i < expected->output_weight;
        const float kept = rounds ? lilac_float_from_bf16(lilac_bf16_from_float(value)) : value;
        assert_memory_equal(&loaded->parameters[i], &kept, sizeof kept);
    }
    lilac_transformer_destroy(loaded);
}

static void test_round_trip(void **state) {
    (void)state;
    lilac_transformer_config configs[3] = {odd, odd, odd};
    configs[1].attention = LILAC_TRANSFORMER_SOFTMAX;
    configs[1].norm = LILAC_TRANSFORMER_POST_NORM;
    configs[1].activation = LILAC_TRANSFORMER_RELU;
    configs[1].output = LILAC_TRANSFORMER_CATEGORICAL;
    configs[1].mixtures = 0;
    configs[2].features = LILAC_TRANSFORMER_ELU_PLUS_ONE;
    configs[2].feature_size = 0;
    configs[2].position_width = 0;
    configs[2].dropout = 0;
    for (size_t i = 0; i < 3; i++) {
        lilac_transformer *model = create(&configs[i]);
        for (int precision = 0; precision <= LILAC_PRECISION_BF16; precision++) {
            assert_int_equal(lilac_transformer_save(context, model, (lilac_precision)precision, file.path), LILAC_OK);
            expect_loads(model, (lilac_precision)precision);
        }
        lilac_transformer_destroy(model);
    }
}

/* The weights are as many as the settings say, whatever the settings. */
static void test_weight_count(void **state) {
    (void)state;
    lilac_transformer_config config = odd;
    for (int output = 0; output <= LILAC_TRANSFORMER_CATEGORICAL; output++) {
        config.output = (lilac_transformer_output)output;
        lilac_transformer *model = create(&config);
        assert_true((double)lilac_transformer_parameter_count(model) == lilac_transformer_weight_count(&config));
        lilac_transformer_destroy(model);
    }
    lilac_transformer_config_default(&config);
    assert_true(lilac_transformer_weight_count(&config) == 6359070);
}

static void test_every_name_of_a_setting(void **state) {
    (void)state;
    lilac_transformer_config config = odd;
    for (int features = 0; features <= LILAC_TRANSFORMER_POSITIVE_FEATURES; features++) {
        config.features = (lilac_transformer_features)features;
        lilac_transformer *model = create(&config);
        assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_F32, file.path), LILAC_OK);
        expect_loads(model, LILAC_PRECISION_F32);
        lilac_transformer_destroy(model);
    }
}

static void expect_metadata(const lilac_safetensors_file *opened, const char *key, const char *value) {
    assert_string_equal(lilac_safetensors_metadata(opened, key), value);
}

static void test_content(void **state) {
    (void)state;
    lilac_transformer *model = create(&odd);
    assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_BF16, file.path), LILAC_OK);
    lilac_safetensors_file *opened;
    assert_int_equal(lilac_safetensors_open(context, file.path, &opened), LILAC_OK);
    static const char *const metadata[][2] = {{"format", "lilac.transformer"},
                                              {"format_version", "1"},
                                              {"length", "17"},
                                              {"layers", "2"},
                                              {"heads", "3"},
                                              {"head_size", "2"},
                                              {"feed_forward", "5"},
                                              {"value_width", "3"},
                                              {"position_width", "4"},
                                              {"attention", "linear"},
                                              {"features", "positive"},
                                              {"feature_size", "6"},
                                              {"norm", "pre"},
                                              {"activation", "gelu"},
                                              {"output", "logistic-mixture"},
                                              {"mixtures", "2"},
                                              {"dropout", "0.29999999999999999"},
                                              {"seed", "18446744073709551615"}};
    for (size_t i = 0; i < sizeof metadata / sizeof *metadata; i++) {
        expect_metadata(opened, metadata[i][0], metadata[i][1]);
    }
    assert_int_equal(lilac_safetensors_count(opened), 2 * 16 + 5);
    const lilac_safetensors_tensor *tensor = lilac_safetensors_find(opened, "layers.1.feed_forward.up.weight");
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, LILAC_SAFETENSORS_BF16);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[0], 5);
    assert_int_equal(tensor->shape[1], 7);
    tensor = lilac_safetensors_find(opened, "output.bias");
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, LILAC_SAFETENSORS_F32);
    assert_int_equal(tensor->rank, 1);
    assert_int_equal(tensor->shape[0], 6);
    lilac_safetensors_close(opened);
    lilac_transformer_destroy(model);
}

/* A transformer file, but that its weights are 0. F = 4, H = 1, D = 3, feed-forward 5, one mixture. */
static const tensor_file valid = {.metadata = {{"format", "lilac.transformer"},
                                               {"format_version", "1"},
                                               {"length", "9"},
                                               {"layers", "1"},
                                               {"heads", "1"},
                                               {"head_size", "3"},
                                               {"feed_forward", "5"},
                                               {"value_width", "2"},
                                               {"position_width", "2"},
                                               {"attention", "softmax"},
                                               {"features", "elu+1"},
                                               {"feature_size", "0"},
                                               {"norm", "post"},
                                               {"activation", "relu"},
                                               {"output", "logistic-mixture"},
                                               {"mixtures", "1"},
                                               {"dropout", "0.5"},
                                               {"seed", "12"}},
                                  .tensors = {{"embedding.weight", 2, {256, 2}},
                                              {"layers.0.attention.query.weight", 2, {3, 4}},
                                              {"layers.0.attention.key.weight", 2, {3, 4}},
                                              {"layers.0.attention.value.weight", 2, {3, 4}},
                                              {"layers.0.attention.query.bias", 1, {3}},
                                              {"layers.0.attention.key.bias", 1, {3}},
                                              {"layers.0.attention.value.bias", 1, {3}},
                                              {"layers.0.attention.output.weight", 2, {4, 3}},
                                              {"layers.0.attention.output.bias", 1, {4}},
                                              {"layers.0.norm1.weight", 1, {4}},
                                              {"layers.0.norm1.bias", 1, {4}},
                                              {"layers.0.feed_forward.up.weight", 2, {5, 4}},
                                              {"layers.0.feed_forward.up.bias", 1, {5}},
                                              {"layers.0.feed_forward.down.weight", 2, {4, 5}},
                                              {"layers.0.feed_forward.down.bias", 1, {4}},
                                              {"layers.0.norm2.weight", 1, {4}},
                                              {"layers.0.norm2.bias", 1, {4}},
                                              {"norm.weight", 1, {4}},
                                              {"norm.bias", 1, {4}},
                                              {"output.weight", 2, {3, 4}},
                                              {"output.bias", 1, {3}}}};
enum { VALID_TENSORS = 21, VALID_WEIGHTS = 661 };

static void test_valid_file(void **state) {
    (void)state;
    lilac_transformer *loaded = NULL;
    tensor_file_write(&valid, file.path);
    assert_int_equal(lilac_transformer_load(context, file.path, &loaded), LILAC_OK);
    assert_int_equal(lilac_transformer_tensor_count(loaded), VALID_TENSORS);
    assert_int_equal(lilac_transformer_parameter_count(loaded), VALID_WEIGHTS);
    assert_int_equal(lilac_transformer_get_config(loaded)->head_size, 3);
    lilac_transformer_destroy(loaded);
}

/* message is what follows the path and a colon. */
static void expect_refused(const tensor_file *content, lilac_status status, const char *message) {
    char expected[512];
    lilac_transformer *model = untouched;
    tensor_file_write(content, file.path);
    snprintf(expected, sizeof expected, "%s: %s", file.path, message);
    const size_t live = lilac_test_live_allocations();
    const lilac_status found = lilac_transformer_load(context, file.path, &model);
    assert_string_equal(lilac_context_message(context), expected);
    assert_int_equal(found, status);
    assert_ptr_equal(model, untouched);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void expect_metadata_refused(const char *key, const char *value, lilac_status status, const char *message) {
    const tensor_file changed = tensor_file_with_metadata(&valid, key, value);
    expect_refused(&changed, status, message);
}

static void expect_tensor_refused(file_tensor tensor, lilac_status status, const char *message) {
    const tensor_file changed = tensor_file_with_tensor(&valid, tensor);
    expect_refused(&changed, status, message);
}

static void test_refuses_other_formats(void **state) {
    (void)state;
    expect_metadata_refused("format", NULL, LILAC_ERROR_UNSUPPORTED,
                            "not a transformer file: metadata \"format\" is missing, expected \"lilac.transformer\"");
    expect_metadata_refused(
        "format", "lilac.mlp", LILAC_ERROR_UNSUPPORTED,
        "not a transformer file: metadata \"format\" is \"lilac.mlp\", expected \"lilac.transformer\"");
    expect_metadata_refused("format_version", NULL, LILAC_ERROR_FORMAT, "the metadata lacks \"format_version\"");
    expect_metadata_refused("format_version", "2", LILAC_ERROR_UNSUPPORTED,
                            "format version \"2\", this program reads \"1\"");
}

static void test_refuses_missing_and_odd_settings(void **state) {
    (void)state;
    static const struct {
        const char *key, *expected;
    } settings[] = {{"length", "a whole number"},
                    {"layers", "a whole number"},
                    {"heads", "a whole number"},
                    {"head_size", "a whole number"},
                    {"feed_forward", "a whole number"},
                    {"value_width", "a whole number"},
                    {"position_width", "a whole number"},
                    {"feature_size", "a whole number"},
                    {"mixtures", "a whole number"},
                    {"seed", "a whole number"},
                    {"dropout", "a number"},
                    {"attention", "linear or softmax"},
                    {"features", "elu+1, relu, squared-relu, exp, fourier or positive"},
                    {"norm", "post or pre"},
                    {"activation", "relu or gelu"},
                    {"output", "logistic-mixture or categorical"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char message[200];
        snprintf(message, sizeof message, "metadata \"%s\" is missing, expected %s", settings[i].key,
                 settings[i].expected);
        expect_metadata_refused(settings[i].key, NULL, LILAC_ERROR_FORMAT, message);
        static const char *const values[] = {"", "x", "1x", " 1", "Linear", "0x1"};
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            snprintf(message, sizeof message, "metadata \"%s\" is \"%s\", expected %s", settings[i].key, values[j],
                     settings[i].expected);
            expect_metadata_refused(settings[i].key, values[j], LILAC_ERROR_FORMAT, message);
        }
    }
    expect_metadata_refused("seed", "18446744073709551616", LILAC_ERROR_FORMAT,
                            "metadata \"seed\" is \"18446744073709551616\", expected a whole number");
}

static void test_refuses_settings_out_of_range(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {{"length", "0", "transformer: length is 0, expected 1 to 16777216"},
                 {"length", "16777217", "transformer: length is 16777217, expected 1 to 16777216"},
                 {"layers", "0", "transformer: layers is 0, expected 1 to 256"},
                 {"layers", "257", "transformer: layers is 257, expected 1 to 256"},
                 {"heads", "0", "transformer: heads is 0, expected 1 to 1048576"},
                 {"head_size", "0", "transformer: head size is 0, expected 1 to 1048576"},
                 {"heads", "1048576", "transformer: heads x head size is 3145728, expected 1 to 1048576"},
                 {"feed_forward", "0", "transformer: feed-forward width is 0, expected 1 to 1048576"},
                 {"value_width", "18446744073709551615",
                  "transformer: value width is 18446744073709551615, expected 1 to 1048576"},
                 {"position_width", "1", "transformer: position width is 1, expected an even number"},
                 {"feature_size", "65537", "transformer: feature size is 65537, expected 0 to 65536"},
                 {"mixtures", "0", "transformer: mixtures is 0, expected 1 to 1024"},
                 {"dropout", "1", "transformer: dropout probability 1, expected 0 <= p < 1"},
                 {"dropout", "-0.5", "transformer: dropout probability -0.5, expected 0 <= p < 1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_metadata_refused(cases[i].key, cases[i].value, LILAC_ERROR_FORMAT, cases[i].message);
    }
}

/* Settings that are possible but not this file's: nothing as large as they say is allocated. */
static void test_refuses_settings_of_larger_models(void **state) {
    (void)state;
    static const char *const keys[] = {"layers", "heads", "head_size", "feed_forward", "value_width", "mixtures"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        lilac_transformer *model = untouched;
        const tensor_file changed = tensor_file_with_metadata(&valid, keys[i], "256");
        tensor_file_write(&changed, file.path);
        assert_int_equal(lilac_transformer_load(context, file.path, &model), LILAC_ERROR_SHAPE);
        assert_non_null(strstr(lilac_context_message(context), "holds 661 weights, its settings call for "));
        assert_ptr_equal(model, untouched);
    }
    tensor_file huge = tensor_file_with_metadata(&valid, "feed_forward", "1048576");
    huge = tensor_file_with_metadata(&huge, "layers", "256");
    expect_refused(&huge, LILAC_ERROR_SHAPE, "holds 661 weights, its settings call for 2415940375");
}

static void test_refuses_missing_and_surplus_tensors(void **state) {
    (void)state;
    for (size_t i = 0; i < VALID_TENSORS; i++) {
        char message[100];
        file_tensor renamed = valid.tensors[i];
        const tensor_file without = tensor_file_with_tensor(&valid, (file_tensor){renamed.name, -1, {0}});
        snprintf(message, sizeof message, "tensor \"%s\" is missing", renamed.name);
        renamed.name = "other";
        const tensor_file changed = tensor_file_with_tensor(&without, renamed);
        expect_refused(&changed, LILAC_ERROR_FORMAT, message);
    }
    expect_tensor_refused((file_tensor){"norm.bias", -1, {0}}, LILAC_ERROR_SHAPE,
                          "holds 657 weights, its settings call for 661");
    expect_tensor_refused((file_tensor){"surplus", 1, {1}}, LILAC_ERROR_SHAPE,
                          "holds 662 weights, its settings call for 661");
    expect_tensor_refused((file_tensor){"surplus", 2, {7, 0}}, LILAC_ERROR_FORMAT, "22 tensors, expected 21");
}

static void test_refuses_other_shapes(void **state) {
    (void)state;
    expect_tensor_refused((file_tensor){"layers.0.feed_forward.up.weight", 2, {4, 5}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.0.feed_forward.up.weight\": expected shape (5, 4), found (4, 5)");
    expect_tensor_refused((file_tensor){"norm.bias", 2, {4, 1}}, LILAC_ERROR_SHAPE,
                          "tensor \"norm.bias\": expected shape (4,), found (4, 1)");
    expect_tensor_refused((file_tensor){"output.weight", 1, {12}}, LILAC_ERROR_SHAPE,
                          "tensor \"output.weight\": expected shape (3, 4), found (12,)");
}

/* Fourier features come in pairs, which only the creation of the feature map knows. */
static void test_refuses_impossible_features(void **state) {
    (void)state;
    tensor_file changed = tensor_file_with_metadata(&valid, "attention", "linear");
    changed = tensor_file_with_metadata(&changed, "features", "fourier");
    changed = tensor_file_with_metadata(&changed, "feature_size", "3");
    tensor_file_write(&changed, file.path);
    lilac_transformer *model = untouched;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_transformer_load(context, file.path, &model), LILAC_ERROR_FORMAT);
    assert_ptr_equal(strstr(lilac_context_message(context), file.path), lilac_context_message(context));
    assert_int_equal(lilac_test_live_allocations(), live);
    assert_ptr_equal(model, untouched);
}

static void test_refuses_what_is_no_file_of_tensors(void **state) {
    (void)state;
    lilac_transformer *model = untouched;
    assert_int_equal(lilac_transformer_load(context, file.path, &model), LILAC_ERROR_NOT_FOUND);
    assert_int_equal(lilac_transformer_load(context, file.folder, &model), LILAC_ERROR_UNSUPPORTED);
    FILE *text = fopen(file.path, "w");
    assert_non_null(text);
    fputs("not a model", text);
    fclose(text);
    assert_int_equal(lilac_transformer_load(context, file.path, &model), LILAC_ERROR_MAGIC);
    assert_ptr_equal(model, untouched);
}

static void test_refuses_impossible_arguments(void **state) {
    (void)state;
    lilac_transformer *model = create(&odd), *loaded = untouched;
    assert_int_equal(lilac_transformer_save(NULL, model, LILAC_PRECISION_F32, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_save(context, NULL, LILAC_PRECISION_F32, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_F32, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_save(context, model, LILAC_PRECISION_F16, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_load(NULL, file.path, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_load(context, NULL, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_transformer_load(context, file.path, NULL), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(loaded, untouched);
    lilac_transformer_destroy(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_weight_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_name_of_a_setting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_valid_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_formats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_missing_and_odd_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_settings_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_settings_of_larger_models, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_missing_and_surplus_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_impossible_features, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_what_is_no_file_of_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_impossible_arguments, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
