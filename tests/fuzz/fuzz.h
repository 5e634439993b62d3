/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share. A target is one source file that defines LLVMFuzzerTestOneInput. */
#ifndef LILAC_TESTS_FUZZ_H
#define LILAC_TESTS_FUZZ_H

#include <lilac/context.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Handles one input, which may be any bytes; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process with a message, as a finding, unless the condition holds. */
void fuzz_require(bool condition, const char *what);

/* The context of all targets, of one thread. */
lilac_context *fuzz_context(void);

/* Whether a call succeeded; requires that a failed one left a message. */
bool fuzz_succeeded(lilac_status status);

/* The path of a file that holds these bytes, until the next call; it is in memory only. */
const char *fuzz_input_file(const uint8_t *data, size_t size);

/* The path of a file to be written, in a temporary folder that is removed at the end. */
const char *fuzz_output_file(void);

/*
 * What was written there, in memory of exactly its size: free it with free. To see whether a reader and a writer agree,
 * read what was written, write it again, and hand the first bytes to fuzz_require_output, which frees them and requires
 * that the file is still the same.
 */
uint8_t *fuzz_output(size_t *size);
void fuzz_require_output(uint8_t *bytes, size_t size);

#endif
