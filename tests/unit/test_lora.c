/* SPDX-License-Identifier: MIT */
/* Tests of low-rank adapters: what they do to a model, merging and unmerging, strength and scale, refusals. */
#include <lilac/lora.h>
#include <lilac/mlp.h>

#include "support/default_context.h"
#include "support/failing_allocator.h"
#include "support/mlp_reference.h"
#include "support/numbers.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

enum { ROWS = 33, INPUTS = 20, CLASSES = 10, LAYERS = 3, LOGITS = ROWS * CLASSES };

static lilac_mlp *mlp;
static float inputs[ROWS * INPUTS];
static lilac_adapter *const untouched = (lilac_adapter *)(uintptr_t)0x5a;

static int set_up(void **state) {
    const lilac_mlp_config config = {.layer_count = LAYERS, .sizes = {INPUTS, 30, 25, CLASSES}, .seed = 1};
    lilac_test_uniform(0, ROWS * INPUTS, -1, 1, inputs);
    return context_set_up(state) == 0 && lilac_mlp_create(context, &config, &mlp) == LILAC_OK ? 0 : 1;
}

static int tear_down(void **state) {
    lilac_mlp_destroy(mlp);
    return context_tear_down(state);
}

/* A new adapter of the model. */
static lilac_adapter *create_new(const lilac_lora_config *config) {
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, config, &base, &adapter), LILAC_OK);
    return adapter;
}

/* One with other numbers in A and B, as if it had been trained. */
static lilac_adapter *create_trained(const lilac_lora_config *config, uint64_t stream) {
    lilac_adapter *adapter = create_new(config);
    lilac_test_uniform(stream, lilac_adapter_parameter_count(adapter), -0.3f, 0.3f, lilac_adapter_parameters(adapter));
    return adapter;
}

static lilac_lora_config config_of_rank(size_t rank) {
    lilac_lora_config config;
    lilac_lora_config_default(&config);
    config.rank = rank;
    return config;
}

static void compute_logits(const lilac_adapter *adapter, float logits[LOGITS]) {
    float *workspace = malloc(lilac_mlp_workspace_size(mlp, adapter, ROWS) * sizeof *workspace);
    assert_non_null(workspace);
    assert_int_equal(lilac_mlp_forward(context, mlp, adapter, ROWS, inputs, logits, workspace), LILAC_OK);
    free(workspace);
}

static float *copy_weights(void) {
    const size_t bytes = lilac_mlp_parameter_count(mlp) * sizeof(float);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, lilac_mlp_parameters(mlp), bytes);
    return copy;
}

static void expect_weights(const float *expected) {
    assert_memory_equal(lilac_mlp_parameters(mlp), expected, lilac_mlp_parameter_count(mlp) * sizeof(float));
}

static void test_default_config(void **state) {
    (void)state;
    lilac_lora_config config;
    lilac_lora_config_default(&config);
    assert_int_equal(config.rank, 8);
    assert_true(config.alpha == 8);
    assert_int_equal(config.scale_rule, LILAC_LORA_SCALE_ALPHA_OVER_RANK);
    assert_int_equal(config.initialisation, LILAC_LORA_INITIALISE_STANDARD);
    assert_int_equal(config.seed, 0);
    lilac_adapter *adapter = create_new(&config);
    assert_memory_equal(lilac_adapter_config(adapter), &config, sizeof config);
    lilac_adapter_destroy(adapter);
    lilac_adapter_destroy(NULL);
}

static void test_describes_its_layers(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(3);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = create_new(&config);
    assert_memory_equal(lilac_adapter_base_hash(adapter), base.hash, LILAC_HASH_SIZE);
    assert_int_equal(lilac_adapter_layer_count(adapter), LAYERS);
    size_t count = 0;
    for (size_t l = 0; l < LAYERS; l++) {
        const lilac_linear_layer layer = lilac_adapter_layer(adapter, l), expected = lilac_mlp_layer(mlp, l);
        assert_string_equal(layer.name, expected.name);
        assert_ptr_not_equal(layer.name, expected.name);
        assert_int_equal(layer.in, expected.in);
        assert_int_equal(layer.out, expected.out);
        assert_null(layer.weight);
        count += 3 * (layer.in + layer.out);
    }
    assert_int_equal(lilac_adapter_parameter_count(adapter), count);
    assert_int_equal(lilac_adapter_check_base(context, adapter, &base), LILAC_OK);
    lilac_adapter_destroy(adapter);
}

