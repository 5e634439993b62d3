/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 24, LINE_MAX_BYTES = 256 };

static const double draw_interval = 0.1;

static size_t terminal_width(void) {
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0) {
        return 80;
    }
    return window.ws_col;
}

void lilac_duration_text(double seconds, char *text, size_t size) {
    const uint64_t whole = seconds < 0 ? 0 : (uint64_t)(seconds + 0.5);
    if (whole < 60) {
        snprintf(text, size, "%u s", (unsigned)whole);
    } else if (whole < 3600) {
        snprintf(text, size, "%u min %02u s", (unsigned)(whole / 60), (unsigned)(whole % 60));
    } else {
        snprintf(text, size, "%llu h %02u min", (unsigned long long)(whole / 3600), (unsigned)(whole % 3600 / 60));
    }
}

void lilac_progress_bar_text(const lilac_progress *progress, uint64_t first_done, double seconds, size_t width,
                             char *text, size_t size) {
    char line[LINE_MAX_BYTES];
    if (progress->total == 0 || progress->done > progress->total) {
        snprintf(line, sizeof line, "%.63s  %llu", progress->stage, (unsigned long long)progress->done);
    } else {
        const double share = (double)progress->done / (double)progress->total;
        char end[96] = "";
        if (seconds >= 1 && progress->done > first_done && progress->done < progress->total) {
            char duration[32];
            const double each = seconds / (double)(progress->done - first_done);
            lilac_duration_text(each * (double)(progress->total - progress->done), duration, sizeof duration);
            snprintf(end, sizeof end, "  %s left", duration);
        }
        /* Where the line is short, the bar gives way to the numbers behind it. */
        const size_t others = strnlen(progress->stage, 63) + strlen("  [] 100%") + strlen(end);
        const size_t room = width > others ? width - others : 0;
        const int count = (int)(room < BAR_CELLS ? room : BAR_CELLS);
        char cells[BAR_CELLS + 1] = "";
        for (int i = 0; i < count; i++) {
            cells[i] = i < (int)(share * count) ? '#' : '.';
        }
        snprintf(line, sizeof line, "%.63s  [%s] %3d%%%s", progress->stage, cells, (int)(share * 100), end);
    }
    snprintf(text, size, "%.*s", (int)(width < sizeof line ? width : sizeof line), line);
}

void lilac_progress_bar_start(lilac_progress_bar *bar, bool quiet) {
    memset(bar, 0, sizeof *bar);
    bar->enabled = !quiet && isatty(STDERR_FILENO);
}

void lilac_progress_bar_update(lilac_progress_bar *bar, const lilac_progress *progress) {
    if (!bar->enabled) {
        return;
    }
    const double time = lilac_clock_seconds();
    if (strncmp(bar->stage, progress->stage, sizeof bar->stage - 1) != 0 || progress->done < bar->last_done) {
        snprintf(bar->stage, sizeof bar->stage, "%s", progress->stage);
        bar->stage_start = time;
        bar->first_done = progress->done;
    }
    bar->last_done = progress->done;
    if (time - bar->last_draw < draw_interval) {
        return;
    }
    bar->last_draw = time;
    bar->drawn = true;
    char text[LINE_MAX_BYTES];
    if (bar->all_end > 0) {
        char duration[32];
        lilac_duration_text(bar->all_end - time > bar->later ? bar->all_end - time : bar->later, duration,
                            sizeof duration);
        snprintf(bar->detail, sizeof bar->detail, "(all: %s left)", duration);
    }
    /* One column is left free: some terminals begin a new line once the last is written to. */
    const size_t width = terminal_width() - 1, detail = strlen(bar->detail) + 2;
    const bool detailed = detail > 2 && detail < width / 2;
    lilac_progress_bar_text(progress, bar->first_done, time - bar->stage_start, detailed ? width - detail : width, text,
                            sizeof text);
    fprintf(stderr, "\r%s%s%s\033[K", text, detailed ? "  " : "", detailed ? bar->detail : "");
    fflush(stderr);
}

void lilac_progress_bar_clear(lilac_progress_bar *bar) {
    if (bar->drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        bar->drawn = false;
        bar->last_draw = 0;
    }
}
