/* SPDX-License-Identifier: MIT */
#include "support/comma_locale.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* localedef warns about all that the definition leaves out and makes the locale nevertheless. */
static const char command[] = "{ printf 'LC_NUMERIC\\ndecimal_point \"<U002C>\"\\nthousands_sep \"\"\\ngrouping -1\\n'"
                              "  printf 'END LC_NUMERIC\\n'; } >%s/definition &&"
                              " { localedef -c -i %s/definition %s/comma >%s/log 2>&1; test -f %s/comma/LC_NUMERIC; }";

bool comma_locale_set(void) {
    char folder[] = "/tmp/lilac-test-XXXXXX", line[400], removal[100];
    if (mkdtemp(folder) == NULL) {
        return false;
    }
    snprintf(line, sizeof line, command, folder, folder, folder, folder, folder);
    snprintf(removal, sizeof removal, "rm -r %s", folder);
    /* Only glibc looks there. */
    bool set = system(line) == 0 && setenv("LOCPATH", folder, 1) == 0 && setlocale(LC_NUMERIC, "comma") != NULL;
    char half[8];
    snprintf(half, sizeof half, "%g", 0.5);
    set = set && half[1] == ',';
    unsetenv("LOCPATH");
    return system(removal) == 0 && set;
}

void comma_locale_reset(void) {
    setlocale(LC_NUMERIC, "C");
}
