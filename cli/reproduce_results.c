/* SPDX-License-Identifier: MIT */
#include "reproduce_results.h"

#include "gnuplot.h"
#include "machine.h"

#include "core/memory.h"
#include "report/changes.h"
#include "report/completion_report.h"
#include "report/lora_report.h"
#include "report/page.h"
#include "report/pictures.h"
#include "report/plots.h"
#include "runtime/context.h"

#include <stdio.h>
#include <stdlib.h>

static bool done(const lilac_reproduction *r, lilac_part part) {
    return r->outcomes[part].state == LILAC_PART_DONE;
}

/* ---- The tree of results ---- */

static void add_parts(lilac_json *json, const lilac_reproduction *r) {
    static const char *const states[] = {[LILAC_PART_NOT_REACHED] = "not reached",
                                         [LILAC_PART_LEFT_OUT] = "left out",
                                         [LILAC_PART_DONE] = "done",
                                         [LILAC_PART_INTERRUPTED] = "interrupted",
                                         [LILAC_PART_FAILED] = "failed"};
    cJSON *array = lilac_json_array(json, json->root, "parts");
    for (lilac_part part = 0; part < LILAC_PART_COUNT; part++) {
        const lilac_part_outcome *outcome = &r->outcomes[part];
        cJSON *object = lilac_json_object(json, array, NULL);
        lilac_json_string(json, object, "name", lilac_part_name(part));
        lilac_json_string(json, object, "title", lilac_part_title(part));
        lilac_json_string(json, object, "state", states[outcome->state]);
        lilac_json_string(json, object, "reason", outcome->reason);
        lilac_json_number(json, object, "seconds", outcome->seconds);
    }
}

static void add_attention(lilac_json *json, const lilac_context *context, const lilac_reproduction *r) {
    cJSON *attention = NULL;
    for (size_t e = 0; e < LILAC_COUNT(r->sweeps); e++) {
        if (done(r, (lilac_part)(LILAC_PART_LAYER + e))) {
            attention = attention == NULL ? lilac_json_object(json, json->root, "attention") : attention;
            cJSON *object = lilac_json_object(json, attention, lilac_encoder_experiment_names[e]);
            lilac_encoder_sweep_add(json, object, context, &r->sweeps[e]);
        }
    }
}

static void add_lora(lilac_json *json, const lilac_context *context, const lilac_reproduction *r) {
    lilac_lora_table tables[2];
    size_t count = 0;
    for (size_t w = 0; w < LILAC_COUNT(r->tables); w++) {
        if (done(r, (lilac_part)(LILAC_PART_LORA_64 + w))) {
            tables[count++] = r->tables[w];
        }
    }
    if (count > 0) {
        lilac_lora_results_add(json, lilac_json_object(json, json->root, "lora"), context, tables, count);
    }
}

static lilac_json build_results(const lilac_session *session, const lilac_reproduction *r) {
    lilac_json json = lilac_json_begin_results(session->context, "all");
    lilac_json_string(&json, json.root, "size", r->quick ? "quick" : "full");
    lilac_json_whole(&json, json.root, "seed", session->common.seed);
    add_attention(&json, session->context, r);
    if (done(r, LILAC_PART_COMPLETION)) {
        lilac_completion_results_add(&json, lilac_json_object(&json, json.root, "completion"), session->context,
                                     &r->completion);
    }
    add_lora(&json, session->context, r);
    lilac_machine_add(&json, lilac_json_object(&json, json.root, "machine"), session->context,
                      done(r, LILAC_PART_PEAK) ? &r->peak : NULL);
    add_parts(&json, r);
    return json;
}

/* ---- Figures and pictures ---- */

/* Whether completion was timed for more than one number of images. */
static bool has_curve(const cJSON *completion) {
    return lilac_json_at(completion, "times/linear/1") != NULL || lilac_json_at(completion, "times/softmax/1") != NULL;
}

