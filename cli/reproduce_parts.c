/* SPDX-License-Identifier: MIT */
#include "reproduce_parts.h"

#include "completion_models.h"
#include "completion_tables.h"
#include "encoder_tables.h"
#include "lora_tables.h"

#include "core/clock.h"
#include "runtime/context.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef lilac_status part_run(lilac_session *session, lilac_reproduction *r);

static part_run run_peak, run_layer, run_inference, run_completion, run_lora_64, run_lora_512;

/* The seconds, whole and quick, are those of two cores, scaled to a peak of `usual_peak` GFLOP/s: they only steer what
 * is said of the time left. */
static const struct {
    const char *name, *title;
    part_run *run;
    double seconds[2];
} parts[LILAC_PART_COUNT] = {
    [LILAC_PART_PEAK] = {"peak", "The machine's peak", run_peak, {3, 3}},
    [LILAC_PART_LAYER] = {"layer", "Attention: one layer, forward and backward", run_layer, {45, 10}},
    [LILAC_PART_INFERENCE] = {"inference", "Attention: inference through eight layers", run_inference, {95, 20}},
    [LILAC_PART_COMPLETION] = {"completion", "Completion of occluded digits", run_completion, {275, 45}},
    [LILAC_PART_LORA_64] = {"lora-64", "LoRA on MNIST, width 64", run_lora_64, {80, 27}},
    [LILAC_PART_LORA_512] = {"lora-512", "LoRA on MNIST, width 512", run_lora_512, {200, 200}},
};

static const double usual_peak = 450.0;

const char *lilac_part_name(lilac_part part) {
    return parts[part].name;
}

const char *lilac_part_title(lilac_part part) {
    return parts[part].title;
}

/* ---- The parts ---- */

static lilac_status run_peak(lilac_session *session, lilac_reproduction *r) {
    return lilac_bench_peak(session->context, &r->peak);
}

static lilac_status run_sweep(lilac_session *session, const lilac_encoder_sweep_config *config, lilac_reproduction *r) {
    lilac_encoder_sweep *sweep = &r->sweeps[config->experiment];
    LILAC_TRY(lilac_encoder_sweep_run(session->context, config, sweep));
    return lilac_encoder_tables_print(session, sweep);
}

static lilac_status run_layer(lilac_session *session, lilac_reproduction *r) {
    const lilac_encoder_sweep_config quick = {
        .experiment = LILAC_ENCODER_LAYER, .length_count = 4, .lengths = {256, 512, 1024, 2048}, .runs = 2};
    const lilac_encoder_sweep_config whole = {.experiment = LILAC_ENCODER_LAYER, .runs = 5};
    return run_sweep(session, r->quick ? &quick : &whole, r);
}

static lilac_status run_inference(lilac_session *session, lilac_reproduction *r) {
    const lilac_encoder_sweep_config quick = {
        .experiment = LILAC_ENCODER_INFERENCE, .length_count = 3, .lengths = {1000, 1500, 2000}, .batch = 2, .runs = 2};
    const lilac_encoder_sweep_config whole = {.experiment = LILAC_ENCODER_INFERENCE, .runs = 2};
    return run_sweep(session, r->quick ? &quick : &whole, r);
}

static lilac_completion_config completion_config(const lilac_session *session, const lilac_reproduction *r) {
    lilac_completion_config config;
    lilac_completion_config_default(&config);
    config.seed = session->common.seed;
    /* Less than by itself: an image without cache takes as long as some fifty with it. */
    config.no_cache_images = 1;
    config.bits_images = 500;
    if (r->quick) {
        config.images = 100;
        config.time_count = 1;
        config.times[0] = 100;
        config.training_images = 0;
        config.bits_images = 100;
    }
    return config;
}

static lilac_status run_completion(lilac_session *session, lilac_reproduction *r) {
    const lilac_completion_config config = completion_config(session, r);
    const lilac_transformer *const models[] = {r->models[0], r->models[1]};
    LILAC_TRY(lilac_completion_run(session->context, &config, models, r->training, r->test, &r->completion));
    lilac_progress_bar_clear(&session->bar);
    return lilac_completion_tables_print(session->context, &r->completion, lilac_dataset_get_shape(r->test).count,
                                         stdout);
}

static size_t lora_seeds(const lilac_reproduction *r) {
    return r->quick ? 1 : 0;
}

static lilac_status run_lora_64(lilac_session *session, lilac_reproduction *r) {
    return lilac_lora_table_make(session, 64, lora_seeds(r), r->training, r->test, &r->tables[0]);
}

static lilac_status run_lora_512(lilac_session *session, lilac_reproduction *r) {
    return lilac_lora_table_make(session, 512, lora_seeds(r), r->training, r->test, &r->tables[1]);
}

