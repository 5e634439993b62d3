/* SPDX-License-Identifier: MIT */
/* The inside of an adapter. */
#ifndef LILAC_ADAPT_ADAPTER_H
#define LILAC_ADAPT_ADAPTER_H

#include "adapt/low_rank.h"

#include <lilac/lora.h>

enum { LILAC_LAYER_NAME_SIZE = 96 };

typedef struct lilac_adapter_entry {
    char name[LILAC_LAYER_NAME_SIZE]; /* of the adapted layer */
    size_t in, out;
    size_t A, Bt; /* offsets in the parameter block */
} lilac_adapter_entry;

struct lilac_adapter {
    lilac_lora_config config;
    double strength;
    uint8_t base_hash[LILAC_HASH_SIZE];
    size_t entry_count;
    lilac_adapter_entry *entries;
    size_t parameter_count;
    float *parameters;
};

/* The low-rank term of one entry. */
lilac_low_rank lilac_adapter_term(const lilac_adapter *adapter, size_t index);

/* BASE_MISMATCH unless the adapter's layers are these, by name, shape and order. Hashes are not compared. */
lilac_status lilac_adapter_check_layers(lilac_context *context, const lilac_adapter *adapter,
                                        const lilac_linear_layer *layers, size_t layer_count);

#endif
