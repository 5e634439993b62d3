/* SPDX-License-Identifier: MIT */
/* Tests of adapter files: what is in them, round trips, refusal of other bases and whatever is malformed. */
#include "format/safetensors.h"
#include "support/comma_locale.h"
#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/numbers.h"
#include "support/temporary_file.h"
#include "support/tensor_file.h"

#include <lilac/lora.h>
#include <lilac/mlp.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { LAYERS = 2, RANK = 2, COUNT = RANK * (4 + 3) + RANK * (3 + 5) };

static temporary_file file;
static lilac_adapter *const untouched = (lilac_adapter *)(uintptr_t)0x5a;

/* Their order is not that of their names. */
static const lilac_linear_layer layers[LAYERS] = {{"query", 4, 3, NULL}, {"key", 3, 5, NULL}};
static lilac_lora_base base = {.layers = layers, .layer_count = LAYERS};
static const char hash_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static int set_up(void **state) {
    for (size_t i = 0; i < LILAC_HASH_SIZE; i++) {
        base.hash[i] = (uint8_t)i;
    }
    temporary_file_create(&file);
    return context_set_up(state);
}

static int tear_down(void **state) {
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

static lilac_lora_config config_of(double alpha, lilac_lora_scale_rule rule, lilac_lora_initialisation initialisation) {
    return (lilac_lora_config){
        .rank = RANK, .alpha = alpha, .scale_rule = rule, .initialisation = initialisation, .seed = 9};
}

/* An adapter with numbers in A and B. */
static lilac_adapter *create_adapter(const lilac_lora_config *config) {
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, config, &base, &adapter), LILAC_OK);
    assert_int_equal(lilac_adapter_parameter_count(adapter), COUNT);
    lilac_test_uniform(0, COUNT, -1, 1, lilac_adapter_parameters(adapter));
    lilac_adapter_parameters(adapter)[0] = -0.0f;
    lilac_adapter_parameters(adapter)[COUNT - 1] = 1e-45f;
    return adapter;
}

static lilac_adapter *create_usual(void) {
    const lilac_lora_config config =
        config_of(0.1, LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK, LILAC_LORA_INITIALISE_REPORT);
    return create_adapter(&config);
}

static void expect_equal(lilac_adapter *expected, lilac_adapter *found) {
    const lilac_lora_config *a = lilac_adapter_config(expected), *b = lilac_adapter_config(found);
    assert_int_equal(b->rank, a->rank);
    assert_memory_equal(&b->alpha, &a->alpha, sizeof a->alpha);
    assert_int_equal(b->scale_rule, a->scale_rule);
    assert_int_equal(b->initialisation, a->initialisation);
    assert_memory_equal(lilac_adapter_base_hash(found), lilac_adapter_base_hash(expected), LILAC_HASH_SIZE);
    assert_int_equal(lilac_adapter_layer_count(found), LAYERS);
    for (size_t i = 0; i < LAYERS; i++) {
        const lilac_linear_layer layer = lilac_adapter_layer(found, i);
        assert_string_equal(layer.name, layers[i].name);
        assert_int_equal(layer.in, layers[i].in);
        assert_int_equal(layer.out, layers[i].out);
    }
    assert_memory_equal(lilac_adapter_parameters(found), lilac_adapter_parameters(expected), COUNT * sizeof(float));
}

static void expect_file_holds(lilac_adapter *adapter) {
    lilac_adapter *loaded = NULL;
    assert_int_equal(lilac_adapter_load(context, file.path, &base, &loaded), LILAC_OK);
    expect_equal(adapter, loaded);
    lilac_adapter_destroy(loaded);
}

