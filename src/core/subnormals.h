/* SPDX-License-Identifier: MIT */
/*
 * Numbers below the smallest normal one (1.2e-38 in f32). Arithmetic with them takes some hundred cycles on many
 * processors, and they do occur: exp(-60) times a small gradient is one. A matrix product over such gradients takes ten
 * times as long, for digits that nothing depends on.
 */
#ifndef LILAC_CORE_SUBNORMALS_H
#define LILAC_CORE_SUBNORMALS_H

#if defined(__x86_64__)
#include <immintrin.h>

/* MXCSR: a result below the smallest normal number becomes zero, and an operand below it counts as zero. */
enum { LILAC_FLUSH_RESULTS = 1 << 15, LILAC_FLUSH_OPERANDS = 1 << 6 };

/* From here on subnormal numbers are zeros to the calling thread. Returns what lilac_subnormals_restore takes. */
static inline unsigned lilac_subnormals_flush(void) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | LILAC_FLUSH_RESULTS | LILAC_FLUSH_OPERANDS);
    return before;
}

/* Treats them as before, and forgets the exceptions that were flagged since. */
static inline void lilac_subnormals_restore(unsigned before) {
    _mm_setcsr(before);
}
#else
static inline unsigned lilac_subnormals_flush(void) {
    return 0;
}

static inline void lilac_subnormals_restore(unsigned before) {
    (void)before;
}
#endif

#endif
