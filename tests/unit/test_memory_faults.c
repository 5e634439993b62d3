/* SPDX-License-Identifier: MIT */
/*
 * What computes, while memory is short: each allocation of trainings, of generation and of an experiment is refused in
 * turn. Outputs stay as they were, nothing leaks, what was lent can be used on, and what then succeeds gives the bytes
 * of a call that was never refused anything. Every attempt begins with a new context, which keeps nothing yet.
 */
#include "experiments/completion.h"
#include "support/contexts.h"
#include "support/sweep.h"
#include "support/temporary_file.h"
#include "support/toy_images.h"
#include "support/transformer_training.h"

#include <lilac/attention.h>
#include <lilac/generation.h>
#include <lilac/mlp.h>
#include <lilac/train.h>
#include <lilac/train_transformer.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { IMAGES = 20, CLASSES = 3, MOST_FLOATS = 1 << 14, ROWS = 2 };

static lilac_context *context, *outer; /* of an attempt; of all */
static int threads = 1;                /* of an attempt; two take longer to wake than to work */
static lilac_dataset *images;
static lilac_data_view view;
static lilac_token_source source;

/* The weights or the tokens that an attempt works on, as they were and as they should become. */
static float before[MOST_FLOATS], expected[MOST_FLOATS];

static int set_up(void **state) {
    (void)state;
    if (lilac_context_create(NULL, &outer) != LILAC_OK) {
        return 1;
    }
    images = toy_images_create(outer, 0, IMAGES, TINY_SIDE, CLASSES);
    view = lilac_data_view_all(images, LILAC_VARIANT_ORIGINAL);
    source = (lilac_token_source){.images = &view};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    lilac_dataset_destroy(images);
    lilac_context_destroy(outer);
    return 0;
}

static void create_context(void) {
    context = context_create(threads, NULL);
}

static void destroy_context(void) {
    lilac_context_destroy(context);
    context = NULL;
}

/* The first attempt is refused nothing: check keeps its result as the right one. */
static void sweep_attempts(void (*prepare)(void *user), lilac_status (*attempt)(void *user),
                           void (*check)(void *user, lilac_status status), void *user, size_t least) {
    const lilac_test_sweep sweep = {
        .context = &context, .prepare = prepare, .attempt = attempt, .after = check, .user = user};
    prepare(user);
    assert_int_equal(attempt(user), LILAC_OK);
    check(user, LILAC_OK);
    const size_t count = lilac_test_sweep_allocations(&sweep);
    if (count < least) {
        fail_msg("%zu allocations, expected at least %zu", count, least);
    }
}

/* ---- Training an MLP, or an adapter of it ---- */

typedef struct mlp_training {
    bool adapts;
    lilac_mlp *mlp;
    lilac_adapter *adapter;
    float *trained; /* the weights that change */
    size_t count;
    lilac_epoch_metrics metrics[2];
    bool known; /* expected is there */
} mlp_training;

static void prepare_mlp(void *user) {
    mlp_training *t = user;
    create_context();
    const lilac_mlp_config config = {
        .layer_count = 3, .sizes = {TINY_PIXELS, 8, 6, CLASSES}, .dropout = 0.1, .seed = 3};
    assert_int_equal(lilac_mlp_create(context, &config, &t->mlp), LILAC_OK);
    t->trained = lilac_mlp_parameters(t->mlp);
    t->count = lilac_mlp_parameter_count(t->mlp);
    if (t->adapts) {
        const lilac_lora_config lora = {.rank = 2, .alpha = 1};
        const lilac_lora_base base = lilac_mlp_lora_base(t->mlp);
        assert_int_equal(lilac_adapter_create(context, &lora, &base, &t->adapter), LILAC_OK);
        t->trained = lilac_adapter_parameters(t->adapter);
        t->count = lilac_adapter_parameter_count(t->adapter);
    }
    assert_in_range(t->count, 1, MOST_FLOATS);
    memcpy(before, t->trained, t->count * sizeof *before);
    t->metrics[1].training_loss = NAN;
}

static lilac_status train_mlp(void *user) {
    mlp_training *t = user;
    lilac_training_config config;
    lilac_training_config_default(&config);
    config.batch = 8;
    config.epochs = 2;
    return lilac_train_mlp(context, &config, t->mlp, t->adapter, &view, &view, t->metrics, NULL);
}

