/* SPDX-License-Identifier: MIT */
/* lilac reproduce all: everything in the report from real data, as one page. */
#include "completion_models.h"
#include "files.h"
#include "reproduce_parts.h"
#include "reproduce_results.h"

#include "model/transformer.h"
#include "report/changes.h"
#include "runtime/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reproduce_settings {
    const char *parts, *output, *compare;
    bool quick;
} reproduce_settings;

static const lilac_option options[] = {
    {.name = "quick",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(reproduce_settings, quick),
     .help = "a look in minutes: fewer seeds, shorter sequences, fewer images, and width 64 alone"},
    {.name = "parts",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(reproduce_settings, parts),
     .value = "NAME,...",
     .help = "parts of the report to reproduce",
     .initial = "attention,completion,lora"},
    {.name = "compare",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(reproduce_settings, compare),
     .value = "FILE.json",
     .help = "results.json of an earlier run: show what changed"},
    {.name = "output",
     .letter = 'o',
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(reproduce_settings, output),
     .value = "DIR",
     .help = "folder for index.html and results.json, made where it does not exist",
     .initial_note = "out/report, with --quick out/quick"},
};

enum { GROUP_ATTENTION, GROUP_COMPLETION, GROUP_LORA };

static const struct {
    const char *name;
    lilac_part first, last;
} groups[] = {[GROUP_ATTENTION] = {"attention", LILAC_PART_LAYER, LILAC_PART_INFERENCE},
              [GROUP_COMPLETION] = {"completion", LILAC_PART_COMPLETION, LILAC_PART_COMPLETION},
              [GROUP_LORA] = {"lora", LILAC_PART_LORA_64, LILAC_PART_LORA_512}};

static void leave_out(lilac_reproduction *r, lilac_part part, const char *reason) {
    r->outcomes[part].state = LILAC_PART_LEFT_OUT;
    snprintf(r->outcomes[part].reason, sizeof r->outcomes[part].reason, "%s", reason);
}

/* Leaves out all parts but the named ones. */
static lilac_status choose_parts(lilac_session *session, const reproduce_settings *settings, lilac_reproduction *r) {
    bool wanted[LILAC_COUNT(groups)] = {false};
    for (const char *name = settings->parts; name != NULL;) {
        const size_t length = strcspn(name, ",");
        bool known = false;
        for (size_t g = 0; g < LILAC_COUNT(groups); g++) {
            if (strlen(groups[g].name) == length && strncmp(name, groups[g].name, length) == 0) {
                known = wanted[g] = true;
            }
        }
        if (!known) {
            return lilac_session_usage_error(
                session, "--parts: expected attention, completion or lora, separated by commas, got '%.*s'",
                (int)length, name);
        }
        name = name[length] == ',' ? name + length + 1 : NULL;
    }
    const lilac_common_settings *common = &session->common;
    const bool completion = wanted[GROUP_COMPLETION], lora = wanted[GROUP_LORA];
    for (size_t i = 0; i < LILAC_COUNT(common->models) && !completion; i++) {
        if (common->models[i] != NULL) {
            return lilac_session_usage_error(session, "--%s does nothing: --parts leaves completion out",
                                             lilac_transformer_attention_names[i]);
        }
    }
    if (common->data != NULL && !completion && !lora) {
        return lilac_session_usage_error(session, "--data does nothing: --parts leaves completion and lora out");
    }
    for (size_t g = 0; g < LILAC_COUNT(groups); g++) {
        for (lilac_part part = groups[g].first; part <= groups[g].last; part++) {
            if (!wanted[g]) {
                leave_out(r, part, "not asked for (--parts)");
            }
        }
    }
    if (r->quick && r->outcomes[LILAC_PART_LORA_512].state != LILAC_PART_LEFT_OUT) {
        leave_out(r, LILAC_PART_LORA_512, "takes too long for a quick look (--quick)");
    }
    return LILAC_OK;
}

