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

/* Copies what gnuplot prints to the file. */
static lilac_status copy_output(lilac_context *context, const char *command, lilac_file_writer *writer) {
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing a figure: cannot run gnuplot");
    }
    lilac_status status = LILAC_OK;
    char bytes[4096];
    size_t count, total = 0;
    while (status == LILAC_OK && (count = fread(bytes, 1, sizeof bytes, pipe)) > 0) {
        status = lilac_file_writer_write(context, writer, bytes, count);
        total += count;
    }
    if (pclose(pipe) != 0 || total == 0) {
        return status != LILAC_OK ? status : lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing: gnuplot failed");
    }
    return status;
}

static lilac_status run(lilac_context *context, const char *script, const char *path) {
    static const char format[] = "gnuplot <<'END OF SCRIPT'\n%s\nEND OF SCRIPT\n";
    const size_t size = strlen(script) + sizeof format;
    char *command = malloc(size);
    if (command == NULL) {
        return lilac_fail_memory(context, "drawing a figure", size);
    }
    snprintf(command, size, format, script);
    lilac_file_writer *writer;
    lilac_status status = lilac_file_writer_open(context, path, &writer);
    if (status == LILAC_OK) {
        status = copy_output(context, command, writer);
        if (status == LILAC_OK) {
            status = lilac_file_writer_commit(context, writer);
        } else {
            lilac_file_writer_abort(writer);
        }
    }
    free(command);
    return status;
}

lilac_status lilac_gnuplot_draw(lilac_context *context, lilac_gnuplot_script *write, const void *argument,
                                const char *path) {
    char *text = NULL;
    size_t size = 0;
    FILE *script = open_memstream(&text, &size);
    if (script == NULL) {
        return lilac_fail_memory(context, "drawing a figure", size);
    }
    write(script, argument);
    const lilac_status status =
        fclose(script) != 0 ? lilac_fail_memory(context, "drawing a figure", size) : run(context, text, path);
    free(text);
    return status;
}
