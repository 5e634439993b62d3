/* SPDX-License-Identifier: MIT */
/* Transformer files: a model that is read can be written and read the same, and gives outputs. */
#include "fuzz.h"

#include <lilac/generation.h>

#include <stdlib.h>
#include <string.h>

/* Any weights may give any numbers, but must be safe to compute with. */
static void step(const lilac_transformer *model) {
    lilac_transformer_state_config config;
    lilac_transformer_state *state;
    lilac_transformer_state_config_default(&config);
    config.length = 2;
    if (!fuzz_succeeded(lilac_transformer_state_create(fuzz_context(), model, &config, &state))) {
        return;
    }
    const lilac_transformer_config *sizes = lilac_transformer_get_config(model);
    float *outputs =
        calloc(sizes->output == LILAC_TRANSFORMER_CATEGORICAL ? 256 : 3 * sizes->mixtures, sizeof *outputs);
    fuzz_require(outputs != NULL, "there is memory");
    const uint8_t token = 200;
    fuzz_require(lilac_transformer_state_step(fuzz_context(), state, &token, outputs) == LILAC_OK,
                 "a model takes in a token");
    free(outputs);
    lilac_transformer_state_destroy(state);
}

static void save(const lilac_transformer *model) {
    fuzz_require(lilac_transformer_save(fuzz_context(), model, LILAC_PRECISION_F32, fuzz_output_file()) == LILAC_OK,
                 "a model can be written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lilac_transformer *model, *again;
    if (!fuzz_succeeded(lilac_transformer_load(fuzz_context(), fuzz_input_file(data, size), &model))) {
        return 0;
    }
    save(model);
    size_t written_size;
    uint8_t *written = fuzz_output(&written_size);
    fuzz_require(lilac_transformer_load(fuzz_context(), fuzz_output_file(), &again) == LILAC_OK, "it can be read");
    const size_t count = lilac_transformer_parameter_count(model);
    fuzz_require(lilac_transformer_parameter_count(again) == count &&
                     memcmp(lilac_transformer_parameters(model), lilac_transformer_parameters(again),
                            count * sizeof(float)) == 0,
                 "the weights are the same");
    save(again);
    fuzz_require_output(written, written_size);
    step(model);
    lilac_transformer_destroy(again);
    lilac_transformer_destroy(model);
    return 0;
}
