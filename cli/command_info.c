/* SPDX-License-Identifier: MIT */
/* lilac info: what this build is made of and what it will use on this machine. */
#include "machine.h"
#include "session.h"

#include "core/cpu_features.h"
#include "linalg/matmul.h"
#include "runtime/parallel.h"

static lilac_status run(lilac_session *session, const void *settings) {
    (void)settings;
    const lilac_cpu_level machine = lilac_cpu_level_detect();
    const lilac_cpu_level used = lilac_context_cpu_level(session->context);
    lilac_table *table = lilac_table_create("ll");
    lilac_table_cell(table, "Lilac");
    lilac_table_cell(table, LILAC_VERSION);
    char processor[256];
    if (lilac_machine_processor(processor, sizeof processor)) {
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
    char libraries[256];
    lilac_machine_libraries(libraries, sizeof libraries);
    lilac_table_cell(table, "%s", libraries);
    return lilac_session_print_table(session, LILAC_OK, table);
}

const lilac_command lilac_command_info = {
    .name = "info",
    .heading = "This machine",
    .summary = "show the version, the instruction sets and the libraries in use",
    .description = "Shows what this build of Lilac is made of and what it uses on this machine: the instruction sets "
                   "that the kernels are chosen for, the threads, and the libraries.",
    .example = "lilac info\nlilac info --cpu avx2\n",
    .takes = LILAC_TAKES_COMPUTE,
    .run = run,
};