/* A uniform within the rule's bound, with numbers of its own in each layer; B zero. */
static void check_initialisation(lilac_lora_initialisation initialisation) {
    const size_t rank = 16;
    lilac_lora_config config = config_of_rank(rank);
    config.initialisation = initialisation;
    lilac_adapter *adapter = create_new(&config), *again = create_new(&config);
    config.seed = 1;
    lilac_adapter *other = create_new(&config);
    const size_t bytes = lilac_adapter_parameter_count(adapter) * sizeof(float);
    assert_memory_equal(lilac_adapter_parameters(again), lilac_adapter_parameters(adapter), bytes);
    assert_memory_not_equal(lilac_adapter_parameters(other), lilac_adapter_parameters(adapter), rank * INPUTS);
    const float *next = lilac_adapter_parameters(adapter);
    float first[LAYERS];
    for (size_t l = 0; l < LAYERS; l++) {
        const lilac_linear_layer layer = lilac_adapter_layer(adapter, l);
        const double fan = (double)(initialisation == LILAC_LORA_INITIALISE_REPORT ? rank : layer.in);
        double largest = 0, sum = 0;
        for (size_t i = 0; i < rank * layer.in; i++) {
            largest = fmax(largest, fabs((double)next[i]));
            sum += (double)next[i];
        }
        assert_true(largest <= 1 / sqrt(fan) && largest > 0.95 / sqrt(fan));
        assert_true(fabs(sum) < 5 * sqrt((double)(rank * layer.in) / fan / 3));
        first[l] = next[0] * (float)sqrt(fan);
        next += rank * layer.in;
        for (size_t i = 0; i < rank * layer.out; i++) {
            assert_true(next[i] == 0.0f);
        }
        next += rank * layer.out;
    }
    assert_true(fabsf(first[0] - first[1]) > 1e-3f && fabsf(first[1] - first[2]) > 1e-3f);
    lilac_adapter_destroy(other);
    lilac_adapter_destroy(again);
    lilac_adapter_destroy(adapter);
}

static void test_initialisation(void **state) {
    (void)state;
    check_initialisation(LILAC_LORA_INITIALISE_STANDARD);
    check_initialisation(LILAC_LORA_INITIALISE_REPORT);
}

static void test_new_adapter_changes_nothing(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(4);
    lilac_adapter *adapter = create_new(&config);
    float *before = copy_weights(), base[LOGITS], adapted[LOGITS];
    compute_logits(NULL, base);
    compute_logits(adapter, adapted);
    assert_memory_equal(adapted, base, sizeof base);
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    expect_weights(before);
    assert_int_equal(lilac_mlp_unmerge(context, mlp), LILAC_OK);
    expect_weights(before);
    free(before);
    lilac_adapter_destroy(adapter);
}

static double largest_difference(const float *a, const float *b) {
    double largest = 0;
    for (size_t i = 0; i < LOGITS; i++) {
        assert_true(isfinite(a[i]) && isfinite(b[i]));
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    }
    return largest;
}

static void check_merge(size_t rank) {
    const lilac_lora_config config = config_of_rank(rank);
    lilac_adapter *adapter = create_trained(&config, 10);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    float *before = copy_weights(), pure[LOGITS], adapted[LOGITS], merged[LOGITS];
    compute_logits(NULL, pure);
    compute_logits(adapter, adapted);
    assert_true(largest_difference(pure, adapted) > 0.01);
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    compute_logits(NULL, merged);
    assert_true(largest_difference(merged, adapted) < 1e-5);
    /* Biases stay, and the model is still known as the base it was. */
    assert_memory_equal(lilac_mlp_bias(mlp, 1), before + (lilac_mlp_bias(mlp, 1) - lilac_mlp_parameters(mlp)),
                        25 * sizeof(float));
    const lilac_lora_base now = lilac_mlp_lora_base(mlp);
    assert_memory_equal(now.hash, base.hash, LILAC_HASH_SIZE);

    float *kept = copy_weights();
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "mlp: an adapter is merged already; unmerge it first");
    expect_weights(kept);
    assert_int_equal(lilac_mlp_unmerge(context, mlp), LILAC_OK);
    expect_weights(before);
    assert_int_equal(lilac_mlp_unmerge(context, mlp), LILAC_ERROR_ARGUMENT);
    assert_string_equal(lilac_context_message(context), "mlp: no adapter is merged");
    expect_weights(before);
    free(kept);
    free(before);
    lilac_adapter_destroy(adapter);
}

