/* SPDX-License-Identifier: MIT */
#include "common_options.h"

const char *const lilac_precision_choices[] = {"f32", "bf16", "f16", NULL};
const char *const lilac_storage_choices[] = {"f32", "bf16", NULL};
const char *const lilac_optimiser_choices[] = {"adamw", "radam", "muon", NULL};

static const char *const cpu_levels[] = {"scalar", "avx2", "avx512", NULL};

static const lilac_option compute_options[] = {
    {.name = "threads",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, threads),
     .value = "N",
     .help = "work on N threads",
     .initial_note = "one for each processor",
     .minimum = 1,
     .maximum = 1024},
    {.name = "cpu",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(lilac_common_settings, cpu),
     .help = "use no vector instructions beyond these; oneDNN is kept to them too, or to SSE4.1 for scalar",
     .initial_note = "LILAC_CPU in the environment, else the best this machine has",
     .choices = cpu_levels},
    {.name = "quiet",
     .letter = 'q',
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(lilac_common_settings, quiet),
     .help = "print results and errors only: no progress, no notes"},
};

static const lilac_option seed_options[] = {
    {.name = "seed",
     .type = LILAC_OPTION_UNSIGNED,
     .offset = offsetof(lilac_common_settings, seed),
     .value = "N",
     .help = "seed of the random numbers: the same seed gives the same result",
     .initial = "1"},
};

static const lilac_option data_options[] = {
    {.name = "data",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(lilac_common_settings, data),
     .value = "DIR",
     .help = "folder with the four MNIST files, plain or .gz",
     .initial_note = "LILAC_DATA in the environment, else data/mnist",
     .without = "bytes"},
};

static const lilac_option test_image_options[] = {
    {.name = "images",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, test_images),
     .value = "N",
     .help = "evaluate the first N test images",
     .initial = "0",
     .initial_note = "all",
     .minimum = 0,
     .maximum = 1000000000,
     .without = "bytes"},
};

/* The transformers of the completion experiment. */
static const lilac_option model_options[] = {
    {.name = "linear",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(lilac_common_settings, models[LILAC_TRANSFORMER_LINEAR]),
     .value = "FILE",
     .help = "the transformer with linear attention",
     .initial_note = "models/linear.safetensors, if it is there"},
    {.name = "softmax",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(lilac_common_settings, models[LILAC_TRANSFORMER_SOFTMAX]),
     .value = "FILE",
     .help = "the transformer with softmax attention",
     .initial_note = "models/softmax.safetensors, if it is there"},
};

static const lilac_option training_options[] = {
    {.name = "epochs",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, training.epochs),
     .value = "N",
     .help = "passes over the training images, at most",
     .initial = "10",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, training.batch),
     .value = "N",
     .help = "images a step",
     .initial = "1024",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "learning-rate",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(lilac_common_settings, training.learning_rate),
     .value = "X",
     .help = "learning rate of AdamW",
     .initial = "2e-4",
     .minimum = 0,
     .maximum = 100},
    {.name = "weight-decay",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(lilac_common_settings, training.weight_decay),
     .value = "X",
     .help = "decoupled weight decay of AdamW",
     .initial = "0.01",
     .minimum = 0,
     .maximum = 100},
    {.name = "validation",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, training.validation),
     .value = "N",
     .help = "training images to set aside for validation",
     .initial = "5000",
     .minimum = 0,
     .maximum = 1000000},
    {.name = "patience",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, training.patience),
     .value = "N",
     .help = "stop after N epochs in a row without a lower validation loss; 0: never",
     .initial = "10",
     .minimum = 0,
     .maximum = 1000000,
     .without = "validation=0"},
};

static const char *const scale_rules[] = {[LILAC_LORA_SCALE_FIXED] = "fixed",
                                          [LILAC_LORA_SCALE_ALPHA_OVER_RANK] = "alpha/r",
                                          [LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK] = "alpha/sqrt(r)",
                                          NULL};
static const char *const initialisations[] = {
    [LILAC_LORA_INITIALISE_STANDARD] = "standard", [LILAC_LORA_INITIALISE_REPORT] = "report", NULL};

static const lilac_option lora_options[] = {
    {.name = "rank",
     .heading = "Adapter",
     .letter = 'r',
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, lora.rank),
     .value = "N",
     .help = "rank of the change of each layer",
     .initial = "8",
     .minimum = 1,
     .maximum = 65536,
     .with = "base"},
    {.name = "alpha",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(lilac_common_settings, lora.alpha),
     .value = "X",
     .help = "alpha, from which the scale of the change follows",
     .initial = "8",
     .minimum = -1e6,
     .maximum = 1e6,
     .with = "base"},
    {.name = "scale",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(lilac_common_settings, lora.scale_rule),
     .help = "the scale: alpha itself, or alpha divided by the rank or its root",
     .initial = "alpha/r",
     .choices = scale_rules,
     .with = "base"},
    {.name = "init",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(lilac_common_settings, lora.initialisation),
     .help = "how A starts: uniform up to 1/sqrt(inputs), or up to 1/sqrt(rank) as in the report",
     .initial = "standard",
     .choices = initialisations,
     .with = "base"},
};

