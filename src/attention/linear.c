/* SPDX-License-Identifier: MIT */
#include "attention/linear.h"

#include "core/bf16.h"
#include "kernels/kernel_table.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The part of the second-level cache that the states of a group of heads may take up. */
enum { GROUP_FLOATS = 1 << 18 };

void lilac_linear_attention_config_default(const lilac_attention_shape *shape, lilac_linear_attention_config *config) {
    *config = (lilac_linear_attention_config){.shape = *shape, .epsilon = 1e-6f};
}

static lilac_status check_config(lilac_context *context, const lilac_linear_attention_config *config) {
    if (config == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: config is NULL");
    }
    LILAC_TRY(lilac_attention_check_shape(context, &config->shape, config->causal, config->key_lengths));
    /* A row without keys is 0 / epsilon, or 0 * (1 / epsilon), whose reciprocal has to be finite. */
    if (!isfinite(config->epsilon) || config->epsilon < FLT_MIN) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "linear attention epsilon: expected a finite number of at least %g, got %g", (double)FLT_MIN,
                          (double)config->epsilon);
    }
    const lilac_feature_map *map = config->feature_map;
    if (map != NULL && map->forward == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention: the feature map has no forward function");
    }
    if (map != NULL && lilac_feature_map_output_size(map, config->shape.key_size) == 0) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "linear attention: the feature map takes %zu numbers, keys have %zu", map->input_size,
                          config->shape.key_size);
    }
    return LILAC_OK;
}

/* The size of all heads' states in the caller's layout; a padded state is at most 256 times one head's. */
static lilac_status check_state_size(lilac_context *context, const lilac_linear_attention_plan *plan, size_t *count) {
    const size_t features = plan->head.features, values = plan->head.values;
    size_t size, total;
    if (values > SIZE_MAX - LILAC_STATE_LANES || features > SIZE_MAX - LILAC_STATE_LANES ||
        !lilac_size_multiply(features, values + 1, &size) ||
        size > PTRDIFF_MAX / (sizeof(float) * LILAC_STATE_LANES * LILAC_STATE_LANES) ||
        !lilac_size_multiply(plan->config->shape.batch, plan->config->shape.heads, &total) ||
        !lilac_size_multiply(total, size, &total) || total > PTRDIFF_MAX / sizeof(float)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW,
                          "linear attention: %zu x %zu states of %zu x %zu are too large", plan->config->shape.batch,
                          plan->config->shape.heads, features, values);
    }
    *count = total;
    return LILAC_OK;
}

/* Sharing out chunks costs some work twice, so it has to win more than that by keeping all workers busy. */
static bool shares_chunks(size_t heads, size_t workers) {
    const size_t rounds = (heads + workers - 1) / workers;
    return rounds * workers * 4 > heads * 5;
}

/* The heads whose states, of that many floats each, stay in the second-level cache; at least one. */
static size_t group_size(const lilac_attention_shape *shape, size_t floats) {
    return lilac_size_max(1, lilac_size_min(shape->heads, GROUP_FLOATS / floats));
}

