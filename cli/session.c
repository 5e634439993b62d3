/* SPDX-License-Identifier: MIT */
#include "session.h"

#include "signals.h"

#include "runtime/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints a line to standard error, above the progress bar. */
static void print_line(lilac_session *session, const char *prefix, const char *format, va_list arguments) {
    lilac_progress_bar_clear(&session->bar);
    if (prefix != NULL) {
        fprintf(stderr, "lilac %s: ", prefix);
    }
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

static void print_error(lilac_session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print_error(lilac_session *session, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line(session, session->command->name, format, arguments);
    va_end(arguments);
}

lilac_status lilac_session_usage_error(lilac_session *session, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_line(session, session->command->name, format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try 'lilac %s --help'.\n", session->command->name);
    session->usage_error = true;
    return LILAC_ERROR_ARGUMENT;
}

void lilac_session_note(lilac_session *session, const char *format, ...) {
    if (!session->common.quiet) {
        va_list arguments;
        va_start(arguments, format);
        print_line(session, NULL, format, arguments);
        va_end(arguments);
    }
}

lilac_lora_config lilac_session_lora_config(const lilac_session *session) {
    const lilac_lora_settings *settings = &session->common.lora;
    return (lilac_lora_config){.rank = (size_t)settings->rank,
                               .alpha = settings->alpha,
                               .scale_rule = (lilac_lora_scale_rule)settings->scale_rule,
                               .initialisation = (lilac_lora_initialisation)settings->initialisation,
                               .seed = session->common.seed};
}

lilac_status lilac_session_print_table(lilac_session *session, lilac_status status, lilac_table *table) {
    lilac_progress_bar_clear(&session->bar);
    if (status == LILAC_OK && !lilac_table_print(table, stdout)) {
        status = lilac_fail(session->context, LILAC_ERROR_MEMORY, "out of memory for the table");
    }
    lilac_table_destroy(table);
    return status;
}

void lilac_session_print_peak(const lilac_session *session, lilac_peaks peak) {
    const int threads = lilac_context_threads(session->context);
    printf("Peak of %d thread%s: %.1f GFLOP/s in f32", threads, threads == 1 ? "" : "s", peak.f32);
    if (peak.bf16 > 0.0) {
        printf(", %.1f in bf16", peak.bf16);
    }
    if (peak.f16 > 0.0) {
        printf(", %.1f in f16", peak.f16);
    }
    putchar('\n');
}

static int on_progress(void *user, const lilac_progress *progress) {
    lilac_session *session = user;
    if (lilac_signals_caught() != 0) {
        return 1;
    }
    lilac_progress_bar_update(&session->bar, progress);
    return 0;
}

/* oneDNN chooses its instructions by itself, and reads the limit from its environment at its first call. */
static void limit_matmul(lilac_cpu_level level) {
    if (level < LILAC_CPU_AVX512) {
        setenv("ONEDNN_MAX_CPU_ISA", level == LILAC_CPU_AVX2 ? "AVX2" : "SSE41", 0);
    }
}

static lilac_status create_context(lilac_session *session) {
    lilac_context_config config;
    lilac_context_config_default(&config);
    lilac_cpu_level level;
    const char *name = getenv("LILAC_CPU");
    if (name != NULL && name[0] != '\0' && lilac_cpu_level_parse(name, &level) != LILAC_OK) {
        return lilac_session_usage_error(session, "LILAC_CPU: expected scalar, avx2 or avx512, got '%s'", name);
    }
    if (session->common.cpu != LILAC_CPU_NOT_GIVEN && session->common.cpu < (int)config.max_cpu_level) {
        config.max_cpu_level = (lilac_cpu_level)session->common.cpu;
    }
    limit_matmul(config.max_cpu_level);
    config.threads = session->common.threads;
    config.progress = on_progress;
    config.progress_user = session;
    return lilac_context_create(&config, &session->context);
}

/* The level asked for can only lower what is used: says so where it would have to raise it. */
static void note_cpu_level(lilac_session *session) {
    const lilac_cpu_level asked = (lilac_cpu_level)session->common.cpu;
    const lilac_cpu_level used = lilac_context_cpu_level(session->context);
    if (session->common.cpu != LILAC_CPU_NOT_GIVEN && used < asked) {
        lilac_session_note(session, "--cpu %s is above what %s: using %s.", lilac_cpu_level_name(asked),
                           used == lilac_cpu_level_detect() ? "this machine has" : "LILAC_CPU allows",
                           lilac_cpu_level_name(used));
    }
}

static int exit_code(lilac_session *session, lilac_status status) {
    if (status == LILAC_OK) {
        return LILAC_EXIT_SUCCESS;
    }
    if (session->usage_error) {
        return LILAC_EXIT_USAGE;
    }
    const int signal_number = lilac_signals_caught();
    if (status == LILAC_CANCELLED && signal_number != 0) {
        print_error(session, "interrupted");
        return LILAC_EXIT_SIGNAL + signal_number;
    }
    const char *message = lilac_context_message(session->context);
    print_error(session, "%s", message[0] != '\0' ? message : lilac_status_string(status));
    return LILAC_EXIT_FAILURE;
}

int lilac_session_run(const lilac_command *command, int count, char **arguments) {
    lilac_session session = {.command = command, .common = {.cpu = LILAC_CPU_NOT_GIVEN}};
    void *settings = calloc(1, command->settings_size + 1);
    if (settings == NULL) {
        print_error(&session, "%s", lilac_status_string(LILAC_ERROR_MEMORY));
        return LILAC_EXIT_FAILURE;
    }
    lilac_option_group groups[LILAC_GROUPS_MAX];
    const size_t group_count = lilac_option_groups(command, settings, &session.common, groups);
    char message[512];
    lilac_status status;
    if (!lilac_options_parse(groups, group_count, count, arguments, message, sizeof message)) {
        status = lilac_session_usage_error(&session, "%s", message);
    } else {
        lilac_progress_bar_start(&session.bar, session.common.quiet);
        status = create_context(&session);
    }
    if (status == LILAC_OK) {
        note_cpu_level(&session);
        status = command->run(&session, settings);
        lilac_progress_bar_clear(&session.bar);
    }
    const int code = exit_code(&session, status);
    lilac_context_destroy(session.context);
    free(settings);
    return code;
}
