/* SPDX-License-Identifier: MIT */
/* The memory of a transformer's pass, and what its forward and backward halves share. */
#include "model/transformer_pass.h"

#include "adapt/adapter.h"
#include "core/memory.h"
#include "linalg/matmul.h"
#include "model/transformer_activations.h"
#include "model/transformer_attention.h"
#include "nn/activation.h"
#include "nn/convert.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "runtime/workspace.h"

#include <string.h>

/* Each place of dropout has room for this many groups in the stream: far more than any batch takes. */
static const uint64_t dropout_groups_per_place = UINT64_C(1) << 40;

/* ---- Cutting a block of memory into the parts of a pass ---- */

/* Whether products take operands in bf16, which are kept; others round them, if at all, each time. */
static bool rounds(const lilac_transformer_pass *pass) {
    return pass->products == LILAC_MATMUL_BF16;
}

static lilac_pass_matrix cut_matrix(lilac_workspace *w, const lilac_transformer_pass *pass, size_t cols) {
    lilac_pass_matrix matrix = {.type = pass->products};
    matrix.values = lilac_workspace_take(w, pass->rows, cols * sizeof(float));
    matrix.rounded = rounds(pass) ? lilac_workspace_take(w, pass->rows, cols * sizeof(uint16_t)) : NULL;
    return matrix;
}

/* What the sublayers share: an input's floats with precision BF16 (those of the output layer, which takes them exact,
 * are still there when the backward pass begins with it), all of it without backward pass. Two of each by
 * turns, since a sublayer's input and sum are read while the next one's are written. */
typedef struct {
    lilac_pass_sublayer sublayers[2];
} shared_parts;

/* A sublayer begins as one of those shared and stays so without backward pass, which needs an input and a norm of each
 * sublayer's own. */
static void cut_input(lilac_workspace *w, const lilac_transformer_pass *pass, bool exact, lilac_pass_matrix *input) {
    const size_t F = pass->model->F;
    if (!pass->config.backward) {
        return;
    }
    if (!rounds(pass)) {
        input->values = lilac_workspace_take(w, pass->rows, F * sizeof(float));
    } else if (!exact) {
        input->rounded = lilac_workspace_take(w, pass->rows, F * sizeof(uint16_t));
        input->shared = true;
    }
}

static void cut_norm(lilac_workspace *w, const lilac_transformer_pass *pass, lilac_pass_sublayer *sublayer) {
    if (pass->config.backward) {
        sublayer->sum = lilac_workspace_take(w, pass->rows, pass->model->F * sizeof(float));
        sublayer->mean = lilac_workspace_take(w, pass->rows, sizeof(float));
        sublayer->rstd = lilac_workspace_take(w, pass->rows, sizeof(float));
    }
}

static lilac_pass_sublayer cut_sublayer(lilac_workspace *w, const lilac_transformer_pass *pass,
                                        const shared_parts *shared, size_t turn) {
    lilac_pass_sublayer sublayer = shared->sublayers[turn];
    cut_input(w, pass, false, &sublayer.input);
    cut_norm(w, pass, &sublayer);
    return sublayer;
}

static void cut_shared(lilac_workspace *w, const lilac_transformer_pass *pass, shared_parts *shared) {
    const size_t F = pass->model->F;
    const bool bf16 = rounds(pass), backward = pass->config.backward;
    *shared = (shared_parts){0};
    for (int i = 0; i < 2; i++) {
        lilac_pass_sublayer *sublayer = &shared->sublayers[i];
        sublayer->input.type = pass->products;
        if (bf16 || !backward) {
            sublayer->input.values = lilac_workspace_take(w, pass->rows, F * sizeof(float));
        }
        if (!backward) {
            sublayer->input.rounded = bf16 ? lilac_workspace_take(w, pass->rows, F * sizeof(uint16_t)) : NULL;
            sublayer->sum = lilac_workspace_take(w, pass->rows, F * sizeof(float));
            sublayer->mean = lilac_workspace_take(w, pass->rows, sizeof(float));
            sublayer->rstd = lilac_workspace_take(w, pass->rows, sizeof(float));
        }
    }
}

static lilac_pass_layer cut_layer(lilac_workspace *w, const lilac_transformer_pass *pass, size_t saved) {
    const lilac_transformer_config *config = &pass->model->config;
    lilac_pass_layer layer = {0};
    layer.qkv = lilac_workspace_take(w, pass->rows, 3 * pass->model->HD * sizeof(float));
    layer.context = cut_matrix(w, pass, pass->model->HD);
    layer.saved = pass->config.backward ? lilac_workspace_take(w, saved, sizeof(float)) : NULL;
    if (config->activation == LILAC_TRANSFORMER_GELU) {
        layer.pre_activation = lilac_workspace_take(w, pass->rows, config->feed_forward * sizeof(float));
    }
    return layer;
}

