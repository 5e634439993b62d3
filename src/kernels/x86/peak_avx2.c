/* SPDX-License-Identifier: MIT */
/* Peak loops in AVX2 instructions. */
#include "kernels/peak.h"
#include "kernels/x86/peak_loop.h"

static void multiply_add(size_t rounds) {
    /* Each accumulator goes towards term / (1 - factor): numbers as ordinary as those of real work. */
    static const float factor = 0.75f, term = 0.3f;
    PEAK_LOOP(rounds, "ymm", "vbroadcastss", factor, term, "vfmadd213ps");
}

static void read_memory(const void *memory, size_t bytes) {
    const char *from = memory;
    __asm__ volatile(".p2align 5\n"
                     "1:\n\t"
                     ".irp line, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n\t"
                     "vmovaps 64*\\line(%[from]), %%ymm0\n\t"
                     "vmovaps 64*\\line+32(%[from]), %%ymm1\n\t"
                     ".endr\n\t"
                     "add %[block], %[from]\n\t"
                     "cmp %[end], %[from]\n\t"
                     "jb 1b\n\t"
                     "vzeroupper"
                     : [from] "+r"(from)
                     : [end] "r"(from + bytes), [block] "i"(LILAC_PEAK_READ_BLOCK)
                     : "cc", "memory", "xmm0", "xmm1");
}

void lilac_peak_loops_avx2(lilac_peak_loops *loops) {
    loops->f32 = (lilac_peak_loop){multiply_add, (size_t)LILAC_PEAK_ACCUMULATORS * 8 * 2};
    loops->read = read_memory;
}
