/* SPDX-License-Identifier: MIT */
#include "model/transformer_initialise.h"

#include "core/memory.h"
#include "nn/initialise.h"

#include <math.h>
#include <string.h>

static const double two_pi = 6.283185307179586;

static void scale_values(size_t count, float factor, float *values) {
    for (size_t i = 0; i < count; i++) {
        values[i] *= factor;
    }
}

/*
 * The mixture starts as one that images need: narrow logistics just beyond the first and the last byte, which own the
 * bins that take the tails, and broad ones over all that lies between. What is left to learn at first is which of them
 * a pixel belongs to. Left to find them from K broad logistics around 0, a model stays for hundreds of steps at what
 * the frequencies of the bytes alone give, since the gradients of narrow logistics drown all others while they move.
 */
static void initialise_mixture(lilac_transformer *model) {
    const size_t K = model->config.mixtures;
    float *bias = model->parameters + model->output_bias;
    for (size_t k = 0; k < K; k++) {
        const bool end = K > 1 && (k == 0 || k + 1 == K);
        const double place = K > 1 ? 2.0 * (double)k / (double)(K - 1) - 1.0 : 0.0;
        bias[K + k] = (float)(end ? 1.05 * place : place);
        bias[2 * K + k] = (float)log(end ? 0.01 : 1.0 / (double)K);
    }
    scale_values(3 * K * model->F, 0.1f, model->parameters + model->output_weight);
}

static void initialise_tensor(const lilac_context *context, lilac_transformer *model, size_t index) {
    const lilac_transformer_tensor *tensor = &model->tensors[index];
    float *values = model->parameters + tensor->offset;
    if (tensor->cols == 0) {
        const bool gain = strstr(tensor->name, "norm") != NULL && strstr(tensor->name, ".weight") != NULL;
        for (size_t j = 0; gain && j < tensor->rows; j++) {
            values[j] = 1.0f;
        }
        return;
    }
    const size_t count = tensor->rows * tensor->cols;
    const bool embedding = index == 0;
    lilac_initialise_uniform(context, count, embedding ? 1 : tensor->cols,
                             lilac_random_stream(model->config.seed, LILAC_RANDOM_INITIALISE, index), values);
    if (strstr(tensor->name, "attention.output") != NULL || strstr(tensor->name, "feed_forward.down") != NULL) {
        /* So that all branches together add about as much to the residuals as one would. */
        scale_values(count, (float)(1.0 / sqrt(2.0 * (double)model->config.layers)), values);
    }
}

/* Biases and the shifts of norms stay 0, as they are allocated, but for the mixture's. */
void lilac_transformer_initialise(const lilac_context *context, lilac_transformer *model) {
    for (size_t i = 0; i < model->tensor_count; i++) {
        initialise_tensor(context, model, i);
    }
    if (model->config.output == LILAC_TRANSFORMER_LOGISTIC_MIXTURE) {
        initialise_mixture(model);
    }
}

/*
 * The rest of this file starts a model as one of images: lilac_transformer_start_with_neighbours. A head that is to
 * look o tokens back finds them by their position alone. Position t enters the model as sin(wt) and cos(wt) for
 * P/2 frequencies w, and sin(w(t - o)), cos(w(t - o)) are a rotation of these, which a query can contain.
 */

/* The relative rows and columns of the pixels to look at, seen from the one that is predicted: the first are looked at
 * if there are fewer heads. */
static const struct { int up, left; } neighbours[] = {{0, 2}, {1, 0}, {1, 1}, {1, -1}, {2, 0}, {1, -2}, {0, 3}, {1, 2}};
enum { NEIGHBOURS = sizeof neighbours / sizeof *neighbours };

/* How much larger than its neighbours' the score of the token looked at is, in softmax attention; over how many nats
 * keys grow from the first token to the last in linear attention; the width of a bump in bumps. */
static const double contrast = 2.6, growth = 16.0, bump_width = 0.7;

/* A head's rows of the first layer. */
typedef struct head_rows {
    size_t D, F, positions; /* the first column of the encoding of positions */
    float *query, *key;     /* D x F */
    float *query_bias, *key_bias;
} head_rows;

