/* SPDX-License-Identifier: MIT */
/* How fast attention runs. */
#ifndef LILAC_BENCH_ATTENTION_H
#define LILAC_BENCH_ATTENTION_H

#include <lilac/context.h>

#include <stdbool.h>
#include <stddef.h>

typedef enum lilac_bench_attention_kind { LILAC_BENCH_LINEAR, LILAC_BENCH_SOFTMAX } lilac_bench_attention_kind;

typedef struct lilac_bench_attention_config {
    lilac_bench_attention_kind kind;
    bool causal;
    bool bf16;     /* queries, keys and values are bf16; else f32 */
    bool backward; /* the forward pass and then the backward pass; else the forward pass alone */
    size_t batch, heads, tokens, key_size, value_size;
} lilac_bench_attention_config;

typedef struct lilac_bench_attention_figures {
    double seconds;     /* of the fastest run */
    double operations;  /* floating-point operations of the products that the maths asks for */
    size_t extra_bytes; /* memory beside inputs, outputs and gradients: workspace and what the forward pass saves */
} lilac_bench_attention_figures;

/*
 * Times runs on random inputs for about 0.3 seconds, at least two. Errors: ARGUMENT (a size of 0), MEMORY, OVERFLOW.
 */
LILAC_MUST_USE lilac_status lilac_bench_attention(lilac_context *context, const lilac_bench_attention_config *config,
                                                  lilac_bench_attention_figures *out);

#endif
