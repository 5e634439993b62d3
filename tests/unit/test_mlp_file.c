/* SPDX-License-Identifier: MIT */
/* Tests of model files: what is in them, round trips, refusal of whatever is not a model. */
#include "format/safetensors.h"
#include "model/mlp.h"
#include "support/comma_locale.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"
#include "support/temporary_file.h"
#include "support/tensor_file.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

static temporary_file file;
static lilac_mlp *const untouched = (lilac_mlp *)(uintptr_t)0x5a;

static int set_up(void **state) {
    temporary_file_create(&file);
    return context_set_up(state);
}

static int tear_down(void **state) {
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

/* A 4-3-2 network with numbers that its seed did not give, among them some that only a copy of the bits keeps. */
static lilac_mlp *create_mlp(void) {
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {4, 3, 2}, .dropout = 0.1, .seed = UINT64_MAX};
    lilac_mlp *mlp = NULL;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), LILAC_OK);
    lilac_test_uniform(0, lilac_mlp_parameter_count(mlp), -1, 1, lilac_mlp_parameters(mlp));
    lilac_mlp_parameters(mlp)[0] = -0.0f;
    lilac_mlp_parameters(mlp)[1] = 1e-45f;
    lilac_mlp_parameters(mlp)[2] = 0.1f;
    return mlp;
}

static void expect_equal(const lilac_mlp_config *config, const float *parameters, lilac_mlp *found) {
    const lilac_mlp_config *other = lilac_mlp_get_config(found);
    assert_int_equal(other->layer_count, config->layer_count);
    assert_memory_equal(other->sizes, config->sizes, (config->layer_count + 1) * sizeof(size_t));
    assert_true(other->dropout == config->dropout);
    assert_true(other->seed == config->seed);
    assert_memory_equal(lilac_mlp_parameters(found), parameters, lilac_mlp_parameter_count(found) * sizeof(float));
}

static void test_round_trip(void **state) {
    (void)state;
    lilac_mlp *mlp = create_mlp(), *loaded = NULL;
    assert_int_equal(lilac_mlp_save(context, mlp, file.path), LILAC_OK);
    assert_int_equal(lilac_mlp_load(context, file.path, &loaded), LILAC_OK);
    expect_equal(lilac_mlp_get_config(mlp), lilac_mlp_parameters(mlp), loaded);
    lilac_mlp_destroy(loaded);
    lilac_mlp_destroy(mlp);
}

static void expect_tensor(const lilac_safetensors_file *opened, const char *name, int rank, const size_t *shape,
                          const float *values) {
    const lilac_safetensors_tensor *tensor = lilac_safetensors_find(opened, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, LILAC_SAFETENSORS_F32);
    assert_int_equal(tensor->rank, rank);
    assert_memory_equal(tensor->shape, shape, (size_t)rank * sizeof *shape);
    assert_memory_equal(tensor->data, values, tensor->bytes);
}

static void test_content(void **state) {
    (void)state;
    lilac_mlp *mlp = create_mlp();
    lilac_safetensors_file *opened = NULL;
    assert_int_equal(lilac_mlp_save(context, mlp, file.path), LILAC_OK);
    assert_int_equal(lilac_safetensors_open(context, file.path, &opened), LILAC_OK);
    assert_string_equal(lilac_safetensors_metadata(opened, "format"), "lilac.mlp");
    assert_string_equal(lilac_safetensors_metadata(opened, "format_version"), "1");
    assert_string_equal(lilac_safetensors_metadata(opened, "dropout"), "0.10000000000000001");
    assert_string_equal(lilac_safetensors_metadata(opened, "seed"), "18446744073709551615");
    assert_int_equal(lilac_safetensors_count(opened), 4);
    const float *parameters = lilac_mlp_parameters(mlp);
    expect_tensor(opened, "layers.0.weight", 2, (size_t[]){3, 4}, parameters);
    expect_tensor(opened, "layers.0.bias", 1, (size_t[]){3}, parameters + 12);
    expect_tensor(opened, "layers.1.weight", 2, (size_t[]){2, 3}, parameters + 15);
    expect_tensor(opened, "layers.1.bias", 1, (size_t[]){2}, parameters + 21);
    lilac_safetensors_close(opened);
    lilac_mlp_destroy(mlp);
}

static void test_full_number_of_layers(void **state) {
    (void)state;
    lilac_mlp_config config = {.layer_count = LILAC_MLP_MAX_LAYERS};
    for (size_t l = 0; l <= LILAC_MLP_MAX_LAYERS; l++) {
        config.sizes[l] = 1 + l;
    }
    lilac_mlp *mlp = NULL, *loaded = NULL;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), LILAC_OK);
    assert_int_equal(lilac_mlp_save(context, mlp, file.path), LILAC_OK);
    assert_int_equal(lilac_mlp_load(context, file.path, &loaded), LILAC_OK);
    expect_equal(&config, lilac_mlp_parameters(mlp), loaded);
    lilac_mlp_destroy(loaded);
    lilac_mlp_destroy(mlp);
}

