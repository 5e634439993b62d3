/* SPDX-License-Identifier: MIT */
#include "support/safetensors_bytes.h"

#include <stdlib.h>
#include <string.h>

unsigned char *lilac_test_safetensors_bytes(const char *header, size_t header_size, size_t data_size, size_t *size) {
    *size = 8 + header_size + data_size;
    unsigned char *bytes = malloc(*size);
    if (bytes == NULL) {
        abort();
    }
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(header_size >> (8 * i));
    }
    memcpy(bytes + 8, header, header_size);
    for (size_t i = 0; i < data_size; i++) {
        bytes[8 + header_size + i] = (unsigned char)i;
    }
    return bytes;
}

unsigned char *lilac_test_small_safetensors(size_t *size) {
    /* 142 bytes of JSON, and two spaces that make the length a multiple of 8. */
    static const char header[] = "{\"__metadata__\":{\"kind\":\"test\"},"
                                 "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,3],\"data_offsets\":[8,14]}}  ";
    static const unsigned char data[LILAC_TEST_SMALL_DATA] = {0x00, 0x00, 0x80, 0x3f, 0x00, 0x00, 0x20,
                                                              0xc0, 0x80, 0x3f, 0x00, 0x40, 0x40, 0xc0};
    unsigned char *bytes = lilac_test_safetensors_bytes(header, sizeof header - 1, sizeof data, size);
    memcpy(bytes + *size - sizeof data, data, sizeof data);
    return bytes;
}
