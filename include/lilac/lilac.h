/* SPDX-License-Identifier: MIT */
/*
 * Lilac: linear attention and low-rank adaptation in C. This header includes all others, in teaching order.
 *
 * Letters used throughout for sizes:
 *   B  batch (rows of a batch)            N  sequence length
 *   H  heads                              D  size of a query or key     M  size of a value
 *   C  size of a feature map's range      F  features (model width)     r  rank of a low-rank adapter
 *
 * All matrices are row major. Sizes and strides count elements, not bytes, unless a name says bytes. Losses are in nats,
 * accuracies from 0 to 1, times in seconds.
 *
 * What holds wherever a comment does not say otherwise:
 *   Errors    A function that can fail returns a lilac_status. On failure its outputs are untouched, objects are as they
 *             were, nothing is leaked, and the context has a message. Comments name the errors without LILAC_ERROR_;
 *             "FORMAT and its kin" are those of a file's content: FORMAT, MAGIC, TRUNCATED, TRAILING, OVERFLOW and
 *             UNSUPPORTED. Functions that return no status need valid pointers and indices within range.
 *   Aliasing  Outputs overlap neither each other, nor inputs, nor the workspace.
 *   Memory    The caller owns what it hands in, which has to stay only as long as the call. What a create or load
 *             function gives is freed by the destroy function of that type, in any order, also after the context.
 *   Strings   are UTF-8. Those that functions return are constant, or live as long as the object they were asked of.
 *   Threads   One call at a time may use a context, and one may change an object, which none may read meanwhile. An
 *             object that is only read (const) may be used by several threads at once, each with its own context.
 */
#ifndef LILAC_H
#define LILAC_H

/* clang-format off */
#include <lilac/status.h>
#include <lilac/context.h>
#include <lilac/feature_map.h>
#include <lilac/attention.h>
#include <lilac/dataset.h>
#include <lilac/lora.h>
#include <lilac/mlp.h>
#include <lilac/transformer.h>
#include <lilac/generation.h>
#include <lilac/train.h>
#include <lilac/train_transformer.h>
/* clang-format on */

#endif
