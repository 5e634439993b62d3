/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading each kind of file while memory is short, system calls fail and the disk is full: the old file
 * stays whole, no temporary file is left, and outputs stay as they were.
 */
#include "experiments/completion.h"
#include "experiments/lora_table.h"
#include "format/png.h"
#include "report/completion_report.h"
#include "report/lora_report.h"
#include "report/page.h"
#include "runtime/context.h"
#include "support/default_context.h"
#include "support/failing_calls.h"
#include "support/sweep.h"
#include "support/temporary_file.h"
#include "support/toy_images.h"
#include "support/transformer_training.h"
#include "train/checkpoint.h"

#include <lilac/mlp.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

enum { OLD, NEW, VERSIONS, CONTENT_SIZE = 1 << 17, WEIGHTS = 9, SIDE = 4 };

static const lilac_lora_config lora = {.rank = 2, .alpha = 4};

/* What is saved: each in two versions. */
static lilac_mlp *mlps[VERSIONS];
static lilac_adapter *adapters[VERSIONS];
static lilac_transformer *transformers[VERSIONS];
static lilac_adapter *transformer_adapters[VERSIONS];
static float numbers[VERSIONS][WEIGHTS];
static lilac_settings settings;
static lilac_lora_figures figures[VERSIONS];
static temporary_file file;

static int set_up(void **state) {
    temporary_file_create(&file);
    if (context_set_up(state) != 0) {
        return 1;
    }
    lilac_settings_add(&settings, "optimiser", "adamw");
    for (int version = OLD; version < VERSIONS; version++) {
        const lilac_mlp_config config = {.layer_count = 2, .sizes = {6, 5, 3}, .seed = (uint64_t)version};
        assert_int_equal(lilac_mlp_create(context, &config, &mlps[version]), LILAC_OK);
        const lilac_lora_base base = lilac_mlp_lora_base(mlps[OLD]);
        assert_int_equal(lilac_adapter_create(context, &lora, &base, &adapters[version]), LILAC_OK);
        transformers[version] = tiny_transformer_create(context, LILAC_TRANSFORMER_LINEAR, 0.1);
        lilac_transformer_parameters(transformers[version])[3] += (float)version;
        assert_int_equal(lilac_transformer_adapter_create(context, transformers[version], "*.query", &lora,
                                                          &transformer_adapters[version]),
                         LILAC_OK);
        lilac_adapter_parameters(adapters[version])[3] += (float)version;
        for (int i = 0; i < WEIGHTS; i++) {
            numbers[version][i] = (float)(i + version) / 3;
        }
        figures[version].base = 90 + version;
    }
    return 0;
}

static int tear_down(void **state) {
    for (int version = OLD; version < VERSIONS; version++) {
        lilac_adapter_destroy(adapters[version]);
        lilac_mlp_destroy(mlps[version]);
        lilac_adapter_destroy(transformer_adapters[version]);
        lilac_transformer_destroy(transformers[version]);
    }
    unlink(file.path);
    temporary_file_destroy(&file);
    return context_tear_down(state);
}

static lilac_status save_mlp(int version) {
    return lilac_mlp_save(context, mlps[version], file.path);
}

static lilac_status save_adapter(int version) {
    return lilac_adapter_save(context, adapters[version], file.path);
}

static lilac_status save_transformer(int version) {
    return lilac_transformer_save(context, transformers[version], LILAC_PRECISION_F32, file.path);
}

static lilac_status save_transformer_as_bf16(int version) {
    return lilac_transformer_save(context, transformers[version], LILAC_PRECISION_BF16, file.path);
}

static lilac_status save_transformer_adapter(int version) {
    return lilac_adapter_save(context, transformer_adapters[version], file.path);
}

