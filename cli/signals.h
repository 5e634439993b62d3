/* SPDX-License-Identifier: MIT */
/*
 * Interrupts (Ctrl-C, a polite kill) ask the work at hand to stop, so that it can clean up after itself; a second one
 * ends the program at once.
 */
#ifndef LILAC_CLI_SIGNALS_H
#define LILAC_CLI_SIGNALS_H

/* Catches SIGINT and SIGTERM once each, and ignores SIGPIPE: a closed pipe shows as a write error. */
void lilac_signals_catch(void);

/* The signal that asked to stop; 0: none has yet. */
int lilac_signals_caught(void);

#endif
