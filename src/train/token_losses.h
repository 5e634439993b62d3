/* SPDX-License-Identifier: MIT */
/* The losses of a transformer on the sequences of a token source. */
#ifndef LILAC_TRAIN_TOKEN_LOSSES_H
#define LILAC_TRAIN_TOKEN_LOSSES_H

#include "model/transformer_pass.h"
#include "train/tokens.h"

/* Room for the sequences of a pass. */
typedef struct lilac_token_buffers {
    size_t B;        /* sequences a pass */
    uint8_t *tokens; /* B x (N + 1) */
    float *losses;   /* B x N */
} lilac_token_buffers;

/* Errors: MEMORY. To be destroyed also after a failure. */
lilac_status lilac_token_buffers_create(lilac_context *context, size_t B, size_t N, lilac_token_buffers *out);
void lilac_token_buffers_destroy(lilac_token_buffers *buffers);

/*
 * Creates a pass; where BF16 cannot be had, with F32, which config->precision says then. Errors: those of
 * lilac_transformer_pass_create but UNSUPPORTED.
 */
lilac_status lilac_token_pass_create(lilac_context *context, const lilac_transformer *model,
                                     lilac_transformer_pass_config *config, lilac_transformer_pass **out);

/* What such a pass would allocate, with the same choice of precision. Errors: those of lilac_transformer_pass_count but
 * UNSUPPORTED. */
lilac_status lilac_token_pass_count(lilac_context *context, const lilac_transformer *model,
                                    lilac_transformer_pass_config *config, size_t *bytes);

/* The sum of the losses of all sequences, predictions counted once, with a pass whose N is that of the tokens. Reports
 * progress. */
lilac_status lilac_token_losses(lilac_context *context, lilac_transformer_pass *pass, const lilac_tokens *tokens,
                                const lilac_token_buffers *buffers, double *sum, uint64_t *count);

#endif
