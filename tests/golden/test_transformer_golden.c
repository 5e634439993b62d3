/* SPDX-License-Identifier: MIT */
/*
 * Transformers against the runs of another implementation, in double precision: outputs, losses, the gradients of all
 * weights and ten steps of training, at every cpu level. make_transformer_golden.py made the files.
 */
#include <lilac/transformer.h>

#include "format/safetensors.h"
#include "model/transformer_pass.h"
#include "nn/optimiser.h"
#include "support/levels.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/*
 * Errors that are allowed, in units of a tensor's largest number: a few times those of f32, which are printed. Training
 * without weight decay, or with a beta that is 1% off, changes the losses by more than is allowed here.
 */
#define OUTPUT_ERROR 2e-6
#define GRADIENT_ERROR 2e-5

typedef struct golden_run {
    const char *name;
    lilac_context *context;
    lilac_transformer *model;
    lilac_safetensors_file *file;
    size_t B, N, O;
    const uint8_t *tokens; /* B x (N + 1) */
    lilac_transformer_pass *pass;
} golden_run;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

static void path_of(const char *name, const char *kind, char path[1024]) {
    assert_true(snprintf(path, 1024, "%s/%s_%s.safetensors", GOLDEN_FOLDER, name, kind) < 1024);
}

static golden_run open_run(const char *name, lilac_context *context) {
    golden_run run = {.name = name, .context = context};
    char path[1024];
    path_of(name, "model", path);
    assert_int_equal(lilac_transformer_load(run.context, path, &run.model), LILAC_OK);
    path_of(name, "run", path);
    assert_int_equal(lilac_safetensors_open(run.context, path, &run.file), LILAC_OK);
    const lilac_safetensors_tensor *tokens = lilac_safetensors_find(run.file, "tokens");
    assert_non_null(tokens);
    assert_int_equal(tokens->dtype, LILAC_SAFETENSORS_U8);
    assert_int_equal(tokens->rank, 2);
    run.B = tokens->shape[0];
    run.N = tokens->shape[1] - 1;
    run.O = lilac_transformer_output_size(lilac_transformer_get_config(run.model));
    run.tokens = tokens->data;
    const lilac_transformer_pass_config pass = {.B = run.B, .N = run.N, .backward = true};
    assert_int_equal(lilac_transformer_pass_create(run.context, run.model, &pass, &run.pass), LILAC_OK);
    return run;
}

static void close_run(golden_run *run) {
    lilac_transformer_pass_destroy(run->pass);
    lilac_safetensors_close(run->file);
    lilac_transformer_destroy(run->model);
}

static double largest_of(size_t count, const float *x) {
    double largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(x[i]));
    }
    return largest;
}

/* The largest error of a tensor in units of its largest number or, where the numbers are nothing but rounding, of
 * `otherwise`; within what is allowed. */
static double expect_close(const golden_run *run, const char *name, int rank, const size_t *shape, const float *found,
                           double otherwise, double allowed) {
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        count *= shape[i];
    }
    float *expected = allocate(count, sizeof *expected);
    assert_int_equal(lilac_safetensors_read_f32(run->context, run->file, name, rank, shape, expected), LILAC_OK);
    const double largest = largest_of(count, expected);
    double difference = 0.0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(found[i]));
        difference = fmax(difference, fabs((double)found[i] - (double)expected[i]));
    }
    const double error = difference / (largest > 1e-10 ? largest : otherwise);
    if (!(error <= allowed)) {
        print_message("# %s: %s is off by %g of its largest number, %g\n", run->name, name, error, largest);
    }
    assert_true(error <= allowed);
    free(expected);
    return error;
}

/* The public forward pass, which takes rows of N tokens. */
static double check_inference(const golden_run *run) {
    uint8_t *tokens = allocate(run->B * run->N, 1);
    for (size_t b = 0; b < run->B; b++) {
        memcpy(tokens + b * run->N, run->tokens + b * (run->N + 1), run->N);
    }
    size_t bytes;
    assert_int_equal(lilac_transformer_workspace_size(run->context, run->model, NULL, run->B, run->N, &bytes),
                     LILAC_OK);
    void *workspace = allocate(bytes, 1);
    float *outputs = allocate(run->B * run->N * run->O, sizeof *outputs);
    assert_int_equal(
        lilac_transformer_forward(run->context, run->model, NULL, run->B, run->N, tokens, outputs, workspace, bytes),
        LILAC_OK);
    const size_t shape[] = {run->B, run->N, run->O};
    const double error = expect_close(run, "outputs", 3, shape, outputs, 0.0, OUTPUT_ERROR);
    free(outputs);
    free(workspace);
    free(tokens);
    return error;
}