/* A program that shows numbers with a comma writes and reads the same files. */
static void test_locale_with_comma(void **state) {
    (void)state;
    lilac_mlp *mlp = create_mlp(), *loaded = NULL;
    if (!comma_locale_set()) {
        lilac_mlp_destroy(mlp);
        skip();
    }
    assert_int_equal(lilac_mlp_save(context, mlp, file.path), LILAC_OK);
    comma_locale_reset();
    assert_int_equal(lilac_mlp_load(context, file.path, &loaded), LILAC_OK);
    expect_equal(lilac_mlp_get_config(mlp), lilac_mlp_parameters(mlp), loaded);
    lilac_mlp_destroy(loaded);
    assert_true(comma_locale_set());
    const lilac_status status = lilac_mlp_load(context, file.path, &loaded);
    comma_locale_reset();
    assert_int_equal(status, LILAC_OK);
    expect_equal(lilac_mlp_get_config(mlp), lilac_mlp_parameters(mlp), loaded);
    lilac_mlp_destroy(loaded);
    lilac_mlp_destroy(mlp);
}

/* A model file, but that its weights are 0. */
static const tensor_file valid = {
    .metadata = {{"format", "lilac.mlp"}, {"format_version", "1"}, {"dropout", "0.5"}, {"seed", "12"}},
    .tensors = {{"layers.0.weight", 2, {3, 4}},
                {"layers.0.bias", 1, {3}},
                {"layers.1.weight", 2, {2, 3}},
                {"layers.1.bias", 1, {2}}}};

static void test_valid_file(void **state) {
    (void)state;
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {4, 3, 2}, .dropout = 0.5, .seed = 12};
    const float zeros[23] = {0};
    lilac_mlp *loaded = NULL;
    tensor_file_write(&valid, file.path);
    assert_int_equal(lilac_mlp_load(context, file.path, &loaded), LILAC_OK);
    expect_equal(&config, zeros, loaded);
    lilac_mlp_destroy(loaded);
}

/* message is what follows the path and a colon. */
static void expect_refused(const tensor_file *content, lilac_status status, const char *message) {
    char expected[512];
    lilac_mlp *mlp = untouched;
    tensor_file_write(content, file.path);
    snprintf(expected, sizeof expected, "%s: %s", file.path, message);
    const size_t live = lilac_test_live_allocations();
    const lilac_status found = lilac_mlp_load(context, file.path, &mlp);
    assert_string_equal(lilac_context_message(context), expected);
    assert_int_equal(found, status);
    assert_ptr_equal(mlp, untouched);
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
                            "not an MLP model file: metadata \"format\" is missing, expected \"lilac.mlp\"");
    expect_metadata_refused("format", "lilac.lora", LILAC_ERROR_UNSUPPORTED,
                            "not an MLP model file: metadata \"format\" is \"lilac.lora\", expected \"lilac.mlp\"");
    expect_metadata_refused("format_version", NULL, LILAC_ERROR_FORMAT, "the metadata lacks \"format_version\"");
    expect_metadata_refused("format_version", "2", LILAC_ERROR_UNSUPPORTED,
                            "format version \"2\", this program reads \"1\"");
}

static void test_refuses_bad_dropout(void **state) {
    (void)state;
    expect_metadata_refused("dropout", NULL, LILAC_ERROR_FORMAT, "metadata \"dropout\" is missing, expected a number");
    static const char *const values[] = {"", "half", "0.5x", " 0.5", "0,5", "nan", "inf", "0x1p-1", "1e999"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char message[100];
        snprintf(message, sizeof message, "metadata \"dropout\" is \"%s\", expected a number", values[i]);
        expect_metadata_refused("dropout", values[i], LILAC_ERROR_FORMAT, message);
    }
    expect_metadata_refused("dropout", "1", LILAC_ERROR_FORMAT, "mlp: dropout probability 1, expected 0 <= p < 1");
    expect_metadata_refused("dropout", "-0.5", LILAC_ERROR_FORMAT,
                            "mlp: dropout probability -0.5, expected 0 <= p < 1");
}

static void test_refuses_bad_seed(void **state) {
    (void)state;
    expect_metadata_refused("seed", NULL, LILAC_ERROR_FORMAT, "metadata \"seed\" is missing, expected a whole number");
    static const char *const values[] = {"", "x", "1x", "-1", "+1", " 1", "1.0", "0x1", "18446744073709551616"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char message[100];
        snprintf(message, sizeof message, "metadata \"seed\" is \"%s\", expected a whole number", values[i]);
        expect_metadata_refused("seed", values[i], LILAC_ERROR_FORMAT, message);
    }
}