static void test_round_trip(void **state) {
    (void)state;
    static const double alphas[] = {0.1, 1, -1e-300, 3e38, 0.30000000000000004};
    for (int i = 0; i < 5 * 3 * 2; i++) {
        const lilac_lora_config config =
            config_of(alphas[i % 5], (lilac_lora_scale_rule)(i % 3), (lilac_lora_initialisation)(i % 2));
        lilac_adapter *adapter = create_adapter(&config), *loaded = NULL;
        /* The strength is not stored. */
        assert_int_equal(lilac_adapter_set_strength(adapter, 0.5), LILAC_OK);
        assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_OK);
        expect_file_holds(adapter);
        assert_int_equal(lilac_adapter_load(context, file.path, NULL, &loaded), LILAC_OK);
        expect_equal(adapter, loaded);
        assert_true(lilac_adapter_scale(loaded) == 2 * lilac_adapter_scale(adapter));
        assert_int_equal(lilac_adapter_config(loaded)->seed, 0);
        lilac_adapter_destroy(loaded);
        lilac_adapter_destroy(adapter);
    }
}

static void expect_tensor(const lilac_safetensors_file *opened, const char *name, size_t rows, size_t cols,
                          const float *values) {
    const lilac_safetensors_tensor *tensor = lilac_safetensors_find(opened, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, LILAC_SAFETENSORS_F32);
    assert_int_equal(tensor->rank, 2);
    assert_int_equal(tensor->shape[0], rows);
    assert_int_equal(tensor->shape[1], cols);
    assert_memory_equal(tensor->data, values, tensor->bytes);
}

/* A is r x in and B out x r, as other programs store them, though B is held transposed in memory. */
static void test_content(void **state) {
    (void)state;
    lilac_adapter *adapter = create_usual();
    lilac_safetensors_file *opened = NULL;
    assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_OK);
    assert_int_equal(lilac_safetensors_open(context, file.path, &opened), LILAC_OK);
    static const char *const metadata[][2] = {{"format", "lilac.lora"},
                                              {"format_version", "1"},
                                              {"rank", "2"},
                                              {"alpha", "0.10000000000000001"},
                                              {"scale_rule", "alpha/sqrt(r)"},
                                              {"initialisation", "report"},
                                              {"base_sha256", hash_text},
                                              {"layer.0", "query"},
                                              {"layer.1", "key"}};
    for (size_t i = 0; i < sizeof metadata / sizeof metadata[0]; i++) {
        assert_string_equal(lilac_safetensors_metadata(opened, metadata[i][0]), metadata[i][1]);
    }
    assert_null(lilac_safetensors_metadata(opened, "layer.2"));
    assert_int_equal(lilac_safetensors_count(opened), 4);
    const float *p = lilac_adapter_parameters(adapter);
    expect_tensor(opened, "query.lora_A.weight", 2, 4, p);
    expect_tensor(opened, "query.lora_B.weight", 3, 2, (float[]){p[8], p[11], p[9], p[12], p[10], p[13]});
    expect_tensor(opened, "key.lora_A.weight", 2, 3, p + 14);
    expect_tensor(opened, "key.lora_B.weight", 5, 2,
                  (float[]){p[20], p[25], p[21], p[26], p[22], p[27], p[23], p[28], p[24], p[29]});
    lilac_safetensors_close(opened);
    lilac_adapter_destroy(adapter);
}

static void test_locale_with_comma(void **state) {
    (void)state;
    lilac_adapter *adapter = create_usual(), *loaded = NULL;
    if (!comma_locale_set()) {
        lilac_adapter_destroy(adapter);
        skip();
    }
    const lilac_status saved = lilac_adapter_save(context, adapter, file.path);
    const lilac_status status = lilac_adapter_load(context, file.path, &base, &loaded);
    comma_locale_reset();
    assert_int_equal(saved, LILAC_OK);
    assert_int_equal(status, LILAC_OK);
    expect_equal(adapter, loaded);
    expect_file_holds(adapter);
    lilac_adapter_destroy(loaded);
    lilac_adapter_destroy(adapter);
}

