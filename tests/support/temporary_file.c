/* SPDX-License-Identifier: MIT */
#include "support/temporary_file.h"

#include <dirent.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

void temporary_file_create(temporary_file *file) {
    snprintf(file->folder, sizeof file->folder, "/tmp/lilac-test-XXXXXX");
    assert_non_null(mkdtemp(file->folder));
    snprintf(file->path, sizeof file->path, "%s/file", file->folder);
}

void temporary_file_destroy(temporary_file *file) {
    unlink(file->path);
    assert_int_equal(rmdir(file->folder), 0);
}

size_t temporary_file_count(const temporary_file *file) {
    DIR *entries = opendir(file->folder);
    assert_non_null(entries);
    size_t count = 0;
    for (const struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(entries);
    return count;
}
