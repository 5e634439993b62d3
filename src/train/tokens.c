/* SPDX-License-Identifier: MIT */
#include "train/tokens.h"

#include "core/memory.h"
#include "core/random.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "data/variant.h"

#include <stdio.h>
#include <string.h>

#include <zlib.h>

static lilac_status open_images(lilac_context *context, const lilac_token_source *source, size_t length,
                                lilac_tokens *out) {
    LILAC_TRY(lilac_data_view_check(context, source->images));
    const size_t pixels = source->images->dataset->pixels;
    if (pixels < 2 || pixels - 1 > length) {
        return lilac_fail(context, LILAC_ERROR_SHAPE,
                          "images of %zu pixels, expected 2 to %zu: the model's length is %zu", pixels, length + 1,
                          length);
    }
    *out = (lilac_tokens){.source = *source, .N = pixels - 1, .count = source->images->count};
    return LILAC_OK;
}

lilac_status lilac_tokens_open(lilac_context *context, const lilac_token_source *source, size_t length,
                               lilac_tokens *out) {
    if (source->images != NULL) {
        return open_images(context, source, length, out);
    }
    if (source->bytes == NULL || source->byte_count < 2) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "the bytes to learn from are missing, or fewer than 2");
    }
    if (source->byte_count > UINT32_MAX) {
        return lilac_fail(context, LILAC_ERROR_OVERFLOW, "%zu bytes to learn from, expected less than 2^32",
                          source->byte_count);
    }
    const size_t predictions = source->byte_count - 1, N = lilac_size_min(length, predictions);
    *out = (lilac_tokens){.source = *source, .N = N, .count = (predictions + N - 1) / N};
    return LILAC_OK;
}

size_t lilac_tokens_inside(const lilac_tokens *tokens, size_t border, uint32_t *places) {
    const lilac_dataset_shape *shape = &tokens->source.images->dataset->shape;
    size_t count = 0;
    for (size_t t = 0; t < tokens->N; t++) {
        const size_t row = t / shape->cols, column = t % shape->cols;
        if (row >= border && row + border < shape->rows && column >= border && column + border < shape->cols) {
            if (places != NULL) {
                places[count] = (uint32_t)t;
            }
            count++;
        }
    }
    return count;
}

static void write_image(const lilac_data_view *view, size_t item, uint8_t *out) {
    const size_t pixels = view->dataset->pixels;
    const uint8_t *image = lilac_dataset_image(view->dataset, lilac_data_view_image(view, item));
    lilac_variant_bytes(view->variant, pixels, image, 0, pixels, out);
}

size_t lilac_tokens_sequence(const lilac_tokens *tokens, size_t index, uint8_t *out) {
    if (tokens->source.images != NULL) {
        write_image(tokens->source.images, index, out);
        return 0;
    }
    const size_t start = lilac_size_min(index * tokens->N, tokens->source.byte_count - 1 - tokens->N);
    memcpy(out, tokens->source.bytes + start, tokens->N + 1);
    return index * tokens->N - start;
}

lilac_status lilac_token_order_begin(lilac_context *context, const lilac_tokens *tokens, uint64_t seed,
                                     lilac_token_order *out) {
    *out = (lilac_token_order){.tokens = tokens, .seed = seed};
    if (tokens->source.images != NULL) {
        out->indices = lilac_memory_allocate(tokens->count, sizeof *out->indices);
        if (out->indices == NULL) {
            return lilac_fail_memory(context, "the order of the training set", tokens->count * sizeof *out->indices);
        }
    }
    return LILAC_OK;
}

void lilac_token_order_end(lilac_token_order *order) {
    lilac_memory_free(order->indices);
}

/* Where window number item of the training begins: one of `starts` places, all but equally likely. */
static size_t window_start(uint64_t seed, uint64_t item, size_t starts) {
    lilac_random random = lilac_random_stream(seed, LILAC_RANDOM_SHUFFLE, 0);
    random.group = item / LILAC_RANDOM_GROUP;
    uint32_t words[LILAC_RANDOM_GROUP];
    lilac_random_group(&random, words);
    return (size_t)((uint64_t)words[item % LILAC_RANDOM_GROUP] * starts >> 32);
}

void lilac_token_order_item(lilac_token_order *order, uint64_t item, uint8_t *out) {
    const lilac_tokens *tokens = order->tokens;
    const lilac_token_source *source = &tokens->source;
    if (source->images == NULL) {
        const size_t start = window_start(order->seed, item, source->byte_count - tokens->N);
        memcpy(out, source->bytes + start, tokens->N + 1);
        return;
    }
    const uint64_t epoch = item / tokens->count;
    if (!order->shuffled || order->epoch != epoch) {
        order->images = lilac_data_view_shuffle(source->images, order->seed, epoch, order->indices);
        order->epoch = epoch;
        order->shuffled = true;
    }
    write_image(&order->images, (size_t)(item % tokens->count), out);
}

void lilac_tokens_text(const lilac_tokens *tokens, char text[LILAC_TOKENS_TEXT_SIZE]) {
    const lilac_token_source *source = &tokens->source;
    uLong sum = crc32(0, NULL, 0);
    if (source->images == NULL) {
        sum = crc32_z(sum, source->bytes, source->byte_count);
        snprintf(text, LILAC_TOKENS_TEXT_SIZE, "%zu bytes, checksum %08lx", source->byte_count, sum);
        return;
    }
    for (size_t i = 0; i < tokens->count; i++) {
        const uint8_t *image = lilac_dataset_image(source->images->dataset, lilac_data_view_image(source->images, i));
        sum = crc32_z(sum, image, tokens->N + 1);
    }
    snprintf(text, LILAC_TOKENS_TEXT_SIZE, "%zu images (%s), checksum %08lx", tokens->count,
             lilac_variant_name(source->images->variant), sum);
}