/* Through a model: the adapter goes with exactly that model's weights. */
static void test_belongs_to_its_model(void **state) {
    (void)state;
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {4, 3, 2}, .seed = 1};
    lilac_mlp *mlp = NULL;
    assert_int_equal(lilac_mlp_create(context, &config, &mlp), LILAC_OK);
    const lilac_lora_config lora = {.rank = 1, .alpha = 1};
    lilac_lora_base model = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL, *loaded = NULL;
    assert_int_equal(lilac_adapter_create(context, &lora, &model, &adapter), LILAC_OK);
    assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_OK);
    assert_int_equal(lilac_adapter_load(context, file.path, &model, &loaded), LILAC_OK);
    lilac_adapter_destroy(loaded);
    loaded = untouched;
    lilac_mlp_bias(mlp, 1)[1] += 0.5f;
    model = lilac_mlp_lora_base(mlp);
    assert_int_equal(lilac_adapter_load(context, file.path, &model, &loaded), LILAC_ERROR_BASE_MISMATCH);
    assert_ptr_equal(loaded, untouched);
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

/* message is what follows the path and a colon. */
static void expect_load_refused(const lilac_lora_base *for_base, lilac_status status, const char *message) {
    char expected[512];
    lilac_adapter *adapter = untouched;
    snprintf(expected, sizeof expected, "%s: %s", file.path, message);
    const size_t live = lilac_test_live_allocations();
    const lilac_status found = lilac_adapter_load(context, file.path, for_base, &adapter);
    assert_string_equal(lilac_context_message(context), expected);
    assert_int_equal(found, status);
    assert_ptr_equal(adapter, untouched);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_refuses_another_base(void **state) {
    (void)state;
    lilac_adapter *adapter = create_usual();
    assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_OK);
    lilac_lora_base other = base;
    other.hash[0] = 0xfe;
    other.hash[31] = 0;
    expect_load_refused(&other, LILAC_ERROR_BASE_MISMATCH,
                        "the adapter was made for the base with hash 0001020304050607..., this base has hash "
                        "fe01020304050607...");
    const lilac_linear_layer turned[LAYERS] = {layers[1], layers[0]};
    other = base;
    other.layers = turned;
    expect_load_refused(&other, LILAC_ERROR_BASE_MISMATCH,
                        "the adapter's layer 0 is query (3 x 4), this base's is key (5 x 3)");
    other.layer_count = 1;
    expect_load_refused(&other, LILAC_ERROR_BASE_MISMATCH, "the adapter has 2 layers, this base has 1");
    lilac_adapter_destroy(adapter);
}

/* An adapter file, but that its weights are 0. */
static const tensor_file valid = {.metadata = {{"format", "lilac.lora"},
                                               {"format_version", "1"},
                                               {"rank", "2"},
                                               {"alpha", "0.5"},
                                               {"scale_rule", "fixed"},
                                               {"initialisation", "standard"},
                                               {"base_sha256", hash_text},
                                               {"layer.0", "query"},
                                               {"layer.1", "key"}},
                                  .tensors = {{"query.lora_A.weight", 2, {2, 4}},
                                              {"query.lora_B.weight", 2, {3, 2}},
                                              {"key.lora_A.weight", 2, {2, 3}},
                                              {"key.lora_B.weight", 2, {5, 2}}}};

static void test_valid_file(void **state) {
    (void)state;
    const lilac_lora_config config = config_of(0.5, LILAC_LORA_SCALE_FIXED, LILAC_LORA_INITIALISE_STANDARD);
    lilac_adapter *expected = create_adapter(&config);
    memset(lilac_adapter_parameters(expected), 0, COUNT * sizeof(float));
    tensor_file_write(&valid, file.path);
    expect_file_holds(expected);
    lilac_adapter_destroy(expected);
}

static void expect_metadata_refused(const char *key, const char *value, lilac_status status, const char *message) {
    const tensor_file changed = tensor_file_with_metadata(&valid, key, value);
    tensor_file_write(&changed, file.path);
    expect_load_refused(NULL, status, message);
}

static void expect_tensor_refused(file_tensor tensor, lilac_status status, const char *message) {
    const tensor_file changed = tensor_file_with_tensor(&valid, tensor);
    tensor_file_write(&changed, file.path);
    expect_load_refused(NULL, status, message);
}

static void test_refuses_other_formats(void **state) {
    (void)state;
    expect_metadata_refused("format", NULL, LILAC_ERROR_UNSUPPORTED,
                            "not an adapter file: metadata \"format\" is missing, expected \"lilac.lora\"");
    expect_metadata_refused("format", "lilac.mlp", LILAC_ERROR_UNSUPPORTED,
                            "not an adapter file: metadata \"format\" is \"lilac.mlp\", expected \"lilac.lora\"");
    expect_metadata_refused("format_version", "2", LILAC_ERROR_UNSUPPORTED,
                            "format version \"2\", this program reads \"1\"");
}

