/* SPDX-License-Identifier: MIT */
/* lilac info: what this build is made of and what it will use on this machine. */
#include "session.h"

#include "core/cpu_features.h"
#include "linalg/matmul.h"
#include "runtime/parallel.h"

#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <nettle/version.h>
#include <png.h>
#include <zlib.h>

/* The processor's name as Linux gives it; false where it does not. */
static bool read_processor_name(char *name, size_t size) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    bool found = false;
    char line[512];
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            colon += 1 + strspn(colon + 1, " ");
            snprintf(name, size, "%.*s", (int)strcspn(colon, "\n"), colon);
            found = true;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static lilac_status run(lilac_session *session, const void *settings) {
    (void)settings;
    const lilac_cpu_level machine = lilac_cpu_level_detect();
    const lilac_cpu_level used = lilac_context_cpu_level(session->context);
    lilac_table *table = lilac_table_create("ll");
    lilac_table_cell(table, "Lilac");
    lilac_table_cell(table, LILAC_VERSION);
    char processor[256];
    if (read_processor_name(processor, sizeof processor)) {
        lilac_table_cell(table, "Processor");
        lilac_table_cell(table, "%s", processor);
    }
    lilac_table_cell(table, "Instruction sets");
    lilac_table_cell(table, "%s%s", lilac_cpu_level_name(machine),
                     lilac_cpu_has_bf16_dot_product() ? " with bf16 dot products" : "");
    lilac_table_cell(table, "Kernels in use");
    lilac_table_cell(table, "%s", lilac_cpu_level_name(used));
    lilac_table_cell(table, "Threads");
    lilac_table_cell(table, "%d of %d processors", lilac_context_threads(session->context),
                     lilac_parallel_processors());
    lilac_table_cell(table, "Matrix products");
    lilac_table_cell(table, "%s", lilac_matmul_library());
    lilac_table_cell(table, "Libraries");
    lilac_table_cell(table, "zlib %s, libpng %s, cJSON %s, Nettle %d.%d", zlibVersion(), png_get_libpng_ver(NULL),
                     cJSON_Version(), nettle_version_major(), nettle_version_minor());
    return lilac_session_print_table(session, LILAC_OK, table);
}

const lilac_command lilac_command_info = {
    .name = "info",
    .summary = "show the version, the instruction sets and the libraries in use",
    .description = "Shows what this build of Lilac is made of and what it uses on this machine: the instruction sets "
                   "that the kernels are chosen for, the threads, and the libraries.",
    .example = "lilac info\nlilac info --cpu avx2\n",
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
