/* SPDX-License-Identifier: MIT */
/* The loop that all instructions of one shape are measured with. */
#ifndef LILAC_KERNELS_X86_PEAK_LOOP_H
#define LILAC_KERNELS_X86_PEAK_LOOP_H

/*
 * Updates LILAC_PEAK_ACCUMULATORS registers in turn, rounds times: `instruction` b, a, accumulator. The registers are
 * those whose names begin with `kind`, "ymm" or "zmm": 0 to 11 accumulate from 0 on, 14 and 15 hold a and b, which
 * `broadcast` fills them with. rounds, a and b are variables.
 */
#define PEAK_LOOP(rounds, kind, broadcast, a, b, instruction)                                                          \
    __asm__ volatile(broadcast " %[of_a], %%" kind "14\n\t" broadcast " %[of_b], %%" kind "15\n\t"                     \
                               ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\t"                                      \
                               "vxorps %%xmm\\r, %%xmm\\r, %%xmm\\r\n\t"                                               \
                               ".endr\n\t"                                                                             \
                               ".p2align 5\n"                                                                          \
                               "1:\n\t"                                                                                \
                               ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\t" instruction " %%" kind "15, %%" kind \
                               "14, %%" kind "\\r\n\t"                                                                 \
                               ".endr\n\t"                                                                             \
                               "dec %[count]\n\t"                                                                      \
                               "jnz 1b\n\t"                                                                            \
                               "vzeroupper"                                                                            \
                     : [count] "+r"(rounds)                                                                            \
                     : [of_a] "m"(a), [of_b] "m"(b)                                                                    \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",  \
                       "xmm11", "xmm14", "xmm15")

#endif