/* Without transformers completion is left out; what to do about it stands in the page, too. */
static lilac_status load_models(lilac_session *session, lilac_reproduction *r) {
    size_t count;
    lilac_part_outcome *outcome = &r->outcomes[LILAC_PART_COMPLETION];
    if (outcome->state == LILAC_PART_LEFT_OUT) {
        return LILAC_OK;
    }
    LILAC_TRY(lilac_completion_models_load(session, r->models, &count));
    if (count == LILAC_COMPLETION_MODEL_COUNT) {
        return LILAC_OK;
    }
    static const char hint[] = "'lilac train --output FILE' trains such a transformer ('--attention softmax' the other "
                               "one), and --linear FILE and --softmax FILE name them";
    if (count == 0) {
        outcome->state = LILAC_PART_LEFT_OUT;
        snprintf(outcome->reason, sizeof outcome->reason, "neither %s nor %s is there: %s",
                 lilac_completion_model_files[0], lilac_completion_model_files[1], hint);
    } else {
        snprintf(outcome->reason, sizeof outcome->reason, "%s is not there, and its figures are missing: %s",
                 lilac_completion_model_files[r->models[0] == NULL ? 0 : 1], hint);
    }
    return LILAC_OK;
}

static lilac_status load_data(lilac_session *session, lilac_reproduction *r) {
    if (r->outcomes[LILAC_PART_COMPLETION].state == LILAC_PART_LEFT_OUT &&
        r->outcomes[LILAC_PART_LORA_64].state == LILAC_PART_LEFT_OUT) {
        return LILAC_OK;
    }
    LILAC_TRY(lilac_session_load_mnist(session, LILAC_MNIST_TRAIN, &r->training));
    return lilac_session_load_mnist(session, LILAC_MNIST_TEST, &r->test);
}

static lilac_status reproduce(lilac_session *session, const reproduce_settings *settings, lilac_reproduction *r,
                              cJSON **old) {
    const char *usual = settings->quick ? "out/quick" : "out/report";
    const char *output = settings->output != NULL ? settings->output : usual;
    /* All that can be refused is refused before anything long begins. */
    LILAC_TRY(choose_parts(session, settings, r));
    if (settings->compare != NULL) {
        LILAC_TRY(lilac_results_read(session->context, settings->compare, old));
    }
    LILAC_TRY(load_models(session, r));
    LILAC_TRY(load_data(session, r));
    LILAC_TRY(lilac_parts_check(session, r));
    LILAC_TRY(lilac_reproduction_check_folder(session, output));
    const lilac_status status = lilac_parts_run(session, r);
    LILAC_TRY(lilac_reproduction_save(session, r, *old, output));
    if (status == LILAC_OK || status == LILAC_CANCELLED) {
        return status;
    }
    for (lilac_part part = 0; part < LILAC_PART_COUNT; part++) {
        if (r->outcomes[part].state == LILAC_PART_FAILED) {
            return lilac_fail(session->context, status, "%s: %s", lilac_part_title(part), r->outcomes[part].reason);
        }
    }
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const reproduce_settings *settings = values;
    lilac_reproduction *r = calloc(1, sizeof *r);
    cJSON *old = NULL;
    if (r == NULL) {
        return lilac_fail_memory(session->context, "the results", sizeof *r);
    }
    r->quick = settings->quick;
    const lilac_status status = reproduce(session, settings, r, &old);
    lilac_reproduction_free(r);
    cJSON_Delete(old);
    free(r);
    return status;
}

const lilac_command lilac_command_reproduce_all = {
    .name = "reproduce all",
    .heading = "The published report",
    .summary = "reproduce everything in the report, as a page to read",
    .description =
        "Times transformer layers with linear and softmax attention, lets two transformers complete digits and judges "
        "them, and trains the LoRA tables at widths 64 and 512, as 'bench encoder', 'reproduce completion' and "
        "'reproduce lora' do, with fewer runs of what takes longest. Writes DIR/index.html, one page that holds each "
        "published table and figure "
        "beside the measured one, and DIR/results.json with every figure. After an interrupt (Ctrl-C) the page holds "
        "what was finished and says what is missing. Where DIR holds the results of a fuller run already, as after an "
        "interrupt, with --parts or where a full run was made before a quick one, these stay, and the new files go to "
        "DIR/partial.",
    .example = "lilac reproduce all\n"
               "lilac reproduce all --quick\n"
               "lilac reproduce all --parts lora --compare out/report/results.json \\\n"
               "    --output out/again\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(reproduce_settings),
    .takes = LILAC_TAKES_MODELS | LILAC_TAKES_DATA | LILAC_TAKES_SEED | LILAC_TAKES_COMPUTE,
    .run = run,
};
