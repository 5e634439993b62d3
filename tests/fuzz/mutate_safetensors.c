/* SPDX-License-Identifier: MIT */
/*
 * How libFuzzer changes safetensors files: any change in the header would make the length before it wrong, and the file
 * be refused at once; so header and data are changed each for itself, and most of the time the length and the amount of
 * data are made to fit again.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_SIZE = 8 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* The largest end of a tensor's data that the header mentions. */
static size_t announced_data(const uint8_t *header, size_t size) {
    static const char key[] = "\"data_offsets\":[";
    size_t most = 0;
    for (size_t i = 0; i + sizeof key < size; i++) {
        if (memcmp(header + i, key, sizeof key - 1) != 0) {
            continue;
        }
        size_t end = 0;
        for (i += sizeof key - 1; i < size && header[i] != ']'; i++) {
            if (header[i] == ',') {
                end = 0;
            } else if (header[i] >= '0' && header[i] <= '9' && end < 1000000) {
                end = 10 * end + (size_t)(header[i] - '0');
            }
        }
        most = end > most ? end : most;
    }
    return most;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    uint64_t length = 0;
    if (size >= LENGTH_SIZE) {
        memcpy(&length, data, LENGTH_SIZE);
    }
    if (seed % 16 == 0 || size < LENGTH_SIZE || length > size - LENGTH_SIZE || max_size < size + LENGTH_SIZE) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    uint8_t *header = data + LENGTH_SIZE, *rest = header + length;
    size_t rest_size = size - LENGTH_SIZE - (size_t)length;
    if (seed % 16 < 4) {
        return (size_t)(rest - data) + LLVMFuzzerMutate(rest, rest_size, max_size - (size_t)(rest - data));
    }
    uint8_t *changed = malloc(max_size);
    if (changed == NULL) {
        return size;
    }
    memcpy(changed, header, (size_t)length);
    const uint64_t changed_length = LLVMFuzzerMutate(changed, (size_t)length, max_size - LENGTH_SIZE - rest_size);
    memmove(header + changed_length, rest, rest_size);
    memcpy(header, changed, (size_t)changed_length);
    memcpy(data, &changed_length, LENGTH_SIZE);
    free(changed);
    const size_t start = LENGTH_SIZE + (size_t)changed_length, wanted = announced_data(header, (size_t)changed_length);
    if (seed % 16 < 14 && start + wanted <= max_size) {
        if (wanted > rest_size) {
            memset(data + start + rest_size, 0, wanted - rest_size);
        }
        rest_size = wanted;
    }
    return start + rest_size;
}
