/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into the program, counts its system calls that open, write, bring to the disk or rename files. Call number
 * LILAC_TEST_FAULT, counted from 0, ends the process as kill -9 does if LILAC_TEST_KILL is set; else it fails as if the
 * disk were full. How many calls there were of all kinds, and of each in the order of call_kind, is appended to the
 * file LILAC_TEST_COUNT.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int open64(const char *path, int flags, ...);
int openat64(int folder, const char *path, int flags, ...);

typedef enum call_kind { OPEN, WRITE, SYNC, RENAME, CALL_KINDS } call_kind;

static atomic_long calls, calls_of[CALL_KINDS];

static bool must_fail(call_kind kind) {
    const char *chosen = getenv("LILAC_TEST_FAULT");
    atomic_fetch_add(&calls_of[kind], 1);
    if (atomic_fetch_add(&calls, 1) != (chosen == NULL ? -1 : atol(chosen))) {
        return false;
    }
    if (getenv("LILAC_TEST_KILL") != NULL) {
        raise(SIGKILL);
    }
    errno = ENOSPC;
    return true;
}

__attribute__((destructor)) static void tell_count(void) {
    const char *path = getenv("LILAC_TEST_COUNT");
    FILE *file = path == NULL ? NULL : fopen(path, "a");
    if (file != NULL) {
        fprintf(file, "%ld", atomic_load(&calls));
        for (int kind = 0; kind < CALL_KINDS; kind++) {
            fprintf(file, " %ld", atomic_load(&calls_of[kind]));
        }
        fputc('\n', file);
        fclose(file);
    }
}

int openat64(int folder, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const unsigned mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
    return must_fail(OPEN) ? -1 : real(folder, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const unsigned mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return must_fail(OPEN) ? -1 : real(path, flags, mode);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    return must_fail(WRITE) ? -1 : real(descriptor, data, size);
}

int fsync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return must_fail(SYNC) ? -1 : real(descriptor);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    int (*real)(int, const char *, int, const char *) =
        (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
    return must_fail(RENAME) ? -1 : real(from_folder, from, to_folder, to);
}
