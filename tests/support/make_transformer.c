/* SPDX-License-Identifier: MIT */
/* Writes a small untrained transformer for the tests of the program. Usage: make_transformer FILE ATTENTION OUTPUT
 * LENGTH, with the names that settings have in files. */
#include "model/transformer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int choice(const char *const *names, const char *name) {
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    fprintf(stderr, "make_transformer: no '%s'\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fputs("usage: make_transformer FILE ATTENTION OUTPUT LENGTH\n", stderr);
        return 2;
    }
    const lilac_transformer_config config = {
        .length = (size_t)strtoul(argv[4], NULL, 10),
        .layers = 1,
        .heads = 2,
        .head_size = 4,
        .feed_forward = 16,
        .value_width = 8,
        .position_width = 8,
        .attention = (lilac_transformer_attention)choice(lilac_transformer_attention_names, argv[2]),
        .output = (lilac_transformer_output)choice(lilac_transformer_output_names, argv[3]),
        .mixtures = 2,
        .seed = 1};
    lilac_context *context = NULL;
    lilac_transformer *model = NULL;
    lilac_status status = lilac_context_create(NULL, &context);
    if (status == LILAC_OK) {
        status = lilac_transformer_create(context, &config, &model);
    }
    if (status == LILAC_OK) {
        status = lilac_transformer_save(context, model, LILAC_PRECISION_F32, argv[1]);
    }
    if (status != LILAC_OK) {
        fprintf(stderr, "make_transformer: %s\n", lilac_context_message(context));
    }
    lilac_transformer_destroy(model);
    lilac_context_destroy(context);
    return status == LILAC_OK ? 0 : 1;
}
