/* SPDX-License-Identifier: MIT */
/* The machine and the libraries, in words. */
#ifndef LILAC_CLI_MACHINE_H
#define LILAC_CLI_MACHINE_H

#include "bench/peak.h"
#include "report/json.h"

#include <stdbool.h>
#include <stddef.h>

/* The processor's name as Linux gives it; false where it does not. */
bool lilac_machine_processor(char *name, size_t size);

/* "Linux 6.1.0 on x86_64"; false where the system does not say. */
bool lilac_machine_system(char *text, size_t size);

/* What the program was compiled with: "gcc 12.2.0". */
extern const char lilac_machine_compiler[];

/* "gnuplot 5.4"; false where it is not there. */
bool lilac_machine_gnuplot(lilac_context *context, char *text, size_t size);

/* "zlib 1.2.13, libpng 1.6.39, ..." */
void lilac_machine_libraries(char *text, size_t size);

/* What attention multiplies inputs in bf16 by at a level: "f32 arithmetic" or "bf16 dot products". */
const char *lilac_machine_bf16_attention(lilac_cpu_level level);

/* The size in bytes of cache number 1, 2 or 3, that of data; 0 where it is not known. */
size_t lilac_machine_cache(int number);

/* The size in bytes of the memory; 0 where it is not known. */
size_t lilac_machine_memory(void);

/* Adds the machine, the libraries and what is used of them to an object. peak may be NULL: not measured. */
void lilac_machine_add(lilac_json *json, cJSON *machine, lilac_context *context, const lilac_peak_figures *peak);

#endif
