/* SPDX-License-Identifier: MIT */
/* How well a transformer predicts the tokens of a source. */
#include "train/token_losses.h"

#include "core/memory.h"

#include <math.h>

/* Sequences evaluated at a time: more would not fit the caches, fewer make small products. */
enum { EVALUATION_BATCH = 4 };

lilac_status lilac_token_buffers_create(lilac_context *context, size_t B, size_t N, lilac_token_buffers *out) {
    /* A pass over B x N tokens exists, so the products fit. */
    *out = (lilac_token_buffers){
        .B = B, .tokens = lilac_memory_allocate(B * (N + 1), 1), .losses = lilac_memory_allocate(B * N, sizeof(float))};
    if (out->tokens == NULL || out->losses == NULL) {
        return lilac_fail_memory(context, "the tokens of a pass", B * (N + 1) + B * N * sizeof(float));
    }
    return LILAC_OK;
}

void lilac_token_buffers_destroy(lilac_token_buffers *buffers) {
    lilac_memory_free(buffers->tokens);
    lilac_memory_free(buffers->losses);
}

/* Whether to try again in f32, which the config asks for then: where products in bf16 or f16 were refused. */
static bool falls_back(lilac_status status, lilac_transformer_pass_config *config) {
    if (status != LILAC_ERROR_UNSUPPORTED || config->precision == LILAC_PRECISION_F32) {
        return false;
    }
    config->precision = LILAC_PRECISION_F32;
    return true;
}

lilac_status lilac_token_pass_create(lilac_context *context, const lilac_transformer *model,
                                     lilac_transformer_pass_config *config, lilac_transformer_pass **out) {
    const lilac_status status = lilac_transformer_pass_create(context, model, config, out);
    return falls_back(status, config) ? lilac_transformer_pass_create(context, model, config, out) : status;
}

lilac_status lilac_token_pass_count(lilac_context *context, const lilac_transformer *model,
                                    lilac_transformer_pass_config *config, size_t *bytes) {
    const lilac_status status = lilac_transformer_pass_count(context, model, config, bytes);
    return falls_back(status, config) ? lilac_transformer_pass_count(context, model, config, bytes) : status;
}

lilac_status lilac_token_losses(lilac_context *context, lilac_transformer_pass *pass, const lilac_tokens *tokens,
                                const lilac_token_buffers *buffers, double *sum, uint64_t *count) {
    const size_t N = tokens->N, stride = N + 1;
    *sum = 0.0;
    *count = 0;
    for (size_t first = 0; first < tokens->count; first += buffers->B) {
        const size_t B = lilac_size_min(buffers->B, tokens->count - first);
        size_t seen = 0;
        for (size_t b = 0; b < B; b++) {
            /* Only the last sequence of all may have predictions that were counted before. */
            seen = lilac_tokens_sequence(tokens, first + b, buffers->tokens + b * stride);
        }
        const float *outputs;
        LILAC_TRY(lilac_transformer_pass_forward(context, pass, B, buffers->tokens, stride, NULL, &outputs));
        lilac_transformer_pass_loss(context, pass, buffers->tokens, stride, 1.0f, buffers->losses);
        for (size_t i = 0; i < B * N; i++) {
            *sum += i >= (B - 1) * N && i < (B - 1) * N + seen ? 0.0 : (double)buffers->losses[i];
        }
        *count += B * N - seen;
        LILAC_TRY(lilac_report_progress(context, "evaluating", first + B, tokens->count));
    }
    return LILAC_OK;
}

static lilac_status evaluate(lilac_context *context, const lilac_transformer *model, const lilac_adapter *adapter,
                             const lilac_tokens *tokens, lilac_precision precision, lilac_token_evaluation *out) {
    lilac_transformer_pass_config config = {.B = lilac_size_min(EVALUATION_BATCH, tokens->count),
                                            .N = tokens->N,
                                            .precision = precision,
                                            .adapter = adapter};
    lilac_transformer_pass *pass;
    LILAC_TRY(lilac_token_pass_create(context, model, &config, &pass));
    lilac_token_buffers buffers;
    double sum;
    uint64_t count;
    lilac_status status = lilac_token_buffers_create(context, config.B, tokens->N, &buffers);
    if (status == LILAC_OK) {
        status = lilac_token_losses(context, pass, tokens, &buffers, &sum, &count);
    }
    if (status == LILAC_OK && !isfinite(sum)) {
        status = lilac_fail(context, LILAC_ERROR_NOT_FINITE, "evaluation: the predictions are not finite numbers");
    }
    if (status == LILAC_OK) {
        const double loss = sum / (double)count;
        *out = (lilac_token_evaluation){
            .loss = loss, .bits = loss / log(2.0), .tokens = count, .precision = config.precision};
    }
    lilac_token_buffers_destroy(&buffers);
    lilac_transformer_pass_destroy(pass);
    return status;
}

lilac_status lilac_evaluate_transformer(lilac_context *context, const lilac_transformer *model,
                                        const lilac_adapter *adapter, const lilac_token_source *source,
                                        lilac_precision precision, lilac_token_evaluation *out) {
    if (context == NULL || model == NULL || source == NULL || out == NULL || lilac_precision_name(precision) == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "evaluation: a null pointer, or no precision");
    }
    lilac_tokens tokens;
    LILAC_TRY(lilac_tokens_open(context, source, model->config.length, &tokens));
    return evaluate(context, model, adapter, &tokens, precision, out);
}
