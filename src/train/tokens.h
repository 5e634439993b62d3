/* SPDX-License-Identifier: MIT */
/* The sequences of a token source: one after the other, and in the endless random order that training takes them in. */
#ifndef LILAC_TRAIN_TOKENS_H
#define LILAC_TRAIN_TOKENS_H

#include "runtime/context.h"

#include <lilac/train_transformer.h>

typedef struct lilac_tokens {
    lilac_token_source source;
    size_t N;     /* predictions of a sequence, which has N + 1 tokens */
    size_t count; /* sequences that predict every token (but the first of an image or of the bytes) once */
} lilac_tokens;

/* Sequences for a model of that length. Errors: ARGUMENT, OVERFLOW, SHAPE (images of too many pixels, or of one). */
lilac_status lilac_tokens_open(lilac_context *context, const lilac_token_source *source, size_t length,
                               lilac_tokens *out);

/*
 * The places, of the N that predictions are made at, of pixels inside images without `border` rows and columns at each
 * edge, in order; how many there are, at most N. places may be NULL.
 */
size_t lilac_tokens_inside(const lilac_tokens *tokens, size_t border, uint32_t *places);

/*
 * Writes the N + 1 tokens of sequence index, which must be below the count. Returns how many of its predictions belong
 * to the sequence before it: bytes end where they end, so that their last window overlaps the one before.
 */
size_t lilac_tokens_sequence(const lilac_tokens *tokens, size_t index, uint8_t *out);

/* The order of training, a pure function of the seed and an item's number. */
typedef struct lilac_token_order {
    const lilac_tokens *tokens;
    uint64_t seed;
    bool shuffled; /* images are those of epoch `epoch` */
    uint64_t epoch;
    uint32_t *indices; /* the images of that epoch in order */
    lilac_data_view images;
} lilac_token_order;

/* Errors: MEMORY. End it with lilac_token_order_end, also after a failure. */
lilac_status lilac_token_order_begin(lilac_context *context, const lilac_tokens *tokens, uint64_t seed,
                                     lilac_token_order *out);
void lilac_token_order_end(lilac_token_order *order);

/* Writes the N + 1 tokens of item number item = 0, 1, ... without end. */
void lilac_token_order_item(lilac_token_order *order, uint64_t item, uint8_t *out);

/* A text that differs for sources of other bytes, but for 1 in 2^32: their number and checksum. */
enum { LILAC_TOKENS_TEXT_SIZE = 96 };
void lilac_tokens_text(const lilac_tokens *tokens, char text[LILAC_TOKENS_TEXT_SIZE]);

#endif
