/* SPDX-License-Identifier: MIT */
/* Reading whole files, and writing files so that at any moment the old or the new content is there, never a part of it.
 */
#ifndef LILAC_RUNTIME_FILE_H
#define LILAC_RUNTIME_FILE_H

#include "runtime/context.h"

#include <stddef.h>

/*
 * Reads the regular file at path, of at most limit bytes, into new memory: free *data with lilac_memory_free. A file
 * that grows or shrinks meanwhile is read up to the end it has when the end is reached. Errors: ARGUMENT, NOT_FOUND,
 * UNSUPPORTED (not a regular file, or larger than limit), MEMORY, IO.
 */
LILAC_MUST_USE lilac_status lilac_file_read(lilac_context *context, const char *path, size_t limit,
                                            unsigned char **data, size_t *size);

/*
 * Reports a failed system call, whose errno is number; doing is what was attempted, such as "cannot open". Returns
 * NOT_FOUND where path or a folder of it does not exist, else IO.
 */
lilac_status lilac_fail_system(lilac_context *context, const char *path, const char *doing, int number);

/*
 * A file being written: the bytes go to a temporary file in the target's folder, which commit puts in the target's
 * place. Every writer ends in exactly one call of commit or abort.
 */
typedef struct lilac_file_writer lilac_file_writer;

/*
 * Starts writing the file at path. A symbolic link there is replaced by the file, not followed.
 * Errors: ARGUMENT, NOT_FOUND (no such folder), UNSUPPORTED (the target exists and is not a regular file), MEMORY, IO.
 */
LILAC_MUST_USE lilac_status lilac_file_writer_open(lilac_context *context, const char *path,
                                                   lilac_file_writer **writer);

/*
 * Appends size bytes. On failure the temporary file is gone at once, and what remains is to call abort.
 * Errors: IO.
 */
LILAC_MUST_USE lilac_status lilac_file_writer_write(lilac_context *context, lilac_file_writer *writer, const void *data,
                                                    size_t size);

/*
 * Brings the bytes to the disk, renames the temporary file to the target, and frees the writer whatever the outcome. On
 * failure the target is as it was, but for one case that the message tells: the new file is in place and only the
 * folder could not be brought to the disk. Errors: IO.
 */
LILAC_MUST_USE lilac_status lilac_file_writer_commit(lilac_context *context, lilac_file_writer *writer);

/* Whether a file could be written at path, found out before long work: what is there stays. Errors: those of
 * lilac_file_writer_open. */
LILAC_MUST_USE lilac_status lilac_file_check_writable(lilac_context *context, const char *path);

/* Writes a file of these bytes as a whole. Errors: those of the functions above. */
LILAC_MUST_USE lilac_status lilac_file_write(lilac_context *context, const char *path, const void *data, size_t size);

/* Removes the temporary file and frees the writer; the target is as it was. NULL is allowed. */
void lilac_file_writer_abort(lilac_file_writer *writer);

#endif
