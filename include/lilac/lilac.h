/* SPDX-License-Identifier: MIT */
/*
 * Lilac: linear attention and low-rank adaptation in C. This header includes all others, in teaching order.
 *
 * Letters used throughout for sizes:
 *   B  batch (rows of a batch)            N  sequence length
 *   H  heads                              D  size of a query or key     M  size of a value
 *   C  size of a feature map's range      F  features (model width)     r  rank of a low-rank adapter
 *
 * All matrices are row major. Sizes and strides count elements, not bytes.
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
