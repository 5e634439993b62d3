/* SPDX-License-Identifier: MIT */
/* Tests the trained transformers in models/: their settings, their cards, and that both ways to compute them agree on
 * real images. Usage: test_shipped_models, with LILAC_DATA in the environment or MNIST in the clone's data/mnist. */
#include <lilac/lilac.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

/* Sums over 783 tokens and eight layers in another order; of the largest output. */
#define ALLOWED 1e-4

enum { IMAGES = 2, PATH_SIZE = 1024 };

static const char *const names[] = {[LILAC_TRANSFORMER_LINEAR] = "linear", [LILAC_TRANSFORMER_SOFTMAX] = "softmax"};
enum { MODELS = sizeof names / sizeof names[0] };

static void path_of(int model, const char *extension, char path[PATH_SIZE]) {
    assert_true(snprintf(path, PATH_SIZE, "%s/models/%s.%s", SOURCE_FOLDER, names[model], extension) < PATH_SIZE);
}

static lilac_transformer *load(lilac_context *context, int model) {
    char path[PATH_SIZE];
    lilac_transformer *loaded = NULL;
    path_of(model, "safetensors", path);
    assert_int_equal(lilac_transformer_load(context, path, &loaded), LILAC_OK);
    return loaded;
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

/* The sizes are the report's; their output layer is not, see docs/training.md. */
static void test_settings(void **state) {
    for (int model = 0; model < MODELS; model++) {
        lilac_transformer *loaded = load(*state, model);
        const lilac_transformer_config *config = lilac_transformer_get_config(loaded);
        lilac_transformer_config expected;
        lilac_transformer_config_default(&expected);
        assert_int_equal(config->attention, model);
        assert_int_equal(config->length, expected.length);
        assert_int_equal(config->layers, expected.layers);
        assert_int_equal(config->heads, expected.heads);
        assert_int_equal(config->head_size, expected.head_size);
        assert_int_equal(config->feed_forward, expected.feed_forward);
        assert_int_equal(config->value_width, expected.value_width);
        assert_int_equal(config->position_width, expected.position_width);
        assert_int_equal(config->output, LILAC_TRANSFORMER_CATEGORICAL);
        const float *parameters = lilac_transformer_parameters(loaded);
        for (size_t i = 0; i < lilac_transformer_parameter_count(loaded); i++) {
            assert_true(isfinite(parameters[i]));
        }
        lilac_transformer_destroy(loaded);
    }
}

static void test_cards(void **state) {
    (void)state;
    for (int model = 0; model < MODELS; model++) {
        char path[PATH_SIZE], text[8192] = "", expected[64];
        path_of(model, "json", path);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_in_range(fread(text, 1, sizeof text - 1, file), 1, sizeof text - 2);
        fclose(file);
        cJSON *card = cJSON_Parse(text);
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(card, "model");
        snprintf(expected, sizeof expected, "%s.safetensors", names[model]);
        assert_true(cJSON_IsString(name));
        assert_string_equal(name->valuestring, expected);
        cJSON_Delete(card);
    }
}

static lilac_dataset *load_images(lilac_context *context) {
    const char *named = getenv("LILAC_DATA");
    lilac_dataset *dataset = NULL;
    const char *folder = named != NULL && named[0] != '\0' ? named : SOURCE_FOLDER "/data/mnist";
    const lilac_status status = lilac_dataset_load_mnist(context, folder, LILAC_MNIST_TEST, &dataset);
    if (status == LILAC_ERROR_NOT_FOUND) {
        print_message("# SKIP: %s\n", lilac_context_message(context));
        skip();
    }
    assert_int_equal(status, LILAC_OK);
    return dataset;
}

/* The outputs (IMAGES x N x O) of the parallel form. */
static float *all_at_once(lilac_context *context, const lilac_transformer *model, const uint8_t *tokens, size_t N,
                          size_t O) {
    size_t bytes;
    assert_int_equal(lilac_transformer_workspace_size(context, model, NULL, IMAGES, N, &bytes), LILAC_OK);
    float *outputs = allocate(IMAGES * N * O, sizeof *outputs);
    void *workspace = allocate(bytes, 1);
    assert_int_equal(lilac_transformer_forward(context, model, NULL, IMAGES, N, tokens, outputs, workspace, bytes),
                     LILAC_OK);
    free(workspace);
    return outputs;
}

/* The largest difference of outputs from what steps give, in units of the largest output. */
static double compare_steps(lilac_context *context, const lilac_transformer *model, const uint8_t *tokens, size_t N,
                            size_t O, const float *outputs) {
    lilac_transformer_state_config config;
    lilac_transformer_state_config_default(&config);
    config.batch = IMAGES;
    lilac_transformer_state *steps = NULL;
    assert_int_equal(lilac_transformer_state_create(context, model, &config, &steps), LILAC_OK);
    float *step = allocate(IMAGES * O, sizeof *step);
    double largest = 0.0, difference = 0.0;
    for (size_t t = 0; t < N; t++) {
        uint8_t now[IMAGES];
        for (size_t b = 0; b < IMAGES; b++) {
            now[b] = tokens[b * N + t];
        }
        assert_int_equal(lilac_transformer_state_step(context, steps, now, step), LILAC_OK);
        for (size_t i = 0; i < IMAGES * O; i++) {
            const double expected = outputs[(i / O * N + t) * O + i % O];
            assert_true(isfinite(step[i]) && isfinite(expected));
            largest = fmax(largest, fabs(expected));
            difference = fmax(difference, fabs((double)step[i] - expected));
        }
    }
    free(step);
    lilac_transformer_state_destroy(steps);
    assert_true(largest > 0.0);
    return difference / largest;
}

static void test_steps_on_images(void **state) {
    lilac_context *context = *state;
    lilac_dataset *images = load_images(context);
    for (int model = 0; model < MODELS; model++) {
        lilac_transformer *loaded = load(context, model);
        const lilac_transformer_config *config = lilac_transformer_get_config(loaded);
        const size_t N = config->length, O = lilac_transformer_output_size(config);
        const lilac_dataset_shape shape = lilac_dataset_get_shape(images);
        assert_int_equal(N, shape.rows * shape.cols - 1);
        uint8_t *tokens = allocate(IMAGES * N, 1);
        for (size_t b = 0; b < IMAGES; b++) {
            memcpy(tokens + b * N, lilac_dataset_image(images, b), N);
        }
        float *outputs = all_at_once(context, loaded, tokens, N, O);
        const double error = compare_steps(context, loaded, tokens, N, O, outputs);
        print_message("# %s: steps differ by %.2g of the largest output\n", names[model], error);
        assert_true(error <= ALLOWED);
        free(outputs);
        free(tokens);
        lilac_transformer_destroy(loaded);
    }
    lilac_dataset_destroy(images);
}

static int create(void **state) {
    lilac_context *context = NULL;
    lilac_context_config config;
    lilac_context_config_default(&config);
    /* Steps are short: where other work takes the cores, two threads wait for each other at each of them. */
    config.threads = 1;
    const lilac_status status = lilac_context_create(&config, &context);
    *state = context;
    return status != LILAC_OK;
}

static int destroy(void **state) {
    lilac_context_destroy(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_cards),
        cmocka_unit_test(test_steps_on_images),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
