/* SPDX-License-Identifier: MIT */
#include "data/variant.h"

#include "core/memory.h"
#include "kernels/kernel_table.h"

#include <string.h>

static const char *const names[LILAC_VARIANT_COUNT] = {"mnist", "quantized", "rotated", "inverted", "plain"};

const char *lilac_variant_name(lilac_variant variant) {
    const int value = (int)variant;
    return value < 0 || value >= LILAC_VARIANT_COUNT ? NULL : names[value];
}

lilac_status lilac_variant_parse(const char *name, lilac_variant *variant) {
    if (name == NULL || variant == NULL) {
        return LILAC_ERROR_ARGUMENT;
    }
    for (int value = 0; value < LILAC_VARIANT_COUNT; value++) {
        if (strcmp(name, names[value]) == 0) {
            *variant = (lilac_variant)value;
            return LILAC_OK;
        }
    }
    return LILAC_ERROR_ARGUMENT;
}

/* out[i] = end[-1 - i]: eight bytes at a time, which compilers do not find by themselves. */
static void copy_reversed(size_t n, const uint8_t *end, uint8_t *out) {
    size_t i = 0;
    for (uint64_t eight; n - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, end - i - sizeof eight, sizeof eight);
        eight = __builtin_bswap64(eight);
        memcpy(out + i, &eight, sizeof eight);
    }
    for (; i < n; i++) {
        out[i] = end[-1 - (ptrdiff_t)i];
    }
}

void lilac_variant_bytes(lilac_variant variant, size_t pixels, const uint8_t *image, size_t start, size_t n,
                         uint8_t *out) {
    switch (variant) {
    case LILAC_VARIANT_QUANTIZED:
        /* 127/255 is below one half and 128/255 above it: there is no tie. */
        for (size_t i = 0; i < n; i++) {
            out[i] = image[start + i] >= 128 ? 255 : 0;
        }
        return;
    case LILAC_VARIANT_ROTATED:
        copy_reversed(n, image + pixels - start, out);
        return;
    case LILAC_VARIANT_INVERTED:
        for (size_t i = 0; i < n; i++) {
            out[i] = (uint8_t)(255 - image[start + i]);
        }
        return;
    case LILAC_VARIANT_ORIGINAL:
    case LILAC_VARIANT_PLAIN:
        memcpy(out, image + start, n);
        return;
    }
}

void lilac_variant_inputs(const lilac_context *context, lilac_variant variant, size_t pixels, const uint8_t *image,
                          float *inputs) {
    static const double mean = 0.1307, deviation = 0.3081;
    const lilac_elementwise_kernels *kernels = &context->kernels->elementwise;
    if (variant == LILAC_VARIANT_ORIGINAL) {
        kernels->bytes_to_float(pixels, image, lilac_byte_scale_of(1 / (255 * deviation)), (float)(-mean / deviation),
                                inputs);
        return;
    }
    const lilac_byte_scale scale = lilac_byte_scale_of(1.0 / 255);
    /* The changed bytes go through a small buffer, so that an image of any size needs no memory. */
    uint8_t part[1024];
    for (size_t start = 0; start < pixels; start += sizeof part) {
        const size_t n = lilac_size_min(pixels - start, sizeof part);
        lilac_variant_bytes(variant, pixels, image, start, n, part);
        kernels->bytes_to_float(n, part, scale, 0.0f, inputs + start);
    }
}