static double frequency(const lilac_transformer *model, size_t index) {
    return pow(10000.0, -2.0 * (double)index / (double)model->config.position_width);
}

/* Scores c^2 sum_w cos(w(t - o - s)) / sqrt(D), which is largest at s = t - o. */
static void look_back_softmax(const lilac_transformer *model, const head_rows *head, double offset) {
    const size_t pairs = lilac_size_min(head->D, model->config.position_width) / 2;
    double fall = 0.0; /* of the sum from the token itself to the next */
    for (size_t i = 0; i < pairs; i++) {
        fall += 1.0 - cos(frequency(model, i));
    }
    const double c = sqrt(contrast * sqrt((double)head->D) / fall);
    for (size_t i = 0; i < pairs; i++) {
        const double angle = frequency(model, i) * offset;
        const size_t column = head->positions + 2 * i;
        float *query = head->query + 2 * i * head->F + column, *key = head->key + 2 * i * head->F + column;
        query[0] = query[head->F + 1] = (float)(c * cos(angle));
        query[1] = (float)(-c * sin(angle));
        query[head->F] = (float)(c * sin(angle));
        key[0] = key[head->F + 1] = (float)c;
    }
}

/* The shortest period of the encoding's that an offset is told from others in, without a second one in the same row;
 * the number of frequencies if there is none. */
static size_t period_for(const lilac_transformer *model, double offset, size_t columns) {
    const double least = fmax(offset, (double)columns) + 0.25 * (double)columns;
    size_t i = 0;
    while (i < model->config.position_width / 2 && two_pi / frequency(model, i) < least) {
        i++;
    }
    return i;
}

/* A frequency that rises over the whole sequence. */
static bool is_slow(const lilac_transformer *model, size_t index) {
    return frequency(model, index) * (double)model->config.length < 0.8;
}

/* Adds to the keys what grows from -growth at the first token to 0 at the last, about in a straight line. */
static void grow_keys(const lilac_transformer *model, const head_rows *head) {
    double rise = 0.0;
    for (size_t i = 0; i < model->config.position_width / 2; i++) {
        rise += is_slow(model, i) ? sin(frequency(model, i) * (double)model->config.length) : 0.0;
    }
    for (size_t d = 0; d < head->D; d++) {
        for (size_t i = 0; i < model->config.position_width / 2; i++) {
            if (is_slow(model, i)) {
                head->key[d * head->F + head->positions + 2 * i] += (float)(growth / rise);
            }
        }
        head->key_bias[d] -= (float)growth;
    }
}

/*
 * Below 0 elu(x) + 1 is exp(x), so that x = c cos(wt - a) - c gives a bump at the positions with wt = a, and D such
 * bumps tile a period: only tokens near t - o, and those whole periods before, have bumps in common with a query. Of
 * these the growth prefers the last.
 */
static void look_back_linear(const lilac_transformer *model, const head_rows *head, double offset, size_t columns) {
    const size_t index = period_for(model, offset, columns), column = head->positions + 2 * index;
    const double c = pow((double)head->D / (two_pi * bump_width), 2.0);
    for (size_t d = 0; d < head->D; d++) {
        const double angle = two_pi * (double)d / (double)head->D, turned = angle + frequency(model, index) * offset;
        float *query = head->query + d * head->F + column, *key = head->key + d * head->F + column;
        query[0] = (float)(c * sin(turned));
        query[1] = (float)(c * cos(turned));
        key[0] = (float)(c * sin(angle));
        key[1] = (float)(c * cos(angle));
        head->query_bias[d] = head->key_bias[d] = (float)-c;
    }
    grow_keys(model, head);
}

