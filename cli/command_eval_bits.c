/* SPDX-License-Identifier: MIT */
/* lilac eval bits: how well a transformer predicts. */
#include "evaluation.h"
#include "files.h"
#include "training.h"

#include "core/memory.h"
#include "runtime/context.h"
#include "runtime/file.h"

#include <stdio.h>

typedef struct eval_settings {
    const char *model, *adapter, *bytes;
    int variant, precision;
} eval_settings;

static const lilac_option options[] = {
    {.name = "model",
     .letter = 'm',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(eval_settings, model),
     .value = "FILE",
     .help = "the model",
     .required = true},
    {.name = "adapter",
     .letter = 'a',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(eval_settings, adapter),
     .value = "FILE",
     .help = "an adapter of that model to evaluate it with"},
    {.name = "variant",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(eval_settings, variant),
     .help = "the form of the images; mnist and plain are as they are",
     .initial = "mnist",
     .choices = lilac_variant_choices,
     .without = "bytes"},
    {.name = "bytes",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(eval_settings, bytes),
     .value = "FILE",
     .help = "evaluate the bytes of this file instead"},
    {.name = "precision",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(eval_settings, precision),
     .help = "precision of matrix products; bf16 and f16 are f32 where the processor lacks them",
     .initial = "f32",
     .choices = lilac_precision_choices},
};

static lilac_status evaluate(lilac_session *session, const eval_settings *settings, const lilac_transformer *model,
                             const lilac_adapter *adapter, const lilac_token_source *source) {
    lilac_token_evaluation evaluation;
    const lilac_status status = lilac_evaluate_transformer(session->context, model, adapter, source,
                                                           (lilac_precision)settings->precision, &evaluation);
    if (status == LILAC_ERROR_NOT_FINITE) {
        lilac_evaluation_not_finite(session, settings->adapter != NULL ? settings->adapter : settings->model);
    }
    LILAC_TRY(status);
    lilac_progress_bar_clear(&session->bar);
    printf("%.4f bits a %s (%.4f nats) over %llu tokens in %s\n", evaluation.bits,
           lilac_bits_unit(settings->bytes != NULL), evaluation.loss, (unsigned long long)evaluation.tokens,
           lilac_precision_name(evaluation.precision));
    return LILAC_OK;
}

static lilac_status evaluate_bytes(lilac_session *session, const eval_settings *settings,
                                   const lilac_transformer *model, const lilac_adapter *adapter) {
    lilac_token_source source = {0};
    unsigned char *bytes;
    LILAC_TRY(lilac_file_read(session->context, settings->bytes, UINT32_MAX, &bytes, &source.byte_count));
    if (source.byte_count < 2) {
        lilac_memory_free(bytes);
        return lilac_session_usage_error(session, "--bytes: %s has %zu bytes, expected at least 2", settings->bytes,
                                         source.byte_count);
    }
    source.bytes = bytes;
    const lilac_status status = evaluate(session, settings, model, adapter, &source);
    lilac_memory_free(bytes);
    return status;
}

static lilac_status evaluate_images(lilac_session *session, const eval_settings *settings,
                                    const lilac_transformer *model, const lilac_adapter *adapter) {
    lilac_dataset *images;
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TEST, &images));
    lilac_data_view view = lilac_data_view_all(images, (lilac_variant)settings->variant);
    if (session->common.test_images > 0) {
        view.count = lilac_size_min(view.count, (size_t)session->common.test_images);
    }
    const lilac_token_source source = {.images = &view};
    const lilac_status status = evaluate(session, settings, model, adapter, &source);
    lilac_dataset_destroy(images);
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const eval_settings *settings = values;
    lilac_transformer *model;
    lilac_adapter *adapter = NULL;
    LILAC_TRY(lilac_transformer_load(session->context, settings->model, &model));
    lilac_status status = LILAC_OK;
    if (settings->adapter != NULL) {
        status = lilac_transformer_adapter_load(session->context, model, settings->adapter, &adapter);
    }
    if (adapter != NULL) {
        status = lilac_adapter_set_strength(adapter, session->common.strength);
    }
    if (status == LILAC_OK) {
        status = settings->bytes != NULL ? evaluate_bytes(session, settings, model, adapter)
                                         : evaluate_images(session, settings, model, adapter);
    }
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
    return status;
}

const lilac_command lilac_command_eval_bits = {
    .name = "eval bits",
    .summary = "measure how well a transformer predicts images or the bytes of a file",
    .description = "Prints the mean of -log2 p over all pixels but the first of the test images, p being the "
                   "probability that the model gave to the value that the pixel has: bits a dimension. With --bytes "
                   "the same over the bytes of a file, in windows of the model's length.",
    .example = "lilac eval bits --model models/linear.safetensors --images 1000\n"
               "lilac eval bits --model book.safetensors --bytes another-book.txt\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(eval_settings),
    .takes = LILAC_TAKES_TEST_IMAGES | LILAC_TAKES_STRENGTH | LILAC_TAKES_DATA | LILAC_TAKES_COMPUTE,
    .run = run,
};
