/* SPDX-License-Identifier: MIT */
/* Adapter files: an adapter that is read can be written and read the same. */
#include "fuzz.h"

#include <lilac/lora.h>

#include <string.h>

static void save(const lilac_adapter *adapter) {
    fuzz_require(lilac_adapter_save(fuzz_context(), adapter, fuzz_output_file()) == LILAC_OK,
                 "an adapter can be written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lilac_adapter *adapter, *again;
    if (!fuzz_succeeded(lilac_adapter_load(fuzz_context(), fuzz_input_file(data, size), NULL, &adapter))) {
        return 0;
    }
    save(adapter);
    size_t written_size;
    uint8_t *written = fuzz_output(&written_size);
    fuzz_require(lilac_adapter_load(fuzz_context(), fuzz_output_file(), NULL, &again) == LILAC_OK, "it can be read");
    const size_t count = lilac_adapter_parameter_count(adapter);
    fuzz_require(
        lilac_adapter_parameter_count(again) == count &&
            memcmp(lilac_adapter_parameters(adapter), lilac_adapter_parameters(again), count * sizeof(float)) == 0,
        "the weights are the same");
    save(again);
    fuzz_require_output(written, written_size);
    lilac_adapter_destroy(again);
    lilac_adapter_destroy(adapter);
    return 0;
}