/* What a head gives is a projection of the values of the pixels alone, about as large as they are. */
static void start_values(const lilac_context *context, lilac_transformer *model, size_t heads) {
    const lilac_transformer_layer *layer = &model->layers[0];
    const size_t F = model->F, HD = model->HD, E = model->config.value_width, D = model->config.head_size;
    float *value = model->parameters + layer->qkv_weight + 2 * HD * F;
    for (size_t i = 0; i < heads * D; i++) {
        scale_values(E, (float)sqrt(3.0 * (double)F / (double)E), value + i * F);
        memset(value + i * F + E, 0, (F - E) * sizeof *value);
    }
    /* Number tensor_count: the tensors have taken those before. */
    lilac_initialise_uniform(context, F * HD, HD,
                             lilac_random_stream(model->config.seed, LILAC_RANDOM_INITIALISE, model->tensor_count),
                             model->parameters + layer->output_weight);
}

/* Values in order: what is learnt of a byte holds for those beside it, too. The steepest cosine tells bytes apart that
 * are a few steps from each other. */
static void start_embedding(lilac_transformer *model) {
    const size_t E = model->config.value_width;
    float *table = model->parameters;
    for (size_t e = 0; e < E; e++) {
        const double steepness = 0.25 * two_pi * pow(16.0, (double)e / (double)lilac_size_max(E - 1, 1));
        /* The first row's random number in (-1, 1) chooses the phase. */
        const double phase = 0.5 * two_pi * (double)table[e];
        for (size_t v = 0; v < 256; v++) {
            table[v * E + e] = (float)cos(steepness * ((double)v / 127.5 - 1.0) + phase);
        }
    }
}

static lilac_status check_start(lilac_context *context, const lilac_transformer *model, size_t columns) {
    const lilac_transformer_config *config = &model->config;
    if (columns < 4 || columns > config->length) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "neighbours: %zu columns, expected 4 to %zu", columns,
                          config->length);
    }
    const bool linear = config->attention == LILAC_TRANSFORMER_LINEAR;
    if (config->norm != LILAC_TRANSFORMER_POST_NORM || (linear && config->features != LILAC_TRANSFORMER_ELU_PLUS_ONE &&
                                                        config->features != LILAC_TRANSFORMER_EXP_FEATURES)) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "neighbours: expected layer norms after the sublayers and, with linear attention, the "
                          "features elu+1 or exp; got %s and %s",
                          lilac_transformer_norm_names[config->norm],
                          lilac_transformer_feature_names[config->features]);
    }
    const size_t frequencies = config->position_width / 2;
    const bool tells =
        frequencies > 0 && (!linear || (is_slow(model, frequencies - 1) &&
                                        period_for(model, 2.0 * (double)columns, columns) < frequencies));
    if (!tells || config->head_size < 4) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT,
                          "neighbours: %zu positions cannot be told by an encoding of width %zu in heads of size %zu",
                          config->length, config->position_width, config->head_size);
    }
    return LILAC_OK;
}

lilac_status lilac_transformer_start_with_neighbours(lilac_context *context, lilac_transformer *model, size_t columns) {
    if (context == NULL || model == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "neighbours: a null pointer");
    }
    LILAC_TRY(check_start(context, model, columns));
    const size_t D = model->config.head_size, HD = model->HD, F = model->F;
    const size_t heads = lilac_size_min(model->config.heads, NEIGHBOURS);
    float *weight = model->parameters + model->layers[0].qkv_weight;
    float *bias = model->parameters + model->layers[0].qkv_bias;
    start_embedding(model);
    start_values(context, model, heads);
    for (size_t h = 0; h < heads; h++) {
        const head_rows head = {.D = D,
                                .F = F,
                                .positions = model->config.value_width,
                                .query = weight + h * D * F,
                                .key = weight + (HD + h * D) * F,
                                .query_bias = bias + h * D,
                                .key_bias = bias + HD + h * D};
        /* Token t sees pixel t, and predicts pixel t + 1. */
        const double offset = (double)neighbours[h].up * (double)columns + neighbours[h].left - 1.0;
        memset(head.query, 0, D * F * sizeof *head.query);
        memset(head.key, 0, D * F * sizeof *head.key);
        if (model->config.attention == LILAC_TRANSFORMER_SOFTMAX) {
            look_back_softmax(model, &head, offset);
        } else {
            look_back_linear(model, &head, offset, columns);
        }
    }
    return LILAC_OK;
}