lilac_status lilac_linear_attention_make_plan(lilac_context *context, const lilac_linear_attention_config *config,
                                              lilac_linear_attention_plan *plan) {
    if (context == NULL) {
        return LILAC_ERROR_ARGUMENT;
    }
    LILAC_TRY(check_config(context, config));
    const lilac_attention_shape *shape = &config->shape;
    const lilac_feature_map *map = config->feature_map == NULL ? lilac_feature_map_elu_plus_one() : config->feature_map;
    const bool fused = map == lilac_feature_map_elu_plus_one();
    *plan = (lilac_linear_attention_plan){
        .config = config,
        .kernels = &context->kernels->linear_attention,
        .head = {.features = lilac_feature_map_output_size(map, shape->key_size),
                 .values = shape->value_size,
                 .elu_plus_one = fused,
                 .epsilon = config->epsilon},
        .map = fused || map == lilac_feature_map_identity() ? NULL : map,
    };
    size_t count;
    LILAC_TRY(check_state_size(context, plan, &count));
    plan->heads = shape->batch * shape->heads;
    plan->user_size = plan->head.features * (plan->head.values + 1);
    plan->state_size = lilac_padded_state_size(&plan->head);
    plan->chunk = plan->kernels->chunk_size(&plan->head);
    plan->query_chunks = shape->queries / plan->chunk + (shape->queries % plan->chunk != 0);
    plan->key_chunks = shape->keys / plan->chunk + (shape->keys % plan->chunk != 0);
    plan->segment_chunks = LILAC_LINEAR_ATTENTION_SEGMENT / plan->chunk;
    plan->segments = config->causal ? (plan->query_chunks + plan->segment_chunks - 1) / plan->segment_chunks : 1;
    const size_t threads = (size_t)lilac_context_threads(context);
    plan->by_chunks = plan->heads > 0 && shares_chunks(plan->heads, threads);
    const size_t chunks = lilac_size_max(plan->query_chunks, plan->key_chunks);
    const size_t kept = config->causal ? plan->segment_chunks + 1 : 2;
    plan->forward_group = group_size(shape, plan->state_size);
    plan->backward_group = group_size(shape, kept * plan->state_size);
    plan->workers = lilac_size_max(1, lilac_size_min(threads, plan->by_chunks ? chunks : plan->heads));
    return LILAC_OK;
}

lilac_status lilac_linear_attention_workspace_size(lilac_context *context, const lilac_linear_attention_config *config,
                                                   lilac_linear_attention_measure *measure, size_t *bytes) {
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    if (bytes == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention workspace size: bytes is NULL");
    }
    size_t most;
    LILAC_TRY(measure(context, &plan, &most));
    /* From four heads a worker on none shares chunks, and memory grows with the batch. */
    const size_t heads = config->shape.heads, end = 4 * (size_t)lilac_context_threads(context);
    lilac_linear_attention_config smaller = *config;
    for (size_t B = 0; B < config->shape.batch && B * heads < end; B++) {
        size_t needed;
        smaller.shape.batch = B;
        LILAC_TRY(lilac_linear_attention_make_plan(context, &smaller, &plan));
        LILAC_TRY(measure(context, &plan, &needed));
        most = lilac_size_max(most, needed);
    }
    *bytes = most;
    return LILAC_OK;
}

lilac_status lilac_linear_attention_state_size(lilac_context *context, const lilac_linear_attention_config *config,
                                               size_t *count) {
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    if (count == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention state size: count is NULL");
    }
    return check_state_size(context, &plan, count);
}

lilac_status lilac_linear_attention_saved_size(lilac_context *context, const lilac_linear_attention_config *config,
                                               size_t *count) {
    lilac_linear_attention_plan plan;
    LILAC_TRY(lilac_linear_attention_make_plan(context, config, &plan));
    size_t denominators, states;
    if (count == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "linear attention saved size: count is NULL");
    }
    if (!lilac_size_multiply(plan.heads, config->shape.queries, &denominators) ||
        !lilac_size_multiply(plan.heads, plan.segments, &states) ||
        !lilac_size_multiply(states, plan.user_size, &states) || !lilac_size_add(denominators, states, &states) ||
        states > PTRDIFF_MAX / sizeof(float)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "linear attention saved size: more than can be addressed");
    }
    *count = states;
    return LILAC_OK;
}

lilac_linear_attention_mapping lilac_linear_attention_take_mapping(const lilac_linear_attention_plan *plan,
                                                                   lilac_workspace *workspace) {
    lilac_linear_attention_mapping mapping = {NULL, NULL};
    if (plan->map != NULL) {
        mapping.rows = lilac_workspace_take(workspace, plan->chunk, plan->config->shape.key_size * sizeof(float));
        mapping.mapped = lilac_workspace_take(workspace, plan->chunk, plan->head.features * sizeof(float));
    }
    return mapping;
}

