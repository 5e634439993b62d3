/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <nettle/version.h>
#include <png.h>
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
    snprintf(text, size, "zlib %s, libpng %s, cJSON %s, Nettle %d.%d", zlibVersion(), png_get_libpng_ver(NULL),
             cJSON_Version(), nettle_version_major(), nettle_version_minor());
}
