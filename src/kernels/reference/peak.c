/* SPDX-License-Identifier: MIT */
/* Peak loops in plain C, over vectors of four floats: the widest that every 64-bit processor has. */
#include "kernels/peak.h"

typedef float float4 __attribute__((vector_size(16)));

/* An assembler statement the compiler must believe uses and changes the vector. */
#if defined(__x86_64__)
#define KEEP(vector) __asm__ volatile("" : "+x"(vector))
#elif defined(__aarch64__)
#define KEEP(vector) __asm__ volatile("" : "+w"(vector))
#else
#define KEEP(vector) __asm__ volatile("" : "+m"(vector))
#endif

static void multiply_add(size_t rounds) {
    const float4 factor = {0.75f, 0.75f, 0.75f, 0.75f}, term = {0.3f, 0.2f, 0.1f, 0.4f};
    float4 sums[LILAC_PEAK_ACCUMULATORS] = {{0.0f}};
    for (size_t i = 0; i < rounds; i++) {
        for (int k = 0; k < LILAC_PEAK_ACCUMULATORS; k++) {
            sums[k] = sums[k] * factor + term;
            KEEP(sums[k]);
        }
    }
}

static void read_memory(const void *memory, size_t bytes) {
    const float4 *from = memory;
    for (size_t i = 0; i < bytes / sizeof *from; i += 4) {
        float4 a = from[i], b = from[i + 1], c = from[i + 2], d = from[i + 3];
        KEEP(a);
        KEEP(b);
        KEEP(c);
        KEEP(d);
    }
}

void lilac_peak_loops_reference(lilac_peak_loops *loops) {
    *loops = (lilac_peak_loops){.f32 = {multiply_add, (size_t)LILAC_PEAK_ACCUMULATORS * 4 * 2}, .read = read_memory};
}
