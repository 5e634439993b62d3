/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static lilac_context *context;
static int input = -1;
static char input_path[64];
static char output_folder[64];
static char output_path[96];

void fuzz_require(bool condition, const char *what) {
    if (!condition) {
        fprintf(stderr, "fuzz target: not so: %s\n", what);
        abort();
    }
}

static void destroy_context(void) {
    lilac_context_destroy(context);
}

lilac_context *fuzz_context(void) {
    if (context == NULL) {
        lilac_context_config config;
        lilac_context_config_default(&config);
        config.threads = 1;
        fuzz_require(lilac_context_create(&config, &context) == LILAC_OK, "a context can be created");
        atexit(destroy_context);
    }
    return context;
}

bool fuzz_succeeded(lilac_status status) {
    fuzz_require(status == LILAC_OK || lilac_context_message(fuzz_context())[0] != '\0', "a failure leaves a message");
    return status == LILAC_OK;
}

const char *fuzz_input_file(const uint8_t *data, size_t size) {
    if (input < 0) {
        input = memfd_create("fuzz", MFD_CLOEXEC);
        fuzz_require(input >= 0, "a file in memory can be created");
        snprintf(input_path, sizeof input_path, "/proc/self/fd/%d", input);
    }
    fuzz_require(ftruncate(input, 0) == 0 && pwrite(input, data, size, 0) == (ssize_t)size,
                 "the file in memory can be written");
    return input_path;
}

static void remove_output(void) {
    unlink(output_path);
    rmdir(output_folder);
}

const char *fuzz_output_file(void) {
    if (output_path[0] == '\0') {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        snprintf(output_folder, sizeof output_folder, "%s/lilac-fuzz-XXXXXX", base);
        fuzz_require(mkdtemp(output_folder) != NULL, "a temporary folder can be made");
        snprintf(output_path, sizeof output_path, "%s/output", output_folder);
        atexit(remove_output);
    }
    return output_path;
}

uint8_t *fuzz_output(size_t *size) {
    const int descriptor = open(output_path, O_RDONLY | O_CLOEXEC);
    struct stat information;
    fuzz_require(descriptor >= 0 && fstat(descriptor, &information) == 0, "the output can be opened");
    *size = (size_t)information.st_size;
    uint8_t *bytes = malloc(*size + (*size == 0));
    fuzz_require(bytes != NULL && read(descriptor, bytes, *size) == (ssize_t)*size, "the output can be read");
    close(descriptor);
    return bytes;
}

void fuzz_require_output(uint8_t *bytes, size_t size) {
    size_t again;
    uint8_t *output = fuzz_output(&again);
    fuzz_require(size == again && memcmp(bytes, output, size) == 0, "what is read is written the same");
    free(output);
    free(bytes);
}