static void cut_layers(lilac_workspace *w, lilac_transformer_pass *pass, size_t saved) {
    const size_t feed_forward = pass->model->config.feed_forward;
    const bool bf16 = rounds(pass), backward = pass->config.backward;
    shared_parts shared;
    cut_shared(w, pass, &shared);
    lilac_pass_matrix hidden = cut_matrix(w, pass, feed_forward);
    hidden.shared = bf16;
    const lilac_pass_layer common = cut_layer(w, pass, saved);
    pass->layers = lilac_workspace_take(w, pass->model->config.layers, sizeof *pass->layers);
    const bool pre_norm = pass->model->config.norm == LILAC_TRANSFORMER_PRE_NORM;
    if (pre_norm) {
        pass->first = shared.sublayers[1];
        cut_norm(w, pass, &pass->first);
    }
    for (size_t l = 0; l < pass->model->config.layers; l++) {
        lilac_pass_layer layer = l == 0 || !backward ? common : cut_layer(w, pass, saved);
        layer.hidden = hidden;
        if (backward && l > 0) {
            layer.hidden.rounded = bf16 ? lilac_workspace_take(w, pass->rows, feed_forward * sizeof(uint16_t)) : NULL;
            layer.hidden.values =
                bf16 ? hidden.values : lilac_workspace_take(w, pass->rows, feed_forward * sizeof(float));
        }
        layer.attention = cut_sublayer(w, pass, &shared, 0);
        layer.feed_forward = cut_sublayer(w, pass, &shared, 1);
        if (pass->layers != NULL) {
            pass->layers[l] = layer;
        }
    }
    pass->last = shared.sublayers[0];
    pass->last.input = (lilac_pass_matrix){.values = pass->last.input.values};
    cut_input(w, pass, true, &pass->last.input);
    if (!pre_norm) {
        cut_norm(w, pass, &pass->last);
    }
}

static void cut_gradients(lilac_workspace *w, lilac_transformer_pass *pass) {
    const lilac_transformer *model = pass->model;
    pass->gradients.stream = lilac_workspace_take(w, pass->rows, model->F * sizeof(float));
    pass->gradients.branch = cut_matrix(w, pass, model->F);
    pass->gradients.wide = cut_matrix(w, pass, lilac_size_max(model->config.feed_forward, 3 * model->HD));
    pass->gradients.context = lilac_workspace_take(w, pass->rows, model->HD * sizeof(float));
    if (model->config.norm == LILAC_TRANSFORMER_PRE_NORM) {
        pass->gradients.input = lilac_workspace_take(w, pass->rows, model->F * sizeof(float));
    }
    pass->gradients.norm_scratch =
        lilac_workspace_take(w, lilac_layer_norm_scratch_size(pass->rows, model->F), sizeof(float));
    if (pass->config.adapter != NULL) {
        pass->gradients.down = lilac_workspace_take(w, pass->rows, pass->config.adapter->config.rank * sizeof(float));
    }
}

static void cut_adapter(lilac_workspace *w, lilac_transformer_pass *pass) {
    const lilac_adapter *adapter = pass->config.adapter;
    pass->entries = lilac_workspace_take(w, pass->model->linear_count, sizeof *pass->entries);
    pass->down = lilac_workspace_take(w, adapter->entry_count, sizeof *pass->down);
    float *shared = lilac_workspace_take(w, pass->rows, adapter->config.rank * sizeof(float));
    for (size_t e = 0; e < adapter->entry_count; e++) {
        float *own = pass->config.backward && e > 0
                         ? lilac_workspace_take(w, pass->rows, adapter->config.rank * sizeof(float))
                         : shared;
        if (pass->down != NULL) {
            pass->down[e] = own;
        }
    }
}

static void cut_all(lilac_workspace *w, lilac_transformer_pass *pass, size_t saved) {
    const lilac_transformer *model = pass->model;
    cut_layers(w, pass, saved);
    pass->weights = rounds(pass) ? lilac_workspace_take(w, model->parameter_count, sizeof *pass->weights) : NULL;
    pass->positions = lilac_workspace_take(w, pass->config.N, model->config.position_width * sizeof(float));
    pass->tokens = lilac_workspace_take(w, pass->rows, 1);
    pass->targets = lilac_workspace_take(w, pass->rows, 1);
    pass->outputs = lilac_workspace_take(w, pass->rows, model->O * sizeof(float));
    pass->attention_workspace = lilac_workspace_take(w, pass->attention_bytes, 1);
    if (pass->config.adapter != NULL) {
        cut_adapter(w, pass);
    }
    if (pass->config.backward) {
        cut_gradients(w, pass);
    }
}