static lilac_status save_checkpoint(int version) {
    const lilac_checkpoint checkpoint = {.step = 5,
                                         .seconds = 1.5,
                                         .count = WEIGHTS,
                                         .parameters = numbers[version],
                                         .moment1 = numbers[OLD],
                                         .moment2 = numbers[NEW]};
    return lilac_checkpoint_write(context, &checkpoint, &settings, file.path);
}

static lilac_status save_image(int version) {
    uint8_t pixels[SIDE * SIDE];
    memset(pixels, 100 + version, sizeof pixels);
    return lilac_png_write(context, file.path, SIDE, SIDE, pixels);
}

static lilac_status save_lora_results(int version) {
    const lilac_lora_table table = {.config = {.hidden = 64, .seed_count = 1}, .figures = &figures[version]};
    return lilac_lora_results_write(context, &table, 1, file.path);
}

static lilac_status save_completion_results(int version) {
    const lilac_completion completion = {
        .config = {.images = 4, .keep_rows = 2, .time_count = 1, .times = {4}}, .all = 97 + version, .present = {true}};
    return lilac_completion_results_write(context, &completion, file.path);
}

/* With the tree that the program makes it of, and which must be whole. */
static lilac_status save_page(int version) {
    static char plot[] = "<svg id=\"figure\"></svg>";
    const lilac_lora_table table = {.config = {.hidden = 64, .seed_count = 1}, .figures = &figures[version]};
    const lilac_page_media media = {.plots = {[LILAC_PAGE_LORA] = plot}};
    lilac_json json = lilac_json_begin_results(context, "all");
    lilac_lora_results_add(&json, lilac_json_object(&json, json.root, "lora"), context, &table, 1);
    const lilac_status status = json.failed ? lilac_fail_memory(context, "the results", sizeof json)
                                            : lilac_page_write(context, json.root, NULL, &media, file.path);
    lilac_json_end(&json);
    return status;
}

static lilac_status (*const savers[])(int version) = {
    save_mlp,        save_adapter, save_transformer,  save_transformer_as_bf16, save_transformer_adapter,
    save_checkpoint, save_image,   save_lora_results, save_completion_results,  save_page};
enum { SAVERS = sizeof savers / sizeof savers[0] };

/* ---- Saving ---- */

typedef struct content {
    size_t size;
    unsigned char bytes[CONTENT_SIZE];
} content;

typedef struct saving {
    lilac_status (*save)(int version);
    content expected[VERSIONS];
} saving;

static void read_content(content *out) {
    FILE *stream = fopen(file.path, "rb");
    assert_non_null(stream);
    out->size = fread(out->bytes, 1, CONTENT_SIZE, stream);
    assert_int_equal(fclose(stream), 0);
    assert_in_range(out->size, 1, CONTENT_SIZE - 1);
}

static void expect_content(const content *expected) {
    static content found;
    read_content(&found);
    assert_int_equal(found.size, expected->size);
    assert_memory_equal(found.bytes, expected->bytes, found.size);
}

static void save_old(void *user) {
    const saving *s = user;
    if (access(file.path, F_OK) != 0) {
        assert_int_equal(s->save(OLD), LILAC_OK);
    }
}

static lilac_status save_new(void *user) {
    const saving *s = user;
    return s->save(NEW);
}

static void expect_whole_file(void *user, lilac_status status) {
    const saving *s = user;
    /* The one failure after which the new file is there: that its name might not survive a loss of power. */
    const bool in_place = strstr(lilac_context_message(context), "the new file is in place") != NULL;
    const bool replaced = status == LILAC_OK || in_place;
    expect_content(&s->expected[replaced ? NEW : OLD]);
    assert_int_equal(temporary_file_count(&file), 1);
    if (replaced) {
        assert_int_equal(unlink(file.path), 0);
    }
}

