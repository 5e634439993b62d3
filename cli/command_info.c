/* SPDX-License-Identifier: MIT */
/* lilac info: what this build is made of and what it will use on this machine. */
#include "files.h"
#include "machine.h"
#include "session.h"

#include "core/cpu_features.h"
#include "kernels/kernel_table.h"
#include "linalg/matmul.h"
#include "runtime/context.h"
#include "runtime/parallel.h"

#include <stdio.h>

typedef struct info_settings {
    bool peaks;
    const char *json;
} info_settings;

static const lilac_option options[] = {
    {.name = "peaks",
     .type = LILAC_OPTION_FLAG,
     .offset = offsetof(info_settings, peaks),
     .help = "measure what the machine can do at best, too, in some seconds; lilac bench peak tells more"},
    {.name = "json",
     .type = LILAC_OPTION_TEXT,
     .offset = offsetof(info_settings, json),
     .value = "FILE",
     .help = "save it all as JSON"},
};

static void add_caches(lilac_table *table) {
    char text[128] = "";
    size_t used = 0;
    for (int number = 1; number <= 3; number++) {
        const size_t kibibytes = lilac_machine_cache(number) / 1024;
        if (kibibytes > 0) {
            const bool large = kibibytes >= 1024;
            used += (size_t)snprintf(text + used, sizeof text - used, "%sL%d %zu %s", used == 0 ? "" : ", ", number,
                                     large ? kibibytes / 1024 : kibibytes, large ? "MiB" : "KiB");
        }
    }
    if (used > 0) {
        lilac_table_cell(table, "Caches of data");
        lilac_table_cell(table, "%s", text);
    }
}

static void add_kernels(lilac_table *table, lilac_cpu_level level) {
    for (size_t i = 0; i < LILAC_KERNEL_FAMILIES; i++) {
        const lilac_kernel_family *family = &lilac_kernel_families[i];
        lilac_table_cell(table, "%s", i == 0 ? "Kernels in use" : "");
        lilac_table_cell(table, "%s: %s", family->name, lilac_cpu_level_name(lilac_kernel_family_level(family, level)));
    }
    lilac_table_cell(table, "Attention of bf16");
    const bool slow = level == LILAC_CPU_AVX512 && lilac_cpu_has_bf16_dot_product();
    lilac_table_cell(table, "%s%s", lilac_machine_bf16_attention(level),
                     slow && !lilac_cpu_has_fast_bf16_dot_product() ? ", the faster way on this processor" : "");
}

static void add_peak(lilac_table *table, const char *what, lilac_peak_rate rate, const char *unit) {
    lilac_table_cell(table, "%s", what);
    lilac_table_cell(table, "%.1f %s; 1 thread %.1f", rate.all, unit, rate.one);
}

static void add_peaks(lilac_table *table, const lilac_peak_figures *peak) {
    add_peak(table, "Peak in f32", peak->f32, "GFLOP/s");
    if (peak->bf16.all > 0.0) {
        add_peak(table, "Peak in bf16", peak->bf16, "GFLOP/s");
    }
    if (peak->f16.all > 0.0) {
        add_peak(table, "Peak in f16", peak->f16, "GFLOP/s");
    }
    add_peak(table, "Reading memory", peak->read[LILAC_PEAK_READ_SIZES - 1], "GB/s");
}

static void add_software(lilac_table *table, lilac_context *context) {
    char text[256];
    if (lilac_machine_system(text, sizeof text)) {
        lilac_table_cell(table, "System");
        lilac_table_cell(table, "%s", text);
    }
    lilac_table_cell(table, "Compiler");
    lilac_table_cell(table, "%s", lilac_machine_compiler);
    lilac_table_cell(table, "Matrix products");
    lilac_table_cell(table, "%s", lilac_matmul_library());
    lilac_table_cell(table, "Libraries");
    lilac_machine_libraries(text, sizeof text);
    lilac_table_cell(table, "%s", text);
    lilac_table_cell(table, "Plots");
    lilac_table_cell(table, "%s", lilac_machine_gnuplot(context, text, sizeof text) ? text : "none: no gnuplot");
}

static lilac_table *make_table(const lilac_session *session, const lilac_peak_figures *peak) {
    lilac_table *table = lilac_table_create("ll");
    char text[256];
    lilac_table_cell(table, "Lilac");
    lilac_table_cell(table, LILAC_VERSION);
    if (lilac_machine_processor(text, sizeof text)) {
        lilac_table_cell(table, "Processor");
        lilac_table_cell(table, "%s", text);
    }
    lilac_table_cell(table, "Instruction sets");
    lilac_table_cell(table, "%s%s%s%s", lilac_cpu_level_name(lilac_cpu_level_detect()),
                     lilac_cpu_has_bf16_dot_product() ? ", bf16 dot products" : "",
                     lilac_cpu_has_avx512_fp16() ? ", f16 multiply-adds" : "",
                     lilac_cpu_has_amx_bf16() ? ", bf16 tiles (AMX)" : "");
    add_caches(table);
    lilac_table_cell(table, "Threads");
    lilac_table_cell(table, "%d of %d processors", lilac_context_threads(session->context),
                     lilac_parallel_processors());
    add_kernels(table, lilac_context_cpu_level(session->context));
    add_software(table, session->context);
    if (peak != NULL) {
        add_peaks(table, peak);
    }
    return table;
}

static lilac_status save(lilac_session *session, const char *path, const lilac_peak_figures *peak) {
    lilac_json json = lilac_json_begin();
    lilac_json_string(&json, json.root, "program", "lilac " LILAC_VERSION);
    lilac_machine_add(&json, json.root, session->context, peak);
    const lilac_status status = lilac_json_write(session->context, &json, path);
    lilac_json_end(&json);
    return status;
}

static lilac_status run(lilac_session *session, const void *values) {
    const info_settings *settings = values;
    if (settings->json != NULL) {
        LILAC_TRY(lilac_session_check_output(session, settings->json));
    }
    lilac_peak_figures figures;
    const lilac_peak_figures *peak = NULL;
    if (settings->peaks) {
        LILAC_TRY(lilac_bench_peak(session->context, &figures));
        peak = &figures;
    }
    LILAC_TRY(lilac_session_print_table(session, LILAC_OK, make_table(session, peak)));
    if (settings->json != NULL) {
        LILAC_TRY(save(session, settings->json, peak));
        printf("Saved %s\n", settings->json);
    }
    return LILAC_OK;
}

const lilac_command lilac_command_info = {
    .name = "info",
    .heading = "This machine",
    .summary = "show the version, the instruction sets and the libraries in use",
    .description = "Shows what this build of Lilac is made of and what it uses on this machine: the instruction sets, "
                   "the level that each family of kernels was written for, the threads, and the libraries.",
    .example = "lilac info --peaks\n"
               "lilac info --cpu avx2 --json machine.json\n",
    .options = options,
    .option_count = LILAC_COUNT(options),
    .settings_size = sizeof(info_settings),
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