static void check_mlp(void *user, lilac_status status) {
    mlp_training *t = user;
    if (status != LILAC_OK) {
        /* Some steps may be made. */
        assert_true(isnan(t->metrics[1].training_loss));
        memcpy(t->trained, before, t->count * sizeof *before);
        assert_int_equal(train_mlp(t), LILAC_OK);
    }
    if (!t->known) {
        memcpy(expected, t->trained, t->count * sizeof *expected);
        t->known = true;
    }
    assert_memory_equal(t->trained, expected, t->count * sizeof *expected);
    assert_memory_not_equal(t->trained, before, t->count * sizeof *before);
    lilac_adapter_destroy(t->adapter);
    lilac_mlp_destroy(t->mlp);
    destroy_context();
}

static void test_training_an_mlp(void **state) {
    (void)state;
    for (int adapts = 0; adapts < 2; adapts++) {
        mlp_training t = {.adapts = adapts};
        sweep_attempts(prepare_mlp, train_mlp, check_mlp, &t, 10);
    }
}

/* ---- Training a transformer, or an adapter of it ---- */

typedef struct transformer_training {
    lilac_transformer_config config;
    bool adapts, resumes;
    size_t border;
    lilac_precision precision;
    temporary_file file; /* the checkpoint, if it resumes */
    lilac_transformer *model;
    lilac_adapter *adapter;
    float *trained;
    size_t count;
    lilac_transformer_outcome outcome;
    bool known;
} transformer_training;

static lilac_transformer_training training_of(const transformer_training *t) {
    lilac_transformer_training config = tiny_training();
    config.steps = t->resumes ? 5 : 1;
    config.validation_interval = 2;
    config.precision = t->precision;
    config.border = t->border;
    if (t->resumes) {
        config.checkpoint = t->file.path;
        config.checkpoint_interval = 1;
        config.resume = true;
    }
    return config;
}

static lilac_status train_transformer(void *user) {
    transformer_training *t = user;
    const lilac_transformer_training config = training_of(t);
    return lilac_train_transformer(context, &config, t->model, t->adapter, &source, &source, &t->outcome);
}

/* Makes the model and, to go on from, the checkpoint of the second step. */
static void prepare_transformer(void *user) {
    transformer_training *t = user;
    create_context();
    assert_int_equal(lilac_transformer_create(context, &t->config, &t->model), LILAC_OK);
    t->trained = lilac_transformer_parameters(t->model);
    t->count = lilac_transformer_parameter_count(t->model);
    if (t->adapts) {
        const lilac_lora_config lora = {.rank = 2, .alpha = 4};
        assert_int_equal(lilac_transformer_adapter_create(context, t->model, "*.query,*.up", &lora, &t->adapter),
                         LILAC_OK);
        t->trained = lilac_adapter_parameters(t->adapter);
        t->count = lilac_adapter_parameter_count(t->adapter);
    }
    assert_in_range(t->count, 1, MOST_FLOATS);
    memcpy(before, t->trained, t->count * sizeof *before);
    if (t->resumes) {
        unlink(t->file.path);
        lilac_transformer_training config = training_of(t);
        config.seconds = 1e-9;
        config.resume = false;
        assert_int_equal(lilac_train_transformer(context, &config, t->model, t->adapter, &source, NULL, NULL),
                         LILAC_OK);
        memcpy(t->trained, before, t->count * sizeof *before);
        destroy_context();
        create_context();
    }
    t->outcome = (lilac_transformer_outcome){.metrics = {.step = 99}};
}

static void check_transformer(void *user, lilac_status status) {
    transformer_training *t = user;
    if (status != LILAC_OK) {
        assert_int_equal(t->outcome.metrics.step, 99);
        if (t->resumes) {
            /* The checkpoint is that of a step, and nothing lies beside it. */
            assert_int_equal(temporary_file_count(&t->file), 1);
        }
        if (t->resumes || t->border > 0) {
            /* Some steps may be made: validation sees images of another size than they do. */
            memcpy(t->trained, before, t->count * sizeof *before);
        }
        assert_memory_equal(t->trained, before, t->count * sizeof *before);
        assert_int_equal(train_transformer(t), LILAC_OK);
    }
    assert_true(t->outcome.finished && isfinite(t->outcome.metrics.validation));
    if (!t->known) {
        memcpy(expected, t->trained, t->count * sizeof *expected);
        t->known = true;
    }
    assert_memory_equal(t->trained, expected, t->count * sizeof *expected);
    assert_memory_not_equal(t->trained, before, t->count * sizeof *before);
    lilac_adapter_destroy(t->adapter);
    lilac_transformer_destroy(t->model);
    destroy_context();
}