static const lilac_option strength_options[] = {
    {.name = "strength",
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(lilac_common_settings, strength),
     .value = "X",
     .help = "how strongly adapters act: 1 as trained, 0 not at all",
     .initial = "1",
     .minimum = -1000,
     .maximum = 1000,
     .with = "adapter"},
};

static const lilac_option sampling_options[] = {
    {.name = "adapter",
     .letter = 'a',
     .type = LILAC_OPTION_NAMES,
     .offset = offsetof(lilac_common_settings, sampling.adapters),
     .value = "FILE",
     .help =
         "an adapter of the transformer to use it with; of several, the sequences take one after the other in turn"},
    {.name = "temperature",
     .letter = 't',
     .type = LILAC_OPTION_NUMBER,
     .offset = offsetof(lilac_common_settings, sampling.temperature),
     .value = "X",
     .help = "1: as trained, less: more likely, 0: the most likely byte (a mixture still draws which of its logistics)",
     .initial = "1",
     .minimum = 0,
     .maximum = 100},
    {.name = "batch",
     .type = LILAC_OPTION_INTEGER,
     .offset = offsetof(lilac_common_settings, sampling.batch),
     .value = "N",
     .help = "sequences at a time; the result does not depend on it",
     .initial_note = "as many as are fast",
     .minimum = 1,
     .maximum = 1000000},
    {.name = "precision",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(lilac_common_settings, sampling.precision),
     .help = "of the weights while they are used",
     .initial = "f32",
     .choices = lilac_storage_choices},
    {.name = "cache",
     .type = LILAC_OPTION_CHOICE,
     .offset = offsetof(lilac_common_settings, sampling.cache),
     .help = "what softmax attention keeps keys and values in: bf16 rounds them and is faster",
     .initial = "f32",
     .choices = lilac_storage_choices,
     .without = "no-cache"},
    {.name = "no-cache",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(lilac_common_settings, sampling.no_cache),
     .help = "read the whole sequence again for each byte, to compare times"},
};

static const lilac_option help_options[] = {
    {.name = "help",
     .letter = 'h',
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(lilac_common_settings, help),
     .help = "show this help"},
};

size_t lilac_option_groups(const lilac_command *command, void *settings, lilac_common_settings *common,
                           lilac_option_group groups[LILAC_GROUPS_MAX]) {
    size_t count = 0;
    groups[count++] = (lilac_option_group){"Options", command->options, command->option_count, settings};
    if (command->takes & LILAC_TAKES_TEST_IMAGES) {
        groups[count++] = (lilac_option_group){NULL, test_image_options, LILAC_COUNT(test_image_options), common};
    }
    if (command->takes & LILAC_TAKES_MODELS) {
        groups[count++] = (lilac_option_group){NULL, model_options, LILAC_COUNT(model_options), common};
    }
    if (command->takes & LILAC_TAKES_LORA) {
        groups[count++] = (lilac_option_group){NULL, lora_options, LILAC_COUNT(lora_options), common};
    }
    if (command->takes & LILAC_TAKES_SAMPLING) {
        groups[count++] = (lilac_option_group){NULL, sampling_options, LILAC_COUNT(sampling_options), common};
    }
    if (command->takes & LILAC_TAKES_STRENGTH) {
        groups[count++] = (lilac_option_group){NULL, strength_options, LILAC_COUNT(strength_options), common};
    }
    if (command->takes & LILAC_TAKES_TRAINING) {
        groups[count++] =
            (lilac_option_group){"Training options", training_options, LILAC_COUNT(training_options), common};
    }
    const char *title = "Common options";
    if (command->takes & LILAC_TAKES_DATA) {
        groups[count++] = (lilac_option_group){title, data_options, LILAC_COUNT(data_options), common};
        title = NULL;
    }
    if (command->takes & LILAC_TAKES_SEED) {
        groups[count++] = (lilac_option_group){title, seed_options, LILAC_COUNT(seed_options), common};
        title = NULL;
    }
    if (command->takes & LILAC_TAKES_COMPUTE) {
        groups[count++] = (lilac_option_group){title, compute_options, LILAC_COUNT(compute_options), common};
        title = NULL;
    }
    groups[count++] = (lilac_option_group){title, help_options, LILAC_COUNT(help_options), common};
    return count;
}