/* ---- Attention ---- */

static lilac_status size_linear_attention(lilac_context *context, lilac_transformer_pass *pass, size_t *saved) {
    const lilac_linear_attention_config config =
        lilac_transformer_linear_attention(pass->model, pass->config.B, pass->config.N, !pass->config.full);
    size_t backward = 0;
    LILAC_TRY(lilac_linear_attention_forward_workspace_size(context, &config, &pass->attention_bytes));
    if (pass->config.backward) {
        LILAC_TRY(lilac_linear_attention_backward_workspace_size(context, &config, &backward));
        LILAC_TRY(lilac_linear_attention_saved_size(context, &config, saved));
    }
    pass->attention_bytes = lilac_size_max(pass->attention_bytes, backward);
    return LILAC_OK;
}

static lilac_status size_softmax_attention(lilac_context *context, lilac_transformer_pass *pass, size_t *saved) {
    const lilac_softmax_attention_config config = lilac_transformer_softmax_attention(
        pass->model, pass->config.B, pass->config.N, !pass->config.full, pass->config.precision);
    size_t backward = 0;
    LILAC_TRY(lilac_softmax_attention_forward_workspace_size(context, &config, &pass->attention_bytes));
    if (pass->config.backward) {
        LILAC_TRY(lilac_softmax_attention_backward_workspace_size(context, &config, &backward));
    }
    *saved = pass->rows * pass->model->config.heads;
    pass->attention_bytes = lilac_size_max(pass->attention_bytes, backward);
    return LILAC_OK;
}

/* ---- Creating a pass ---- */

lilac_matmul_type lilac_transformer_products(const lilac_context *context, lilac_precision precision) {
    switch (precision) {
    case LILAC_PRECISION_BF16:
        return lilac_matmul_rounds(context, LILAC_MATMUL_TILES) ? LILAC_MATMUL_TILES : LILAC_MATMUL_BF16;
    case LILAC_PRECISION_F16:
        return LILAC_MATMUL_F16;
    default:
        return LILAC_MATMUL_F32;
    }
}

lilac_status lilac_transformer_check_precision(lilac_context *context, lilac_precision precision) {
    const lilac_matmul_type products = lilac_transformer_products(context, precision);
    if (products == LILAC_MATMUL_BF16) {
        return lilac_matmul_check_bf16(context);
    }
    if (products == LILAC_MATMUL_F16 && !lilac_matmul_rounds(context, products)) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED,
                          "this processor, or the chosen level of it, has no fast products in f16");
    }
    return LILAC_OK;
}

static lilac_status check(lilac_context *context, const lilac_transformer *model,
                          const lilac_transformer_pass_config *config) {
    const size_t end = config->places != NULL && config->N > 0 ? config->places[config->N - 1] + (size_t)1 : config->N;
    if (end > model->config.length) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "transformer: %zu tokens, expected at most %zu", end,
                          model->config.length);
    }
    LILAC_TRY(lilac_transformer_check_precision(context, config->precision));
    size_t rows, widest = lilac_size_max(model->config.feed_forward, 3 * model->HD);
    if (!lilac_size_multiply(config->B, config->N, &rows) || !lilac_size_multiply(rows, widest, &widest)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "transformer: %zu sequences of %zu tokens are too many",
                          config->B, config->N);
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_pass_place(lilac_context *context, const lilac_transformer *model,
                                          const lilac_transformer_pass_config *config, void *memory,
                                          lilac_transformer_pass *pass) {
    LILAC_TRY(check(context, model, config));
    *pass = (lilac_transformer_pass){.model = model,
                                     .config = *config,
                                     .products = lilac_transformer_products(context, config->precision),
                                     .rows = config->B * config->N};
    size_t saved = 0;
    LILAC_TRY(model->config.attention == LILAC_TRANSFORMER_LINEAR ? size_linear_attention(context, pass, &saved)
                                                                  : size_softmax_attention(context, pass, &saved));
    lilac_workspace w = lilac_workspace_over(memory);
    cut_all(&w, pass, saved);
    if (!lilac_workspace_fits(&w)) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "transformer: %zu sequences of %zu tokens are too many",
                          config->B, config->N);
    }
    /* As the memory may lie at any alignment. */
    pass->bytes = w.used + LILAC_ALIGNMENT;
    if (memory == NULL) {
        return LILAC_OK;
    }
    if (config->adapter != NULL) {
        LILAC_TRY(lilac_transformer_match_adapter(context, model, config->adapter, pass->entries));
    }
    const size_t width = model->config.position_width;
    if (config->places == NULL) {
        lilac_sinusoidal_positions(0, config->N, width, pass->positions, width);
    } else {
        for (size_t t = 0; t < config->N; t++) {
            lilac_sinusoidal_positions(config->places[t], 1, width, pass->positions + t * width, width);
        }
    }
    lilac_transformer_pass_update(context, pass);
    return LILAC_OK;
}

