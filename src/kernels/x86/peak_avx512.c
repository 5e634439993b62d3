/* SPDX-License-Identifier: MIT */
/* Peak loops in AVX-512 instructions. */
#include "kernels/peak.h"
#include "kernels/x86/peak_loop.h"

#include <stdint.h>

static void multiply_add(size_t rounds) {
    /* Each accumulator goes towards term / (1 - factor): numbers as ordinary as those of real work. */
    static const float factor = 0.75f, term = 0.3f;
    PEAK_LOOP(rounds, "zmm", "vbroadcastss", factor, term, "vfmadd213ps");
}

static void dot_bf16(size_t rounds) {
    static const uint32_t numbers = 0x3e9a3f40, ones = 0x3f803f80; /* pairs of bf16: (0.75, 0.3) and (1, 1) */
    PEAK_LOOP(rounds, "zmm", "vpbroadcastd", numbers, ones, "vdpbf16ps");
}

#if defined(LILAC_AVX512_FP16)
static void multiply_add_f16(size_t rounds) {
    static const uint16_t factor = 0x3a00, term = 0x34cd; /* 0.75 and 0.3 in f16 */
    PEAK_LOOP(rounds, "zmm", "vpbroadcastw", factor, term, "vfmadd213ph");
}
#endif

static void read_memory(const void *memory, size_t bytes) {
    const char *from = memory;
    __asm__ volatile(".p2align 5\n"
                     "1:\n\t"
                     ".irp line, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t"
                     "vmovaps 64*\\line(%[from]), %%zmm0\n\t"
                     ".endr\n\t"
                     "add %[block], %[from]\n\t"
                     "cmp %[end], %[from]\n\t"
                     "jb 1b\n\t"
                     "vzeroupper"
                     : [from] "+r"(from)
                     : [end] "r"(from + bytes), [block] "i"(LILAC_PEAK_READ_BLOCK)
                     : "cc", "memory", "xmm0");
}

void lilac_peak_loops_avx512(lilac_peak_loops *loops) {
    loops->f32 = (lilac_peak_loop){multiply_add, (size_t)LILAC_PEAK_ACCUMULATORS * 16 * 2};
    loops->bf16 = (lilac_peak_loop){dot_bf16, (size_t)LILAC_PEAK_ACCUMULATORS * 32 * 2};
#if defined(LILAC_AVX512_FP16)
    loops->f16 = (lilac_peak_loop){multiply_add_f16, (size_t)LILAC_PEAK_ACCUMULATORS * 32 * 2};
#endif
    loops->read = read_memory;
}
