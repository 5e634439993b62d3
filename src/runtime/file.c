/* SPDX-License-Identifier: MIT */
#include "runtime/file.h"

#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FIRST_BUFFER = 4096,       /* for files whose size is not known beforehand, such as those under /proc */
    TRANSFER_MOST = 1 << 30,   /* bytes in one read or write call: systems cap or refuse more than about 2 GB */
    TEMPORARY_ATTEMPTS = 1000, /* names tried before giving up: others may be writing the same file */
    TEMPORARY_NAME_SIZE = 64
};

/* The reason of a failed system call. strerror_r fails only by leaving a shorter text. */
typedef struct error_text {
    char text[128];
} error_text;

static error_text describe_error(int number) {
    error_text description;
    if (strerror_r(number, description.text, sizeof description.text) != 0) {
        snprintf(description.text, sizeof description.text, "error %d", number);
    }
    return description;
}

lilac_status lilac_fail_system(lilac_context *context, const char *path, const char *doing, int number) {
    const lilac_status status = number == ENOENT || number == ENOTDIR ? LILAC_ERROR_NOT_FOUND : LILAC_ERROR_IO;
    return lilac_fail(context, status, "%s: %s: %s", path, doing, describe_error(number).text);
}

static lilac_status fail_kind(lilac_context *context, const char *path, mode_t mode) {
    return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: is %s, expected a regular file", path,
                      S_ISDIR(mode) ? "a directory" : "a device, pipe or socket");
}

static ssize_t read_some(int descriptor, unsigned char *data, size_t size) {
    ssize_t got;
    do {
        got = read(descriptor, data, lilac_size_min(size, TRANSFER_MOST));
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Reads to the end of the file. Starts with room for expected bytes and one more, which shows whether the file grew. */
static lilac_status read_all(lilac_context *context, int descriptor, const char *path, size_t expected, size_t limit,
                             unsigned char **data, size_t *size) {
    size_t capacity = expected == 0 ? lilac_size_min(limit, FIRST_BUFFER) + 1 : expected + 1;
    unsigned char *buffer = lilac_memory_allocate(capacity, 1);
    if (buffer == NULL) {
        return lilac_fail_memory(context, path, capacity);
    }
    size_t used = 0;
    for (;;) {
        const ssize_t got = read_some(descriptor, buffer + used, capacity - used);
        if (got < 0) {
            const int number = errno;
            lilac_memory_free(buffer);
            return lilac_fail_system(context, path, "cannot read", number);
        }
        if (got == 0) {
            break;
        }
        used += (size_t)got;
        if (used > limit) {
            lilac_memory_free(buffer);
            return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: larger than the limit of %zu bytes", path, limit);
        }
        if (used == capacity) {
            capacity = used > limit / 2 ? limit + 1 : 2 * used;
            unsigned char *larger = lilac_memory_allocate(capacity, 1);
            if (larger == NULL) {
                lilac_memory_free(buffer);
                return lilac_fail_memory(context, path, capacity);
            }
            memcpy(larger, buffer, used);
            lilac_memory_free(buffer);
            buffer = larger;
        }
    }
    *data = buffer;
    *size = used;
    return LILAC_OK;
}

lilac_status lilac_file_read(lilac_context *context, const char *path, size_t limit, unsigned char **data,
                             size_t *size) {
    if (path == NULL || data == NULL || size == NULL || limit == SIZE_MAX) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "reading a file: a null pointer or an impossible limit");
    }
    /* Without O_NONBLOCK, opening a pipe would wait for its other end; it changes nothing for regular files. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (descriptor < 0) {
        return lilac_fail_system(context, path, "cannot open", errno);
    }
    lilac_status status;
    struct stat information;
    if (fstat(descriptor, &information) != 0) {
        status = lilac_fail_system(context, path, "cannot get the size", errno);
    } else if (!S_ISREG(information.st_mode)) {
        status = fail_kind(context, path, information.st_mode);
    } else if ((uintmax_t)information.st_size > limit) {
        status = lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "%s: %jd bytes, larger than the limit of %zu bytes", path,
                            (intmax_t)information.st_size, limit);
    } else {
        status = read_all(context, descriptor, path, (size_t)information.st_size, limit, data, size);
    }
    close(descriptor);
    return status;
}

struct lilac_file_writer {
    int folder;     /* descriptor of the target's folder: the names below are relative to it */
    int descriptor; /* of the temporary file; -1 once it is removed or renamed */
    char temporary[TEMPORARY_NAME_SIZE];
    const char *name; /* the last part of path */
    char path[];
};