static void sweep_transformer(transformer_training *t) {
    temporary_file_create(&t->file);
    t->config.layers = 1;
    sweep_attempts(prepare_transformer, train_transformer, check_transformer, t, 15);
    temporary_file_destroy(&t->file);
}

static void test_training_a_transformer(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        for (int kind = 0; kind < 5; kind++) {
            transformer_training t = {.config = tiny_transformer_config((lilac_transformer_attention)attention, 0.1),
                                      .adapts = kind == 1,
                                      .resumes = kind == 2,
                                      .border = kind == 4,
                                      .precision = kind == 3   ? LILAC_PRECISION_BF16
                                                   : kind == 4 ? LILAC_PRECISION_F16
                                                               : LILAC_PRECISION_F32};
            threads = kind == 0 ? 2 : 1;
            sweep_transformer(&t);
        }
    }
}

static void test_training_with_each_feature_map(void **state) {
    (void)state;
    for (int features = 0; features <= LILAC_TRANSFORMER_POSITIVE_FEATURES; features++) {
        transformer_training t = {.config = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0)};
        t.config.features = (lilac_transformer_features)features;
        sweep_transformer(&t);
    }
}

/* ---- Generation ---- */

typedef struct generation {
    lilac_transformer *model;
    lilac_adapter *adapter;
    bool no_cache;
    lilac_precision precision;
    uint8_t tokens[ROWS * TINY_PIXELS], expected[ROWS * TINY_PIXELS];
    bool known;
} generation;

enum { PROMPT = 5 };

static void prepare_generation(void *user) {
    generation *g = user;
    create_context();
    for (size_t i = 0; i < sizeof g->tokens; i++) {
        g->tokens[i] = (uint8_t)(i % TINY_PIXELS < PROMPT ? 9 * i : 77);
    }
}

static lilac_status generate(void *user) {
    generation *g = user;
    const lilac_adapter *const adapters[ROWS] = {g->adapter, NULL};
    lilac_generation_config config;
    lilac_generation_config_default(&config);
    config.count = ROWS;
    config.prompt = PROMPT;
    config.length = TINY_PIXELS;
    config.precision = g->precision;
    config.adapters = g->adapter != NULL ? adapters : NULL;
    config.no_cache = g->no_cache;
    return lilac_generate(context, g->model, &config, g->tokens, NULL);
}

static void check_generation(void *user, lilac_status status) {
    generation *g = user;
    if (status != LILAC_OK) {
        for (size_t i = 0; i < sizeof g->tokens; i++) {
            assert_true(i % TINY_PIXELS >= PROMPT || g->tokens[i] == (uint8_t)(9 * i));
        }
        assert_int_equal(generate(g), LILAC_OK);
    }
    if (!g->known) {
        memcpy(g->expected, g->tokens, sizeof g->expected);
        g->known = true;
    }
    assert_memory_equal(g->tokens, g->expected, sizeof g->expected);
    destroy_context();
}

static void sweep_generation(const lilac_transformer_config *config, bool adapts, bool no_cache,
                             lilac_precision precision) {
    generation g = {.no_cache = no_cache, .precision = precision};
    assert_int_equal(lilac_transformer_create(outer, config, &g.model), LILAC_OK);
    if (adapts) {
        const lilac_lora_config lora = {.rank = 2, .alpha = 4};
        assert_int_equal(lilac_transformer_adapter_create(outer, g.model, "*.query,*.up", &lora, &g.adapter), LILAC_OK);
    }
    sweep_attempts(prepare_generation, generate, check_generation, &g, 5);
    lilac_adapter_destroy(g.adapter);
    lilac_transformer_destroy(g.model);
}

static void test_generation(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        const lilac_transformer_config config = tiny_transformer_config((lilac_transformer_attention)attention, 0);
        sweep_generation(&config, false, false, LILAC_PRECISION_F32);
        sweep_generation(&config, false, false, LILAC_PRECISION_BF16);
        sweep_generation(&config, true, false, LILAC_PRECISION_F32);
        sweep_generation(&config, false, true, LILAC_PRECISION_F32);
    }
}

static void test_generation_with_each_feature_map(void **state) {
    (void)state;
    for (int features = 0; features <= LILAC_TRANSFORMER_POSITIVE_FEATURES; features++) {
        lilac_transformer_config config = tiny_transformer_config(LILAC_TRANSFORMER_LINEAR, 0);
        config.features = (lilac_transformer_features)features;
        sweep_generation(&config, false, false, LILAC_PRECISION_F32);
    }
}

