/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "gnuplot.h"

#include "core/cpu_features.h"
#include "kernels/kernel_table.h"
#include "linalg/matmul.h"
#include "runtime/parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <lapacke.h>
#include <nettle/version.h>
#include <png.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

bool lilac_machine_processor(char *name, size_t size) {
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

void lilac_machine_libraries(char *text, size_t size) {
    lapack_int major = 0, minor = 0, patch = 0;
    LAPACKE_ilaver(&major, &minor, &patch);
    snprintf(text, size, "zlib %s, libpng %s, cJSON %s, Nettle %d.%d, LAPACK %d.%d.%d, OpenMP of %d", zlibVersion(),
             png_get_libpng_ver(NULL), cJSON_Version(), nettle_version_major(), nettle_version_minor(), (int)major,
             (int)minor, (int)patch, _OPENMP);
}

bool lilac_machine_system(char *text, size_t size) {
    struct utsname names;
    if (uname(&names) < 0) {
        return false;
    }
    snprintf(text, size, "%s %s on %s", names.sysname, names.release, names.machine);
    return true;
}

#ifdef __clang__
const char lilac_machine_compiler[] = __VERSION__;
#else
const char lilac_machine_compiler[] = "gcc " __VERSION__;
#endif

static void write_version(FILE *script, const void *argument) {
    (void)argument;
    fputs("set print '-'\nprint sprintf('gnuplot %.1f', GPVAL_VERSION)\n", script);
}

bool lilac_machine_gnuplot(lilac_context *context, char *text, size_t size) {
    char *version;
    if (lilac_gnuplot_draw(context, write_version, NULL, &version) != LILAC_OK) {
        return false;
    }
    snprintf(text, size, "%.*s", (int)strcspn(version, "\n"), version);
    free(version);
    return true;
}

size_t lilac_machine_cache(int number) {
    long bytes = 0;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    static const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    bytes = sysconf(names[number - 1]);
#else
    (void)number;
#endif
    return bytes > 0 ? (size_t)bytes : 0;
}

size_t lilac_machine_memory(void) {
    long pages = 0, bytes = 0;
#ifdef _SC_PHYS_PAGES
    pages = sysconf(_SC_PHYS_PAGES);
    bytes = sysconf(_SC_PAGESIZE);
#endif
    return pages > 0 && bytes > 0 ? (size_t)pages * (size_t)bytes : 0;
}

const char *lilac_machine_bf16_attention(lilac_cpu_level level) {
    return lilac_kernel_table_for(level)->bf16_dot_products ? "bf16 dot products" : "f32 arithmetic";
}

static void add_rate(lilac_json *json, cJSON *parent, const char *name, lilac_peak_rate rate) {
    char member[64];
    snprintf(member, sizeof member, "%s_one", name);
    lilac_json_number(json, parent, member, rate.one);
    snprintf(member, sizeof member, "%s_all", name);
    lilac_json_number(json, parent, member, rate.all);
}

void lilac_machine_add(lilac_json *json, cJSON *machine, lilac_context *context, const lilac_peak_figures *peak) {
    char text[256];
    lilac_json_string(json, machine, "processor",
                      lilac_machine_processor(text, sizeof text) ? text : "an unknown processor");
    if (lilac_machine_system(text, sizeof text)) {
        lilac_json_string(json, machine, "system", text);
    }
    lilac_json_string(json, machine, "compiler", lilac_machine_compiler);
    lilac_json_string(json, machine, "cpu_level", lilac_cpu_level_name(lilac_cpu_level_detect()));
    lilac_json_string(json, machine, "bf16_dot_products", lilac_cpu_has_bf16_dot_product() ? "yes" : "no");
    cJSON *caches = lilac_json_array(json, machine, "cache_bytes");
    for (int number = 1; number <= 3; number++) {
        lilac_json_whole(json, caches, NULL, lilac_machine_cache(number));
    }
    lilac_json_number(json, machine, "processors", (double)lilac_parallel_processors());
    lilac_json_number(json, machine, "threads", (double)lilac_context_threads(context));
    cJSON *kernels = lilac_json_object(json, machine, "kernels");
    for (size_t i = 0; i < LILAC_KERNEL_FAMILIES; i++) {
        const lilac_kernel_family *family = &lilac_kernel_families[i];
        const lilac_cpu_level level = lilac_kernel_family_level(family, lilac_context_cpu_level(context));
        lilac_json_string(json, kernels, family->name, lilac_cpu_level_name(level));
    }
    lilac_json_string(json, machine, "bf16_attention", lilac_machine_bf16_attention(lilac_context_cpu_level(context)));
    lilac_json_string(json, machine, "matrix_products", lilac_matmul_library());
    lilac_machine_libraries(text, sizeof text);
    lilac_json_string(json, machine, "libraries", text);
    if (lilac_machine_gnuplot(context, text, sizeof text)) {
        lilac_json_string(json, machine, "plots", text);
    }
    if (peak != NULL) {
        cJSON *object = lilac_json_object(json, machine, "peak");
        lilac_json_string(json, object, "unit", "GFLOP/s; of reading GB/s");
        add_rate(json, object, "f32", peak->f32);
        add_rate(json, object, "bf16", peak->bf16);
        add_rate(json, object, "f16", peak->f16);
        /* The largest block, which no cache holds. */
        add_rate(json, object, "read_memory", peak->read[LILAC_PEAK_READ_SIZES - 1]);
    }
}
