/* SPDX-License-Identifier: MIT */
/* Tests of reading whole files and of the atomic writer: also with system calls that are short, interrupted or failing,
 * with files that change while they are read, and beside what killed writers left. */
#include "core/memory.h"
#include "runtime/context.h"
#include "runtime/file.h"
#include "support/contexts.h"
#include "support/failing_allocator.h"
#include "support/failing_calls.h"
#include "support/full_disk.h"
#include "support/temporary_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

typedef struct test_state {
    lilac_context *context;
    temporary_file file;
} test_state;

static void append(const char *path, size_t bytes) {
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++) {
        fputc('+', file);
    }
    assert_int_equal(fclose(file), 0);
}

static const char *changing; /* the file that the next read changes */

static void grow(void) {
    append(changing, 10000);
}

static void shrink(void) {
    assert_int_equal(truncate(changing, 3), 0);
}

static int set_up(void **state) {
    test_state *test = calloc(1, sizeof *test);
    assert_non_null(test);
    test->context = context_create(0, NULL);
    temporary_file_create(&test->file);
    lilac_test_calls = (lilac_test_call_behaviour){0};
    changing = test->file.path;
    *state = test;
    return 0;
}

static int tear_down(void **state) {
    test_state *test = *state;
    /* Fails if a temporary file is left. */
    temporary_file_destroy(&test->file);
    lilac_context_destroy(test->context);
    free(test);
    return 0;
}

static void make_file(const char *path, const char *content) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

static void expect_content(const test_state *test, const char *content) {
    unsigned char *data = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 100000, &data, &size), LILAC_OK);
    assert_int_equal(size, strlen(content));
    assert_memory_equal(data, content, size);
    lilac_memory_free(data);
}

static void expect_message(const test_state *test, const char *part) {
    const char *message = lilac_context_message(test->context);
    if (strstr(message, part) == NULL) {
        print_message("# expected: %s\n# found:    %s\n", part, message);
        fail();
    }
}

static void expect_unreadable(const test_state *test, const char *path, size_t limit, lilac_status status,
                              const char *message) {
    unsigned char untouched;
    unsigned char *data = &untouched;
    size_t size = 99;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_file_read(test->context, path, limit, &data, &size), status);
    expect_message(test, message);
    assert_ptr_equal(data, &untouched);
    assert_int_equal(size, 99);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_read(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "");
    expect_content(test, "");
    make_file(test->file.path, "some text");
    expect_content(test, "some text");
    /* The memory is for the file, not for the limit. */
    unsigned char *data = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(test->context, test->file.path, SIZE_MAX - 1, &data, &size), LILAC_OK);
    assert_int_equal(size, 9);
    lilac_memory_free(data);
}

static void test_read_limit(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "12345");
    unsigned char *data = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 5, &data, &size), LILAC_OK);
    assert_int_equal(size, 5);
    lilac_memory_free(data);
    expect_unreadable(test, test->file.path, 4, LILAC_ERROR_UNSUPPORTED, "5 bytes, larger than the limit of 4 bytes");
    expect_unreadable(test, test->file.path, 0, LILAC_ERROR_UNSUPPORTED, "5 bytes, larger than the limit of 0 bytes");
}

static void test_read_refuses(void **state) {
    const test_state *test = *state;
    expect_unreadable(test, test->file.path, 9, LILAC_ERROR_NOT_FOUND, "/file: cannot open: No such file");
    expect_unreadable(test, "/dev/null/x", 9, LILAC_ERROR_NOT_FOUND, "/dev/null/x: cannot open: Not a directory");
    expect_unreadable(test, test->file.folder, 9, LILAC_ERROR_UNSUPPORTED, "is a directory, expected a regular file");
    expect_unreadable(test, "/dev/zero", 9, LILAC_ERROR_UNSUPPORTED, "is a device, pipe or socket");
    assert_int_equal(mkfifo(test->file.path, 0600), 0);
    expect_unreadable(test, test->file.path, 9, LILAC_ERROR_UNSUPPORTED, "is a device, pipe or socket");
    expect_unreadable(test, NULL, 9, LILAC_ERROR_ARGUMENT, "null pointer");
    expect_unreadable(test, test->file.path, SIZE_MAX, LILAC_ERROR_ARGUMENT, "impossible limit");
    size_t size;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 9, NULL, &size), LILAC_ERROR_ARGUMENT);
    unsigned char *data;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 9, &data, NULL), LILAC_ERROR_ARGUMENT);
}