/* ---- What attention keeps ---- */

typedef struct attention_states {
    int random; /* a lilac_random_features */
    lilac_feature_map *map;
    lilac_linear_attention_state *linear;
    lilac_softmax_attention_state *softmax;
} attention_states;

static const lilac_attention_shape shape = {
    .batch = 2, .heads = 3, .queries = 5, .keys = 5, .key_size = 4, .value_size = 4};

static void prepare_states(void *user) {
    attention_states *s = user;
    *s = (attention_states){.random = s->random};
    create_context();
}

static lilac_status create_states(void *user) {
    attention_states *s = user;
    lilac_status status =
        lilac_feature_map_create_random(context, (lilac_random_features)s->random, shape.key_size, 6, 1.0f, 3, &s->map);
    if (status == LILAC_OK) {
        lilac_linear_attention_config config;
        lilac_linear_attention_config_default(&shape, &config);
        config.causal = true;
        config.feature_map = s->map;
        status = lilac_linear_attention_state_create(context, &config, &s->linear);
    }
    if (status == LILAC_OK) {
        lilac_softmax_attention_config config;
        lilac_softmax_attention_config_default(&shape, &config);
        config.causal = true;
        status = lilac_softmax_attention_state_create(context, &config, &s->softmax);
    }
    return status;
}

static void check_states(void *user, lilac_status status) {
    attention_states *s = user;
    assert_int_equal(status == LILAC_OK, s->softmax != NULL);
    lilac_softmax_attention_state_destroy(s->softmax);
    lilac_linear_attention_state_destroy(s->linear);
    lilac_feature_map_destroy(s->map);
    destroy_context();
}

static void test_attention_states(void **state) {
    (void)state;
    for (int random = 0; random < 2; random++) {
        attention_states s = {.random = random};
        sweep_attempts(prepare_states, create_states, check_states, &s, 3);
    }
}

/* ---- The completion experiment ---- */

typedef struct experiment {
    lilac_transformer *models[LILAC_COMPLETION_MODEL_COUNT];
    lilac_completion completion;
    uint8_t expected[LILAC_COMPLETION_MODEL_COUNT][ROWS * TINY_PIXELS];
    bool known;
} experiment;

static void prepare_experiment(void *user) {
    experiment *e = user;
    create_context();
    e->completion = (lilac_completion){.total_seconds = -1};
}

static lilac_status run_experiment(void *user) {
    experiment *e = user;
    const lilac_completion_config config = {.images = ROWS,
                                            .keep_rows = TINY_SIDE - 1,
                                            .training_images = 4,
                                            .bits_images = 3,
                                            .time_count = 1,
                                            .times = {1},
                                            .no_cache_images = 1,
                                            .epochs = 1,
                                            .batch = 16};
    const lilac_transformer *const models[] = {e->models[0], e->models[1]};
    return lilac_completion_run(context, &config, models, images, images, &e->completion);
}

static void check_experiment(void *user, lilac_status status) {
    experiment *e = user;
    if (status != LILAC_OK) {
        assert_true(e->completion.total_seconds == -1 && e->completion.figures[0].completed == NULL);
    } else {
        for (int model = 0; model < LILAC_COMPLETION_MODEL_COUNT; model++) {
            const uint8_t *completed = e->completion.figures[model].completed;
            if (!e->known) {
                memcpy(e->expected[model], completed, sizeof e->expected[model]);
            }
            assert_memory_equal(completed, e->expected[model], sizeof e->expected[model]);
        }
        e->known = true;
        lilac_completion_destroy(&e->completion);
    }
    destroy_context();
}

static void test_completion_experiment(void **state) {
    (void)state;
    experiment e = {0};
    for (int attention = 0; attention < LILAC_COMPLETION_MODEL_COUNT; attention++) {
        e.models[attention] = tiny_transformer_create(outer, (lilac_transformer_attention)attention, 0);
    }
    sweep_attempts(prepare_experiment, run_experiment, check_experiment, &e, 100);
    for (int attention = 0; attention < LILAC_COMPLETION_MODEL_COUNT; attention++) {
        lilac_transformer_destroy(e.models[attention]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_an_mlp),
        cmocka_unit_test(test_training_a_transformer),
        cmocka_unit_test(test_training_with_each_feature_map),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_generation_with_each_feature_map),
        cmocka_unit_test(test_attention_states),
        cmocka_unit_test(test_completion_experiment),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