/* Calls sweep with the saving of each kind of file. */
static void save_each(void (*sweep)(const lilac_test_sweep *sweep, const saving *saving)) {
    static saving s;
    const lilac_test_sweep saves = {
        .context = &context, .prepare = save_old, .attempt = save_new, .after = expect_whole_file, .user = &s};
    for (size_t i = 0; i < SAVERS; i++) {
        s.save = savers[i];
        for (int version = NEW; version >= OLD; version--) {
            assert_int_equal(s.save(version), LILAC_OK);
            read_content(&s.expected[version]);
        }
        assert_memory_not_equal(s.expected[OLD].bytes, s.expected[NEW].bytes, s.expected[OLD].size);
        sweep(&saves, &s);
    }
}

static void sweep_allocations(const lilac_test_sweep *sweep, const saving *s) {
    (void)s;
    assert_true(lilac_test_sweep_allocations(sweep) > 3);
}

static void test_saving_without_memory(void **state) {
    (void)state;
    save_each(sweep_allocations);
}

static void sweep_calls(const lilac_test_sweep *sweep, const saving *s) {
    (void)s;
    /* The folder, the file, something written, the disk, the name, the folder on the disk. */
    assert_true(lilac_test_sweep_calls(sweep, ENOSPC) >= 6);
}

static void test_saving_with_failing_calls(void **state) {
    (void)state;
    save_each(sweep_calls);
}

static void sweep_disk(const lilac_test_sweep *sweep, const saving *s) {
    lilac_test_sweep_disk(sweep, s->expected[NEW].size);
}

static void test_saving_on_a_full_disk(void **state) {
    (void)state;
    save_each(sweep_disk);
}

static void save_in_small_writes(const lilac_test_sweep *sweep, const saving *s) {
    sweep->prepare(sweep->user);
    lilac_test_calls = (lilac_test_call_behaviour){.most = 7, .interrupt = true};
    const lilac_status status = s->save(NEW);
    lilac_test_calls = (lilac_test_call_behaviour){0};
    assert_int_equal(status, LILAC_OK);
    sweep->after(sweep->user, status);
}

static void test_saving_in_short_and_interrupted_writes(void **state) {
    (void)state;
    save_each(save_in_small_writes);
}

/* ---- Loading ---- */

/* What a load gives: the weights. Until it does, they are these. */
static float weights[4096];

static void copy(const float *from, size_t count) {
    assert_in_range(count, 1, sizeof weights / sizeof *weights);
    memcpy(weights, from, count * sizeof *weights);
}

static lilac_status load_mlp(void) {
    lilac_mlp *loaded = NULL;
    const lilac_status status = lilac_mlp_load(context, file.path, &loaded);
    if (loaded != NULL) {
        copy(lilac_mlp_parameters(loaded), lilac_mlp_parameter_count(loaded));
    }
    lilac_mlp_destroy(loaded);
    return status;
}

static lilac_status take_adapter(lilac_status status, lilac_adapter *loaded) {
    if (loaded != NULL) {
        copy(lilac_adapter_parameters(loaded), lilac_adapter_parameter_count(loaded));
    }
    lilac_adapter_destroy(loaded);
    return status;
}

static lilac_status load_adapter(void) {
    const lilac_lora_base base = lilac_mlp_lora_base(mlps[OLD]);
    lilac_adapter *loaded = NULL;
    const lilac_status status = lilac_adapter_load(context, file.path, &base, &loaded);
    return take_adapter(status, loaded);
}

static lilac_status load_adapter_without_base(void) {
    lilac_adapter *loaded = NULL;
    const lilac_status status = lilac_adapter_load(context, file.path, NULL, &loaded);
    return take_adapter(status, loaded);
}

static lilac_status load_transformer(void) {
    lilac_transformer *loaded = NULL;
    const lilac_status status = lilac_transformer_load(context, file.path, &loaded);
    if (loaded != NULL) {
        copy(lilac_transformer_parameters(loaded), lilac_transformer_parameter_count(loaded));
    }
    lilac_transformer_destroy(loaded);
    return status;
}