/* Removes and closes the temporary file, if it is still there. In this order: its lock keeps others off its name. */
static void remove_temporary(lilac_file_writer *writer) {
    if (writer->descriptor >= 0) {
        unlinkat(writer->folder, writer->temporary, 0);
        close(writer->descriptor);
        writer->descriptor = -1;
    }
}

static lilac_status open_folder(lilac_context *context, lilac_file_writer *writer) {
    /* "name" lies in ".", "/name" in "/": the slash stays part of the folder's name. */
    const size_t length = (size_t)(writer->name - writer->path);
    if (length == 0) {
        writer->folder = open(".", O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    } else {
        const char first = writer->path[length];
        writer->path[length] = '\0';
        writer->folder = open(writer->path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
        writer->path[length] = first;
    }
    if (writer->folder < 0) {
        return lilac_fail_system(context, writer->path, "cannot open the folder", errno);
    }
    return LILAC_OK;
}

/* True if name is still that of the open file. */
static bool is_named(int folder, const char *name, int descriptor) {
    struct stat named, opened;
    return fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(descriptor, &opened) == 0 &&
           named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/*
 * Removes a temporary file that a writer left behind when it was killed, and tells whether the name is free. Writers
 * hold a lock while they live, so what can be locked is nobody's. Only the holder of the lock renames or removes a
 * file.
 */
static bool remove_left_temporary(int folder, const char *name) {
    const int descriptor = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) {
        return errno == ENOENT;
    }
    const bool removed = flock(descriptor, LOCK_EX | LOCK_NB) == 0 && is_named(folder, name, descriptor) &&
                         unlinkat(folder, name, 0) == 0;
    close(descriptor);
    return removed;
}

/* Locks the temporary file just made. False if another writer of the same target took it for one left behind. Where the
 * file system has no locks, nobody can do that. */
static bool keep_temporary(const lilac_file_writer *writer) {
    if (flock(writer->descriptor, LOCK_EX | LOCK_NB) != 0) {
        return errno != EWOULDBLOCK;
    }
    return is_named(writer->folder, writer->temporary, writer->descriptor);
}

/* The same for each writer of a target, so that the next one finds what a killed one left. It does not contain the
 * target's name, which may already be as long as the file system allows, but its hash (FNV-1a). */
static void name_temporary(lilac_file_writer *writer, int attempt) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char *letter = writer->name; *letter != '\0'; letter++) {
        hash = (hash ^ (unsigned char)*letter) * 0x100000001b3;
    }
    snprintf(writer->temporary, sizeof writer->temporary, ".lilac-%016" PRIx64 "-%d.tmp", hash, attempt);
}

/* Returns 0 or the error's number. */
static int create_temporary(lilac_file_writer *writer) {
    writer->descriptor =
        openat(writer->folder, writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    return writer->descriptor < 0 ? errno : 0;
}

static lilac_status open_temporary(lilac_context *context, lilac_file_writer *writer) {
    struct stat information;
    if (fstatat(writer->folder, writer->name, &information, 0) == 0 && !S_ISREG(information.st_mode)) {
        return fail_kind(context, writer->path, information.st_mode);
    }
    for (int attempt = 0; attempt < TEMPORARY_ATTEMPTS; attempt++) {
        name_temporary(writer, attempt);
        int number = create_temporary(writer);
        if (number == EEXIST && remove_left_temporary(writer->folder, writer->temporary)) {
            number = create_temporary(writer);
        }
        if (number != 0 && number != EEXIST) {
            return lilac_fail_system(context, writer->path, "cannot create a temporary file beside it", number);
        }
        if (number == 0 && keep_temporary(writer)) {
            return LILAC_OK;
        }
        if (number == 0) {
            close(writer->descriptor);
            writer->descriptor = -1;
        }
    }
    return lilac_fail(context, LILAC_ERROR_IO, "%s: too many temporary files (.lilac-*.tmp) in its folder",
                      writer->path);
}

lilac_status lilac_file_writer_open(lilac_context *context, const char *path, lilac_file_writer **writer) {
    if (path == NULL || writer == NULL) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "writing a file: null pointer");
    }
    const size_t length = strlen(path);
    if (length == 0 || path[length - 1] == '/') {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "writing a file: \"%s\" is not the name of a file", path);
    }
    const size_t bytes = sizeof(lilac_file_writer) + length + 1;
    lilac_file_writer *opened = lilac_memory_allocate(1, bytes);
    if (opened == NULL) {
        return lilac_fail_memory(context, path, bytes);
    }
    memcpy(opened->path, path, length + 1);
    const char *slash = strrchr(opened->path, '/');
    opened->name = slash == NULL ? opened->path : slash + 1;
    opened->folder = -1;
    opened->descriptor = -1;
    lilac_status status = open_folder(context, opened);
    if (status == LILAC_OK) {
        status = open_temporary(context, opened);
    }
    if (status != LILAC_OK) {
        lilac_file_writer_abort(opened);
        return status;
    }
    *writer = opened;
    return LILAC_OK;
}

