/* SPDX-License-Identifier: MIT */
/* Writes small valid files of every kind into the folders of a corpus, for a fuzzer to start from. Usage: make_seeds
 * CORPUS_FOLDER */
#include "fuzz.h"

#include "train/checkpoint.h"

#include <lilac/attention.h>
#include <lilac/lora.h>
#include <lilac/mlp.h>
#include <lilac/transformer.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char path[4096];

static const char *seed_path(const char *corpus, const char *subject, const char *name) {
    fuzz_require(snprintf(path, sizeof path, "%s/%s", corpus, subject) < (int)sizeof path, "the path is short");
    (void)mkdir(path, 0777);
    fuzz_require(snprintf(path, sizeof path, "%s/%s/%s", corpus, subject, name) < (int)sizeof path,
                 "the path is short");
    return path;
}

static void made(lilac_status status) {
    fuzz_require(status == LILAC_OK, lilac_context_message(fuzz_context()));
}

static void write_mlp(const char *corpus) {
    const lilac_mlp_config config = {.layer_count = 2, .sizes = {3, 2, 2}, .dropout = 0.1, .seed = 1};
    const lilac_lora_config lora = {.rank = 1, .alpha = 2.0, .scale_rule = LILAC_LORA_SCALE_ALPHA_OVER_RANK};
    lilac_mlp *mlp;
    lilac_adapter *adapter;
    made(lilac_mlp_create(fuzz_context(), &config, &mlp));
    made(lilac_mlp_save(fuzz_context(), mlp, seed_path(corpus, "mlp", "two-layers")));
    made(lilac_mlp_save(fuzz_context(), mlp, seed_path(corpus, "safetensors", "mlp")));
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    made(lilac_adapter_create(fuzz_context(), &lora, &base, &adapter));
    made(lilac_adapter_save(fuzz_context(), adapter, seed_path(corpus, "adapter", "two-layers")));
    lilac_adapter_destroy(adapter);
    lilac_mlp_destroy(mlp);
}

static void write_transformer(const char *corpus, const char *name, lilac_transformer_config config,
                              lilac_precision precision) {
    lilac_transformer *model;
    config.length = 3;
    config.layers = config.heads = config.head_size = config.feed_forward = config.value_width = config.mixtures = 1;
    config.head_size = 2;
    made(lilac_transformer_create(fuzz_context(), &config, &model));
    made(lilac_transformer_save(fuzz_context(), model, precision, seed_path(corpus, "transformer", name)));
    lilac_transformer_destroy(model);
}

static void write_transformers(const char *corpus) {
    const lilac_transformer_config linear = {.position_width = 2};
    const lilac_transformer_config softmax = {.attention = LILAC_TRANSFORMER_SOFTMAX,
                                              .activation = LILAC_TRANSFORMER_GELU,
                                              .norm = LILAC_TRANSFORMER_PRE_NORM};
    const lilac_transformer_config random = {
        .features = LILAC_TRANSFORMER_POSITIVE_FEATURES, .feature_size = 3, .seed = 5, .dropout = 0.5};
    write_transformer(corpus, "linear", linear, LILAC_PRECISION_F32);
    write_transformer(corpus, "softmax", softmax, LILAC_PRECISION_BF16);
    write_transformer(corpus, "random-features", random, LILAC_PRECISION_BF16);
}

static void write_checkpoint(const char *corpus) {
    float numbers[15] = {1.0f, 2.0f, 3.0f};
    lilac_settings settings = {.count = 0};
    const lilac_checkpoint checkpoint = {
        .step = 7, .seconds = 1.5, .count = 5, .parameters = numbers, .moment1 = numbers + 5, .moment2 = numbers + 10};
    lilac_settings_add(&settings, "optimiser", "adamw");
    lilac_settings_add_number(&settings, "learning rate", 0.001);
    made(
        lilac_checkpoint_write(fuzz_context(), &checkpoint, &settings, seed_path(corpus, "checkpoint", "seven-steps")));
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: make_seeds CORPUS_FOLDER\n", stderr);
        return 2;
    }
    write_mlp(argv[1]);
    write_transformers(argv[1]);
    write_checkpoint(argv[1]);
    return 0;
}
