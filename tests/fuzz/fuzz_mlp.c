/* SPDX-License-Identifier: MIT */
/* MLP files: a model that is read can be written and read the same. */
#include "fuzz.h"

#include <lilac/mlp.h>

#include <string.h>

static void save(const lilac_mlp *mlp) {
    fuzz_require(lilac_mlp_save(fuzz_context(), mlp, fuzz_output_file()) == LILAC_OK, "a model can be written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lilac_mlp *mlp, *again;
    if (!fuzz_succeeded(lilac_mlp_load(fuzz_context(), fuzz_input_file(data, size), &mlp))) {
        return 0;
    }
    save(mlp);
    size_t written_size;
    uint8_t *written = fuzz_output(&written_size);
    fuzz_require(lilac_mlp_load(fuzz_context(), fuzz_output_file(), &again) == LILAC_OK, "it can be read");
    const size_t count = lilac_mlp_parameter_count(mlp);
    fuzz_require(lilac_mlp_parameter_count(again) == count &&
                     memcmp(lilac_mlp_parameters(mlp), lilac_mlp_parameters(again), count * sizeof(float)) == 0,
                 "the weights are the same");
    save(again);
    fuzz_require_output(written, written_size);
    lilac_mlp_destroy(again);
    lilac_mlp_destroy(mlp);
    return 0;
}