lilac_status lilac_parts_check(lilac_session *session, const lilac_reproduction *r) {
    if (r->outcomes[LILAC_PART_COMPLETION].state == LILAC_PART_NOT_REACHED) {
        const lilac_completion_config config = completion_config(session, r);
        const lilac_transformer *const models[] = {r->models[0], r->models[1]};
        LILAC_TRY(lilac_completion_check(session->context, &config, models, r->training, r->test));
    }
    if (r->outcomes[LILAC_PART_LORA_64].state == LILAC_PART_NOT_REACHED) {
        const lilac_lora_table_config config = {.hidden = 64, .seed_count = 1};
        LILAC_TRY(lilac_lora_table_check(session->context, &config, r->training, r->test));
    }
    return LILAC_OK;
}

/* ---- One after the other ---- */

/* How far all parts have come, in the time that they usually take. */
typedef struct course {
    double expected, spent; /* of the parts done */
    double ahead;           /* of the others */
    size_t number, count;   /* of parts */
} course;

static double expected_seconds(const lilac_reproduction *r, lilac_part part) {
    return r->outcomes[part].state == LILAC_PART_LEFT_OUT ? 0.0 : parts[part].seconds[r->quick];
}

/* Says which part begins, and how long everything may still take: the machine's peak says at first how fast it is, and
 * later the parts that are done do. */
static void announce(lilac_session *session, const lilac_reproduction *r, lilac_part part, course *c) {
    double slowness = 1.0;
    if (c->number > 1) {
        slowness = c->spent / c->expected;
    } else if (r->outcomes[LILAC_PART_PEAK].state == LILAC_PART_DONE && r->peak.f32.all > 0.0) {
        slowness = usual_peak / r->peak.f32.all;
    }
    char duration[32];
    lilac_duration_text(slowness * c->ahead, duration, sizeof duration);
    c->number++;
    lilac_session_note(session, "[%zu/%zu] %s; about %s left in all", c->number, c->count, parts[part].title, duration);
    session->bar.later = slowness * (c->ahead - parts[part].seconds[r->quick]);
    session->bar.all_end = lilac_clock_seconds() + slowness * c->ahead;
}

static lilac_status run_part(lilac_session *session, lilac_reproduction *r, lilac_part part) {
    lilac_part_outcome *outcome = &r->outcomes[part];
    const double start = lilac_clock_seconds();
    const lilac_status status = parts[part].run(session, r);
    outcome->seconds = lilac_clock_seconds() - start;
    if (status == LILAC_OK) {
        outcome->state = LILAC_PART_DONE;
        if (part != LILAC_PART_PEAK && part != LILAC_PART_LORA_64 && part != LILAC_PART_LORA_512) {
            putchar('\n');
        }
        fflush(stdout);
        return LILAC_OK;
    }
    outcome->state = status == LILAC_CANCELLED ? LILAC_PART_INTERRUPTED : LILAC_PART_FAILED;
    snprintf(outcome->reason, sizeof outcome->reason, "%s",
             status == LILAC_CANCELLED ? "interrupted" : lilac_context_message(session->context));
    return status;
}

lilac_status lilac_parts_run(lilac_session *session, lilac_reproduction *r) {
    course c = {.count = 0};
    lilac_status first = LILAC_OK;
    for (lilac_part part = 0; part < LILAC_PART_COUNT; part++) {
        c.count += r->outcomes[part].state != LILAC_PART_LEFT_OUT;
        c.ahead += expected_seconds(r, part);
    }
    for (lilac_part part = 0; part < LILAC_PART_COUNT; part++) {
        if (r->outcomes[part].state == LILAC_PART_LEFT_OUT) {
            continue;
        }
        if (first == LILAC_CANCELLED) {
            snprintf(r->outcomes[part].reason, sizeof r->outcomes[part].reason, "not reached: the run was interrupted");
            continue;
        }
        announce(session, r, part, &c);
        const lilac_status status = run_part(session, r, part);
        c.spent += r->outcomes[part].seconds;
        c.expected += parts[part].seconds[r->quick];
        c.ahead -= parts[part].seconds[r->quick];
        first = first == LILAC_OK || status == LILAC_CANCELLED ? status : first;
        if (status != LILAC_OK && status != LILAC_CANCELLED) {
            lilac_session_note(session, "%s failed: %s", parts[part].title, r->outcomes[part].reason);
        }
    }
    return first;
}

void lilac_reproduction_free(lilac_reproduction *r) {
    lilac_completion_models_free(r->models);
    lilac_dataset_destroy(r->test);
    lilac_dataset_destroy(r->training);
    lilac_completion_destroy(&r->completion);
    for (size_t i = 0; i < LILAC_COUNT(r->tables); i++) {
        lilac_lora_table_destroy(&r->tables[i]);
    }
}
