/* SPDX-License-Identifier: MIT */
#include "gnuplot.h"

#include "runtime/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lilac_status lilac_gnuplot_check(lilac_context *context) {
    /* A constant command line: nothing of the user's reaches the shell. */
    if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing a figure: gnuplot is not installed");
    }
    return LILAC_OK;
}

/* What gnuplot prints; NULL where it could not be run, failed, or memory was short. */
static char *read_output(const char *command) {
    char *text = NULL, bytes[4096];
    size_t size = 0, count;
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        return NULL;
    }
    FILE *copy = open_memstream(&text, &size);
    while ((count = fread(bytes, 1, sizeof bytes, pipe)) > 0) {
        if (copy != NULL) {
            fwrite(bytes, 1, count, copy);
        }
    }
    const bool failed = pclose(pipe) != 0;
    if (copy == NULL || fclose(copy) != 0 || failed || size == 0) {
        free(text);
        return NULL;
    }
    return text;
}

static lilac_status run(lilac_context *context, const char *script, char **figure) {
    static const char format[] = "gnuplot <<'END OF SCRIPT'\n%s\nEND OF SCRIPT\n";
    const size_t size = strlen(script) + sizeof format;
    char *command = malloc(size);
    if (command == NULL) {
        return lilac_fail_memory(context, "drawing a figure", size);
    }
    snprintf(command, size, format, script);
    char *output = read_output(command);
    free(command);
    if (output == NULL) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing a figure: gnuplot failed");
    }
    *figure = output;
    return LILAC_OK;
}

lilac_status lilac_gnuplot_draw(lilac_context *context, lilac_gnuplot_script *write, const void *argument,
                                char **figure) {
    char *text = NULL;
    size_t size = 0;
    FILE *script = open_memstream(&text, &size);
    if (script == NULL) {
        return lilac_fail_memory(context, "drawing a figure", size);
    }
    write(script, argument);
    const lilac_status status =
        fclose(script) != 0 ? lilac_fail_memory(context, "drawing a figure", size) : run(context, text, figure);
    free(text);
    return status;
}

lilac_status lilac_gnuplot_save(lilac_context *context, lilac_gnuplot_script *write, const void *argument,
                                const char *path) {
    char *figure;
    LILAC_TRY(lilac_gnuplot_draw(context, write, argument, &figure));
    const lilac_status status = lilac_file_write(context, path, figure, strlen(figure));
    free(figure);
    return status;
}
