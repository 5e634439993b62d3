/* SPDX-License-Identifier: MIT */
/* Checkpoint files: a refused one changes nothing, an accepted one can be written and read the same. */
#include "fuzz.h"

#include "train/checkpoint.h"

#include <string.h>

enum { COUNT = 5, MOST_STEPS = 1000 };

typedef struct numbers {
    float parameters[COUNT], moment1[COUNT], moment2[COUNT];
} numbers;

static lilac_checkpoint checkpoint_over(numbers *n) {
    return (lilac_checkpoint){
        .count = COUNT, .parameters = n->parameters, .moment1 = n->moment1, .moment2 = n->moment2};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lilac_settings settings = {.count = 0};
    lilac_settings_add(&settings, "optimiser", "adamw");
    lilac_settings_add_number(&settings, "learning rate", 0.001);
    static const numbers zeros;
    numbers first = zeros, second = zeros;
    lilac_checkpoint checkpoint = checkpoint_over(&first), again = checkpoint_over(&second);
    const char *path = fuzz_input_file(data, size), *written_path = fuzz_output_file();
    if (!fuzz_succeeded(lilac_checkpoint_read(fuzz_context(), path, &settings, MOST_STEPS, &checkpoint))) {
        fuzz_require(memcmp(&first, &zeros, sizeof first) == 0 && checkpoint.step == 0 && checkpoint.seconds == 0.0,
                     "a refused file changes nothing");
        return 0;
    }
    fuzz_require(checkpoint.step <= MOST_STEPS && checkpoint.seconds >= 0.0, "the numbers are possible");
    fuzz_require(lilac_checkpoint_write(fuzz_context(), &checkpoint, &settings, written_path) == LILAC_OK,
                 "a checkpoint can be written");
    fuzz_require(lilac_checkpoint_read(fuzz_context(), written_path, &settings, MOST_STEPS, &again) == LILAC_OK,
                 "it can be read");
    fuzz_require(memcmp(&first, &second, sizeof first) == 0 && checkpoint.step == again.step &&
                     checkpoint.seconds == again.seconds,
                 "what is read is what was written");
    return 0;
}