static void test_merge_and_unmerge(void **state) {
    (void)state;
    check_merge(1);
    check_merge(7);
    check_merge(40);
}

static void test_strength(void **state) {
    (void)state;
    static const double strengths[] = {0, 1, 0.5, -1, 2.25};
    const lilac_lora_config config = config_of_rank(3);
    lilac_adapter *adapter = create_trained(&config, 11);
    float pure[LOGITS], logits[LOGITS];
    compute_logits(NULL, pure);
    assert_true(lilac_adapter_scale(adapter) == 8.0 / 3);
    for (size_t i = 0; i < sizeof strengths / sizeof strengths[0]; i++) {
        assert_int_equal(lilac_adapter_set_strength(adapter, strengths[i]), LILAC_OK);
        mlp_reference reference = mlp_reference_create(mlp, adapter, ROWS, inputs, NULL);
        assert_true(lilac_adapter_scale(adapter) == strengths[i] * 8 / 3);
        reference.scale = strengths[i] * 8 / 3;
        mlp_reference_forward(&reference);
        compute_logits(adapter, logits);
        lilac_test_expect_close("logits", LOGITS, logits, reference.logits, 1e-5, 0);
        mlp_reference_destroy(&reference);
        if (strengths[i] == 0) {
            assert_memory_equal(logits, pure, sizeof pure);
        }
    }
    assert_int_equal(lilac_adapter_set_strength(adapter, NAN), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_set_strength(adapter, INFINITY), LILAC_ERROR_ARGUMENT);
    /* The scale, 8 / 3 of it, would be no float. */
    assert_int_equal(lilac_adapter_set_strength(adapter, 2e38), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_set_strength(NULL, 1), LILAC_ERROR_ARGUMENT);
    assert_true(lilac_adapter_scale(adapter) == 2.25 * 8 / 3);
    lilac_adapter_destroy(adapter);
}

static void test_scale_rules(void **state) {
    (void)state;
    static const struct {
        lilac_lora_scale_rule rule;
        const char *name;
        double scale;
    } rules[] = {{LILAC_LORA_SCALE_FIXED, "fixed", 6},
                 {LILAC_LORA_SCALE_ALPHA_OVER_RANK, "alpha/r", 1.5},
                 {LILAC_LORA_SCALE_ALPHA_OVER_ROOT_RANK, "alpha/sqrt(r)", 3}};
    for (size_t i = 0; i < 3; i++) {
        lilac_lora_config config = config_of_rank(4);
        config.alpha = 6;
        config.scale_rule = rules[i].rule;
        lilac_adapter *adapter = create_new(&config);
        assert_true(lilac_adapter_scale(adapter) == rules[i].scale);
        lilac_adapter_destroy(adapter);
        lilac_lora_scale_rule parsed = LILAC_LORA_SCALE_FIXED;
        assert_string_equal(lilac_lora_scale_rule_name(rules[i].rule), rules[i].name);
        assert_int_equal(lilac_lora_scale_rule_parse(rules[i].name, &parsed), LILAC_OK);
        assert_int_equal(parsed, rules[i].rule);
    }
}

