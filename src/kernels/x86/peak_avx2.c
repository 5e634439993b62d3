/* SPDX-License-Identifier: MIT */
/* Peak loops in AVX2 instructions. Registers 0 to 11 accumulate, 14 and 15 hold the operands. */
#include "kernels/peak.h"

static void multiply_add(size_t rounds) {
    /* Each accumulator goes towards term / (1 - factor): numbers as ordinary as those of real work. */
    static const float factor = 0.75f, term = 0.3f;
    __asm__ volatile("vbroadcastss %[factor], %%ymm14\n\t"
                     "vbroadcastss %[term], %%ymm15\n\t"
                     ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\t"
                     "vxorps %%xmm\\r, %%xmm\\r, %%xmm\\r\n\t"
                     ".endr\n\t"
                     ".p2align 5\n"
                     "1:\n\t"
                     ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\t"
                     "vfmadd213ps %%ymm15, %%ymm14, %%ymm\\r\n\t"
                     ".endr\n\t"
                     "dec %[rounds]\n\t"
                     "jnz 1b\n\t"
                     "vzeroupper"
                     : [rounds] "+r"(rounds)
                     : [factor] "m"(factor), [term] "m"(term)
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm14", "xmm15");
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
