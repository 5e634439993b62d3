/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <signal.h>
#include <string.h>

/* A handler can reach nothing but a static variable. */
static volatile sig_atomic_t caught;

static void remember(int signal_number) {
    caught = signal_number;
}

void lilac_signals_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    action.sa_handler = remember;
    /* Back to the default after the first: the second ends the program. */
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int lilac_signals_caught(void) {
    return (int)caught;
}