lilac_status lilac_file_writer_write(lilac_context *context, lilac_file_writer *writer, const void *data, size_t size) {
    if (writer->descriptor < 0) {
        return lilac_fail(context, LILAC_ERROR_IO, "%s: an earlier write failed", writer->path);
    }
    const unsigned char *next = data;
    while (size > 0) {
        const ssize_t written = write(writer->descriptor, next, lilac_size_min(size, TRANSFER_MOST));
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            const int number = written < 0 ? errno : ENOSPC;
            remove_temporary(writer);
            return lilac_fail(context, LILAC_ERROR_IO, "%s: cannot write: %s", writer->path,
                              describe_error(number).text);
        }
        next += written;
        size -= (size_t)written;
    }
    return LILAC_OK;
}

/* Some file systems cannot bring a folder to the disk and say so with EINVAL: nothing more can be done there. */
static bool synchronise_folder(int folder) {
    return fsync(folder) == 0 || errno == EINVAL;
}

static lilac_status commit(lilac_context *context, lilac_file_writer *writer) {
    if (writer->descriptor < 0) {
        return lilac_fail(context, LILAC_ERROR_IO, "%s: not written, because an earlier write failed", writer->path);
    }
    if (fsync(writer->descriptor) != 0) {
        return lilac_fail(context, LILAC_ERROR_IO, "%s: cannot bring it to the disk: %s", writer->path,
                          describe_error(errno).text);
    }
    if (renameat(writer->folder, writer->temporary, writer->folder, writer->name) != 0) {
        return lilac_fail(context, LILAC_ERROR_IO, "%s: cannot put the new file in its place: %s", writer->path,
                          describe_error(errno).text);
    }
    /* The content is on the disk already: what close might report comes from network file systems only, before fsync.
     */
    close(writer->descriptor);
    writer->descriptor = -1;
    if (!synchronise_folder(writer->folder)) {
        return lilac_fail(context, LILAC_ERROR_IO,
                          "%s: the new file is in place, but its folder could not be brought to the disk: %s",
                          writer->path, describe_error(errno).text);
    }
    return LILAC_OK;
}

lilac_status lilac_file_writer_commit(lilac_context *context, lilac_file_writer *writer) {
    const lilac_status status = commit(context, writer);
    lilac_file_writer_abort(writer);
    return status;
}

void lilac_file_writer_abort(lilac_file_writer *writer) {
    if (writer == NULL) {
        return;
    }
    remove_temporary(writer);
    if (writer->folder >= 0) {
        close(writer->folder);
    }
    lilac_memory_free(writer);
}

lilac_status lilac_file_check_writable(lilac_context *context, const char *path) {
    lilac_file_writer *writer;
    LILAC_TRY(lilac_file_writer_open(context, path, &writer));
    lilac_file_writer_abort(writer);
    return LILAC_OK;
}

lilac_status lilac_file_write(lilac_context *context, const char *path, const void *data, size_t size) {
    lilac_file_writer *writer;
    LILAC_TRY(lilac_file_writer_open(context, path, &writer));
    const lilac_status status = lilac_file_writer_write(context, writer, data, size);
    if (status != LILAC_OK) {
        lilac_file_writer_abort(writer);
        return status;
    }
    return lilac_file_writer_commit(context, writer);
}