static void test_read_error(void **state) {
    /* A regular file whose first page cannot be read. */
    expect_unreadable(*state, "/proc/self/mem", 1000, LILAC_ERROR_IO,
                      "/proc/self/mem: cannot read: Input/output error");
}

static void test_read_short_and_interrupted(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "some more text");
    lilac_test_calls.most = 3;
    lilac_test_calls.interrupt = true;
    expect_content(test, "some more text");
}

static void test_read_while_the_size_changes(void **state) {
    const test_state *test = *state;
    unsigned char *data = NULL;
    size_t size = 0;
    make_file(test->file.path, "abcdef");
    lilac_test_calls.before_read = grow;
    assert_int_equal(lilac_file_read(test->context, test->file.path, 20000, &data, &size), LILAC_OK);
    assert_int_equal(size, 10006);
    assert_memory_equal(data, "abcdef++", 8);
    assert_int_equal(data[10005], '+');
    lilac_memory_free(data);

    make_file(test->file.path, "abcdef");
    lilac_test_calls.before_read = grow;
    expect_unreadable(test, test->file.path, 10005, LILAC_ERROR_UNSUPPORTED, "larger than the limit of 10005 bytes");

    make_file(test->file.path, "abcdef");
    lilac_test_calls.before_read = shrink;
    expect_content(test, "abc");
}

static void test_read_without_known_size(void **state) {
    const test_state *test = *state;
    unsigned char *data = NULL;
    size_t size = 0;
    assert_int_equal(lilac_file_read(test->context, "/proc/self/status", 100000, &data, &size), LILAC_OK);
    assert_true(size > 100);
    assert_memory_equal(data, "Name:", 5);
    lilac_memory_free(data);
    expect_unreadable(test, "/proc/self/status", 10, LILAC_ERROR_UNSUPPORTED, "larger than the limit of 10 bytes");
}

static void test_read_every_failing_allocation(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "abcdef");
    lilac_status status = LILAC_ERROR_MEMORY;
    size_t n = 0;
    while (status != LILAC_OK) {
        unsigned char *data = NULL;
        size_t size = 7;
        const size_t live = lilac_test_live_allocations();
        lilac_test_fail_allocation(n);
        assert_int_equal(truncate(test->file.path, 6), 0);
        lilac_test_calls.before_read = grow;
        status = lilac_file_read(test->context, test->file.path, 100000, &data, &size);
        if (lilac_test_allocation_failed()) {
            assert_int_equal(status, LILAC_ERROR_MEMORY);
            assert_null(data);
            assert_int_equal(size, 7);
            expect_message(test, "out of memory");
        } else {
            assert_int_equal(status, LILAC_OK);
        }
        lilac_memory_free(data);
        assert_int_equal(lilac_test_live_allocations(), live);
        n++;
    }
    assert_true(n > 2);
}

static lilac_status write_text(const test_state *test, const char *path, const char *text) {
    lilac_file_writer *writer = NULL;
    LILAC_TRY(lilac_file_writer_open(test->context, path, &writer));
    const size_t half = strlen(text) / 2;
    lilac_status status = lilac_file_writer_write(test->context, writer, text, half);
    if (status == LILAC_OK) {
        status = lilac_file_writer_write(test->context, writer, text + half, strlen(text) - half);
    }
    if (status != LILAC_OK) {
        lilac_file_writer_abort(writer);
        return status;
    }
    return lilac_file_writer_commit(test->context, writer);
}

