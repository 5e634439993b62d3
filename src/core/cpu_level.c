/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE /* syscall */

#include "core/cpu_features.h"

#include <lilac/context.h>
#include <string.h>

static const char *const level_names[] = {"scalar", "avx2", "avx512"};

const char *lilac_cpu_level_name(lilac_cpu_level level) {
    const size_t index = (size_t)level;
    return index < sizeof level_names / sizeof level_names[0] ? level_names[index] : "unknown";
}

lilac_status lilac_cpu_level_parse(const char *name, lilac_cpu_level *level) {
    for (size_t i = 0; name != NULL && level != NULL && i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (lilac_cpu_level)i;
            return LILAC_OK;
        }
    }
    return LILAC_ERROR_ARGUMENT;
}

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* XCR0: which register files the operating system saves on a context switch. A cpu flag alone does not allow their
 * use. */
static unsigned long long saved_register_files(void) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) {
        return 0;
    }
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

lilac_cpu_level lilac_cpu_level_detect(void) {
    enum { YMM = 0x6, ZMM = 0xe6 };
    const unsigned long long saved = saved_register_files();
    unsigned eax, ebx, ecx, edx;
    if ((saved & YMM) != YMM || !__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_FMA)) {
        return LILAC_CPU_SCALAR;
    }
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & bit_AVX2)) {
        return LILAC_CPU_SCALAR;
    }
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((saved & ZMM) != ZMM || (ebx & avx512) != avx512) {
        return LILAC_CPU_AVX2;
    }
    return LILAC_CPU_AVX512;
}

bool lilac_cpu_has_bf16_dot_product(void) {
    unsigned eax, ebx, ecx, edx;
    return lilac_cpu_level_detect() == LILAC_CPU_AVX512 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
           (eax & (1u << 5)) != 0;
}

bool lilac_cpu_has_avx512_fp16(void) {
    unsigned eax, ebx, ecx, edx;
    return lilac_cpu_level_detect() == LILAC_CPU_AVX512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
           (edx & (1u << 23)) != 0;
}

/* A process keeps what it was granted; asking again costs a system call. */
static bool may_use_tiles(void) {
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

bool lilac_cpu_has_amx_bf16(void) {
    enum { TILES = 0x60000 };
    const unsigned amx = 1u << 22 | 1u << 24; /* AMX-BF16, AMX-TILE */
    unsigned eax, ebx, ecx, edx;
    /* The kernels round to bf16 by vectors. */
    return lilac_cpu_has_bf16_dot_product() && (saved_register_files() & TILES) == TILES &&
           __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & amx) == amx && may_use_tiles();
}

bool lilac_cpu_has_fast_bf16_dot_product(void) {
    unsigned eax, ebx, ecx, edx;
    return lilac_cpu_has_bf16_dot_product() && __get_cpuid(0, &eax, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx &&
           ecx == signature_AMD_ecx && edx == signature_AMD_edx;
}
#else
lilac_cpu_level lilac_cpu_level_detect(void) {
    return LILAC_CPU_SCALAR;
}

bool lilac_cpu_has_bf16_dot_product(void) {
    return false;
}

bool lilac_cpu_has_avx512_fp16(void) {
    return false;
}

bool lilac_cpu_has_amx_bf16(void) {
    return false;
}

bool lilac_cpu_has_fast_bf16_dot_product(void) {
    return false;
}
#endif
