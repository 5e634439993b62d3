/* SPDX-License-Identifier: MIT */
/*
 * A thread of its own waits for the signals, which all others block. A handler would not do: while it multiplies
 * matrices oneDNN points the stack register into a buffer on the heap, and the kernel would write a handler's frame over
 * what lies in front of it.
 */
#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static atomic_int caught;

static sigset_t stopping_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

static void *wait_for_signal(void *unused) {
    (void)unused;
    const sigset_t set = stopping_signals();
    int signal_number;
    if (sigwait(&set, &signal_number) == 0) {
        atomic_store(&caught, signal_number);
    }
    /* The next one finds this thread open to it and ends the program. */
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    for (;;) {
        pause();
    }
    return NULL;
}

void lilac_signals_catch(void) {
    signal(SIGPIPE, SIG_IGN);
    /* A shell starts what runs in the background with SIGINT ignored. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    const sigset_t set = stopping_signals();
    pthread_t thread;
    /* Threads that start later inherit what is blocked. Without the thread the signals end the program at once. */
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (pthread_create(&thread, NULL, wait_for_signal, NULL) == 0) {
        pthread_detach(thread);
    } else {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

int lilac_signals_caught(void) {
    return atomic_load(&caught);
}