static void test_write(void **state) {
    const test_state *test = *state;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(write_text(test, test->file.path, "first"), LILAC_OK);
    expect_content(test, "first");
    assert_int_equal(write_text(test, test->file.path, "second, longer"), LILAC_OK);
    expect_content(test, "second, longer");
    assert_int_equal(write_text(test, test->file.path, ""), LILAC_OK);
    expect_content(test, "");
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_write_permissions(void **state) {
    const test_state *test = *state;
    const mode_t old = umask(027);
    const lilac_status status = write_text(test, test->file.path, "text");
    umask(old);
    assert_int_equal(status, LILAC_OK);
    struct stat information;
    assert_int_equal(stat(test->file.path, &information), 0);
    assert_int_equal(information.st_mode & 07777, 0640);
}

static void test_write_is_atomic(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "old");
    lilac_file_writer *writer = NULL;
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writer), LILAC_OK);
    assert_int_equal(lilac_file_writer_write(test->context, writer, "new", 3), LILAC_OK);
    expect_content(test, "old");
    lilac_file_writer_abort(writer);
    expect_content(test, "old");
    assert_int_equal(temporary_file_count(&test->file), 1);
    lilac_file_writer_abort(NULL);
}

static void test_write_by_two_at_once(void **state) {
    const test_state *test = *state;
    lilac_file_writer *writers[2] = {NULL, NULL};
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writers[0]), LILAC_OK);
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writers[1]), LILAC_OK);
    assert_int_equal(lilac_file_writer_write(test->context, writers[0], "zero", 4), LILAC_OK);
    assert_int_equal(lilac_file_writer_write(test->context, writers[1], "one", 3), LILAC_OK);
    assert_int_equal(lilac_file_writer_commit(test->context, writers[1]), LILAC_OK);
    expect_content(test, "one");
    assert_int_equal(lilac_file_writer_commit(test->context, writers[0]), LILAC_OK);
    expect_content(test, "zero");
}

static void test_write_to_a_full_disk(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "old");
    const size_t live = lilac_test_live_allocations();
    lilac_file_writer *writer = NULL;
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writer), LILAC_OK);
    lilac_test_limit_file_size(4);
    const lilac_status first = lilac_file_writer_write(test->context, writer, "123", 3);
    const lilac_status second = lilac_file_writer_write(test->context, writer, "456", 3);
    lilac_test_limit_file_size(-1);
    assert_int_equal(first, LILAC_OK);
    assert_int_equal(second, LILAC_ERROR_IO);
    expect_message(test, "/file: cannot write: File too large");
    assert_int_equal(temporary_file_count(&test->file), 1);
    /* Neither another write nor a commit makes a file with a hole of it. */
    assert_int_equal(lilac_file_writer_write(test->context, writer, "7", 1), LILAC_ERROR_IO);
    assert_int_equal(lilac_file_writer_commit(test->context, writer), LILAC_ERROR_IO);
    expect_message(test, "not written, because an earlier write failed");
    expect_content(test, "old");
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_write_short_and_interrupted(void **state) {
    const test_state *test = *state;
    lilac_test_calls.most = 3;
    lilac_test_calls.interrupt = true;
    assert_int_equal(write_text(test, test->file.path, "some more text"), LILAC_OK);
    expect_content(test, "some more text");
}

static void test_write_failing_synchronisation(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "old");
    lilac_test_fail_call("fsync", 0, EIO);
    assert_int_equal(write_text(test, test->file.path, "new"), LILAC_ERROR_IO);
    expect_message(test, "/file: cannot bring it to the disk: Input/output error");
    expect_content(test, "old");
    assert_int_equal(temporary_file_count(&test->file), 1);
    /* The second is that of the folder. */
    lilac_test_fail_call("fsync", 1, EIO);
    assert_int_equal(write_text(test, test->file.path, "new"), LILAC_ERROR_IO);
    expect_message(test, "the new file is in place, but its folder could not be brought to the disk");
    expect_content(test, "new");
    lilac_test_fail_call("fsync", 1, EINVAL);
    assert_int_equal(write_text(test, test->file.path, "newer"), LILAC_OK);
    expect_content(test, "newer");
}

static void test_write_failing_rename(void **state) {
    const test_state *test = *state;
    lilac_file_writer *writer = NULL;
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writer), LILAC_OK);
    assert_int_equal(mkdir(test->file.path, 0700), 0);
    assert_int_equal(lilac_file_writer_commit(test->context, writer), LILAC_ERROR_IO);
    expect_message(test, "/file: cannot put the new file in its place: Is a directory");
    assert_int_equal(temporary_file_count(&test->file), 1);
    assert_int_equal(rmdir(test->file.path), 0);
}