static void test_refuses_missing_tensors(void **state) {
    (void)state;
    static const char *const names[] = {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"};
    for (size_t i = 0; i < 4; i++) {
        expect_tensor_refused((file_tensor){names[i], -1, {0}}, LILAC_ERROR_FORMAT,
                              "3 tensors, expected two for each of 1 to 16 layers");
        char message[100];
        const tensor_file without = tensor_file_with_tensor(&valid, (file_tensor){names[i], -1, {0}});
        const tensor_file other = tensor_file_with_tensor(&without, (file_tensor){"other", 2, {3, 4}});
        snprintf(message, sizeof message, "tensor \"%s\" is missing", names[i]);
        expect_refused(&other, LILAC_ERROR_FORMAT, message);
    }
    tensor_file none = valid;
    none.tensors[0].name = NULL;
    expect_refused(&none, LILAC_ERROR_FORMAT, "0 tensors, expected two for each of 1 to 16 layers");
    tensor_file many = valid;
    char many_names[LILAC_MLP_MAX_LAYERS + 1][2][32];
    for (size_t l = 0; l <= LILAC_MLP_MAX_LAYERS; l++) {
        snprintf(many_names[l][0], sizeof many_names[l][0], "layers.%zu.weight", l);
        snprintf(many_names[l][1], sizeof many_names[l][1], "layers.%zu.bias", l);
        many.tensors[2 * l] = (file_tensor){many_names[l][0], 2, {1, 1}};
        many.tensors[2 * l + 1] = (file_tensor){many_names[l][1], 1, {1}};
    }
    expect_refused(&many, LILAC_ERROR_FORMAT, "34 tensors, expected two for each of 1 to 16 layers");
}

static void test_refuses_shapes_that_do_not_chain(void **state) {
    (void)state;
    expect_tensor_refused((file_tensor){"layers.1.weight", 2, {2, 4}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.1.weight\" has 4 inputs, the layer before 3 outputs");
    expect_tensor_refused((file_tensor){"layers.0.weight", 2, {4, 4}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.1.weight\" has 3 inputs, the layer before 4 outputs");
    expect_tensor_refused((file_tensor){"layers.0.weight", 1, {3}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.0.weight\" has 1 dimensions, expected 2");
    expect_tensor_refused((file_tensor){"layers.0.weight", 3, {3, 4, 1}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.0.weight\" has 3 dimensions, expected 2");
    expect_tensor_refused((file_tensor){"layers.0.bias", 1, {4}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.0.bias\": expected shape (3,), found (4,)");
    expect_tensor_refused((file_tensor){"layers.1.bias", 2, {2, 1}}, LILAC_ERROR_SHAPE,
                          "tensor \"layers.1.bias\": expected shape (2,), found (2, 1)");
}

static void test_refuses_impossible_sizes(void **state) {
    (void)state;
    expect_tensor_refused((file_tensor){"layers.0.weight", 2, {3, 0}}, LILAC_ERROR_FORMAT,
                          "mlp: size 0 is 0, expected at least 1");
    const tensor_file wide = tensor_file_with_tensor(&valid, (file_tensor){"layers.1.weight", 2, {257, 3}});
    expect_refused(&wide, LILAC_ERROR_FORMAT, "mlp: 257 classes, expected at most 256");
}

static void test_refuses_what_is_no_file_of_tensors(void **state) {
    (void)state;
    lilac_mlp *mlp = untouched;
    char message[200];
    assert_int_equal(lilac_mlp_load(context, file.path, &mlp), LILAC_ERROR_NOT_FOUND);
    snprintf(message, sizeof message, "%s: cannot open: No such file or directory", file.path);
    assert_string_equal(lilac_context_message(context), message);
    assert_int_equal(lilac_mlp_load(context, file.folder, &mlp), LILAC_ERROR_UNSUPPORTED);
    FILE *text = fopen(file.path, "w");
    assert_non_null(text);
    fputs("not a model", text);
    fclose(text);
    assert_int_equal(lilac_mlp_load(context, file.path, &mlp), LILAC_ERROR_MAGIC);
    assert_ptr_equal(mlp, untouched);
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    lilac_mlp *mlp = create_mlp(), *loaded = untouched;
    assert_int_equal(lilac_mlp_save(NULL, mlp, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_save(context, NULL, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_save(context, mlp, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_load(NULL, file.path, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_load(context, NULL, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_load(context, file.path, NULL), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(loaded, untouched);
    lilac_mlp_destroy(mlp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_number_of_layers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locale_with_comma, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_valid_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_formats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_dropout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_seed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_missing_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_shapes_that_do_not_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_impossible_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_what_is_no_file_of_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_null_pointers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