static void test_names_of_settings(void **state) {
    (void)state;
    lilac_lora_initialisation initialisation = LILAC_LORA_INITIALISE_STANDARD;
    lilac_lora_scale_rule rule = LILAC_LORA_SCALE_ALPHA_OVER_RANK;
    assert_string_equal(lilac_lora_initialisation_name(LILAC_LORA_INITIALISE_STANDARD), "standard");
    assert_string_equal(lilac_lora_initialisation_name(LILAC_LORA_INITIALISE_REPORT), "report");
    assert_string_equal(lilac_lora_initialisation_name((lilac_lora_initialisation)2), "unknown");
    assert_string_equal(lilac_lora_scale_rule_name((lilac_lora_scale_rule)-1), "unknown");
    assert_int_equal(lilac_lora_initialisation_parse("report", &initialisation), LILAC_OK);
    assert_int_equal(initialisation, LILAC_LORA_INITIALISE_REPORT);
    assert_int_equal(lilac_lora_initialisation_parse("Report", &initialisation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_lora_initialisation_parse(NULL, &initialisation), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_lora_initialisation_parse("report", NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_lora_scale_rule_parse("alpha", &rule), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_lora_scale_rule_parse(NULL, &rule), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_lora_scale_rule_parse("fixed", NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(rule, LILAC_LORA_SCALE_ALPHA_OVER_RANK);
    assert_int_equal(initialisation, LILAC_LORA_INITIALISE_REPORT);
}

static void test_switching_adapters(void **state) {
    (void)state;
    const lilac_lora_config small = config_of_rank(2), large = config_of_rank(9);
    lilac_adapter *const adapters[] = {NULL, create_trained(&small, 20), create_trained(&large, 21)};
    float *before = copy_weights(), logits[3][LOGITS], again[LOGITS];
    for (size_t i = 0; i < 3; i++) {
        compute_logits(adapters[i], logits[i]);
    }
    assert_true(largest_difference(logits[0], logits[1]) > 0.01 && largest_difference(logits[1], logits[2]) > 0.01);
    static const size_t order[] = {2, 1, 0, 1, 2, 2, 0};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        compute_logits(adapters[order[i]], again);
        assert_memory_equal(again, logits[order[i]], sizeof again);
    }
    expect_weights(before);
    free(before);
    lilac_adapter_destroy(adapters[1]);
    lilac_adapter_destroy(adapters[2]);
}

/* Layers that belong to no model of Lilac's. */
static void test_merges_into_any_layers(void **state) {
    (void)state;
    float first[2 * 3] = {1, 2, 3, 4, 5, 6}, second[1 * 2] = {7, 8};
    const lilac_linear_layer layers[] = {{"attention.query", 3, 2, first}, {"attention.value", 2, 1, second}};
    const lilac_lora_base base = {.layers = layers, .layer_count = 2, .hash = {1, 2, 3}};
    const lilac_lora_config config = {.rank = 1, .alpha = 2, .scale_rule = LILAC_LORA_SCALE_FIXED};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    /* A and B of each layer; the products scale to 20, 40, 60, 40, 80, 120 and 6, 12. */
    static const float trained[] = {1, 2, 3, 10, 20, 1, 2, 3};
    assert_int_equal(lilac_adapter_parameter_count(adapter), 8);
    memcpy(lilac_adapter_parameters(adapter), trained, sizeof trained);
    assert_int_equal(lilac_adapter_merge(context, adapter, layers, 2), LILAC_OK);
    assert_memory_equal(first, ((float[]){21, 42, 63, 44, 85, 126}), sizeof first);
    assert_memory_equal(second, ((float[]){13, 20}), sizeof second);
    lilac_adapter_destroy(adapter);
}

/* The three layers of the model with one thing changed. */
static void expect_mismatch(const lilac_adapter *adapter, lilac_lora_base base, const char *message) {
    float *before = copy_weights();
    assert_int_equal(lilac_adapter_check_base(context, adapter, &base), LILAC_ERROR_BASE_MISMATCH);
    assert_string_equal(lilac_context_message(context), message);
    assert_int_equal(lilac_adapter_merge(context, adapter, base.layers, base.layer_count), LILAC_ERROR_BASE_MISMATCH);
    assert_string_equal(lilac_context_message(context), message);
    expect_weights(before);
    free(before);
}

static void test_refuses_other_layers(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(2);
    lilac_adapter *adapter = create_trained(&config, 30);
    lilac_linear_layer layers[LAYERS];
    lilac_lora_base base = lilac_mlp_lora_base(mlp);
    memcpy(layers, base.layers, sizeof layers);
    base.layers = layers;
    base.layer_count = 2;
    expect_mismatch(adapter, base, "the adapter has 3 layers, this base has 2");
    base.layer_count = LAYERS;
    layers[2].name = "layers.3";
    expect_mismatch(adapter, base, "the adapter's layer 2 is layers.2 (10 x 25), this base's is layers.3 (10 x 25)");
    layers[2].name = NULL;
    expect_mismatch(adapter, base, "the adapter's layer 2 is layers.2 (10 x 25), this base's is (no name) (10 x 25)");
    layers[2].name = "layers.2";
    layers[1].in = 31;
    expect_mismatch(adapter, base, "the adapter's layer 1 is layers.1 (25 x 30), this base's is layers.1 (25 x 31)");
    layers[1].in = 30;
    layers[0].out = 29;
    expect_mismatch(adapter, base, "the adapter's layer 0 is layers.0 (30 x 20), this base's is layers.0 (29 x 20)");
    lilac_adapter_destroy(adapter);
}

static void test_refuses_other_weights(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(2);
    lilac_adapter *adapter = create_trained(&config, 30);
    lilac_lora_base base = lilac_mlp_lora_base(mlp);
    for (size_t i = 0; i < LILAC_HASH_SIZE; i++) {
        lilac_lora_base other = base;
        other.hash[i] ^= 1;
        assert_int_equal(lilac_adapter_check_base(context, adapter, &other), LILAC_ERROR_BASE_MISMATCH);
    }
    lilac_adapter_destroy(adapter);
}

static void expect_refused(lilac_lora_config config, const lilac_lora_base *base, lilac_status status,
                           const char *message) {
    lilac_adapter *adapter = untouched;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_adapter_create(context, &config, base, &adapter), status);
    assert_string_equal(lilac_context_message(context), message);
    assert_ptr_equal(adapter, untouched);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_refuses_impossible_configs(void **state) {
    (void)state;
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_lora_config config = config_of_rank(0);
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: the rank is 0, expected at least 1");
    config = config_of_rank(1);
    config.alpha = NAN;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: alpha is nan, expected a finite number");
    config.alpha = -INFINITY;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: alpha is -inf, expected a finite number");
    config.alpha = 1e39;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: alpha is 1e+39, expected a finite number");
    config = config_of_rank(1);
    config.scale_rule = (lilac_lora_scale_rule)3;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: unknown scale rule 3 or initialisation 0");
    config = config_of_rank(1);
    config.initialisation = (lilac_lora_initialisation)2;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: unknown scale rule 1 or initialisation 2");
    expect_refused(config_of_rank(SIZE_MAX / 10), &base, LILAC_ERROR_OVERFLOW,
                   "adapter: rank 1844674407370955161 is too large for layer layers.0 (30 x 20)");
}

static void test_refuses_impossible_bases(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(1);
    char long_name[97];
    memset(long_name, 'x', 96);
    long_name[96] = '\0';
    lilac_linear_layer layers[2] = {{"a", 2, 3, NULL}, {"b", 3, 4, NULL}};
    lilac_lora_base base = {.layers = layers, .layer_count = 2};
    layers[1].name = "a";
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: two layers are named a");
    layers[1].name = "";
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: layer 1 needs a name of 1 to 95 bytes");
    layers[1].name = NULL;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: layer 1 needs a name of 1 to 95 bytes");
    layers[1].name = long_name;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: layer 1 needs a name of 1 to 95 bytes");
    layers[1] = (lilac_linear_layer){"b", 0, 4, NULL};
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: layer b is 4 x 0, expected at least 1 x 1");
    layers[1] = (lilac_linear_layer){"b", 3, 0, NULL};
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: layer b is 0 x 3, expected at least 1 x 1");
    base.layer_count = LILAC_LORA_MAX_LAYERS + 1;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: 4097 layers, expected 1 to 4096");
    base.layer_count = 0;
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: a null pointer or a base without layers");
    base = (lilac_lora_base){.layer_count = 1};
    expect_refused(config, &base, LILAC_ERROR_ARGUMENT, "adapter: a null pointer or a base without layers");
    /* The longest name that is allowed. */
    long_name[95] = '\0';
    layers[1] = (lilac_linear_layer){long_name, 3, 4, NULL};
    base = (lilac_lora_base){.layers = layers, .layer_count = 2};
    lilac_adapter *adapter = NULL;
    assert_int_equal(lilac_adapter_create(context, &config, &base, &adapter), LILAC_OK);
    assert_string_equal(lilac_adapter_layer(adapter, 1).name, long_name);
    lilac_adapter_destroy(adapter);
}

static void test_refuses_null_pointers(void **state) {
    (void)state;
    const lilac_lora_config config = config_of_rank(1);
    lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = create_trained(&config, 40), *out = untouched;
    assert_int_equal(lilac_adapter_create(NULL, &config, &base, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_create(context, NULL, &base, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_create(context, &config, NULL, &out), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_create(context, &config, &base, NULL), LILAC_ERROR_ARGUMENT);
    assert_ptr_equal(out, untouched);
    assert_int_equal(lilac_mlp_merge(NULL, mlp, adapter), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_merge(context, NULL, adapter), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_merge(context, mlp, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_mlp_unmerge(context, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_check_base(context, NULL, &base), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_check_base(context, adapter, NULL), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_merge(NULL, adapter, base.layers, LAYERS), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_merge(context, NULL, base.layers, LAYERS), LILAC_ERROR_ARGUMENT);
    assert_int_equal(lilac_adapter_merge(context, adapter, NULL, LAYERS), LILAC_ERROR_ARGUMENT);
    /* A layer without weight: nothing of the layers before it is changed either. */
    lilac_linear_layer layers[LAYERS];
    memcpy(layers, base.layers, sizeof layers);
    layers[2].weight = NULL;
    float *before = copy_weights();
    assert_int_equal(lilac_adapter_merge(context, adapter, layers, LAYERS), LILAC_ERROR_ARGUMENT);
    expect_weights(before);
    free(before);
    lilac_adapter_destroy(adapter);
}

/* Lets each allocation of creating (step 0) and merging (1) an adapter fail. */
static void test_failed_allocations(void **state) {
    (void)state;
    static const size_t attempts[] = {4, 2}; /* the last of each succeeds */
    const lilac_lora_config config = config_of_rank(2);
    const lilac_lora_base base = lilac_mlp_lora_base(mlp);
    lilac_adapter *adapter = create_trained(&config, 50);
    float *before = copy_weights();
    /* So that the context has what the products need, which it keeps. */
    assert_int_equal(lilac_mlp_merge(context, mlp, adapter), LILAC_OK);
    assert_int_equal(lilac_mlp_unmerge(context, mlp), LILAC_OK);
    for (int step = 0; step < 2; step++) {
        lilac_status status = LILAC_ERROR_MEMORY;
        size_t n = 0;
        for (; status != LILAC_OK; n++) {
            lilac_adapter *made = untouched;
            const size_t live = lilac_test_live_allocations();
            lilac_test_fail_allocation(n);
            status = step == 0 ? lilac_adapter_create(context, &config, &base, &made)
                               : lilac_mlp_merge(context, mlp, adapter);
            if (lilac_test_allocation_failed()) {
                assert_int_equal(status, LILAC_ERROR_MEMORY);
                assert_ptr_equal(made, untouched);
                expect_weights(before);
            } else if (step == 0) {
                lilac_adapter_destroy(made);
            } else {
                assert_int_equal(lilac_mlp_unmerge(context, mlp), LILAC_OK);
            }
            assert_int_equal(lilac_test_live_allocations(), live);
        }
        assert_int_equal(n, attempts[step]);
    }
    free(before);
    lilac_adapter_destroy(adapter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_config),
        cmocka_unit_test(test_describes_its_layers),
        cmocka_unit_test(test_initialisation),
        cmocka_unit_test(test_new_adapter_changes_nothing),
        cmocka_unit_test(test_merge_and_unmerge),
        cmocka_unit_test(test_strength),
        cmocka_unit_test(test_scale_rules),
        cmocka_unit_test(test_names_of_settings),
        cmocka_unit_test(test_switching_adapters),
        cmocka_unit_test(test_merges_into_any_layers),
        cmocka_unit_test(test_refuses_other_layers),
        cmocka_unit_test(test_refuses_other_weights),
        cmocka_unit_test(test_refuses_impossible_configs),
        cmocka_unit_test(test_refuses_impossible_bases),
        cmocka_unit_test(test_refuses_null_pointers),
        cmocka_unit_test(test_failed_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