static void expect_unwritable(const test_state *test, const char *path, lilac_status status, const char *message) {
    char untouched;
    lilac_file_writer *writer = (lilac_file_writer *)(void *)&untouched;
    const size_t live = lilac_test_live_allocations();
    assert_int_equal(lilac_file_writer_open(test->context, path, &writer), status);
    expect_message(test, message);
    assert_ptr_equal(writer, &untouched);
    assert_int_equal(lilac_test_live_allocations(), live);
}

static void test_write_refuses(void **state) {
    const test_state *test = *state;
    char path[128];
    expect_unwritable(test, NULL, LILAC_ERROR_ARGUMENT, "null pointer");
    expect_unwritable(test, "", LILAC_ERROR_ARGUMENT, "\"\" is not the name of a file");
    expect_unwritable(test, "a/", LILAC_ERROR_ARGUMENT, "\"a/\" is not the name of a file");
    snprintf(path, sizeof path, "%s/none/file", test->file.folder);
    expect_unwritable(test, path, LILAC_ERROR_NOT_FOUND, "/none/file: cannot open the folder: No such file");
    expect_unwritable(test, test->file.folder, LILAC_ERROR_UNSUPPORTED, "is a directory, expected a regular file");
    expect_unwritable(test, "/dev/null", LILAC_ERROR_UNSUPPORTED, "/dev/null: is a device, pipe or socket");
    assert_int_equal(symlink("/dev/null", test->file.path), 0);
    expect_unwritable(test, test->file.path, LILAC_ERROR_UNSUPPORTED, "/file: is a device, pipe or socket");
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, NULL), LILAC_ERROR_ARGUMENT);
}

static void test_write_replaces_a_link(void **state) {
    const test_state *test = *state;
    char other[128];
    snprintf(other, sizeof other, "%s/other", test->file.folder);
    make_file(other, "other");
    assert_int_equal(symlink("other", test->file.path), 0);
    assert_int_equal(write_text(test, test->file.path, "new"), LILAC_OK);
    struct stat information;
    assert_int_equal(lstat(test->file.path, &information), 0);
    assert_true(S_ISREG(information.st_mode));
    expect_content(test, "new");
    assert_int_equal(stat(other, &information), 0);
    assert_int_equal(information.st_size, 5);
    assert_int_equal(unlink(other), 0);
}

/* The name of the temporary file of a writer that has just been opened. */
static void find_temporary(const test_state *test, char name[static 256]) {
    DIR *entries = opendir(test->file.folder);
    assert_non_null(entries);
    name[0] = '\0';
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (strncmp(entry->d_name, ".lilac-", 7) == 0) {
            snprintf(name, 256, "%s", entry->d_name);
        }
    }
    closedir(entries);
    assert_true(name[0] != '\0');
}

/* Leaves the temporary file of a writer that is killed. */
static void leave_temporary(const test_state *test) {
    const pid_t child = fork();
    if (child == 0) {
        lilac_file_writer *writer;
        if (lilac_file_writer_open(test->context, test->file.path, &writer) != LILAC_OK ||
            lilac_file_writer_write(test->context, writer, "a half", 6) != LILAC_OK) {
            _exit(1);
        }
        kill(getpid(), SIGKILL);
    }
    int ending;
    assert_int_equal(waitpid(child, &ending, 0), child);
    assert_true(WIFSIGNALED(ending));
}

static void test_write_removes_what_a_killed_writer_left(void **state) {
    const test_state *test = *state;
    make_file(test->file.path, "old");
    for (int kills = 0; kills < 3; kills++) {
        leave_temporary(test);
        assert_int_equal(temporary_file_count(&test->file), 2);
    }
    expect_content(test, "old");
    assert_int_equal(write_text(test, test->file.path, "new"), LILAC_OK);
    expect_content(test, "new");
    assert_int_equal(temporary_file_count(&test->file), 1);
}