/* A forward and a backward pass: the losses (B x N), and the gradient of their mean. */
static void compute(const golden_run *run, float *losses, float *gradient) {
    const float *outputs;
    const float scale = 1.0f / (float)(run->B * run->N);
    const size_t stride = run->N + 1;
    assert_int_equal(
        lilac_transformer_pass_forward(run->context, run->pass, run->B, run->tokens, stride, NULL, &outputs), LILAC_OK);
    lilac_transformer_pass_loss(run->context, run->pass, run->tokens, stride, scale, losses);
    memset(gradient, 0, lilac_transformer_parameter_count(run->model) * sizeof *gradient);
    assert_int_equal(lilac_transformer_pass_backward(run->context, run->pass, gradient), LILAC_OK);
}

static double check_gradients(const golden_run *run, const float *gradient) {
    /* A bias of the keys moves all scores of a query alike, which softmax does not see: its gradient is 0. */
    const double largest = largest_of(lilac_transformer_parameter_count(run->model), gradient);
    double error = 0.0;
    for (size_t i = 0; i < lilac_transformer_tensor_count(run->model); i++) {
        const lilac_transformer_tensor tensor = lilac_transformer_get_tensor(run->model, i);
        const size_t shape[] = {tensor.rows, tensor.cols};
        char name[sizeof tensor.name + sizeof "gradient."];
        snprintf(name, sizeof name, "gradient.%s", tensor.name);
        error = fmax(error, expect_close(run, name, tensor.cols > 0 ? 2 : 1, shape, gradient + tensor.offset, largest,
                                         GRADIENT_ERROR));
    }
    return error;
}

static double check_training(const golden_run *run, float *losses, float *gradient) {
    const lilac_optimiser_config config = {
        .kind = LILAC_OPTIMISER_ADAMW, .weight_decay = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    const size_t count = lilac_transformer_parameter_count(run->model);
    lilac_optimiser optimiser;
    assert_int_equal(lilac_optimiser_create(run->context, &config, count, &optimiser), LILAC_OK);
    float means[10];
    const size_t steps = sizeof means / sizeof *means;
    for (size_t step = 0; step < steps; step++) {
        compute(run, losses, gradient);
        double sum = 0.0;
        for (size_t i = 0; i < run->B * run->N; i++) {
            sum += losses[i];
        }
        means[step] = (float)(sum / (double)(run->B * run->N));
        assert_int_equal(lilac_optimiser_update(run->context, &optimiser, 1e-3, 1.0, gradient,
                                                lilac_transformer_parameters(run->model)),
                         LILAC_OK);
        lilac_transformer_pass_update(run->context, run->pass);
    }
    lilac_optimiser_destroy(&optimiser);
    return expect_close(run, "training_losses", 1, &steps, means, 0.0, OUTPUT_ERROR);
}

static void check_run(const char *name, lilac_context *context) {
    golden_run run = open_run(name, context);
    const size_t shape[] = {run.B, run.N, run.O};
    float *losses = allocate(run.B * run.N, sizeof *losses);
    float *gradient = allocate(lilac_transformer_parameter_count(run.model), sizeof *gradient);
    const float *outputs;
    const double inference = check_inference(&run);
    assert_int_equal(
        lilac_transformer_pass_forward(run.context, run.pass, run.B, run.tokens, run.N + 1, NULL, &outputs), LILAC_OK);
    const double training_outputs = expect_close(&run, "outputs", 3, shape, outputs, 0.0, OUTPUT_ERROR);
    compute(&run, losses, gradient);
    const double losses_error = expect_close(&run, "losses", 2, shape, losses, 0.0, OUTPUT_ERROR);
    const double gradients = check_gradients(&run, gradient);
    const double training = check_training(&run, losses, gradient);
    print_message("# %s, %s: outputs %.1e, losses %.1e, gradients %.1e, losses of ten steps %.1e\n", name,
                  lilac_cpu_level_name(lilac_context_cpu_level(context)), fmax(inference, training_outputs),
                  losses_error, gradients, training);
    free(gradient);
    free(losses);
    close_run(&run);
}

static void check_at_every_level(const char *name) {
    for (int level = 0; level < lilac_test_levels(); level++) {
        check_run(name, lilac_test_context(level, 2));
    }
}

static void test_linear_attention(void **state) {
    (void)state;
    check_at_every_level("linear");
}

static void test_softmax_attention(void **state) {
    (void)state;
    check_at_every_level("softmax");
}

static void test_categorical_with_pre_norm_and_gelu(void **state) {
    (void)state;
    check_at_every_level("categorical");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear_attention),
        cmocka_unit_test(test_softmax_attention),
        cmocka_unit_test(test_categorical_with_pre_norm_and_gelu),
    };
    return cmocka_run_group_tests(tests, lilac_test_levels_set_up, lilac_test_levels_tear_down);
}
