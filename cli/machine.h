/* SPDX-License-Identifier: MIT */
/* The machine and the libraries, in words. */
#ifndef LILAC_CLI_MACHINE_H
#define LILAC_CLI_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

/* The processor's name as Linux gives it; false where it does not. */
bool lilac_machine_processor(char *name, size_t size);

/* "zlib 1.2.13, libpng 1.6.39, ..." */
void lilac_machine_libraries(char *text, size_t size);

#endif