static lilac_status load_transformer_adapter(void) {
    lilac_adapter *loaded = NULL;
    const lilac_status status = lilac_transformer_adapter_load(context, transformers[NEW], file.path, &loaded);
    return take_adapter(status, loaded);
}

static lilac_status load_checkpoint(void) {
    lilac_checkpoint checkpoint = {
        .count = WEIGHTS, .parameters = weights, .moment1 = weights + WEIGHTS, .moment2 = weights + 2 * WEIGHTS};
    return lilac_checkpoint_read(context, file.path, &settings, 5, &checkpoint);
}

static const struct {
    lilac_status (*save)(int version);
    lilac_status (*load)(void);
} loaders[] = {{save_mlp, load_mlp},
               {save_adapter, load_adapter},
               {save_adapter, load_adapter_without_base},
               {save_transformer, load_transformer},
               {save_transformer_as_bf16, load_transformer},
               {save_transformer_adapter, load_transformer_adapter},
               {save_checkpoint, load_checkpoint}};
enum { LOADERS = sizeof loaders / sizeof loaders[0] };

typedef struct loading {
    lilac_status (*load)(void);
    float expected[sizeof weights / sizeof *weights]; /* what a load gives */
    float before[sizeof weights / sizeof *weights];
} loading;

static void forget_weights(void *user) {
    (void)user;
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        weights[i] = -1;
    }
}

static lilac_status load(void *user) {
    return ((const loading *)user)->load();
}

static void expect_weights(void *user, lilac_status status) {
    const loading *l = user;
    assert_memory_equal(weights, status == LILAC_OK ? l->expected : l->before, sizeof weights);
}

/* Calls sweep with the loading of each kind of file. */
static void load_each(void (*sweep)(const lilac_test_sweep *sweep)) {
    static loading l;
    const lilac_test_sweep loads = {
        .context = &context, .prepare = forget_weights, .attempt = load, .after = expect_weights, .user = &l};
    for (size_t i = 0; i < LOADERS; i++) {
        assert_int_equal(loaders[i].save(NEW), LILAC_OK);
        l.load = loaders[i].load;
        forget_weights(NULL);
        memcpy(l.before, weights, sizeof weights);
        assert_int_equal(l.load(), LILAC_OK);
        memcpy(l.expected, weights, sizeof weights);
        assert_memory_not_equal(l.expected, l.before, sizeof weights);
        sweep(&loads);
    }
}

static void sweep_load_allocations(const lilac_test_sweep *sweep) {
    assert_true(lilac_test_sweep_allocations(sweep) > 3);
}

static void test_loading_without_memory(void **state) {
    (void)state;
    load_each(sweep_load_allocations);
}

static void sweep_load_calls(const lilac_test_sweep *sweep) {
    /* The file is opened, and read up to its end. */
    assert_true(lilac_test_sweep_calls(sweep, EIO) >= 3);
}

static void test_loading_with_failing_calls(void **state) {
    (void)state;
    load_each(sweep_load_calls);
}

static void load_in_small_reads(const lilac_test_sweep *sweep) {
    sweep->prepare(sweep->user);
    lilac_test_calls = (lilac_test_call_behaviour){.most = 7, .interrupt = true};
    const lilac_status status = sweep->attempt(sweep->user);
    lilac_test_calls = (lilac_test_call_behaviour){0};
    assert_int_equal(status, LILAC_OK);
    sweep->after(sweep->user, status);
}

static void test_loading_in_short_and_interrupted_reads(void **state) {
    (void)state;
    load_each(load_in_small_reads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saving_without_memory),
        cmocka_unit_test(test_saving_with_failing_calls),
        cmocka_unit_test(test_saving_on_a_full_disk),
        cmocka_unit_test(test_saving_in_short_and_interrupted_writes),
        cmocka_unit_test(test_loading_without_memory),
        cmocka_unit_test(test_loading_with_failing_calls),
        cmocka_unit_test(test_loading_in_short_and_interrupted_reads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
