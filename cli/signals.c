/* SPDX-License-Identifier: MIT */
/*
 * The threads that compute block the signals, and one that does nothing else takes them. While it multiplies matrices
 * oneDNN points the stack register into a buffer on the heap: the frame of a handler that ran there would overwrite
 * what lies in front of it. A thread that a library started before main may take them too; it runs on its own stack.
 */
#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* A handler can reach nothing but a static variable. */
static atomic_int caught;

static void remember(int signal_number) {
    atomic_store(&caught, signal_number);
}

static void block(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(how, &set, NULL);
}

static void *take_signals(void *unused) {
    (void)unused;
    block(SIG_UNBLOCK);
    for (;;) {
        pause();
    }
    return NULL;
}

void lilac_signals_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    /* The default: the signals end the program at once. So it stays if there can be no thread for them. */
    action.sa_handler = SIG_DFL;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    block(SIG_BLOCK);
    pthread_t thread;
    if (pthread_create(&thread, NULL, take_signals, NULL) != 0) {
        block(SIG_UNBLOCK);
        return;
    }
    pthread_detach(thread);
    action.sa_handler = remember;
    /* Back to the default after the first: the second ends the program. */
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int lilac_signals_caught(void) {
    return atomic_load(&caught);
}
