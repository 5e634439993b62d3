/* SPDX-License-Identifier: MIT */
/* A bar on the terminal that shows how far a long call has come and how long it may still take. */
#ifndef LILAC_CLI_PROGRESS_H
#define LILAC_CLI_PROGRESS_H

#include <lilac/context.h>

#include <stdbool.h>

typedef struct lilac_progress_bar {
    bool enabled;        /* false: nothing is drawn */
    bool drawn;          /* the bar stands on the terminal's last line */
    char stage[64];      /* the stage being drawn */
    double stage_start;  /* when it began, in seconds */
    uint64_t first_done; /* what was done then: a stage may begin with a part done */
    uint64_t last_done;
    double last_draw;
    char detail[64]; /* what to show behind the line, the most important first, cut at commas; "": nothing */
    /* Where several long calls follow each other: when all are expected to be done, by the clock, and how many seconds
     * of that the calls after this one take. 0: this is the only one. */
    double all_end, later;
} lilac_progress_bar;

/* Draws on standard error if that is a terminal and the user did not ask for quiet. */
void lilac_progress_bar_start(lilac_progress_bar *bar, bool quiet);

/* Takes in a report of progress; draws at most ten times a second. */
void lilac_progress_bar_update(lilac_progress_bar *bar, const lilac_progress *progress);

/* Wipes the bar from the terminal: call it before anything else is printed. The next update draws it again. */
void lilac_progress_bar_clear(lilac_progress_bar *bar);

/* "12 s", "3 min 05 s", "2 h 10 min". */
void lilac_duration_text(double seconds, char *text, size_t size);

/*
 * The bar's line, at most width characters long; seconds is the time since first_done. Says nothing of the time left
 * before a second has passed: until then it is mostly noise. Where the line is short, the bar gives way to the time
 * left and the detail, then the detail loses what stands behind its last commas.
 */
void lilac_progress_bar_text(const lilac_progress *progress, const char *detail, uint64_t first_done, double seconds,
                             size_t width, char *text, size_t size);

#endif
