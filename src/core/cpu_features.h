/* SPDX-License-Identifier: MIT */
/* Features of the cpu beyond its level. */
#ifndef LILAC_CORE_CPU_FEATURES_H
#define LILAC_CORE_CPU_FEATURES_H

#include <stdbool.h>

/* True where AVX-512 BF16 (vdpbf16ps) can be used. */
bool lilac_cpu_has_bf16_dot_product(void);

/*
 * True where it is worth using, too: where it multiplies more numbers in the same time than f32 multiply-adds. The
 * cpu's vendor decides, which is the same in each run, as a measurement would not be, so that results are too. AMD's
 * (Zen 4 and 5) do twice as many. Intel's (Sapphire Rapids and what came after it) start one dot product where they
 * start four multiply-adds, half as many: there rounding to bf16 would lose digits and time. They have bf16 at speed in
 * AMX alone, whose tiles are larger than a chunk of linear attention and want both operands rounded and reordered. Of
 * other vendors' nothing is known; they get what is exact.
 */
bool lilac_cpu_has_fast_bf16_dot_product(void);

/*
 * True where AVX512-FP16 can be used: multiply-adds of 32 f16, as fast as those of 16 f32. Intel's cpus from Sapphire
 * Rapids on have it; AMD's of the same years do not.
 */
bool lilac_cpu_has_avx512_fp16(void);

/*
 * True where AMX's products of tiles of bf16 can be used beside AVX-512: 16 x 32 times 32 x 16 numbers in the time that
 * f32 multiply-adds take for about a fourteenth of them. Intel's server cpus from Sapphire Rapids on have it. Linux
 * grants the tiles' 8 KiB of state to a process that asks, which this does; all its threads may use them then.
 */
bool lilac_cpu_has_amx_bf16(void);

#endif