lilac_linear_attention_rows lilac_linear_attention_rows_of(const lilac_attention_input *input, size_t b, size_t h,
                                                           size_t first) {
    return (lilac_linear_attention_rows){
        .data = lilac_attention_input_row(input, b, first, h),
        .stride = input->token_stride,
        .bf16 = input->dtype == LILAC_ATTENTION_BF16,
    };
}

lilac_linear_attention_rows lilac_linear_attention_float_rows(lilac_linear_attention_rows rows, size_t count,
                                                              size_t size, float *to) {
    if (!rows.bf16) {
        return rows;
    }
    const uint16_t *from = rows.data;
    for (size_t i = 0; i < count; i++) {
        for (size_t d = 0; d < size; d++) {
            to[i * size + d] = lilac_float_from_bf16(from[i * rows.stride + d]);
        }
    }
    return (lilac_linear_attention_rows){.data = to, .stride = size};
}

lilac_linear_attention_rows lilac_linear_attention_map_rows(const lilac_linear_attention_plan *plan,
                                                            const lilac_attention_input *input, size_t b, size_t h,
                                                            size_t first, size_t count,
                                                            const lilac_linear_attention_mapping *mapping) {
    const lilac_linear_attention_rows rows = lilac_linear_attention_rows_of(input, b, h, first);
    if (plan->map == NULL || count == 0) {
        return rows;
    }
    const size_t size = plan->config->shape.key_size;
    const lilac_linear_attention_rows x = lilac_linear_attention_float_rows(rows, count, size, mapping->rows);
    plan->map->forward(plan->map, count, size, x.data, x.stride, mapping->mapped, plan->head.features);
    return (lilac_linear_attention_rows){.data = mapping->mapped, .stride = plan->head.features};
}

void lilac_linear_attention_unmap_gradient(const lilac_linear_attention_plan *plan, const lilac_attention_input *input,
                                           size_t b, size_t h, size_t first, size_t count,
                                           const lilac_linear_attention_mapping *mapping, const float *gradient,
                                           const lilac_attention_output *output) {
    if (plan->map == NULL || count == 0) {
        return;
    }
    const size_t size = plan->config->shape.key_size, features = plan->head.features;
    const lilac_linear_attention_rows x = lilac_linear_attention_float_rows(
        lilac_linear_attention_rows_of(input, b, h, first), count, size, mapping->rows);
    plan->map->backward(plan->map, count, size, x.data, x.stride, mapping->mapped, features, gradient, features,
                        lilac_attention_output_row(output, b, first, h), output->token_stride);
}

void lilac_linear_attention_load_state(const lilac_linear_attention_head *head, const float *user, bool transposed,
                                       float *padded) {
    const size_t features = lilac_round_up(head->features, LILAC_STATE_LANES);
    const size_t values = lilac_round_up(head->values, LILAC_STATE_LANES);
    memset(padded, 0, features * (values + 1) * sizeof *padded);
    if (user == NULL) {
        return;
    }
    for (size_t c = 0; c < head->features; c++) {
        for (size_t m = 0; m < head->values; m++) {
            padded[transposed ? m * features + c : c * values + m] = user[c * head->values + m];
        }
    }
    memcpy(padded + features * values, user + head->features * head->values, head->features * sizeof *padded);
}

void lilac_linear_attention_store_state(const lilac_linear_attention_head *head, const float *padded, float *user) {
    const size_t features = lilac_round_up(head->features, LILAC_STATE_LANES);
    const size_t values = lilac_round_up(head->values, LILAC_STATE_LANES);
    for (size_t c = 0; c < head->features; c++) {
        memcpy(user + c * head->values, padded + c * values, head->values * sizeof *user);
    }
    memcpy(user + head->features * head->values, padded + features * values, head->features * sizeof *user);
}
