/* SPDX-License-Identifier: MIT */
#include "support/temporary_file.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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
