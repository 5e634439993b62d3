/* SPDX-License-Identifier: MIT */
/* A file in a folder of its own, for tests that write and read one. */
#ifndef LILAC_TESTS_TEMPORARY_FILE_H
#define LILAC_TESTS_TEMPORARY_FILE_H

#include <stddef.h>

typedef struct temporary_file {
    char folder[64];
    char path[96]; /* in the folder; nothing is there at first */
} temporary_file;

void temporary_file_create(temporary_file *file);

/* Removes file and folder; fails the test if anything else was left in the folder. */
void temporary_file_destroy(temporary_file *file);

/* How many files are in the folder. */
size_t temporary_file_count(const temporary_file *file);

#endif
