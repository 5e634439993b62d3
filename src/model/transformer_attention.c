/* SPDX-License-Identifier: MIT */
#include "model/transformer_attention.h"

static lilac_attention_shape shape_of(const lilac_transformer *model, size_t B, size_t N) {
    return (lilac_attention_shape){.batch = B,
                                   .heads = model->config.heads,
                                   .queries = N,
                                   .keys = N,
                                   .key_size = model->config.head_size,
                                   .value_size = model->config.head_size};
}

lilac_linear_attention_config lilac_transformer_linear_attention(const lilac_transformer *model, size_t B, size_t N,
                                                                 bool causal) {
    const lilac_attention_shape shape = shape_of(model, B, N);
    lilac_linear_attention_config config;
    lilac_linear_attention_config_default(&shape, &config);
    config.causal = causal;
    config.feature_map = model->feature_map;
    return config;
}

lilac_softmax_attention_config lilac_transformer_softmax_attention(const lilac_transformer *model, size_t B, size_t N,
                                                                   bool causal, lilac_precision precision) {
    const lilac_attention_shape shape = shape_of(model, B, N);
    lilac_softmax_attention_config config;
    lilac_softmax_attention_config_default(&shape, &config);
    config.causal = causal;
    config.bf16_products = precision == LILAC_PRECISION_BF16;
    return config;
}

static lilac_attention_input input_of(const lilac_transformer *model, size_t N, const float *rows, size_t row) {
    return (lilac_attention_input){
        .data = rows, .batch_stride = N * row, .token_stride = row, .head_stride = model->config.head_size};
}

static lilac_attention_output output_of(const lilac_transformer *model, size_t N, float *rows, size_t row) {
    return (lilac_attention_output){
        .data = rows, .batch_stride = N * row, .token_stride = row, .head_stride = model->config.head_size};
}

lilac_attention_input lilac_transformer_qkv_input(const lilac_transformer *model, size_t N, const float *qkv,
                                                  size_t part) {
    return input_of(model, N, qkv + part * model->HD, 3 * model->HD);
}

lilac_attention_output lilac_transformer_qkv_output(const lilac_transformer *model, size_t N, float *qkv, size_t part) {
    return output_of(model, N, qkv + part * model->HD, 3 * model->HD);
}

lilac_attention_input lilac_transformer_context_input(const lilac_transformer *model, size_t N, const float *rows) {
    return input_of(model, N, rows, model->HD);
}

lilac_attention_output lilac_transformer_context_output(const lilac_transformer *model, size_t N, float *rows) {
    return output_of(model, N, rows, model->HD);
}
