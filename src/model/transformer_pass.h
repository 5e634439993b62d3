/* SPDX-License-Identifier: MIT */
/*
 * Forward and backward passes of a transformer over B sequences of N tokens, T = B N.
 *
 * A pass object holds the activations of one such pass. With precision BF16 the products of matrices take operands that
 * are rounded to bf16 and sum in f32, and so do those of softmax attention where the cpu is fast at them; with
 * F16 they are those of half precision (linalg/matmul.h). All else (the output layer, residuals, norms, other
 * attention, losses, gradients) stays f32.
 */
#ifndef LILAC_MODEL_TRANSFORMER_PASS_H
#define LILAC_MODEL_TRANSFORMER_PASS_H

#include "core/random.h"
#include "linalg/matmul.h"
#include "model/transformer.h"

typedef struct lilac_transformer_pass lilac_transformer_pass;

typedef struct lilac_transformer_pass_config {
    size_t B, N;
    lilac_precision precision;
    const lilac_adapter *adapter; /* NULL: none. With one the model is frozen, and gradients are the adapter's */
    bool backward;                /* false: no backward pass follows, and the layers share their memory */
    /* N ascending places in longer rows, which must outlive the pass: where the tokens stand that it sees. NULL: at
     * 0 .. N - 1. */
    const uint32_t *places;
    bool full; /* each token attends to its whole sequence; false: to itself and those before it */
} lilac_transformer_pass_config;

/*
 * Creates the activations for a model, which must outlive the pass (like the adapter). Errors: ARGUMENT, SHAPE (N above
 * the model's length), BASE_MISMATCH, UNSUPPORTED (BF16 on a cpu or with a library without it,
 * F16 where it is not fast), OVERFLOW, MEMORY.
 */
lilac_status lilac_transformer_pass_create(lilac_context *context, const lilac_transformer *model,
                                           const lilac_transformer_pass_config *config, lilac_transformer_pass **out);
void lilac_transformer_pass_destroy(lilac_transformer_pass *pass);

/* What it allocated; and what a pass would, with the errors of creating one but MEMORY. */
size_t lilac_transformer_pass_bytes(const lilac_transformer_pass *pass);
lilac_status lilac_transformer_pass_count(lilac_context *context, const lilac_transformer *model,
                                          const lilac_transformer_pass_config *config, size_t *bytes);

/* The products that a precision takes in this context. BF16 has two kinds; where neither can be had it is the one that
 * says so. */
lilac_matmul_type lilac_transformer_products(const lilac_context *context, lilac_precision precision);

/* Whether they can be had. Errors: UNSUPPORTED, MEMORY. */
lilac_status lilac_transformer_check_precision(lilac_context *context, lilac_precision precision);

/* To be called after each change of the model's weights (and not before the first pass): rounds them again. */
void lilac_transformer_pass_update(lilac_context *context, lilac_transformer_pass *pass);

/*
 * Computes the outputs (B x N x O, valid until the next pass) for the first B sequences of the pass, B being at most
 * that of its config. Row b of tokens starts at tokens + b * stride and has N tokens or, with places, as many as these
 * ask for. dropout NULL: none; else the model's, layer l taking its numbers from the stream `dropout` from group 3 l *
 * 2^40 on.
 */
lilac_status lilac_transformer_pass_forward(lilac_context *context, lilac_transformer_pass *pass, size_t B,
                                            const uint8_t *tokens, size_t stride, const lilac_random *dropout,
                                            const float **outputs);

/*
 * The losses (B x N, in nats) of such a forward pass: the target of a token is the next one of its row, seen or
 * not, so that rows have one token more here. Where a backward pass follows, the outputs are replaced by the gradient
 * of scale * (sum of the losses).
 */
void lilac_transformer_pass_loss(lilac_context *context, lilac_transformer_pass *pass, const uint8_t *tokens,
                                 size_t stride, float scale, float *losses);

/*
 * To be called, if at all, between loss and backward: cuts each number of the outputs' gradient to -limit .. limit.
 * That of a mixture's mean is as large as its scale is small, up to thousands of times those of the others.
 */
void lilac_transformer_pass_clip_outputs(lilac_context *context, lilac_transformer_pass *pass, float limit);

/*
 * The backward pass after forward (with the same dropout) and loss: adds to gradient, which has the layout of the
 * model's parameters or, with an adapter, of the adapter's.
 */
lilac_status lilac_transformer_pass_backward(lilac_context *context, lilac_transformer_pass *pass, float *gradient);

/*
 * The layers and the final norm alone, as an encoder of numbers: outputs (B x N x F, valid until the next pass) from
 * input (B x N x F). B and dropout as in lilac_transformer_pass_forward.
 */
lilac_status lilac_transformer_pass_encode(lilac_context *context, lilac_transformer_pass *pass, size_t B,
                                           const float *input, const lilac_random *dropout, const float **outputs);

/*
 * The backward pass after encode: from the gradient of the outputs (B x N x F) to that of the input, which is valid
 * until the next pass. Adds to gradient as lilac_transformer_pass_backward does.
 */
lilac_status lilac_transformer_pass_encode_backward(lilac_context *context, lilac_transformer_pass *pass,
                                                    const float *output_gradient, float *gradient,
                                                    const float **input_gradient);

/* Floating-point operations (multiplications and additions) of a forward, or of a forward and backward pass over one
 * sequence of N tokens with causal attention. */
double lilac_transformer_operations(const lilac_transformer *model, const lilac_adapter *adapter, size_t N,
                                    bool backward);

#endif
