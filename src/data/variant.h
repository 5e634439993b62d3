/* SPDX-License-Identifier: MIT */
/* Turning an image's bytes into a model's inputs. Every variant is a change of bytes followed by byte * scale + offset.
 */
#ifndef LILAC_DATA_VARIANT_H
#define LILAC_DATA_VARIANT_H

#include "runtime/context.h"

#include <lilac/dataset.h>

/*
 * The elements start .. start+n-1 of the variant of an image of that many pixels, as bytes: 255 stands for 1. out (n)
 * must not overlap image.
 */
void lilac_variant_bytes(lilac_variant variant, size_t pixels, const uint8_t *image, size_t start, size_t n,
                         uint8_t *out);

/* The variant of an image as a model's inputs, computed with the context's kernels. */
void lilac_variant_inputs(const lilac_context *context, lilac_variant variant, size_t pixels, const uint8_t *image,
                          float *inputs);

#endif
