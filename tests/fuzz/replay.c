/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target on every file of a folder, in place of libFuzzer's main: a test that needs no fuzzer. Reports in
 * TAP, one test a file. An input fails the test if it leaks memory or makes the target allocate more than MOST_BYTES at
 * once; any other finding ends the process.
 */
#include "fuzz.h"

#include "support/failing_allocator.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As much as a random feature map may need; the files themselves are of a few kilobytes. */
enum { MOST_BYTES = 16 << 20, MOST_FILE = 1 << 20 };

static uint8_t *read_bytes(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    fuzz_require(file != NULL, path);
    uint8_t *buffer = malloc(MOST_FILE), *bytes;
    fuzz_require(buffer != NULL, "there is memory");
    *size = fread(buffer, 1, MOST_FILE, file);
    fuzz_require(!ferror(file) && *size < MOST_FILE, path);
    fclose(file);
    /* Of exactly that size, so that a sanitizer sees any overrun. */
    bytes = malloc(*size + (*size == 0));
    fuzz_require(bytes != NULL, "there is memory");
    memcpy(bytes, buffer, *size);
    free(buffer);
    return bytes;
}

static bool replay(const char *path) {
    size_t size;
    uint8_t *bytes = read_bytes(path, &size);
    /* What a target keeps from call to call, it has after the first. */
    LLVMFuzzerTestOneInput(bytes, size);
    const size_t live = lilac_test_live_allocations();
    lilac_test_watch_allocations();
    LLVMFuzzerTestOneInput(bytes, size);
    const size_t largest = lilac_test_largest_allocation(), left = lilac_test_live_allocations() - live;
    free(bytes);
    if (left != 0 || largest > MOST_BYTES) {
        printf("# %zu allocations left, the largest was of %zu bytes\n", left, largest);
    }
    return left == 0 && largest <= MOST_BYTES;
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: replay_<subject> FOLDER\n", stderr);
        return 2;
    }
    struct dirent **entries;
    const int count = scandir(argv[1], &entries, is_visible, alphasort);
    fuzz_require(count > 0, "there are files in the folder");
    printf("1..%d\n", count);
    int failures = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        fuzz_require(snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name) < (int)sizeof path, "the path");
        const bool passed = replay(path);
        printf("%s %d - %s\n", passed ? "ok" : "not ok", i + 1, entries[i]->d_name);
        fflush(stdout);
        failures += !passed;
        free(entries[i]);
    }
    free(entries);
    return failures > 0;
}