static lilac_status draw_plots(lilac_context *context, const cJSON *results, lilac_page_media *media) {
    static const struct {
        lilac_page_plot plot;
        const char *path;
        lilac_gnuplot_script *script;
        size_t width;
    } plots[] = {{LILAC_PAGE_LAYER, "attention/layer", lilac_plot_encoder, 0},
                 {LILAC_PAGE_INFERENCE, "attention/inference", lilac_plot_encoder, 0},
                 {LILAC_PAGE_COMPLETION_TIMES, "completion", lilac_plot_completion_times, 0},
                 {LILAC_PAGE_LORA, "lora", lilac_plot_fine_tuning, 0},
                 {LILAC_PAGE_LORA + 1, "lora", lilac_plot_from_scratch, 0},
                 {LILAC_PAGE_LORA + 2, "lora", lilac_plot_fine_tuning, 1},
                 {LILAC_PAGE_LORA + 3, "lora", lilac_plot_from_scratch, 1}};
    for (size_t i = 0; i < LILAC_COUNT(plots); i++) {
        const lilac_plot plot = {
            .results = lilac_json_at(results, "%s", plots[i].path), .width = plots[i].width, .inlined = true};
        const bool given = plots[i].script == lilac_plot_completion_times ? has_curve(plot.results)
                           : plots[i].plot >= LILAC_PAGE_LORA
                               ? lilac_json_at(plot.results, "widths/%zu", plot.width) != NULL
                               : plot.results != NULL;
        if (given) {
            LILAC_TRY(lilac_gnuplot_draw(context, plots[i].script, &plot, &media->plots[plots[i].plot]));
        }
    }
    return LILAC_OK;
}

static void free_media(lilac_page_media *media) {
    for (size_t i = 0; i < LILAC_PAGE_PLOT_COUNT; i++) {
        free(media->plots[i]);
    }
    for (size_t i = 0; i < LILAC_PAGE_PICTURES; i++) {
        lilac_memory_free(media->pictures[i]);
    }
}

static lilac_status write_page(lilac_session *session, const lilac_reproduction *r, const cJSON *results,
                               const cJSON *old, lilac_page_media *media, const char *path) {
    lilac_context *context = session->context;
    /* A page without plots is better than none: all figures stand in its tables. */
    if (lilac_gnuplot_check(context) != LILAC_OK || draw_plots(context, results, media) != LILAC_OK) {
        lilac_session_note(session, "The page has no plots: %s", lilac_context_message(context));
    }
    if (done(r, LILAC_PART_COMPLETION)) {
        LILAC_TRY(lilac_page_pictures_draw(context, &r->completion, r->test, media));
    }
    return lilac_page_write(context, results, old, media, path);
}

/* ---- Changes ---- */

static void print_change(void *user, const lilac_change *change) {
    (void)user;
    if (change->was != NULL) {
        printf("  %s: %s, was %s\n", change->label, change->is, change->was);
    } else if (change->timed) {
        printf("  %s: %.6g, was %.6g (%+.0f %%)\n", change->label, change->after, change->before,
               100.0 * (change->after / change->before - 1.0));
    } else {
        printf("  %s: %.6g, was %.6g (%+.4g)\n", change->label, change->after, change->before,
               change->after - change->before);
    }
}

lilac_status lilac_reproduction_save(lilac_session *session, const lilac_reproduction *r, const cJSON *old,
                                     const char *results_path, const char *page_path) {
    lilac_page_media media = {.plots = {NULL}};
    lilac_progress_bar_clear(&session->bar);
    lilac_json json = build_results(session, r);
    lilac_status status = lilac_json_write(session->context, &json, results_path);
    if (status == LILAC_OK) {
        status = write_page(session, r, json.root, old, &media, page_path);
    }
    if (status == LILAC_OK && old != NULL) {
        puts("Changed since the earlier results (speeds and times: by more than a tenth):");
        if (lilac_changes_visit(old, json.root, print_change, NULL) == 0) {
            puts("  nothing");
        }
        putchar('\n');
    }
    free_media(&media);
    lilac_json_end(&json);
    return status;
}
