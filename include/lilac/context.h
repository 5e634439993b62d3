/* SPDX-License-Identifier: MIT */
/*
 * The context: thread count, cpu level, progress callback, and the message of the last failure.
 *
 * Lilac has no global state. Everything a call needs beyond its arguments hangs on a context, which one thread uses at
 * a time; different contexts may be used by different threads at once.
 *
 * Signals. While oneDNN multiplies matrices the stack register may point into a buffer on the heap. A program that
 * installs signal handlers must have them run elsewhere than on a thread that is inside Lilac or one of its OpenMP
 * threads - block the signals and have a thread of your own wait for them with sigwait - or else on an alternate stack
 * (sigaltstack, SA_ONSTACK); a handler's frame would overwrite the heap.
 */
#ifndef LILAC_CONTEXT_H
#define LILAC_CONTEXT_H

#include <lilac/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Instruction sets the kernels are written for, lowest first. */
typedef enum lilac_cpu_level {
    LILAC_CPU_SCALAR = 0, /* strict portable C: the reference */
    LILAC_CPU_AVX2 = 1,   /* AVX2 and FMA */
    LILAC_CPU_AVX512 = 2  /* AVX-512 F, BW, DQ, VL; bf16 dot products are used where they are fast */
} lilac_cpu_level;

/* What a long call reports while it works. */
typedef struct lilac_progress {
    const char *stage; /* what is being done, valid during the callback only */
    uint64_t done;     /* units finished */
    uint64_t total;    /* units in all; 0 when not known */
} lilac_progress;

/*
 * Called now and then by long calls, from one thread at a time but not always the same one. Return 0 to go on, any
 * other value to stop: the call then returns LILAC_CANCELLED as soon as it can.
 */
typedef int lilac_progress_callback(void *user, const lilac_progress *progress);

typedef struct lilac_context_config {
    int threads;                       /* 1 .. 1024; 0 = one for each processor the process may run on */
    lilac_cpu_level max_cpu_level;     /* the level used is the lower of this and the machine's */
    lilac_progress_callback *progress; /* may be NULL */
    void *progress_user;               /* handed to the callback */
} lilac_context_config;

typedef struct lilac_context lilac_context;

/* Fills in the defaults: all processors, the best level (LILAC_CPU in the environment may lower it), no callback. */
LILAC_API void lilac_context_config_default(lilac_context_config *config);

/*
 * Creates a context; free it with lilac_context_destroy. config may be NULL for the defaults.
 * Errors: ARGUMENT (out is NULL, thread count or level out of range), MEMORY.
 */
LILAC_API LILAC_MUST_USE lilac_status lilac_context_create(const lilac_context_config *config, lilac_context **out);

/* Frees a context; NULL is allowed. Objects made with it stay valid and can be used with another context. */
LILAC_API void lilac_context_destroy(lilac_context *context);

/*
 * The reason of the last failure on this context, in one sentence that names the file, tensor or shape; "" if none yet.
 * Valid until the next call that fails or the context's end.
 */
LILAC_API const char *lilac_context_message(const lilac_context *context);

/* The number of threads and the cpu level in use. */
LILAC_API int lilac_context_threads(const lilac_context *context);
LILAC_API lilac_cpu_level lilac_context_cpu_level(const lilac_context *context);

/* The highest level this machine and operating system support. Thread safe. */
LILAC_API lilac_cpu_level lilac_cpu_level_detect(void);

/* "scalar", "avx2" or "avx512"; "unknown" for a value that is none. Thread safe. */
LILAC_API const char *lilac_cpu_level_name(lilac_cpu_level level);

/* Parses such a name into *level. Errors: ARGUMENT. Thread safe. */
LILAC_API LILAC_MUST_USE lilac_status lilac_cpu_level_parse(const char *name, lilac_cpu_level *level);

#ifdef __cplusplus
}
#endif
#endif