/* What cannot be removed, because it is no file of a writer or because there are no locks, is left where it is. */
static void test_write_beside_other_temporary_files(void **state) {
    const test_state *test = *state;
    char name[256], path[400];
    lilac_file_writer *writer = NULL;
    assert_int_equal(lilac_file_writer_open(test->context, test->file.path, &writer), LILAC_OK);
    find_temporary(test, name);
    lilac_file_writer_abort(writer);
    snprintf(path, sizeof path, "%s/%s", test->file.folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(write_text(test, test->file.path, "new"), LILAC_OK);
    expect_content(test, "new");
    assert_int_equal(temporary_file_count(&test->file), 2);
    assert_int_equal(rmdir(path), 0);

    leave_temporary(test);
    lilac_test_fail_call("flock", 0, ENOLCK);
    assert_int_equal(write_text(test, test->file.path, "newer"), LILAC_OK);
    assert_non_null(lilac_test_failed_call());
    expect_content(test, "newer");
    assert_int_equal(temporary_file_count(&test->file), 2);
    /* A new file without a lock will do. */
    assert_int_equal(unlink(path), 0);
    lilac_test_fail_call("flock", 0, ENOLCK);
    assert_int_equal(write_text(test, test->file.path, "newest"), LILAC_OK);
    assert_non_null(lilac_test_failed_call());
    expect_content(test, "newest");
    /* Another writer has taken it for one left behind, and will remove it. */
    lilac_test_fail_call("flock", 0, EWOULDBLOCK);
    assert_int_equal(write_text(test, test->file.path, "last"), LILAC_OK);
    assert_non_null(lilac_test_failed_call());
    expect_content(test, "last");
    assert_int_equal(temporary_file_count(&test->file), 2);
    assert_int_equal(unlink(path), 0);
}

static void test_write_names(void **state) {
    const test_state *test = *state;
    /* The longest name that file systems allow, and one without a folder. */
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    char path[400];
    snprintf(path, sizeof path, "%s/%s", test->file.folder, name);
    assert_int_equal(write_text(test, path, "new"), LILAC_OK);
    assert_int_equal(unlink(path), 0);

    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(test->file.folder), 0);
    assert_int_equal(write_text(test, "file", "here"), LILAC_OK);
    /* A change of the folder in the meantime does not matter. */
    lilac_file_writer *writer = NULL;
    assert_int_equal(lilac_file_writer_open(test->context, "file", &writer), LILAC_OK);
    assert_int_equal(chdir(before), 0);
    expect_content(test, "here");
    assert_int_equal(lilac_file_writer_write(test->context, writer, "there", 5), LILAC_OK);
    assert_int_equal(lilac_file_writer_commit(test->context, writer), LILAC_OK);
    expect_content(test, "there");
}

static void test_write_failing_allocation(void **state) {
    lilac_test_fail_allocation(0);
    const test_state *test = *state;
    lilac_file_writer *writer = NULL;
    const lilac_status status = lilac_file_writer_open(test->context, test->file.path, &writer);
    assert_true(lilac_test_allocation_failed());
    assert_int_equal(status, LILAC_ERROR_MEMORY);
    assert_null(writer);
    assert_int_equal(temporary_file_count(&test->file), 0);
}

#define FILE_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_read),
        FILE_TEST(test_read_limit),
        FILE_TEST(test_read_refuses),
        FILE_TEST(test_read_error),
        FILE_TEST(test_read_short_and_interrupted),
        FILE_TEST(test_read_while_the_size_changes),
        FILE_TEST(test_read_without_known_size),
        FILE_TEST(test_read_every_failing_allocation),
        FILE_TEST(test_write),
        FILE_TEST(test_write_permissions),
        FILE_TEST(test_write_is_atomic),
        FILE_TEST(test_write_by_two_at_once),
        FILE_TEST(test_write_to_a_full_disk),
        FILE_TEST(test_write_short_and_interrupted),
        FILE_TEST(test_write_failing_synchronisation),
        FILE_TEST(test_write_failing_rename),
        FILE_TEST(test_write_refuses),
        FILE_TEST(test_write_replaces_a_link),
        FILE_TEST(test_write_removes_what_a_killed_writer_left),
        FILE_TEST(test_write_beside_other_temporary_files),
        FILE_TEST(test_write_names),
        FILE_TEST(test_write_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