lilac_status lilac_transformer_pass_create(lilac_context *context, const lilac_transformer *model,
                                           const lilac_transformer_pass_config *config, lilac_transformer_pass **out) {
    size_t bytes;
    LILAC_TRY(lilac_transformer_pass_count(context, model, config, &bytes));
    lilac_transformer_pass *pass = lilac_memory_allocate(1, sizeof *pass);
    void *block = lilac_memory_allocate(bytes, 1);
    if (pass == NULL || block == NULL) {
        lilac_memory_free(pass);
        lilac_memory_free(block);
        return lilac_fail_memory(context, "the activations of a transformer", bytes);
    }
    const lilac_status status = lilac_transformer_pass_place(context, model, config, block, pass);
    pass->block = block;
    if (status != LILAC_OK) {
        lilac_transformer_pass_destroy(pass);
        return status;
    }
    *out = pass;
    return LILAC_OK;
}

void lilac_transformer_pass_destroy(lilac_transformer_pass *pass) {
    if (pass != NULL) {
        lilac_memory_free(pass->block);
        lilac_memory_free(pass);
    }
}

size_t lilac_transformer_pass_bytes(const lilac_transformer_pass *pass) {
    return pass->bytes;
}

lilac_status lilac_transformer_pass_count(lilac_context *context, const lilac_transformer *model,
                                          const lilac_transformer_pass_config *config, size_t *bytes) {
    lilac_transformer_pass counted;
    LILAC_TRY(lilac_transformer_pass_place(context, model, config, NULL, &counted));
    *bytes = counted.bytes;
    return LILAC_OK;
}

void lilac_transformer_pass_update(lilac_context *context, lilac_transformer_pass *pass) {
    if (pass->weights != NULL) {
        /* In rows, for the threads to share. */
        const size_t count = pass->model->parameter_count, cols = 4096, rows = count / cols, rest = count % cols;
        const float *values = pass->model->parameters;
        lilac_float_to_bf16(context, rows, cols, values, cols, pass->weights, cols);
        lilac_float_to_bf16(context, 1, rest, values + rows * cols, rest, pass->weights + rows * cols, rest);
    }
}

/* ---- What forward and backward share ---- */

lilac_operand lilac_pass_weight(const lilac_transformer_pass *pass, size_t offset) {
    const bool exact = lilac_transformer_is_exact(pass->model, offset);
    return (lilac_operand){.type = exact ? LILAC_MATMUL_F32 : pass->products,
                           .values = pass->model->parameters + offset,
                           .rounded = pass->weights == NULL ? NULL : pass->weights + offset};
}

lilac_operand lilac_pass_operand(lilac_pass_matrix matrix) {
    return (lilac_operand){.type = matrix.type, .values = matrix.values, .rounded = matrix.rounded};
}

void lilac_pass_round(lilac_context *context, lilac_pass_matrix matrix, size_t rows, size_t cols) {
    if (matrix.rounded != NULL) {
        lilac_float_to_bf16(context, rows, cols, matrix.values, cols, matrix.rounded, cols);
    }
}

const lilac_dropout *lilac_pass_dropout(const lilac_transformer_pass *pass, size_t place, lilac_dropout *dropout) {
    if (!pass->has_dropout) {
        return NULL;
    }
    lilac_random random = pass->dropout;
    random.group += place * dropout_groups_per_place;
    *dropout = lilac_dropout_create(pass->model->config.dropout, random);
    return dropout;
}

bool lilac_pass_low_rank(const lilac_transformer_pass *pass, size_t linear_layer, lilac_low_rank *term, size_t *entry) {
    if (pass->config.adapter == NULL || pass->entries[linear_layer] < 0) {
        return false;
    }
    *entry = (size_t)pass->entries[linear_layer];
    *term = lilac_adapter_term(pass->config.adapter, *entry);
    return true;
}
