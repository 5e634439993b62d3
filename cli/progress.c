/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include "core/clock.h"

#include <stdio.h>
#include <string.h>

#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 24, BAR_CELLS_MIN = 4, LINE_MAX_BYTES = 256 };

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

/* "  30 s left", or nothing where that is not known. */
static void time_left_text(const lilac_progress *progress, uint64_t first_done, double seconds, char *text,
                           size_t size) {
    text[0] = '\0';
    if (seconds >= 1 && progress->done > first_done && progress->done < progress->total) {
        char duration[32];
        const double each = seconds / (double)(progress->done - first_done);
        lilac_duration_text(each * (double)(progress->total - progress->done), duration, sizeof duration);
        snprintf(text, size, "  %s left", duration);
    }
}

/* How much of the detail fits into `room` characters, with two spaces before it: all, up to one of its commas, 0. */
static size_t detail_length(const char *detail, size_t room) {
    size_t length = strlen(detail);
    while (length > 0 && length + 2 > room) {
        do {
            length--;
        } while (length > 0 && detail[length] != ',');
    }
    return length;
}

/* "  [##......]", as long as there is room for, or nothing. */
static void bar_text(double share, size_t room, char *text, size_t size) {
    const size_t frame = strlen("  []");
    text[0] = '\0';
    if (room >= frame + BAR_CELLS_MIN) {
        const size_t count = room - frame < BAR_CELLS ? room - frame : BAR_CELLS;
        char cells[BAR_CELLS + 1] = "";
        for (size_t i = 0; i < count; i++) {
            cells[i] = i < (size_t)(share * (double)count) ? '#' : '.';
        }
        snprintf(text, size, "  [%s]", cells);
    }
}

void lilac_progress_bar_text(const lilac_progress *progress, const char *detail, uint64_t first_done, double seconds,
                             size_t width, char *text, size_t size) {
    char line[LINE_MAX_BYTES], bar[BAR_CELLS + 8] = "", numbers[128];
    const bool counted = progress->total > 0 && progress->done <= progress->total;
    const double share = counted ? (double)progress->done / (double)progress->total : 0.0;
    if (counted) {
        char left[64];
        time_left_text(progress, first_done, seconds, left, sizeof left);
        snprintf(numbers, sizeof numbers, " %3d%%%s", (int)(share * 100), left);
    } else {
        snprintf(numbers, sizeof numbers, "  %llu", (unsigned long long)progress->done);
    }
    const size_t fixed = strnlen(progress->stage, 63) + strlen(numbers);
    const size_t detailed = detail_length(detail, width > fixed ? width - fixed : 0);
    const size_t used = fixed + (detailed > 0 ? detailed + 2 : 0);
    if (counted) {
        bar_text(share, width > used ? width - used : 0, bar, sizeof bar);
    }
    snprintf(line, sizeof line, "%.63s%s%s%s%.*s", progress->stage, bar, numbers, detailed > 0 ? "  " : "",
             (int)detailed, detail);
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
    lilac_progress_bar_text(progress, bar->detail, bar->first_done, time - bar->stage_start, terminal_width() - 1, text,
                            sizeof text);
    fprintf(stderr, "\r%s\033[K", text);
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
