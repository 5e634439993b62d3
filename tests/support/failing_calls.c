/* SPDX-License-Identifier: MIT */
#include "support/failing_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/*
 * The names that the linker's --wrap option gives to the real functions and looks for instead of them. The library is
 * built for files of any size: what it writes as open and openat are open64 and openat64.
 */
int __real_openat64(int folder, const char *path, int flags, ...);
ssize_t __real_read(int descriptor, void *data, size_t size);
ssize_t __real_write(int descriptor, const void *data, size_t size);
int __real_flock(int descriptor, int operation);
int __real_renameat(int from_folder, const char *from, int to_folder, const char *to);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_openat64(int folder, const char *path, int flags, ...);
ssize_t __wrap_read(int descriptor, void *data, size_t size);
ssize_t __wrap_write(int descriptor, const void *data, size_t size);
int __wrap_fsync(int descriptor);
int __wrap_flock(int descriptor, int operation);
int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to);

lilac_test_call_behaviour lilac_test_calls;

/* Tests write from one thread at a time, so nothing here needs a lock. */
static struct {
    bool armed;
    const char *name; /* NULL: any */
    size_t remaining; /* calls that still succeed */
    int number;
    const char *failed;
} plan;

static bool interrupted; /* the last read or write */

static bool must_fail(const char *name) {
    if (!plan.armed || (plan.name == NULL ? strcmp(name, "flock") == 0 : strcmp(name, plan.name) != 0)) {
        return false;
    }
    if (plan.remaining > 0) {
        plan.remaining--;
        return false;
    }
    plan.armed = false;
    plan.failed = name;
    errno = plan.number;
    return true;
}

static bool interrupt(void) {
    interrupted = lilac_test_calls.interrupt && !interrupted;
    errno = EINTR;
    return interrupted;
}

static size_t shorten(size_t size) {
    return lilac_test_calls.most == 0 || size < lilac_test_calls.most ? size : lilac_test_calls.most;
}

static int open_in(int folder, const char *path, int flags, va_list arguments) {
    return __real_openat64(folder, path, flags, flags & O_CREAT ? va_arg(arguments, unsigned) : 0);
}

int __wrap_open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const int descriptor = must_fail("open") ? -1 : open_in(AT_FDCWD, path, flags, arguments);
    va_end(arguments);
    return descriptor;
}

int __wrap_openat64(int folder, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const int descriptor = must_fail("openat") ? -1 : open_in(folder, path, flags, arguments);
    va_end(arguments);
    return descriptor;
}

ssize_t __wrap_read(int descriptor, void *data, size_t size) {
    void (*const before)(void) = lilac_test_calls.before_read;
    lilac_test_calls.before_read = NULL;
    if (before != NULL) {
        before();
    }
    return must_fail("read") || interrupt() ? -1 : __real_read(descriptor, data, shorten(size));
}

ssize_t __wrap_write(int descriptor, const void *data, size_t size) {
    return must_fail("write") || interrupt() ? -1 : __real_write(descriptor, data, shorten(size));
}

/* No test can see what the real one does, which takes long. */
int __wrap_fsync(int descriptor) {
    (void)descriptor;
    return must_fail("fsync") ? -1 : 0;
}

int __wrap_flock(int descriptor, int operation) {
    return must_fail("flock") ? -1 : __real_flock(descriptor, operation);
}

int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to) {
    return must_fail("renameat") ? -1 : __real_renameat(from_folder, from, to_folder, to);
}

void lilac_test_fail_call(const char *name, size_t n, int number) {
    plan.armed = true;
    plan.name = name;
    plan.remaining = n;
    plan.number = number;
    plan.failed = NULL;
}

const char *lilac_test_failed_call(void) {
    plan.armed = false;
    return plan.failed;
}
