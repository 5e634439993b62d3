/* SPDX-License-Identifier: MIT */
/* Safetensors files put together by hand, byte for byte. */
#ifndef LILAC_TESTS_SAFETENSORS_BYTES_H
#define LILAC_TESTS_SAFETENSORS_BYTES_H

#include <stddef.h>

enum { LILAC_TEST_SMALL_DATA = 14 }; /* bytes behind the header of the small file */

/*
 * The header's length, the header and data_size bytes 0, 1, 2, ... in memory of exactly that size, so that a sanitizer
 * sees any overrun. Free it with free.
 */
unsigned char *lilac_test_safetensors_bytes(const char *header, size_t header_size, size_t data_size, size_t *size);

/*
 * A file as the format's rules give it: metadata kind = test; F32 tensor "a" of shape (2) with 1 and -2.5; BF16 tensor
 * "b" of shape (1, 3) with 1, 2 and -3.
 */
unsigned char *lilac_test_small_safetensors(size_t *size);

#endif
