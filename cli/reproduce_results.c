/* SPDX-License-Identifier: MIT */
#include "reproduce_results.h"

#include "files.h"
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
#include <string.h>

#include <unistd.h>

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
        lilac_session_note(session, "The page lacks plots: %s", lilac_context_message(context));
    }
    if (done(r, LILAC_PART_COMPLETION)) {
        LILAC_TRY(lilac_page_pictures_draw(context, &r->completion, r->test, media));
    }
    return lilac_page_write(context, results, old, media, path);
}

/* ---- Where they go ---- */

static const char partial_name[] = "partial";

/* How much of a part results hold: nothing, some of it (a reason says what is missing), all. */
static int wholeness(const cJSON *results, const char *name) {
    const cJSON *part;
    cJSON_ArrayForEach(part, lilac_json_at(results, "parts")) {
        if (strcmp(lilac_json_string_at(part, "name"), name) == 0) {
            const bool complete = lilac_json_string_at(part, "reason")[0] == '\0';
            return strcmp(lilac_json_string_at(part, "state"), "done") != 0 ? 0 : complete ? 2 : 1;
        }
    }
    return 0;
}

/* Whether the results that lie at path hold something that the new ones do not. What cannot be read may do so; what is
 * not a whole results file does not. */
static bool is_fuller(lilac_context *context, const char *path, const cJSON *results) {
    cJSON *present = NULL;
    const lilac_status status = lilac_results_read(context, path, &present);
    if (status != LILAC_OK) {
        return status != LILAC_ERROR_NOT_FOUND && status != LILAC_ERROR_FORMAT;
    }
    bool fuller = strcmp(lilac_json_string_at(present, "size"), "full") == 0 &&
                  strcmp(lilac_json_string_at(results, "size"), "quick") == 0;
    for (lilac_part part = 0; part < LILAC_PART_COUNT; part++) {
        const char *name = lilac_part_name(part);
        fuller = fuller || wholeness(present, name) > wholeness(results, name);
    }
    cJSON_Delete(present);
    return fuller;
}

typedef struct output_paths {
    char results[LILAC_PATH_SIZE], page[LILAC_PATH_SIZE];
} output_paths;

static lilac_status find_paths(lilac_session *session, const char *folder, output_paths *paths) {
    LILAC_TRY(lilac_session_output_path(session, folder, "results.json", paths->results));
    return lilac_session_output_path(session, folder, "index.html", paths->page);
}

static lilac_status check_folder(lilac_session *session, const char *folder) {
    output_paths paths;
    LILAC_TRY(find_paths(session, folder, &paths));
    LILAC_TRY(lilac_session_make_folder(session, folder));
    LILAC_TRY(lilac_session_check_output(session, paths.results));
    return lilac_session_check_output(session, paths.page);
}

/* Also the folder for results that must not replace fuller ones, if there is one: else it can be made. */
lilac_status lilac_reproduction_check_folder(lilac_session *session, const char *folder) {
    char partial[LILAC_PATH_SIZE];
    LILAC_TRY(lilac_session_output_path(session, folder, partial_name, partial));
    LILAC_TRY(check_folder(session, folder));
    return access(partial, F_OK) == 0 ? check_folder(session, partial) : LILAC_OK;
}

static lilac_status choose_paths(lilac_session *session, const char *folder, const cJSON *results,
                                 output_paths *paths) {
    LILAC_TRY(find_paths(session, folder, paths));
    if (!is_fuller(session->context, paths->results, results)) {
        return LILAC_OK;
    }
    char partial[LILAC_PATH_SIZE];
    LILAC_TRY(lilac_session_output_path(session, folder, partial_name, partial));
    printf("%s holds more than this run and stays as it is: the new files go to %s\n", paths->results, partial);
    LILAC_TRY(lilac_session_make_folder(session, partial));
    return find_paths(session, partial, paths);
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

static void print_changes(const cJSON *old, const cJSON *results) {
    puts("Changed since the earlier results (speeds and times: by more than a tenth):");
    const lilac_changes_count count = lilac_changes_visit(old, results, print_change, NULL);
    if (count.changed == 0) {
        puts("  nothing");
    }
    if (count.only_old > 0 || count.only_new > 0) {
        printf("Not compared, being in one of both alone: %zu of the earlier figures, %zu of these\n", count.only_old,
               count.only_new);
    }
    putchar('\n');
}

static lilac_status save(lilac_session *session, const lilac_reproduction *r, const lilac_json *json, const cJSON *old,
                         const char *folder) {
    lilac_page_media media = {.plots = {NULL}};
    output_paths paths;
    LILAC_TRY(choose_paths(session, folder, json->root, &paths));
    LILAC_TRY(lilac_json_write(session->context, json, paths.results));
    const lilac_status status = write_page(session, r, json->root, old, &media, paths.page);
    free_media(&media);
    LILAC_TRY(status);
    if (old != NULL) {
        print_changes(old, json->root);
    }
    printf("Saved %s\nSaved %s: open it in a browser\n", paths.results, paths.page);
    return LILAC_OK;
}

lilac_status lilac_reproduction_save(lilac_session *session, const lilac_reproduction *r, const cJSON *old,
                                     const char *folder) {
    lilac_progress_bar_clear(&session->bar);
    lilac_json json = build_results(session, r);
    const lilac_status status = save(session, r, &json, old, folder);
    lilac_json_end(&json);
    return status;
}
