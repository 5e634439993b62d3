/* SPDX-License-Identifier: MIT */
/* Features of the cpu beyond its level. */
#ifndef LILAC_CORE_CPU_FEATURES_H
#define LILAC_CORE_CPU_FEATURES_H

#include <stdbool.h>

/* True where AVX-512 BF16 (vdpbf16ps) can be used. */
bool lilac_cpu_has_bf16_dot_product(void);

#endif