static void test_refuses_missing_metadata(void **state) {
    (void)state;
    static const char *const keys[] = {"format_version", "rank",        "alpha",   "scale_rule",
                                       "initialisation", "base_sha256", "layer.0", "layer.1"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char message[100];
        snprintf(message, sizeof message, "the metadata lacks \"%s\"", keys[i]);
        expect_metadata_refused(keys[i], NULL, LILAC_ERROR_FORMAT, message);
    }
}

/* Each of the values must be refused with the same expectation. */
static void expect_values_refused(const char *key, const char *const *values, const char *expected) {
    for (; *values != NULL; values++) {
        char message[200];
        snprintf(message, sizeof message, "metadata \"%s\" is \"%s\", expected %s", key, *values, expected);
        expect_metadata_refused(key, *values, LILAC_ERROR_FORMAT, message);
    }
}

static void test_refuses_bad_values(void **state) {
    (void)state;
    expect_values_refused("rank",
                          (const char *const[]){"", "0", "-1", "+2", " 2", "2 ", "2.0", "0x2", "two", "2147483648",
                                                "18446744073709551618", NULL},
                          "a whole number from 1 to 2147483647");
    expect_values_refused(
        "alpha",
        (const char *const[]){"", "x", "0.5x", " 0.5", "0,5", "nan", "inf", "-infinity", "0x1p3", "1e999", NULL},
        "a finite number");
    expect_values_refused("scale_rule", (const char *const[]){"", "alpha", "Fixed", "alpha/r ", NULL},
                          "fixed, alpha/r or alpha/sqrt(r)");
    expect_values_refused("initialisation", (const char *const[]){"", "zero", NULL}, "standard or report");
    expect_values_refused("base_sha256",
                          (const char *const[]){"", "00", "000102030405060708090a0b0c0d0e0f1011121", NULL},
                          "64 hexadecimal digits");
}

/* All 64 digits must be digits; messages show the first 40 characters of a value. */
static void test_refuses_bad_hash_digits(void **state) {
    (void)state;
    for (size_t i = 0; i < 64; i++) {
        char text[65], message[200];
        strcpy(text, hash_text);
        text[i] = i % 2 == 0 ? 'g' : 'A';
        snprintf(message, sizeof message, "metadata \"base_sha256\" is \"%.40s\", expected 64 hexadecimal digits",
                 text);
        expect_metadata_refused("base_sha256", text, LILAC_ERROR_FORMAT, message);
    }
}

static void test_refuses_bad_layers(void **state) {
    (void)state;
    char long_name[97];
    memset(long_name, 'x', 96);
    long_name[96] = '\0';
    expect_metadata_refused("layer.1", "", LILAC_ERROR_FORMAT,
                            "metadata \"layer.1\" is \"\", expected a layer's name of 1 to 95 bytes");
    expect_metadata_refused("layer.1", long_name, LILAC_ERROR_FORMAT,
                            "metadata \"layer.1\" is \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\", expected a layer's "
                            "name of 1 to 95 bytes");
    expect_metadata_refused("layer.1", "value", LILAC_ERROR_FORMAT, "tensor \"value.lora_A.weight\" is missing");
    expect_metadata_refused("layer.1", "query", LILAC_ERROR_FORMAT, "adapter: two layers are named query");
    expect_metadata_refused("layer.2", "value", LILAC_ERROR_FORMAT,
                            "metadata \"layer.2\" is \"value\", expected none: there are tensors for 2 layers");
}

