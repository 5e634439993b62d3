/* SPDX-License-Identifier: MIT */
/*
 * Lilac: linear attention and low-rank adaptation in C. This header includes all others, in teaching order.
 *
 * Letters used throughout for sizes:
 *   B  batch (rows of a batch)            N  sequence length
 *   H  heads                              D  size of a query or key     M  size of a value
 *   C  size of a feature map's range      F  features (model width)     r  rank of a low-rank adapter
 *
 * All matrices are row major. Sizes and strides count elements, not bytes, unless a name says so. Losses are in nats,
 * accuracies go from 0 to 1, times are in seconds.
 *
 * What follows holds wherever a comment does not say otherwise.
 *
 * Errors. A function that can fail returns a lilac_status. On failure outputs and objects are as they were, nothing is
 * leaked, and the context has a message. Comments name the errors without LILAC_ERROR_; "FORMAT and its kin" are those
 * of a file's content: FORMAT, MAGIC, TRUNCATED, TRAILING, OVERFLOW, UNSUPPORTED. A function without a status must be
 * given valid pointers, and indices within their range.
 *
 * Aliasing. Outputs overlap neither each other nor inputs nor a workspace.
 *
 * Memory. What a caller hands in is the caller's, and has to stay for the call only. What a create, clone or load
 * function gives is freed by the destroy function of its type, before or after the context that it was made with.
 * Strings are UTF-8; those that are returned live as long as the object that was asked, or as the program.
 *
 * Threads. One call at a time may use a context or change an object. An object that none changes (const) may be used by
 * several threads at once, each with a context of its own.
 *
 * Small numbers. On x86-64 most computations take numbers below the smallest normal one (1.2e-38) for zero, for they
 * are slow to compute with. How the caller's threads treat them stays as it is.
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