static void test_refuses_bad_tensors(void **state) {
    (void)state;
    static const char *const names[] = {"query.lora_A.weight", "query.lora_B.weight", "key.lora_A.weight",
                                        "key.lora_B.weight"};
    for (size_t i = 0; i < 4; i++) {
        char message[100];
        expect_tensor_refused((file_tensor){names[i], -1, {0}}, LILAC_ERROR_FORMAT,
                              "3 tensors, expected two for each layer");
        const tensor_file without = tensor_file_with_tensor(&valid, (file_tensor){names[i], -1, {0}});
        const tensor_file other = tensor_file_with_tensor(&without, (file_tensor){"other", 2, {2, 4}});
        tensor_file_write(&other, file.path);
        snprintf(message, sizeof message, "tensor \"%s\" is missing", names[i]);
        expect_load_refused(NULL, LILAC_ERROR_FORMAT, message);
    }
    tensor_file none = valid;
    none.tensors[0].name = NULL;
    tensor_file_write(&none, file.path);
    expect_load_refused(NULL, LILAC_ERROR_FORMAT, "0 tensors, expected two for each layer");
}

static void test_refuses_bad_shapes(void **state) {
    (void)state;
    static const struct {
        file_tensor tensor;
        const char *message;
    } cases[] = {
        {{"key.lora_A.weight", 2, {3, 3}}, "layer \"key\": A is 3 x 3 and B is 5 x 2, expected 2 x in and out x 2"},
        {{"key.lora_B.weight", 2, {2, 5}}, "layer \"key\": A is 2 x 3 and B is 2 x 5, expected 2 x in and out x 2"},
        {{"key.lora_A.weight", 2, {2, 0}}, "layer \"key\": A is 2 x 0 and B is 5 x 2, expected 2 x in and out x 2"},
        {{"key.lora_B.weight", 2, {0, 2}}, "layer \"key\": A is 2 x 3 and B is 0 x 2, expected 2 x in and out x 2"},
        {{"query.lora_A.weight", 1, {2}}, "tensor \"query.lora_A.weight\" has 1 dimensions, expected 2"},
        {{"query.lora_A.weight", 3, {2, 4, 1}}, "tensor \"query.lora_A.weight\" has 3 dimensions, expected 2"},
        {{"query.lora_B.weight", 3, {3, 2, 7}}, "tensor \"query.lora_B.weight\" has 3 dimensions, expected 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_tensor_refused(cases[i].tensor, LILAC_ERROR_SHAPE, cases[i].message);
    }
    expect_metadata_refused("rank", "3", LILAC_ERROR_SHAPE,
                            "layer \"query\": A is 2 x 4 and B is 3 x 2, expected 3 x in and out x 3");
}

static void test_refuses_what_is_no_file_of_tensors(void **state) {
    (void)state;
    expect_load_refused(&base, LILAC_ERROR_NOT_FOUND, "cannot open: No such file or directory");
    FILE *text = fopen(file.path, "w");
    assert_non_null(text);
    fputs("not a model", text);
    fclose(text);
    expect_load_refused(&base, LILAC_ERROR_MAGIC, "not a safetensors file: expected '{' at byte 8, got 0x64");
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    lilac_adapter *adapter = create_usual(), *loaded = untouched;
    assert_int_equal(lilac_adapter_save(NULL, adapter, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_save(context, NULL, file.path), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_save(context, adapter, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_load(NULL, file.path, &base, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_load(context, NULL, &base, &loaded), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_load(context, file.path, &base, NULL), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(loaded, untouched);
    lilac_adapter_destroy(adapter);
}

static void test_does_not_write_names_that_are_not_text(void **state) {
    (void)state;
    const lilac_linear_layer odd = {"\xff", 2, 2, NULL};
    const lilac_lora_base odd_base = {.layers = &odd, .layer_count = 1};
    const lilac_lora_config config = {.rank = 1, .alpha = 1};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &odd_base, &adapter), LILAC_OK);
    assert_int_equal(lilac_adapter_save(context, adapter, file.path), LILAC_ERROR_ARGUMENT);
    FILE *nothing = fopen(file.path, "r");
    assert_null(nothing);
    lilac_adapter_destroy(adapter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locale_with_comma, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_belongs_to_its_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_another_base, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_valid_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_other_formats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_missing_metadata, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_hash_digits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_layers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_bad_shapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_what_is_no_file_of_tensors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refuses_null_pointers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_does_not_write_names_that_are_not_text, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
